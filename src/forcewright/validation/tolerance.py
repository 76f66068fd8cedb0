"""Tolerances of numbers: a share of the reference, such as ``1%``, or a number in its unit."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer

from forcewright.plain_data import real


class Tolerance(NamedTuple):
    """The largest deviation that passes; relative to the size of the reference, or in the unit of the number."""

    size: float
    relative: bool

    def allows(self, value: float, reference: float) -> bool:
        """Return whether a value is within the tolerance of the reference."""
        return abs(value - reference) <= self.size * (abs(reference) if self.relative else 1.0)

    def __str__(self) -> str:
        return f"{100 * self.size:g}%" if self.relative else f"{self.size:g}"


def parse_tolerance(value: Any) -> Tolerance:
    """Read ``1%`` or ``0.05``; ValueError if it is neither."""
    if isinstance(value, Tolerance):
        return value
    text = str(value).strip()
    try:
        size = real(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        size = -1.0
    if isinstance(value, bool) or not (math.isfinite(size) and size >= 0):
        raise ValueError(f"{value!r} is not a tolerance; give a share such as 1% or a number in the quantity's unit")
    return Tolerance(size, text.endswith("%"))


#: A tolerance in a config.
ToleranceField = Annotated[Tolerance, BeforeValidator(parse_tolerance), PlainSerializer(str)]
