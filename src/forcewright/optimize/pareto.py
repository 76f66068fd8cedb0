"""Several objectives at once: which points are on the Pareto front, and their scalarization by ParEGO.

=========  ========  =============================================================================
symbol     shape     meaning
=========  ========  =============================================================================
values     (n, k)    objectives of n points, all to be minimized
weights    (k,)      w ≥ 0 with Σ w = 1: how much each objective counts in one step of the search
=========  ========  =============================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forcewright.optimize.design import primes, radical_inverse
from forcewright.optimize.space import FloatArray

RHO = 0.05
"""ρ, the share of the weighted sum (Knowles 2006, eq. 2): it separates points that the maximum alone does not."""


def non_dominated(values: FloatArray) -> NDArray[np.bool_]:
    """Return a mask (n,) of the points that no other equals or beats in every objective and beats in at least one."""
    values = np.asarray(values, dtype=np.float64)
    front = np.ones(len(values), dtype=bool)
    for index, point in enumerate(values):  # one row at a time: n² comparisons, but n memory
        front[index] = not ((values <= point).all(axis=1) & (values < point).any(axis=1)).any()
    return front


def weights_of(index: int, count: int, seed: int) -> FloatArray:
    """Return the weights (count,) of trial ``index``: evenly spread over the simplex from trial to trial.

    The gaps between sorted numbers that are uniform in (0, 1) are uniform on the simplex (Devroye, Non-Uniform Random
    Variate Generation, 1986, section V.2). The numbers are Halton's, shifted as a whole by the seed, which visits
    every part of the front regularly, unlike random numbers.
    """
    shift = np.random.default_rng(seed).random(count - 1) if seed else np.zeros(count - 1)
    halton = np.array([radical_inverse(index + 1, base) for base in primes(count - 1)])
    return np.diff(np.sort((halton + shift) % 1.0), prepend=0.0, append=1.0)


def scalarized(values: Sequence[Sequence[float] | None], weights: FloatArray, *, log: bool) -> list[float | None]:
    """Return the augmented Chebyshev norm of each point's objectives, None for points without them.

    f = max_j (w_j v_j) + ρ Σ_j w_j v_j  (Knowles, IEEE Trans. Evol. Comput. 10, 50 (2006), eq. 2)

    where each objective v_j runs from 0 at its lowest to 1 at the highest value *on the front*: over all points, as
    in Knowles, a single bad one would squeeze the whole front into a corner. With ``log`` the logarithm of objectives
    that are positive throughout is taken.
    """
    known = np.array([point for point in values if point is not None], dtype=np.float64)
    if log:
        positive = (known > 0).all(axis=0)
        known[:, positive] = np.log(known[:, positive])
    front = known[non_dominated(known)]
    low, high = front.min(axis=0), front.max(axis=0)
    spread = np.where(high > low, high - low, np.ptp(known, axis=0))
    scaled = weights * (known - low) / np.where(spread > 0, spread, 1.0)
    norms = iter((scaled.max(axis=1) + RHO * scaled.sum(axis=1)).tolist())
    return [None if point is None else next(norms) for point in values]
