"""What studies in tests need not do: start a process for every fit, and draw every page."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import loky
import pytest
from threadpoolctl import threadpool_limits

_PICTURE = '<svg viewBox="0 0 1 1"></svg>'


class _SingleWorker(Executor):
    """A pool of one worker that is this process."""

    def __init__(self, initializer: Callable[..., None], initargs: tuple[Any, ...]) -> None:
        _, receive, arguments = initargs  # the parent's process id, and what the worker receives
        if receive is not None:
            receive(*arguments)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            with threadpool_limits(1):  # as in a worker
                future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, kill_workers: bool = False) -> None:
        pass


@pytest.fixture(autouse=True)
def _light(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a single worker be this process, and an empty picture stand for each: a second of work a study.

    Tests marked ``whole`` do everything as users do.
    """
    if request.node.get_closest_marker("whole"):
        return
    processes = loky.ProcessPoolExecutor

    def pool(max_workers: int, initializer: Any, initargs: Any, env: Any) -> Executor:
        if max_workers == 1:
            return _SingleWorker(initializer, initargs)
        return processes(max_workers=max_workers, initializer=initializer, initargs=initargs, env=env)

    monkeypatch.setattr(loky, "ProcessPoolExecutor", pool)
    monkeypatch.setattr("forcewright.report.page.to_svg", lambda figure: _PICTURE)
