"""Frames at random."""

from __future__ import annotations

import numpy as np

from forcewright.selection.checks import require_count
from forcewright.structure import Dataset, IntArray


def select_random(dataset: Dataset, count: int, rng: np.random.Generator) -> IntArray:
    """Return ``count`` frame numbers drawn at random, in the order of drawing.

    Raises
    ------
    InputError
        If there are fewer frames.
    """
    require_count(count, len(dataset))
    return rng.permutation(len(dataset))[:count]
