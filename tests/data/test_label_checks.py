"""What a whole set gives away: each check speaks where something is wrong, and keeps silent on the set it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT

from forcewright.data import audit
from forcewright.data.label_checks import symmetric_sites
from forcewright.structure import Dataset, Frame, Labels, Structure, from_voigt


@pytest.fixture(scope="module")
def nickel() -> Dataset:
    """EMT nickel in two groups, one of them strained."""
    rng = np.random.default_rng(3)
    frames = []
    for index in range(32):
        atoms = bulk("Ni", cubic=True).repeat((1, 1, 2))
        if index % 2:
            atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        energy = atoms.get_potential_energy() - 4.4 * len(atoms)
        labels = Labels(energy, atoms.get_forces(), from_voigt(atoms.get_stress()), ("bulk", "strained")[index % 2])
        frames.append(Frame(Structure.from_ase(atoms), labels, f"ni.xyz#{index}"))
    return Dataset(tuple(frames))


def changed(dataset: Dataset, change: Callable[[int, Frame], Frame]) -> Dataset:
    return Dataset(tuple(change(index, frame) for index, frame in enumerate(dataset)))


def labelled(frame: Frame, **labels: object) -> Frame:
    return frame._replace(labels=replace(frame.labels, **labels))


def codes(dataset: Dataset) -> set[str]:
    found = audit(dataset)
    return {finding.code for finding in (*found.errors, *found.warnings)}


def test_sound_data_are_left_in_peace(nickel: Dataset) -> None:
    perfect = bulk("Ni", cubic=True)
    zeros = Labels(-17.7, np.zeros((4, 3)), np.zeros((3, 3)), "bulk")  # at rest by symmetry, at its equilibrium
    assert codes(nickel + Dataset((Frame(Structure.from_ase(perfect), zeros, "ni.xyz#32"),))) == set()
    assert {finding.code for finding in audit(nickel).notes} <= {"stress not judged"}


def test_symmetric_sites() -> None:
    assert symmetric_sites(Structure.from_ase(bulk("Si", cubic=True))).all()
    assert symmetric_sites(Structure.from_ase(bulk("NaCl", "rocksalt", a=5.6))).all()
    moved = bulk("Si", cubic=True)
    moved.positions[0, 0] += 0.05
    assert not symmetric_sites(Structure.from_ase(moved))[0]


@pytest.mark.parametrize(
    ("name", "zero"), [("forces", np.zeros((8, 3))), ("stress", np.zeros((3, 3))), ("energy", 0.0)]
)
@pytest.mark.parametrize("every", [1, 4])
def test_zeros_that_stand_for_nothing_are_counted(name: str, zero: object, every: int, nickel: Dataset) -> None:
    data = changed(nickel, lambda i, frame: frame if i % every else labelled(frame, **{name: zero}))
    (warning,) = (finding for finding in audit(data).warnings if finding.code == "placeholder")
    assert warning.field == name
    assert f"{32 // every} of 32 frames" in warning.message


def test_atoms_that_were_held_fixed_are_named(nickel: Dataset) -> None:
    def hold(index: int, frame: Frame) -> Frame:
        forces = np.array(frame.labels.forces)
        forces[:3] = 0
        return labelled(frame, forces=forces) if index > 20 else frame

    (warning,) = (finding for finding in audit(changed(nickel, hold)).warnings if finding.code == "constrained atoms")
    assert (warning.frame, warning.field) == (21, "forces")
    assert "3 atoms" in warning.message
    assert "11 frames" in warning.message


@pytest.mark.parametrize(
    ("key", "values"), [("charge", (0, 1)), ("multiplicity", (1, 3)), ("functional", ("PBE", "SCAN"))]
)
def test_systems_of_two_kinds_in_one_set_are_named(key: str, values: tuple[object, object], nickel: Dataset) -> None:
    data = changed(nickel, lambda i, frame: labelled(frame, info={key: values[i > 20]}))
    (warning,) = (finding for finding in audit(data).warnings if finding.code.startswith("mixed"))
    assert (warning.field, warning.frame) == (key, 21)
    assert not codes(changed(nickel, lambda i, frame: labelled(frame, info={key: values[0]})))


@pytest.mark.parametrize(("energy", "wrong"), [(-0.2, False), (-4.9, True), (-41000.0, True), (40.0, True)])
def test_isolated_atoms_count_from_the_zero_of_the_others(energy: float, wrong: bool, nickel: Dataset) -> None:
    atom = Frame(Structure(np.array([28]), np.zeros((1, 3))), Labels(energy, group="IsolatedAtom"), "ni.xyz#32")
    assert ("zero of energy" in codes(nickel + Dataset((atom,)))) is wrong


def test_energies_on_two_levels_are_named(nickel: Dataset) -> None:
    """Every fourth frame of a trajectory of crystals is off by what nobody sees in the spread of its energies."""
    rng = np.random.default_rng(7)
    frames = []
    for index in range(42):
        atoms = bulk("Cu", cubic=True).repeat((1, 1, 2))
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        energy = atoms.get_potential_energy() - 3.5 * len(atoms)
        frames.append(Frame(Structure.from_ase(atoms), Labels(energy, atoms.get_forces()), f"cu.xyz#{index}"))
    sound = Dataset(tuple(frames))
    assert codes(sound) == set()
    off = changed(sound, lambda i, frame: frame if i % 4 else labelled(frame, energy=frame.labels.energy + 8 * 0.18))
    (warning,) = (finding for finding in audit(off).warnings if finding.code == "energy level")
    assert (warning.field, warning.frame) == ("energy", 0)
    assert "+0.18 eV/atom" in warning.message


def test_one_energy_off_its_level_is_named(nickel: Dataset) -> None:
    off = changed(nickel, lambda i, f: labelled(f, energy=f.labels.energy + 0.2 * 8) if i == 6 else f)
    (warning,) = (finding for finding in audit(off).warnings if finding.code == "energy level")
    assert (warning.frame, "1 of 16 frames" in warning.message) == (6, True)


@pytest.mark.parametrize("offset", [0.15, -3.0])
def test_groups_on_two_levels_are_named(offset: float, nickel: Dataset) -> None:
    off = changed(
        nickel, lambda i, f: labelled(f, energy=f.labels.energy + 8 * offset) if f.labels.group == "strained" else f
    )
    warning = next(finding for finding in audit(off).warnings if finding.code == "energy level")
    assert f"{abs(offset):.1g}" in warning.message or "eV/atom off" in warning.message
    assert "group" in warning.message


@pytest.mark.parametrize(("every", "words"), [(1, "explained by where the atoms stand"), (5, "do not belong")])
@pytest.mark.parametrize("kind", ["permuted", "rolled", "of other frames"])
def test_forces_in_another_order_are_noticed(every: int, words: str, kind: str, nickel: Dataset) -> None:
    rng = np.random.default_rng(0)

    def mix(index: int, frame: Frame) -> Frame:
        if index % every:
            return frame
        rows = np.asarray(frame.labels.forces)
        mixed = {
            "permuted": rng.permutation(rows), "rolled": np.roll(rows, 3, axis=0),
            "of other frames": np.asarray(nickel[(index + 2) % 32].labels.forces),
        }  # fmt: skip
        return labelled(frame, forces=mixed[kind], stress=None, energy=frame.labels.energy)

    warnings = [finding for finding in audit(changed(nickel, mix)).warnings if finding.code == "order of forces"]
    assert {finding.field for finding in warnings} == {"forces"}
    assert words in warnings[0].message


def test_forces_of_two_units_in_one_set_are_noticed(nickel: Dataset) -> None:
    half = changed(
        nickel,
        lambda _, f: labelled(f, forces=np.asarray(f.labels.forces) / 2) if f.labels.group == "strained" else f,
    )
    (warning,) = (finding for finding in audit(half).warnings if finding.code == "force factor")
    assert "0.5 times" in warning.message or " 2 times" in warning.message


def test_forces_that_vanish_by_symmetry_say_nothing_of_units() -> None:
    """Strained crystals whose forces are the noise of a code, and whose energies are sound."""
    rng = np.random.default_rng(1)
    frames = []
    for index in range(24):
        atoms = bulk("Cu", cubic=True)
        strain = rng.uniform(-0.02, 0.02, (3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        atoms.calc = EMT()
        displaced = atoms.copy()
        displaced.rattle(1e-5, rng=rng)
        displaced.calc = EMT()
        labels = Labels(atoms.get_potential_energy() - 14.0, displaced.get_forces(), None, "Elastic")
        frames.append(Frame(Structure.from_ase(displaced), labels, f"cu.xyz#{index}"))
    assert codes(Dataset(tuple(frames))) == set()


def test_lengths_in_bohr_are_noticed(nickel: Dataset) -> None:
    def stretch(_: int, frame: Frame) -> Frame:
        s = frame.structure
        return frame._replace(structure=Structure(s.numbers, s.positions / units.Bohr, s.cell / units.Bohr, s.pbc))

    assert "unit of length" in codes(changed(nickel, stretch))


@pytest.mark.parametrize(("energy", "force"), [
    (1 / units.Hartree, units.Bohr / units.Hartree), (units.mol / units.kJ, units.mol / units.kJ),
])  # fmt: skip
def test_consistent_labels_in_other_units_are_doubted(energy: float, force: float, nickel: Dataset) -> None:
    def convert(_: int, frame: Frame) -> Frame:
        assert frame.labels.energy is not None and frame.labels.forces is not None
        return labelled(frame, energy=frame.labels.energy * energy, forces=frame.labels.forces * force, stress=None)

    assert "unit of force" in {finding.code for finding in audit(changed(nickel, convert)).notes}


def test_gradients_are_not_blamed_on_the_stress(nickel: Dataset) -> None:
    def turn(_: int, frame: Frame) -> Frame:
        assert frame.labels.forces is not None
        return labelled(frame, forces=-frame.labels.forces)

    assert codes(changed(nickel, turn)) == {"force sign"}
