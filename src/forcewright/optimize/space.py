"""Typed ranges of parameters and the unit cube they span.

Notation
--------
d    number of parameters
q    number of features: one per number, one per choice of a categorical parameter
u    (m, d) points of the unit cube, one coordinate per parameter
X    (m, q) features of the same points, as the Gaussian process sees them
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from forcewright.errors import InputError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FloatArray: TypeAlias = NDArray[np.float64]
Choice: TypeAlias = str | int | float | bool | None
Params: TypeAlias = dict[str, Any]

RESOLUTION = 6
"""Decimal digits kept across a real range: values read well and carry no last-bit noise of the machine."""


@dataclass(frozen=True)
class Real:
    """A real number between ``low`` and ``high``, both included; ``log`` spreads it evenly over magnitudes."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)

    def from_unit(self, u: float) -> float:
        """Map [0, 1] to the range, rounded to `RESOLUTION` digits of it."""
        value = float(_unwarp(np.float64(u), self.low, self.high, self.log))
        return min(max(self._rounded(value), self.low), self.high)

    def to_unit(self, value: float) -> float:
        """Map the range to [0, 1]."""
        return float(_warp(value, self.low, self.high, self.log))

    def snap(self, u: FloatArray) -> FloatArray:
        """Return the nearest realizable points (m,): a real range takes all."""
        return u

    def distribution(self) -> BaseDistribution:
        """Return the same range as Optuna's distribution."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)

    def as_dict(self) -> dict[str, Any]:
        """Return the mapping `parse_range` reads."""
        return {"low": self.low, "high": self.high, "log": self.log}

    def _rounded(self, value: float) -> float:
        # on a logarithmic scale the width of the range is a ratio, and so is the rounding
        width = math.log(self.high / self.low) * value if self.log else self.high - self.low
        return round(value, RESOLUTION - math.floor(math.log10(width)))


@dataclass(frozen=True)
class Integer:
    """A whole number from ``low`` to ``high``, both included."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)

    @property
    def _edges(self) -> tuple[float, float]:
        return self.low - 0.5, self.high + 0.5  # so that the first and the last number get a full share

    def from_unit(self, u: float) -> int:
        """Map [0, 1] to the range."""
        return int(self._rounded(np.array([u]))[0])

    def to_unit(self, value: int) -> float:
        """Map the range to [0, 1]: the middle of the number's share."""
        return float(_warp(value, *self._edges, self.log))

    def snap(self, u: FloatArray) -> FloatArray:
        """Return the nearest realizable points (m,)."""
        return np.asarray(_warp(self._rounded(u), *self._edges, self.log))

    def distribution(self) -> BaseDistribution:
        """Return the same range as Optuna's distribution."""
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log)

    def as_dict(self) -> dict[str, Any]:
        """Return the mapping `parse_range` reads."""
        return {"low": self.low, "high": self.high, "log": self.log}

    def _rounded(self, u: FloatArray) -> FloatArray:
        return np.asarray(np.clip(np.rint(_unwarp(u, *self._edges, self.log)), self.low, self.high))


