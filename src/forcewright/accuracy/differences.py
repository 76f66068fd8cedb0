"""How much the errors of two models differ on the same frames, with the spread that the choice of frames gives that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from forcewright import metrics
from forcewright.accuracy.errors import MEASURES, ErrorTable, Measure, sum_per_frame
from forcewright.errors import InputError
from forcewright.structure import FloatArray

_INTERVAL = (2.5, 97.5)  # percent


@dataclass(frozen=True)
class Difference:
    """Error of one model less that of another, in the unit of the error; below 0 the first is better.

    Attributes
    ----------
    value
        The difference.
    standard_error
        Its standard deviation over resamples of the frames, which are drawn for both together; None of a single frame.
    low, high
        Ends of the interval that holds 95 % of the resamples; None of a single frame.
    """

    value: float
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def to_dict(self) -> dict[str, float | bool | None]:
        """Return plain data."""
        return {**asdict(self), "is_clear": self.is_clear}


def paired_differences(
    table: ErrorTable, base: ErrorTable, keys: Sequence[str], *, rng: np.random.Generator, resamples: int = 1000
) -> dict[str, Difference]:
    """Return by key of `forcewright.accuracy.Errors` how much a model's errors differ from another's.

    Hard frames are hard for both, so that the difference is known far better than either error (Efron and Tibshirani,
    An Introduction to the Bootstrap (1993), algorithm 6.1). Keys are those of RMSE, MAE and bias; one that a table has
    no value for is left out.

    Raises
    ------
    InputError
        If the tables are of different frames.
    """
    ours, theirs = table.parity, base.parity
    if not np.array_equal(ours.atoms, theirs.atoms):
        raise InputError("the two tables are of different frames; compare models on the same ones", field="tables")
    (sums, counts), (other, _) = sum_per_frame(ours), sum_per_frame(theirs)
    result = {}
    for column, measure in enumerate(MEASURES):
        if measure.key not in keys or getattr(table.overall, measure.key) is None:
            continue
        both, number = np.stack([sums[:, column], other[:, column]], axis=1), counts[:, [column, column]]
        value = _error(measure, metrics.pool(both, number))
        if np.sum(counts[:, column] > 0) < 2:
            result[measure.key] = Difference(float(value[0] - value[1]))
            continue
        drawn = _error(measure, metrics.resample(both, number, rng=rng, resamples=resamples))
        differences = (drawn[:, 0] - drawn[:, 1])[np.isfinite(drawn).all(axis=1)]
        low, high = np.percentile(differences, _INTERVAL)
        result[measure.key] = Difference(
            float(value[0] - value[1]), float(np.std(differences, ddof=1)), float(low), float(high)
        )
    return result


def _error(measure: Measure, means: FloatArray) -> FloatArray:
    return np.asarray(measure.scale * (np.sqrt(np.abs(means)) if measure.root else means))
