"""How many threads the compiled loops use: they release the interpreter lock."""

from __future__ import annotations

import os


def thread_count() -> int:
    """Return OMP_NUM_THREADS where it is set (worker processes have 1), else the processors of this process."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdigit():
        return max(1, int(stated))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