@dataclass(frozen=True)
class Categorical:
    """One of several values without an order."""

    choices: tuple[Choice, ...]

    def __post_init__(self) -> None:
        if len(self.choices) < 2:
            raise InputError(f"choices has {len(self.choices)} entries; give at least two, or write the value itself")
        for position, choice in enumerate(self.choices):
            if not isinstance(choice, str | int | float | bool | None):
                raise InputError(
                    f"the choice {choice!r} is a {type(choice).__name__}; use text, numbers, true or false"
                )
            if choice in self.choices[:position]:
                raise InputError(f"the choice {choice!r} is given twice; remove one")

    def from_unit(self, u: float) -> Choice:
        """Map [0, 1] to a choice: each has an equal share."""
        return self.choices[int(self._position(np.array([u]))[0])]

    def to_unit(self, value: Choice) -> float:
        """Map a choice to the middle of its share."""
        return (self.choices.index(value) + 0.5) / len(self.choices)

    def snap(self, u: FloatArray) -> FloatArray:
        """Return the nearest realizable points (m,)."""
        return (self._position(u) + 0.5) / len(self.choices)

    def one_hot(self, u: FloatArray) -> FloatArray:
        """Return features (m, number of choices): one where chosen, else zero."""
        return np.eye(len(self.choices))[self._position(u)]

    def distribution(self) -> BaseDistribution:
        """Return the same range as Optuna's distribution."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.choices)

    def as_dict(self) -> dict[str, Any]:
        """Return the mapping `parse_range` reads."""
        return {"choices": list(self.choices)}

    def _position(self, u: FloatArray) -> NDArray[np.int64]:
        last = len(self.choices) - 1
        return np.clip(np.floor(u * len(self.choices)), 0, last).astype(np.int64)


Range: TypeAlias = Real | Integer | Categorical


class Space:
    """Named ranges in a fixed order, and the unit cube they span.

    Parameters
    ----------
    ranges
        Name to range; the order is the order of the coordinates. An empty space has a single point, ``{}``.
    """

    def __init__(self, ranges: Mapping[str, Range]) -> None:
        self.ranges = dict(ranges)

    def __len__(self) -> int:
        return len(self.ranges)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(self.ranges)

    @property
    def continuous(self) -> NDArray[np.bool_]:
        """Mask (d,) of the coordinates in which a small step is a new point."""
        return np.array([isinstance(r, Real) for r in self.ranges.values()])

    def params(self, u: FloatArray) -> Params:
        """Return the parameters at one point (d,) of the unit cube."""
        return {name: r.from_unit(float(x)) for (name, r), x in zip(self.ranges.items(), u, strict=True)}

    def unit(self, params: Mapping[str, Any]) -> FloatArray:
        """Return the point (d,) of the unit cube at which the parameters lie."""
        return np.array([r.to_unit(params[name]) for name, r in self.ranges.items()], dtype=np.float64)

    def snap(self, u: FloatArray) -> FloatArray:
        """Move points (m, d) to the nearest realizable ones: whole numbers and choices, inside the cube."""
        inside = np.clip(u, 0.0, 1.0)
        return np.column_stack([r.snap(inside[:, k]) for k, r in enumerate(self.ranges.values())])

    def features(self, u: FloatArray) -> FloatArray:
        """Return features X (m, q) of points (m, d): choices one-hot, numbers as they are."""
        columns = [
            r.one_hot(u[:, k]) if isinstance(r, Categorical) else u[:, k : k + 1]
            for k, r in enumerate(self.ranges.values())
        ]
        return np.hstack(columns)

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the ranges as Optuna's distributions."""
        return {name: r.distribution() for name, r in self.ranges.items()}

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return the space as plain data."""
        return {name: r.as_dict() for name, r in self.ranges.items()}


def is_range(value: object) -> bool:
    """Return whether a config value is a range: a mapping with low, high or choices."""
    return isinstance(value, Mapping) and bool({"low", "high", "choices"} & set(value))


def parse_range(value: Mapping[str, Any], integer: bool, *, field: str | None = None) -> Range:
    """Read ``{low: 3.0, high: 6.0, log: true}`` or ``{choices: [..]}``.

    ``integer`` says whether the parameter is declared as a whole number; ``field`` is its name, for the error.
    """
    try:
        return _parse(value, integer)
    except InputError as error:
        raise InputError(error.problem, field=field) from None


def _parse(value: Mapping[str, Any], integer: bool) -> Range:
    allowed = ("choices",) if "choices" in value else ("low", "high", "log")
    for key in value:
        if key not in allowed:
            raise InputError(_unknown_key(str(key), allowed))
    if "choices" in value:
        return Categorical(_choices(value["choices"]))
    for key in ("low", "high"):
        if key not in value:
            raise InputError(f"the range has no {key!r}; write {{low: .., high: ..}}")
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"log is {log!r}; write true or false")
    low, high = _number(value["low"], "low"), _number(value["high"], "high")
    if not integer:
        return Real(low, high, log)
    for name, bound in (("low", low), ("high", high)):
        if not bound.is_integer():
            raise InputError(f"{name} is {bound:g}, but the parameter is a whole number")
    return Integer(int(low), int(high), log)


def _choices(value: object) -> tuple[Choice, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InputError(f"choices is {value!r}; write a list such as [a, b]")
    return tuple(value)


def _number(value: object, name: str) -> float:
    # YAML reads 1e-3 as text, so text that is a number is taken as one
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        return float(value)
    except ValueError:
        raise InputError(f"{name} is {value!r}, which is not a number") from None


def _unknown_key(key: str, allowed: tuple[str, ...]) -> str:
    close = get_close_matches(key, (*allowed, "choices"), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"allowed are {', '.join(allowed)}"
    return f"a range has no key {key!r}; {hint}"


def _check_bounds(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"low is {low} and high is {high}; both must be finite numbers")
    if low >= high:
        raise InputError(f"low ({low:g}) must be below high ({high:g}); for a single value write the number itself")
    if log and low <= 0:
        raise InputError(f"log is true, but low is {low:g}; a logarithmic range needs low above 0")


def _warp(value: Any, low: float, high: float, log: bool) -> Any:
    if log:
        return np.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _unwarp(u: Any, low: float, high: float, log: bool) -> Any:
    if log:
        return low * np.exp(u * math.log(high / low))
    return low + u * (high - low)
