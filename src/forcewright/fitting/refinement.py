"""From the linear fit of a trial to one with several densities, validated on frames that it has not seen.

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

from forcewright.fitting.linear_fit import LinearFit
from forcewright.fitting.problem import Problem
from forcewright.fitting.settings import SHARED
from forcewright.models.refinement import Coefficients, LinearStart, RefinedFit, Refinement, RowWeights
from forcewright.potential import Prediction
from forcewright.structure import Dataset, FloatArray, IntArray
from forcewright.threads import thread_count

if TYPE_CHECKING:  # a trial calls what is here
    from forcewright.fitting.linear_trial import LinearTrial


@dataclass(eq=False)
class _Run:
    """A search on some frames and what it predicts for others on its way.

    ``validation`` are the frames it is validated on. Position (s, j) is the j-th iteration of stage s, or the last
    there was.
    """

    problem: Problem
    training: RefinedFit
    held: RefinedFit
    validation: Dataset
    start: LinearStart
    predictions: list[list[Prediction]] = field(default_factory=list)
    sums: list[FloatArray] = field(default_factory=list)
    counts: list[FloatArray] = field(default_factory=list)
    path: list[list[Coefficients]] = field(default_factory=list)
    patient_from: int = 0

    def go(self, patience: int) -> None:
        """Search until validation has not become better for ``patience`` iterations in each stage."""
        self.path = self.training.search(
            self.start, _rng(self.problem), watch=lambda x: self._better(self.held.predict(x), patience)
        )

    def _better(self, predictions: list[Prediction], patience: int) -> bool:
        """Take the predictions of one more iteration; whether to go on."""
        loss = self.problem.loss
        sums, counts = loss.parts(self.validation, predictions)
        self.predictions.append(predictions)
        self.sums.append(sums)
        self.counts.append(counts)
        losses = [loss.of_parts(self.validation, s, c) for s, c in zip(self.sums, self.counts, strict=True)]
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


def refine(
    problem: Problem, refinement: Refinement, fit: LinearFit, linear: LinearTrial, stages: Sequence[int] | None = None
) -> LinearTrial:
    """Return the fit with the model's densities, or the linear one where that predicts unseen frames better.

    Parameters
    ----------
    stages
        Iterations of each stage, none for the linear fit; by default what validation says.
    """
    if (baseline := problem.baseline) is None:
        return _refined(problem, refinement, fit, linear, stages)
    structures = problem.validation.structures
    external = None if problem.external is None else baseline.subtracted(problem.external)
    bare = replace(problem, train=baseline.subtracted(problem.train), external=external, baseline=None)
    start = replace(linear, predictions=baseline.added(structures, linear.predictions, -1.0))
    refined = _refined(bare, refinement, fit, start, stages)
    return replace(refined, predictions=baseline.added(structures, refined.predictions))


def _refined(
    problem: Problem, refinement: Refinement, fit: LinearFit, linear: LinearTrial, stages: Sequence[int] | None
) -> LinearTrial:
    """Do `refine` for labels that are fitted as they are."""
    if stages is not None and len(stages) == 0:
        return replace(linear, iterations=())
    weights = row_weights(linear, problem.train, refinement.kappa)
    whole = refinement.prepare(linear.basis, problem.train, problem.energies, weights, thread_count())
    everything, without = _starts(fit, linear)
    folds = problem.folds
    if problem.external is not None:
        held = refinement.prepare(linear.basis, problem.external, problem.energies, [], thread_count())
        members = [np.arange(len(problem.external))]
        runs = [_Run(problem, whole, held, problem.external, everything)]
    else:
        members = [np.flatnonzero(folds == f) for f in range(problem.fold_count)]
        runs = [
            _Run(problem, whole.of(np.flatnonzero(folds != f)), whole.of(fold), problem.train[fold], start)
            for f, (fold, start) in enumerate(zip(members, without, strict=True))
        ]
    predictions = list(linear.predictions)
    if stages is not None:
        for fold, run in zip(members, runs, strict=True):
            x = run.training.search(run.start, _rng(problem), stages=stages)[-1][-1]
            _put(predictions, fold, run.held.predict(x))
        final = x if problem.external is not None else whole.search(everything, _rng(problem), stages=stages)[-1][-1]
        return _with_densities(problem, linear, predictions, final, stages)

    for run in runs:
        run.go(refinement.patience)
    longest = [max(lengths) for lengths in zip(*(run.lengths for run in runs), strict=True)]
    positions = [(0, 0), *((stage, j + 1) for stage, length in enumerate(longest) for j in range(length))]

    def losses(runs: Sequence[_Run]) -> list[float]:
        return [
            problem.loss.of_parts(
                problem.validation,
                np.vstack([run.sums[run.at(position)] for run in runs]),
                np.vstack([run.counts[run.at(position)] for run in runs]),
            )
            for position in positions
        ]

    for f, (fold, run) in enumerate(zip(members, runs, strict=True)):
        others = runs[:f] + runs[f + 1 :]  # no frame has a say in how long the fit that predicts it goes on
        _put(predictions, fold, run.predictions[run.at(positions[int(np.argmin(losses(others or runs)))])])
    curve = losses(runs)
    best = int(np.argmin(curve))
    stage, iteration = positions[best]
    plan = (*longest[:stage], iteration)
    before, after = (problem.loss.of(problem.validation, p) for p in (linear.predictions, predictions))
    summary = {"curve": curve, "iterations": best, "stages": list(plan), "linear_loss": before, "loss": after}
    linear = replace(linear, diagnostics={**linear.diagnostics, "nonlinear": {**summary, "kept": after < before}})
    if after >= before:
        return replace(linear, iterations=())
    if problem.external is not None:
        final = [x for part in runs[0].path for x in part][best]
    else:
        final = whole.search(everything, _rng(problem), stages=plan)[-1][-1]
    return _with_densities(problem, linear, predictions, final, plan)


def _put(predictions: list[Prediction], members: IntArray, fold_predictions: list[Prediction]) -> None:
    for i, prediction in zip(members, fold_predictions, strict=True):
        predictions[i] = prediction


def _with_densities(
    problem: Problem, linear: LinearTrial, predictions: list[Prediction], x: Coefficients, stages: Sequence[int]
) -> LinearTrial:
    """Return the fit with these coefficients in place of the linear one's."""
    species = sorted(problem.energies)
    energies = {z: problem.energies[z] + float(k) for z, k in zip(species, x.k, strict=True)}
    return replace(
        linear, predictions=predictions, coefficients=x.c, energies=energies, covariance=None, iterations=tuple(stages)
    )


