"""Electrons at a temperature in a fixed density of states: chemical potential, energy, entropy and free energy.

With f = 1/(1 + e^x), x = (ε - μ)/k_BT, and the grand potential of a state g_T = -k_BT ln(1 + e^{-x}):

    N = ∫ D f dε,    Ω = ∫ D g_T dε  with  g_0 = min(ε - μ, 0),    A = Ω + μN,    U = ∫ D ε f dε,    T S = U - A,

where S = -k_B ∫ D [f ln f + (1 - f) ln(1 - f)] dε. The density is piecewise linear, and every integral is exact: that
at T = 0 is a polynomial in each interval, and f_T - f_0 = sign(x)/(1 + e^{|x|}) has the antiderivatives

    H₁ = -k_BT ln(1 + e^{-|x|}),  H₂ = -(k_BT)² sign(x) [π²/12 + Li₂(-e^{-|x|})],
    H₃ = -(k_BT)³ [π²|x|/12 - Li₃(-e^{-|x|}) - 3ζ(3)/4].

References: N. D. Mermin, Phys. Rev. 137, A1441 (1965); C. Ben Mahmoud, F. Grasselli, M. Ceriotti, Phys. Rev. B 106,
L121116 (2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import kB
from scipy.optimize import brentq
from scipy.special import spence

from forcewright.data.properties import Grid
from forcewright.errors import InputError
from forcewright.properties.density_of_states import integral_weights, level, value_at
from forcewright.structure import FloatArray

#: Thermal energies k_BT that a grid has to reach above the chemical potential.
REACH = 10.0
_ZETA3 = 1.2020569031595942
# Li₃(-e^{-y}) = -Σ_k η(3 - k) (-y)^k / k! for small y, with the Dirichlet eta function at 3, 2, 1, 0, -1, ...
_ETA = (0.75 * _ZETA3, np.pi**2 / 12, np.log(2.0), 0.5, 0.25, 0.0, -0.125, 0.0, 0.25, 0.0, -17 / 16, 0.0, 7.75, 0.0,
        -691 / 8, 0.0, 5461 / 4)  # fmt: skip


def _trilogarithm(y: FloatArray) -> FloatArray:
    """Return Li₃(-e^{-y}) for y ≥ 0."""
    result = np.empty_like(y)
    near = y < 0.5
    term, total = np.ones(int(near.sum())), np.zeros(int(near.sum()))
    for k, eta in enumerate(_ETA):
        total -= eta * term
        term = term * -y[near] / (k + 1)
    result[near] = total
    z = -np.exp(-y[~near])
    power, total = np.ones_like(z), np.zeros_like(z)
    for k in range(1, 80):
        power = power * z
        total += power / k**3
    result[~near] = total
    return result


def _thermal(grid: Grid, mu: float, temperature: float) -> tuple[FloatArray, ...]:
    """Return x, f_T - f_0, H₁, H₂ and H₃ at the grid points."""
    width = kB * temperature
    x = (grid.points - mu) / width
    y = np.abs(x)
    decay = np.exp(-y)
    sign = np.sign(x)
    return (
        x, sign * decay / (1.0 + decay), -width * np.log1p(decay),
        -(width**2) * sign * (np.pi**2 / 12 + spence(1.0 + decay)),
        -(width**3) * (np.pi**2 * y / 12 - _trilogarithm(y) - 0.75 * _ZETA3),
    )  # fmt: skip


def _weights(grid: Grid, first: FloatArray, second: FloatArray) -> FloatArray:
    """Return integral weights from antiderivatives at all grid points."""
    return integral_weights(grid, lambda points: first[[0, -1]], lambda points: second)


@dataclass(frozen=True, eq=False)
class FermiWeights:
    """Weights (m,) of grid points in integrals over a piecewise linear density, at one μ and T.

    Attributes
    ----------
    number
        Of N = ∫ D f.
    grand
        Of Ω = ∫ D g_T.
    excess
        Of ∫ D (ε - μ) f, which is U - μN.
    """

    number: FloatArray
    grand: FloatArray
    excess: FloatArray

    @classmethod
    def of(cls, grid: Grid, mu: float, temperature: float) -> FermiWeights:
        """Return the weights at a chemical potential (eV) and a temperature (K); 0 K is a step."""
        below = np.minimum(grid.points - mu, 0.0)
        number = _weights(grid, below, 0.5 * below**2)
        grand = _weights(grid, 0.5 * below**2, below**3 / 6.0)
        excess = grand
        if temperature > 0:
            _, _, h1, h2, h3 = _thermal(grid, mu, temperature)
            above = grid.points - mu
            number = number + _weights(grid, h1, h2)
            excess = grand + _weights(grid, above * h1 - h2, above * h2 - 2.0 * h3)
            grand = grand + _weights(grid, h2, h3)
        return cls(number, grand, excess)


def chemical_potential(grid: Grid, density: FloatArray, electrons: float, temperature: float) -> float:
    """Return μ in eV at which a density (m,) holds ``electrons``; at 0 K the Fermi level, in a gap its middle.

    Raises
    ------
    InputError
        If a number is invalid, the grid ends less than 10 k_BT above μ, or the density holds too few states.
    """
    if not (np.isfinite([electrons, temperature]).all() and electrons > 0 and temperature >= 0):
        raise InputError(f"needs electrons and a temperature, not {electrons} and {temperature} K", field="temperature")
    if temperature == 0:
        return level(grid, density, electrons)
    highest = grid.high - REACH * kB * temperature

    def missing(mu: float) -> float:
        return float(FermiWeights.of(grid, mu, temperature).number @ density) - electrons

    if highest <= grid.low or missing(highest) < 0:
        raise InputError(
            f"the grid ends at {grid.high:.2f} eV, less than {REACH:g} k_BT ({REACH * kB * temperature:.2f} eV) above "
            f"the chemical potential at {temperature:g} K, where states without electrons are missing; extend the "
            "grid or lower the temperature", field="grid",
        )  # fmt: skip
    start = level(grid, density, electrons)
    width = max(kB * temperature, grid.step)
    low, high = start - width, min(start + width, highest)
    while missing(low) > 0 and low > grid.low - 50 * width:
        low -= width
    while missing(high) < 0 and high < highest:
        high = min(high + width, highest)
    return float(brentq(missing, low, high, xtol=1e-13, rtol=1e-14, maxiter=200))


@dataclass(frozen=True)
class ElectronicState:
    """What a density of states says of its electrons at a temperature; energies in eV of what the density is of.

    Attributes
    ----------
    temperature
        In K.
    fermi, mu
        Chemical potential at 0 K and at the temperature.
    band_energy
        ∫ D ε f dε.
    entropy
        S in eV/K.
    energy_change
        ∫ D ε (f_T - f_0) dε.
    free_energy_change
        ``energy_change`` - T S: what A(T) lies above E(0).
    heat_capacity
        T ∂S/∂T = ∂U/∂T at fixed number of electrons, in eV/K.
    at_fermi
        D(E_F) in states/eV.
    gradient
        Derivative of ``free_energy_change`` with the density at every grid point (m,), at fixed number of electrons:
        ∫ φ_k (g_T - g_0) dε, in which μ does not move (A is stationary in it).
    """

    temperature: float
    fermi: float
    mu: float
    band_energy: float
    entropy: float
    energy_change: float
    free_energy_change: float
    heat_capacity: float
    at_fermi: float
    gradient: FloatArray


def electronic_state(grid: Grid, density: FloatArray, electrons: float, temperature: float) -> ElectronicState:
    """Return the state of ``electrons`` electrons in a density (m,) at a temperature in K.

    Raises
    ------
    InputError
        As `chemical_potential`.
    """
    mu = chemical_potential(grid, density, electrons, temperature)
    fermi = mu if temperature == 0 else chemical_potential(grid, density, electrons, 0.0)
    cold, warm = FermiWeights.of(grid, fermi, 0.0), FermiWeights.of(grid, mu, temperature)
    ground = float(cold.excess @ density) + fermi * electrons
    band = float(warm.excess @ density) + mu * electrons
    grand = float(warm.grand @ density)
    change = (grand + mu * electrons) - (float(cold.grand @ density) + fermi * electrons)
    entropy = (band - mu * electrons - grand) / temperature if temperature > 0 else 0.0
    return ElectronicState(
        temperature, fermi, mu, band, entropy, band - ground, change, _heat_capacity(grid, density, mu, temperature),
        value_at(grid, density, fermi), warm.grand - cold.grand,
    )  # fmt: skip


def _heat_capacity(grid: Grid, density: FloatArray, mu: float, temperature: float) -> float:
    """Return (M₂ - M₁²/M₀)/T with M_k = ∫ D (ε - μ)^k (-∂f/∂ε) dε."""
    if temperature == 0:
        return 0.0
    _, change, h1, h2, h3 = _thermal(grid, mu, temperature)
    above = grid.points - mu
    zeroth = float(_weights(grid, -change, -h1) @ density) + value_at(grid, density, mu)
    first = float(_weights(grid, h1 - above * change, 2.0 * h2 - above * h1) @ density)
    second = float(
        _weights(
            grid, 2.0 * (above * h1 - h2) - above**2 * change, 4.0 * above * h2 - above**2 * h1 - 6.0 * h3
        ) @ density
    )  # fmt: skip
    return (second - first**2 / zeroth) / temperature if zeroth > 0 else second / temperature


def exact_electronic_state(
    energies: FloatArray, held: FloatArray, electrons: float, temperature: float
) -> tuple[float, float, float, float]:
    """Return μ, ∫ D ε (f_T - f_0) dε, S and the change of the free energy of discrete states, as eigenvalues are.

    Parameters
    ----------
    energies, held
        Energies (n,) in eV, ascending, and how many electrons each holds (`forcewright.data.eigenvalues.Eigenvalues`).
    """
    if not 0 < electrons < held.sum():
        raise InputError(f"{held.sum():g} states do not hold {electrons:g} electrons", field="electrons")
    filled = np.clip(electrons - (np.cumsum(held) - held), 0.0, held)
    width = kB * temperature

    def occupations(mu: float) -> FloatArray:
        return np.asarray(0.5 * (1.0 - np.tanh(0.5 * (energies - mu) / width)))

    mu = float(
        brentq(
            lambda level: float(held @ occupations(level)) - electrons, energies[0] - 100 * width,
            energies[-1] + 100 * width, xtol=1e-13, rtol=1e-14,
        )
    )  # fmt: skip
    x = (energies - mu) / width
    f = occupations(mu)
    entropy = kB * float(held @ (np.logaddexp(0.0, -np.abs(x)) + np.abs(x) / (1.0 + np.exp(np.abs(x)))))
    energy = float((held * f - filled) @ energies)
    return mu, energy, entropy, energy - temperature * entropy
