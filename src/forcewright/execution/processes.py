"""A pool of worker processes that never outlives its parent, and a stand-in that runs everything at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

# One thread each; and memory of large arrays is kept for the next ones, which spares the page faults that otherwise
# cost a third of the time of linear algebra on matrices of a few megabytes (glibc; ignored elsewhere).
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}  # fmt: skip
POLL_SECONDS = 0.5
WORKER_DIED = "the worker process died: a crash in compiled code, too little memory, or it was killed"


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
