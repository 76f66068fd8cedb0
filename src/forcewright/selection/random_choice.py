"""Frames by chance."""

from __future__ import annotations

import numpy as np

from forcewright.selection.checks import require_count
from forcewright.structure import Dataset, IntArray


def select_random(dataset: Dataset, count: int, rng: np.random.Generator) -> IntArray:
    """Return ``count`` frame numbers drawn by chance, in the order of drawing.

    Raises
    ------
    InputError
        If there are not so many frames.
    """
    require_count(count, len(dataset))
    return rng.permutation(len(dataset))[:count]
