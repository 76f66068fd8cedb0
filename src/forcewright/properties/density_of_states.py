"""Densities of states on an energy grid: integrals, levels, shifts and errors.

A density is piecewise linear between the points of its grid and zero outside. A linear functional of it is therefore a
weight for each grid point, exact whatever the integrand does between them:

    ∫ D(ε) h(ε) dε = Σ_k w_k D_k,    w_k = ∫ φ_k h dε,

with φ_k the hat function of point k. With H₁' = h and H₂' = H₁ two integrations by parts give w_k from H₂ at three
points, at the ends from H₁ as well. Step functions are no exception (`integral_weights`).

Energies are in eV, densities in states per eV, both spins together, of a cell or per atom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import make_interp_spline

from forcewright.data.properties import GAPPED, Grid
from forcewright.errors import InputError
from forcewright.structure import FloatArray

Integral = Callable[[FloatArray], FloatArray]


def integral_weights(grid: Grid, first: Integral, second: Integral) -> FloatArray:
    """Return the weights w (m,) with w·D = ∫ D h dε for every density D on the grid.

    Parameters
    ----------
    first, second
        H₁ and H₂ at energies (k,): H₂ is differentiable everywhere, and H₁ its derivative.
    """
    points = grid.points
    h2 = second(points)
    slopes = np.diff(h2) / grid.step  # of H₂ in every interval
    weights = np.empty(grid.count)
    weights[1:-1] = np.diff(slopes)
    ends = first(points[[0, -1]])
    weights[0], weights[-1] = slopes[0] - ends[0], ends[1] - slopes[-1]
    return weights


def trapezoid(grid: Grid) -> FloatArray:
    """Return the weights (m,) of ∫ D dε."""
    weights = np.full(grid.count, grid.step)
    weights[[0, -1]] = grid.step / 2.0
    return weights


def cumulative(grid: Grid, density: FloatArray) -> FloatArray:
    """Return ∫ D up to every grid point (..., m)."""
    pieces = 0.5 * grid.step * (density[..., 1:] + density[..., :-1])
    return np.concatenate([np.zeros((*density.shape[:-1], 1)), np.cumsum(pieces, axis=-1)], axis=-1)


def level(grid: Grid, density: FloatArray, electrons: float) -> float:
    """Return the energy below which a density (m,) holds a number of electrons; the middle of a gap.

    Raises
    ------
    InputError
        If the density on the grid holds fewer.
    """
    held = cumulative(grid, density)
    if not 0.0 < electrons < held.max():
        raise InputError(
            f"the density of states on the grid holds {held.max():.4g} electrons, and {electrons:.4g} are asked for; "
            "extend the grid or give fewer electrons", field="grid",
        )  # fmt: skip
    slack = 1e-9 * max(electrons, 1.0)
    low = _crossing(grid, density, held, electrons - slack)
    high = _crossing(grid, density, held, electrons + slack) if held.max() > electrons + slack else low
    return 0.5 * (low + high)


def _crossing(grid: Grid, density: FloatArray, held: FloatArray, electrons: float) -> float:
    index = max(int(np.argmax(held >= electrons)), 1) - 1
    missing, start = electrons - held[index], density[index]
    slope = (density[index + 1] - start) / grid.step
    root = float(np.sqrt(max(start**2 + 2.0 * slope * missing, 0.0)))
    step = 2.0 * missing / (start + root) if start + root > 0 else 0.0
    return float(grid.points[index] + np.clip(step, 0.0, grid.step))


def value_at(grid: Grid, density: FloatArray, energy: float) -> float:
    """Return D at an energy, 0 outside the grid."""
    return float(np.interp(energy, grid.points, density, left=0.0, right=0.0))


def shift(grid: Grid, densities: FloatArray, amounts: FloatArray) -> FloatArray:
    """Return densities (n, m) moved up by ``amounts`` (n,) in eV, D(ε - s), by cubic splines; ends are carried on."""
    points = grid.points
    result = np.empty_like(densities)
    for row, (density, amount) in enumerate(zip(densities, amounts, strict=True)):
        if amount == 0.0:
            result[row] = density
        else:
            result[row] = make_interp_spline(points, density, k=3)(np.clip(points - amount, points[0], points[-1]))
    return result


def find_empty(densities: FloatArray) -> list[int]:
    """Return which densities (n, m) hold no state at all: labels that are missing rather than measured."""
    return [int(row) for row in np.flatnonzero(~np.any(np.abs(densities) > 0.0, axis=-1))]


@dataclass(frozen=True)
class DosErrors:
    """Errors of densities of states.

    Attributes
    ----------
    rmse
        √⟨mean over the grid of (D - D̂)²⟩ in states/eV.
    percent
        100 √⟨∫(D - D̂)² dε⟩ / √⟨∫(D - D̄)² dε⟩ with D̄ the mean of the training data: 100 is no better than that mean.
    percent_occupied
        The same, with integrals up to the Fermi level of each structure.
    wasserstein
        Mean over structures of ∫ |∫D - ∫D̂| dε / ∫D in eV: how far states are moved.
    """

    rmse: float
    percent: float
    percent_occupied: float
    wasserstein: float

    def __str__(self) -> str:
        return (
            f"%RMSE {self.percent:.1f}, occupied {self.percent_occupied:.1f}, RMSE {self.rmse:.4f}/eV, "
            f"Wasserstein {self.wasserstein:.3f} eV"
        )


def dos_errors(
    grid: Grid, reference: FloatArray, predicted: FloatArray, training_mean: FloatArray,
    fermi: FloatArray | float = 0.0,
) -> DosErrors:  # fmt: skip
    """Return the errors of predicted densities (n, m).

    Parameters
    ----------
    training_mean
        Mean density of the training data (m,), or that of each structure's own training data (n, m).
    fermi
        Fermi level of each structure (n,) in eV on the grid.
    """
    weights, points = trapezoid(grid), grid.points
    mean = np.broadcast_to(training_mean, reference.shape)
    below = points <= np.broadcast_to(np.asarray(fermi, dtype=np.float64), (len(reference),))[:, None]
    wrong, spread = (predicted - reference) ** 2, (reference - mean) ** 2

    def percent(mask: FloatArray | float) -> float:
        total = float(((spread * mask) @ weights).sum())
        return 100.0 * float(np.sqrt(((wrong * mask) @ weights).sum() / total)) if total > 0 else float("nan")

    moved = np.abs(cumulative(grid, predicted - reference)) @ weights
    states = np.maximum(reference @ weights, 1e-300)
    return DosErrors(
        float(np.sqrt(wrong.mean())), percent(1.0), percent(below.astype(np.float64)), float((moved / states).mean())
    )


@dataclass(frozen=True)
class Components:
    """Principal components of densities: D ≈ mean + Σ_k a_k v_k.

    Attributes
    ----------
    mean
        Mean of the training data (m,).
    vectors
        Orthonormal components (k, m).
    """

    mean: FloatArray
    vectors: FloatArray

    @classmethod
    def of(cls, densities: FloatArray, count: int) -> Components:
        """Return the leading components of densities (n, m); `InputError` if there are not as many."""
        if not 1 <= count <= min(densities.shape):
            raise InputError(f"there are at most {min(densities.shape)} components, not {count}", field="components")
        mean = densities.mean(axis=0)
        return cls(mean, np.linalg.svd(densities - mean, full_matrices=False)[2][:count])

    def amplitudes(self, densities: FloatArray) -> FloatArray:
        """Return the amplitudes (n, k)."""
        return np.asarray((densities - self.mean) @ self.vectors.T)

    def densities(self, amplitudes: FloatArray) -> FloatArray:
        """Return the densities (n, m) of amplitudes."""
        return np.asarray(self.mean + amplitudes @ self.vectors)

    def truncation(self, grid: Grid, densities: FloatArray, training_mean: FloatArray) -> DosErrors:
        """Return what a perfect prediction of the amplitudes would miss."""
        return dos_errors(grid, densities, self.densities(self.amplitudes(densities)), training_mean)


def filling_levels(grid: Grid, densities: FloatArray, electrons: float) -> FloatArray:
    """Return for each density (n, m) the energy below which it holds ``electrons``.

    With all electrons this is the Fermi level; with fewer a level inside the band, which no gap leaves undetermined.
    """
    return np.array([level(grid, density, electrons) for density in densities])


def band_edges(grid: Grid, densities: FloatArray, electrons: float, threshold: float = GAPPED) -> FloatArray:
    """Return for each density (n, m) the highest energy up to the Fermi level where it exceeds ``threshold``."""
    edges = []
    for density in densities:
        middle = level(grid, density, electrons)
        occupied = np.flatnonzero((density > threshold) & (grid.points <= middle))
        edges.append(grid.points[occupied[-1]] if len(occupied) else middle)
    return np.array(edges)


def gapped(grid: Grid, densities: FloatArray, fermi: FloatArray | float, threshold: float = GAPPED) -> list[int]:
    """Return which structures have next to no states at the Fermi level, where that level is arbitrary."""
    levels = np.broadcast_to(np.asarray(fermi, dtype=np.float64), (len(densities),))
    return [
        row for row, (density, energy) in enumerate(zip(densities, levels, strict=True))
        if value_at(grid, density, float(energy)) < threshold
    ]  # fmt: skip


def excitation_spectrum(
    grid: Grid, density: FloatArray, fermi: float, energies: Sequence[float] | FloatArray
) -> FloatArray:
    """Return the joint density of states J(ω) = ∫ D(ε) D(ε + ω) dε over ε < E_F < ε + ω at energies ω in eV.

    Excitations of single electrons between bands, all of the same strength: D(ε) occupied, D(ε + ω) empty.
    """
    result = []
    for omega in np.asarray(energies, dtype=np.float64):
        if omega <= 0:
            result.append(0.0)
            continue
        count = max(int(np.ceil(omega / grid.step)) * 2, 8)
        inside = fermi - omega + omega * (np.arange(count) + 0.5) / count
        low = np.interp(inside, grid.points, density, left=0.0, right=0.0)
        high = np.interp(inside + omega, grid.points, density, left=0.0, right=0.0)
        result.append(float((low * high).sum() * omega / count))
    return np.array(result)
