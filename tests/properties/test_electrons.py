"""Electrons in a fixed density of states, against quadrature, discrete states and identities."""

import numpy as np
import pytest
from ase.units import kB
from scipy.integrate import quad

from forcewright.data.properties import Grid
from forcewright.errors import InputError
from forcewright.properties.density_of_states import (
    band_edges,
    dos_errors,
    excitation_spectrum,
    gapped,
    level,
    shift,
)
from forcewright.properties.electrons import (
    FermiWeights,
    chemical_potential,
    electronic_state,
    exact_electronic_state,
)

GRID = Grid.spanning(-12.0, 0.1, 321)  # to 20 eV


def _density(rng):
    points = GRID.points
    return 0.4 + 0.3 * np.sin(points) + 0.05 * rng.random(len(points))


@pytest.fixture(name="density")
def _of(rng):
    return _density(rng)


@pytest.fixture(name="rng")
def _rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize(("mu", "temperature"), [(0.033, 300.0), (-0.7, 5000.0), (1.25, 17000.0)])
def test_integrals_are_those_of_quadrature(density, mu, temperature):
    width = kB * temperature
    weights = FermiWeights.of(GRID, mu, temperature)

    def f(e):
        return 1.0 / (1.0 + np.exp(np.clip((e - mu) / width, -700, 700)))

    integrands = {
        "number": f,
        "grand": lambda e: -width * np.logaddexp(0.0, -(e - mu) / width),
        "excess": lambda e: (e - mu) * f(e),
    }
    for name, integrand in integrands.items():
        nodes, factor = np.polynomial.legendre.leggauss(20)
        total = 0.0
        # quadrature interval by interval, and where the step of f lies
        edges = np.unique(np.r_[GRID.points, np.clip(mu + width * np.linspace(-40, 40, 161), GRID.low, GRID.high)])
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            e = 0.5 * (low + high) + 0.5 * (high - low) * nodes
            total += 0.5 * (high - low) * factor @ (np.interp(e, GRID.points, density) * integrand(e))
        assert getattr(weights, name) @ density == pytest.approx(total, rel=1e-10, abs=1e-10)


def test_step_lies_between_grid_points(density):
    weights = FermiWeights.of(GRID, 0.033, 0.0)
    expected = sum(
        quad(lambda e: np.interp(e, GRID.points, density), low, min(low + 0.1, 0.033))[0]
        for low in GRID.points[GRID.points < 0.033 - 1e-9]
    )
    assert weights.number @ density == pytest.approx(expected, rel=1e-10)
    assert level(GRID, density, float(weights.number @ density)) == pytest.approx(0.033, abs=1e-9)


def test_thermodynamic_identities(density):
    n, t, d = 4.0, 6000.0, 30.0
    state = electronic_state(GRID, density, n, t)
    up, down = (electronic_state(GRID, density, n, t + s * d) for s in (1, -1))
    assert state.free_energy_change == pytest.approx(state.energy_change - t * state.entropy, abs=1e-10)
    assert t * (up.entropy - down.entropy) / (2 * d) == pytest.approx(state.heat_capacity, rel=1e-5)
    assert (up.energy_change - down.energy_change) / (2 * d) == pytest.approx(state.heat_capacity, rel=1e-5)
    slope = (up.free_energy_change - down.free_energy_change) / (2 * d)
    assert -slope == pytest.approx(state.entropy, rel=1e-5)  # S = -∂A/∂T


def test_gradient_with_the_density_needs_no_change_of_mu(density, rng):
    direction = rng.normal(size=GRID.count) * 0.1
    state = electronic_state(GRID, density, 4.0, 8000.0)
    plus, minus = (
        electronic_state(GRID, density + s * 1e-4 * direction, 4.0, 8000.0).free_energy_change for s in (1, -1)
    )
    assert (plus - minus) / 2e-4 == pytest.approx(float(state.gradient @ direction), abs=1e-7)


