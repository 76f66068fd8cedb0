"""Clebsch-Gordan coefficients from their closed formula, in exact arithmetic up to one rounding."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import factorial, isqrt, sqrt

import numpy as np

from forcewright.structure import FloatArray


def clebsch_gordan(l1: int, m1: int, l2: int, m2: int, l3: int, m3: int) -> float:
    """⟨l1 m1 l2 m2 | l3 m3⟩ in the Condon-Shortley convention; zero where the selection rules forbid it.

    Racah's formula (Varshalovich, Moskalev and Khersonskii, Quantum Theory of Angular Momentum, 1988, eq. 8.2.1(3)).
    The sum is an integer ratio and so is the square of the prefactor, hence only the last steps round.
    """
    allowed = m1 + m2 == m3 and abs(l1 - l2) <= l3 <= l1 + l2
    if not allowed or abs(m1) > l1 or abs(m2) > l2 or abs(m3) > l3:
        return 0.0
    square = Fraction(
        (2 * l3 + 1) * factorial(l1 + l2 - l3) * factorial(l1 - l2 + l3) * factorial(l2 + l3 - l1),
        factorial(l1 + l2 + l3 + 1),
    )
    for l, m in ((l1, m1), (l2, m2), (l3, m3)):  # noqa: E741 - the symbol of the field
        square *= factorial(l + m) * factorial(l - m)
    total = Fraction(0)
    for k in range(max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2) + 1):
        denominator = factorial(k) * factorial(l1 + l2 - l3 - k) * factorial(l1 - m1 - k) * factorial(l2 + m2 - k)
        denominator *= factorial(l3 - l2 + m1 + k) * factorial(l3 - l1 - m2 + k)
        total += Fraction((-1) ** k, denominator)
    return _root(total * total * square) * (1 if total > 0 else -1)


def _root(value: Fraction) -> float:
    """The square root of a fraction, exact where it is rational, so that ½ and 1 come out as such."""
    upper, lower = isqrt(value.numerator), isqrt(value.denominator)
    if upper * upper == value.numerator and lower * lower == value.denominator:
        return upper / lower
    return sqrt(value)


@cache
def coupling_tensor(l1: int, l2: int, l3: int) -> FloatArray:
    """All ⟨l1 m1 l2 m2 | l3 m3⟩ of three l, (2 l1 + 1, 2 l2 + 1, 2 l3 + 1) over m from -l to l; read only."""
    tensor = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            tensor[m1 + l1, m2 + l2, m1 + m2 + l3] = clebsch_gordan(l1, m1, l2, m2, l3, m1 + m2)
    tensor.flags.writeable = False
    return tensor
