"""Any LAMMPS pair style as a potential."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from scipy.optimize import minimize_scalar

from forcewright.errors import ForcewrightError, InputError
from forcewright.lammps_session import LammpsNative, largest_range, potentials_folder
from forcewright.models import load
from forcewright.models.pair_style import PairStylePotential, pair_style_potential
from forcewright.models.snap import SnapModel
from forcewright.potential import Exportable, Potential
from forcewright.structure import VOIGT, Structure, to_voigt


def silicon(style: str) -> PairStylePotential:
    return pair_style_potential(style, f"* * Si.{style} Si", Path("."))


def rattled(name: str = "SiC", structure: str = "zincblende", a: float = 4.36, seed: int = 0) -> Structure:
    atoms = bulk(name, structure, a=a, cubic=True) * (1, 1, 2)
    atoms.rattle(0.1, seed=seed)
    return Structure.from_ase(atoms)


@pytest.mark.parametrize(
    ("model", "style", "file", "unit"),
    [("SW", "sw", "Si.sw", 2.1675 / 2.1683), ("Tersoff", "tersoff", "SiC_1989.tersoff", 1.0)],
)
def test_diamond_as_another_program_has_it(shared_data: Path, model: str, style: str, file: str, unit: float) -> None:
    """The other program's Stillinger-Weber has ε = 2.1675 eV (LAMMPS's 2.1683), its Tersoff is that of 1989."""
    golden = json.loads((shared_data / f"si-castep/model-{model}-test-bulk_diamond-properties.json").read_text())
    potential = pair_style_potential(style, f"* * {file} Si", Path("."))

    def per_atom(a: float) -> float:
        return potential.predict([Structure.from_ase(bulk("Si", a=a))])[0].energy / 2

    found = minimize_scalar(per_atom, bounds=(5.2, 5.7), method="bounded", options={"xatol": 1e-7})
    assert found.x == pytest.approx(golden["diamond_a0"], abs=1e-4)
    volumes, energies = np.array(golden["diamond_E_vs_V"]).T
    curve = [per_atom((8 * volume) ** (1 / 3)) for volume in volumes]
    np.testing.assert_allclose(np.multiply(curve, unit), energies, atol=1e-6)


def test_potential_of_two_elements_is_one_like_others(tmp_path: Path) -> None:
    potential = pair_style_potential("tersoff", "* * SiC.tersoff Si C", tmp_path)
    assert (
        isinstance(potential, Potential) and isinstance(potential, Exportable) and isinstance(potential, LammpsNative)
    )
    assert potential.species == (6, 14) and potential.types == (14, 6)
    assert potential.cutoff == pytest.approx(3.0)  # R + D of Si-Si, Tersoff 1989
    structure = rattled()
    found = potential.predict([structure])[0]
    stress, step = to_voigt(found.stress), 1e-4
    for atom, axis in [(0, 0), (9, 2)]:
        energies = []
        for sign in (1, -1):
            positions = structure.positions.copy()
            positions[atom, axis] += sign * step
            moved = Structure(structure.numbers, positions, structure.cell, structure.pbc)
            energies.append(potential.predict([moved])[0].energy)
        assert found.forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), rel=1e-5, abs=1e-6)
    for component, (i, j) in enumerate(VOIGT):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            strained = Structure(
                structure.numbers, structure.positions @ strain, structure.cell @ strain, structure.pbc
            )
            energies.append(potential.predict([strained])[0].energy)
        expected = (energies[0] - energies[1]) / (2 * step * structure.volume)
        assert stress[component] == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_saved_potential_needs_nothing_else(tmp_path: Path) -> None:
    beside = tmp_path / "beside the settings"
    beside.mkdir()
    shutil.copy(potentials_folder() / "SiC.tersoff", beside / "my own.tersoff")
    potential = pair_style_potential("tersoff", "* * 'my own.tersoff' Si C", beside)
    folder = potential.save(tmp_path / "saved")
    expected = potential.predict([rattled()])[0]
    shutil.rmtree(beside)
    for other in (load(folder), pickle.loads(pickle.dumps(potential))):
        found = other.predict([rattled()])[0]
        assert found.energy == expected.energy and other.cutoff == potential.cutoff
        np.testing.assert_array_equal(found.forces, expected.forces)
    atoms = rattled().to_ase()
    atoms.calc = load(folder).calculator()
    np.testing.assert_allclose(atoms.get_stress(voigt=False), expected.stress)
    assert (folder / "in.lammps").is_file()


def test_hybrid_style_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    zbl = pair_style_potential("zbl 2.0 3.0", ["1 1 14 14", "1 2 14 6", "2 2 6 6"], tmp_path, species=["Si", "C"])
    tersoff = pair_style_potential("tersoff", "* * SiC.tersoff Si C", tmp_path)
    lines = ["* * tersoff SiC.tersoff Si C", "1 1 zbl 14 14", "1 2 zbl 14 6", "2 2 zbl 6 6"]
    both = pair_style_potential("hybrid/overlay tersoff zbl 2.0 3.0", lines, tmp_path)
    energy = sum(potential.predict([rattled()])[0].energy for potential in (zbl, tersoff))
    assert both.predict([rattled()])[0].energy == pytest.approx(energy, abs=1e-9)
    parts = ["* * tersoff Si.tersoff Si NULL", "1 2 lj/cut 0.01 3.0", "2 2 lj/cut 0.01 3.0"]
    named = pair_style_potential("hybrid tersoff lj/cut 6.0", parts, tmp_path, species=["Si", "Ar"])
    assert named.species == (14, 18) and named.cutoff == pytest.approx(6.0)


def test_published_snap_of_lammps_equals_ours(tmp_path: Path) -> None:
    """LAMMPS's own copy of Zuo's silicon, once through our reader and once through its commands."""
    folder = potentials_folder()
    for suffix in ("snapcoeff", "snapparam"):
        shutil.copy(folder / f"Si_Zuo_JPCA2020.quadratic.{suffix}", tmp_path / f"si.{suffix}")
    ours = load(tmp_path / "si.snapcoeff")
    lammps = pair_style_potential("snap", "* * si.snapcoeff si.snapparam Si", tmp_path)
    structure = rattled("Si", "diamond", 5.43)
    first, second = ours.predict([structure])[0], lammps.predict([structure])[0]
    assert first.energy == pytest.approx(second.energy, abs=1e-9)
    np.testing.assert_allclose(first.forces, second.forces, atol=1e-9)


def test_embedded_atoms_need_species() -> None:
    potential = pair_style_potential("eam", "* * Cu_u3.eam", Path("."), species=["Cu"])
    lattice = potential.predict([Structure.from_ase(bulk("Cu", a=3.615))])[0].energy
    assert lattice == pytest.approx(-3.54, abs=5e-3)  # Foiles, Baskes, Daw, PRB 33, 7983 (1986), fitted to it


@pytest.mark.parametrize(
    ("style", "coefficients", "species", "words"),
    [
        ("tersof", "* * Si.tersoff Si", None, "did you mean tersoff"),
        ("pace", "* * Si.yace Si", None, "pair_style.*MANYBODY"),
        ("tersoff", "* * Silicon.tersoff Si", None, "file 'Silicon.tersoff', which is not in .*potentials"),
        ("tersoff", "* * Si.tersoff Ge", None, "missing an entry for: Ge Ge Ge"),
        ("tersoff", "* * Si.tersoff Sj", None, "name the element"),
        ("tersoff", "* * Si.tersoff Si", ["Ge"], "pair_coeff names"),
        ("tersoff", "* * SiC.tersoff Si Si", None, "each element stands for one"),
        ("eam", "* * Cu_u3.eam", None, "species"),
        ("eam", "* * Cu_u3.eam", ["Kuper"], "'Kuper' is an unknown element"),
        ("tersoff", "* * Si.tersoff Si\nshell rm x", None, "may not stand"),
        ("tersoff", "* * ${file} Si", None, "may not stand"),
        ("tersoff; shell ls", "* * Si.tersoff Si", None, "may not stand"),
        ("tersoff", "* * 'Si.tersoff Si", None, "quotation"),
        ("tersoff", "", None, "is empty"),
        ("lj/cut", "1 1 0.01 3.0", ["Ar"], "LAMMPS does not accept"),
        ("coul/cut 10.0", "* *", ["Na"], "atom attribute q"),
    ],
)
def test_mistakes_are_told(style: str, coefficients: str, species: list[str] | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        pair_style_potential(style, coefficients, Path("."), species=species)


def test_style_without_lists_needs_a_cutoff_and_unknown_species_is_told() -> None:
    with pytest.raises(ForcewrightError, match="cutoff"):
        largest_range((18,), lambda folder: ["pair_style none"])
    with pytest.raises(ForcewrightError, match="numbers"):
        silicon("sw").predict([rattled()])


def test_damaged_folder_is_told(tmp_path: Path) -> None:
    folder = silicon("sw").save(tmp_path)
    content = json.loads((folder / "potential.json").read_text())
    content["files"] = ["../../etc/passwd"]
    (folder / "potential.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="damaged"):
        load(folder)


def test_potentials_of_ours_that_lammps_computes() -> None:
    basis = SnapModel(twojmax=2).basis((14,))
    assert isinstance(SnapModel().potential(basis, np.zeros(basis.size), {14: 0.0}), LammpsNative)
