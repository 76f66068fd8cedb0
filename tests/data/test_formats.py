"""Readers against ASE's own readers and the numbers in the files; writers by reading back."""

from __future__ import annotations

import warnings
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import Bohr, Hartree, kcal, mol
from hypothesis import given, settings
from hypothesis import strategies as st

from forcewright.data import describe, read, read_with_summary, write
from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame, Labels, Structure


def make_dataset(count: int = 4, *, stress: bool = True, pbc: bool = True, group: str = "bulk", **info) -> Dataset:
    rng = np.random.default_rng(3)
    frames = []
    for index in range(count):
        cell = 5 * np.eye(3) + rng.normal(size=(3, 3)) if pbc else np.zeros((3, 3))
        structure = Structure([14, 6, 1], rng.normal(size=(3, 3)) * 2, cell, [pbc] * 3)
        tensor = rng.normal(size=(3, 3))
        labels = Labels(
            rng.normal(), rng.normal(size=(3, 3)), (tensor + tensor.T) / 2 if stress else None, group, {**info}
        )
        frames.append(Frame(structure, labels, f"made#{index}"))
    return Dataset(tuple(frames), "made")


# extended XYZ -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["zuo2020/Si_train.extxyz", "acac/train_300K.xyz", "yace/sb2te3.extxyz"])
def test_extxyz_reads_what_ase_reads(shared_data: Path, name: str) -> None:
    dataset = read(shared_data / name)
    theirs = ase.io.read(shared_data / name, ":", format="extxyz")
    assert len(dataset) == len(theirs)
    for (structure, labels, _), atoms in zip(dataset, theirs, strict=True):
        np.testing.assert_array_equal(structure.numbers, atoms.numbers)
        np.testing.assert_array_equal(structure.positions, atoms.positions)
        np.testing.assert_array_equal(structure.cell, atoms.cell.array)
        np.testing.assert_array_equal(structure.pbc, atoms.pbc)
        assert labels.energy == atoms.get_potential_energy()
        assert labels.group == atoms.info.get("config_type", "default")
        np.testing.assert_array_equal(labels.forces, atoms.get_forces())
        if "stress" in atoms.calc.results:
            np.testing.assert_allclose(labels.stress, atoms.get_stress(voigt=False), rtol=0, atol=1e-15)


@pytest.mark.parametrize("suffix", ["extxyz", "xyz", "db"])
@pytest.mark.parametrize("pbc", [True, False])
def test_what_is_written_reads_back_identically(tmp_path: Path, suffix: str, pbc: bool) -> None:
    extra = {"description": 'a b = "c"', "number": 3, "share": 0.1, "flag": True, "many": [1, 2, 3]}
    dataset = make_dataset(pbc=pbc, stress=pbc, **extra)
    back = read(write(dataset, tmp_path / f"made.{suffix}"))
    assert back.content_hash == dataset.content_hash
    assert [dict(labels.info) for labels in back.labels] == [dict(labels.info) for labels in dataset.labels]
    assert back[2].origin.endswith(f"made.{suffix}#2")


def test_real_data_survive_both_writers(shared_data: Path, tmp_path: Path) -> None:
    dataset = read(shared_data / "zuo2020/Mo_test.extxyz")
    for suffix in ("extxyz", "db"):
        assert read(write(dataset, tmp_path / f"mo.{suffix}")).content_hash == dataset.content_hash


def test_ase_reads_what_extxyz_writes(tmp_path: Path) -> None:
    dataset = make_dataset(description="two words")
    for atoms, (structure, labels, _) in zip(
        ase.io.read(write(dataset, tmp_path / "made.extxyz"), ":"), dataset, strict=True
    ):
        np.testing.assert_array_equal(atoms.positions, structure.positions)
        np.testing.assert_array_equal(atoms.cell.array, structure.cell)
        np.testing.assert_array_equal(atoms.arrays["REF_forces"], labels.forces)
        np.testing.assert_array_equal(np.reshape(atoms.info["REF_stress"], (3, 3)), labels.stress)
        assert atoms.info["REF_energy"] == labels.energy
        assert (atoms.info["config_type"], atoms.info["description"]) == ("bulk", "two words")


