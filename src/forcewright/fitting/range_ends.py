"""Which ranges a search has left at an end: what is best may lie beyond."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from forcewright.fitting.hyperparameters import search_ranges
from forcewright.fitting.linear_trial import LinearTrial
from forcewright.fitting.problem import Problem
from forcewright.fitting.settings import LogRange
from forcewright.optimize.space import Integer, Range, Real

_WIDER = 100.0  # times as far as a default, where one has to be stated
_NEAR = 0.01  # of the range, on the scale it is searched on


def at_range_ends(problem: Problem, params: Mapping[str, Any], trial: LinearTrial | None) -> list[str]:
    """Return in sentences which chosen numbers lie at an end of their range, and which way to widen it.

    Parameters
    ----------
    params
        The chosen hyperparameters by dotted name.
    trial
        The fit with them, whose weights and ridge are looked at as well; None for a family with a fit of its own.
    """
    sentences = params_at_ends(search_ranges(problem.model), params)
    return sentences if trial is None else [*sentences, *_of_weights(problem, trial)]


def params_at_ends(ranges: Mapping[str, Range], params: Mapping[str, Any]) -> list[str]:
    """Return in sentences which parameters of ``model:`` lie at an end of their range."""
    sentences = []
    for name, limits in ranges.items():
        if isinstance(limits, Real | Integer) and name in params:
            end = _end(params[name], limits.low, limits.high, log=limits.log, near=isinstance(limits, Real))
            if end is not None:
                sentences.append(_sentence(f"model.{name}", f"{params[name]:.4g}", end, limits.low, limits.high))
    return sentences


def _of_weights(problem: Problem, trial: LinearTrial) -> list[str]:
    weights, ridge = problem.settings.weights, problem.settings.ridge
    at_ends: dict[tuple[str, str, float, float], dict[str, float]] = {}  # field, end and range: value by group
    for term, value in zip(trial.terms, trial.search.theta, strict=False):
        limits, _ = weights.of(term.group, term.property)
        if not isinstance(limits, LogRange):
            continue
        number = math.exp(value)
        if (end := _end(number, limits.low, limits.high)) is not None:
            stated = term.group in weights.groups and getattr(weights.groups[term.group], term.property) is not None
            field = f"weights.groups.{term.group}.{term.property}" if stated else f"weights.{term.property}"
            at_ends.setdefault((field, end, limits.low, limits.high), {})[term.group] = number
    sentences = []
    for (field, end, low, high), values in at_ends.items():
        of = "" if list(values) == ["(all)"] or field.startswith("weights.groups") else f" of {', '.join(values)}"
        numbers = ", ".join(f"{number:.4g}" for number in values.values())
        stated = "groups" in field or field.removeprefix("weights.") in weights.model_fields_set
        sentences.append(_sentence(field, numbers, end, low, high, of, stated=stated))
    if isinstance(ridge, LogRange):
        number = math.exp(trial.search.theta[len(trial.terms)])
        if (end := _end(number, ridge.low, ridge.high)) is not None:
            stated = "ridge" in problem.settings.model_fields_set
            sentences.append(_sentence("ridge", f"{number:.4g}", end, ridge.low, ridge.high, stated=stated))
    return sentences


def _end(value: float, low: float, high: float, *, log: bool = True, near: bool = True) -> str | None:
    """Return which end of a range a value lies at, if it does: within a hundredth, or exactly."""
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    margin = _NEAR * (high - low) if near else 0.0
    if value <= low + margin:
        return "low"
    return "high" if value >= high - margin else None


def _sentence(
    field: str, numbers: str, end: str, low: float, high: float, of: str = "", *, stated: bool = True
) -> str:  # fmt: skip
    """Return that a number lies at an end of its range, and what to change: what is ``stated``, or to state one."""
    side, verb = ("lower", "lower") if end == "low" else ("upper", "raise")
    where = f"{field}{of} is {numbers}, at the {side} end of its"
    if stated:
        return f"{where} range ({low:g} to {high:g}); {verb} {field}.{end}."
    wider = (low / _WIDER, high) if end == "low" else (low, high * _WIDER)
    limits = f"{{low: {wider[0]:.1e}, high: {wider[1]:.1e}, log: true}}"
    name, _, inner = field.partition(".")
    state = f"{name}: {{{inner}: {limits}}}" if inner else f"{name}: {limits}"
    return f"{where} default range ({low:g} to {high:g}); state a wider one in the config, `{state}`."
