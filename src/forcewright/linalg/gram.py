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

from functools import lru_cache

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

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
    triangle = scipy.linalg.lapack.dtpqrt(0, min(_PANEL, order), start, rows)[0]
    return np.asarray(triangle)
