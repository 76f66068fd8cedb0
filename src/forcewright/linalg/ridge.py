"""Weighted ridge regression from blocks of rows, its validation loss, and the gradient in weights and ridge.

The training rows come in T *terms* (a property of a group: the forces of "Surface"); term t carries the row weight w_t.
With F folds (one where validation is external) fold f is fitted to all blocks but those it leaves out:

    c_f = argmin Σ_t w_t² ‖A_tf c - b_tf‖² + λ Σ_j π_j c_j²,
    M_f c_f = Σ_t w_t² h_tf  with  M_f = Σ_t w_t² G_tf + λ diag π,    π_j = exp(Σ_k φ_jk η_k),

in columns scaled so that Σ_t w⁰_t² G_t has a unit diagonal at the nominal weights w⁰. The *prior* π lets the data say
how much harder rougher columns are damped: φ_jk are features of a column (such as the logarithm of its degree) and
η_k their exponents, optimized with the weights; it is a Gaussian prior on the coefficients whose precisions λ π_j are
hyperparameters (MacKay, Neural Computation 4, 415 (1992)). Without features π = 1. The loss is a weighted sum of root
mean squares over Q *measures* (energy per √N, force, …) pooled over the folds:

    L = Σ_q a_q e_q,    e_q² = Σ_f ‖V_qf c_f - v_qf‖² / n_q

and its gradient costs one more solve per fold: with u_f = M_f⁻¹ ∂L/∂c_f,

    ∂L/∂log w_t = 2 w_t² Σ_f u_fᵀ (h_tf - G_tf c_f),
    ∂L/∂log λ = -λ Σ_f u_fᵀ (π ∘ c_f),    ∂L/∂η_k = -λ Σ_f u_fᵀ (π ∘ φ_k ∘ c_f).

=========  ==============  ============================================================
symbol     shape           meaning
=========  ==============  ============================================================
theta      (T + 1 + K,)    log w_t, then log λ, then η_k
features   (p, K)          φ; K = 0 where columns have no features
damping    (p,)            λ π
z          (p + 1,)        [c; -1]
=========  ==============  ============================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Protocol

import numpy as np
import scipy.linalg

from forcewright.errors import ForcewrightError
from forcewright.linalg.gram import (
    FloatArray,
    diagonal_positions,
    pack,
    pack_product,
    packed_size,
    triangle_of,
    unpack_upper,
)


@dataclass(frozen=True)
class Measure:
    """One root mean square of the loss: its coefficient a_q and the number n_q its squares are divided by."""

    coefficient: float
    count: int


class NotPositiveDefinite(ForcewrightError):
    """The normal equations cannot be factored at these weights; a larger ridge helps."""


class Solver(Protocol):
    """Solves M_f x = r for one fold at given weights; made by a `Blocks` object."""

    def solution(self) -> FloatArray:
        """Return c_f (p,)."""
        ...

    def solve(self, right: FloatArray) -> FloatArray:
        """Return M_f⁻¹ right."""
        ...


class Blocks(Protocol):
    """Training blocks of F folds and T terms."""

    def prepare(self, squared_weights: FloatArray, damping: FloatArray) -> list[Solver]:
        """Return a solver per fold at squared row weights (T,) and damping λ π (p,)."""
        ...

    def term_products(self, left: Sequence[FloatArray], right: Sequence[FloatArray]) -> FloatArray:
        """Return Σ_f leftᵀ_f [A|b]ᵀ_tf [A|b]_tf right_f for every term t, with left, right of p + 1 numbers each."""
        ...


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


@dataclass
class WeightedRidge:
    """The validation loss as a function of log weights, log ridge and the exponents of the prior.

    Parameters
    ----------
    blocks
        Training blocks.
    validation
        (F, Q) symmetric matrices [V|v]ᵀ[V|v] (p + 1, p + 1) or factors R of them, column-scaled like the blocks.
    measures
        The Q root mean squares of the loss.
    features
        Features φ of the columns (p, K), of which the prior is made.
    factored
        Whether ``validation`` holds factors R instead of RᵀR.
    """

    blocks: Blocks
    validation: Sequence[Sequence[FloatArray]]
    measures: Sequence[Measure]
    features: FloatArray
    factored: bool = False
    evaluations: int = field(default=0, init=False)

    def unpack(self, theta: FloatArray) -> tuple[FloatArray, float, FloatArray]:
        """Return the squared row weights (T,), the ridge λ and the prior π (p,) that theta (T + 1 + K,) stands for."""
        terms = len(theta) - 1 - self.features.shape[1]
        prior = np.asarray(np.exp(self.features @ theta[terms + 1 :]))
        return np.exp(2.0 * theta[:terms]), float(np.exp(theta[terms])), prior

    def solutions(self, theta: FloatArray) -> list[FloatArray]:
        """Return the scaled coefficients (p,) of every fold.

        Raises
        ------
        NotPositiveDefinite
            If a fold cannot be solved at these weights.
        """
        squared, ridge, prior = self.unpack(theta)
        solvers = self.blocks.prepare(squared, ridge * prior)
        return [solver.solution() for solver in solvers]

    def errors(self, solutions: Sequence[FloatArray]) -> FloatArray:
        """Return the root mean squares e_q (Q,) of given solutions, one per fold."""
        squares, _ = self._squares([np.append(c, -1.0) for c in solutions])
        return np.asarray(np.sqrt(squares.sum(axis=0) / [measure.count for measure in self.measures]))

    def loss_and_gradient(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """Return L and ∂L/∂theta (T + 1 + K,); infinity and zeros where the normal equations cannot be solved."""
        self.evaluations += 1
        squared, ridge, prior = self.unpack(theta)
        try:
            solvers = self.blocks.prepare(squared, ridge * prior)
        except NotPositiveDefinite:
            return np.inf, np.zeros_like(theta)
        z = [np.append(solver.solution(), -1.0) for solver in solvers]
        squares, halves = self._squares(z)
        counts = np.array([measure.count for measure in self.measures])
        coefficients = np.array([measure.coefficient for measure in self.measures])
        rms = np.sqrt(np.maximum(squares.sum(axis=0) / counts, np.finfo(float).tiny))
        scale = coefficients / (counts * rms)  # ∂L/∂c_f = Σ_q a_q/(n_q e_q) (Vᵀ(Vc - v))_qf
        u = [
            np.append(solver.solve(np.einsum("q,qp->p", scale, half[:, :-1])), 0.0)
            for solver, half in zip(solvers, halves, strict=True)
        ]
        terms, gradient = len(squared), np.empty_like(theta)
        gradient[:terms] = -2.0 * squared * self.blocks.term_products(u, z)
        gradient[terms] = -ridge * sum(float(a[:-1] @ (prior * b[:-1])) for a, b in zip(u, z, strict=True))
        products = sum((a[:-1] * b[:-1] for a, b in zip(u, z, strict=True)), np.zeros(len(prior)))
        gradient[terms + 1 :] = -ridge * ((prior * products) @ self.features)
        return float(coefficients @ rms), gradient

    def _squares(self, z: Sequence[FloatArray]) -> tuple[FloatArray, list[FloatArray]]:
        """Return ‖Vc - v‖² (F, Q) and per fold [V|v]ᵀ(Vc - v) (Q, p + 1)."""
        squares = np.empty((len(z), len(self.measures)))
        halves = []
        for fold, vector in enumerate(z):
            half = np.empty((len(self.measures), len(vector)))
            for q, matrix in enumerate(self.validation[fold]):
                if self.factored:
                    residual = matrix @ vector
                    half[q], squares[fold, q] = matrix.T @ residual, residual @ residual
                else:
                    half[q] = matrix @ vector
                    squares[fold, q] = max(float(vector @ half[q]), 0.0)
            halves.append(half)
        return squares, halves


def column_scale(total: FloatArray, columns: int) -> FloatArray:
    """Return 1/√diag of a packed normal matrix (p,); 1 for columns that are zero throughout."""
    diagonal = total[diagonal_positions(columns)]
    return np.where(diagonal > 0, 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 1.0)


def packed_scale(scale: FloatArray) -> FloatArray:
    """Return the factor for packed normal equations of [A | b] whose columns of A are multiplied by ``scale``."""
    full = np.append(scale, 1.0)
    return pack(np.outer(full, full))
