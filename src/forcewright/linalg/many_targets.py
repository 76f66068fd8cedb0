"""Ridge regression of many targets at once, from normal equations kept per fold.

All targets share rows, weights and folds, so that one eigendecomposition of a training set serves every target and
every value of the ridge. Fold f is fitted to the rows of all the other folds:

    C = argmin Σ_r w_r² ‖a_r C - b_r‖² + λ Σ_j d_j ‖C_j‖²,    (G + λ D) C = H.

In columns scaled by d^-1/2, G = Q E Qᵀ and C = Q (E + λ)⁻¹ Qᵀ H. Columns with d_j = 0 are not damped (a constant): they
are eliminated first by their Schur complement, which changes nothing in the solution. λ is what scikit-learn's `Ridge`
calls alpha, with w² as ``sample_weight``.

=========  ==============  ==============================================================
symbol     shape           meaning
=========  ==============  ==============================================================
a, b       (n, p), (n, m)  rows of the design and of the targets
G, H, s    (p, p), (p, m)  Σ w² aᵀa, Σ w² aᵀb; s (m,) is Σ w² b²
d          (p,)            relative damping of the columns
=========  ==============  ==============================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from forcewright.errors import InputError
from forcewright.linalg.gram import FloatArray

_BYTES = 8


def predicted_bytes(columns: int, targets: int, folds: int) -> int:
    """Return the memory in bytes that equations of ``folds`` folds and their cross-validation need at most."""
    kept = folds * (columns * columns + columns * targets + targets)
    working = 5 * columns * columns + 4 * columns * targets  # a training set, its eigenvectors and LAPACK's space
    return _BYTES * (kept + working)


class FoldEquations:
    """Normal equations of [A | B] of every fold, to which rows are added a chunk at a time.

    Parameters
    ----------
    columns, targets, folds
        Numbers p, m and F. Rows of one fold are held back together.

    Attributes
    ----------
    gram, right, squares
        G (F, p, p), H (F, p, m) and s (F, m) of the rows of each fold.
    counts
        Rows of each fold (F,).
    """

    def __init__(self, columns: int, targets: int, folds: int) -> None:
        if min(columns, targets, folds) < 1:
            raise InputError(f"needs at least one column, target and fold, not {columns}, {targets} and {folds}")
        self.gram = np.zeros((folds, columns, columns))
        self.right = np.zeros((folds, columns, targets))
        self.squares = np.zeros((folds, targets))
        self.counts = np.zeros(folds, dtype=np.int64)

    def add(self, rows: ArrayLike, targets: ArrayLike, fold: int | ArrayLike, weights: ArrayLike | None = None) -> None:
        """Add rows (n, p) and targets (n, m) to one fold, or to the fold of each (n,); ``weights`` (n,) are w.

        Raises
        ------
        InputError
            If shapes or folds do not fit, or a number is not finite.
        """
        a, b = np.asarray(rows, dtype=np.float64), np.asarray(targets, dtype=np.float64)
        b = b[:, None] if b.ndim == 1 else b
        folds, columns, count = self.right.shape
        if a.ndim != 2 or a.shape[1] != columns or b.shape != (len(a), count):
            raise InputError(
                f"rows {a.shape} and targets {b.shape} do not fit {columns} columns and {count} targets", field="rows"
            )
        numbers = np.broadcast_to(np.asarray(fold, dtype=np.int64), (len(a),))
        if len(a) and not 0 <= numbers.min() <= numbers.max() < folds:
            raise InputError(f"folds run from 0 to {folds - 1}, not {numbers.min()} to {numbers.max()}", field="fold")
        if weights is not None:
            factor = np.broadcast_to(np.asarray(weights, dtype=np.float64), (len(a),))[:, None]
            a, b = a * factor, b * factor
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise InputError("rows, targets and weights must be finite numbers", field="rows")
        for number in np.unique(numbers):
            chosen = numbers == number
            part, values = (a, b) if chosen.all() else (a[chosen], b[chosen])
            self.gram[number] += part.T @ part
            self.right[number] += part.T @ values
            self.squares[number] += np.einsum("nm,nm->m", values, values)
            self.counts[number] += len(part)

    def merge(self, other: FoldEquations) -> None:
        """Add the rows of other equations of the same shape, fold by fold (those of another worker)."""
        if self.right.shape != other.right.shape:
            raise InputError(f"equations of shape {other.right.shape} cannot be added to {self.right.shape}")
        self.gram += other.gram
        self.right += other.right
        self.squares += other.squares
        self.counts += other.counts

    def cross_validate(self, ridges: ArrayLike, damping: ArrayLike | None = None) -> CrossValidation:
        """Predict every fold by the fit to all the other folds, at all ``ridges`` λ (L,).

        Parameters
        ----------
        damping
            d (p,), not negative; 1 where not given.

        Raises
        ------
        InputError
            If there is one fold, or a ridge or a damping is negative.
        """
        values, d = self._checked(ridges, damping)
        if len(self.counts) < 2:
            raise InputError("a cross-validation needs at least two folds", field="folds")
        squares = np.empty((len(values), len(self.counts), self.squares.shape[1]))
        gram, right = self.gram.sum(axis=0), self.right.sum(axis=0)
        for fold in range(len(self.counts)):
            system = DampedSystem.of(gram - self.gram[fold], d)
            projected, here = system.project(right - self.right[fold]), system.transform(self.gram[fold])
            there = system.vectors.T @ self.right[fold]
            for number, ridge in enumerate(values):
                z = projected * system.inverse(float(ridge))[:, None]
                residual = np.einsum("pm,pm->m", z, here @ z - 2.0 * there) + self.squares[fold]
                squares[number, fold] = np.maximum(residual, 0.0)
        return CrossValidation(values, squares, self.counts.copy())

    def fit(
        self, ridge: float | ArrayLike, damping: ArrayLike | None = None, leave_out: int | Iterable[int] = ()
    ) -> ManyTargetFit:
        """Fit all folds but those left out, at one ridge λ or one for each target (m,).

        Raises
        ------
        InputError
            If a ridge or a damping is negative, or no row is left.
        """
        values, d = self._checked(ridge, damping)
        if len(values) not in (1, self.squares.shape[1]):
            raise InputError(f"needs one ridge or {self.squares.shape[1]}, one for each target, not {len(values)}")
        left_out = {leave_out} if isinstance(leave_out, int) else set(leave_out)
        kept = [fold for fold in range(len(self.counts)) if fold not in left_out]
        if not kept or not self.counts[kept].sum():
            raise InputError("no row is left to fit", field="leave_out")
        gram, right = self.gram[kept].sum(axis=0), self.right[kept].sum(axis=0)
        system = DampedSystem.of(gram, d)
        inverse = system.inverse(values)  # (q,) or (q, m)
        coefficients = system.vectors @ (system.project(right) * (inverse[:, None] if inverse.ndim == 1 else inverse))
        squares = np.einsum("pm,pm->m", coefficients, gram @ coefficients - 2.0 * right) + self.squares[kept].sum(
            axis=0
        )
        freedom = system.freedom(values)
        left = np.maximum(int(self.counts[kept].sum()) - freedom, 1.0)
        noise = np.maximum(squares, 0.0) / left
        return ManyTargetFit(coefficients, np.broadcast_to(values, noise.shape), noise, freedom, system)

    def _checked(self, ridges: ArrayLike, damping: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
        values = np.atleast_1d(np.asarray(ridges, dtype=np.float64))
        d = np.ones(self.gram.shape[1]) if damping is None else np.asarray(damping, dtype=np.float64)
        if d.shape != (self.gram.shape[1],) or not np.all(d >= 0.0) or not np.isfinite(d).all():
            raise InputError(f"needs a damping of 0 or more for each of {self.gram.shape[1]} columns", field="damping")
        if values.ndim != 1 or not len(values) or not np.all(values >= 0.0) or not np.isfinite(values).all():
            raise InputError(f"a ridge is 0 or more, not {values}", field="ridge")
        return values, d


@dataclass(frozen=True, eq=False)
class DampedSystem:
    """G + λ D for every λ: (G + λ D)⁻¹ = V (E + λ s)⁻¹ Vᵀ, with s 1 for damped directions and 0 for the others.

    Attributes
    ----------
    vectors
        V (p, q), with Vᵀ G V = E diagonal and Vᵀ D V = diag s.
    values
        E (q,), ascending; directions of no damping have 1.
    damped
        s (q,).
    """

    vectors: FloatArray
    values: FloatArray
    damped: FloatArray

    @classmethod
    def of(cls, gram: FloatArray, damping: FloatArray) -> DampedSystem:
        """Decompose G (p, p) with the damping d (p,)."""
        free, bound = np.flatnonzero(damping == 0.0), np.flatnonzero(damping > 0.0)
        scale = 1.0 / np.sqrt(damping[bound])
        reduced = gram[np.ix_(bound, bound)]
        across = np.zeros((len(free), len(bound)))
        basis = np.zeros((len(free), 0))
        if len(free):
            basis = _inverse_root(gram[np.ix_(free, free)])  # W Wᵀ = G_ff⁻¹
            across = basis @ (basis.T @ gram[np.ix_(free, bound)])
            reduced = reduced - gram[np.ix_(bound, free)] @ across
        reduced = reduced * np.outer(scale, scale)
        values, turned = scipy.linalg.eigh((reduced + reduced.T) / 2.0)
        values = np.maximum(values, 0.0)
        vectors = np.zeros((len(damping), len(bound) + basis.shape[1]))
        scaled = scale[:, None] * turned
        vectors[bound, : len(bound)] = scaled
        vectors[free, : len(bound)] = -across @ scaled
        vectors[free, len(bound) :] = basis
        damped = np.concatenate([np.ones(len(bound)), np.zeros(basis.shape[1])])
        return cls(vectors, np.concatenate([values, np.ones(basis.shape[1])]), damped)

    def project(self, right: FloatArray) -> FloatArray:
        """Return Vᵀ H (q, m)."""
        return np.asarray(self.vectors.T @ right)

    def transform(self, gram: FloatArray) -> FloatArray:
        """Return Vᵀ G V (q, q) of another G."""
        return np.asarray(self.vectors.T @ gram @ self.vectors)

    def inverse(self, ridges: float | FloatArray) -> FloatArray:
        """Return 1/(E + λ s), (q,) or (q, m) for several λ (m,); 0 for directions of which the rows tell nothing."""
        several = np.ndim(ridges) > 0 and np.size(ridges) > 1
        lam = np.asarray(ridges, dtype=np.float64).reshape(1, -1)
        total = self.values[:, None] + self.damped[:, None] * lam
        smallest = len(self.values) * np.finfo(np.float64).eps * max(float(self.values.max(initial=0.0)), 1e-300)
        usable = total > smallest
        result = np.where(usable, 1.0 / np.where(usable, total, 1.0), 0.0)
        return result if several else result[:, 0]

    def freedom(self, ridges: float | FloatArray) -> FloatArray:
        """Return the effective number of parameters tr[(G + λ D)⁻¹ G] at each λ (L,)."""
        inverse = self.inverse(ridges)
        return np.atleast_1d(self.values @ inverse)

    def leverage(self, rows: FloatArray, ridge: float) -> FloatArray:
        """Return aᵀ (G + λ D)⁻¹ a of rows (n, p)."""
        turned = rows @ self.vectors
        return np.asarray(np.einsum("nq,q,nq->n", turned, self.inverse(ridge), turned))


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Squared errors of held-back rows: ``squares`` (L, F, m) are Σ w² (aC - b)², at ``ridges`` (L,)."""

    ridges: FloatArray
    squares: FloatArray
    counts: np.ndarray

    @cached_property
    def errors(self) -> FloatArray:
        """Root mean square errors over all rows (L, m)."""
        return np.asarray(np.sqrt(self.squares.sum(axis=1) / max(int(self.counts.sum()), 1)))

    def best(self, weights: ArrayLike | None = None) -> float:
        """Return the ridge of the smallest summed squared error; ``weights`` (m,) tell how targets count."""
        total = self.squares.sum(axis=1)
        total = total.sum(axis=1) if weights is None else total @ np.asarray(weights, dtype=np.float64)
        return float(self.ridges[int(np.argmin(total))])

    def best_each(self) -> FloatArray:
        """Return the best ridge of every target (m,)."""
        return np.asarray(self.ridges[np.argmin(self.squares.sum(axis=1), axis=0)])


