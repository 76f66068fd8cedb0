"""Points spread evenly over the unit cube: the Hammersley set, continued by the Halton sequence.

Notation
--------
n      size of the Hammersley set
d      dimension
b      base, a prime
Φ_b(i) radical inverse: the digits of i in base b, mirrored at the decimal point
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from forcewright.optimize.space import FloatArray


def primes(count: int) -> list[int]:
    """Return the first ``count`` primes."""
    result: list[int] = []
    candidate = 2
    while len(result) < count:
        if all(candidate % prime for prime in result):
            result.append(candidate)
        candidate += 1
    return result


def radical_inverse(i: ArrayLike, base: int) -> FloatArray:
    """Mirror the digits of each number of ``i`` at the decimal point.

    Φ_b(i) = Σ_k a_k b^(-k-1) for i = Σ_k a_k b^k (Wong, Luk and Heng, J. Graphics Tools 2, 9 (1997), eq. 2).
    """
    left = np.asarray(i)
    inverse, scale = np.zeros(left.shape), 1.0 / base
    while left.any():
        left, digit = np.divmod(left, base)
        inverse += digit * scale
        scale /= base
    return inverse


def hammersley_point(i: int, n: int, d: int) -> FloatArray:
    """Return point ``i`` (d,), counting from 0, of the Hammersley set of ``n`` points, or beyond it.

    x_i = ((i + 1/2)/n, Φ_2(i + 1), Φ_3(i + 1), Φ_5(i + 1), …)

    Hammersley, Ann. N. Y. Acad. Sci. 86, 844 (1960); Wong, Luk and Heng (1997), eq. 3, has i/n and Φ(i). Here the
    first coordinate sits in the middle of its interval and the others start at 1, so that no point lies on the
    lower faces of the cube. Points with i ≥ n continue as Halton's sequence, with the radical inverse in
    the next prime as first coordinate, so that a study can be extended.
    """
    bases = primes(d)
    first = (i + 0.5) / n if i < n else radical_inverse(i - n + 1, bases[-1])
    return np.array([first, *(radical_inverse(i + 1, b) for b in bases[:-1])])


def hammersley(n: int, d: int) -> FloatArray:
    """Return the whole Hammersley set (n, d); see `hammersley_point`."""
    number = np.arange(n)
    return np.column_stack([(number + 0.5) / n, *(radical_inverse(number + 1, base) for base in primes(d)[:-1])])
