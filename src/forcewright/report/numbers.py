"""Numbers as text for readers: three or four significant digits, errors rounded to their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DASH = "–"
_THIN = "\u202f"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def significant(value: Any, digits: int = 3) -> str:
    """Return a number with this many significant digits; large integers are kept whole, other values are text.

    >>> significant(0.0123456), significant(1234567), significant(None), significant(True)
    ('0.0123', '1\u202f234\u202f567', '–', 'yes')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _sign(f"{value:,}".replace(",", _THIN)) if abs(value) >= 10_000 else _sign(str(value))
    if not isinstance(value, float):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return _sign(f"{mantissa}\u202f×\u202f10{str(int(exponent)).translate(_RAISED)}")
    decimals = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}".replace(",", _THIN if abs(value) >= 10_000 else "")
    return _sign(text)


def parameter(value: Any) -> str:
    """Return a hyperparameter's value: numbers to four digits, without trailing zeros.

    >>> parameter(100.0), parameter(0.8712345), parameter([1, 2.5]), parameter("linear")
    ('100', '0.8712', '1, 2.5', 'linear')
    """
    if isinstance(value, (list, tuple)):
        return ", ".join(parameter(item) for item in value)
    text = significant(value, 4)
    if not isinstance(value, float) or "." not in text:
        return text
    mantissa, times, power = text.partition(f"{_THIN}×")
    return mantissa.rstrip("0").rstrip(".") + times + power


def _sign(text: str) -> str:
    return text.replace("-", "−")


def with_error(value: float | None, error: float | None) -> str:
    """Return value ± error, both to the decimals at which the error has two significant digits.

    >>> with_error(3.41592, 0.123), with_error(3.41592, None), with_error(None, None)
    ('3.42 ± 0.12', '3.416', '–')
    """
    if value is None or error is None or not math.isfinite(value) or not error > 0 or not math.isfinite(error):
        return significant(value, 4)
    decimals = max(0, 1 - math.floor(math.log10(error)))
    if decimals > 6:
        return f"{significant(value, 4)} ± {significant(error, 2)}"
    return _sign(f"{value:.{decimals}f} ± {error:.{decimals}f}")


def duration(seconds: float | None) -> str:
    """Return seconds in readable units.

    >>> duration(0.25), duration(42.3), duration(200), duration(3900)
    ('0.25 s', '42 s', '3 min 20 s', '1 h 5 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def memory(size: float | None) -> str:
    """Return bytes as MB or GB (powers of ten).

    >>> memory(123_456_789), memory(2.5e9)
    ('123 MB', '2.5 GB')
    """
    if size is None:
        return DASH
    return f"{size / 1e9:.2g} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def unit_of(name: str, units: Mapping[str, str]) -> str:
    """Return the unit of a hyperparameter, or of the mapping that it stands in; nothing where it has none."""
    while name and name not in units:
        name = name.rpartition(".")[0]
    return units.get(name, "")
