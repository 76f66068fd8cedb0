"""Every reference against the program behind it called directly, and forces and stress against finite differences."""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.units import Bohr, Hartree
from reference_doubles import Counted

from forcewright.errors import InputError, MissingExtraError
from forcewright.models import load
from forcewright.potential import Failure, Reference
from forcewright.reference import ase_reference, label_all, potential_reference, reference_from, xtb_reference
from forcewright.reference.cp2k import PROGRAMS, cp2k_reference
from forcewright.reference.settings import ReferenceSettings
from forcewright.structure import Dataset, Frame, Labels, Structure, to_voigt

STILLINGER_WEBER = {"lammps": {"pair_style": "sw", "pair_coeff": "* * Si.sw Si"}}


def rattled(atoms, amount: float = 0.05, strain: float = 0.0, seed: int = 0) -> Structure:
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    if strain:
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += amount * rng.normal(size=(len(atoms), 3))
    return Structure.from_ase(atoms)


def label_one(reference: Reference, structure: Structure) -> Labels:
    (labels,) = reference.label([structure])
    assert isinstance(labels, Labels), labels
    return labels


def check_derivatives(reference: Reference, structure: Structure, step: float, tolerance: float) -> None:
    """Forces of one atom, and where there is one the stress, are differences of the energy."""

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        return float(label_one(reference, Structure(structure.numbers, positions, cell, structure.pbc)).energy or 0.0)

    labels = label_one(reference, structure)
    for axis in range(3):
        shift = np.zeros_like(structure.positions)
        shift[0, axis] = step
        slope = energy(structure.positions + shift, structure.cell) - energy(
            structure.positions - shift, structure.cell
        )
        assert labels.forces[0, axis] == pytest.approx(-slope / (2 * step), abs=tolerance)
    if labels.stress is None:
        return
    for i, j in ((0, 0), (1, 2)):
        values = []
        for sign in (1, -1):
            deform = np.eye(3)
            deform[i, j] += sign * step / 2
            deform[j, i] += sign * step / 2
            values.append(energy(structure.positions @ deform, structure.cell @ deform))
        slope = (values[0] - values[1]) / (2 * step)
        assert labels.stress[i, j] * structure.volume == pytest.approx(slope, abs=10 * tolerance)


# tight binding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GFN1-xTB", "GFN2-xTB"])
def test_xtb_is_tblite(method: str) -> None:
    interface = pytest.importorskip("tblite.interface", reason="tblite is absent (extra xtb)")
    for structure in (rattled(molecule("CH3OH")), rattled(bulk("C", cubic=True))):
        labels = label_one(xtb_reference(method), structure)
        periodic = {"lattice": structure.cell / Bohr, "periodic": structure.pbc} if structure.pbc.all() else {}
        direct = interface.Calculator(method, structure.numbers, structure.positions / Bohr, **periodic)
        direct.set("verbosity", 0)
        found = direct.singlepoint()
        assert labels.energy == pytest.approx(found["energy"] * Hartree, abs=1e-9)
        np.testing.assert_allclose(labels.forces, -found["gradient"] * Hartree / Bohr, rtol=0, atol=1e-7)
        if periodic:
            np.testing.assert_allclose(labels.stress * structure.volume, found["virial"] * Hartree, rtol=0, atol=1e-6)
        else:
            assert labels.stress is None


@pytest.mark.parametrize("method", ["GFN1-xTB", "GFN2-xTB"])
def test_xtb_forces_are_derivatives(method: str) -> None:
    pytest.importorskip("tblite", reason="tblite is absent (extra xtb)")
    reference = xtb_reference(method, accuracy=1e-3)
    check_derivatives(reference, rattled(molecule("H2O")), 1e-3, 2e-4)
    if method == "GFN1-xTB":  # GFN2's lattice sums take ten times as long
        check_derivatives(reference, rattled(bulk("C")), 1e-3, 1e-3)


def test_xtb_failures_are_told() -> None:
    pytest.importorskip("tblite", reason="tblite is absent (extra xtb)")
    (stopped,) = xtb_reference(max_iterations=2).label([rattled(molecule("H2O"))])
    assert isinstance(stopped, Failure) and stopped.repeatable and "SCF" in stopped.reason
    heavy = Structure(np.array([92]), np.zeros((1, 3)))
    on_each_other = Structure(np.array([1, 1]), np.zeros((2, 3)))
    results = xtb_reference().label([heavy, on_each_other, rattled(molecule("H2"))])
    assert isinstance(results[0], Failure) and "holds U" in results[0].reason
    assert isinstance(results[1], Failure) and isinstance(results[2], Labels)


def test_charges_spins_and_slabs_that_are_not_computed_are_refused() -> None:
    """Frames that say they are another system get no label of this one."""
    emt = ase_reference("ase.calculators.emt:EMT")
    pair = Structure(np.array([29, 29]), np.array([[0, 0, 0], [0, 0, 2.3]]))
    infos = [{}, {"charge": 1}, {"charge": 0}, {"total_charge": -1.0}, {"multiplicity": 3}, {"spin": 1}, {"spin": 4}]
    frames = Dataset(tuple(Frame(pair, Labels(info=info)) for info in infos))
    results = label_all(emt, frames, workers=0).results
    assert [isinstance(result, Failure) for result in results] == [False, True, False, True, True, False, True]
    assert "charge=1" in results[1].reason and "multiplicity=3" in results[4].reason
    slab = Structure(pair.numbers, pair.positions, np.diag([3.0, 3.0, 9.0]), [True, True, False])
    assert isinstance(label_all(emt, [slab], workers=0).results[0], Labels)


