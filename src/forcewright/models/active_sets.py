"""Active sets of potentials that describe each atom by functions of its environment, species by species."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from forcewright.linalg.max_volume import Grading, extrapolation_grades, grading
from forcewright.structure import FloatArray, IntArray

_GRADE = 1.1  # largest extrapolation grade of a training atom: an exact maximum would take twice the time

#: What to cite for extrapolation grades, by a short key.
GRADE_CITATIONS = {
    "grades": "Y. Lysogorskiy, A. Bochkarev, M. Mrovec and R. Drautz, Active learning strategies for atomic cluster "
    "expansion models, Phys. Rev. Mater. 7, 043801 (2023): extrapolation grades.",
    "maxvol": "S. A. Goreinov, I. V. Oseledets, D. V. Savostyanov, E. E. Tyrtyshnikov and N. L. Zamarashkin, How to "
    "find a good submatrix, in Matrix Methods: Theory, Algorithms and Applications, World Scientific (2010): "
    "the active sets behind the grades.",
}


def active_sets(frames: Iterable[Mapping[int, FloatArray]]) -> dict[int, Grading]:
    """Return what grades the atoms of each species that occurs in frames, each the descriptors (n, p) by species."""
    listed = list(frames)
    species = sorted({z for frame in listed for z in frame})
    sets = {}
    for z in species:
        rows = np.concatenate([frame[z] for frame in listed if z in frame])
        sets[z] = grading(rows, tolerance=_GRADE) if rows.shape[1] else Grading(np.zeros((0, 0)), 0, 0)
    return sets


def atomic_grades(
    numbers: IntArray, descriptors: Mapping[int, FloatArray], active: Mapping[int, FloatArray]
) -> FloatArray:
    """Return γ of each atom (N,): infinite for those of species of which nothing is known.

    Parameters
    ----------
    numbers
        Atomic numbers (N,).
    descriptors
        By species, (n, p) in the order of the atoms.
    active
        By species, what `Grading` calls the inverse (p, p).
    """
    grades = np.full(len(numbers), np.inf)
    for z, rows in descriptors.items():
        if z in active:
            grades[numbers == z] = extrapolation_grades(rows, active[z]) if rows.shape[1] else 0.0
    return grades
