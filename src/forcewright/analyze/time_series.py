"""A vector of each atom over all frames, atom by atom, so that what is correlated in time lies side by side in memory.

Frames come one at a time and are gathered into chunks (atoms, 3, frames of the chunk). Beyond a size the chunks go to a
temporary file without a name that is mapped into memory, so that memory does not grow with the number of frames.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from forcewright.analyze.frames import same_atoms
from forcewright.errors import InputError
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.trajectory import Frames, Snapshot

_log = logging.getLogger(__name__)

MEMORY_LIMIT = 2**29  # bytes of a series that are held in memory; a longer one lies in a temporary file
_CHUNK = 2**25  # bytes of a chunk
_TIME_TOLERANCE = 1e-3  # of the spacing: times are often written with few digits


class _Chunks:
    """Vectors (N, 3) appended frame by frame, kept as chunks (N, 3, frames)."""

    def __init__(self, atoms: int, limit: int) -> None:
        self.length = int(np.clip(_CHUNK // (24 * atoms), 8, 4096))
        self.limit = limit
        self._buffer = np.empty((self.length, atoms, 3))
        self._filled = 0
        self._chunks: list[FloatArray] = []
        self._file: IO[bytes] | None = None
        self._written = 0

    def append(self, vectors: FloatArray) -> None:
        self._buffer[self._filled] = vectors
        self._filled += 1
        if self._filled == self.length:
            self._store(np.ascontiguousarray(np.moveaxis(self._buffer, 0, 2)))
            self._filled = 0

    def _store(self, chunk: FloatArray) -> None:
        self._chunks.append(chunk)
        if (len(self._chunks) + 1) * chunk.nbytes <= self.limit:
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="forcewright-")  # noqa: SIM115  # closed with its memory map
        for stored in self._chunks:
            stored.tofile(self._file)
        self._written += len(self._chunks)
        self._chunks = []

    def finish(self) -> list[FloatArray]:
        """Return the chunks in order, those in the file as views of one memory map."""
        rest = np.ascontiguousarray(np.moveaxis(self._buffer[: self._filled], 0, 2))
        chunks = [*self._chunks, rest] if self._filled else self._chunks
        if self._file is None:
            return chunks
        self._file.flush()
        shape = (self._written, self._buffer.shape[1], 3, self.length)
        mapped = np.memmap(self._file, mode="r", dtype=np.float64, shape=shape)
        self._file.close()  # the map keeps the file, which has no name, alive
        return [*mapped, *chunks]


@dataclass(frozen=True, eq=False)
class VectorSeries:
    """A vector of each atom over all frames, with what does not change.

    =============  ==========  =======================================================
    times          (T,)        fs, equally spaced, from 0
    structure                  the first frame
    masses         (N,)        u
    cells          (T, 3, 3)   Å
    pbc            (3,)        of the first frame
    =============  ==========  =======================================================
    """

    times: FloatArray
    structure: Structure
    masses: FloatArray
    cells: FloatArray
    _chunks: list[FloatArray]

    def __len__(self) -> int:
        return len(self.times)

    @property
    def dt(self) -> float:
        """Time between frames in fs."""
        return float(self.times[1])

    @property
    def volume(self) -> float:
        """Mean volume of the cell in Å³."""
        return float(np.abs(np.linalg.det(self.cells)).mean())

    @property
    def species(self) -> dict[str, IntArray]:
        """The atoms of each species, by ascending atomic number."""
        numbers = self.structure.numbers
        return {chemical_symbols[z]: np.flatnonzero(numbers == z) for z in np.unique(numbers)}

    def of(self, atoms: NDArray[Any] | slice) -> FloatArray:
        """Return the vectors (n, 3, T) of some atoms."""
        return np.concatenate([chunk[atoms] for chunk in self._chunks], axis=2)

    def blocks(self, atoms: IntArray, megabytes: float = 64.0) -> Iterator[FloatArray]:
        """Yield the vectors (n, 3, T) of ``atoms``, as many at a time as fit."""
        size = max(1, int(megabytes * 2**20 / (24 * len(self))))
        for start in range(0, len(atoms), size):
            yield self.of(atoms[start : start + size])

    def frame(self, index: int) -> FloatArray:
        """Return the vectors (N, 3) of one frame."""
        length = self._chunks[0].shape[2]
        return np.array(self._chunks[index // length][:, :, index % length])


def collect(
    frames: Frames, vectors_of: Callable[[Snapshot], FloatArray], *, dt_fs: float | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> VectorSeries:  # fmt: skip
    """Gather a vector of each atom from frames that are equally spaced in time.

    Parameters
    ----------
    vectors_of
        Gives (N, 3) of a snapshot, or more rows for further vectors; called once for each, in order.
    dt_fs
        Time between frames in fs; that of the snapshots if None.

    Raises
    ------
    InputError
        If there are fewer than two frames, their atoms change, or their times are unknown or not equally spaced. Of
        the frames at the ends those are left out, with a warning, that a simulation adds to its schedule.
    """
    file = frames if isinstance(frames, str | Path) else None
    first: Snapshot | None = None
    times, cells = [], []
    stream = same_atoms(frames, ordered=True)
    for snapshot in stream if dt_fs is not None else _without_odd_ends(stream, file):
        vectors = vectors_of(snapshot)
        if first is None:
            first, chunks = snapshot, _Chunks(len(vectors), memory_limit)
        chunks.append(vectors)
        times.append(snapshot.time)
        cells.append(snapshot.structure.cell)
    assert first is not None  # same_atoms raises where there is no frame
    spaced = _equally_spaced(times, dt_fs, file)
    return VectorSeries(spaced, first.structure, np.asarray(first.masses), np.array(cells), chunks.finish())


def _without_odd_ends(frames: Iterator[Snapshot], file: str | Path | None) -> Iterator[Snapshot]:
    """Yield frames but for those at the ends that a simulation adds to its schedule, with a logged warning.

    They are the frame at which a monitor stopped the run, and those of relaxations, in which no time passes: after
    dynamics the relaxed ones are left out, before it the others.
    """
    where = "" if file is None else f"{file}: "
    stamps: list[float] = []  # of the frames that were yielded
    held: list[Snapshot] = []  # the last frame, and those that repeat its time
    for snapshot in frames:
        if held and snapshot.time is not None and snapshot.time == held[0].time:
            held.append(snapshot)
            continue
        if not stamps and len(held) > 1:
            _log.warning("%sframes 0 to %d repeat the time of frame %d and are left out", where, len(held) - 2,
                         len(held) - 1)  # fmt: skip
            held = held[-1:]
        for earlier in held:
            stamps.append(earlier.time or 0.0)
            yield earlier
        held = [snapshot]
    if len(held) > 1 and stamps:
        _log.warning("%sthe last frame repeats the time of the one before (is it relaxed?) and is left out", where)
        held = held[:1]
    if len(stamps) > 1 and held and (time := held[0].time) is not None:
        step, usual = time - stamps[-1], (stamps[-1] - stamps[0]) / (len(stamps) - 1)
        steps = (usual, stamps[-1] - stamps[-2])
        if usual > 0 and all(abs(step - other) > _TIME_TOLERANCE * other for other in steps):
            _log.warning("%sthe last frame comes %g fs after the one before, others %g fs, and is left out", where,
                         step, usual)  # fmt: skip
            return
    yield from held


def _equally_spaced(times: list[float | None], dt_fs: float | None, file: str | Path | None) -> FloatArray:
    """Return the times (T,) in fs from 0 on, exactly equally spaced."""
    if len(times) < 2:
        raise InputError("holds one frame; dynamics needs two or more", file=file, field="frames")
    if dt_fs is not None:
        if not (np.isfinite(dt_fs) and dt_fs > 0):
            raise InputError(f"is {dt_fs}; it must be a time above 0 fs", field="dt_fs")
        return np.arange(len(times), dtype=float) * dt_fs
    if any(time is None for time in times):
        raise InputError("carries no time; give the time between frames as dt_fs", file=file,
                         frame=times.index(None), field="time")  # fmt: skip
    stamps = np.array(times, dtype=float)
    dt = float((stamps[-1] - stamps[0]) / (len(stamps) - 1))
    steps = np.diff(stamps)
    if not (np.isfinite(stamps).all() and dt > 0) or np.abs(steps - dt).max() > _TIME_TOLERANCE * dt:
        usual = float(np.median(steps))
        odd = int(np.argmax(np.abs(steps - usual))) + 1
        first, last = _longest_stretch(stamps)
        raise InputError(f"comes {steps[odd - 1]:g} fs after the frame before, others {usual:g} fs; choose frames that "
                         f"are equally spaced, such as those from {stamps[first] / 1000:g} to {stamps[last] / 1000:g} "
                         "ps (--start-ps, --end-ps), or give dt_fs if the times are wrong",
                         file=file, frame=odd, field="time")  # fmt: skip
    return np.arange(len(stamps), dtype=float) * dt


def _longest_stretch(stamps: FloatArray) -> tuple[int, int]:
    """Return the first and the last frame of the longest equally spaced part of the times (T,)."""
    steps = np.diff(stamps)
    same = (steps[1:] > 0) & (np.abs(np.diff(steps)) <= _TIME_TOLERANCE * np.abs(steps[1:]))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]])))  # where runs of equal steps begin and end
    if not len(edges):
        return 0, 1
    begins, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - begins))
    return int(begins[longest]), int(ends[longest]) + 1
