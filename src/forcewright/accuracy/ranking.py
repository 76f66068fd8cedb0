"""Errors of several models on several sets with the spread that seeds and frames give them, and who is ahead of whom.

==========  ==================  ==============================================================================
symbol      shape               meaning
==========  ==================  ==============================================================================
squares     (s, n)              summed squared errors of each of n frames, by each of s seeds of a model
counts      (n,)                how many errors were summed
w           (b, n)              how often each frame was drawn in each of b resamples: the same for all models
==========  ==================  ==============================================================================

The error of a model on a set is the mean over its seeds of the root mean square error over the frames. Both are drawn
anew for each resample (Efron and Tibshirani, An Introduction to the Bootstrap (1993), algorithm 6.1): frames together
for all models, so that ranks are paired, and seeds for each model apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from forcewright.structure import FloatArray

RESAMPLES = 500
_INTERVAL = (5.0, 95.0)  # percent
_SAME = 1e-12  # relative difference that is rounding


@dataclass(frozen=True, eq=False)
class Sampled:
    """A root mean square error, and what it is in the resamples (b,)."""

    value: float
    by_seed: tuple[float, ...]
    samples: FloatArray

    @property
    def standard_error(self) -> float:
        """Standard deviation of the resamples; NaN where they are all the same, as of a single frame."""
        if len(self.samples) < 2 or np.ptp(self.samples) <= _SAME * abs(self.value):
            return float("nan")
        return float(np.std(self.samples, ddof=1))


def draw_frames(frames: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> FloatArray:
    """Return how often each frame is drawn in each resample (b, frames)."""
    drawn = rng.integers(frames, size=(resamples, frames)) + frames * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * frames)
    return np.asarray(counts.reshape(resamples, frames), dtype=np.float64)


def sampled_rmse(
    squares: FloatArray, counts: FloatArray, drawn: FloatArray, rng: np.random.Generator
) -> Sampled | None:
    """Return the error of a model on a set; None where nothing was counted."""
    if not counts.sum():
        return None
    by_seed = np.sqrt(squares.sum(axis=1) / counts.sum())
    seeds = len(squares)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.sqrt((drawn @ squares.T) / (drawn @ counts)[:, None])  # (b, s)
    chosen = rng.integers(seeds, size=(len(drawn), seeds))
    samples = np.take_along_axis(each, chosen, axis=1).mean(axis=1)
    return Sampled(float(by_seed.mean()), tuple(map(float, by_seed)), samples[np.isfinite(samples)])


def rank(errors: Mapping[str, Mapping[str, Sampled]]) -> list[dict[str, Any]]:
    """Rank models by the geometric mean of their errors over sets, best first.

    Parameters
    ----------
    errors
        By model, then by set. Only models that have all sets are ranked.

    Returns
    -------
    rows
        ``model``, ``rank`` from 1 on, ``score`` (in the unit of the errors), ``score_interval`` and ``rank_interval``,
        which hold 90 % of the resamples.
    """
    names = list(dict.fromkeys(name for by_set in errors.values() for name in by_set))
    complete = [model for model, by_set in errors.items() if names and all(name in by_set for name in names)]
    if not complete:
        return []
    length = min(len(errors[model][name].samples) for model in complete for name in names)
    scores = np.array([_score([errors[model][name].value for name in names]) for model in complete])
    samples = np.array(
        [_score(np.array([errors[model][name].samples[:length] for name in names])) for model in complete]
    )  # (models, b)
    ranks = np.argsort(np.argsort(samples, axis=0, kind="stable"), axis=0, kind="stable") + 1
    order = np.argsort(scores, kind="stable")
    return [
        {
            "model": complete[k], "rank": position, "score": float(scores[k]),
            "score_interval": _interval(samples[k]), "rank_interval": [round(end) for end in _interval(ranks[k])],
        }
        for position, k in enumerate(order, start=1)
    ]  # fmt: skip


def _score(errors: Any) -> Any:
    """Return the geometric mean over the first axis."""
    return np.exp(np.mean(np.log(np.maximum(np.asarray(errors, dtype=np.float64), 1e-300)), axis=0))


def _interval(samples: FloatArray) -> list[float]:
    return [float(end) for end in np.percentile(samples, _INTERVAL)] if samples.size else []
