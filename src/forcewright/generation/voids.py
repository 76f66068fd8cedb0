"""The largest voids of a crystal, where another atom has most room.

The distance to the nearest atom has its maxima at vertices of the Voronoi tessellation (where four or more atoms are
equally near), so only these need to be considered; images of the atoms make the tessellation periodic.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.spatial import Voronoi, cKDTree

from forcewright.errors import InputError
from forcewright.generation.generated import require_periodic
from forcewright.structure import FloatArray, Structure

_GRID = 6  # points along each vector where the size of the largest void is first bounded
_SAME = 1e-3  # Å within which two vertices are one


def largest_voids(
    structure: Structure, count: int | None = None, *, apart_A: float = 0.1
) -> tuple[FloatArray, FloatArray]:
    """Return centers (k, 3) in Å and radii (k,), distances to the nearest atoms, of voids, the largest first.

    Parameters
    ----------
    count
        How many; all by default.
    apart_A
        Of voids closer to each other than this only the largest counts.

    Raises
    ------
    InputError
        If the structure is not periodic in all three directions.
    """
    require_periodic(structure, "a search for voids")
    points = _images(structure, _bound(structure))
    try:
        vertices = Voronoi(points).vertices
    except Exception as error:  # QhullError has no public home in all versions
        raise InputError(f"has no tessellation ({str(error).splitlines()[0]})", field="structure") from None
    fractions = vertices @ np.linalg.inv(structure.cell)
    vertices = vertices[((fractions > -1e-6) & (fractions < 1 - 1e-6)).all(axis=1)]
    radii = np.asarray(cKDTree(points).query(vertices)[0])
    # A perfect crystal has many voids of one radius: sort these by position, so that rounding does not decide.
    order = np.lexsort((*np.round(vertices.T, 3), -np.round(radii, 4)))
    chosen = _apart(vertices[order], structure, max(apart_A, _SAME), count)
    return vertices[order][chosen], radii[order][chosen]


def _apart(vertices: FloatArray, structure: Structure, apart: float, count: int | None) -> list[int]:
    """Return which vertices are not close to an earlier one, across the faces of the cell too."""
    shifts = np.array(list(product((-1, 0, 1), repeat=3))) @ structure.cell
    chosen: list[int] = []
    for index, vertex in enumerate(vertices):
        if count is not None and len(chosen) == count:
            break
        images = (vertices[chosen][:, None, :] + shifts - vertex).reshape(-1, 3)
        if not chosen or (np.linalg.norm(images, axis=1) > apart).all():
            chosen.append(index)
    return chosen


def _bound(structure: Structure) -> float:
    """Return an upper bound of the distance of any point to the nearest atom: that on a grid, plus half its spacing."""
    steps = np.arange(_GRID) / _GRID
    grid = np.array(list(product(steps, repeat=3))) @ structure.cell
    half = 0.5 * np.linalg.norm(structure.cell, axis=1).sum() / _GRID
    near = _images(structure, 0.5 * float(np.linalg.norm(structure.cell, axis=1).sum()))
    return float(np.max(cKDTree(near).query(grid)[0]) + half)


def _images(structure: Structure, margin: float) -> FloatArray:
    """Return the positions of all atoms and images within ``margin`` of the cell."""
    inverse = np.linalg.inv(structure.cell)
    margins = margin * np.linalg.norm(inverse, axis=0)
    home = structure.positions @ inverse
    home -= np.floor(home)
    reach = [np.arange(-int(np.ceil(m)), int(np.ceil(m)) + 1) for m in margins]
    fractions = (home + np.array(list(product(*reach)))[:, None, :]).reshape(-1, 3)
    inside = ((fractions >= -margins) & (fractions <= 1 + margins)).all(axis=1)
    return np.asarray(fractions[inside] @ structure.cell)
