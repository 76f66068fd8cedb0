"""Means of two ensembles from samples of both: what two potentials differ in, with less noise than either mean.

Each sample counts in both ensembles, by the energy that the other potential gives it (Bennett, J. Comput. Phys. 22, 245
(1976); of several states Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008)). Errors of the two means are then much
alike, and their difference is known better than by either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def both_means(first: tuple[Floats, Floats], second: tuple[Floats, Floats], kT: float) -> tuple[float, float]:
    """Return the means of a quantity in two ensembles of the same temperature and pressure.

    Parameters
    ----------
    first, second
        Of samples of each ensemble (n,): energy by the second potential less that by the first, in the unit of kT, and
        the quantity.
    """
    apart = np.concatenate([first[0], second[0]]) / kT
    values = np.concatenate([first[1], second[1]])
    apart = apart - apart.mean()
    free, change = 0.0, np.inf  # free energy of the second less that of the first, over kT
    while abs(change) > 1e-10:
        mixed = 1.0 / (len(first[0]) + len(second[0]) * np.exp(free - apart))
        change = -np.log((np.exp(-apart) * mixed).sum() / mixed.sum()) - free
        free += change
    of_second = np.exp(-apart) * mixed
    return float(mixed @ values / mixed.sum()), float(of_second @ values / of_second.sum())


def with_block_errors(
    first: tuple[Floats, Floats], second: tuple[Floats, Floats], kT: float, blocks: int = 15, draws: int = 200
) -> tuple[Floats, Floats]:
    """Return both means and their ratio less one, and standard errors of the three.

    Errors are those of a bootstrap over blocks of the samples, which are in the order of time.
    """
    rng = np.random.default_rng(0)

    def drawn(samples: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        parts = np.array_split(np.arange(len(samples[0])), min(blocks, len(samples[0])))
        indices = np.concatenate([parts[k] for k in rng.integers(len(parts), size=len(parts))])
        return samples[0][indices], samples[1][indices]

    def of(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> list[float]:
        means = both_means(a, b, kT)
        return [*means, means[0] / means[1] - 1.0]

    made = np.array([of(drawn(first), drawn(second)) for _ in range(draws)])
    return np.array(of(first, second)), made.std(axis=0, ddof=1)
