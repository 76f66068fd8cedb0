"""Evaluation in worker processes: what runs there, and a pool that never outlives its parent."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from forcewright.errors import ForcewrightError
from forcewright.optimize.space import Params

# One thread each; and memory of large arrays is kept for the next ones, which spares the page faults that otherwise
# cost a third of the time of linear algebra on matrices of a few megabytes (glibc; ignored elsewhere).
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}  # fmt: skip
POLL_SECONDS = 0.5
TRACEBACK_CHARACTERS = 4000


@dataclass(frozen=True)
class Outcome:
    """What an objective returns: the loss to be minimized, and plain data to keep with it."""

    loss: float
    metrics: Mapping[str, Any] = field(default_factory=dict)


Objective: TypeAlias = Callable[[Params, int], Outcome]
"""Called with the parameters and the index of the trial, in a worker process: it must be picklable."""


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluation: a loss, or the text of the error that prevented it."""

    loss: float | None
    metrics: dict[str, Any]
    error: str | None
    traceback: str | None
    seconds: float


def evaluate(objective: Objective, params: Params, index: int) -> Evaluation:
    """Run the objective and turn every failure into text: an error never ends a study."""
    start = time.perf_counter()
    try:
        outcome = objective(params, index)
        if not isinstance(outcome, Outcome):
            raise TypeError(f"the objective returned {type(outcome).__name__}, not an Outcome")
        loss, metrics = float(outcome.loss), plain(dict(outcome.metrics))
    except ForcewrightError as error:
        return failure(str(error), seconds=time.perf_counter() - start)
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}"
        return failure(text, traceback.format_exc()[-TRACEBACK_CHARACTERS:], time.perf_counter() - start)
    error_text = None if math.isfinite(loss) else f"the loss is {loss}, not a finite number"
    return Evaluation(None if error_text else loss, metrics, error_text, None, time.perf_counter() - start)


def failure(error: str, trace: str | None = None, seconds: float = 0.0) -> Evaluation:
    """Return an evaluation without a loss."""
    return Evaluation(None, {}, error, trace, seconds)


def plain(value: Any) -> Any:
    """Turn numpy scalars, arrays and tuples into plain JSON data; a number that is not finite becomes None."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"the metric {value!r} is a {type(value).__name__}; metrics are numbers, text, lists and mappings")


class InProcess(Executor):
    """Runs everything in this process, at once: for a single evaluation that is not worth a process of its own."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the function, and return a future that is done."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def process_pool(
    workers: int, initializer: Callable[..., None] | None = None, initargs: Sequence[Any] = ()
) -> Executor:
    """Return a pool of processes, each with one thread for linear algebra.

    A worker leaves Ctrl-C to its parent, and exits when the parent is gone, even if it was killed. ``initializer`` is
    called with ``initargs`` once in each process before its first evaluation.
    """
    from loky import ProcessPoolExecutor

    pool: Executor = ProcessPoolExecutor(
        max_workers=workers, initializer=_start_worker, initargs=(os.getpid(), initializer, tuple(initargs)),
        env=WORKER_ENVIRONMENT,
    )  # fmt: skip
    return pool


def exit_with_parent(parent: int) -> None:
    """Watch the parent process from a thread and end this process once it is gone.

    ``parent`` is its id, taken in the parent: it may be gone before this process asks.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()


def _start_worker(parent: int, initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_with_parent(parent)
    if initializer is not None:
        initializer(*initargs)
