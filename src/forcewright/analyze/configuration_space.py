"""Two sets of frames in the space of their configurations: how far each goes, and what each covers of the other.

Everything here follows from the distances between frames, whatever they were measured by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from forcewright.analyze.block_average import Mean, block_mean
from forcewright.errors import InputError
from forcewright.structure import FloatArray, IntArray

Halves = Literal["blocks", "alternating"]

_FEWEST = 4  # frames of each set


@dataclass(frozen=True, eq=False)
class Side:
    """What one set of frames, M of them, is to itself and to the other.

    ===========  ==================================================================================================
    first        distance of each frame to the first one (M,)
    nearest      distance of each frame to the nearest one of the other set (M,)
    match        which one that is (M,)
    by_half      the same to the nearest one in either half of the other set (2, M)
    baseline     distance of each frame to the nearest one in the other half of its own set (M,)
    spread       quantile of the baseline: what lies within this of a half of the set lies within the set
    covered      for each frame the share of the two halves of the *other* set within whose spread it lies (M,)
    coverage     mean of ``covered``, with its error by blocks: how much of this set the other one covers
    ===========  ==================================================================================================
    """

    first: FloatArray
    nearest: FloatArray
    match: IntArray
    by_half: FloatArray
    baseline: FloatArray
    spread: float
    covered: FloatArray
    coverage: Mean


class Comparison(NamedTuple):
    """Both sides of a comparison."""

    a: Side
    b: Side


def compare_distances(
    among_a: FloatArray, among_b: FloatArray, between: FloatArray, *, share: float = 0.95, halves: Halves = "blocks"
) -> Comparison:
    """Compare two sets of frames by the distances among and between them.

    A set that came from the same distribution would be covered by ``share``: the spread is the ``share`` quantile of
    the distances of a set's frames to the nearest one in the *other half* of it, and what is compared with it is the
    distance to the nearest frame in *half* of the set, so that the number of frames to choose from is the same.

    Parameters
    ----------
    among_a, among_b, between
        (M, M), (N, N) and (M, N), in the order of time.
    share
        Of its own frames that lie within the spread of a set.
    halves
        The first half of the time and the second, or every other frame, for sets without an order.

    Raises
    ------
    InputError
        If there are fewer than four frames on a side, or ``share`` is not between 0 and 1.
    """
    if not 0.0 < share < 1.0:
        raise InputError(f"is {share}; it must be between 0 and 1", field="share")
    for name, matrix in (("A", among_a), ("B", among_b)):
        if len(matrix) < _FEWEST:
            raise InputError(f"{name} has {len(matrix)} frames; at least {_FEWEST} are needed, two in each half")
    in_half_a, in_half_b = _halves(len(among_a), halves), _halves(len(among_b), halves)
    baseline_a, baseline_b = _baseline(among_a, in_half_a), _baseline(among_b, in_half_b)
    spread_a, spread_b = float(np.quantile(baseline_a, share)), float(np.quantile(baseline_b, share))
    return Comparison(
        _side(among_a, between, in_half_b, baseline_a, spread_a, spread_b),
        _side(among_b, between.T, in_half_a, baseline_b, spread_b, spread_a),
    )


def _side(
    among: FloatArray, to_other: FloatArray, other_half: IntArray, baseline: FloatArray, spread: float, other: float
) -> Side:
    by_half = np.array([to_other[:, other_half == half].min(axis=1) for half in (0, 1)])
    covered = (by_half <= other).mean(axis=0)
    match = to_other.argmin(axis=1)
    nearest = to_other[np.arange(len(match)), match]
    return Side(among[0].copy(), nearest, match, by_half, baseline, spread, covered, block_mean(covered))


def _halves(count: int, halves: Halves) -> IntArray:
    """Return for each frame the half it is in, 0 or 1."""
    index = np.arange(count)
    return index % 2 if halves == "alternating" else (index >= count // 2).astype(np.int64)


def _baseline(among: FloatArray, half: IntArray) -> FloatArray:
    return np.asarray(np.where(half[:, None] != half[None, :], among, np.inf).min(axis=1))


def missing_frames(to_other: FloatArray, among: FloatArray, spread: float, most: int) -> IntArray:
    """Return which frames of a set to add to another, at most so many, the most distant first.

    The first is the frame farthest from the other set, each next the one farthest from that set and those chosen, until
    all lie within its spread (farthest point sampling).

    Parameters
    ----------
    to_other
        (M, N) distances to the other set.
    among
        (M, M) distances.
    spread
        Of the other set.
    most
        Frames.
    """
    nearest = to_other.min(axis=1)
    chosen: list[int] = []
    while len(chosen) < most:
        frame = int(nearest.argmax())
        if nearest[frame] <= spread:
            break
        chosen.append(frame)
        nearest = np.minimum(nearest, among[frame])
        nearest[frame] = -np.inf
    return np.array(chosen, dtype=np.int64)


def principal_map(distances: FloatArray, dimensions: int = 2) -> tuple[FloatArray, FloatArray]:
    """Return coordinates (M, dimensions) whose distances are those given, as nearly as so few can, and their shares.

    Classical scaling (Torgerson, Psychometrika 17, 401 (1952)): principal components of the space in which the
    distances are Euclidean; for those of a kernel it is kernel PCA. The shares are of the sum of all squares.
    """
    squares = distances**2
    centered = -0.5 * (squares - squares.mean(axis=0) - squares.mean(axis=1)[:, None] + squares.mean())
    values, vectors = np.linalg.eigh(0.5 * (centered + centered.T))
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    wanted = min(dimensions, len(values))
    signs = np.where(vectors[np.abs(vectors[:, :wanted]).argmax(axis=0), np.arange(wanted)] < 0, -1.0, 1.0)
    coordinates = np.zeros((len(values), dimensions))
    coordinates[:, :wanted] = vectors[:, :wanted] * np.sqrt(values[:wanted]) * signs
    total = float(values.sum())
    shares = np.zeros(dimensions)
    shares[:wanted] = values[:wanted] / total if total > 0 else 0.0
    return coordinates, shares
