"""Normal equations of [A | b], accumulated block by block of rows and kept as packed lower triangles.

=========  =====================  ==========================================================
symbol     shape                  meaning
=========  =====================  ==========================================================
A, b       (m, p), (m,)           design rows and targets
G, h, s    (p, p), (p,), ()       AᵀA, Aᵀb, bᵀb
packed     (P,), P=(p+1)(p+2)/2   lower triangle of [A|b]ᵀ[A|b], row by row: G, then h, then s
z          (p + 1,)               [c; -1], so that ‖Ac - b‖² = zᵀ [A|b]ᵀ[A|b] z
=========  =====================  ==========================================================

Everything a weighted fit needs is linear in the packed vector: sums over blocks, weights, leaving folds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from typing import Protocol

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from forcewright.errors import ForcewrightError

FloatArray = NDArray[np.float64]

_ROWS_AT_ONCE = 2048  # rows that wait before they are reduced
_PANEL = 128  # columns that are reflected together
_UPDATE_ROWS = 512  # rows from which a rank update runs at full speed, the matrix read and written each time


def packed_size(order: int) -> int:
    """Number of elements in the lower triangle of an ``order`` × ``order`` matrix."""
    return order * (order + 1) // 2


@lru_cache(maxsize=4)
def _lower(order: int) -> NDArray[np.intp]:
    """Flat positions of the lower triangle, row by row."""
    rows, columns = np.tril_indices(order)
    return rows * order + columns


def diagonal_positions(order: int) -> NDArray[np.intp]:
    """Return the positions of the diagonal in a packed lower triangle."""
    return np.cumsum(np.arange(1, order + 1)) - 1


def pack(matrix: FloatArray) -> FloatArray:
    """Return the lower triangle of a square matrix, row by row."""
    return np.ascontiguousarray(matrix).ravel()[_lower(len(matrix))]


def unpack(packed: FloatArray, order: int) -> FloatArray:
    """Return the symmetric matrix of a packed lower triangle."""
    upper = np.triu(unpack_upper(packed, order))
    return upper + np.triu(upper, 1).T


def unpack_upper(packed: FloatArray, order: int) -> FloatArray:
    """Return a matrix in Fortran order whose upper triangle is that of ``packed``; the rest is not set."""
    # a lower triangle row by row is what LAPACK calls an upper triangle column by column
    return np.asarray(scipy.linalg.lapack.dtpttr(order, packed, uplo="U")[0])


def pack_product(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return q such that ``packed @ q`` equals leftᵀ M right for a symmetric M and its packed form."""
    order = len(left)
    product = scipy.linalg.blas.dspr2(order, 1.0, left, right, np.zeros(packed_size(order)), overwrite_ap=1)
    product[diagonal_positions(order)] *= 0.5
    return np.asarray(product)


class RowAccumulator:
    """Accumulates rows [A | b], a few at a time, into the packed normal equations of all of them."""

    def __init__(self, order: int) -> None:
        self._order = order
        self._gram: FloatArray | None = None
        self._waiting: list[FloatArray] = []
        self._filled = 0
        self.count = 0

    def add(self, rows: FloatArray) -> None:
        """Accumulate rows (m, order)."""
        self.count += len(rows)
        if len(rows) >= _UPDATE_ROWS:
            self._update(rows)
            return
        self._waiting.append(rows)
        self._filled += len(rows)
        if self._filled >= _UPDATE_ROWS:
            self._flush()

    def result(self) -> FloatArray:
        """Return the packed lower triangle of all rows so far."""
        self._flush()
        return np.zeros(packed_size(self._order)) if self._gram is None else pack(self._gram)

    def _flush(self) -> None:
        if self._filled:
            self._update(np.vstack(self._waiting))
            self._waiting, self._filled = [], 0

    def _update(self, rows: FloatArray) -> None:
        if self._gram is None:
            self._gram = np.zeros((self._order, self._order), order="F")
        self._gram = scipy.linalg.blas.dsyrk(1.0, rows.T, beta=1.0, c=self._gram, trans=0, lower=1, overwrite_c=1)


