"""CPU time and memory of this process and all its workers, sampled while something runs."""

from __future__ import annotations

import threading
import time
from typing import Self

import psutil

_INTERVAL_S = 0.5


class ResourceMonitor:
    """Context manager; afterwards ``wall_s``, ``cpu_s`` and ``peak_memory_bytes`` say what was used.

    Memory is the largest sum of resident memory over the process tree that was seen, shared pages counted in every
    process: an upper bound.
    """

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0
        self.peak_memory_bytes = 0
        self._seen: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="resource-monitor", daemon=True)

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        self._before = sum(psutil.Process().cpu_times()[:2])
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()
        self.update()

    def update(self) -> None:
        """Take a sample now and refresh the totals."""
        self._sample()
        self.wall_s = time.perf_counter() - self._start
        self.cpu_s = sum(self._seen.values()) - self._before

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        memory = 0
        root = psutil.Process()
        for process in [root, *root.children(recursive=True)]:
            try:
                memory += process.memory_info().rss
                self._seen[process.pid] = sum(process.cpu_times()[:2])
            except psutil.Error:  # it ended meanwhile; its last sample stands
                continue
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory)
