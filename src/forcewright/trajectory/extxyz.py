"""Trajectories as extended XYZ: written and read one frame at a time, with every digit.

`forcewright.extxyz` is the grammar. Columns are those ASE knows: positions in Å, momenta in ASE's unit sqrt(u eV)
(velocities are momenta / masses), forces in eV/Å, and masses in u where they are not those of the elements. The comment
holds Lattice, pbc, energy (eV), stress (nine numbers, eV/Å³), step, time (fs) and stage.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import units
from ase.data import atomic_masses
from numpy.typing import NDArray

from forcewright.errors import InputError
from forcewright.extxyz import CutOffError, ExtxyzFrame, format_frame, format_value, quote, read_frames
from forcewright.structure import FloatArray, from_voigt
from forcewright.trajectory.snapshot import Snapshot

_log = logging.getLogger(__name__)

#: Columns by their names, ours first, and how wide they are.
_COLUMNS = {
    "momenta": (("momenta",), 3), "velocities": (("velocities", "velo", "vel"), 3),
    "forces": (("forces", "force"), 3), "masses": (("masses", "mass"), 1),
}  # fmt: skip
#: Columns that tell which atoms, or which of their coordinates, move.
_MOVES = ("move_mask", "selective_dynamics")


class ExtxyzWriter:
    """Appends snapshots to an extended XYZ file.

    Parameters
    ----------
    offset
        Bytes of the file to keep; what comes after them is cut off.
    """

    def __init__(self, path: Path, *, forces: bool = False, offset: int = 0) -> None:
        self.path, self._forces = path, forces
        self._file = open_at(path, offset)

    def write(self, snapshot: Snapshot, stage: str = "") -> None:
        """Append one frame."""
        self._file.write(frame_text(snapshot, forces=self._forces, stage=stage).encode())

    def sync(self) -> int:
        """Bring everything to the disk and return the number of bytes."""
        return sync(self._file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def finish(self) -> Path:
        """Close the file and return it."""
        self.close()
        return self.path


def open_at(path: Path, offset: int) -> IO[bytes]:
    """Open a file for appending after its first ``offset`` bytes, which alone are kept."""
    file = open(path, "r+b" if offset else "wb")  # noqa: SIM115  # writers close it
    if file.seek(0, 2) < offset:
        file.close()
        raise InputError(f"is shorter than the {offset} bytes written so far; start again with --fresh", file=path)
    file.seek(offset)
    file.truncate()
    return file


def sync(file: IO[bytes]) -> int:
    """Bring what was written to the disk and return the number of bytes in the file."""
    file.flush()
    os.fsync(file.fileno())
    return file.tell()


def frame_text(snapshot: Snapshot, *, forces: bool = True, stage: str = "") -> str:
    """Return one frame; numbers have the fewest digits that read back exactly."""
    columns: dict[str, NDArray[Any]] = {}
    if snapshot.velocities is not None:
        columns["momenta"] = snapshot.velocities * (snapshot.masses[:, None] / units.fs)
    if forces and snapshot.forces is not None:
        columns["forces"] = snapshot.forces
    if not np.array_equal(snapshot.masses, atomic_masses[snapshot.structure.numbers]):
        columns["masses"] = snapshot.masses[:, None]
    if snapshot.fixed is not None:
        whole = (snapshot.fixed.any(axis=1) == snapshot.fixed.all(axis=1)).all()
        columns["move_mask"] = ~snapshot.fixed[:, :1] if whole else ~snapshot.fixed
    numbers = {"step": snapshot.step, "time": snapshot.time, "energy": snapshot.energy}
    pairs = {name: repr(value) for name, value in numbers.items() if value is not None}
    if snapshot.stress is not None:
        pairs["stress"] = format_value(snapshot.stress.ravel().tolist())
    if stage:
        pairs["stage"] = quote(re.sub(r'["\\\s]+', " ", stage).strip())
    return format_frame(snapshot.structure, columns, pairs)


def read_extxyz(path: Path) -> Iterator[Snapshot]:
    """Yield the frames of an XYZ or extended XYZ file, one at a time.

    A file that ends within a frame, as that of a running simulation may, gives the whole ones and a logged warning.
    Raises `InputError` if a frame cannot be read, and says which, or there is none.
    """
    number = -1
    for number, frame in enumerate(read_frames(path)):
        # Frames of ours end with a line break: without it, the last number may be half of one.
        cut_off = isinstance(frame, CutOffError) or (
            isinstance(frame, ExtxyzFrame) and not frame.ends_with_line_break and "step" in frame.info
        )
        if cut_off and number:
            _log.warning("%s ends within frame %d, which is left out", path, number)
            return
        if isinstance(frame, InputError):
            raise frame
        if cut_off:
            raise InputError("ends within its first frame", file=path, frame=0)
        try:
            snapshot = _snapshot(frame)
        except InputError as error:
            raise InputError(error.problem, file=path, frame=number, field=error.field) from None
        yield snapshot
    if number < 0:
        raise InputError("holds no frame", file=path)


def _snapshot(frame: ExtxyzFrame) -> Snapshot:
    columns = {name: _column(frame, name, *entry) for name, entry in _COLUMNS.items()}
    masses = columns["masses"]
    masses = atomic_masses[frame.structure.numbers] if masses is None else masses.ravel()
    velocities = columns["velocities"]
    if columns["momenta"] is not None:
        velocities = columns["momenta"] / masses[:, None] * units.fs
    return Snapshot(
        frame.structure, _number(frame.info, "step", int), _number(frame.info, "time", float), velocities,
        _number(frame.info, "energy", float), columns["forces"], _stress(frame.info), None, masses, _fixed(frame),
    )  # fmt: skip


def _fixed(frame: ExtxyzFrame) -> NDArray[np.bool_] | None:
    """Return which coordinates (N, 3) are held, which is what ``move_mask`` says of those that are not."""
    moves = next((values for name, values in frame.arrays.items() if name.lower() in _MOVES), None)
    if moves is None:
        return None
    if moves.ndim > 2 or moves.reshape(len(moves), -1).shape[1] not in (1, 3) or not np.isin(moves, (0, 1)).all():
        raise InputError("is not one or three of T and F for each atom", field="move_mask")
    fixed = np.broadcast_to(~moves.reshape(len(moves), -1).astype(bool), (len(moves), 3)).copy()
    return fixed if fixed.any() else None


def _column(frame: ExtxyzFrame, name: str, aliases: tuple[str, ...], width: int) -> FloatArray | None:
    values = next((frame.arrays[alias] for alias in aliases if alias in frame.arrays), None)
    if values is None:
        return None
    values = values.reshape(len(values), -1)
    if values.shape[1] != width:
        raise InputError(f"has {values.shape[1]} columns, expected {width}", field=name)
    try:
        return values.astype(np.float64, copy=False)
    except ValueError as error:
        raise InputError(f"is not a column of numbers ({error})", field=name) from None


def _stress(info: Mapping[str, Any]) -> FloatArray | None:
    if "stress" not in info:
        return None
    try:
        return from_voigt(info["stress"])
    except (TypeError, ValueError):
        raise InputError(f"{info['stress']!r} is not made of numbers", field="stress") from None


def _number(info: Mapping[str, Any], name: str, kind: type) -> Any:
    value = info.get(name)
    if value is None:
        return None
    whole = isinstance(value, int) or (isinstance(value, float) and (kind is float or value.is_integer()))
    if isinstance(value, bool) or not whole:
        raise InputError(f"{value!r} is not {'a whole' if kind is int else 'a'} number", field=name)
    try:
        return kind(value)
    except OverflowError:
        raise InputError("is a number that is too large", field=name) from None


def count_extxyz(path: Path) -> int | None:
    """Return the number of frames, if all have as many atoms as the first; counts line breaks only."""
    with open(path, "rb") as file:
        try:
            rows = int(file.readline()) + 2
        except ValueError:
            return None
        breaks = 1 + sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 22), b""))
    return breaks // rows
