"""Selections of frames to label or to fit to: functions of a dataset, a count and a generator that return indices."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forcewright.descriptors.ace import ace_basis
from forcewright.selection.cur import leverage_scores, select_cur
from forcewright.selection.descriptors import frame_descriptors
from forcewright.selection.farthest_point import farthest_points, select_fps
from forcewright.selection.novelty import novelty, select_max_volume, select_novelty
from forcewright.selection.random_choice import select_random
from forcewright.selection.uniform import (
    select_uniform_energy,
    select_uniform_force,
    select_uniform_time,
    spread_evenly,
)
from forcewright.structure import IntArray

#: Selections by name; "novelty" needs a potential as a keyword.
SELECTORS: Mapping[str, Callable[..., IntArray]] = {
    "random": select_random, "energy": select_uniform_energy, "force": select_uniform_force,
    "time": select_uniform_time, "fps": select_fps, "cur": select_cur, "maxvol": select_max_volume,
    "novelty": select_novelty,
}  # fmt: skip

__all__ = [
    "SELECTORS", "ace_basis", "farthest_points", "frame_descriptors", "leverage_scores", "novelty", "select_cur",
    "select_fps", "select_max_volume", "select_novelty", "select_random", "select_uniform_energy",
    "select_uniform_force", "select_uniform_time", "spread_evenly",
]  # fmt: skip