class RowReducer:
    """Reduces rows [A | b], a few at a time, to R with RᵀR = [A | b]ᵀ[A | b] by orthogonal transformations.

    R keeps the condition number of the rows, which normal equations square (Golub and Van Loan, Matrix Computations,
    4th ed., section 5.3).
    """

    def __init__(self, order: int) -> None:
        self._order = order
        self._triangle: FloatArray | None = None
        self._waiting: list[FloatArray] = []
        self._filled = 0
        self.count = 0

    def add(self, rows: FloatArray) -> None:
        """Accumulate rows (m, order)."""
        self._waiting.append(rows)
        self._filled += len(rows)
        self.count += len(rows)
        if self._filled > _ROWS_AT_ONCE + (self._order if self._triangle is None else 0):
            self._reduce()

    def result(self) -> FloatArray:
        """Return R of all rows so far, (≤ order, order)."""
        if self._triangle is None and self._filled <= self._order:
            return np.vstack([np.zeros((0, self._order)), *self._waiting])
        self._reduce()
        assert self._triangle is not None
        return self._triangle

    def _reduce(self) -> None:
        if self._waiting:
            self._triangle = triangle_of(np.vstack(self._waiting), self._triangle)
            self._waiting, self._filled = [], 0


def triangle_of(rows: FloatArray, above: FloatArray | None = None) -> FloatArray:
    """Return the triangular factor R of rows (m, n) below an upper triangle (n, n).

    LAPACK's tpqrt leaves the zeros of the triangle alone and works on wide panels: three times as fast as a QR
    decomposition of R stacked on further rows.
    """
    order = rows.shape[1]
    start = np.zeros((order, order), order="F") if above is None else above
    return np.asarray(scipy.linalg.lapack.dtpqrt(0, min(_PANEL, order), start, rows)[0])


class NotPositiveDefinite(ForcewrightError):
    """The normal equations cannot be factored at these weights; a larger ridge helps."""


class Solver(Protocol):
    """Solves M_f x = r for one fold at given weights; made by a `Blocks` object."""

    def solution(self) -> FloatArray:
        """Return c_f (p,)."""

    def solve(self, right: FloatArray) -> FloatArray:
        """Return M_f⁻¹ right."""


class Blocks(Protocol):
    """Training blocks of F folds and T terms."""

    def prepare(self, squared_weights: FloatArray, damping: FloatArray) -> list[Solver]:
        """Return a solver per fold at squared row weights (T,) and damping λ π (p,)."""

    def term_products(self, left: Sequence[FloatArray], right: Sequence[FloatArray]) -> FloatArray:
        """Return Σ_f leftᵀ_f [A|b]ᵀ_tf [A|b]_tf right_f for every term t, with left, right of p + 1 numbers each."""


@dataclass(frozen=True, eq=False)
class GramBlocks:
    """Blocks as packed normal equations, column-scaled: ``parts`` (F, T, P).

    With ``leave_out`` fold f is fitted to the sum of all the other parts (k-fold); without it F must be 1 and the only
    part is the training set.
    """

    parts: FloatArray
    columns: int
    leave_out: bool

    @cached_property
    def _total(self) -> FloatArray:
        return np.asarray(self.parts.sum(axis=0))

    def prepare(self, squared_weights: FloatArray, damping: FloatArray) -> list[Solver]:
        """Factor each fold's normal equations (see `Blocks`)."""
        weighted = [squared_weights @ part for part in self.parts]
        if self.leave_out:
            total = reduce(np.add, weighted)
            for packed in weighted:
                np.subtract(total, packed, out=packed)
        return [CholeskySolver(packed, self.columns, damping) for packed in weighted]

    def term_products(self, left: Sequence[FloatArray], right: Sequence[FloatArray]) -> FloatArray:
        """Contract every term's blocks with left and right (see `Blocks`)."""
        products = [pack_product(a, b) for a, b in zip(left, right, strict=True)]
        contracted = np.sum([part @ q for part, q in zip(self.parts, products, strict=True)], axis=0)
        return np.asarray(self._total @ reduce(np.add, products) - contracted if self.leave_out else contracted)


