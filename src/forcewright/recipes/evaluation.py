"""Evaluate potentials of any kind in the same way: in a process of their own, one thread, on the same frames."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import BrokenExecutor
from typing import Any

from forcewright.accuracy.errors import ErrorTable, compare
from forcewright.errors import ForcewrightError
from forcewright.execution.pools import close_pool
from forcewright.execution.processes import WORKER_DIED, process_pool
from forcewright.fitting.cost import time_per_atom
from forcewright.fitting.family_fit import predict_labelled
from forcewright.models import FAMILIES, load, register_families
from forcewright.models.baseline_settings import baseline_of
from forcewright.potential import Potential, Prediction
from forcewright.structure import Dataset


def evaluate_source(
    source: str | Mapping[str, Any],
    sets: Mapping[str, Dataset],
    *,
    allow_commands: bool | Mapping[str, object] = False,
    kind: str | None = None,
) -> tuple[dict[str, ErrorTable], float]:
    """Predict every set in a process of its own with one thread; return the errors and the time of an evaluation.

    Parameters
    ----------
    source
        Path of a potential, or what computes without a fit, such as ``{lammps: ..., folder: ...}``.
    allow_commands, kind
        Whether it may run a program that it names, and its kind; see `forcewright.models.load`.

    Returns
    -------
    tables
        Errors by set.
    cost
        µs per atom of an energy-force-stress evaluation, on the largest structure of the first set.

    Raises
    ------
    ForcewrightError
        If the potential cannot be read, does not know an element, or kills its process.
    """
    pool = process_pool(1)
    try:
        predictions, cost = pool.submit(
            _predict_sets, source, dict(sets), dict(FAMILIES), allow_commands, kind
        ).result()
    except BrokenExecutor:
        raise ForcewrightError(f"prediction failed: {WORKER_DIED}") from None
    except KeyboardInterrupt:
        close_pool(pool, kill=True)
        raise
    except ForcewrightError:
        close_pool(pool, kill=False)
        raise
    except Exception as error:  # anything may go wrong in somebody else's code
        close_pool(pool, kill=False)
        raise ForcewrightError(f"prediction failed: {type(error).__name__}: {error}") from error
    close_pool(pool, kill=False)
    return {name: compare(data, predictions[name]) for name, data in sets.items()}, cost


def _predict_sets(
    source: str | Mapping[str, Any],
    sets: Mapping[str, Dataset],
    homes: Mapping[str, str],
    allow_commands: bool | Mapping[str, object],
    kind: str | None,
) -> tuple[dict[str, list[Prediction]], float]:
    """Do the part of `evaluate_source` that runs in the worker."""
    register_families(homes)
    potential = _potential(source, allow_commands, kind)
    predictions = {name: predict_labelled(potential, data) for name, data in sets.items()}
    return predictions, time_per_atom(potential, max(next(iter(sets.values())).structures, key=len))


def _potential(
    source: str | Mapping[str, Any], allow_commands: bool | Mapping[str, object], kind: str | None
) -> Potential:
    if isinstance(source, str):
        return load(source, allow_commands=allow_commands, kind=kind)
    return baseline_of(source)
