"""The error of the mean of correlated data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from forcewright.errors import InputError
from forcewright.structure import FloatArray

_CONFIDENCE = 0.99  # of the test that blocks are no longer correlated
_FEWEST = 4  # blocks
_MORE = 2  # doublings beyond the test
_FEWEST_THEN = 8  # blocks


class Mean(NamedTuple):
    """A mean, its standard error, and the number of independent samples that this error stands for."""

    value: float
    error: float
    independent: float


def block_mean(values: ArrayLike) -> Mean:
    """Return the mean of a series and its standard error, by blocks that are doubled until they are uncorrelated.

    Flyvbjerg & Petersen, J. Chem. Phys. 91, 461 (1989), Eqs. 20 and 21; the number of doublings is the first at which
    the correlations of neighboring blocks, there and at all later levels, are compatible with none (Jonsson, Phys.
    Rev. E 98, 043304 (2018)). What the test does not see would still make the error 15 % too small on average, so two
    doublings more are taken while 8 blocks remain. A series of few correlation times has an error that is too small.

    Parameters
    ----------
    values
        (n,) equally spaced in time.

    Raises
    ------
    InputError
        If there are fewer than two values or one is not finite.
    """
    x: FloatArray = np.array(values, dtype=float)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise InputError("an error of the mean needs a series of two finite numbers or more", field="values")
    mean, variance = float(x.mean()), float(x.var())
    if variance <= (1e-14 * abs(mean)) ** 2:
        return Mean(mean, 0.0, float(len(x)))
    levels: list[tuple[float, float, float]] = []  # number of blocks, their variance, correlation of neighbors
    blocks = x - mean
    while len(blocks) >= _FEWEST or not levels:
        spread = float(np.mean(blocks**2) - np.mean(blocks) ** 2)
        levels.append((len(blocks), spread, float(np.sum(blocks[1:] * blocks[:-1]) / len(blocks))))
        even = len(blocks) // 2 * 2
        blocks = (blocks[0:even:2] + blocks[1:even:2]) / 2
    level = _first_uncorrelated(*np.array(levels).T)
    squared = levels[level][1] / (levels[level][0] - 1)
    return Mean(mean, float(np.sqrt(squared)), variance / squared if squared > 0 else float(len(x)))


def _first_uncorrelated(counts: FloatArray, variances: FloatArray, correlations: FloatArray) -> int:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.nan_to_num(counts * (correlations / variances) ** 2, posinf=1e300)
    later = np.cumsum(terms[::-1])[::-1]  # Σ over this and all later levels: χ² with as many degrees of freedom
    freedom = np.arange(len(counts), 0, -1)
    below = np.flatnonzero(later < stats.chi2.ppf(_CONFIDENCE, freedom))
    level = int(below[0]) if len(below) else len(counts) - 1
    enough = int(np.sum(counts >= _FEWEST_THEN)) - 1
    return max(level, min(level + _MORE, enough))
