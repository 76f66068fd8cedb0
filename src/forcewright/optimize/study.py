"""A search over a space, evaluated in parallel, with a journal on disk from which it can always be resumed.

The trials depend on the space, the study's settings and the values of the objectives alone. Trial n is suggested from
the results of the trials up to n - batch, with the parameters of those after that as pending points, whether they have
finished by then or not. So neither the number of workers, nor the order in which they finish, nor a kill changes the
sequence.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from forcewright.errors import InputError
from forcewright.optimize.evaluation import Evaluations, ExecutorOrFactory, StudyError
from forcewright.optimize.importance import importances
from forcewright.optimize.journal import Journal, State, TrialRecord
from forcewright.optimize.sampler import Observation, Suggestion, suggest
from forcewright.optimize.settings import StudySettings
from forcewright.optimize.space import Space
from forcewright.optimize.workers import Evaluation, Objective


class Study:
    """A search and its journal, held by this process until `close`.

    Parameters
    ----------
    space
        Where to search.
    journal
        File of the journal; an existing one is resumed. None keeps the trials in memory.
    settings
        How to search and when to stop.
    fingerprint
        Hash of everything else that the losses depend on; a journal with another one is refused. The number of trials,
        the time and the patience are not part of it: they may be raised later to continue the same study.
    """

    def __init__(
        self, space: Space, journal: str | Path | None, settings: StudySettings, fingerprint: str = ""
    ) -> None:
        self.space, self.settings = space, settings
        identity = {"fingerprint": fingerprint, "space": space.as_dict(), "settings": settings.sequence()}
        self._journal = Journal(None if journal is None else Path(journal), identity, settings.seed)
        try:
            self._records = self._journal.records()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another process open the journal."""
        self._journal.close()

    @property
    def trials(self) -> list[TrialRecord]:
        """Finished trials by index."""
        return [self._records[index] for index in sorted(self._records)]

    @property
    def best(self) -> TrialRecord:
        """The trial of the lowest loss, the earliest of equals; `StudyError` if every trial failed."""
        return best_of(self.trials)

    def importances(self) -> dict[str, float]:
        """Return how much each parameter matters to the loss, the largest first; see `importance.importances`."""
        seed, log_loss = self.settings.seed, self.settings.log_loss
        return importances(self._journal.study, self.trials, self.space, seed=seed, log_loss=log_loss)

    def run(
        self, objective: Objective, executor: ExecutorOrFactory,
        on_trial: Callable[[TrialRecord], None] | None = None, *, in_flight: int | None = None,
    ) -> list[TrialRecord]:  # fmt: skip
        """Evaluate what is still missing, and return all finished trials.

        A trial that raises, returns a loss that is not finite, or kills its worker is recorded as failed. Ctrl-C
        leaves the finished trials recorded, and the study can be resumed.

        Parameters
        ----------
        objective
            Called as ``objective(params, index)`` in a worker; picklable.
        executor
            Any executor, or a factory of them: then a pool that a dying worker has broken is replaced, and the executor
            is closed at the end.
        on_trial
            Called with each trial once it is recorded.
        in_flight
            Number of evaluations submitted to the executor at once; the number of workers is a good choice, as what is
            not submitted need not be repeated when a worker dies.
        """
        deadline = None if self.settings.timeout_s is None else time.monotonic() + self.settings.timeout_s
        self._records = self._journal.records()  # an interrupt may have come between writing and counting a trial
        evaluations = Evaluations(objective, executor, in_flight)
        kill = True
        try:
            self._evaluate_all(evaluations, deadline, on_trial)
            kill = False
        finally:
            evaluations.close(kill=kill)
        return self.trials

    def _evaluate_all(
        self, evaluations: Evaluations, deadline: float | None, on_trial: Callable[[TrialRecord], None] | None
    ) -> None:
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                evaluations.cancel_waiting()
                left = None
            elif evaluations.has_room and (index := self._next(evaluations.open)) is not None:
                evaluations.submit(index, self._suggest(index, evaluations.open))
                continue
            if not evaluations.open:
                return
            for index, suggestion, evaluation in evaluations.finished(left):
                record = self._record(index, suggestion, evaluation)
                if on_trial is not None:
                    on_trial(record)

    def _next(self, open_trials: dict[int, Suggestion]) -> int | None:
        """Return the lowest index that is neither finished nor pending, if it can be suggested yet."""
        index = 0
        while index in self._records or index in open_trials:
            index += 1
        if index >= self.settings.trials or not self._is_ready(index) or self._is_over(index):
            return None
        return index

    def _is_ready(self, index: int) -> bool:
        """Return whether all results that the suggestion of this trial needs are there."""
        learns = self.settings.sampler == "gp" or self.settings.patience is not None
        if index < self.settings.initial or not learns:
            return True
        return all(i in self._records for i in range(self._known(index)))

    def _known(self, index: int) -> int:
        """Return the number of leading trials whose results this trial may use: all up to index - batch."""
        return max(0, index - self.settings.batch + 1)

    def _is_over(self, index: int) -> bool:
        """Return whether patience has run out, by the results this trial may use."""
        if self.settings.patience is None or index < self.settings.initial:
            return False
        known = self._known(index)
        last_gain = max(self._last_gain(known), self.settings.initial - 1)
        return known - 1 - last_gain >= self.settings.patience

    def _last_gain(self, known: int) -> int:
        """Return the last of the leading trials that no earlier one equals or beats in every objective."""
        front: list[tuple[float, ...]] = []
        last = 0
        for index in range(known):
            values = self._records[index].values(self.settings.objectives)
            if values is None or any(all(a <= b for a, b in zip(old, values, strict=True)) for old in front):
                continue
            front.append(values)
            last = index
        return last

    def _suggest(self, index: int, open_trials: dict[int, Suggestion]) -> Suggestion:
        known = self._known(index)
        earlier = [self._records[i].suggestion if i in self._records else open_trials[i] for i in range(index)]
        if index < self.settings.initial or self.settings.sampler != "gp":
            return suggest(self.space, self.settings, index, [], [])
        history = [self._observation(earlier[i], self._records[i]) for i in range(known)]
        return suggest(self.space, self.settings, index, history, earlier[known:])

    def _observation(self, suggestion: Suggestion, record: TrialRecord) -> Observation:
        """Return what the sampler learns of a trial; one without all objectives counts as failed."""
        values = record.values(self.settings.objectives)
        return Observation(suggestion, None) if values is None else Observation(suggestion, values[0], values[1:])

    def _record(self, index: int, suggestion: Suggestion, evaluation: Evaluation) -> TrialRecord:
        state: State = "failed" if evaluation.loss is None else "complete"
        record = TrialRecord(index, state, **vars(suggestion), **vars(evaluation))
        self._journal.append(record, self.space)
        self._records[index] = record
        return record


