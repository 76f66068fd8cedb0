"""The one loop over trials, for families of both kinds: suggest hyperparameters, evaluate them, keep what came out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from forcewright.execution.cluster import TaskDiedError
from forcewright.execution.pools import close_pool, open_pool, workers_of
from forcewright.execution.processes import WORKER_DIED, InProcess
from forcewright.fitting.family_fit import evaluate_family_fit, fit_everything
from forcewright.fitting.linear_trial import LinearTrial, evaluate_linear
from forcewright.fitting.problem import Problem
from forcewright.models import register_families
from forcewright.optimize.evaluation import StudyError
from forcewright.optimize.journal import TrialRecord
from forcewright.optimize.space import Range, Space
from forcewright.optimize.study import Study
from forcewright.optimize.workers import Objective, Outcome, evaluate

log = logging.getLogger("forcewright")

Listener = Callable[[TrialRecord, int], None]
"""Called with every finished trial and the number of trials wanted."""

_PROBLEM: list[Problem] = []  # set once in each worker process


def receive_problem(problem: Problem) -> None:
    """Keep the problem in this worker process; libraries and programs that a fit starts use its threads."""
    _PROBLEM[:] = [problem]
    register_families(problem.families)
    if not problem.family.is_linear:
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[variable] = str(problem.settings.threads)
        threadpool_limits(problem.settings.threads)


def evaluate_trial(params: dict[str, Any], index: int) -> Outcome:
    """Evaluate one trial in a worker that has received its problem; the study's objective."""
    problem = _PROBLEM[0]
    if problem.family.is_linear:
        return evaluate_linear(problem, params, index)[0]
    return evaluate_family_fit(problem, params)


def _fit_everything(params: dict[str, Any], index: int) -> Outcome:
    """Do `family_fit.fit_everything` in a worker that has received its problem."""
    return fit_everything(_PROBLEM[0], params)


@dataclass
class Trials:
    """The trials of a study, and how to evaluate more.

    A single trial of a linear family runs in this process, where what it fitted is kept for the final fit; everything
    else runs in worker processes, which may die without harm.

    Attributes
    ----------
    problem
        What the trials share.
    fitted
        What trials that ran in this process fitted, by index.
    """

    problem: Problem
    fitted: dict[int, LinearTrial] = field(default_factory=dict)

    def run(self, study: Study, on_trial: Listener | None = None) -> list[TrialRecord]:
        """Evaluate what a study lacks; return all its finished trials."""
        problem, wanted = self.problem, study.settings.trials
        executor = problem.settings.executor
        for record in study.trials:
            if on_trial is not None:
                on_trial(record, wanted)

        def finished(record: TrialRecord) -> None:
            cost = record.metrics.get("cost_us_per_atom")
            text = f"loss {record.loss:.6g}" if record.loss is not None else record.error
            text = f"{text}, {cost:.3g} µs/atom" if cost else text
            log.info("trial %d (%s): %s, %s, %.1f s", record.index, record.phase, record.params, text, record.seconds)
            if on_trial is not None:
                on_trial(record, wanted)

        if problem.is_single and problem.family.is_linear:
            return study.run(self._evaluate_here, InProcess(), finished, in_flight=1)

        def pool() -> Executor:
            return open_pool(executor, problem.workers, receive_problem, (problem,))

        in_flight = workers_of(executor, problem.workers)
        return study.run(evaluate_trial, pool, finished, in_flight=in_flight)

    def _evaluate_here(self, params: dict[str, Any], index: int) -> Outcome:
        with threadpool_limits(1):  # as in a worker; the matrices are small
            outcome, self.fitted[index] = evaluate_linear(self.problem, params, index)
        return outcome

    def evaluate_again(self, record: TrialRecord) -> None:
        """Evaluate a trial of a family with a fit of its own anew, for its predictions."""
        self._in_worker(evaluate_trial, record, "the fits without each part")

    def fit_everything(self, record: TrialRecord) -> None:
        """Fit a trial of a family with a fit of its own to everything; the potential is left among its files."""
        self._in_worker(_fit_everything, record, "the fit to all training data")

    def _in_worker(self, objective: Objective, record: TrialRecord, what: str) -> None:
        """Evaluate an objective in a process of its own, which may die without harm; what fails is a StudyError."""
        pool = open_pool(self.problem.settings.executor, 1, receive_problem, (self.problem,))
        try:
            evaluation = pool.submit(evaluate, objective, record.params, record.index).result()
        except (BrokenExecutor, TaskDiedError):
            raise StudyError(f"{what} failed: {WORKER_DIED}") from None
        except BaseException:
            close_pool(pool, kill=True)
            raise
        close_pool(pool, kill=False)
        if evaluation.error is not None:
            raise StudyError(f"{what} failed for trial {record.index}: {evaluation.error}")


def open_study(
    problem: Problem, ranges: Mapping[str, Range], journal: Path | None = None, fingerprint: str = ""
) -> Study:
    """Return the study of a problem over its search ranges, resumed from its journal where there is one.

    Parameters
    ----------
    journal
        File of the journal; None keeps the trials in memory.
    fingerprint
        Hash of everything the losses depend on; a journal with another one is refused.
    """
    settings = problem.settings.study.searched()
    if not ranges:  # nothing to search outside weights and ridge
        settings = settings.single()
    return Study(Space(ranges), journal, settings, fingerprint)
