"""Minimize a `WeightedRidge` loss in log weights, log ridge and prior exponents, by L-BFGS-B from a few starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
        By which fraction the loss may rise for a ridge λ ten times as large: L λ^-κ is minimized in λ at the weights of
        the least loss, with 10^κ = 1 + caution.

    Raises
    ------
    NotPositiveDefinite
        If no start gives normal equations that can be solved.
    """
    before = problem.evaluations
    best = _Best()
    for start in starts:
        _descend(problem, space, start, max_evaluations, best)
        if len(start) == 0:
            break
    if not np.isfinite(best.value):
        problem.solutions(space.theta(starts[0]))  # raises the reason
    ridge = len(space.offset) - 1 - problem.features.shape[1]
    (free,) = np.nonzero(space.mapping[ridge])
    if caution > 0 and len(free):
        least = best
        best = _Best()
        only = replace(
            space, offset=space.theta(least.phi) - space.mapping[:, free] @ least.phi[free],
            mapping=space.mapping[:, free], low=space.low[free], high=space.high[free],
        )  # fmt: skip
        power = np.log1p(caution) / np.log(10.0)
        _descend(problem, only, least.phi[free], max_evaluations, best, power=power, ridge=ridge)
        phi = least.phi.copy()
        phi[free] = best.phi
        best.phi = phi
    return SearchResult(best.phi, space.theta(best.phi), best.loss, problem.evaluations - before)


@dataclass
class _Best:
    """The best point of descents so far: what was minimized, the loss, and the free variables."""

    value: float = np.inf
    loss: float = np.inf
    phi: FloatArray = field(default_factory=lambda: np.zeros(0))


def _descend(
    problem: WeightedRidge, space: WeightSpace, start: FloatArray, max_evaluations: int, best: _Best, *,
    power: float = 0.0, ridge: int = 0,
) -> None:  # fmt: skip
    """Minimize L λ^-power from a start, and note what is better than the best so far."""
    first = np.clip(start, space.low, space.high)
    origin = space.theta(first)[ridge]

    def objective(phi: FloatArray) -> tuple[float, FloatArray]:
        theta = space.theta(phi)
        loss, gradient = problem.loss_and_gradient(theta)
        if not np.isfinite(loss):  # at which L-BFGS-B fails; far above any loss its line search turns back
            return 1e10, np.zeros_like(phi)
        factor = np.exp(-power * (theta[ridge] - origin))
        value = loss * factor
        if value < best.value:
            best.value, best.loss, best.phi = value, loss, phi.copy()
        return value, factor * (space.mapping.T @ gradient) - power * value * space.mapping[ridge]

    if len(first) == 0:
        objective(first)
        return
    scipy.optimize.minimize(
        objective, first, jac=True, method="L-BFGS-B", bounds=list(zip(space.low, space.high, strict=True)),
        options={"maxfun": max_evaluations, "maxiter": max_evaluations, "ftol": 1e-7, "gtol": 1e-9},
    )  # fmt: skip


def starting_points(space: WeightSpace, count: int, rng: np.random.Generator) -> list[FloatArray]:
    """Return the middle of the box and ``count - 1`` uniformly random points."""
    spread = rng.random((max(count - 1, 0), len(space.low)))
    return [space.middle, *(space.low + spread * (space.high - space.low))]
