"""From the best trial to a potential and its errors on frames that its fit has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forcewright.accuracy.errors import ErrorTable, compare, evaluate
from forcewright.errors import ForcewrightError
from forcewright.fitting.calibration import with_grades, with_uncertainty
from forcewright.fitting.committee import Committee, committee_of
from forcewright.fitting.family_fit import load_fitted, load_predictions, load_uncertainties, trial_files
from forcewright.fitting.held_back import with_kinds
from forcewright.fitting.linear_trial import LinearTrial, fit_linear, measure_cost, potential_of
from forcewright.fitting.problem import Problem
from forcewright.fitting.short_range import ShortRange, keep_apart
from forcewright.fitting.training_record import with_training_record
from forcewright.fitting.trials import Trials
from forcewright.optimize.journal import TrialRecord
from forcewright.potential import Potential, Prediction
from forcewright.structure import Dataset


@dataclass(frozen=True, eq=False)
class FinalFit:
    """The winner of a study, fitted to everything.

    ``loss`` is that of this potential's fit: of the trial with its energies of isolated atoms and densities settled.
    ``isolated_atoms`` says in words how the energies of isolated atoms were settled; ``trial`` is None for a family
    with a fit of its own; ``fit_s`` is what one fit takes, with the search for weights where there is one;
    ``short_range`` says how pairs were kept apart.
    """

    potential: Potential
    loss: float
    trial: LinearTrial | None
    validation: ErrorTable
    test: ErrorTable | None
    cost_us_per_atom: float
    isolated_atoms: str
    fit_s: float
    committee: Committee | None = None
    short_range: ShortRange | None = None


def fit_final(trials: Trials, best: TrialRecord, test: Dataset | None, *, graded: bool = True) -> FinalFit:
    """Fit the winner to everything, validate it by fits that have not seen the frames, and touch the test set once.

    Parameters
    ----------
    graded
        Whether the potential gets the active set that extrapolation grades need, which takes time.
    """
    problem = trials.problem
    if not problem.family.is_linear:
        return _by_the_family(trials, best, test)
    committee, blocks = problem.settings.committee, problem.committee_blocks
    # further densities take far longer than a linear fit, which decides about the zero of energy as well
    trial = trials.fitted.get(best.index)
    if trial is None:
        theta = np.array(best.metrics["theta"])
        trial = fit_linear(problem, best.params, best.index, theta, iterations=(), blocks=blocks)
    isolated_atoms = "as given by the reference energies"
    if problem.free_energies:
        isolated_atoms = "free: fitted, with no isolated atom in the data to tell"
        ruled = problem.settings.reference_energies == "auto" and problem.settings.protocol == "honest"
        if ruled and "energy" not in problem.settings.left_out:
            problem, trial, isolated_atoms = _isolated_atom_rule(problem, best, trial, blocks)
    covariance = trial.covariance
    if trial.iterations is not None:
        trial = fit_linear(problem, best.params, best.index, trial.search.theta)
    final, judged = trial, problem.validation
    if problem.settings.validation.holdout and problem.settings.protocol == "honest":
        # what was held back to select now helps to fit
        everything = problem.validated_on(problem.everything, problem.everything)
        final = fit_linear(everything, best.params, best.index, trial.search.theta, trial, blocks=blocks)
        judged = everything.validation
        covariance = covariance if final.covariance is None else final.covariance
    kept, short_range = keep_apart(problem, best.params, final, covariance, judged)
    data, protocol = problem.everything, problem.settings.protocol
    loss = problem.loss.of(problem.validation, trial.predictions)
    source = {"trial": best.index, "loss": loss, "protocol": protocol, "data": data.content_hash}
    potential = potential_of(problem, best.params, kept, source)
    potential = with_training_record(problem, potential)
    if graded:
        potential = with_grades(problem, potential, trial.predictions)
    potential = with_kinds(problem, potential, trial.predictions, trial=trial, final=final, kept=kept)
    predictions: Sequence[Prediction] = trial.predictions
    if short_range is not None and short_range.changed and final is trial and problem.external is not None:
        predictions = potential.predict(problem.external.structures)  # what is judged is what is delivered
    validation, tested = _judged(problem, predictions, potential, test)
    cost = measure_cost(problem, best.params, trial)
    members = None if committee is None else committee_of(problem, best.params, final, committee, kept)
    return FinalFit(
        potential, loss, trial, validation, tested, cost, isolated_atoms, best.seconds, members, short_range
    )


def _judged(
    problem: Problem, predictions: Sequence[Prediction], potential: Potential, test: Dataset | None
) -> tuple[ErrorTable, ErrorTable | None]:
    """Return the errors of the validation frames as they were predicted, and those of the test set."""
    rng = np.random.default_rng([problem.seed, 2])
    validation = compare(problem.validation, predictions, rng=rng)
    return validation, None if test is None else evaluate(potential, test, rng=rng)


def _isolated_atom_rule(
    problem: Problem, best: TrialRecord, free: LinearTrial, blocks: int
) -> tuple[Problem, LinearTrial, str]:
    """Hold isolated atoms at the zero of energy if the validation loss cannot tell the difference.

    Without isolated atoms in the data their energies are hardly determined by the fit, and what they extrapolate to is
    arbitrary. Codes with pseudopotentials put the zero of energy at (or near) the isolated atom, and a model that
    knows it extrapolates better to surfaces and gases. The one-standard-error rule decides (Breiman, Friedman, Olshen
    and Stone, Classification and Regression Trees, 1984, section 3.4.3): of two models whose cross-validated losses
    are within one standard error, take the one with fewer free parameters.
    """
    zero = replace(problem.reference, per_species=dict.fromkeys(problem.energies, 0.0))
    search = problem.settings.search
    few = search.model_copy(update={"starts": min(search.starts, 2)})
    settings = problem.settings.model_copy(update={"search": few})
    held_problem = replace(problem, free_energies=False, reference=zero, settings=settings)
    loss = problem.loss.of(problem.validation, free.predictions)
    rng = np.random.default_rng([problem.seed, 4])
    error = problem.loss.standard_error(problem.validation, free.predictions, rng)
    try:
        held = fit_linear(held_problem, best.params, best.index, iterations=(), blocks=blocks)
    except ForcewrightError as failure:
        return problem, free, f"free: a fit that holds them at 0 eV fails ({failure})"
    held_loss = problem.loss.of(problem.validation, held.predictions)
    numbers = f"validation loss {held_loss:.4g} held, {loss:.4g} ± {error:.2g} free"
    if held_loss > loss + error:
        return problem, free, f"free: holding them at 0 eV costs more than one standard error ({numbers})"
    return held_problem, held, f"held at 0 eV, within one standard error of free constants ({numbers})"


def nested_errors(problem: Problem, records: Sequence[TrialRecord]) -> ErrorTable:
    """Return errors of every fold predicted with the hyperparameters and weights that the other folds select.

    The trials were suggested with all folds in view; which of them is taken, was not.
    """
    predictions: dict[int, Prediction] = {}
    complete = [record for record in records if record.loss is not None]
    for fold in range(problem.fold_count):
        chosen = min(complete, key=lambda record: record.metrics["nested"][fold]["loss"])
        selected = chosen.metrics["nested"][fold]
        inner, held = problem.without_fold(fold)
        outer = inner.validated_on(problem.train[held])
        theta, iterations = np.array(selected["theta"]), selected.get("iterations")
        trial = fit_linear(outer, chosen.params, chosen.index, theta, iterations=iterations)
        predictions.update(zip(held.tolist(), trial.predictions, strict=True))
    rng = np.random.default_rng([problem.seed, 3])
    return compare(problem.train, [predictions[i] for i in range(len(problem.train))], rng=rng)


def _by_the_family(trials: Trials, best: TrialRecord, test: Dataset | None) -> FinalFit:
    """Do `fit_final` for a family with a fit of its own, which runs in a worker process."""
    problem = trials.problem
    files = trial_files(problem, best.params)
    if not files.predictions.exists():  # an earlier run of the study removed what was not its winner
        trials.evaluate_again(best)
    if not files.potential.exists():
        trials.fit_everything(best)
    potential, fit_s = load_fitted(problem, best.params, float(best.metrics["fit_s"]))
    predictions = load_predictions(files.predictions)
    validation, tested = _judged(problem, predictions, potential, test)
    potential = with_uncertainty(problem, potential, load_uncertainties(files.predictions), predictions)
    potential = with_training_record(problem, potential)
    potential = with_kinds(problem, potential, predictions)
    cost = float(best.metrics["cost_us_per_atom"])  # measured in a worker
    files.remove_others()
    isolated_atoms = "as its own fit settles them"
    if len(problem.isolated):
        isolated_atoms += ", with the isolated atoms among its training data"
    loss = problem.loss.of(problem.validation, predictions)
    return FinalFit(potential, loss, None, validation, tested, cost, isolated_atoms, fit_s)
