"""Trajectories on disk: exact, streamed, readable by others, and honest about damage."""

from __future__ import annotations

import logging
import tracemalloc
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.io.trajectory import Trajectory

from forcewright.errors import InputError
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot, count_frames, open_writer, snapshots


def snapshot(step: int, count: int = 8, pbc: tuple[bool, bool, bool] = (True, True, False)) -> Snapshot:
    """Numbers of all sizes, a triclinic cell, one direction open, and an isotope."""
    rng = np.random.default_rng(step)
    numbers = np.array([14, 1] * (count // 2))
    masses = np.array([28.085, 2.014] * (count // 2))
    cell = np.diag([5.0, 6.0, 7.0]) + rng.normal(size=(3, 3)) / 3
    positions = rng.normal(size=(count, 3)) * 10.0 ** rng.integers(-12, 3, size=(count, 3))
    structure = Structure(numbers, positions, cell, np.array(pbc))
    return Snapshot(
        structure, step, step / 3.0, rng.normal(size=(count, 3)) / 100, -rng.random() * 1e4,
        rng.normal(size=(count, 3)), rng.normal(size=(3, 3)), None, masses,
    )  # fmt: skip


def write(path: Path, count: int = 5, **options: int) -> list[Snapshot]:
    written = [snapshot(7 * step, **options) for step in range(count)]
    writer = open_writer(path, forces=True)
    for one in written:
        writer.write(one, 'heat "1"')
    writer.sync()
    writer.finish()
    return written


@pytest.mark.parametrize("kind", ["extxyz", "h5"])
def test_what_was_written_is_read_to_the_last_bit(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"trajectory.{kind}"
    written = write(path)
    read = list(snapshots(path))
    assert count_frames(path) == len(read) == 5
    for one, other in zip(written, read, strict=True):
        for name in ("numbers", "positions", "cell", "pbc"):
            np.testing.assert_array_equal(getattr(one.structure, name), getattr(other.structure, name))
        np.testing.assert_array_equal(one.forces, other.forces)
        np.testing.assert_array_equal(one.stress, other.stress)
        np.testing.assert_array_equal(one.masses, other.masses)
        np.testing.assert_allclose(one.velocities, other.velocities, rtol=4e-16)  # extxyz holds momenta
        assert (one.step, one.time, one.energy) == (other.step, other.time, other.energy)


@pytest.mark.parametrize("kind", ["extxyz", "h5"])
def test_what_is_unknown_stays_unknown(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"trajectory.{kind}"
    writer = open_writer(path)
    writer.write(Snapshot(Structure(np.array([18]), np.zeros((1, 3))), 0, 0.0))
    writer.finish()
    [read] = snapshots(path)
    assert (read.velocities, read.forces, read.energy, read.stress) == (None, None, None, None)
    assert not read.structure.cell.any() and not read.structure.pbc.any()


@pytest.mark.parametrize("kind", ["extxyz", "h5"])
def test_a_writer_goes_on_from_an_offset(kind: str, tmp_path: Path) -> None:
    whole, cut = tmp_path / f"whole.{kind}", tmp_path / f"cut.{kind}"
    written = write(whole)
    writer = open_writer(cut, forces=True)
    writer.write(written[0], 'heat "1"')
    offset = writer.sync()
    writer.write(written[3], "lost")
    writer.close()
    writer = open_writer(cut, forces=True, offset=offset)
    for one in written[1:]:
        writer.write(one, 'heat "1"')
    writer.finish()
    if kind == "extxyz":
        assert cut.read_bytes() == whole.read_bytes()
    assert [one.step for one in snapshots(cut)] == [0, 7, 14, 21, 28]
    with pytest.raises(InputError, match="is shorter than the 999999999 bytes"):
        open_writer(cut, offset=999999999)


def test_ase_reads_our_extxyz(tmp_path: Path) -> None:
    written = write(tmp_path / "trajectory.extxyz")
    for one, atoms in zip(written, ase.io.read(tmp_path / "trajectory.extxyz", ":"), strict=True):
        np.testing.assert_array_equal(atoms.positions, one.structure.positions)
        np.testing.assert_array_equal(atoms.cell.array, one.structure.cell)
        np.testing.assert_array_equal(atoms.pbc, one.structure.pbc)
        np.testing.assert_array_equal(atoms.get_forces(), one.forces)
        np.testing.assert_array_equal(atoms.get_masses(), one.masses)
        np.testing.assert_allclose(atoms.get_velocities() * units.fs, one.velocities, rtol=1e-14)
        assert atoms.get_potential_energy() == one.energy
        assert atoms.get_kinetic_energy() == pytest.approx(one.kinetic_energy, rel=1e-12)
        assert (atoms.info["step"], atoms.info["time"], atoms.info["stage"]) == (one.step, one.time, "heat 1")


def test_the_layout_is_that_of_h5md(tmp_path: Path) -> None:
    written = write(tmp_path / "trajectory.h5")
    with h5py.File(tmp_path / "trajectory.h5") as h5:
        assert h5["h5md"].attrs["version"].tolist() == [1, 1]
        assert {"author", "creator"} <= set(h5["h5md"])
        everything = h5["particles/all"]
        assert everything["box"].attrs["dimension"] == 3
        assert list(everything["box"].attrs["boundary"]) == ["periodic", "periodic", "none"]
        for element in ("position", "velocity", "force", "box/edges"):
            assert everything[element]["step"][:].tolist() == [0, 7, 14, 21, 28]
            np.testing.assert_array_equal(everything[element]["time"][:], [one.time for one in written])
            assert everything[element]["value"].shape[0] == 5
        assert everything["velocity/value"].attrs["unit"] == "Angstrom fs-1"
        assert h5["observables/potential_energy/value"][2] == written[2].energy
        assert h5["observables/stage/value"][0] == b'heat "1"'


def test_h5md_files_of_others_are_read(tmp_path: Path) -> None:
    """A fixed box of three lengths in nm, steps at equal distances, single precision."""
    path, rng = tmp_path / "other.h5md", np.random.default_rng(0)
    values = rng.random((3, 4, 3)).astype("f4")
    with h5py.File(path, "w") as h5:
        h5.create_group("h5md").attrs["version"] = [1, 1]
        water = h5.create_group("particles/water")
        box = water.create_group("box")
        box.attrs["dimension"], box.attrs["boundary"] = 3, ["periodic"] * 3
        box["edges"] = [1.0, 2.0, 3.0]
        box["edges"].attrs["unit"] = "nm"
        water["position/value"] = values
        water["position/value"].attrs["unit"] = "nm"
        water["position/step"] = 10
        water["position/time"] = 0.5
        water["position/time"].attrs["unit"] = "ps"
        water["velocity/value"] = values
        water["velocity/value"].attrs["unit"] = "nm ps-1"
        water["species"] = [8, 1, 1, 18]
    read = list(snapshots(path))
    assert [one.step for one in read] == [0, 10, 20]
    assert [one.time for one in read] == [0.0, 500.0, 1000.0]
    np.testing.assert_allclose(read[1].structure.positions, 10.0 * values[1], rtol=1e-7)
    np.testing.assert_allclose(read[1].velocities, 0.01 * values[1], rtol=1e-6)
    np.testing.assert_array_equal(read[2].structure.cell, np.diag([10.0, 20.0, 30.0]))


@pytest.mark.parametrize("kind", ["traj", "lammpstrj", "xyz", "vasp-xdatcar"])
def test_other_formats_are_read_by_ase_or_here(kind: str, tmp_path: Path) -> None:
    atoms = bulk("Si", cubic=True)
    path = tmp_path / ("XDATCAR" if kind == "vasp-xdatcar" else f"other.{kind}")
    frames = [atoms.copy() for _ in range(3)]
    for number, frame in enumerate(frames):
        frame.positions += 0.1 * number
    if kind == "lammpstrj":
        side = 5.43
        path.write_text("".join(_dump(frame, side, number) for number, frame in enumerate(frames)))
    elif kind == "traj":
        with Trajectory(str(path), "w") as trajectory:
            for frame in frames:
                trajectory.write(frame)
    else:
        ase.io.write(path, frames, format=None if kind == "xyz" else kind)
    read = list(snapshots(path))
    assert len(read) == 3
    np.testing.assert_allclose(read[2].structure.positions, frames[2].positions, atol=1e-6)


def _dump(atoms: Atoms, side: float, step: int) -> str:
    head = ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(atoms)), "ITEM: BOX BOUNDS pp pp pp"]
    rows = [f"{k + 1} Si {x:.8f} {y:.8f} {z:.8f}" for k, (x, y, z) in enumerate(atoms.positions)]
    return "\n".join([*head, *[f"0 {side}"] * 3, "ITEM: ATOMS id element x y z", *rows]) + "\n"


@pytest.mark.parametrize("kind", ["extxyz", "h5"])
def test_memory_does_not_grow_with_the_number_of_frames(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forcewright.trajectory.h5md._BLOCK", 1 << 18)
    peaks = []
    for frames in (40, 400):
        path = tmp_path / f"{frames}.{kind}"
        writer = open_writer(path)
        for step in range(frames):
            writer.write(snapshot(step, 200))
        writer.finish()
        list(zip(range(2), snapshots(path), strict=False))  # imports
        tracemalloc.start()
        for _ in snapshots(path):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 1.5e6  # 400 frames are 4 MB of positions and velocities


def test_a_file_that_ends_within_a_frame_gives_the_whole_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "trajectory.extxyz"
    written = write(path)
    content = path.read_bytes()
    for cut in (1, 30, len(content) // 5 - 10):
        path.write_bytes(content[:-cut])
        with caplog.at_level(logging.WARNING):
            read = list(snapshots(path))
        assert len(read) == len(written) - 1
        assert "ends within frame 4, which is left out" in caplog.text
        caplog.clear()
    path.write_bytes(content[:200])
    with pytest.raises(InputError, match="frame 0, field 'comment': the file ends before the end of the comment line"):
        list(snapshots(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pos:R:3", "pos:R:2", "frame 2"),
        ("Si ", "Qq ", "frame 2, field 'species': 'Qq' is an unknown element"),
        ("Si ", "Si 1.0 ", "frame 2, field 'Properties': line 23 has 12 columns where Properties announces 11"),
        ("8\n", "7\n", "frame 3, field 'number of atoms': line 30 is 'H .*, expected the number of atoms"),
        ("8\n", "-8\n", "frame 2, field 'number of atoms': line 21 promises -8 atoms"),
        ("time=", "time=x", "frame 2, field 'time': 'x.*' is not a number"),
        ('pbc="T T F"', 'pbc="T T"', "frame 2, field 'pbc': 'T T' is not three of T and F"),
    ],
)
def test_broken_frames_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trajectory.extxyz"
    write(path)
    lines = path.read_text().splitlines(keepends=True)
    frame = "".join(lines[20:30])
    path.write_text("".join(lines[:20]) + frame.replace(old, new, 1) + "".join(lines[30:]))
    with pytest.raises(InputError, match=f"trajectory.extxyz, {message}"):
        list(snapshots(path))


def test_files_that_are_no_trajectory_are_refused_in_a_sentence(tmp_path: Path) -> None:
    empty, text, h5, other = (tmp_path / name for name in ("a.extxyz", "b.unknown", "c.h5", "d.h5"))
    empty.write_bytes(b"")
    text.write_text("nothing of the kind\n")
    h5.write_bytes(b"\x89HDF\r\n\x1a\n and then nothing")
    with h5py.File(other, "w") as file:
        file["table"] = [1, 2]
    for path, message in (
        (empty, "is empty; it holds no frame"), (text, "no format that can be read"), (h5, "cannot be read as HDF5"),
        (other, "is not an H5MD trajectory"), (tmp_path / "none.h5", "does not exist"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            list(snapshots(path))


def test_frames_in_memory_come_as_they_are() -> None:
    atoms = bulk("Si", cubic=True)
    atoms.set_velocities(np.full((8, 3), 0.01 / units.fs))
    atoms.info["time"] = 3.0
    first, second, third = snapshots([atoms, Structure.from_ase(atoms), snapshot(4)])
    np.testing.assert_allclose(first.velocities, 0.01, rtol=1e-12)
    assert first.time == 3.0
    assert second.velocities is None and third.step == 4
    assert count_frames([atoms, atoms]) == 2