def test_xtb_knows_cations_but_no_slabs() -> None:
    pytest.importorskip("tblite", reason="tblite is absent (extra xtb)")
    water = rattled(molecule("H2O"))
    frames = Dataset((Frame(water, Labels()), Frame(water, Labels(info={"charge": 1}))))
    neutral, cation = (label_all(xtb_reference(charge=charge), frames, workers=0).results for charge in (None, 1))
    assert isinstance(neutral[1], Failure) and isinstance(cation[1], Labels)
    assert cation[1].energy - neutral[0].energy > 5  # water ionizes at 12.6 eV
    slab = Structure(water.numbers, water.positions, np.diag([9.0, 9.0, 9.0]), [True, True, False])
    (refused,) = label_all(xtb_reference(), [slab], workers=0).results
    assert isinstance(refused, Failure) and "pbc T T F" in refused.reason


def test_xtb_missing_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="GFN1-xTB, GFN2-xTB"):
        xtb_reference("GFN3-xTB")  # type: ignore[arg-type]
    monkeypatch.setattr("forcewright.reference.xtb.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"forcewright\[xtb\]"):
        xtb_reference()


# LAMMPS -----------------------------------------------------------------------------------------------------------


def test_stillinger_weber_as_published(tmp_path: Path) -> None:
    """Stillinger & Weber 1985: cohesive energy 4.3363 eV (2 ε of 2.1683 eV) at 5.431 Å, without forces or stress."""
    reference = reference_from(STILLINGER_WEBER, tmp_path)
    labels = label_one(reference, Structure.from_ase(bulk("Si", a=5.43095, cubic=True)))
    assert labels.energy / 8 == pytest.approx(-4.3363, abs=1e-3)
    assert np.abs(labels.forces).max() < 1e-9 and np.abs(labels.stress).max() < 1e-3
    check_derivatives(reference, rattled(bulk("Si", cubic=True), strain=0.02), 1e-4, 1e-5)


def test_elements_a_pair_style_does_not_know(tmp_path: Path) -> None:
    reference = reference_from(STILLINGER_WEBER, tmp_path)
    wrong, right = reference.label([Structure.from_ase(bulk("Ge")), Structure.from_ase(bulk("Si"))])
    assert wrong == Failure("holds Ge, but the reference knows only Si", repeatable=True)
    assert isinstance(right, Labels)


def test_labels_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    structures = [rattled(bulk("Si", cubic=True), seed=seed) for seed in range(12)]
    results = [label_all(reference_from(STILLINGER_WEBER, tmp_path), structures, workers=n).results for n in (0, 1, 2)]
    for one, two, none in zip(*results, strict=True):
        assert one.energy == pytest.approx(two.energy, abs=1e-10) == pytest.approx(none.energy, abs=1e-10)
        np.testing.assert_allclose(one.forces, two.forces, rtol=0, atol=1e-9)


# ASE --------------------------------------------------------------------------------------------------------------


def test_any_calculator_of_ase() -> None:
    kwargs = {"sigma": 3.4, "epsilon": 0.0104, "rc": 5.5, "smooth": True}
    reference = ase_reference("ase.calculators.lj:LennardJones", kwargs)
    structure = rattled(bulk("Ar", a=5.3, cubic=True) * 2, strain=0.01)
    atoms = structure.to_ase()
    atoms.calc = LennardJones(**kwargs)
    labels = label_one(pickle.loads(pickle.dumps(reference)), structure)
    assert labels.energy == atoms.get_potential_energy()
    np.testing.assert_array_equal(labels.forces, atoms.get_forces())
    np.testing.assert_array_equal(to_voigt(labels.stress), atoms.get_stress())
    check_derivatives(reference, structure, 1e-4, 1e-5)
    slab = Structure(structure.numbers, structure.positions, structure.cell, [True, True, False])
    assert label_one(reference, slab).stress is None
    other = ase_reference("ase.calculators.lj:LennardJones", {**kwargs, "rc": 5.0})
    assert len({reference.content_hash, other.content_hash, ase_reference("ase.calculators.emt:EMT").content_hash}) == 3


@pytest.mark.parametrize(
    ("how", "words", "repeatable"),
    [
        ("scf", "did not converge in 60 cycles", True),
        ("nan", "the forces holds numbers that are not finite", True),
        ("inf", "the energy holds numbers that are not finite", True),
        ("shape", "expected \\(2, 3\\)", True),
        ("bug", "ZeroDivisionError: division by zero", False),
    ],
)
def test_numbers_are_checked(how: str, words: str, repeatable: bool) -> None:
    reference = ase_reference("reference_doubles:Wrong", {"how": how})
    (failure,) = reference.label([Structure.from_ase(molecule("H2"))])
    assert isinstance(failure, Failure) and failure.repeatable == repeatable
    assert re.search(words, failure.reason)


def test_a_calculator_is_new_for_each_structure_unless_asked() -> None:
    structures = [rattled(molecule("H2O"), seed=seed) for seed in range(3)]
    for reuse, made in ((False, 4), (True, 2)):
        Counted.made = Counted.closed = 0
        results = label_all(ase_reference("reference_doubles:Counted", reuse=reuse), structures, workers=0).results
        assert all(isinstance(result, Labels) for result in results)
        assert (Counted.made, Counted.closed) == (made, 4 if not reuse else 1)


# potentials -------------------------------------------------------------------------------------------------------


def test_a_potential_teaches(tmp_path: Path) -> None:
    from forcewright.models.snap import SnapModel

    basis = SnapModel(twojmax=2).basis((14,))
    folder = SnapModel(twojmax=2).potential(basis, np.arange(1.0, basis.size + 1), {14: -5.0}).save(tmp_path / "si")
    reference = reference_from({"potential": "si"}, tmp_path)
    structure = rattled(bulk("Si", cubic=True))
    expected = load(folder).predict([structure])[0]
    labels = label_one(reference, structure)
    assert labels.energy == pytest.approx(expected.energy, abs=1e-10)
    np.testing.assert_allclose(labels.forces, expected.forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(labels.stress, expected.stress, rtol=0, atol=1e-12)
    check_derivatives(reference, structure, 1e-4, 1e-4)
    assert reference.name == "si" and potential_reference(folder).content_hash == reference.content_hash
    with pytest.raises(InputError, match="does not exist"):
        reference_from({"potential": "nowhere"}, tmp_path)


# CP2K -------------------------------------------------------------------------------------------------------------

HYDROGEN = {
    "basis_set": "DZVP-GTH", "basis_set_file": "GTH_BASIS_SETS", "pseudo_potential": "GTH-PADE", "xc": "LDA",
    "cutoff": 120 * Hartree, "inp": "&FORCE_EVAL\n&DFT\n&SCF\nEPS_SCF 1e-7\n&END\n&END\n&END\n",
}  # fmt: skip


@pytest.fixture
def hydrogen() -> Structure:
    if not any(shutil.which(words[0]) for words in PROGRAMS):
        pytest.skip("the program cp2k is absent (Debian: apt install cp2k)")
    atoms = molecule("H2")
    atoms.set_cell([4.0, 4.2, 4.4])
    atoms.pbc = True
    return rattled(atoms)


def test_cp2k_converges_a_real_cycle(hydrogen: Structure) -> None:
    """H2 in LDA lies at -1.137 Hartree (Kolos & Wolniewicz's exact energy is -1.174); here in a small cell."""
    reference = cp2k_reference(HYDROGEN)
    labels = label_one(reference, hydrogen)
    assert labels.energy / Hartree == pytest.approx(-1.13, abs=0.04)
    assert np.abs(labels.forces.sum(axis=0)).max() < 0.05  # a coarse grid
    check_derivatives(reference, hydrogen, 5e-3, 0.02)
    assert cp2k_reference({**HYDROGEN, "cutoff": 1000}).content_hash != reference.content_hash


def test_cp2k_failures_are_told(hydrogen: Structure) -> None:
    (unconverged,) = cp2k_reference({**HYDROGEN, "max_scf": 2}).label([hydrogen])
    assert unconverged == Failure("the self-consistent cycle did not converge in 2 steps", repeatable=True)
    (unknown,) = cp2k_reference({**HYDROGEN, "basis_set": "NOSUCH"}).label([hydrogen])
    assert isinstance(unknown, Failure) and "basis set <NOSUCH> for element <H> was not found" in unknown.reason


def test_cp2k_absent_or_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="bases.*is not known; allowed are"):
        cp2k_reference({"bases": "x"})
    not_it = tmp_path / "not_it"
    not_it.write_text("#!/bin/sh\necho I am another program\n")
    not_it.chmod(0o755)
    with pytest.raises(InputError, match="is not a CP2K shell: I am another program"):
        cp2k_reference({}, [str(not_it)])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt install cp2k"):
        cp2k_reference({})
    with pytest.raises(InputError, match="reference.cp2k.command.*the program cp2k.exe"):
        reference_from({"cp2k": {"command": ["cp2k.exe"]}}, tmp_path)


# settings ---------------------------------------------------------------------------------------------------------


def test_settings_name_exactly_one() -> None:
    assert ReferenceSettings.model_validate({"xtb": "GFN2-xTB"}).xtb.method == "GFN2-xTB"
    for wrong, words in (
        ({}, "is empty; give one of"), ({"xtb": "GFN1-xTB", "ase": "a:b"}, "has xtb and ase"),
        ({"xtb": "GFN1-xTB", "kwargs": {"a": 1}}, "kwargs are for ase"), ({"xtb": "GFN9"}, "GFN2-xTB"),
        ({"xtb": "GFN1-xTB", "reuse": True}, "reuse is for ase"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            ReferenceSettings.model_validate(wrong)
