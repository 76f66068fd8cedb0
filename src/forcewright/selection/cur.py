"""CUR: frames drawn in proportion to their leverage on the leading directions of the descriptors.

The leverage of row i is the squared length of its part in the space of the k leading left singular vectors U,
π_i = Σ_j≤k U_ij² (Mahoney and Drineas, PNAS 106, 697 (2009)); they add up to k, and none exceeds 1. Frames are drawn
without replacement. With ``greedy`` the frame of largest leverage is taken each time, and its direction is projected
out of all others before the next (Imbalzano et al., J. Chem. Phys. 148, 241730 (2018)).
"""

from __future__ import annotations

import numpy as np

from forcewright.errors import InputError
from forcewright.selection.checks import require_count
from forcewright.selection.descriptors import frame_descriptors
from forcewright.structure import Dataset, FloatArray, IntArray

_RANK = 1e-10  # of the largest singular value: below this a direction is rounding


def leverage_scores(rows: FloatArray, rank: int | None = None) -> FloatArray:
    """Return the leverages (M,) of rows (M, p) in their ``rank`` leading directions, by default all.

    Raises
    ------
    InputError
        If the rank is below 1.
    """
    if rank is not None and rank < 1:
        raise InputError(f"is {rank}; it must be at least 1", field="rank")
    left, singular, _ = np.linalg.svd(rows, full_matrices=False)
    present = int((singular > _RANK * singular[0]).sum()) if len(singular) and singular[0] > 0 else 0
    used = present if rank is None else min(rank, present)
    return np.asarray((left[:, :used] ** 2).sum(axis=1))


def greedy_rows(rows: FloatArray, count: int, rank: int) -> IntArray:
    """Return row numbers, each the largest leverage after the directions of the earlier ones are projected out.

    When nothing is left to project, the remaining rows follow in order.
    """
    left = np.array(rows, dtype=np.float64)
    size = float(np.abs(left).max())
    chosen: list[int] = []
    while len(chosen) < count:
        lengths = np.linalg.norm(left, axis=1)
        if lengths.max() <= 1e-8 * size:
            rest = [i for i in range(len(rows)) if i not in set(chosen)]
            return np.array(chosen + rest[: count - len(chosen)], dtype=np.int64)
        scores = leverage_scores(left, rank)
        scores[chosen] = -1.0
        row = int(scores.argmax())
        chosen.append(row)
        direction = left[row] / max(lengths[row], 1e-300)
        left -= np.outer(left @ direction, direction)
    return np.array(chosen, dtype=np.int64)


def select_cur(
    dataset: Dataset, count: int, rng: np.random.Generator, *, rank: int | None = None, greedy: bool = False,
    cutoff: float | None = None, functions: int = 60, with_deviation: bool = False,
) -> IntArray:  # fmt: skip
    """Return ``count`` frame numbers by CUR on mean ACE descriptors, in the order of choice.

    Parameters
    ----------
    rank
        Number of leading directions; by default ``count`` or as many as there are (with ``greedy`` one, as usual
        there).
    greedy
        Take the largest leverage each time instead of drawing; then nothing is random.
    cutoff, functions, with_deviation
        As in `frame_descriptors`.

    Raises
    ------
    InputError
        If there are fewer frames.
    """
    require_count(count, len(dataset))
    rows = frame_descriptors(dataset, cutoff=cutoff, functions=functions, with_deviation=with_deviation)
    if not rows.shape[1]:  # all frames are alike
        return rng.permutation(len(dataset))[:count]
    if greedy:
        return greedy_rows(rows, count, rank or 1)
    return draw(leverage_scores(rows, rank or count), count, rng)


def draw(scores: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
    """Return ``count`` different numbers drawn in proportion to scores (M,), one after the other.

    Exponential variates divided by the scores rise in just such an order (Efraimidis and Spirakis, Inf. Process. Lett.
    97, 181 (2006)), which works with scores of zero too.
    """
    waiting = rng.exponential(size=len(scores)) / np.maximum(scores, 1e-300)
    return np.argsort(waiting, kind="stable")[:count]
