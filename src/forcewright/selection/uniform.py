"""Frames spread evenly over a quantity that is unevenly distributed: energy, force or time.

The range from the lowest to the highest value is cut into as many bins as frames are wanted, and each bin gives one
random frame. Bins that still have frames then give one more each, in random order, until there are enough. So the
number taken from a bin is flat, min(its frames, level), up to one frame.
"""

from __future__ import annotations

import numpy as np

from forcewright.data.split import times_of
from forcewright.errors import InputError
from forcewright.selection.checks import require_count
from forcewright.structure import Dataset, FloatArray, IntArray


def spread_evenly(values: FloatArray, count: int, rng: np.random.Generator, bins: int | None = None) -> IntArray:
    """Return ascending indices of ``count`` of the values (M,) that are spread evenly over their range.

    Parameters
    ----------
    bins
        Bins of equal width; ``count`` by default.

    Raises
    ------
    InputError
        If there are fewer values or a number is invalid.
    """
    require_count(count, len(values), "frames with that quantity")
    bins = count if bins is None else bins
    if bins < 1:
        raise InputError(f"is {bins}; it must be at least 1", field="bins")
    low, width = values.min(), np.ptp(values) / bins
    bin_of = np.zeros(len(values), dtype=np.int64) if width == 0 else ((values - low) / width).astype(np.int64)
    shuffled = rng.permutation(len(values))
    contents = [shuffled[np.minimum(bin_of[shuffled], bins - 1) == b] for b in range(bins)]
    return np.sort(_deal([members for members in contents if len(members)], count, rng))


def _deal(bins: list[IntArray], count: int, rng: np.random.Generator) -> IntArray:
    """Take one from every bin, round by round; the surplus of the last round is left out at random."""
    chosen: list[int] = []
    depth = 0
    while len(chosen) < count:
        left = [int(members[depth]) for members in bins if len(members) > depth]
        chosen += left if len(chosen) + len(left) <= count else rng.permutation(left)[: count - len(chosen)].tolist()
        depth += 1
    return np.array(chosen, dtype=np.int64)


def _select(
    values: list[float | None], missing: str, count: int, rng: np.random.Generator, bins: int | None
) -> IntArray:
    having = np.array([i for i, value in enumerate(values) if value is not None], dtype=np.int64)
    if not len(having):
        raise InputError(f"no frame has {missing}; select by something else", field="by")
    numbers = np.array([value for value in values if value is not None], dtype=np.float64)
    return having[spread_evenly(numbers, count, rng, bins)]


def select_uniform_energy(
    dataset: Dataset, count: int, rng: np.random.Generator, *, bins: int | None = None
) -> IntArray:
    """Return ``count`` frame numbers spread evenly over the energy per atom.

    Raises
    ------
    InputError
        If there are fewer frames with an energy.
    """
    energies = [None if f.labels.energy is None else f.labels.energy / len(f.structure) for f in dataset]
    return _select(energies, "an energy", count, rng, bins)


def select_uniform_force(
    dataset: Dataset, count: int, rng: np.random.Generator, *, bins: int | None = None
) -> IntArray:
    """Return ``count`` frame numbers spread evenly over the length of the largest force in a frame.

    Raises
    ------
    InputError
        If there are fewer frames with forces.
    """
    forces = [
        None if f.labels.forces is None else float(np.linalg.norm(f.labels.forces, axis=1).max()) for f in dataset
    ]
    return _select(forces, "forces", count, rng, bins)


def select_uniform_time(dataset: Dataset, count: int, rng: np.random.Generator, *, bins: int | None = None) -> IntArray:
    """Return ``count`` frame numbers spread evenly over time, at random within each interval.

    Equal steps could sample the same phase of an oscillation every time. Times are ``info["time_fs"]``, ``time`` or
    ``step``, whichever all frames have, or else the number of the frame.

    Raises
    ------
    InputError
        If there are fewer frames.
    """
    return _select(times_of(dataset)[0].tolist(), "a time", count, rng, bins)
