"""Minimize a `WeightedRidge` loss in log weights, log ridge and prior exponents, by L-BFGS-B from a few starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize

from forcewright.linalg.gram import FloatArray
from forcewright.linalg.ridge import WeightedRidge


@dataclass(frozen=True, eq=False)
class WeightSpace:
    """Which of theta = (log w_t …, log λ, η_k …) are free: ``theta = offset + mapping @ phi``, ``low ≤ phi ≤ high``.

    ``mapping`` (T + 1 + K, n) has a 1 where free variable n drives entry t, so that terms can share a weight.
    """

    offset: FloatArray
    mapping: FloatArray
    low: FloatArray
    high: FloatArray

    def theta(self, phi: FloatArray) -> FloatArray:
        """Return the full log weights, log ridge and prior exponents (T + 1 + K,)."""
        return self.offset + self.mapping @ phi

    @property
    def middle(self) -> FloatArray:
        """The center of the box in logarithms."""
        return 0.5 * (self.low + self.high)


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The best point found: free variables, full theta, loss, and what it cost."""

    phi: FloatArray
    theta: FloatArray
    loss: float
    evaluations: int


def search_weights(
    problem: WeightedRidge, space: WeightSpace, starts: Sequence[FloatArray], max_evaluations: int
) -> SearchResult:
    """Return the best of one L-BFGS-B descent per start, each of at most ``max_evaluations`` loss evaluations.

    Raises `NotPositiveDefinite` if no start gives normal equations that can be solved.
    """
    before = problem.evaluations
    best_loss, best_phi = np.inf, starts[0]

    def objective(phi: FloatArray) -> tuple[float, FloatArray]:
        nonlocal best_loss, best_phi
        loss, gradient = problem.loss_and_gradient(space.theta(phi))
        if loss < best_loss:
            best_loss, best_phi = loss, phi.copy()
        # L-BFGS-B fails at infinity; a value far above any loss makes its line search turn back
        return (loss, space.mapping.T @ gradient) if np.isfinite(loss) else (1e10, np.zeros_like(phi))

    for start in starts:
        first = np.clip(start, space.low, space.high)
        if len(first) == 0:
            objective(first)
            break
        scipy.optimize.minimize(
            objective, first, jac=True, method="L-BFGS-B", bounds=list(zip(space.low, space.high, strict=True)),
            options={"maxfun": max_evaluations, "maxiter": max_evaluations, "ftol": 1e-7, "gtol": 1e-9},
        )  # fmt: skip
    if not np.isfinite(best_loss):
        problem.solutions(space.theta(best_phi))  # raises the reason
    return SearchResult(best_phi, space.theta(best_phi), best_loss, problem.evaluations - before)


def starting_points(space: WeightSpace, count: int, rng: np.random.Generator) -> list[FloatArray]:
    """Return the middle of the box and ``count - 1`` uniformly random points."""
    spread = rng.random((max(count - 1, 0), len(space.low)))
    return [space.middle, *(space.low + spread * (space.high - space.low))]
