"""Paths of atoms across periodic boundaries, right also where the cell changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from ase.geometry import minkowski_reduce

from forcewright.analyze.frames import same_atoms
from forcewright.analyze.time_series import MEMORY_LIMIT, VectorSeries, collect
from forcewright.errors import InputError
from forcewright.structure import FloatArray, Structure
from forcewright.trajectory import Frames, Snapshot


class ToroidalView:
    """Unwraps positions frame by frame; see `unwrap`."""

    def __init__(self) -> None:
        self._wrapped: FloatArray | None = None
        self._unwrapped: FloatArray | None = None
        self._cell = b""
        self._original = self._reduced = _with_inverse(np.zeros((3, 3)))

    def __call__(self, structure: Structure) -> FloatArray:
        """Return the unwrapped positions (N, 3) of the next frame."""
        self._know_lattice(structure)
        wrapped = _without_lattice(structure.positions, np.floor, *self._original)
        if self._wrapped is None or self._unwrapped is None:
            unwrapped = np.array(structure.positions)
        else:
            unwrapped = self._unwrapped + _without_lattice(wrapped - self._wrapped, np.rint, *self._reduced)
        self._wrapped, self._unwrapped = wrapped, unwrapped
        return unwrapped

    def _know_lattice(self, structure: Structure) -> None:
        key = structure.cell.tobytes() + structure.pbc.tobytes()
        if key == self._cell:
            return
        # In a reduced cell rounding finds the nearest image of whatever is shorter than half its smallest height.
        reduced = structure.cell
        if np.linalg.matrix_rank(structure.cell[structure.pbc]) < structure.pbc.sum():
            raise InputError("is periodic in directions whose cell vectors span no volume", field="cell")
        if structure.pbc.any():
            reduced = minkowski_reduce(structure.cell, structure.pbc)[0]  # type: ignore[no-untyped-call]
        self._original, self._reduced = (_with_inverse(cell[structure.pbc]) for cell in (structure.cell, reduced))
        self._cell = key


def _with_inverse(lattice: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return up to three lattice vectors and what turns a vector into their coefficients."""
    return lattice, np.asarray(np.linalg.pinv(lattice), dtype=np.float64)


def _without_lattice(vectors: FloatArray, whole: np.ufunc, lattice: FloatArray, inverse: FloatArray) -> FloatArray:
    """Subtract the lattice vector whose coefficients are the ``whole`` part of the vectors'."""
    rest: FloatArray = vectors - whole(vectors @ inverse) @ lattice
    return rest


def unwrap(frames: Frames, *, remove_drift: bool = False) -> Iterator[Snapshot]:
    """Yield the snapshots with positions that follow each atom across periodic boundaries.

    The toroidal-view scheme: u(i+1) = u(i) + [w(i+1) - w(i)], where w are the positions in the cell and the bracket
    means the nearest image in the cell of frame i + 1 (von Bülow, Bullerjahn & Hummer, J. Chem. Phys. 153, 021101
    (2020); in triclinic cells Bullerjahn, von Bülow, Heidari, Hénin & Hummer, J. Chem. Theory Comput. 19, 3406
    (2023)). Positions that an engine did not fold back are scaled by the barostat with all cells they have crossed,
    which adds a spurious motion that grows with time; they are folded first, so that it does not matter how they are
    stored. In a cell that does not change, positions that are already unwrapped stay what they are.

    Between two frames no atom may move further than half the smallest height of the (reduced) cell.

    Parameters
    ----------
    remove_drift
        Whether the motion of the center of mass is subtracted.

    Raises
    ------
    InputError
        If there is no frame or the atoms change.
    """
    view = ToroidalView()
    drift = CenterOfMass()
    for snapshot in same_atoms(frames, ordered=True):
        positions = view(snapshot.structure)
        if remove_drift:
            positions = positions - drift.moved(positions, snapshot.masses)
        yield replace(snapshot, structure=replace(snapshot.structure, positions=positions))


class CenterOfMass:
    """Follows the center of mass."""

    def __init__(self) -> None:
        self._start: FloatArray | None = None

    def moved(self, positions: FloatArray, masses: FloatArray) -> FloatArray:
        """Return by how much (3,) it has moved since the first call."""
        center: FloatArray = masses @ positions / masses.sum()
        if self._start is None:
            self._start = center
        return center - self._start


def unwrapped_positions(
    frames: Frames, *, dt_fs: float | None = None, unwrap: bool = True, remove_drift: bool = True,
    memory_limit: int = MEMORY_LIMIT,
) -> VectorSeries:  # fmt: skip
    """Gather unwrapped positions in Å by `collect`; the drift of a single atom is its motion and stays."""
    view, drift = ToroidalView(), CenterOfMass()

    def positions_of(snapshot: Snapshot) -> FloatArray:
        positions = view(snapshot.structure) if unwrap else snapshot.structure.positions
        if remove_drift and len(snapshot) > 1:
            return positions - drift.moved(positions, snapshot.masses)
        return positions

    return collect(frames, positions_of, dt_fs=dt_fs, memory_limit=memory_limit)
