"""Suggests the next point: a pure function of seed, index, finished results and pending points.

Notation
--------
u      (m, d) points of the unit cube, X (m, q) their features (see `space`)
y      (n,) standardized targets: the loss or its logarithm, minus the mean, over the standard deviation; with several
       objectives a norm of them whose weights change from trial to trial (see `pareto`)
model  Gaussian process conditioned on the finished trials; `believer` also on the pending ones
gains  g (3,), what each acquisition function of the portfolio has earned
eta    η, how sharply the portfolio favors the largest gain
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from forcewright.optimize.acquisition import ACQUISITIONS, Acquisition, Goal
from forcewright.optimize.design import hammersley, hammersley_point
from forcewright.optimize.gaussian_process import GaussianProcess, fit
from forcewright.optimize.pareto import scalarized, weights_of
from forcewright.optimize.settings import StudySettings
from forcewright.optimize.space import FloatArray, Params, Space

CANDIDATES = 1024
"""Quasi-random points among which the acquisition function is searched."""
LOCAL_WIDTHS = (0.1, 0.02)
"""Widths of the clouds of candidates around the best points known."""
REFINED = 3
"""Candidates that are refined by a local search."""
ETA = 1.0
REDRAWS = 100


@dataclass(frozen=True)
class Portfolio:
    """What GP-Hedge must store with a trial, so that the next one can continue from it."""

    chosen: str
    gains: tuple[float, ...]
    proposals: tuple[tuple[float, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"chosen": self.chosen, "gains": list(self.gains), "proposals": [list(p) for p in self.proposals]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Portfolio:
        """Read what `as_dict` wrote."""
        return cls(data["chosen"], tuple(data["gains"]), tuple(tuple(p) for p in data["proposals"]))


@dataclass(frozen=True)
class Suggestion:
    """The next point, in which phase it was chosen, and the memory of the portfolio if there is one."""

    params: Params
    phase: str
    portfolio: Portfolio | None = None


@dataclass(frozen=True)
class Observation:
    """A suggestion, its loss (None if the evaluation failed) and the values of any further objectives."""

    suggestion: Suggestion
    loss: float | None
    others: tuple[float, ...] = ()


def suggest(
    space: Space, settings: StudySettings, index: int, history: Sequence[Observation], pending: Sequence[Suggestion]
) -> Suggestion:
    """Suggest the point of trial ``index``, counted from 0; with the seed it sets the random numbers.

    ``history`` are finished trials in the order of their index; ``pending`` those before this one whose loss is not
    used, which follow the history without a gap.
    """
    rng = np.random.default_rng([settings.seed, index])
    if settings.sampler == "random":
        return Suggestion(space.params(rng.random(len(space))), "random")
    if index < settings.initial:
        return Suggestion(_initial_point(space, settings, index), "initial")
    if settings.sampler == "hammersley":
        return Suggestion(space.params(_spread_point(space, settings, index)), "hammersley")
    if all(observation.loss is None for observation in history):
        return Suggestion(space.params(rng.random(len(space))), "random")
    with threadpool_limits(limits=1):  # small matrices: threads cost time and change the last bits
        return _suggest_from_model(space, settings, index, history, pending, rng)


def _initial_point(space: Space, settings: StudySettings, index: int) -> Params:
    """Return a Hammersley point; where rounding made it equal an earlier one, a random new one if there is any."""
    seen: list[Params] = []
    for i in range(index + 1):
        params = space.params(_spread_point(space, settings, i))
        rng = np.random.default_rng([settings.seed, i])
        redraws = 0
        while params in seen and redraws < REDRAWS:
            params, redraws = space.params(rng.random(len(space))), redraws + 1
        seen.append(params)
    return seen[-1]


def _spread_point(space: Space, settings: StudySettings, index: int) -> FloatArray:
    """Return a point (d,) of the Hammersley set, plain for seed 0, else shifted as a whole.

    Points that leave the cube re-enter on the other side (Cranley and Patterson, SIAM J. Numer. Anal. 13, 904 (1976)).
    """
    d = len(space)
    shift = np.random.default_rng(settings.seed).random(d) if settings.seed else np.zeros(d)
    return np.asarray((hammersley_point(index, settings.initial, d) + shift) % 1.0)


def _suggest_from_model(
    space: Space, settings: StudySettings, index: int, history: Sequence[Observation], pending: Sequence[Suggestion],
    rng: np.random.Generator,
) -> Suggestion:  # fmt: skip
    u = _units(space, [o.suggestion for o in history])
    y = _targets(settings, index, history)
    model = fit(space.features(u), y, rng)
    pending_points = _units(space, pending)
    believer = model.believe(space.features(pending_points))
    known = np.vstack([u, pending_points])
    goal = Goal(float(believer.y.min()), settings.xi, settings.kappa)
    best_first = u[np.argsort(y, kind="stable")]
    candidates = _candidates(space, best_first, known, rng)
    names = list(ACQUISITIONS) if settings.acquisition == "gp_hedge" else [settings.acquisition]
    proposals = [_maximize(ACQUISITIONS[name], space, believer, goal, candidates, known) for name in names]
    if settings.acquisition != "gp_hedge":
        return Suggestion(space.params(proposals[0]), "gp")
    return _choose_from_portfolio(space, model, history, pending, names, proposals, rng)


def _targets(settings: StudySettings, index: int, history: Sequence[Observation]) -> FloatArray:
    """Return what the model of trial ``index`` learns (n,): the loss, or one compromise of all objectives."""
    count = len(settings.objectives)
    if count == 1:
        return standardized([o.loss for o in history], settings.log_loss)
    values = [None if o.loss is None else (o.loss, *o.others) for o in history]
    norms = scalarized(values, weights_of(index, count, settings.seed), log=settings.log_loss)
    return standardized(norms, False)


def standardized(losses: Sequence[float | None], log_loss: bool) -> FloatArray:
    """Return targets (n,) of mean 0 and standard deviation 1.

    A failed trial takes the worst value seen, so that the search avoids regions where evaluations fail. With
    ``log_loss`` the logarithm is taken if every loss is positive.
    """
    known = np.array([loss for loss in losses if loss is not None])
    values = np.array([known.max() if loss is None else loss for loss in losses])
    if log_loss and (values > 0).all():
        values = np.log(values)
    if np.ptp(values) == 0.0:
        return np.zeros(len(values))
    scaled = values / np.abs(values).max()  # or the largest floats would overflow in the sum
    return np.asarray((scaled - scaled.mean()) / scaled.std())


def _units(space: Space, suggestions: Sequence[Suggestion]) -> FloatArray:
    return np.array([space.unit(s.params) for s in suggestions]).reshape(-1, len(space))


def _candidates(space: Space, best_first: FloatArray, known: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return new realizable points (m, d): a shifted Hammersley set and clouds around the best points.

    In a finite space whose points are all known, known points are returned.
    """
    d = len(space)
    spread = (hammersley(CANDIDATES, d) + rng.random(d)) % 1.0
    centers = np.repeat(best_first[:5], 20, axis=0)
    clouds = [centers + width * rng.standard_normal(centers.shape) for width in LOCAL_WIDTHS]
    jumps = np.where(rng.random(centers.shape) < 1.0 / d, rng.random(centers.shape), centers)
    points = space.snap(np.vstack([spread, *clouds, jumps]))
    new = points[~_contains(known, points)]
    return new if len(new) else points


