from __future__ import annotations

from collections.abc import Callable

import pytest

from forcewright.optimize.journal import TrialRecord
from forcewright.optimize.selection import Aim, Bounds, select_trial


def trials(*losses: float | None) -> list[TrialRecord]:
    return [TrialRecord(i, "complete" if x is not None else "failed", "random", {}, x) for i, x in enumerate(losses)]


def counted(values: dict[int, float | None], calls: list[int]) -> Callable[[TrialRecord], float | None]:
    def quantity(record: TrialRecord) -> float | None:
        calls.append(record.index)
        return values[record.index]

    return quantity


def test_with_limits_the_best_by_loss_that_holds_them_is_taken_and_no_more_is_computed() -> None:
    calls: list[int] = []
    survived = counted({0: 1.0, 1: 0.2, 2: None, 3: 1.0}, calls)
    found = select_trial(trials(0.4, 0.1, 0.2, 0.3, None), {"s": survived}, {"s": Bounds(low=1.0)}, {}, most=4)
    assert found.best.index == 3 and found.satisfied
    assert calls == [1, 2, 3]
    assert [row["exceeds"] for row in found.candidates] == ["s", "s", None]


def test_what_exceeds_a_cheap_limit_costs_nothing_more() -> None:
    cheap, dear = [], []  # type: ignore[var-annotated]
    quantities = {"cheap": counted({0: 5.0, 1: 1.0}, cheap), "dear": counted({0: 1.0, 1: 1.0}, dear)}
    limits = {"cheap": Bounds(high=2.0), "dear": Bounds(low=0.5)}
    assert select_trial(trials(0.1, 0.2), quantities, limits, {}, most=2).best.index == 1
    assert cheap == [0, 1] and dear == [1]


def test_where_nothing_is_within_the_loss_chooses() -> None:
    found = select_trial(trials(0.3, 0.1), {"s": lambda record: 0.0}, {"s": Bounds(low=1.0)}, {}, most=2)
    assert found.best.index == 1 and not found.satisfied


def test_with_objectives_the_better_half_goes_on() -> None:
    first, second = [], []  # type: ignore[var-annotated]
    quantities = {
        "a": counted({0: 10.0, 1: 0.0, 2: 1.0, 3: 9.0}, first), "b": counted({1: 8.0, 2: 0.5}, second),
    }  # fmt: skip
    aims = {"a": Aim(0.0, 1.0), "b": Aim(0.0, 1.0)}
    found = select_trial(trials(0.1, 0.11, 0.12, 0.13), quantities, {}, aims, most=4)
    assert first == [0, 1, 2, 3] and second == [1, 2]
    assert found.best.index == 2
    assert found.candidates[2]["score"] == pytest.approx(1.2 + 1.0 + 0.5)
