"""Every check of the audit in a case where it speaks and in one where it keeps silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import Bohr, GPa, Hartree, kcal, kJ, mol

from forcewright.data import Audit, audit, read, require_sound
from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame, Labels, Structure, from_voigt

GROUPS = ("cold", "warm", "hot")


@pytest.fixture(scope="module")
def copper() -> Dataset:
    """EMT copper in three groups of different strain and temperature; nothing is wrong with it."""
    rng = np.random.default_rng(5)
    frames = []
    for index in range(45):
        atoms = bulk("Cu", cubic=True).repeat((1, 1, 1 + index % 2))
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle((0.02, 0.1, 0.15)[index % 3], rng=rng)
        atoms.calc = EMT()
        # EMT counts energy from the crystal; a constant per atom makes it look like a code that counts from atoms.
        labels = Labels(
            atoms.get_potential_energy() - 3.5 * len(atoms), atoms.get_forces(), from_voigt(atoms.get_stress()),
            GROUPS[index % 3],
        )  # fmt: skip
        frames.append(Frame(Structure.from_ase(atoms), labels, f"cu.extxyz#{index}"))
    return Dataset(tuple(frames), "cu")


def change(dataset: Dataset, to: Callable[[Labels], Labels], where: Callable[[int, Labels], bool]) -> Dataset:
    frames = (f._replace(labels=to(f.labels)) if where(i, f.labels) else f for i, f in enumerate(dataset))
    return Dataset(tuple(frames), dataset.name, dataset.source)


def codes(found: Audit) -> set[str]:
    return {finding.code for finding in (*found.errors, *found.warnings)}


def test_sound_data_are_left_in_peace(copper: Dataset) -> None:
    found = audit(copper)
    assert codes(found) == set()
    assert min(found.agreement.values()) > 0.95
    assert set(found.agreement) == set(GROUPS)
    require_sound(copper)


# energies and forces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "words"), [(1 / Hartree, "in Hartree"), (mol / kcal, "in kcal/mol"), (2 / Hartree, "in Rydberg")]
)
def test_a_group_in_another_energy_unit_is_named(copper: Dataset, factor: float, words: str) -> None:
    wrong = change(copper, lambda lab: replace(lab, energy=lab.energy * factor), lambda _, lab: lab.group == "hot")
    (finding,) = [f for f in audit(wrong).errors if f.code == "energy factor"]
    assert words in finding.message
    assert "15 of 15 frames of the group 'hot'" in finding.message


def test_where_most_energies_are_wrong_the_others_are_named_as_what_they_are(copper: Dataset) -> None:
    wrong = change(copper, lambda lab: replace(lab, energy=lab.energy * mol / kJ), lambda _, lab: lab.group != "hot")
    (finding,) = [f for f in audit(wrong).errors if f.code == "energy factor"]
    assert "times what the others let expect: they look like energies in kJ/mol" in finding.message
    assert "15 of 15 frames of the group 'hot' are like this" in finding.message


def test_energies_per_atom_are_seen_in_some_frames_and_in_all(copper: Dataset) -> None:
    def per_atom(chosen: Callable[[int], bool]) -> Dataset:
        return Dataset(
            tuple(
                f._replace(labels=replace(f.labels, energy=f.labels.energy / len(f.structure))) if chosen(i) else f
                for i, f in enumerate(copper)
            )
        )

    assert "energy factor" in codes(audit(per_atom(lambda i: i in (3, 4))))
    assert "energy per atom" in codes(audit(per_atom(lambda i: True)))


def test_one_energy_far_off_is_named(copper: Dataset) -> None:
    wrong = change(copper, lambda lab: replace(lab, energy=lab.energy + 30), lambda i, _: i == 7)
    (finding,) = [f for f in audit(wrong).findings if f.code == "energy outlier"]
    assert (finding.file, finding.frame, finding.field) == ("cu.extxyz", 7, "energy")


def test_one_large_force_and_a_net_force_are_named(copper: Dataset) -> None:
    large = change(copper, lambda lab: replace(lab, forces=lab.forces * 60), lambda i, _: i == 8)
    assert [f.frame for f in audit(large).findings if f.code == "force outlier"] == [8]
    pulled = change(copper, lambda lab: replace(lab, forces=lab.forces + 0.5), lambda i, _: i == 9)
    assert [f.frame for f in audit(pulled).findings if f.code == "net force"] == [9]


def test_missing_labels_are_counted_by_group(copper: Dataset) -> None:
    wrong = change(copper, lambda lab: replace(lab, energy=None), lambda i, lab: lab.group == "warm" and i < 10)
    (finding,) = [f for f in audit(wrong).warnings if f.code == "missing labels"]
    assert "3 of 45 frames have no energy (3 of 15 in warm)" in finding.message
    nothing = change(copper, lambda lab: Labels(), lambda *_: True)
    assert [f.message for f in audit(nothing).errors] == ["no frame has an energy"]


@pytest.mark.parametrize(
    ("factor", "code", "words"),
    [(-1.0, "force sign", "these are gradients"), (Bohr / Hartree, "force unit", "forces in Hartree/Bohr")],
)
@pytest.mark.parametrize("everywhere", [False, True])
def test_forces_that_do_not_belong_to_the_energies_are_named(
    copper: Dataset, factor: float, code: str, words: str, everywhere: bool
) -> None:
    # Cold crystals that differ by strain leave the forces too little to say, so only the hot group can be judged.
    wrong = change(
        copper, lambda lab: replace(lab, forces=lab.forces * factor), lambda _, lab: everywhere or lab.group == "hot"
    )
    errors = [f for f in audit(wrong).errors if f.code == code]
    groups = [f.message.split(":")[0] for f in errors]
    assert groups == ["group hot"] or (everywhere and set(groups) == {"group hot", "group warm"})
    assert words in errors[0].message
    if not everywhere:
        assert codes(audit(wrong)) == {code}


# structures -------------------------------------------------------------------------------------------------------


def test_a_moved_duplicate_is_found_and_conflicts_are_errors(copper: Dataset) -> None:
    structure, labels, _ = copper[0]
    moved = Structure(structure.numbers, structure.positions + 0.7 + structure.cell[1], structure.cell, structure.pbc)
    same = copper + Dataset((Frame(moved, labels, "b.extxyz#0"),))
    found = audit(same)
    assert codes(found) == set()
    assert "is the same structure as frame 0 of cu.extxyz, with the same labels" in str(found)
    other = copper + Dataset((Frame(moved, replace(labels, energy=labels.energy + 0.5), "b.extxyz#0"),))
    assert codes(audit(other)) == {"conflicting duplicates"}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"cell": np.zeros((3, 3))}, "zero cell"),
        ({"cell": 3.6 * np.eye(3)[[1, 0, 2]]}, "left-handed cell"),
        ({"positions": [[0, 0, 0], [0.9, 0, 0]]}, "overlapping atoms"),
        ({"positions": [[0, 0, 0], [3.6, 0, 0.05]]}, "overlapping atoms"),
        ({"positions": [[0, 0, np.nan], [0, 1.8, 1.8]]}, "not finite"),
        ({"cell": [[3.6, 0, 0], [0, 3.6, 0], [0, 0, np.inf]]}, "not finite"),
        ({}, None),
        ({"info": {"scf_converged": False}}, "not converged"),
        ({"info": {"scf_converged": True}}, None),
        ({"cell": np.zeros((3, 3)), "pbc": [False] * 3}, None),
        ({"cell": np.diag([3.6, 3.6, 0]), "pbc": [True, True, False]}, None),
    ],
)
def test_cells_positions_and_distances(changed: dict, code: str | None) -> None:
    sound = {"positions": [[0, 0, 0], [0, 1.8, 1.8]], "cell": 3.6 * np.eye(3), "pbc": [True] * 3}
    merged = {"info": {}, **sound, **changed}
    labels = Labels(-7.0, info=merged.pop("info"))
    frame = Frame(Structure([29, 29], **merged), labels, "a.xyz#0")
    assert codes(audit(Dataset((frame,)))) == ({code} if code else set())


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (Frame(Structure([1], [[0, 0, 0]]), Labels(np.nan), "a.xyz#4"), "a.xyz, frame 4, field 'energy': holds nan"),
        (Frame(Structure([1, 1], np.zeros((2, 3))), Labels(1.0), "a.xyz#0"), "0.000 Å apart"),
        (Frame(Structure([1], [[0, 0, 0]], pbc=[True] * 3), Labels(1.0), "a.xyz#0"), "is zero"),
        (Frame(Structure([1], [[0, 0, 0]]), Labels(), "a.xyz#0"), "no frame has an energy"),
    ],
)
def test_require_sound_raises_for_what_makes_a_fit_impossible(frame: Frame, words: str) -> None:
    with pytest.raises(InputError, match=words):
        require_sound(Dataset((frame,)))
    with pytest.raises(InputError, match="the dataset is empty"):
        require_sound(Dataset(()))


# stress -----------------------------------------------------------------------------------------------------------


def permuted(stress: np.ndarray, order: tuple[int, int, int]) -> np.ndarray:
    voigt = np.array([stress[0, 0], stress[1, 1], stress[2, 2], stress[1, 2], stress[0, 2], stress[0, 1]])
    return from_voigt([*voigt[:3], *voigt[3:][list(order)]])


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        (lambda s: -s, "stress sign", "opposite sign"),
        (lambda s: s / GPa, "stress unit", "looks like GPa"),
        (lambda s: 10 * s / GPa, "stress unit", "looks like kbar"),
        (lambda s: permuted(s, (0, 2, 1)), "stress order", "in the order yz,xy,xz"),
        (lambda s: permuted(s, (1, 2, 0)), "stress order", "in the order xz,xy,yz"),
    ],
)
def test_a_group_with_another_stress_is_named(copper: Dataset, group: str, wrong, code: str, words: str) -> None:
    data = change(copper, lambda lab: replace(lab, stress=wrong(lab.stress)), lambda _, lab: lab.group == group)
    found = audit(data)
    assert codes(found) == {code}
    assert [words in f.message and f.message.startswith(f"group {group}:") for f in found.errors] == [True]


def test_a_virial_read_as_stress_is_named(copper: Dataset) -> None:
    frames = tuple(
        f._replace(labels=replace(f.labels, stress=-f.labels.stress * f.structure.volume)) if i % 3 == 2 else f
        for i, f in enumerate(copper)
    )
    messages = [f.message for f in audit(Dataset(frames)).errors]
    assert any("virial of the whole cell" in message for message in messages)


def test_few_frames_are_not_judged(copper: Dataset) -> None:
    flipped = change(copper[:3], lambda lab: replace(lab, stress=-lab.stress), lambda *_: True)
    found = audit(flipped)
    assert codes(found) == set()
    assert "stress not judged" in {note.code for note in found.notes}


# real data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Mo_train", "Mo_test", "Si_train", "Si_test"])
def test_published_sets_pass(shared_data: Path, name: str) -> None:
    found = audit(shared_data / f"zuo2020/{name}.extxyz")
    assert codes(found) == set()
    assert found.agreement["AIMD-NVT"] > 0.9


@pytest.mark.parametrize("name", ["train_300K", "test_MD_600K", "isolated_atoms", "test_dihedral"])
def test_acetylacetone_passes(shared_data: Path, name: str) -> None:
    assert codes(audit(shared_data / f"acac/{name}.xyz")) == set()


def test_the_order_in_the_raw_file_of_silicon_is_found(shared_data: Path) -> None:
    path = shared_data / "zuo2020/Si_training_raw.json"
    errors = audit(path).errors
    assert [f.code for f in errors] == ["stress order"] * 2
    assert "group AIMD-NVT: the off-diagonals fit the forces in the order xy,zx,yz" in errors[0].message
    assert "not xy,yz,zx as in group Elastic" in errors[0].message
    orders = {"AIMD-NVT": "xy zx yz", "Vacancy": "xy zx yz"}
    assert f"reread with stress_order={orders}" in errors[0].message
    assert audit(path, stress_order=orders).errors == ()


def test_the_order_in_the_raw_file_of_molybdenum_is_found(shared_data: Path) -> None:
    path = shared_data / "zuo2020/Mo_training_raw.json"
    assert {f.message.split(":")[0] for f in audit(path).errors} == {"group AIMD-NVT", "group Elastic", "group Vacancy"}
    assert audit(path, stress_order="xy zx yz").errors == ()


def test_a_real_group_in_kbar_with_the_other_sign_is_named(shared_data: Path) -> None:
    data = read(shared_data / "zuo2020/Si_train.extxyz")
    wrong = change(data, lambda lab: replace(lab, stress=lab.stress * -10 / GPa), lambda _, lab: lab.group == "Vacancy")
    messages = " ".join(f.message for f in audit(wrong).errors)
    assert "group Vacancy: the stress has the opposite sign" in messages
    assert "it looks like kbar" in messages
    assert "group AIMD-NVT" not in messages


# train against test, and how it prints ----------------------------------------------------------------------------


def test_groups_and_species_unseen_in_training_and_leaks_are_named(copper: Dataset) -> None:
    train = copper[[g != "hot" for g in copper.groups]]
    gold = Frame(Structure([79, 79], [[0, 0, 0], [0, 2, 2]]), Labels(-1.0, np.zeros((2, 3))), "au.xyz#0")
    found = audit(train, test=copper[30:] + Dataset((gold,)))
    assert {"unseen group", "unseen species", "test in training"} <= codes(found)
    assert "'hot' is in the test set" in str(found)
    assert codes(audit(train, test=train[:0])) == set()


def test_it_prints_errors_first_and_counts_what_it_leaves_out(copper: Dataset) -> None:
    wrong = change(copper, lambda lab: replace(lab, forces=lab.forces * np.nan), lambda i, _: i < 9)
    found = audit(wrong)
    lines = str(found).splitlines()
    assert lines[0] == "45 frames"
    assert lines[1] == (
        "error: cu.extxyz, frame 0, field 'forces': holds nan at atom 0; correct the value or leave the frame out"
    )
    assert "error: 4 more of the kind 'not finite'" in lines
    assert lines[-1].startswith("9 errors, no warnings")
    assert found.to_rows()[0]["frame"] == 0


def test_probe_forces_and_stress_are_derivatives_of_its_energy() -> None:
    from forcewright.data.probe_model import ProbeBasis

    rng = np.random.default_rng(0)
    cell, positions = 4 * np.eye(3) + 0.3 * rng.normal(size=(3, 3)), rng.uniform(0, 4, (4, 3))
    basis, step = ProbeBasis((6, 14), 4.0), 1e-5

    def energy(strain: np.ndarray, moved: np.ndarray) -> np.ndarray:
        deformation = np.eye(3) + strain
        numbers, moved_positions = [14, 6, 14, 6], (positions + moved) @ deformation
        return basis.rows(Structure(numbers, moved_positions, cell @ deformation, [True] * 3)).energy

    rows = basis.rows(Structure([14, 6, 14, 6], positions, cell, [True] * 3))
    move, strain = np.zeros((4, 3)), np.zeros((3, 3))
    move[2, 1] = step
    strain[0, 2] = strain[2, 0] = step / 2
    numeric = -(energy(0 * strain, move) - energy(0 * strain, -move)) / (2 * step)
    np.testing.assert_allclose(rows.forces[3 * 2 + 1], numeric, atol=1e-7)
    numeric = (energy(strain, 0 * move) - energy(-strain, 0 * move)) / (2 * step) / abs(np.linalg.det(cell))
    np.testing.assert_allclose(rows.stress[4], numeric, atol=1e-7)
