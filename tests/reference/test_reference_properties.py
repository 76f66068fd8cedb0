"""Properties of labels: against tblite called directly, derivatives of the energy, and what ASE and we read back."""

import os
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.units import Bohr, Hartree
from single_process import stay_in_process

import forcewright as fw
from forcewright.data import Target, read_property
from forcewright.errors import InputError
from forcewright.reference import reference_from
from forcewright.reference.properties import fermi_level
from forcewright.structure import Structure

NAMES = ["dipole", "quadrupole", "charges", "eigenvalues", "polarizability"]


@pytest.fixture(scope="module")
def water() -> Structure:
    pytest.importorskip("tblite", reason="tblite is absent (extra xtb)")
    atoms = molecule("H2O")
    atoms.positions += np.random.default_rng(1).normal(scale=0.05, size=(3, 3))
    return Structure.from_ase(atoms)


@pytest.fixture(scope="module")
def labels(water: Structure):
    return reference_from({"xtb": "GFN2-xTB", "properties": NAMES}, Path()).label([water])[0]


def direct(structure: Structure, positions: np.ndarray, field: np.ndarray | None = None):
    interface, library = pytest.importorskip("tblite.interface"), pytest.importorskip("tblite.library")
    calculator = interface.Calculator("GFN2-xTB", structure.numbers, positions / Bohr)
    calculator.set("verbosity", 0)
    if field is not None:
        calculator.add("electric-field", library.ffi.new("double[3]", field.tolist()))
    return calculator.singlepoint()


def test_xtb_gives_what_tblite_does_in_units_of_ase(water: Structure, labels) -> None:
    theirs = direct(water, water.positions)
    assert labels.info["dipole"] == pytest.approx(theirs["dipole"] * Bohr)
    assert labels.info["charges"] == pytest.approx(theirs["charges"])
    assert labels.info["eigenvalues"] == pytest.approx(theirs["orbital-energies"] * Hartree)
    assert labels.info["occupations"] == pytest.approx([1, 1, 1, 1, 0, 0]) and labels.info["electrons"] == 8
    quadrupole = np.array(labels.info["quadrupole"]).reshape(3, 3)
    assert np.trace(quadrupole) == pytest.approx(0, abs=1e-9) and quadrupole == pytest.approx(quadrupole.T)


def test_dipole_and_polarizability_are_derivatives_of_the_energy_in_a_field(water: Structure, labels) -> None:
    """E(F) = E - μ·F - F·α·F/2, in atomic units."""
    step, axis = 2e-3, np.array([0.0, 0.6, 0.8])
    energies = {k: direct(water, water.positions, k * step * axis)["energy"] for k in (-1, 0, 1)}
    slope = (energies[1] - energies[-1]) / (2 * step)
    curvature = (energies[1] - 2 * energies[0] + energies[-1]) / step**2
    assert -slope * Bohr == pytest.approx(np.array(labels.info["dipole"]) @ axis, rel=1e-3)
    tensor = np.array(labels.info["polarizability"]).reshape(3, 3)
    assert -curvature * Bohr**3 == pytest.approx(axis @ tensor @ axis, rel=2e-2)


def test_labels_without_properties_keep_their_hash(water: Structure) -> None:
    plain, none = (
        reference_from({"xtb": "GFN2-xTB"}, Path()),
        reference_from({"xtb": "GFN2-xTB", "properties": []}, Path()),
    )
    some = reference_from({"xtb": "GFN2-xTB", "properties": ["dipole"]}, Path())
    assert plain.content_hash == none.content_hash != some.content_hash
    assert plain.label([water])[0].info == {}