class CholeskySolver:
    """Cholesky factor of one fold's normal equations."""

    def __init__(self, packed: FloatArray, columns: int, damping: FloatArray) -> None:
        matrix = unpack_upper(packed[: packed_size(columns)], columns)
        matrix[np.diag_indices(columns)] += damping
        self._factor, info = scipy.linalg.lapack.dpotrf(matrix, lower=0, overwrite_a=1, clean=0)
        if info != 0:
            raise NotPositiveDefinite(f"leading minor {info} of the normal equations is not positive definite")
        self._right = packed[packed_size(columns) : packed_size(columns) + columns]

    def solution(self) -> FloatArray:
        """Return the coefficients (p,)."""
        return self.solve(self._right)

    def solve(self, right: FloatArray) -> FloatArray:
        """Return M⁻¹ right."""
        solved: FloatArray = scipy.linalg.lapack.dpotrs(self._factor, right, lower=0)[0]
        return solved

    def reciprocal_condition(self) -> float:
        """Estimate 1/(‖M‖₁‖M⁻¹‖₁) of the factored matrix (LAPACK dpocon)."""
        upper = np.triu(self._factor)
        norm = float(np.abs(upper.T @ upper).sum(axis=0).max())
        return float(scipy.linalg.lapack.dpocon(self._factor, norm)[0])


@dataclass(frozen=True, eq=False)
class FactorBlocks:
    """Blocks as triangular factors R of [A | b], column-scaled; for designs too ill-conditioned to square.

    ``factors[f][t]`` is the factor (≤ p + 1, p + 1) of term t that fold f is fitted to, its own rows already left out.
    """

    factors: Sequence[Sequence[FloatArray]]
    columns: int

    def prepare(self, squared_weights: FloatArray, damping: FloatArray) -> list[Solver]:
        """Factor each fold's stacked rows by QR (see `Blocks`)."""
        weights = np.sqrt(squared_weights)
        return [OrthogonalSolver(terms, weights, self.columns, damping) for terms in self.factors]

    def term_products(self, left: Sequence[FloatArray], right: Sequence[FloatArray]) -> FloatArray:
        """Contract every term's blocks with left and right (see `Blocks`)."""
        result = np.zeros(len(self.factors[0]))
        for terms, a, b in zip(self.factors, left, right, strict=True):
            result += [float((factor @ a) @ (factor @ b)) for factor in terms]
        return result


class OrthogonalSolver:
    """QR factor of one fold's weighted rows with √λ√π below (Björck, Numerical Methods for Least Squares, 1996)."""

    def __init__(self, factors: Sequence[FloatArray], weights: FloatArray, columns: int, damping: FloatArray) -> None:
        below = np.zeros((columns, columns + 1))
        below.flat[:: columns + 2] = np.sqrt(damping)
        stacked = np.vstack([*(w * factor for w, factor in zip(weights, factors, strict=True)), below])
        triangle = triangle_of(stacked)
        self._triangle: FloatArray = triangle[:columns, :columns]
        self._right: FloatArray = triangle[:columns, columns]
        if np.any(np.abs(np.diag(self._triangle)) < np.finfo(float).tiny):
            raise NotPositiveDefinite("the design is rank deficient and the ridge is zero")

    def solution(self) -> FloatArray:
        """Return the coefficients (p,)."""
        return np.asarray(scipy.linalg.solve_triangular(self._triangle, self._right, check_finite=False))

    def solve(self, right: FloatArray) -> FloatArray:
        """Return M⁻¹ right."""
        half = scipy.linalg.solve_triangular(self._triangle, right, trans="T", check_finite=False)
        return np.asarray(scipy.linalg.solve_triangular(self._triangle, half, check_finite=False))


def column_scale(total: FloatArray, columns: int) -> FloatArray:
    """Return 1/√diag of a packed normal matrix (p,); 1 for columns that are zero throughout."""
    diagonal = total[diagonal_positions(columns)]
    return np.where(diagonal > 0, 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 1.0)


def packed_scale(scale: FloatArray) -> FloatArray:
    """Return the factor for packed normal equations of [A | b] whose columns of A are multiplied by ``scale``."""
    full = np.append(scale, 1.0)
    return pack(np.outer(full, full))
