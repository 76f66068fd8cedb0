"""How long a learner may run: walks under way are stopped when its time is over, and go on when it has more."""

from __future__ import annotations

import time


class TimeIsOver(Exception):
    """A walk is stopped because the learner has no time left; nothing is lost but the way since its checkpoint."""


class TimeLimit:
    """The time that a learner has.

    Parameters
    ----------
    hours
        How much it has in all; None for as much as it takes.
    """

    def __init__(self, hours: float | None) -> None:
        self.hours = hours
        self._end = float("inf")

    def start(self, spent_s: float) -> None:
        """Begin to count, where earlier steps took so many seconds."""
        self._end = float("inf") if self.hours is None else time.monotonic() + 3600.0 * self.hours - spent_s

    def check(self) -> None:
        """Raise `TimeIsOver` if there is none left."""
        if time.monotonic() >= self._end:
            raise TimeIsOver
