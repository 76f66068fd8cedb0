"""What a worker runs: an objective, with every failure turned into text."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from forcewright.errors import ForcewrightError
from forcewright.optimize.space import Params

TRACEBACK_CHARACTERS = 4000


@dataclass(frozen=True)
class Outcome:
    """What an objective returns: the loss to be minimized, and plain data to keep with it."""

    loss: float
    metrics: Mapping[str, Any] = field(default_factory=dict)


Objective: TypeAlias = Callable[[Params, int], Outcome]
"""Called with the parameters and the index of the trial, in a worker process: it must be picklable."""


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluation: a loss, or the text of the error that prevented it."""

    loss: float | None
    metrics: dict[str, Any]
    error: str | None
    traceback: str | None
    seconds: float


def evaluate(objective: Objective, params: Params, index: int) -> Evaluation:
    """Run the objective and turn every failure into text: an error never ends a study."""
    start = time.perf_counter()
    try:
        outcome = objective(params, index)
        if not isinstance(outcome, Outcome):
            raise TypeError(f"the objective returned {type(outcome).__name__}, not an Outcome")
        loss, metrics = float(outcome.loss), plain(dict(outcome.metrics))
    except ForcewrightError as error:
        return failure(str(error), seconds=time.perf_counter() - start)
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}"
        return failure(text, traceback.format_exc()[-TRACEBACK_CHARACTERS:], time.perf_counter() - start)
    error_text = None if math.isfinite(loss) else f"the loss is {loss}, not a finite number"
    return Evaluation(None if error_text else loss, metrics, error_text, None, time.perf_counter() - start)


def failure(error: str, trace: str | None = None, seconds: float = 0.0) -> Evaluation:
    """Return an evaluation without a loss."""
    return Evaluation(None, {}, error, trace, seconds)


def plain(value: Any) -> Any:
    """Turn numpy scalars, arrays and tuples into plain JSON data; a number that is not finite becomes None."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"the metric {value!r} is a {type(value).__name__}; metrics are numbers, text, lists and mappings")
