"""From the linear fit of a setting to one with several densities, judged by frames that it has not seen.

With folds, one search per fold runs on the other folds, and after every iteration predicts its own. How many iterations
are right for a fold is what the *other* folds say, so that no frame has a say in the model that predicts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from forcewright import metrics
from forcewright.features.ace.threads import thread_count
from forcewright.linalg.gram import FloatArray
from forcewright.models.ace_nonlinear import (
    Coefficients,
    Linear,
    NonlinearFit,
    RowWeights,
    surroundings,
)
from forcewright.models.linear import FitProblem
from forcewright.potential import Prediction
from forcewright.structure import Dataset

if TYPE_CHECKING:
    from forcewright.recipes.setting import FittedSetting, Problem


class _Curve:
    """Losses of some frames by iteration, and when to stop."""

    def __init__(self, problem: Problem, patience: int) -> None:
        self._problem, self._patience = problem, patience
        self.predictions: list[list[Prediction]] = []
        self.sums: list[FloatArray] = []
        self.counts: list[FloatArray] = []

    def add(self, predictions: list[Prediction]) -> bool:
        """Take the predictions of one more iteration; whether to go on."""
        from forcewright.recipes.setting import loss_parts

        sums, counts = loss_parts(self._problem, predictions, self._problem.metric)
        self.predictions.append(predictions)
        self.sums.append(sums)
        self.counts.append(counts)
        losses = [pooled_loss(self._problem, s, c) for s, c in zip(self.sums, self.counts, strict=True)]
        return len(losses) - 1 - int(np.argmin(losses)) < self._patience

    def at(self, iteration: int) -> int:
        """Return an iteration that there is: a search that has ended stays where it is."""
        return min(iteration, len(self.predictions) - 1)


def pooled_loss(problem: Problem, sums: FloatArray, counts: FloatArray) -> float:
    """Return the loss from its parts, (frames, properties) each."""
    means = metrics.pool(sums, counts)
    weights = np.array([problem.loss.of(name) for name in problem.judged_properties])
    return float(weights @ (np.sqrt(means) if problem.metric == "rmse" else means))


def refine(
    problem: Problem, model: Any, fit: FitProblem, linear: FittedSetting, iterations: int | None = None
) -> FittedSetting:
    """Return the fit with the model's densities, or the linear one where that predicts unseen frames better.

    Parameters
    ----------
    iterations
        How many to do; by default what validation says.
    """
    frames = surroundings(linear.basis, problem.train, problem.energies)
    weights = row_weights(linear, problem.train, model.nonlinear.kappa)
    whole = NonlinearFit(frames, weights, model.full_embedding, model.nonlinear, thread_count())
    if problem.external is not None:
        return _with_external(problem, whole, fit, linear, iterations)
    splits, folds = problem.splits, range(int(problem.splits.max()) + 1)
    curves = [_Curve(_only(problem, np.flatnonzero(splits == f)), model.nonlinear.patience) for f in folds]
    for f, curve in enumerate(curves):
        held = whole.of(np.flatnonzero(splits == f))
        training = whole.of(np.flatnonzero(splits != f))
        training.search(
            _start(fit, linear, f), _rng(problem), iterations=iterations, watch=lambda x: curve.add(held.predict(x))  # noqa: B023
        )  # fmt: skip
    longest = max(len(curve.predictions) for curve in curves)

    def loss(iteration: int, without: int | None = None) -> float:
        kept = [curve for f, curve in enumerate(curves) if f != without]
        sums = np.vstack([curve.sums[curve.at(iteration)] for curve in kept])
        return pooled_loss(problem, sums, np.vstack([curve.counts[curve.at(iteration)] for curve in kept]))

    predictions = list(linear.predictions)
    for f, curve in enumerate(curves):
        best = int(np.argmin([loss(k, f) for k in range(longest)])) if iterations is None else iterations
        for i, prediction in zip(np.flatnonzero(splits == f), curve.predictions[curve.at(best)], strict=True):
            predictions[i] = prediction
    losses = [loss(k) for k in range(longest)]
    best = int(np.argmin(losses)) if iterations is None else iterations
    final = whole.search(_start(fit, linear, None), _rng(problem), iterations=best)[-1]
    return _decided(problem, linear, predictions, final, losses, best)


def _with_external(
    problem: Problem, whole: NonlinearFit, fit: FitProblem, linear: FittedSetting, iterations: int | None
) -> FittedSetting:
    """Refine with a separate set of frames to judge."""
    assert problem.external is not None
    judged = replace(whole, frames=surroundings(linear.basis, problem.external, problem.energies), weights=[])
    curve = _Curve(problem, whole.settings.patience if iterations is None else iterations + 1)
    path = whole.search(
        _start(fit, linear, 0), _rng(problem), iterations=iterations, watch=lambda x: curve.add(judged.predict(x))
    )
    losses = [pooled_loss(problem, s, c) for s, c in zip(curve.sums, curve.counts, strict=True)]
    best = int(np.argmin(losses)) if iterations is None else len(path) - 1
    return _decided(problem, linear, curve.predictions[best], path[best], losses, best)


def _decided(
    problem: Problem, linear: FittedSetting, predictions: list[Prediction], x: Coefficients, losses: Sequence[float],
    iterations: int,
) -> FittedSetting:  # fmt: skip
    """Return the nonlinear fit, or the linear one if that has the lower loss; either way with the curve."""
    from forcewright.recipes.setting import loss_of

    before, after = loss_of(problem, linear.predictions), loss_of(problem, predictions)
    told = {"curve": list(losses), "iterations": iterations, "linear_loss": before, "loss": after}
    diagnostics = {**linear.diagnostics, "nonlinear": {**told, "kept": after < before}}
    if after >= before:
        return replace(linear, diagnostics=diagnostics)
    constants = zip(linear.basis.species, x.k, strict=True)
    energies = {z: problem.energies[z] + float(k) for z, k in constants}
    return replace(
        linear, predictions=predictions, coefficients=x.c, energies=energies, covariance=None, diagnostics=diagnostics,
        iterations=iterations,
    )  # fmt: skip


def _rng(problem: Problem) -> np.random.Generator:
    return np.random.default_rng([problem.seed, 5])


def _only(problem: Problem, indices: FloatArray) -> Problem:
    """Return the problem with some of the training frames alone."""
    return replace(problem, train=problem.train[indices], splits=np.zeros(len(indices), dtype=np.int64))


def row_weights(linear: FittedSetting, train: Dataset, kappa: float | None) -> list[RowWeights]:
    """Return each frame's weights: as the linear fit found them for its group, or by κ (equation 2.37).

    With κ all frames are alike, w_E² : w_F² is 1 - κ : κ, and the sum of both that of the linear fit's means: the ridge
    keeps its meaning. Stresses keep their weights.
    """
    found = {(term.group, term.property): w for term, w in zip(linear.terms, np.exp(linear.search.theta), strict=False)}
    names = ("energy", "force", "stress")
    weights = [RowWeights(*(float(found.get((group, name), 0.0)) for name in names)) for group in train.groups]
    if kappa is None:
        return weights
    total = float(np.mean([w.energy**2 + w.force**2 for w in weights]))
    energy, force = np.sqrt([(1 - kappa) * total, kappa * total]).tolist()
    return [RowWeights(energy, force, w.stress) for w in weights]


def _start(fit: FitProblem, linear: FittedSetting, fold: int | None) -> Linear:
    """Return the linear fit to everything but one fold."""
    theta = linear.search.theta
    matrix, right = fit.normal_equations(theta, None if len(fit.folded.training) == 1 else fold)
    scale = fit.folded.scale
    _, ridge, prior = fit.ridge.unpack(theta)
    penalty = (ridge * prior / scale**2)[len(scale) - linear.basis.size :]
    coefficients = scipy.linalg.solve(matrix, right, assume_a="pos") * scale
    return Linear(penalty, coefficients)
