"""Frames from anywhere as a stream of snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import ase.io
from ase import Atoms, units

from forcewright.errors import InputError
from forcewright.structure import Structure
from forcewright.trajectory.snapshot import Snapshot

#: What analyses take: a file, or frames one after the other.
Frames = str | Path | Iterable[Snapshot | Structure | Atoms]


def snapshots(frames: Frames) -> Iterator[Snapshot]:
    """Yield the snapshots of a trajectory file or of frames in memory, one at a time.

    Raises
    ------
    InputError
        If the file does not exist, cannot be read or holds no frame.
    """
    if isinstance(frames, str | Path):
        path = Path(frames)
        if not path.is_file():
            raise InputError("does not exist", file=path)
        frames = ase.io.iread(path)
    for frame in frames:
        yield _snapshot(frame)


def _snapshot(frame: Snapshot | Structure | Atoms) -> Snapshot:
    if isinstance(frame, Snapshot):
        return frame
    if isinstance(frame, Structure):
        return Snapshot(frame)
    masses = frame.get_masses()
    momenta = frame.arrays.get("momenta")
    velocities = None if momenta is None else momenta / masses[:, None] * units.fs
    return Snapshot(Structure.from_ase(frame), time=frame.info.get("time"), velocities=velocities, masses=masses)