def _rng(problem: Problem) -> np.random.Generator:
    return np.random.default_rng([problem.seed, 5])


def row_weights(linear: LinearTrial, train: Dataset, kappa: float | None) -> list[RowWeights]:
    """Return each frame's weights: as the linear fit has them for its group, or by κ (du Toit 2025, equation 2.37).

    With κ all frames are alike, w_E² : w_F² is 1 - κ : κ, and the sum of both that of the linear fit's means: the ridge
    keeps its meaning. Stresses keep their weights.
    """
    fitted = {
        (term.group, term.property): w for term, w in zip(linear.terms, np.exp(linear.search.theta), strict=False)
    }
    names = ("energy", "force", "stress")
    shared = [fitted.get((SHARED, name), 0.0) for name in names]
    weights = [
        RowWeights(*(float(fitted.get((group, name), other)) for name, other in zip(names, shared, strict=True)))
        for group in train.groups
    ]
    if kappa is None:
        return weights
    total = float(np.mean([w.energy**2 + w.force**2 for w in weights]))
    energy, force = np.sqrt([(1 - kappa) * total, kappa * total]).tolist()
    return [RowWeights(energy, force, w.stress) for w in weights]


def _starts(fit: LinearFit, linear: LinearTrial) -> tuple[LinearStart, list[LinearStart]]:
    """Return the linear fit to everything, and those that are validated."""
    theta, scale = linear.search.theta, fit.equations.scale
    _, ridge, prior = fit.ridge.unpack(theta)
    constants, mixing = len(scale) - linear.basis.size, fit.equations.mixing
    penalty = (ridge * prior / scale**2)[constants:]
    if mixing is not None:
        mixing = mixing.tocsr()[constants:, constants:]
    everything = LinearStart(penalty, fit.fit_everything(theta)[0], mixing)
    return everything, [LinearStart(penalty, coefficients, mixing) for coefficients in fit.fold_coefficients(theta)]
