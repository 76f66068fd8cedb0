"""Farthest point sampling: each next frame is the one farthest from all chosen ones.

(Eldar, Lindenbaum, Porat and Zeevi, IEEE Trans. Image Process. 6, 1305 (1997).) The first k of a longer selection are
the selection of k, and every frame is at most as far from the chosen ones as these are from each other.
"""

from __future__ import annotations

import numpy as np

from forcewright.selection.checks import require_count
from forcewright.selection.descriptors import frame_descriptors
from forcewright.structure import Dataset, FloatArray, IntArray


def farthest_points(rows: FloatArray, count: int, start: int) -> tuple[IntArray, FloatArray]:
    """Return ``count`` row numbers in the order they are chosen, from ``start`` on, and their distances (count,).

    The distance is that to the nearest row chosen before, infinite for the first; of rows equally far away the first
    is taken.

    Raises
    ------
    InputError
        If there are fewer rows.
    """
    require_count(count, len(rows), "rows")
    chosen = np.empty(count, dtype=np.int64)
    distances = np.empty(count)
    nearest = np.full(len(rows), np.inf)
    row = start
    for step in range(count):
        chosen[step], distances[step] = row, nearest[row]
        nearest = np.minimum(nearest, np.linalg.norm(rows - rows[row], axis=1))
        nearest[row] = -1.0  # a chosen row is not chosen again, even if others are copies of it
        row = int(nearest.argmax())
    return chosen, distances


def select_fps(
    dataset: Dataset, count: int, rng: np.random.Generator, *, cutoff: float | None = None, functions: int = 60,
    with_deviation: bool = False,
) -> IntArray:  # fmt: skip
    """Return ``count`` frame numbers by farthest point sampling on mean ACE descriptors, in the order of choice.

    The first frame is drawn at random. Parameters are those of `frame_descriptors`.

    Raises
    ------
    InputError
        If there are fewer frames.
    """
    require_count(count, len(dataset))
    rows = frame_descriptors(dataset, cutoff=cutoff, functions=functions, with_deviation=with_deviation)
    return farthest_points(rows, count, int(rng.integers(len(dataset))))[0]
