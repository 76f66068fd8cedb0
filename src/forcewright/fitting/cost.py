"""What an evaluation of a potential costs: CPU time, which other processes on the machine hardly change."""

from __future__ import annotations

import os
import time

from forcewright.potential import Potential
from forcewright.structure import Structure
from forcewright.threads import single_thread

#: threads that an evaluation uses while its cost is measured
THREADS = 1

_FEWEST, _MOST = 5, 200  # evaluations
_ENOUGH = 0.1  # s of CPU time after which no further evaluation is begun


def time_per_atom(potential: Potential, structure: Structure) -> float:
    """Return the CPU time of an energy-force-stress evaluation of a structure in µs per atom.

    It is that of the calling thread, which does all the work, and of programs that the potential runs; of several
    evaluations the least, since whatever disturbs one only adds to its time.
    """
    times: list[float] = []
    with single_thread():
        while len(times) < _FEWEST or (sum(times) < _ENOUGH and len(times) < _MOST):
            start = _cpu_seconds()
            potential.predict([structure])
            times.append(_cpu_seconds() - start)
    return 1e6 * min(times) / len(structure)


def _cpu_seconds() -> float:
    """Return the CPU time of this thread, and of the child processes that have ended."""
    children = os.times()
    return time.thread_time() + children.children_user + children.children_system
