"""From the linear fit of a setting to one with several densities, judged by frames that it has not seen.

With folds, one search per fold runs on the other folds, and after every iteration predicts its own. How many iterations
are right for a fold is what the *other* folds say, so that no frame has a say in the model that predicts it. A ladder
or an upfit makes *stages*, which end for each fold in its own time; they are compared stage by stage, and the fit to
everything takes the most that a fold took of each stage before the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forcewright import metrics
from forcewright.linalg.gram import FloatArray
from forcewright.models.linear import FitProblem
from forcewright.models.refinement import Coefficients, LinearStart, RefinedFit, Refinement, RowWeights
from forcewright.potential import Prediction
from forcewright.recipes.config import SHARED
from forcewright.structure import Dataset
from forcewright.threads import thread_count

if TYPE_CHECKING:
    from forcewright.recipes.setting import FittedSetting, Problem


@dataclass(eq=False)
class _Run:
    """A search on some frames and what it predicts for others on its way.

    ``problem`` is that of the judged frames. Position (s, j) is the j-th iteration of stage s, or the last there was.
    """

    problem: Problem
    training: RefinedFit
    judged: RefinedFit
    start: LinearStart
    predictions: list[list[Prediction]] = field(default_factory=list)
    sums: list[FloatArray] = field(default_factory=list)
    counts: list[FloatArray] = field(default_factory=list)
    path: list[list[Coefficients]] = field(default_factory=list)
    patient_from: int = 0

    def go(self, patience: int) -> None:
        """Search until validation has not become better for ``patience`` iterations in each stage."""
        self.path = self.training.search(
            self.start, _rng(self.problem), watch=lambda x: self._better(self.judged.predict(x), patience)
        )

    def _better(self, predictions: list[Prediction], patience: int) -> bool:
        """Take the predictions of one more iteration; whether to go on."""
        from forcewright.recipes.setting import loss_parts

        sums, counts = loss_parts(self.problem, predictions, self.problem.metric)
        self.predictions.append(predictions)
        self.sums.append(sums)
        self.counts.append(counts)
        losses = [pooled_loss(self.problem, s, c) for s, c in zip(self.sums, self.counts, strict=True)]
        last = len(losses) - 1
        going = last - max(int(np.argmin(losses)), self.patient_from) < patience
        if not going:
            self.patient_from = last  # the next stage has its own chance
        return going

    @property
    def lengths(self) -> list[int]:
        """Iterations of each stage."""
        return [len(stage) - (number == 0) for number, stage in enumerate(self.path)]

    def at(self, position: tuple[int, int]) -> int:
        """Return the number of a position among everything kept."""
        stage, iteration = position
        return sum(self.lengths[:stage]) + min(iteration, self.lengths[stage])


def pooled_loss(problem: Problem, sums: FloatArray, counts: FloatArray) -> float:
    """Return the loss from its parts, (frames, properties) each."""
    means = metrics.pool(sums, counts)
    weights = np.array([problem.loss.of(name) for name in problem.judged_properties])
    return float(weights @ (np.sqrt(means) if problem.metric == "rmse" else means))


def refine(
    problem: Problem,
    refinement: Refinement,
    fit: FitProblem,
    linear: FittedSetting,
    stages: Sequence[int] | None = None,
) -> FittedSetting:
    """Return the fit with the model's densities, or the linear one where that predicts unseen frames better.

    Parameters
    ----------
    stages
        Iterations of each stage, none for the linear fit; by default what validation says.
    """
    from forcewright.recipes.setting import loss_of

    if stages is not None and len(stages) == 0:
        return replace(linear, iterations=())
    weights = row_weights(linear, problem.train, refinement.kappa)
    whole = refinement.prepare(linear.basis, problem.train, problem.energies, weights, thread_count())
    everything, without = _starts(fit, linear)
    splits = problem.splits
    if problem.external is not None:
        judged = refinement.prepare(linear.basis, problem.external, problem.energies, [], thread_count())
        members = [np.arange(len(problem.external))]
        runs = [_Run(problem, whole, judged, everything)]
    else:
        members = [np.flatnonzero(splits == f) for f in range(int(splits.max()) + 1)]
        runs = [
            _Run(_only(problem, own), whole.of(np.flatnonzero(splits != f)), whole.of(own), start)
            for f, (own, start) in enumerate(zip(members, without, strict=True))
        ]
    predictions = list(linear.predictions)
    if stages is not None:
        for own, run in zip(members, runs, strict=True):
            x = run.training.search(run.start, _rng(problem), stages=stages)[-1][-1]
            _put(predictions, own, run.judged.predict(x))
        final = x if problem.external is not None else whole.search(everything, _rng(problem), stages=stages)[-1][-1]
        return _with_densities(problem, linear, predictions, final, stages)

    for run in runs:
        run.go(refinement.patience)
    longest = [max(lengths) for lengths in zip(*(run.lengths for run in runs), strict=True)]
    positions = [(0, 0), *((stage, j + 1) for stage, length in enumerate(longest) for j in range(length))]

    def losses(runs: Sequence[_Run]) -> list[float]:
        return [
            pooled_loss(problem, *(np.vstack([getattr(run, part)[run.at(at)] for run in runs])
                                   for part in ("sums", "counts")))
            for at in positions
        ]  # fmt: skip

    for f, (own, run) in enumerate(zip(members, runs, strict=True)):
        others = runs[:f] + runs[f + 1 :]  # no frame has a say in how long the fit that predicts it goes on
        _put(predictions, own, run.predictions[run.at(positions[int(np.argmin(losses(others or runs)))])])
    curve = losses(runs)
    chosen = int(np.argmin(curve))
    stage, iteration = positions[chosen]
    plan = (*longest[:stage], iteration)
    before, after = loss_of(problem, linear.predictions), loss_of(problem, predictions)
    told = {"curve": curve, "iterations": chosen, "stages": list(plan), "linear_loss": before, "loss": after}
    linear = replace(linear, diagnostics={**linear.diagnostics, "nonlinear": {**told, "kept": after < before}})
    if after >= before:
        return replace(linear, iterations=())
    if problem.external is not None:
        final = [x for part in runs[0].path for x in part][chosen]
    else:
        final = whole.search(everything, _rng(problem), stages=plan)[-1][-1]
    return _with_densities(problem, linear, predictions, final, plan)


def _put(predictions: list[Prediction], members: NDArray[np.int64], own: list[Prediction]) -> None:
    for i, prediction in zip(members, own, strict=True):
        predictions[i] = prediction


def _with_densities(
    problem: Problem, linear: FittedSetting, predictions: list[Prediction], x: Coefficients, stages: Sequence[int]
) -> FittedSetting:
    """Return the fit with these coefficients in place of the linear one's."""
    energies = {z: problem.energies[z] + float(k) for z, k in zip(linear.basis.species, x.k, strict=True)}
    return replace(
        linear, predictions=predictions, coefficients=x.c, energies=energies, covariance=None, iterations=tuple(stages)
    )


