"""Pending evaluations on an executor, and the search for the one that killed a worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import TypeAlias

from forcewright.errors import ForcewrightError
from forcewright.execution.pools import close_pool
from forcewright.execution.processes import WORKER_DIED
from forcewright.optimize.sampler import Suggestion
from forcewright.optimize.workers import Evaluation, Objective, evaluate, failure

ExecutorOrFactory: TypeAlias = Executor | Callable[[], Executor]


class StudyError(ForcewrightError):
    """A study has no result, or cannot continue."""


class Evaluations:
    """Evaluations submitted to an executor.

    When a worker process dies, all pending evaluations are lost with the pool and it is unknown which of them caused
    it. So each is repeated alone in a new pool: one that kills its worker again counts as failed, the others get their
    result. Which trials fail then depends on the trials, not on what ran beside them.

    Parameters
    ----------
    objective
        What is evaluated.
    executor
        An executor, which stays open, or a factory of executors, whose executor is closed at the end.
    limit
        How many evaluations are submitted at once.
    """

    def __init__(self, objective: Objective, executor: ExecutorOrFactory, limit: int | None) -> None:
        self.objective, self.limit = objective, limit
        self._factory = None if isinstance(executor, Executor) else executor
        self._executor = executor if isinstance(executor, Executor) else executor()
        self._futures: dict[Future[Evaluation], int] = {}
        self._suspects: set[int] = set()
        self._is_broken = False
        self.open: dict[int, Suggestion] = {}

    @property
    def has_room(self) -> bool:
        """Whether another evaluation may be submitted."""
        return not self._suspects and (self.limit is None or len(self.open) < self.limit)

    def submit(self, index: int, suggestion: Suggestion) -> None:
        """Submit one evaluation."""
        self.open[index] = suggestion
        try:
            self._submit(index)
        except BrokenExecutor:  # broken before any future reported it
            self._is_broken = True
            self._suspects.add(index)

    def finished(self, timeout: float | None) -> Iterator[tuple[int, Suggestion, Evaluation]]:
        """Wait until at least one evaluation is done, or the time is up, and yield what is done."""
        if not self._futures:
            self._submit(min(self._suspects))
        done, _ = wait(self._futures, timeout=timeout, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda f: self._futures[f]):
            index = self._futures.pop(future)
            evaluation = self._result(future, index)
            if evaluation is not None:
                self._suspects.discard(index)
                yield index, self.open.pop(index), evaluation

    def cancel_waiting(self) -> None:
        """Cancel evaluations that no worker has started."""
        self._futures = {future: index for future, index in self._futures.items() if not future.cancel()}
        running = set(self._futures.values())
        self.open = {index: suggestion for index, suggestion in self.open.items() if index in running}
        self._suspects &= running

    def close(self, *, kill: bool) -> None:
        """Close the executor if it was made here; ``kill`` ends running evaluations instead of waiting for them."""
        for future in self._futures:
            future.cancel()
        if self._factory is not None:
            close_pool(self._executor, kill=kill)

    def _submit(self, index: int) -> None:
        if self._is_broken:
            self._renew()
        params = self.open[index].params
        self._futures[self._executor.submit(evaluate, self.objective, params, index)] = index

    def _result(self, future: Future[Evaluation], index: int) -> Evaluation | None:
        """Return the evaluation, or None if the pool broke and it must be repeated alone."""
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, BrokenExecutor):
            self._is_broken = True
            if index in self._suspects or len(self.open) == 1:
                return failure(WORKER_DIED)
            self._suspects.add(index)
            return None
        if not isinstance(error, Exception):
            raise error
        return failure(str(error) if isinstance(error, ForcewrightError) else f"{type(error).__name__}: {error}")

    def _renew(self) -> None:
        if self._factory is None:
            indices = ", ".join(str(index) for index in sorted(self.open))
            raise StudyError(
                f"a worker process died, and with it the executor, before or during one of the trials {indices}; "
                "the study can be resumed (give a factory of executors, and a broken one is replaced)"
            )
        close_pool(self._executor, kill=True)
        self._executor, self._is_broken = self._factory(), False