@dataclass(frozen=True, eq=False)
class ManyTargetFit:
    """Coefficients (p, m) with what their errors need.

    Attributes
    ----------
    ridges
        λ of each target (m,).
    noise
        Variance of the residuals per unit weight of each target (m,): Σ w² r² / (n - effective parameters).
    freedom
        Effective numbers of parameters, one, or one for each target.
    """

    coefficients: FloatArray
    ridges: FloatArray
    noise: FloatArray
    freedom: FloatArray
    system: DampedSystem

    def predict(self, rows: FloatArray) -> FloatArray:
        """Return the targets (n, m) of rows (n, p)."""
        return np.asarray(rows @ self.coefficients)

    def leverages(self, rows: FloatArray) -> FloatArray:
        """Return aᵀ (G + λ D)⁻¹ a (n,), or (n, m) where targets have several ridges; times w² for rows of the fit."""
        distinct, where = np.unique(self.ridges, return_inverse=True)
        each = np.stack([self.system.leverage(rows, float(ridge)) for ridge in distinct], axis=1)
        return np.asarray(each[:, 0] if len(distinct) == 1 else each[:, where])

    def standard_errors(self, rows: FloatArray) -> FloatArray:
        """Return the standard error of the predicted mean of every target (n, m): the posterior of a Gaussian prior."""
        leverage = self.leverages(rows)
        leverage = leverage[:, None] if leverage.ndim == 1 else leverage
        return np.asarray(np.sqrt(np.maximum(leverage, 0.0) * self.noise))


def equations_of(
    rows: FloatArray, targets: FloatArray, folds: Sequence[int] | np.ndarray, weights: ArrayLike | None = None
) -> FoldEquations:
    """Return the equations of rows (n, p) and targets (n, m) in memory with their folds (n,) from 0 on."""
    numbers = np.asarray(folds, dtype=np.int64)
    many = np.atleast_2d(np.asarray(targets, dtype=np.float64).T).T
    result = FoldEquations(rows.shape[1], many.shape[1], int(numbers.max(initial=0)) + 1)
    result.add(rows, many, numbers, weights)
    return result


def _inverse_root(matrix: FloatArray) -> FloatArray:
    """Return W (k, r) with W Wᵀ the pseudo-inverse of a positive semidefinite matrix (k, k)."""
    values, vectors = scipy.linalg.eigh(matrix)
    kept = values > len(values) * np.finfo(np.float64).eps * max(float(values.max(initial=0.0)), 1e-300)
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))