def eligible(trials: Sequence[TrialRecord], limits: Mapping[str, float]) -> list[TrialRecord]:
    """Return the complete trials whose metrics are at most their ``limits``; where there is none, the closest one."""
    complete = [trial for trial in trials if trial.loss is not None]
    excesses = [(_excess(trial, limits), trial.loss or 0.0, trial.index, trial) for trial in complete]
    return [trial for excess, *_, trial in excesses if excess <= 1.0] or [entry[-1] for entry in sorted(excesses)[:1]]


def _excess(trial: TrialRecord, limits: Mapping[str, float]) -> float:
    """Return the largest ratio of a metric to its limit; infinity where a metric is missing."""
    values = {name: trial.values([name]) for name in limits}
    return max((value[0] / limits[name] if value else math.inf for name, value in values.items()), default=0.0)


def best_of(trials: Sequence[TrialRecord], limits: Mapping[str, float] | None = None) -> TrialRecord:
    """Return the trial of the lowest loss, the earliest of equals, among those within the limits (see `eligible`).

    Raises `InputError` if there is no trial, and `StudyError` if every trial failed.
    """
    complete = [(trial.loss, trial.index, trial) for trial in eligible(trials, limits or {}) if trial.loss is not None]
    if complete:
        return min(complete)[2]
    if not trials:
        raise InputError("the study has no finished trial yet; run it first")
    error, count = Counter(trial.error for trial in trials).most_common(1)[0]
    raise StudyError(f"all {len(trials)} trials failed; the most frequent error ({count} times) is: {error}")
