"""Which of finished trials is best by more than their losses: quantities that are too expensive to know of all.

Quantities are callables, so that nothing here knows what they compute. They are computed for the best by loss first
and in the order they are listed in, from cheap to expensive. With limits alone, trials are looked at one by one until
one is within all of them, a trial that exceeds one being done with. With objectives, several are looked at together,
and after each objective the better half goes on (successive halving: Jamieson and Talwalkar, AISTATS 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forcewright.optimize.journal import TrialRecord

Quantity = Callable[[TrialRecord], float | None]
"""The value of a quantity for a trial; None where it cannot be computed, which is within no limit."""


@dataclass(frozen=True)
class Bounds:
    """What a quantity has to lie between, ends included."""

    low: float = -math.inf
    high: float = math.inf

    def hold(self, value: float | None) -> bool:
        """Tell whether a value is within."""
        return value is not None and self.low <= value <= self.high


@dataclass(frozen=True)
class Aim:
    """What a quantity is to be close to: a distance of ``scale`` counts as much as a loss twice the least."""

    target: float
    scale: float

    def distance(self, value: float | None) -> float:
        """Return how far a value is away, in units of the scale."""
        return math.inf if value is None else abs(value - self.target) / self.scale


@dataclass
class _Candidate:
    record: TrialRecord
    values: dict[str, float | None] = field(default_factory=dict)
    exceeded: str | None = None
    score: float = math.inf

    def to_dict(self) -> dict[str, Any]:
        score = self.score if math.isfinite(self.score) else None
        return {"trial": self.record.index, "loss": self.record.loss, "values": dict(self.values),
                "exceeds": self.exceeded, "score": score}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Selection:
    """What was selected.

    Attributes
    ----------
    best
        The trial; that of the lowest loss of those looked at where none is within the limits.
    satisfied
        Whether it is within all limits.
    candidates
        The trials that were looked at, as plain data: what is known of them, which limit they exceed.
    """

    best: TrialRecord
    satisfied: bool
    candidates: list[dict[str, Any]]


def select_trial(
    records: Sequence[TrialRecord], quantities: Mapping[str, Quantity], limits: Mapping[str, Bounds],
    aims: Mapping[str, Aim], most: int,
) -> Selection:  # fmt: skip
    """Return the best trial within limits.

    Parameters
    ----------
    records
        Trials with a loss, one at least.
    quantities
        By name, from cheap to expensive; those in no limit and no aim are computed for what is selected alone.
    most
        Trials that are looked at, at most.
    """
    complete = sorted((r.loss, r.index, r) for r in records if r.loss is not None)
    ordered = [_Candidate(record) for *_, record in complete[:most]]
    deciding = {name: quantity for name, quantity in quantities.items() if name in limits or name in aims}
    together = len(ordered) if aims else 1
    best, looked = None, []
    for start in range(0, len(ordered), together):
        pool = ordered[start : start + together]
        looked += pool
        for name, quantity in deciding.items():
            for candidate in pool:
                candidate.values[name] = value = quantity(candidate.record)
                if name in limits and not limits[name].hold(value):
                    candidate.exceeded = name
            pool = [candidate for candidate in pool if candidate.exceeded is None]
            for candidate in pool:
                candidate.score = _score(candidate, ordered[0].record.loss, aims)
            if name in aims:
                pool = sorted(pool, key=lambda c: (c.score, c.record.index))[: math.ceil(len(pool) / 2)]
        if pool:
            best = min(pool, key=lambda c: (c.score, c.record.index))
            break
    chosen = best or ordered[0]
    for name, quantity in quantities.items():
        if name not in chosen.values:
            chosen.values[name] = quantity(chosen.record)
    return Selection(chosen.record, best is not None, [candidate.to_dict() for candidate in looked])


def _score(candidate: _Candidate, least: float | None, aims: Mapping[str, Aim]) -> float:
    """Return the loss in units of the least, and the distances of what is known by now."""
    loss = candidate.record.loss or 0.0
    known = [aim.distance(candidate.values[name]) for name, aim in aims.items() if name in candidate.values]
    return (loss / least if least else 1.0) + sum(known)
