"""Cell vectors for directions that are not periodic, for whatever wants a cell in any case."""

from __future__ import annotations

import numpy as np

from forcewright.structure import FloatArray, Structure


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