_values = st.one_of(
    st.text(max_size=12), st.integers(-(2**53), 2**53), st.booleans(), st.floats(allow_nan=False),
    st.lists(st.integers(-9, 9), max_size=4), st.lists(st.text(max_size=3), max_size=3), st.none(),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(group=st.text(max_size=12), info=st.dictionaries(st.text("abcxyz_ 1='\"", min_size=1, max_size=6), _values))
def test_any_group_and_info_survive_extxyz(tmp_path_factory: pytest.TempPathFactory, group: str, info: dict) -> None:
    taken = ("group", "config_type")
    info = {key: value for key, value in info.items() if key not in taken}
    dataset = Dataset((Frame(bulk_structure(), Labels(1.0, group=group, info=info)),))
    path = tmp_path_factory.mktemp("any") / "any.extxyz"
    back = read(write(dataset, path))[0].labels
    assert (back.group, dict(back.info)) == (group, info)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused_or_read_but_never_crashes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    for name in ("a.extxyz", "a.db", "a.npz", "a.json", "vasprun.xml", "vasprun.xml.gz"):
        (folder / name).write_bytes(content)
        with pytest.raises(InputError):
            read(folder / name)


def test_blank_lines_between_frames_are_harmless(tmp_path: Path) -> None:
    path = write(make_dataset(2), tmp_path / "made.extxyz")
    path.write_text("\n" + path.read_text().replace("\n3\n", "\n\n3\n") + "\n\n")
    assert len(read(path)) == 2


# labels -----------------------------------------------------------------------------------------------------------


def one_frame(path: Path, info: str, columns: str = "", row: str = "") -> Path:
    head = f'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3{columns} {info}'
    path.write_text(f"1\n{head}\nSi 0 0 0 {row}\n")
    return path


def test_ref_keys_come_before_plain_keys_and_the_mapping_before_both(tmp_path: Path) -> None:
    path = one_frame(
        tmp_path / "a.xyz", "energy=1 REF_energy=2 dft=3 config_type=here", ":forces:R:3:f:R:3", "1 1 1 2 2 2"
    )
    dataset, summary = read_with_summary(path)
    assert dataset[0].labels.energy == 2
    assert summary.keys["energy"] == {"REF_energy": 1}
    assert dict(dataset[0].labels.info) == {"dft": 3}
    mapped = read(path, labels={"energy": "dft", "forces": "f"})[0].labels
    assert (mapped.energy, mapped.forces[0, 0], mapped.group) == (3, 2, "here")


@pytest.mark.parametrize("key", ["virial", "REF_virial", "virials"])
@pytest.mark.parametrize("text", ["1 2 3 0.4 0.5 0.6", "1 0.6 0.5 0.6 2 0.4 0.5 0.4 3"])
def test_a_virial_becomes_minus_itself_over_the_volume(tmp_path: Path, key: str, text: str) -> None:
    labels = read(one_frame(tmp_path / "a.xyz", f'energy=1 {key}="{text}"'))[0].labels
    expected = -np.array([[1, 0.6, 0.5], [0.6, 2, 0.4], [0.5, 0.4, 3]]) / 64
    np.testing.assert_allclose(labels.stress, expected, rtol=1e-15)


def test_stress_and_virial_may_stand_together_when_they_agree(tmp_path: Path) -> None:
    path = one_frame(tmp_path / "a.xyz", 'energy=1 stress="1 0 0 0 1 0 0 0 1" virial="-64 0 0 0 -64 0 0 0 -64"')
    np.testing.assert_array_equal(read(path)[0].labels.stress, np.eye(3))


def test_a_mapped_key_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    path = one_frame(tmp_path / "a.xyz", "energy=1 dft_energy=2")
    with pytest.raises(
        InputError, match="'dft' given for energy is in no frame; the keys that are there: dft_energy, energy"
    ):
        read(path, labels={"energy": "dft"})
    with pytest.raises(InputError, match="enrgy cannot be mapped; allowed are energy"):
        read(path, labels={"enrgy": "dft"})


def test_not_strict_leaves_broken_frames_out(tmp_path: Path) -> None:
    path = write(make_dataset(3), tmp_path / "made.extxyz")
    path.write_text(path.read_text().replace("REF_energy", "REF_energy=x old", 1))
    assert len(read(path, strict=False)) == 2
    with pytest.raises(InputError, match="frame 0"):
        read(path)


def test_summary_and_description_count_what_was_found(shared_data: Path) -> None:
    dataset, summary = read_with_summary(shared_data / "yace/si.extxyz")
    assert (summary.frames, summary.count("energy"), summary.dropped) == (42, 42, {"energies": 42})
    assert "columns not read: energies" in str(summary)
    text = describe(read(shared_data / "zuo2020/Si_train.extxyz"))
    assert "214 frames, 13233 atoms" in text
    assert "Surface                       12      12      12       0" in text


def test_several_files_and_unknown_formats(tmp_path: Path) -> None:
    one, two = write(make_dataset(2), tmp_path / "one.extxyz"), write(make_dataset(3), tmp_path / "two.db")
    assert len(read([one, str(two)], name="both")) == 5
    with pytest.raises(InputError, match="'extyz' is not a format; did you mean 'extxyz'"):
        read(one, format="extyz")
    with pytest.raises(InputError, match="no file and no structure was given"):
        read([])
    with pytest.raises(InputError, match="'energy_unit' is not an option of this format; it has no options"):
        read(one, energy_unit="eV")


# ASE databases ----------------------------------------------------------------------------------------------------


def test_asedb_reads_calculator_results_and_keys(tmp_path: Path) -> None:
    path = tmp_path / "ase.db"
    atoms = make_dataset(1).to_ase()[0]
    with ase.db.connect(path) as database:
        database.write(atoms, config_type="slab", temperature=300.0)
        database.write(Atoms("H"), REF_energy=-13.6)
    first, second = read(path).labels
    np.testing.assert_array_equal(first.forces, atoms.get_forces())
    np.testing.assert_allclose(first.stress, atoms.get_stress(voigt=False), rtol=0)
    assert (first.energy, first.group, dict(first.info)) == (
        atoms.get_potential_energy(), "slab", {"temperature": 300.0},
    )  # fmt: skip
    assert (second.energy, second.forces) == (-13.6, None)


# sGDML ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("r_unit", "e_unit", "length", "energy"),
    [("Ang", "kcal/mol", 1.0, kcal / mol), (b"Bohr", b"Hartree", Bohr, Hartree), ("Angstrom", "eV", 1.0, 1.0)],
)
def test_npz_units_and_columns_of_the_lattice(tmp_path: Path, r_unit, e_unit, length: float, energy: float) -> None:
    rng = np.random.default_rng(0)
    positions, forces, lattice = rng.normal(size=(2, 3, 3)), rng.normal(size=(2, 3, 3)), rng.normal(size=(3, 3))
    content = {"z": [8, 1, 1], "R": positions, "E": [[1.0], [2.0]], "F": forces, "lattice": lattice}
    np.savez(tmp_path / "a.npz", **content, r_unit=r_unit, e_unit=e_unit)
    frame = read(tmp_path / "a.npz")[1]
    np.testing.assert_allclose(frame.structure.positions, positions[1] * length)
    np.testing.assert_allclose(frame.structure.cell[0], lattice[:, 0] * length)
    np.testing.assert_allclose(frame.labels.forces, forces[1] * energy / length)
    assert frame.labels.energy == pytest.approx(2 * energy)
    assert frame.structure.pbc.all()


