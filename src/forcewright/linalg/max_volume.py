"""Rows of (quasi-)maximal volume: the active set that tells interpolation from extrapolation.

=========  ========  ================================================================================
symbol     shape     meaning
=========  ========  ================================================================================
rows       (M, p)    descriptors, a row per atom (or structure)
A          (p, p)    the active set: those p rows whose |det A| no swap of one row can raise further
B          (M, p)    rows @ A⁻¹, so that rows = B A: each row as a combination of the active ones
grade      (M,)      γ = max_j |B_ij|, the extrapolation grade
=========  ========  ================================================================================

Replacing row j of A by row i multiplies |det A| by |B_ij|. So A has maximal volume up to the tolerance τ when no |B_ij|
exceeds τ: swap the largest in until none does (Goreinov, Oseledets, Savostyanov, Tyrtyshnikov and Zamarashkin, How to
find a good submatrix, in Matrix Methods, World Scientific, 2010). It is the D-optimality criterion of active learning
(Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171 (2017)): a row with γ ≤ 1 is an interpolation between active
rows, γ > 1 says by how much it would enlarge the volume. The set does not depend on how the columns are scaled.

Where the rows do not span all p directions (fewer rows than columns, or dependent columns) no p rows have a volume.
Then *virtual rows*, small multiples of unit vectors, stand for the directions that no row has: they yield to any real
row that goes there. Grades along them measure rounding, and those along directions that rows hardly have measure their
tails. So `grading` does without: of the principal axes of the rows it takes the r along which they vary at all, finds
rows of maximal volume in these, and divides what a row has along the others by the most that any row has. A row that
leaves the span has a grade that is huge, as it should be; one that does not is graded by what the rows do know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from forcewright.errors import InputError
from forcewright.linalg.gram import FloatArray

IntArray = NDArray[np.int64]

_BLOCK = 1024  # rows whose B is kept up to date at once: they fit in the cache
_START = 8  # times p rows among which LU finds the first active set
_VIRTUAL = 1e-9  # size of a virtual row beside the largest entry of its column
_SPANNED = 1e-3  # of the largest standard deviation of scaled rows: axes with less are not spanned
_NUMERICAL = 1e-7  # the same below which there is nothing but rounding (its square is that of the eigenvalues)


@dataclass(frozen=True, eq=False)
class ActiveSet:
    """Rows of maximal volume.

    Attributes
    ----------
    indices
        Positions (≤ p,) of the active rows among all rows, ascending; fewer than p where directions are missing.
    rows
        A (p, p): the active rows in the order of ``indices``, then the virtual ones.
    inverse
        A⁻¹ (p, p).
    """

    indices: IntArray
    rows: FloatArray
    inverse: FloatArray

    @property
    def missing(self) -> int:
        """Number of directions that no row spans, held by virtual rows."""
        return len(self.rows) - len(self.indices)


@dataclass(frozen=True, eq=False)
class Grading:
    """What grades rows.

    Attributes
    ----------
    inverse
        (p, p): γ = max |row @ inverse|, see `extrapolation_grades`.
    spanned
        Number of directions along which the rows vary; the other columns tell of what lies outside the span.
    rank
        Number of directions that they have at all, to within rounding.
    """

    inverse: FloatArray
    spanned: int
    rank: int


def grading(rows: FloatArray, *, tolerance: float = 1.01) -> Grading:
    """Return what grades rows by their maximal volume, in the directions that they span.

    Parameters
    ----------
    rows
        Rows (M, p).
    tolerance
        Largest grade of any of them along spanned directions; none exceeds 1 along the others.

    Raises
    ------
    InputError
        As `max_volume`.
    """
    rows = np.asarray(rows, dtype=np.float64)
    if not np.isfinite(rows).all():
        raise InputError("a row holds a number that is not finite")
    scale = np.sqrt(np.einsum("ij,ij->j", rows, rows) / max(len(rows), 1))
    excited = scale > 0
    scale[~excited] = np.median(scale[excited]) if excited.any() else 1.0
    scaled = rows / scale
    variances, axes = np.linalg.eigh(scaled.T @ scaled / max(len(rows), 1))
    deviations = np.sqrt(np.maximum(variances, 0.0))
    largest = deviations.max(initial=0.0)
    spanned = deviations > _SPANNED * largest
    inside, outside = axes[:, spanned], axes[:, ~spanned]
    reach = np.maximum(np.abs(scaled @ outside).max(axis=0, initial=0.0), _SPANNED * largest or 1.0)
    if inside.shape[1]:
        inside = inside @ max_volume(scaled @ inside, tolerance=tolerance).inverse
    inverse = np.hstack([inside, outside / reach]) / scale[:, None]
    return Grading(inverse, int(spanned.sum()), int((deviations > _NUMERICAL * largest).sum()))


def max_volume(rows: FloatArray | Iterable[FloatArray], *, tolerance: float = 1.01) -> ActiveSet:
    """Return p rows whose volume no swap of one row raises by more than the factor ``tolerance``.

    Parameters
    ----------
    rows
        Rows (M, p), or blocks (m, p) of them. What can be iterated over repeatedly (a list, an object with
        ``__iter__``) is, until no grade exceeds the tolerance; an iterator is consumed once, after which grades in its
        earlier blocks can be somewhat larger.
    tolerance
        Largest grade of any row; 1 is the exact maximum that single swaps reach, at the cost of more swaps.

    Raises
    ------
    InputError
        If there is no row, rows differ in length or hold numbers that are not finite, or the tolerance is below 1.001.
    """
    if tolerance < 1.001:  # at 1, rounding alone could keep swapping
        raise InputError(f"is {tolerance:g}; give at least 1.001", field="tolerance")
    blocks = _Chunks(rows) if isinstance(rows, np.ndarray) else rows
    search = _Search(tolerance)
    if isinstance(blocks, Iterator):
        search.go_through(blocks)
        return search.result()
    while search.go_through(blocks):
        pass
    return search.result()


def extrapolation_grades(rows: FloatArray, inverse: FloatArray) -> FloatArray:
    """Return γ_i = max_j |(rows @ inverse)_ij| (M,) of rows (M, p) for the inverse of an active set (p, p)."""
    grades = [np.abs(np.asarray(block, dtype=np.float64) @ inverse).max(axis=1) for block in _Chunks(rows)]
    return np.concatenate(grades) if grades else np.zeros(0)


def _inverse(matrix: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


class _Chunks:
    """An array as blocks that fit in the cache, iterable any number of times."""

    def __init__(self, rows: FloatArray) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[FloatArray]:
        for start in range(0, len(self._rows), _BLOCK):
            yield self._rows[start : start + _BLOCK]


class _Search:
    """The active set so far; indices below 0 are virtual rows."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._rows: FloatArray | None = None
        self._inverse = np.zeros((0, 0))
        self._indices: IntArray = np.zeros(0, dtype=np.int64)

    def go_through(self, blocks: Iterable[FloatArray]) -> int:
        """Swap in what raises the volume, block by block, and return the number of swaps."""
        swaps, position = 0, 0
        waiting: list[FloatArray] = []
        for rows in blocks:
            block = self._checked(rows, waiting)
            if self._rows is None:
                waiting.append(block)
                if sum(map(len, waiting)) < _START * block.shape[1]:
                    continue
                block, waiting = np.vstack(waiting), []
            swaps += self._take(block, position)
            position += len(block)
        if waiting:
            swaps += self._take(np.vstack(waiting), position)
        return swaps

    def result(self) -> ActiveSet:
        """Return the active rows in their original order, virtual ones last."""
        if self._rows is None:
            raise InputError("there are no rows to choose an active set from")
        order = np.argsort(np.where(self._indices < 0, np.iinfo(np.int64).max, self._indices), kind="stable")
        indices, rows = self._indices[order], self._rows[order]
        return ActiveSet(indices[indices >= 0], rows, _inverse(rows))

    def _checked(self, rows: FloatArray, waiting: list[FloatArray]) -> FloatArray:
        block = np.asarray(rows, dtype=np.float64)
        columns = block.shape[-1] if self._rows is None else self._rows.shape[1]
        if block.ndim != 2 or block.shape[1] != columns or (waiting and block.shape[1] != waiting[0].shape[1]):
            raise InputError(f"a block of rows has the shape {block.shape}; all must be (rows, columns), equally wide")
        if not np.isfinite(block).all():
            raise InputError("a row holds a number that is not finite")
        return block

    def _take(self, block: FloatArray, position: int) -> int:
        """Swap rows of one block in, a part of it at a time."""
        swaps = 0
        if self._rows is None and len(block):
            self._start(block, position)
            swaps = 1  # earlier blocks have not been compared with this start
        for start in range(0, len(block), _BLOCK):
            swaps += self._swap(block[start : start + _BLOCK], position + start)
        return swaps

    def _start(self, block: FloatArray, position: int) -> None:
        """Take the pivot rows of LU with partial pivoting of the block over the virtual rows."""
        count, columns = block.shape
        largest = np.abs(block).max(axis=0)
        virtual = np.diag(_VIRTUAL * np.where(largest > 0, largest, 1.0))
        stacked = np.vstack([block, virtual])
        pivots = scipy.linalg.lapack.dgetrf(np.asfortranarray(stacked), overwrite_a=1)[1]
        order = np.arange(len(stacked))
        for row, pivot in enumerate(pivots):
            order[[row, pivot]] = order[[pivot, row]]
        chosen = order[:columns]
        self._rows = stacked[chosen]
        self._indices = np.where(chosen < count, position + chosen, -1)
        self._inverse = _inverse(self._rows)

    def _swap(self, block: FloatArray, position: int) -> int:
        """Swap rows of the block in until none of its grades exceeds the tolerance (algorithm 1 of Goreinov et al.).

        B' = B - B_:j (B_i: - e_j)/B_ij when row i replaces active row j.
        """
        assert self._rows is not None
        columns = block.shape[1]
        coefficients = block @ self._inverse
        swaps = 0
        while True:
            largest = int(scipy.linalg.blas.idamax(coefficients.ravel()))
            i, j = divmod(largest, columns)
            pivot = float(coefficients[i, j])
            if abs(pivot) <= self._tolerance:
                break
            change = coefficients[i].copy()
            change[j] -= 1.0
            # the transpose of a C array is what BLAS updates in place
            scipy.linalg.blas.dger(-1.0 / pivot, change, coefficients[:, j].copy(), a=coefficients.T, overwrite_a=1)
            self._rows[j], self._indices[j] = block[i], position + i
            swaps += 1
            if swaps % columns == 0:
                coefficients = block @ _inverse(self._rows)  # rounding adds up over many updates
        if swaps:
            self._inverse = _inverse(self._rows)
        return swaps
