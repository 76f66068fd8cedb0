"""Readers lose nothing in silence: what looks like a label, a cell or a unit is read, converted, or refused by name."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk, make_supercell

import forcewright as fw
from forcewright.errors import InputError
from forcewright.neighbors import find_neighbors
from forcewright.structure import Dataset, Frame, Labels, Structure
from forcewright.trajectory import snapshots

LATTICE = 'Lattice="4 0 0 0 4 0 0 0 4"'
ROWS = ("Cu 0 0 0", "Cu 2 2 0.1")
FORCES = ((0.1, 0.2, 0.3), (-0.1, -0.2, -0.3))


def extxyz(comment: str, columns: str = "forces:R:3", values: object = FORCES, lattice: str = LATTICE) -> str:
    rows = [f"{row} {' '.join(map(str, value))}" for row, value in zip(ROWS, values, strict=True)]  # type: ignore[arg-type, call-overload]
    return "\n".join(["2", f"{lattice} Properties=species:S:1:pos:R:3:{columns} {comment}", *rows]) + "\n"


def written(path: Path, *frames: str) -> Path:
    path.write_text("".join(frames))
    return path


@pytest.mark.parametrize("key", ["force", "Forces", "FORCE", "REF_force", "ref_forces"])
def test_forces_are_read_under_every_spelling(key: str, tmp_path: Path) -> None:
    (frame,) = fw.read(written(tmp_path / "a.xyz", extxyz("Energy=-3", f"{key}:R:3")))
    np.testing.assert_array_equal(frame.labels.forces, FORCES)
    assert frame.labels.energy == -3


@pytest.mark.parametrize("key", ["dft_forces", "dft_force", "forces_dft", "vasp-forces", "gradient"])
def test_a_column_that_looks_like_forces_is_named(key: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", extxyz("energy=-3", f"{key}:R:3"))
    with pytest.raises(InputError, match=f"frame 0, field '{key}'.*--label forces={key}"):
        fw.read(path)
    assert [finding.field for finding in fw.audit(path).errors] == [key]
    (frame,) = fw.read(path, labels={"forces": key})
    np.testing.assert_array_equal(frame.labels.forces, FORCES)
    assert fw.read(path, labels={"forces": "none"})[0].labels.forces is None  # energies alone, on request


@pytest.mark.parametrize(("key", "is_read"), [("Stress", True), ("STRESSES", True), ("dft_virial", False)])
def test_stresses_are_read_or_named(key: str, is_read: bool, tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", extxyz(f'energy=-3 {key}="1 0 0 0 1 0 0 0 1"'))
    if is_read:
        np.testing.assert_array_equal(fw.read(path)[0].labels.stress, np.eye(3))
    else:
        with pytest.raises(InputError, match="--label virial=dft_virial"):
            fw.read(path)


@pytest.mark.parametrize("comment", [
    'lattice="4 0 0 0 4 0 0 0 4"', 'LATTICE="4 0 0 0 4 0 0 0 4"', 'cell="4 0 0 0 4 0 0 0 4"',
    "Cell=[[4,0,0],[0,4,0],[0,0,4]]", 'Lattice="[[4,0,0],[0,4,0],[0,0,4]]"', 'lattice="4D0 0 0 0 4.0d0 0 0 0 .4D1"',
])  # fmt: skip
def test_a_cell_under_another_name_is_no_molecule(comment: str, tmp_path: Path) -> None:
    (frame,) = fw.read(written(tmp_path / "a.xyz", extxyz('energy=-3 PBC="T T F"', lattice=comment)))
    np.testing.assert_array_equal(frame.structure.cell, 4 * np.eye(3))
    assert frame.structure.pbc.tolist() == [True, True, False]


def test_properties_are_read_in_any_case(tmp_path: Path) -> None:
    text = extxyz("energy=-3").replace("Properties=species:S:1:pos:R:3", "properties=Species:S:1:POS:R:3")
    np.testing.assert_array_equal(fw.read(written(tmp_path / "a.xyz", text))[0].labels.forces, FORCES)


@pytest.mark.parametrize(("comment", "field"), [
    ('cell="4 4 4"', "cell"), ('Lattice="4 0 0 0 4 0 0 0 4" cell="5 0 0 0 5 0 0 0 5"', "cell"),
    ('Lattice="4 0 0 0 4 0 0 0 4" lattice="5 0 0 0 5 0 0 0 5"', "lattice"),
])  # fmt: skip
def test_a_cell_that_cannot_be_read_is_refused(comment: str, field: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"frame 0, field '{field}'"):
        fw.read(written(tmp_path / "a.xyz", extxyz("energy=-3", lattice=comment)))


@pytest.mark.parametrize(("comment", "energy", "force", "stress"), [
    ("energy=-0.5 energy-unit=hartree force-unit=hartree/bohr", -0.5 * units.Hartree, units.Hartree / units.Bohr, None),
    ("energy=-0.5 Energy_Units=kcal/mol force_unit=kcal/mol/angstrom", -0.5 * units.kcal / units.mol,
     units.kcal / units.mol, None),
    ('energy=-3 stress="1 0 0 0 1 0 0 0 1" stress-unit=kbar', -3, 1, 0.1 * units.GPa),
    ('energy=-3 stress="1 0 0 0 1 0 0 0 1" unit_stress=GPa', -3, 1, units.GPa),
    ('energy=-3 stress="1 0 0 0 1 0 0 0 1" stress_unit=eV/Angstrom^3', -3, 1, 1),
    ('energy=-1 virial="-64 0 0 0 -64 0 0 0 -64" energy-unit=Ry force-unit="Ry/bohr"', -units.Ry,
     units.Ry / units.Bohr, units.Ry),
    ("energy=-3 units=eV length-unit=Angstrom", -3, 1, None),
])  # fmt: skip
def test_declared_units_are_converted(
    comment: str, energy: float, force: float, stress: float | None, tmp_path: Path
) -> None:
    (frame,) = dataset = fw.read(written(tmp_path / "a.xyz", extxyz(comment)))
    assert frame.labels.energy == pytest.approx(energy)
    np.testing.assert_allclose(frame.labels.forces, force * np.array(FORCES))
    if stress is not None:
        np.testing.assert_allclose(frame.labels.stress, stress * np.eye(3))
    again = fw.read(fw.convert(dataset, tmp_path / "b.xyz") and tmp_path / "b.xyz")  # not converted twice
    assert again[0].labels.energy == pytest.approx(energy)


@pytest.mark.parametrize("comment", [
    "energy=-3 energy-unit=nonsense", "energy=-3 energy-unit=hartree", "energy=-3 length-unit=bohr",
    "energy=-3 units=real", "energy=-3 force-unit=eV", "energy=-3 energy-unit=eV energy_unit=Ry force-unit=eV/A",
])  # fmt: skip
def test_units_that_cannot_be_converted_are_refused(comment: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frame 0, field"):
        fw.read(written(tmp_path / "a.xyz", extxyz(comment)))


def test_two_keys_for_one_property_raise_doubts(tmp_path: Path) -> None:
    mixed = written(tmp_path / "mixed.xyz", extxyz("REF_energy=-3"), extxyz("energy=-2.4"))
    assert any("REF_energy in 1 frames and energy" in str(finding) for finding in fw.audit(mixed).warnings)
    free = written(tmp_path / "free.xyz", extxyz("energy=-3 free_energy=-3.04"))
    (warning,) = (finding for finding in fw.audit(free).warnings if finding.code == "two keys")
    assert "0.02 eV/atom" in warning.message
    assert "free_energy" in warning.message
    both = written(tmp_path / "both.xyz", extxyz('energy=-3 stress="0 0 0 0 0 0" virial="1 2 3 0 0 0"'))
    with pytest.raises(InputError, match="only zeros.*--label virial=virial"):
        fw.read(both)


def test_a_key_with_two_values_is_refused(tmp_path: Path) -> None:
    twice = written(tmp_path / "twice.xyz", extxyz("energy=-3"), extxyz("energy=-3 energy=-99"), extxyz("energy=-3"))
    with pytest.raises(InputError, match="frame 1, field 'energy': stands twice"):
        fw.read(twice)
    assert len(fw.read(twice, strict=False)) == 2
    column = extxyz("energy=-3", "forces:R:3:forces:R:3", [(*row, *row) for row in FORCES])
    with pytest.raises(InputError, match="names the column forces twice"):
        fw.read(written(tmp_path / "column.xyz", column))


@pytest.mark.parametrize("value", ["1_000", "T", '"-3 eV"', "[1, 2]", '"_JSON true"'])
def test_what_is_no_number_is_no_energy(value: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="field 'energy'"):
        fw.read(written(tmp_path / "a.xyz", extxyz(f"energy={value}")))


@pytest.mark.parametrize("values", [(("1_0", 0, 0), (0, 0, 0)), (("\u0661", 0, 0), (0, 0, 0))])
def test_digits_of_other_kinds_are_no_numbers(values: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="field 'forces'"):
        fw.read(written(tmp_path / "a.xyz", extxyz("energy=-3", values=values)))


@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\r", "\x1c"])
def test_only_a_line_feed_ends_a_line(separator: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_bytes(extxyz(f'energy=-3 note="a{separator}b"').encode())
    (frame,) = fw.read(path)
    assert frame.labels.info["note"] == f"a{separator}b"
    path.write_bytes(extxyz("energy=-3").replace("\n", "\r\n").encode())
    assert fw.read(path)[0].labels.energy == -3


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_byte_order_marks_and_latin_1(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_bytes(extxyz("energy=-3 config_type=grün").encode(encoding))
    assert fw.read(path)[0].labels.group == "grün"


def test_packed_files_are_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz.gz"
    path.write_bytes(gzip.compress(extxyz("energy=-3").encode()))
    dataset = fw.read(path)
    assert dataset.content_hash == fw.read(written(tmp_path / "a.xyz", extxyz("energy=-3"))).content_hash
    fw.convert(dataset, tmp_path / "b.extxyz.gz")
    assert fw.read(tmp_path / "b.extxyz.gz").content_hash == dataset.content_hash
    assert len(list(snapshots(path))) == 1
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cut off or damaged"):
        fw.read(path)
    path.write_bytes(b"2\n")
    with pytest.raises(InputError, match="not a gzip file"):
        fw.read(path)


def test_names_of_groups_stay_as_they_are(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", *(extxyz(f"energy=-3 config_type={name}") for name in ("1", "007", "1e3", "T")))
    assert fw.read(path).groups == ("1", "007", "1e3", "T")
    fw.convert(path, tmp_path / "b.xyz")
    assert fw.read(tmp_path / "b.xyz").groups == ("1", "007", "1e3", "T")


def test_a_mapping_to_a_key_that_is_not_there_is_refused_everywhere(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", extxyz("energy=-3"))
    with pytest.raises(InputError, match="'nokey' given for energy is in no frame"):
        fw.convert(path, tmp_path / "b.xyz", labels={"energy": "nokey"})


def unsound() -> dict[str, Frame]:
    crystal = bulk("Cu", cubic=True)

    def frame(positions: object = None, cell: object = None, energy: float = -1.0, forces: object = None) -> Frame:
        structure = Structure(
            crystal.numbers, crystal.positions if positions is None else positions,
            crystal.cell.array if cell is None else cell, crystal.pbc,
        )  # fmt: skip
        return Frame(structure, Labels(energy, forces))

    far, nan = np.array(crystal.positions), np.array(crystal.positions)
    far[1, 2], nan[1, 2] = 1e160, np.nan
    return {
        "energy": frame(energy=np.nan), "forces": frame(forces=np.full((4, 3), np.inf)), "positions": frame(nan),
        "Lattice": frame(cell=np.full((3, 3), np.nan)), "out of bounds": frame(far), "huge energy": frame(energy=-1e200),
        "huge forces": frame(forces=np.full((4, 3), 1e200)),
        "long vector": frame(cell=np.diag([5e5, 5, 5])), "sheared": frame(cell=[[5, 0, 0], [1e7, 5, 0], [0, 0, 5]]),
    }  # fmt: skip


@pytest.mark.parametrize("kind", unsound())
@pytest.mark.parametrize("verb", ["statistics", "select", "split", "convert"])
def test_one_gate_stands_before_every_verb(kind: str, verb: str, tmp_path: Path) -> None:
    good = Frame(Structure.from_ase(bulk("Cu", cubic=True)), Labels(-1.0, np.zeros((4, 3))))
    data = Dataset((good, good, good, unsound()[kind], good, good), source="mine.xyz")
    further: dict[str, dict[str, object]] = {
        "select": {"by": "energy", "count": 2}, "convert": {"output": tmp_path / "out.xyz"},
        "split": {"by": "random", "test": 0.4},
    }  # fmt: skip
    with pytest.raises(InputError, match="frame 3, field"):
        getattr(fw, verb)(data, **further.get(verb, {}))
    getattr(fw, verb)(data, skip_broken=True, **further.get(verb, {}))


def test_a_leaning_cell_has_the_neighbors_of_its_lattice() -> None:
    crystal = bulk("Cu", cubic=True)
    leaning = make_supercell(crystal, [[1, 0, 0], [61, 1, 0], [-17, 300, 1]])
    leaning.set_positions(crystal.positions)
    distances = [np.sort(find_neighbors(Structure.from_ase(a), 6.0).distances) for a in (crystal, leaning)]
    np.testing.assert_allclose(distances[0], distances[1], rtol=1e-9)


def test_skipping_broken_frames_names_and_counts_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "a.xyz", extxyz("energy=-3"), extxyz("energy=***"), extxyz("energy=-3"))
    summaries: list[object] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = fw.convert(path, tmp_path / "b.xyz", skip_broken=True, on_read=summaries.append)
    assert [frame.origin for frame in dataset] == [f"{path}#0", f"{path}#2"]
    assert "frame 1, field 'energy'" in caplog.text
    assert "left out: 1 broken frame" in str(summaries[0])
    with pytest.raises(InputError, match="all 1 frames are broken"):
        fw.read(written(tmp_path / "c.xyz", extxyz("energy=***")), strict=False)


def with_isolated_atom(count: int = 20) -> Dataset:
    rng = np.random.default_rng(0)
    crystal = bulk("Cu", cubic=True)
    frames = []
    for index in range(count):
        crystal.positions += rng.normal(0, 0.05, (4, 3))
        frames.append(Frame(Structure.from_ase(crystal), Labels(-10.0 - 0.01 * index, group="bulk")))
    atom = Frame(Structure(np.array([29]), np.zeros((1, 3))), Labels(-0.5, group="IsolatedAtom"))
    return Dataset((*frames[:7], atom, *frames[7:]))


@pytest.mark.parametrize("by", ["random", "blocks", "stratified", "group"])
def test_isolated_atoms_stay_in_training(by: str) -> None:
    data = with_isolated_atom()
    for seed in range(4):
        if by == "group":
            with pytest.raises(InputError, match="leaves no frame"):
                fw.split(data, by=by, test=0.5, seed=seed)
        else:
            parts = fw.split(data, by=by, test=0.5, seed=seed)
            assert "IsolatedAtom" in parts.train.groups
            assert "IsolatedAtom" not in parts.test.groups
            assert len(parts.train) + len(parts.test) + parts.dropped == len(data)
    assert "IsolatedAtom" in fw.split(data, by="group", options={"groups": ["IsolatedAtom"]}).test.groups  # on request


@pytest.mark.parametrize("by", ["random", "energy", "fps"])
def test_isolated_atoms_are_selected_first(by: str, caplog: pytest.LogCaptureFixture) -> None:
    data = with_isolated_atom()
    for seed in range(3):
        chosen = fw.select(data, by=by, count=5, seed=seed)
        assert len(chosen) == 5
        assert chosen.groups.count("IsolatedAtom") == 1
    assert not caplog.text


def test_files_without_labels_are_told_where_they_belong(tmp_path: Path) -> None:
    for name, words in {
        "OUTCAR": "vasprun.xml",
        "POSCAR.3": "predict",
        "a.cif": "predict",
        "a.traj": "ase convert",
    }.items():
        (tmp_path / name).write_text("anything\n")
        with pytest.raises(InputError, match=words):
            fw.read(tmp_path / name)
    fw.convert(with_isolated_atom(), tmp_path / "poscars.extxyz")  # a name alone is no format


def test_a_dump_without_elements_asks_for_them(tmp_path: Path) -> None:
    text = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 5\n0 5\n0 5\nITEM: ATOMS id {}x y z\n"
    path = tmp_path / "run.dump"
    path.write_text(text.format("type ") + "1 1 0 0 0\n")
    with pytest.raises(InputError, match="field 'element'.*names types and no elements"):
        list(snapshots(path))
    path.write_text(text.format("element ") + "1 Si 0 0 0\n")
    (snapshot,) = snapshots(path)
    assert snapshot.structure.numbers.tolist() == [14]


#: Of copper.
POTENTIAL = Path(__file__).parents[1] / "recipes/earlier_version/made/potentials/snap"


@pytest.mark.parametrize("name", ["POSCAR", "a.cif", "a.traj", "a.extxyz", "a.xyz.gz"])
def test_everyday_files_are_predicted(name: str, tmp_path: Path) -> None:
    crystal = bulk("Cu", cubic=True)
    if name.endswith(("xyz", "gz")):
        fw.convert(crystal, tmp_path / name)
    else:
        crystal.write(tmp_path / name)
    (frame,) = fw.predict(POTENTIAL, tmp_path / name).dataset
    assert frame.labels.energy == pytest.approx(fw.predict(POTENTIAL, crystal).dataset[0].labels.energy)


def test_a_bad_frame_is_named_where_it_is_predicted(tmp_path: Path) -> None:
    good, overlapping = bulk("Cu", cubic=True), bulk("Cu", cubic=True)
    overlapping.positions[1] = overlapping.positions[0] + 4 * overlapping.cell.array[0]
    fw.convert([good, overlapping], tmp_path / "a.extxyz")
    with pytest.raises(InputError, match="a.extxyz, frame 1, field 'positions': atoms 0 and 1 are 0.000 Å apart"):
        fw.predict(POTENTIAL, tmp_path / "a.extxyz")
    text = (tmp_path / "a.extxyz").read_text().splitlines(keepends=True)
    text[9] = "Cu nan 0 0\n"
    (tmp_path / "b.extxyz").write_text("".join(text))
    with pytest.raises(InputError, match="b.extxyz, frame 1, field 'positions': holds nan at atom 1"):
        fw.predict(POTENTIAL, tmp_path / "b.extxyz")


@pytest.mark.parametrize(("text", "field"), [
    ("1\n\n99999999999999999999 0 0 0\n", "numbers"), ("1\nProperties=Z:R:1:pos:R:3\n14.5 0 0 0\n", "numbers"),
    ("1\nProperties=species:S:1:pos:R:3 time=" + "9" * 400 + "\nSi 0 0 0\n", "time"),
    ("1\nProperties=species:S:9999999999:pos:R:3\nSi 0 0 0\n", "Properties"),
])  # fmt: skip
def test_huge_and_half_numbers_are_refused(text: str, field: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"frame 0, field '{field}'"):
        list(snapshots(written(tmp_path / "a.xyz", text)))


def test_a_dump_that_announces_more_atoms_than_it_holds_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.dump"
    start = "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n{}\nITEM: BOX BOUNDS pp pp pp\n0 4\n0 4\n0 4\n"
    atoms = "ITEM: ATOMS id element x y z\n1 Si 0 0 0\n2 Si 2 2 2\n"
    file.write_text(start.format(0, 2) + atoms + start.format(1, 2**63) + atoms)
    with pytest.raises(InputError, match="frame 1, field 'NUMBER OF ATOMS'.*more than the file holds"):
        list(snapshots(file))
