"""Frames that a simulation adds to its schedule: a relaxed one, one at which it was stopped, one that broke."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from forcewright import analyze
from forcewright.errors import InputError
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

CELL = np.eye(3) * 9.0


def walk(frames: int = 40, dt: float = 10.0) -> list[Snapshot]:
    """Return a random walk of eight atoms with velocities."""
    rng = np.random.default_rng(3)
    path = rng.uniform(0, 9, (8, 3)) + np.cumsum(rng.normal(0, 0.05, (frames, 8, 3)), axis=0)
    return [
        Snapshot(Structure([14] * 8, positions, CELL, (True,) * 3), time=dt * k, velocities=rng.normal(0, 1e-3, (8, 3)))
        for k, positions in enumerate(path)
    ]


def moved(snapshot: Snapshot, time: float | None, **changes: Any) -> Snapshot:
    """Return another arrangement at another time, as a relaxation without velocities leaves it."""
    positions = np.round(snapshot.structure.positions)
    return replace(snapshot, structure=replace(snapshot.structure, positions=positions), time=time, velocities=None)


ENDS: dict[str, tuple[Callable[[list[Snapshot]], list[Snapshot]], str]] = {
    "relaxed": (lambda walked: [*walked, moved(walked[-1], walked[-1].time)], "repeats the time"),
    "relaxed twice": (lambda walked: [*walked, *[moved(walked[-1], walked[-1].time)] * 2], "repeats the time"),
    "relaxed off schedule": (lambda walked: [*walked, moved(walked[-1], 393.0)], "comes 3 fs after"),
    "stopped": (lambda walked: [*walked, replace(walked[-1], time=392.5)], "comes 2.5 fs after the one before, others"),
    "relaxed before": (lambda walked: [moved(walked[0], walked[0].time), *walked], "frames 0 to 0 repeat the time"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", ["msd", "diffusion", "van_hove", "vacf", "vdos"])
def test_dynamics_are_those_without_the_frames_that_were_added(
    name: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    change, words = ENDS[end]
    compute = getattr(analyze, name)
    expected = compute(walk()).to_dict()
    caplog.clear()
    assert compute(change(walk())).to_dict() == expected
    assert words in caplog.text and "left out" in caplog.text


def test_a_gap_in_the_middle_is_refused_and_the_longest_part_named() -> None:
    walked = walk()
    with pytest.raises(InputError, match="frame 9.*comes 20 fs after.*such as those from 0.1 to 0.39 ps"):
        analyze.msd([*walked[:9], *walked[10:]])
    with pytest.raises(InputError, match="frame 21.*comes 0 fs after"):
        analyze.msd([*walked[:21], moved(walked[20], walked[20].time), *walked[21:]])


@pytest.mark.parametrize("name", ["rdf", "msd", "coordination"])
def test_a_broken_last_frame_is_left_out(name: str, caplog: pytest.LogCaptureFixture) -> None:
    walked = walk()
    broken = Structure([14] * 8, np.full((8, 3), np.nan), CELL, (True,) * 3)
    after = [*walked, Snapshot(broken, time=400.0)]
    assert getattr(analyze, name)(after).to_dict() == getattr(analyze, name)(walked).to_dict()
    assert "no finite position in the last frame (40)" in caplog.text
    with pytest.raises(InputError, match="frame 40.*no finite position"):
        getattr(analyze, name)([*after, walked[-1]])
