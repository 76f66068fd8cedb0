"""How many threads the compiled loops use: they release the interpreter lock."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from threadpoolctl import threadpool_limits

_alone: ContextVar[bool] = ContextVar("_alone", default=False)


def thread_count() -> int:
    """Return OMP_NUM_THREADS where it is set (worker processes have 1), else the processors of this process."""
    if _alone.get():
        return 1
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdigit():
        return max(1, int(stated))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def single_thread() -> Iterator[None]:
    """Let compiled loops, linear algebra, OpenMP and PyTorch use the calling thread alone while the block runs."""
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    token = _alone.set(True)
    try:
        if torch is not None:
            torch.set_num_threads(1)
        with threadpool_limits(1):
            yield
    finally:
        _alone.reset(token)
        if torch is not None:
            torch.set_num_threads(before)
