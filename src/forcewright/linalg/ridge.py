"""Weighted ridge regression from blocks of rows, its validation loss, and the gradient in weights and ridge.

The training rows come in T *terms* (a property of a group: the forces of "Surface"); term t carries the row weight w_t.
With F folds (one where validation is external) fold f is fitted to all blocks but those it leaves out:

    c_f = argmin Σ_t w_t² ‖A_tf c - b_tf‖² + Λ Σ_j π_j c_j²,
    M_f c_f = Σ_t w_t² h_tf  with  M_f = Σ_t w_t² G_tf + Λ diag π,    π_j = exp(ω_j + Σ_k φ_jk η_k),

in columns scaled so that Σ_t w⁰_t² G_t has a unit diagonal at the nominal weights w⁰. The *prior* π says how much
harder some columns are damped than others: φ_jk are features of a column (such as the logarithm of its degree), η_k
their exponents, optimized with the weights, and ω_j what is settled beforehand; it is a Gaussian prior on the
coefficients whose precisions Λ π_j are hyperparameters (MacKay, Neural Computation 4, 415 (1992)). Without features and
ω, π = 1. Λ is λ, or λ Σ_t w_t² n_t with n_t rows where these are given: λ then says how the prior compares with the
mean row, whatever the scale of the weights and the number of data. The loss is a weighted sum of root mean squares
over Q *measures* (energy per √N, force, …) pooled over the folds:

    L = Σ_q a_q e_q,    e_q² = Σ_f ‖V_qf c_f - v_qf‖² / n_q

and its gradient costs one more solve per fold: with u_f = M_f⁻¹ ∂L/∂c_f,

    ∂L/∂log λ = -Λ Σ_f u_fᵀ (π ∘ c_f),    ∂L/∂η_k = -Λ Σ_f u_fᵀ (π ∘ φ_k ∘ c_f),
    ∂L/∂log w_t = 2 w_t² Σ_f u_fᵀ (h_tf - G_tf c_f) + ∂L/∂log λ · ∂log Λ/∂log w_t.

=========  ==============  ============================================================
symbol     shape           meaning
=========  ==============  ============================================================
theta      (T + 1 + K,)    log w_t, then log λ, then η_k
features   (p, K)          φ; K = 0 where columns have no features
damping    (p,)            Λ π
z          (p + 1,)        [c; -1]
=========  ==============  ============================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from forcewright.linalg.gram import Blocks, FloatArray, NotPositiveDefinite


@dataclass(frozen=True)
class Measure:
    """One root mean square of the loss: its coefficient a_q and the number n_q its squares are divided by."""

    coefficient: float
    count: int


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
    offset
        What is settled of the prior, ω (p,); 0 where not given.
    rows
        Number of rows n_t of each term (T,), where the ridge is relative to the weighted rows.
    """

    blocks: Blocks
    validation: Sequence[Sequence[FloatArray]]
    measures: Sequence[Measure]
    features: FloatArray
    factored: bool = False
    offset: FloatArray | None = None
    rows: FloatArray | None = None
    evaluations: int = field(default=0, init=False)

    def unpack(self, theta: FloatArray) -> tuple[FloatArray, float, FloatArray]:
        """Return the squared row weights (T,), the ridge Λ and the prior π (p,) that theta (T + 1 + K,) stands for."""
        terms = len(theta) - 1 - self.features.shape[1]
        exponent = self.features @ theta[terms + 1 :]
        prior = np.asarray(np.exp(exponent if self.offset is None else exponent + self.offset))
        squared, ridge = np.exp(2.0 * theta[:terms]), float(np.exp(theta[terms]))
        return squared, ridge if self.rows is None else ridge * float(squared @ self.rows), prior

    def solutions(self, theta: FloatArray) -> list[FloatArray]:
        """Return the scaled coefficients (p,) of every fold; `NotPositiveDefinite` if one cannot be solved."""
        squared, ridge, prior = self.unpack(theta)
        return [solver.solution() for solver in self.blocks.prepare(squared, ridge * prior)]

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
        if self.rows is not None:
            gradient[:terms] += gradient[terms] * 2.0 * squared * self.rows / float(squared @ self.rows)
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