def test_free_electrons_follow_sommerfeld():
    grid = Grid.spanning(0.0, 0.05, 400)
    density = np.full(grid.count, 0.7)
    state = electronic_state(grid, density, 3.5, 300.0)
    expected = np.pi**2 / 3 * kB**2 * 300.0 * 0.7
    assert state.heat_capacity == pytest.approx(expected, rel=1e-9)
    assert state.entropy == pytest.approx(expected, rel=1e-9)
    assert state.mu == pytest.approx(5.0, abs=1e-9)


def test_many_narrow_states_are_a_density(rng):
    levels = np.sort(rng.uniform(-5, 5, 40000))
    grid = Grid.spanning(-5.5, 0.25, 45)
    held = np.full(len(levels), 1e-4)
    hats = np.clip(1 - np.abs(levels[:, None] - grid.points) / grid.step, 0, None)  # of the same mean energy
    density = held @ hats / grid.step
    mu, energy, entropy, change = exact_electronic_state(levels, held, 1.6, 3000.0)
    state = electronic_state(grid, density, 1.6, 3000.0)
    assert state.mu == pytest.approx(mu, abs=0.01)
    assert state.energy_change == pytest.approx(energy, rel=0.05)
    assert state.entropy == pytest.approx(entropy, rel=0.03)
    assert change == pytest.approx(energy - 3000.0 * entropy)


def test_level_in_a_gap_is_its_middle():
    grid = Grid.spanning(-6.0, 0.1, 121)
    density = np.where(np.abs(grid.points) < 1.05, 0.0, 1.0)
    held = 0.1 * (density[:61].sum() - 0.5)
    assert chemical_potential(grid, density, held, 0.0) == pytest.approx(0.0, abs=1e-3)


def test_short_grid_is_refused(density):
    grid = Grid.spanning(-12.0, 0.1, 150)  # ends at 2.9 eV
    with pytest.raises(InputError, match="less than 10 k_BT"):
        electronic_state(grid, density[:150], 5.0, 5000.0)
    with pytest.raises(InputError, match="holds"):
        level(grid, density[:150], 50.0)


def test_excitations_of_two_flat_bands_are_a_triangle():
    """Two bands of width 1 eV, one below and one above a gap of 1 eV: J is their convolution."""
    grid = Grid.spanning(-4.0, 0.005, 1601)
    density = np.where((np.abs(grid.points) > 0.5) & (np.abs(grid.points) < 1.5), 1.0, 0.0)
    spectrum = excitation_spectrum(grid, density, 0.0, [0.5, 1.5, 2.0, 2.5, 3.5])
    np.testing.assert_allclose(spectrum, [0.0, 0.5, 1.0, 0.5, 0.0], atol=0.02)


def test_band_edge_is_below_the_gap():
    grid = Grid.spanning(-4.0, 0.1, 81)
    density = np.where(np.abs(grid.points) > 0.95, 1.0, 0.0)
    held = 0.1 * (density[:41].sum() - 0.5)
    assert band_edges(grid, density[None], held)[0] == pytest.approx(-1.0)
    assert gapped(grid, density[None], 0.0) == [0]


def test_shift_and_smearing_move_and_widen(density):
    moved = shift(GRID, GRID.smear(density[None], 0.5), np.array([0.37]))[0]
    back = np.interp(GRID.points + 0.37, GRID.points, moved)
    inside = slice(40, -40)
    np.testing.assert_allclose(back[inside], GRID.smear(density, 0.5)[inside], atol=2e-3)
    errors = dos_errors(GRID, np.stack([density, 2 * density]), np.stack([density, density]), 1.5 * density)
    assert errors.percent == pytest.approx(100 * np.sqrt(1.0 / 0.5), rel=1e-12)
    narrow = np.zeros(GRID.count)
    narrow[100] = 1.0
    assert dos_errors(GRID, narrow[None], np.roll(narrow, 5)[None], 0 * narrow).wasserstein == pytest.approx(0.5)
