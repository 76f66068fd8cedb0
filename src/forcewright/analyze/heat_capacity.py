"""Heat capacity from two simulations a little apart in temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from forcewright.analyze.block_average import block_mean
from forcewright.errors import InputError


@dataclass(frozen=True)
class HeatCapacity:
    """C = (⟨H⟩(T + ΔT) - ⟨H⟩(T))/ΔT with its standard error, in the units of H per kelvin."""

    value: float
    standard_error: float


def heat_capacity_by_difference(low: ArrayLike, high: ArrayLike, temperature_step: float) -> HeatCapacity:
    """Return the heat capacity from enthalpies (or energies) along two simulations ``temperature_step`` kelvin apart.

    Means have errors by blocks (`forcewright.analyze.block_average.block_mean`), as neighboring frames are alike. H
    holds the kinetic energy, the internal energy of hot electrons (U = A + TS of
    `forcewright.properties.hot_electrons`, not the free energy A), and pV.

    Raises
    ------
    InputError
        If the step is not positive.
    """
    if not temperature_step > 0:
        raise InputError(f"is {temperature_step} K, expected a difference above 0", field="temperature_step")
    means = [block_mean(values) for values in (low, high)]
    errors = np.array([mean.error for mean in means], dtype=np.float64)
    return HeatCapacity(
        (means[1].value - means[0].value) / temperature_step, float(np.sqrt(np.sum(errors**2))) / temperature_step
    )
