"""Angles against LAMMPS and crystals, and the correlation of aligned bonds in chains whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from forcewright import analyze
from forcewright.errors import InputError
from forcewright.lammps_session import LammpsSystem, to_lammps_box, type_of_species
from forcewright.structure import Structure


def silica_gas() -> Atoms:
    rng = np.random.default_rng(3)
    cell = [[14.0, 0, 0], [2.5, 13.0, 0], [-1.5, 2.0, 13.5]]
    return Atoms(["Si", "O", "O"] * 60, cell=cell, pbc=True, scaled_positions=rng.random((180, 3)))


def test_equals_lammps() -> None:
    atoms, cutoff, bins = silica_gas(), 3.1, 60
    structure = Structure.from_ase(atoms)
    commands = [
        "pair_style zero 5.0", "pair_coeff * *",
        f"compute all all adf {bins} * * * 0 {cutoff} 0 {cutoff}",
        f"compute triple all adf {bins} 2 1 1 0 {cutoff} 0 {cutoff} 1 2 2 0 {cutoff} 0 {cutoff} 1 1 1 0 {cutoff} 0 {cutoff}",
        "thermo_style custom step c_all[1][1] c_triple[1][1]",
    ]  # fmt: skip
    box = to_lammps_box(structure, 5.0)
    lmp = LammpsSystem().run(box, type_of_species(structure, (8, 14)), (8, 14), None, lambda: commands, "0.0 nsq")
    total = np.array(lmp.numpy.extract_compute("all", 0, 2))
    triples = np.array(lmp.numpy.extract_compute("triple", 0, 2))
    ours = analyze.adf([atoms], cutoff=cutoff, bins=bins)
    assert ours.angle == pytest.approx(total[:, 0], abs=1e-6)
    assert ours.p == pytest.approx(total[:, 1], abs=1e-6)
    # LAMMPS names the central atom first.
    for column, key in enumerate([("O", "Si", "O"), ("Si", "O", "Si"), ("O", "O", "O")]):
        assert ours.partial[key] == pytest.approx(triples[:, 1 + 2 * column], abs=1e-6)


def test_angles_of_crystals() -> None:
    diamond = analyze.adf([bulk("Si")], bins=180)
    assert np.flatnonzero(diamond.p).tolist() == [109]
    assert diamond.angles_per_atom == 6
    fcc = analyze.adf([bulk("Cu")], cutoff=3.0, bins=7)  # 60, 90, 120, 180 degrees: none at the edge of a bin but 180
    pairs = np.rint(fcc.p * 180 / 7 * 66).astype(int)
    assert pairs.tolist() == [0, 0, 24, 12, 24, 0, 6]


def test_densities_are_normalized_and_sum_to_the_total() -> None:
    result = analyze.adf([silica_gas(), silica_gas()], cutoff=3.0, bins=36)
    width = 5.0
    assert result.p.sum() * width == pytest.approx(1.0)
    once = {min(key, key[::-1]): part for key, part in result.partial.items()}
    assert all(part.sum() * width == pytest.approx(1.0) for part in once.values())
    assert sum(result.share[key] for key in once) == pytest.approx(1.0)
    assert sum(result.share[key] * part for key, part in once.items()) == pytest.approx(result.p)


def test_ideal_gas_follows_the_sine() -> None:
    rng = np.random.default_rng(0)
    atoms = Atoms("H4000", cell=[30, 30, 30], pbc=True, scaled_positions=rng.random((4000, 3)))
    result = analyze.adf([atoms], cutoff=3.0, bins=18)
    edges = np.radians(np.linspace(0, 180, 19))
    expected = -np.diff(np.cos(edges)) / 2
    # Angles at one atom share bonds, hence are not independent: three times the error of as many independent ones.
    error = 3 * np.sqrt(expected / (result.angles_per_atom * 4000))
    assert (abs(result.p * 10 - expected) < 3 * error).all()


def test_one_cutoff_per_pair_leaves_out_the_other_pairs() -> None:
    water = molecule("H2O")
    result = analyze.adf([water], cutoff={("H", "O"): 1.2}, bins=180)
    assert set(result.partial) == {("H", "O", "H")}
    assert result.angles_per_atom == pytest.approx(1 / 3)
    assert result.angle[result.p.argmax()] == pytest.approx(water.get_angle(1, 0, 2), abs=0.5)


@pytest.mark.parametrize("repeat", [(1, 1, 1), (3, 2, 1)])
def test_angles_of_small_and_large_cells_agree(repeat) -> None:
    atoms = bulk("SiC", "zincblende", 4.36)
    reference = analyze.adf([atoms], cutoff=3.3, bins=37)
    assert analyze.adf([atoms.repeat(repeat)], cutoff=3.3, bins=37).p == pytest.approx(reference.p)


def test_aligned_bonds_of_a_peierls_distortion() -> None:
    # A simple cubic lattice whose bonds are short and long by turns along x.
    chain = Atoms("Te2", cell=[2.83 + 3.37, 3.03, 3.03], positions=[[0, 0, 0], [2.83, 0, 0]], pbc=True)
    result = analyze.aligned_bonds([chain], r_max=3.6, bins=36)
    peaks = {tuple(round(float(result.r[k]), 2) for k in at) for at in np.argwhere(result.density)}
    assert peaks == {(2.85, 3.35), (3.35, 2.85), (3.05, 3.05)}
    assert result.pairs_per_atom == 3
    assert result.density.sum() * 0.01 == pytest.approx(1.0)
    assert result.density == pytest.approx(result.density.T)
    assert result.partial["Te"] == pytest.approx(result.density)


def test_the_deviation_limits_what_counts_as_aligned() -> None:
    bent = Atoms("Te3", positions=[[0, 0, 0], [3, 0, 0], [3 + 3 * np.cos(0.4), 3 * np.sin(0.4), 0]])  # 157 degrees
    assert analyze.aligned_bonds([bent], r_max=3.5, deviation=25).pairs_per_atom == pytest.approx(1 / 3)
    with pytest.raises(InputError, match="face each other"):
        analyze.aligned_bonds([bent], r_max=3.5, deviation=20)


def test_bad_input_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="no atom has two neighbors"):
        analyze.adf([bulk("Cu")], cutoff=1.0)
    with pytest.raises(InputError, match="pairs of the species Si"):
        analyze.adf([bulk("Si")], cutoff={("Si", "O"): 2.0})
    with pytest.raises(InputError, match="holds no frame"):
        analyze.adf([])
    with pytest.raises(InputError, match="between 0 and 180"):
        analyze.aligned_bonds([bulk("Si")], deviation=0)
    with pytest.raises(InputError, match="first minimum"):
        analyze.adf([Atoms("He2", positions=[[0, 0, 0], [0, 0, 3]])])


def test_figures_can_be_drawn() -> None:
    crystal = bulk("NaCl", "rocksalt", 5.64) * 3
    crystal.rattle(0.1, seed=0)
    assert analyze.adf([crystal]).plot().get_xlabel() == "angle (°)"
    assert analyze.aligned_bonds([crystal]).plot().get_xlabel() == "$r_1$ (Å)"