def test_npz_round_trip_warns_of_what_it_cannot_hold(tmp_path: Path) -> None:
    dataset = make_dataset(3, stress=False, pbc=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = read(write(dataset, tmp_path / "a.npz"))
    assert [s.content_hash for s in back.structures] == [s.content_hash for s in dataset.structures]
    np.testing.assert_array_equal([lab.forces for lab in back.labels], [lab.forces for lab in dataset.labels])
    periodic = make_dataset(1)
    with pytest.warns(UserWarning, match="cannot hold 1 stresses"):
        back = read(write(periodic, tmp_path / "b.npz"))
    np.testing.assert_array_equal(back[0].structure.cell, periodic[0].structure.cell)
    first, other = dataset[0], dataset[1]
    other = other._replace(structure=Structure([14, 6, 6], other.structure.positions, other.structure.cell))
    with pytest.raises(InputError, match="has other atoms or other pbc"):
        write(Dataset((first, other)), tmp_path / "c.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "b.npz"}


def test_npz_keeps_the_lattice_of_every_frame_and_says_that_sgdml_does_not(tmp_path: Path) -> None:
    dataset = make_dataset(3, stress=False)
    assert not np.array_equal(dataset[0].structure.cell, dataset[1].structure.cell)
    with pytest.warns(UserWarning, match="sGDML's own programs know only one lattice"):
        back = read(write(dataset, tmp_path / "a.npz"))
    for one, other in zip(back.structures, dataset.structures, strict=True):
        np.testing.assert_array_equal(one.cell, other.cell)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as content:
        arrays = dict(content)
    np.testing.assert_array_equal(arrays["lattices"][1][:, 0], dataset[1].structure.cell[0])
    np.savez(tmp_path / "b.npz", **{**arrays, "lattices": arrays["lattices"][:2]})
    with pytest.raises(InputError, match=r"'lattices': has shape \(2, 3, 3\), expected \(3, 3, 3\)"):
        read(tmp_path / "b.npz")


def test_npz_units_can_be_given(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", z=[1], R=np.zeros((1, 1, 3)), E=[1.0])
    assert read(tmp_path / "a.npz", energy_unit="Hartree", length_unit="Ang")[0].labels.energy == Hartree


# mlearn -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("element", ["Mo", "Si"])
def test_mlearn_agrees_with_the_corrected_files(shared_data: Path, element: str) -> None:
    orders = {"*": "xy zx yz", "Elastic": "xy yz zx"} if element == "Si" else "xy zx yz"
    raw = read(shared_data / f"zuo2020/{element}_training_raw.json", stress_order=orders)
    corrected = read(shared_data / f"zuo2020/{element}_train.extxyz")
    for (structure, labels, _), (expected, right, _) in zip(raw, corrected, strict=True):
        np.testing.assert_allclose(structure.positions, expected.positions, rtol=0, atol=1e-8)
        np.testing.assert_allclose(labels.forces, right.forces, rtol=0, atol=1e-8)
        assert (labels.energy, labels.group) == (right.energy, right.group)
        if right.stress is not None:
            np.testing.assert_allclose(labels.stress, right.stress, rtol=0, atol=1e-12)


def test_an_order_that_is_none_is_refused(shared_data: Path) -> None:
    with pytest.raises(InputError, match="'xy xy zx' is not an order of xy, yz and zx"):
        read(shared_data / "zuo2020/Si_training_raw.json", stress_order="xy xy zx")


# writing ----------------------------------------------------------------------------------------------------------


def test_writing_refuses_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vasprun files can only be read"):
        write(make_dataset(), tmp_path / "vasprun.xml")
    with pytest.raises(InputError, match="the dataset is empty"):
        write(Dataset(()), tmp_path / "a.extxyz")
    with pytest.raises(InputError, match="the folder .* does not exist"):
        write(make_dataset(), tmp_path / "none/a.extxyz")
    assert list(tmp_path.iterdir()) == []


def bulk_structure() -> Structure:
    return Structure.from_ase(bulk("Si"))


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(make_dataset(1), tmp_path / "a.db")
    before = path.read_bytes()
    monkeypatch.setattr("forcewright.data.asedb.to_labelled_ase", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(make_dataset(2), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.db"]
