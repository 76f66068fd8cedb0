"""What studies in tests need not do: start a process for every fit, and draw every page."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import loky
import pytest
from threadpoolctl import threadpool_limits

from forcewright.recipes import outputs
from forcewright.report import Svg, page

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


def stay_in_process(monkeypatch: pytest.MonkeyPatch, drawn: bool = False) -> None:
    """Let a pool of one worker be this process, and an empty picture stand for each figure of a page if not ``drawn``."""
    processes = loky.ProcessPoolExecutor

    def pool(max_workers: int, initializer: Any, initargs: Any, env: Any) -> Executor:
        if max_workers == 1:
            return _SingleWorker(initializer, initargs)
        return processes(max_workers=max_workers, initializer=initializer, initargs=initargs, env=env)

    monkeypatch.setattr(loky, "ProcessPoolExecutor", pool)
    if drawn:
        return
    monkeypatch.setattr(page, "to_svg", lambda figure: _PICTURE)
    monkeypatch.setattr(outputs, "_worst_pictures", lambda worst: [])
    for name in vars(page).keys() - {"draw_svg"}:
        if name.startswith("draw_"):
            monkeypatch.setattr(page, name, lambda *args: Svg(_PICTURE, page.WIDTH))
