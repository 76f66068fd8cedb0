"""Cell vectors for directions that are not periodic, for whatever wants a cell in any case; and compact cells."""

from __future__ import annotations

import numpy as np
from ase.geometry.minkowski_reduction import minkowski_reduce
from numpy.typing import ArrayLike

from forcewright.structure import FloatArray, Structure

#: A cell vector leans where the cell is thinner along it than this share of its length.
_LEANING = 0.3


def complement(vectors: FloatArray) -> FloatArray:
    """Return unit vectors (3 - k, 3) at right angles to each other and to k independent vectors (k, 3)."""
    # the last right singular vectors are an orthonormal basis of what the vectors do not span
    return np.asarray(np.linalg.svd(vectors)[2][len(vectors) :]) if len(vectors) else np.eye(3)


def closed_cell(structure: Structure, gap: float, spare: float = 0.0, *, right_handed: bool = True) -> Structure:
    """Return the structure in a cell that leaves ``gap + spare`` Å to the images along open directions.

    Positions, periodicity, forces and energy stay as they are; vectors of open directions are replaced.

    Parameters
    ----------
    gap, spare
        In Å, added to the extent of the atoms one after the other.
    right_handed
        Whether the first of the new vectors is turned round where the cell would be left-handed.
    """
    if structure.pbc.all():
        return structure
    cell = np.array(structure.cell)
    open_axes = np.flatnonzero(~structure.pbc)
    for axis, direction in zip(open_axes, complement(cell[structure.pbc]), strict=True):
        cell[axis] = direction * (np.ptp(structure.positions @ direction) + gap + spare)
    if right_handed and np.linalg.det(cell) < 0:
        cell[open_axes[0]] *= -1
    return Structure(structure.numbers, structure.positions, cell, structure.pbc)


def compact(cell: FloatArray, pbc: ArrayLike) -> FloatArray:
    """Return vectors (3, 3) of the same lattice that lean no more than they must, where these lean much.

    Those of open directions stay. By Minkowski's reduction (Nguyen and Stehlé, ACM Trans. Algorithms 5, 46 (2009)).
    """
    if (heights(cell) >= _LEANING * np.linalg.norm(cell, axis=1)).all():
        return cell
    return np.asarray(minkowski_reduce(cell, np.asarray(pbc))[0], dtype=np.float64)  # type: ignore[no-untyped-call]


def heights(cell: FloatArray) -> FloatArray:
    """Return how thick a cell is along each of its vectors (3,), between its faces, in Å."""
    thickness: FloatArray = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return thickness
