"""From a dataset to a potential, with no file and no folder of the user's: the engine under every verb that fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from threadpoolctl import threadpool_limits

from forcewright.accuracy.errors import ErrorTable
from forcewright.features.row_cache import KeptRows, RowMemory
from forcewright.files import scratch_folder
from forcewright.fitting.alternatives import settle_model
from forcewright.fitting.final import FinalFit, fit_final, nested_errors
from forcewright.fitting.frame_equations import FrameEquations
from forcewright.fitting.hyperparameters import search_ranges
from forcewright.fitting.problem import Problem, make_problem
from forcewright.fitting.settings import FitSettings
from forcewright.fitting.trials import Listener, Trials, open_study
from forcewright.optimize.journal import TrialRecord
from forcewright.optimize.study import Study, best_of, eligible
from forcewright.structure import Dataset

Chooser = Callable[[Trials, list[TrialRecord]], tuple[TrialRecord, Mapping[str, Any]]]
"""Returns the best of finished trials, and how it was chosen as plain data."""


@dataclass(frozen=True, eq=False)
class StudyOutcome:
    """What a study found.

    Attributes
    ----------
    problem
        What its trials shared.
    records
        Its trials.
    best
        The trial of the lowest loss within the limits.
    final
        The potential of that trial, and its errors.
    nested
        Errors of a selection that was done again inside each fold, where that was asked for.
    importance
        How much each hyperparameter that was searched matters.
    selection
        How the best trial was chosen where more than the loss and its limits chose it, as plain data.
    """

    problem: Problem
    records: list[TrialRecord]
    best: TrialRecord
    final: FinalFit
    nested: ErrorTable | None
    importance: Mapping[str, float]
    selection: Mapping[str, Any] | None = None


def conclude(
    trials: Trials, study: Study, records: list[TrialRecord], test: Dataset | None, *, graded: bool = True,
    choose: Chooser | None = None,
) -> StudyOutcome:  # fmt: skip
    """Fit the winner of finished trials to everything, validate it, and touch the test set once.

    Parameters
    ----------
    graded
        Whether the potential gets the active set that extrapolation grades need, which takes time.
    choose
        What chooses the best trial; by default the one of the lowest loss within the limits.

    Raises
    ------
    StudyError
        If every trial failed, or the final fit does.
    """
    problem = trials.problem
    importance = study.importances() if sum(record.loss is not None for record in records) > 3 else {}
    limits = problem.settings.study.limits
    best, selection = best_of(records, limits), None
    nested = None
    if problem.family.is_linear:
        with threadpool_limits(1):  # the matrices are small: more threads only wait for one another
            if choose is not None:
                best, selection = choose(trials, records)
            final = fit_final(trials, best, test, graded=graded)
            if problem.is_nested:
                nested = nested_errors(problem, eligible(records, limits))
    else:
        if choose is not None:
            best, selection = choose(trials, records)
        final = fit_final(trials, best, test)
    return StudyOutcome(problem, records, best, final, nested, importance, selection)


def run_study(
    settings: FitSettings, train: Dataset, *, test: Dataset | None = None, external: Dataset | None = None,
    on_trial: Listener | None = None, graded: bool = True, rows: KeptRows | None = None,
    frame_equations: FrameEquations | None = None,
) -> StudyOutcome:  # fmt: skip
    """Search the ranges of the settings, where there are any, and fit the winner, all in memory.

    Parameters
    ----------
    train
        Everything to fit to, isolated atoms included.
    test
        Touched once, at the end.
    external
        A separate validation set, in place of folds.
    on_trial
        Called with every finished trial and the number of trials wanted.
    graded
        Whether the potential gets the active set that extrapolation grades need, which takes time.
    rows
        Design rows that outlive this study and serve the next.
    frame_equations
        Normal equations of every frame of a larger dataset that ``train`` is part of.

    Raises
    ------
    InputError
        If the settings and the data do not go together.
    StudyError
        If every trial fails, or the final fit does.
    """
    settings.refuse_what_does_not_apply()
    settings.family.require_packages()
    ranges = search_ranges(settings.model)
    with scratch_folder("study") as temporary:
        problem = make_problem(
            settings, train, test=test, external=external, is_single=not ranges, scratch=temporary,
            rows=RowMemory(int(settings.cache_GB * 1e9)) if rows is None else rows,
        )  # fmt: skip
        trials = Trials(replace(settle_model(problem), frame_equations=frame_equations))
        with open_study(problem, ranges) as study:
            records = trials.run(study, on_trial)
            return conclude(trials, study, records, test, graded=graded)
