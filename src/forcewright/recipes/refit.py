"""From the best trial to a potential and its errors on frames that its fit has not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forcewright.optimize.journal import TrialRecord
from forcewright.potential import Potential
from forcewright.recipes.config import TuneConfig, fill_model
from forcewright.recipes.inputs import Inputs
from forcewright.recipes.setting import FittedSetting, Problem, fit_setting, measure_cost, without_fold
from forcewright.validate.errors import ErrorTable, compare, evaluate


@dataclass(frozen=True, eq=False)
class Finished:
    """The winner, refitted."""

    potential: Potential
    fitted: FittedSetting
    validation: ErrorTable
    test: ErrorTable | None
    cost_us_per_atom: float


def finish(settings: TuneConfig, inputs: Inputs, problem: Problem, best: TrialRecord) -> Finished:
    """Refit the winner at its weights, judge it by fits that have not seen the frames, and touch the test set once."""
    theta = np.array(best.metrics["theta"])
    fitted = fit_setting(problem, best.params, best.index, theta)
    model = fill_model(problem.model, best.params)
    basis = model.basis(problem.train.species, constant=problem.constant)
    final = fitted
    if settings.validation.holdout and settings.protocol == "honest":
        # what was held back to select now helps to fit
        everything = replace(
            problem, train=inputs.train, splits=np.zeros(len(inputs.train), dtype=np.int64), external=inputs.train
        )
        final = fit_setting(everything, best.params, best.index, theta)
    source = {"trial": best.index, "loss": best.loss, "protocol": settings.protocol, "data": inputs.train.content_hash}
    potential = model.potential(basis, final.coefficients, problem.energies, final.covariance, source)
    rng = np.random.default_rng([settings.study.seed, 2])
    validation = compare(problem.judged, fitted.predictions, rng=rng)
    test = None if inputs.test is None else evaluate(potential, inputs.test, rng=rng)
    return Finished(potential, fitted, validation, test, measure_cost(problem, best.params, fitted))


def nested_errors(problem: Problem, trials: list[TrialRecord]) -> ErrorTable:
    """Return errors of every fold predicted with the setting and weights that the other folds select.

    The settings that were tried were proposed with all folds in view; which of them is taken, was not.
    """
    predictions: dict[int, Any] = {}
    for fold in range(int(problem.splits.max()) + 1):
        complete = [trial for trial in trials if trial.loss is not None]
        chosen = min(complete, key=lambda trial: trial.metrics["nested"][fold]["loss"])
        theta = np.array(chosen.metrics["nested"][fold]["theta"])
        inner, held = without_fold(problem, fold)
        outer = replace(inner, splits=np.zeros(len(inner.train), dtype=np.int64), external=problem.train[held])
        for index, prediction in zip(
            held, fit_setting(outer, chosen.params, chosen.index, theta).predictions, strict=True
        ):
            predictions[int(index)] = prediction
    rng = np.random.default_rng([problem.seed, 3])
    return compare(problem.train, [predictions[i] for i in range(len(problem.train))], rng=rng)
