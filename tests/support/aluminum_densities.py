"""Aluminum with densities of states that are sums over atoms, as no program has them."""

import numpy as np
from ase.build import bulk
from ase.neighborlist import neighbor_list

from forcewright.data.properties import Grid
from forcewright.structure import Structure

GRID = Grid.spanning(-8.0, 0.2, 76)
SMALL = {"cutoff": 4.5, "nradmax": [4, 3], "lmax": [0, 2], "functions": 20, "environments": 60}


def distorted(rng, amount=0.15, strain=0.04):
    """Return four atoms of aluminum, strained and displaced."""
    atoms = bulk("Al", cubic=True)
    atoms.set_cell(atoms.cell * (1 + rng.uniform(-strain, strain)), scale_atoms=True)
    atoms.positions += rng.normal(scale=amount, size=atoms.positions.shape)
    return Structure.from_ase(atoms)


def true_density(structure):
    """Return a density per atom that is a sum over atoms: bands whose width and center follow the crowding."""
    atoms = structure.to_ase()
    i, d = neighbor_list("id", atoms, 4.5)
    crowd = np.bincount(i, np.exp(-((d - 2.0) ** 2)) * (1 - d / 4.5) ** 2, minlength=len(atoms))
    center, width = -1.5 + 0.4 * crowd[:, None], 2.0 + 0.3 * crowd[:, None]
    local = 6.0 * np.exp(-0.5 * ((GRID.points - center) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    return local.mean(axis=0)