def test_label_writes_what_ase_and_targets_read(
    water: Structure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay_in_process(monkeypatch)
    ase.io.write(tmp_path / "w.xyz", [water.to_ase()] * 2)
    config = {"structures": str(tmp_path / "w.xyz"), "output": str(tmp_path / "out.extxyz"), "workers": 1,
              "cache": str(tmp_path / "cache"), "reference": {"xtb": "GFN2-xTB", "properties": NAMES[:4]}}  # fmt: skip
    result = fw.label(config)
    assert "charges" in result.dataset[0].labels.info
    theirs = ase.io.read(result.output)
    assert theirs.get_dipole_moment() == pytest.approx(result.dataset[0].labels.info["dipole"])
    assert theirs.get_charges() == pytest.approx(result.dataset[0].labels.info["charges"])
    assert read_property(result.output, Target(name="charges")).count == 6
    assert read_property([theirs], Target(name="charges")).count == 3  # results of a calculator in memory
    grid = {"low": -25, "high": 25, "step": 0.1, "zero": "fermi"}
    states = read_property(result.output, Target(name="dos", grid=grid, smearing_eV=0.2, eigenvalues={}))
    assert states.values[0].sum() * 0.1 == pytest.approx(12, rel=1e-3)
    assert states.eigenvalues[0].highest_occupied() < states.eigenvalues[0].fermi


def test_properties_that_a_program_does_not_give_are_refused() -> None:
    with pytest.raises(InputError, match="EMT gives") as caught:
        reference_from({"ase": "ase.calculators.emt:EMT", "properties": ["dipole"]}, Path())
    assert caught.value.field == "reference.properties"
    with pytest.raises(ValueError, match="for xtb, pyscf, espresso and ase"):
        reference_from({"potential": "x", "properties": ["dipole"]}, Path())


@pytest.mark.parametrize("width", [0.0, 0.025, 0.4])
def test_fermi_level_fills_the_states(width: float) -> None:
    energies = np.array([-2.0, -1.0, -0.9, 1.0, 1.5])
    level = fermi_level(energies, 6, 2, width)
    filled = energies <= level if width == 0 else 1 / (1 + np.exp((energies - level) / width))
    assert 2 * np.sum(filled) == pytest.approx(6)
    assert width or level == pytest.approx(0.05)


@pytest.mark.parametrize("xc", [None, pytest.param("pbe", marks=pytest.mark.slow)])
def test_pyscf_gives_derivatives_of_its_energy(xc: str | None) -> None:
    pytest.importorskip("pyscf", reason="PySCF is absent (extra pyscf)")
    structure = Structure.from_ase(molecule("H2O"))
    names = ["dipole", "polarizability", "charges", "eigenvalues"]
    settings = {"pyscf": {"xc": xc, "basis": "sto-3g"}, "properties": names}
    labels = reference_from(settings, Path()).label([structure])[0]
    shift = np.zeros((3, 3))
    shift[0, 2] = 1e-3
    ends = [
        reference_from({"pyscf": settings["pyscf"]}, Path()).label([Structure(structure.numbers, positions)])[0].energy
        for positions in (structure.positions + shift, structure.positions - shift)
    ]
    assert labels.forces[0, 2] == pytest.approx(-(ends[0] - ends[1]) / 2e-3, abs=2e-3)
    assert sum(labels.info["charges"]) == pytest.approx(0, abs=1e-6)
    tensor = np.array(labels.info["polarizability"]).reshape(3, 3)
    assert np.linalg.eigvalsh(tensor).min() > 0 and abs(labels.info["dipole"][2]) > 0.3
    if xc is None:
        # what pyscf-properties 0.1 gives by coupled perturbed equations
        assert np.diag(tensor) / Bohr**3 == pytest.approx([0.04, 5.36, 2.21], abs=0.03)
    assert np.shape(labels.info["eigenvalues"]) == (1, 1, 7) and labels.info["k_weights"] == [1]
    assert labels.info["electrons"] == 10


def test_pyscf_refuses_crystals() -> None:
    pytest.importorskip("pyscf", reason="PySCF is absent (extra pyscf)")
    reference = reference_from({"pyscf": {"basis": "sto-3g"}}, Path())
    assert "computes molecules" in reference.label([Structure.from_ase(bulk("C", cubic=True))])[0].reason


# Quantum ESPRESSO -------------------------------------------------------------------------------------------------

ESPRESSO = {
    "pseudopotentials": {"Si": "Si.upf"}, "kpoints": [2, 2, 2],
    "input": {"system": {"ecutwfc": 12, "occupations": "smearing", "smearing": "fd", "degauss": 0.01}},
}  # fmt: skip


def test_espresso_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCEWRIGHT_ALLOW_COMMANDS", raising=False)
    with pytest.raises(InputError, match="would run"):
        reference_from({"espresso": {**ESPRESSO, "command": ["sh", "-c", "x"]}}, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="is not installed"):
        reference_from({"espresso": ESPRESSO}, tmp_path)
    program = tmp_path / "pw.x"
    program.write_text("#!/bin/sh\necho ' %%%%%%%%\n Error in routine cdiagh (7):\n eigenvectors failed\n %%%%%%%%'\n")
    program.chmod(0o755)
    with pytest.raises(InputError, match="does not exist"):
        reference_from({"espresso": ESPRESSO}, tmp_path)
    (tmp_path / "Si.upf").write_text("x")
    with pytest.raises(InputError, match="ecutwfc"):
        reference_from({"espresso": {**ESPRESSO, "input": {}}}, tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    reference = reference_from({"espresso": ESPRESSO}, tmp_path)
    assert "Error in routine cdiagh (7)" in reference.label([Structure.from_ase(bulk("Si"))])[0].reason


def test_espresso_forces_are_derivatives_and_states_hold_the_electrons() -> None:
    """With QE's own Si.pz-vbc.UPF, in the folder that ESPRESSO_PSEUDO names, as pw.x itself looks for it."""
    folder = Path(os.environ.get("ESPRESSO_PSEUDO", "."))
    if shutil.which("pw.x") is None or not (folder / "Si.pz-vbc.UPF").is_file():
        pytest.skip("pw.x or Si.pz-vbc.UPF is absent (ESPRESSO_PSEUDO)")
    settings = {**ESPRESSO, "pseudopotentials": {"Si": "Si.pz-vbc.UPF"}, "folder": str(folder)}
    reference = reference_from({"espresso": settings, "properties": ["eigenvalues"]}, Path())
    atoms = bulk("Si")
    energies = {}
    for shift in (-0.01, 0.0, 0.01):
        moved = atoms.copy()
        moved.positions[1, 2] += 0.1 + shift
        labels = reference.label([Structure.from_ase(moved)])[0]
        energies[shift] = labels.energy
        if not shift:
            middle = labels
    assert middle.forces[1, 2] == pytest.approx(-(energies[0.01] - energies[-0.01]) / 0.02, abs=5e-3)
    assert middle.info["electrons"] == 8
    levels, weights = np.array(middle.info["eigenvalues"]), np.array(middle.info["k_weights"])
    filled = 1 / (1 + np.exp((levels - middle.info["fermi_level"]) / (0.01 * Hartree / 2)))
    assert 2 * np.einsum("skn,k->", filled, weights) == pytest.approx(8, abs=1e-4)
