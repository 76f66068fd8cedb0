"""From the best trial to a potential and its errors on frames that its fit has not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forcewright.accuracy.errors import ErrorTable, compare, evaluate
from forcewright.errors import ForcewrightError
from forcewright.optimize.journal import TrialRecord
from forcewright.potential import Graded, Potential
from forcewright.recipes.config import TuneConfig, fill_model
from forcewright.recipes.inputs import Inputs
from forcewright.recipes.setting import (
    FittedSetting,
    Problem,
    fit_setting,
    loss_of,
    loss_standard_error,
    measure_cost,
    without_fold,
)


@dataclass(frozen=True, eq=False)
class Finished:
    """The winner, refitted.

    ``anchor`` says in words whether its isolated atoms are held at the zero of energy; ``fitted`` is None for a family
    with a fit of its own; ``fit_s`` is what one fit takes, with the search for weights where there is one.
    """

    potential: Potential
    fitted: FittedSetting | None
    validation: ErrorTable
    test: ErrorTable | None
    cost_us_per_atom: float
    anchor: str
    fit_s: float


def finish(settings: TuneConfig, inputs: Inputs, problem: Problem, best: TrialRecord) -> Finished:
    """Refit the winner, judge it by fits that have not seen the frames, and touch the test set once."""
    # further densities take far longer than a linear fit, which decides about the zero of energy as well
    fitted = fit_setting(problem, best.params, best.index, np.array(best.metrics["theta"]), iterations=())
    anchor = "as given by the reference energies"
    if problem.constant:
        anchor = "free: fitted, with no isolated atom in the data to tell"
        if settings.reference_energies == "auto" and settings.protocol == "honest":
            problem, fitted, anchor = _hold_at_zero(problem, best, fitted)
    if fitted.iterations is not None:
        fitted = fit_setting(problem, best.params, best.index, fitted.search.theta)
    final = fitted
    if settings.validation.holdout and settings.protocol == "honest":
        # what was held back to select now helps to fit
        everything = replace(
            problem, train=inputs.train, splits=np.zeros(len(inputs.train), dtype=np.int64), external=inputs.train
        )
        final = fit_setting(everything, best.params, best.index, fitted.search.theta, fitted)
    model = fill_model(problem.model, best.params)
    source = {"trial": best.index, "loss": best.loss, "protocol": settings.protocol, "data": inputs.train.content_hash}
    potential = model.potential(final.basis, final.coefficients, final.energies, final.covariance, source)
    if isinstance(potential, Graded):
        potential = potential.with_active_set(inputs.train.structures)
    rng = np.random.default_rng([settings.study.seed, 2])
    validation = compare(problem.judged, fitted.predictions, rng=rng)
    test = None if inputs.test is None else evaluate(potential, inputs.test, rng=rng)
    cost = measure_cost(problem, best.params, fitted)
    return Finished(potential, fitted, validation, test, cost, anchor, best.seconds)


def _hold_at_zero(
    problem: Problem, best: TrialRecord, free: FittedSetting
) -> tuple[Problem, FittedSetting, str]:  # fmt: skip
    """Hold isolated atoms at the zero of energy if the validation loss cannot tell the difference.

    Without isolated atoms in the data the constants of the fit are hardly determined, and what they extrapolate to is
    arbitrary. Codes with pseudopotentials put the zero of energy at (or near) the isolated atom, and a model that
    knows it extrapolates better to surfaces and gases. The one-standard-error rule decides (Breiman, Friedman, Olshen
    and Stone, Classification and Regression Trees, 1984, section 3.4.3): of two models whose cross-validated losses
    are within one standard error, take the one with fewer free parameters.
    """
    zero = dict.fromkeys(problem.energies, 0.0)
    search = problem.search.model_copy(update={"starts": min(problem.search.starts, 2)})
    held_problem = replace(problem, constant=False, energies=zero, search=search)
    loss = loss_of(problem, free.predictions)
    error = loss_standard_error(problem, free.predictions, np.random.default_rng([problem.seed, 4]))
    try:
        held = fit_setting(held_problem, best.params, best.index, iterations=())
    except ForcewrightError as failure:
        return problem, free, f"free: a fit that holds them at 0 eV fails ({failure})"
    numbers = f"validation loss {loss_of(held_problem, held.predictions):.4g} held, {loss:.4g} ± {error:.2g} free"
    if loss_of(held_problem, held.predictions) > loss + error:
        return problem, free, f"free: holding them at 0 eV costs more than one standard error ({numbers})"
    return held_problem, held, f"held at 0 eV, within one standard error of free constants ({numbers})"


def nested_errors(problem: Problem, trials: list[TrialRecord]) -> ErrorTable:
    """Return errors of every fold predicted with the setting and weights that the other folds select.

    The settings that were tried were proposed with all folds in view; which of them is taken, was not.
    """
    predictions: dict[int, Any] = {}
    for fold in range(int(problem.splits.max()) + 1):
        complete = [trial for trial in trials if trial.loss is not None]
        chosen = min(complete, key=lambda trial: trial.metrics["nested"][fold]["loss"])
        found = chosen.metrics["nested"][fold]
        inner, held = without_fold(problem, fold)
        outer = replace(inner, splits=np.zeros(len(inner.train), dtype=np.int64), external=problem.train[held])
        fitted = fit_setting(
            outer, chosen.params, chosen.index, np.array(found["theta"]), iterations=found.get("iterations")
        )
        predictions.update(zip(held.tolist(), fitted.predictions, strict=True))
    rng = np.random.default_rng([problem.seed, 3])
    return compare(problem.train, [predictions[i] for i in range(len(problem.train))], rng=rng)