def _contains(known: FloatArray, points: FloatArray) -> NDArray[np.bool_]:
    """Return for each point (m, d) whether it equals a known one (n, d) within rounding."""
    distance = np.abs(points[:, None, :] - known[None, :, :]).max(axis=2)
    return np.asarray((distance < 1e-6).any(axis=1))


def _maximize(
    acquisition: Acquisition, space: Space, model: GaussianProcess, goal: Goal, candidates: FloatArray,
    known: FloatArray,
) -> FloatArray:  # fmt: skip
    """Return the point (d,) with the largest acquisition: the best candidates, refined along continuous coordinates."""

    def value(u: FloatArray) -> FloatArray:
        return acquisition(*model.predict(space.features(u)), goal)

    values = value(candidates)
    order = np.argsort(-values, kind="stable")[:REFINED]
    refined = np.array([_refine(value, candidates[i], space.continuous) for i in order])
    refined = refined[~_contains(known, refined)]
    points = np.vstack([candidates[order], refined])
    return np.asarray(points[int(np.argmax(value(points)))])


def _refine(value: Any, start: FloatArray, free: NDArray[np.bool_]) -> FloatArray:
    """Climb from a point (d,) along its free coordinates by L-BFGS with central differences, one batch per step."""
    step = 1e-5
    axes = np.flatnonzero(free)
    if len(axes) == 0:
        return start

    def negative_value_and_gradient(x: FloatArray) -> tuple[float, FloatArray]:
        points = np.tile(start, (2 * len(axes) + 1, 1))
        points[:, axes] = x
        points[np.arange(len(axes)), axes] += step
        points[len(axes) + np.arange(len(axes)), axes] -= step
        values = value(points)
        return -float(values[-1]), -(values[: len(axes)] - values[len(axes) : -1]) / (2 * step)

    minimum = minimize(
        negative_value_and_gradient, start[axes], method="L-BFGS-B", jac=True, bounds=[(0.0, 1.0)] * len(axes),
        options={"maxiter": 40},
    )  # fmt: skip
    point = start.copy()
    point[axes] = minimum.x
    return point


def _choose_from_portfolio(
    space: Space, model: GaussianProcess, history: Sequence[Observation], pending: Sequence[Suggestion],
    names: Sequence[str], proposals: Sequence[FloatArray], rng: np.random.Generator,
) -> Suggestion:  # fmt: skip
    """Choose one of the proposals by GP-Hedge (Brochu, Hoffman and de Freitas, arXiv:1009.5419 (2010), algorithm 2).

    g_i ← g_i - μ(x_i), where x_i is what function i proposed for the latest finished trial and μ the mean that its
    result has updated; choose i with probability exp(η g_i) / Σ_j exp(η g_j). The gains are carried from trial to
    trial, the mean is that of the standardized targets.
    """
    before = (pending[-1] if pending else history[-1].suggestion).portfolio
    gains = np.array(before.gains) if before else np.zeros(len(names))
    latest = history[-1].suggestion.portfolio
    if latest:
        gains = gains - model.predict(space.features(np.array(latest.proposals)))[0]
    weights = np.exp(ETA * (gains - gains.max()))
    i = int(rng.choice(len(names), p=weights / weights.sum()))
    portfolio = Portfolio(names[i], tuple(gains.tolist()), tuple(tuple(p.tolist()) for p in proposals))
    return Suggestion(space.params(proposals[i]), "gp", portfolio)
