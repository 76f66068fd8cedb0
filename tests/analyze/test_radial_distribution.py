"""g(r) against freud, LAMMPS, an ideal gas, and the shells of perfect crystals."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from forcewright import analyze
from forcewright.errors import InputError
from forcewright.lammps_session import LammpsSystem, to_lammps_box, type_of_species
from forcewright.structure import Structure


def two_species(count: int = 60, seed: int = 3) -> Atoms:
    """Random atoms of two species in a triclinic cell narrower than 2 r_max."""
    rng = np.random.default_rng(seed)
    cell = [[9.0, 0, 0], [2.5, 8.0, 0], [-1.5, 2.0, 9.5]]
    return Atoms(["Si", "O", "O"] * (count // 3), cell=cell, pbc=True, scaled_positions=rng.random((count, 3)))


def shells(result: analyze.RadialDistribution) -> list[tuple[float, float]]:
    """Distance and number of neighbors of each shell of a crystal."""
    steps = np.diff(result.coordination_total, prepend=0.0)
    return [(result.r[k], steps[k]) for k in np.flatnonzero(steps)]


@pytest.mark.parametrize(
    ("atoms", "radii", "numbers"),
    [
        (bulk("Cu", a=3.6), np.sqrt([1 / 2, 1, 3 / 2, 2, 5 / 2]) * 3.6, [12, 6, 24, 12, 24]),
        (bulk("Fe", a=2.9), np.sqrt([3 / 4, 1, 2, 11 / 4, 3]) * 2.9, [8, 6, 12, 24, 8]),
        (bulk("Si", a=5.4), np.sqrt([3, 8, 11, 16, 19]) / 4 * 5.4, [4, 12, 12, 6, 12]),
    ],
    ids=["fcc", "bcc", "diamond"],
)
def test_shells_of_perfect_crystals(atoms: Atoms, radii: np.ndarray, numbers: list[int]) -> None:
    found = shells(analyze.rdf([atoms], r_max=8.0, bins=800))[:5]
    assert [number for _, number in found] == pytest.approx(numbers)
    assert [r for r, _ in found] == pytest.approx(radii, abs=0.0051)


def test_equals_freud() -> None:
    freud = pytest.importorskip("freud")
    # freud computes in single precision: squared distances of multiples of 1/64 Å are exact there.
    cell = np.array([24.0, 22.5, 21.25])
    positions = np.random.default_rng(0).integers(0, (cell * 64).astype(int), (600, 3)) / 64
    theirs = freud.density.RDF(40, 10.0)
    theirs.compute((freud.Box(*cell), positions - cell / 2))
    ours = analyze.rdf([Atoms("Ar600", positions=positions, cell=cell, pbc=True)], r_max=10.0, bins=40)
    assert ours.g == pytest.approx(theirs.rdf, rel=1e-6)
    assert ours.coordination_total == pytest.approx(theirs.n_r, rel=1e-6)


def test_equals_lammps() -> None:
    atoms = two_species()
    r_max, bins = 7.3, 50
    structure = Structure.from_ase(atoms)
    box = to_lammps_box(structure, r_max)
    commands = [
        f"pair_style zero {r_max + 0.5}", "pair_coeff * *",
        f"compute g all rdf {bins} * * 1 1 1 2 2 1 2 2 cutoff {r_max}", f"comm_modify cutoff {r_max + 1.0}",
        "thermo_style custom step c_g[1][1]",
    ]  # fmt: skip
    lmp = LammpsSystem().run(box, type_of_species(structure, (8, 14)), (8, 14), None, lambda: commands, "0.0 nsq")
    table = np.array(lmp.numpy.extract_compute("g", 0, 2))
    ours = analyze.rdf([atoms, atoms], r_max=r_max, bins=bins)
    assert ours.frames == 2
    assert ours.r == pytest.approx(table[:, 0], abs=1e-9)
    n = {"O": 40, "Si": 20}
    for column, (a, b) in enumerate([("O", "O"), ("O", "Si"), ("Si", "O"), ("Si", "Si")], start=1):
        # LAMMPS divides by the number of other atoms, N - 1 of the same species.
        scale = n[a] / (n[a] - 1) if a == b else 1.0
        assert ours.partial[a, b] * scale == pytest.approx(table[:, 1 + 2 * column], abs=1e-6)
        assert ours.coordination[a, b] == pytest.approx(table[:, 2 + 2 * column], abs=1e-6)
    assert ours.g * 60 / 59 == pytest.approx(table[:, 1], abs=1e-6)


def test_ideal_gas_is_one() -> None:
    rng = np.random.default_rng(0)
    frames = [Atoms("H500", cell=[20, 21, 22], pbc=True, scaled_positions=rng.random((500, 3))) for _ in range(40)]
    result = analyze.rdf(frames, r_max=12.0, bins=24)
    pairs = 0.5 * 500 * 40 * np.diff(np.linspace(0, 12, 25) ** 3) * 4 / 3 * np.pi * result.density
    assert (abs(result.g - (1 - 1 / 500)) < 4 / np.sqrt(pairs)).all()
    assert result.coordination_total[-1] == pytest.approx(499 / (20 * 21 * 22) * 4 / 3 * np.pi * 12**3, rel=0.01)


def test_same_crystal_in_another_cell_or_a_supercell_gives_the_same() -> None:
    atoms = two_species(12)
    reference = analyze.rdf([atoms], r_max=11.0, bins=40)
    skew = atoms.copy()
    skew.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ atoms.cell.array)
    far = atoms.copy()
    far.positions += np.random.default_rng(0).integers(-5, 6, (len(atoms), 3)) @ atoms.cell.array
    for other in (skew, far, atoms.repeat((2, 1, 3))):
        result = analyze.rdf([other], r_max=11.0, bins=40)
        assert result.g == pytest.approx(reference.g, abs=1e-9)
        assert result.partial["O", "Si"] == pytest.approx(reference.partial["O", "Si"], abs=1e-9)


def test_partials_sum_to_the_total() -> None:
    result = analyze.rdf([two_species()], r_max=6.0, bins=30)
    c = result.concentrations
    assert sum(c[a] * c[b] * g for (a, b), g in result.partial.items()) == pytest.approx(result.g)
    assert result.partial["O", "Si"] == pytest.approx(result.partial["Si", "O"])
    assert c["O"] * result.coordination["O", "Si"] == pytest.approx(c["Si"] * result.coordination["Si", "O"])


def test_frames_of_changing_cell_are_normalized_each_by_its_own() -> None:
    small, large = bulk("Cu", a=3.6), bulk("Cu", a=4.0)
    parts = [analyze.rdf([atoms], r_max=8.0, bins=100) for atoms in (small, large)]
    both = analyze.rdf(iter([small, large]), r_max=8.0, bins=100)
    assert both.g == pytest.approx(0.5 * (parts[0].g + parts[1].g))
    assert both.density == pytest.approx(0.5 * (parts[0].density + parts[1].density))


def test_crowded_and_empty_corners_of_a_cell() -> None:
    rng = np.random.default_rng(5)
    atoms = Atoms("C80", cell=[60, 40, 50], pbc=True, positions=rng.random((80, 3)) * 6)
    result = analyze.rdf([atoms], r_max=12.0, bins=20)
    assert result.coordination_total[-1] == pytest.approx(79.0)


def test_reads_a_file_and_saves(tmp_path) -> None:
    ase.io.write(tmp_path / "run.extxyz", [bulk("Cu"), bulk("Cu")])
    result = analyze.rdf(tmp_path / "run.extxyz", r_max=4.0, bins=40)
    assert result.frames == 2
    assert result.save(tmp_path / "g.csv").read_text().startswith("r,g,")
    assert result.plot().get_xlabel() == "r (Å)"


@pytest.mark.parametrize(
    ("frames", "options", "sentence"),
    [
        ([], {}, "holds no frame"),
        ([bulk("Cu"), bulk("Ag")], {}, "frame 1.*holds Ag, the first frame Cu"),
        ([molecule("H2O")], {}, "open directions"),
        ([bulk("Cu")], {"r_max": -1.0}, "length above 0"),
        ([bulk("Cu")], {"bins": 2.5}, "whole number"),
        ([Atoms("H", positions=[[np.nan, 0, 0]], cell=np.eye(3), pbc=True)], {}, "finite"),
        ("no_such_file.extxyz", {}, "does not exist"),
    ],
)
def test_bad_input_gets_a_sentence(frames, options, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        analyze.rdf(frames, **options)
