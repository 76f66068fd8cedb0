"""How much alike two spectra are: vibrational densities of states, infrared spectra, densities of electrons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forcewright.errors import InputError
from forcewright.structure import FloatArray


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Values (n,) of 0 or more over ascending frequencies (n,), zero outside."""

    frequencies: FloatArray
    values: FloatArray

    def above(self, low: float) -> Spectrum:
        """Return the part at and above a frequency."""
        part = self.frequencies >= low
        return Spectrum(self.frequencies[part], self.values[part])


def read_spectrum(path: Path) -> Spectrum:
    """Read two columns of numbers, frequency and value; lines that begin with # are passed over.

    Raises
    ------
    InputError
        If the file cannot be read, or is not that.
    """
    try:
        table = np.loadtxt(path, ndmin=2)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=path) from None
    except ValueError as error:
        raise InputError(f"is not two columns of numbers, frequency and value ({error})", file=path) from None
    if table.ndim != 2 or table.shape[1] != 2 or len(table) < 2:
        raise InputError(f"has the shape {table.shape}, expected two columns and two rows or more", file=path)
    if not np.isfinite(table).all():
        raise InputError("holds a number that is not finite", file=path)
    x, y = table.T
    if (np.diff(x) <= 0).any():
        row = int(np.flatnonzero(np.diff(x) <= 0)[0]) + 1
        raise InputError(f"has frequencies that do not rise, first in row {row} of numbers", file=path)
    if (y < 0).any() or not y.any():
        raise InputError("has values below zero, or none above; a spectrum has neither", file=path)
    return Spectrum(x, y)


def overlap(first: Spectrum, second: Spectrum) -> float:
    """Return the area that two spectra of unit area have in common, ∫ min(a, b) dν: 1 if they are the same, 0 if apart.

    It is one minus their total variation distance.
    """
    a, b, step = _on_one_grid(first, second)
    return float(np.minimum(a, b).sum() * step)


def wasserstein(first: Spectrum, second: Spectrum) -> float:
    """Return how far intensity has to be moved to turn one spectrum of unit area into the other, in their unit.

    ∫ |A(ν) - B(ν)| dν of the cumulative distributions: the Wasserstein distance of order 1.
    """
    a, b, step = _on_one_grid(first, second)
    return float(np.abs(np.cumsum(a - b)).sum() * step * step)


def _on_one_grid(first: Spectrum, second: Spectrum) -> tuple[FloatArray, FloatArray, float]:
    """Return both with unit area on a grid that holds all of both, and its step."""
    low = min(first.frequencies[0], second.frequencies[0])
    high = max(first.frequencies[-1], second.frequencies[-1])
    step = min(np.diff(first.frequencies).min(), np.diff(second.frequencies).min())
    points = int(np.clip(np.ceil((high - low) / step - 1e-6) + 1, 2, 400_001))  # those of both, where they are the same
    grid, step = np.linspace(low, high, points, retstep=True)
    sampled = [np.interp(grid, s.frequencies, s.values, left=0.0, right=0.0) for s in (first, second)]
    a, b = (np.asarray(values / max(float(values.sum() * step), 1e-300)) for values in sampled)
    return a, b, float(step)
