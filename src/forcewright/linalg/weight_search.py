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
    problem: WeightedRidge, space: WeightSpace, starts: Sequence[FloatArray], max_evaluations: int, caution: float = 0.0
) -> SearchResult:
    """Return the best of one L-BFGS-B descent per start, each of at most ``max_evaluations`` loss evaluations.

    Parameters
    ----------
    caution
        By which fraction the loss may rise for a ridge λ ten times as large: L λ^-κ is minimized, (1 + caution) = 10^κ.

    Raises
    ------
    NotPositiveDefinite
        If no start gives normal equations that can be solved.
    """
    before = problem.evaluations
    best_value, best_loss, best_phi = np.inf, np.inf, starts[0]
    ridge = len(space.offset) - 1 - problem.features.shape[1]
    power = np.log1p(caution) / np.log(10.0)
    free = space.mapping[ridge]
    least = space.offset[ridge] + free @ space.low  # so that the factor is 1 where nothing is searched

    def objective(phi: FloatArray) -> tuple[float, FloatArray]:
        nonlocal best_value, best_loss, best_phi
        theta = space.theta(phi)
        loss, gradient = problem.loss_and_gradient(theta)
        if not np.isfinite(loss):  # at which L-BFGS-B fails; far above any loss its line search turns back
            return 1e10, np.zeros_like(phi)
        factor = np.exp(-power * (theta[ridge] - least))
        value = loss * factor
        if value < best_value:
            best_value, best_loss, best_phi = value, loss, phi.copy()
        return value, factor * (space.mapping.T @ gradient) - power * value * free

    for start in starts:
        first = np.clip(start, space.low, space.high)
        if len(first) == 0:
            objective(first)
            break
        scipy.optimize.minimize(
            objective, first, jac=True, method="L-BFGS-B", bounds=list(zip(space.low, space.high, strict=True)),
            options={"maxfun": max_evaluations, "maxiter": max_evaluations, "ftol": 1e-7, "gtol": 1e-9},
        )  # fmt: skip
    if not np.isfinite(best_value):
        problem.solutions(space.theta(best_phi))  # raises the reason
    return SearchResult(best_phi, space.theta(best_phi), best_loss, problem.evaluations - before)


def starting_points(space: WeightSpace, count: int, rng: np.random.Generator) -> list[FloatArray]:
    """Return the middle of the box and ``count - 1`` uniformly random points."""
    spread = rng.random((max(count - 1, 0), len(space.low)))
    return [space.middle, *(space.low + spread * (space.high - space.low))]
