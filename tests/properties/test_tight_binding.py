"""Hot electrons of a tight-binding model whose Hamiltonian knows no occupations: a fixed density of states is exact."""

import numpy as np
import pytest
from ase.build import bulk
from ase.neighborlist import neighbor_list
from ase.units import kB
from scipy.optimize import brentq
from scipy.special import expit, xlogy

from forcewright.data.properties import Grid
from forcewright.properties.electrons import electronic_state, exact_electronic_state

GRID = Grid.spanning(-20.0, 0.004, 10001)
CUTOFF = 4.6


def hamiltonian(atoms):
    """One s orbital on every atom, at the Γ point."""
    i, j, distance = neighbor_list("ijd", atoms, CUTOFF)
    hopping = -1.1 * np.exp(-(distance - 2.86) / 0.9) * (1 - (distance / CUTOFF) ** 6) ** 2
    matrix = np.zeros((len(atoms), len(atoms)))
    np.add.at(matrix, (i, j), hopping)
    return matrix


def repulsion(atoms):
    distance = neighbor_list("d", atoms, CUTOFF)
    return 0.5 * float(np.sum(4.0 * np.exp(-(distance - 2.0) / 0.4) * (1 - (distance / CUTOFF) ** 6) ** 2))


def free_energy(atoms, electrons, temperature):
    """Mermin's functional of the whole model, by the density matrix and its entropy rather than a density of states."""
    values, vectors = np.linalg.eigh(hamiltonian(atoms))
    if temperature == 0:
        return 2.0 * float(values[: electrons // 2].sum()) + repulsion(atoms)
    width = kB * temperature
    mu = brentq(lambda m: 2 * np.sum(expit((m - values) / width)) - electrons, -20, 20, xtol=1e-14)
    f = expit((mu - values) / width)
    density = 2.0 * (vectors * f) @ vectors.T
    entropy = -2.0 * kB * float(np.sum(xlogy(f, f) + xlogy(1 - f, 1 - f)))
    return float(np.trace(density @ hamiltonian(atoms))) - temperature * entropy + repulsion(atoms)


def on_grid(atoms):
    """The density of states of the model as hats on the grid: the number of states and their energy are kept."""
    values = np.linalg.eigvalsh(hamiltonian(atoms))
    return 2.0 * np.clip(1 - np.abs(values[:, None] - GRID.points) / GRID.step, 0, None).sum(axis=0) / GRID.step


@pytest.fixture(name="atoms")
def _atoms():
    atoms = bulk("Al", cubic=True).repeat((2, 2, 1))
    atoms.positions += np.random.default_rng(2).normal(scale=0.15, size=atoms.positions.shape)
    return atoms


@pytest.mark.parametrize("temperature", [2000.0, 5000.0, 12000.0])
def test_fixed_density_gives_the_free_energy(atoms, temperature):
    electrons = 16
    expected = free_energy(atoms, electrons, temperature) - free_energy(atoms, electrons, 0)
    values = np.linalg.eigvalsh(hamiltonian(atoms))
    change = exact_electronic_state(values, np.full(len(values), 2.0), electrons, temperature)[3]
    assert change == pytest.approx(expected, abs=1e-9)
    state = electronic_state(GRID, on_grid(atoms), electrons, temperature)
    assert state.free_energy_change == pytest.approx(expected, abs=3e-4 * len(atoms))


def test_fixed_density_gives_the_hot_forces(atoms):
    electrons, temperature, step = 16, 8000.0, 1e-3
    state = electronic_state(GRID, on_grid(atoms), electrons, temperature)
    moved = []
    for sign in (1, -1):
        displaced = atoms.copy()
        displaced.positions[3] += [sign * step, 0, 0]
        moved.append(displaced)
    exact = -np.subtract(*(free_energy(a, electrons, temperature) for a in moved)) / (2 * step)
    cold = -np.subtract(*(free_energy(a, electrons, 0) for a in moved)) / (2 * step)
    pulled = -float(np.subtract(*(on_grid(a) for a in moved)) @ state.gradient) / (2 * step)
    assert abs(exact - cold) > 0.01
    assert cold + pulled == pytest.approx(exact, abs=2e-3)