def _rng(problem: Problem) -> np.random.Generator:
    return np.random.default_rng([problem.seed, 5])


def _only(problem: Problem, indices: NDArray[np.int64]) -> Problem:
    """Return the problem with some of the training frames alone."""
    return replace(problem, train=problem.train[indices], splits=np.zeros(len(indices), dtype=np.int64))


def row_weights(linear: FittedSetting, train: Dataset, kappa: float | None) -> list[RowWeights]:
    """Return each frame's weights: as the linear fit found them for its group, or by κ (equation 2.37).

    With κ all frames are alike, w_E² : w_F² is 1 - κ : κ, and the sum of both that of the linear fit's means: the ridge
    keeps its meaning. Stresses keep their weights.
    """
    found = {(term.group, term.property): w for term, w in zip(linear.terms, np.exp(linear.search.theta), strict=False)}
    names = ("energy", "force", "stress")
    shared = [found.get((SHARED, name), 0.0) for name in names]
    weights = [
        RowWeights(*(float(found.get((group, name), other)) for name, other in zip(names, shared, strict=True)))
        for group in train.groups
    ]
    if kappa is None:
        return weights
    total = float(np.mean([w.energy**2 + w.force**2 for w in weights]))
    energy, force = np.sqrt([(1 - kappa) * total, kappa * total]).tolist()
    return [RowWeights(energy, force, w.stress) for w in weights]


def _starts(fit: FitProblem, linear: FittedSetting) -> tuple[LinearStart, list[LinearStart]]:
    """Return the linear fit to everything, and those that are judged."""
    theta, scale = linear.search.theta, fit.folded.scale
    _, ridge, prior = fit.ridge.unpack(theta)
    penalty = (ridge * prior / scale**2)[len(scale) - linear.basis.size :]
    everything = LinearStart(penalty, fit.fit_everything(theta)[0])
    return everything, [LinearStart(penalty, coefficients) for coefficients in fit.fold_coefficients(theta)]
