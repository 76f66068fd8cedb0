"""The cost of a potential is CPU time of one thread, the least of several evaluations; no clock is trusted here."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from forcewright.fitting import cost
from forcewright.potential import Prediction
from forcewright.structure import Structure
from forcewright.threads import thread_count


class Clocked:
    """A potential whose evaluations take the CPU times stated, in this thread and in a program that it runs."""

    def __init__(self, seconds: list[float], in_program: float) -> None:
        self.seconds, self.in_program = seconds, in_program
        self.evaluations, self.threads = 0, set()
        self.here = self.there = 0.0

    def predict(self, structures: list[Structure]) -> list[Prediction]:
        self.here += self.seconds[min(self.evaluations, len(self.seconds) - 1)]
        self.there += self.in_program
        self.evaluations += 1
        self.threads.add(thread_count())
        return [Prediction(0.0, np.zeros((len(s), 3)), None) for s in structures]


@pytest.mark.parametrize(
    ("seconds", "in_program", "evaluations"),
    [([9.0, 0.5, 0.25, 0.75], 0.0, 5), ([0.5, 0.4], 2.0, 5), ([2.0**-12], 0.0, 200), ([2.0**-7], 0.0, 13)],
)
def test_the_least_of_several_counts(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float], in_program: float, evaluations: int
) -> None:
    potential = Clocked(seconds, in_program)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(time, "thread_time", lambda: potential.here)
    monkeypatch.setattr(os, "times", lambda: os.times_result((0.0, 0.0, potential.there, 0.0, 0.0)))
    structure = Structure(np.array([14, 14]), np.zeros((2, 3)) + [[0.0], [2.0]], 9.0 * np.eye(3), (True, True, True))
    assert cost.time_per_atom(potential, structure) == pytest.approx(1e6 * (min(seconds) + in_program) / 2)
    assert potential.evaluations == evaluations
    assert potential.threads == {cost.THREADS} and thread_count() == 3
