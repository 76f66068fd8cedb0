"""Random packings of atoms: what the functions of a basis look like where no data lead them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import covalent_radii

from forcewright.neighbors import find_neighbors
from forcewright.structure import IntArray, Structure

_CLOSEST = 0.8  # wanted distance of two atoms, of the sum of their covalent radii
_ATTEMPTS = 30  # positions tried before atoms may come closer
_CLOSER = 0.97
_FRAMES = 50  # frames a density is measured on


def random_packings(
    species: Sequence[int], volume_per_atom: float, rng: np.random.Generator, *, count: int = 4, atoms: int = 32
) -> list[Structure]:
    """Return cubic cells of atoms put in one after the other, all species alike, at most as close as they must be.

    Parameters
    ----------
    species
        Atomic numbers.
    volume_per_atom
        In Å³.
    """
    return [_packing(np.resize(rng.permutation(species), atoms), volume_per_atom, rng) for _ in range(count)]


def _packing(numbers: IntArray, volume_per_atom: float, rng: np.random.Generator) -> Structure:
    edge = float(len(numbers) * volume_per_atom) ** (1 / 3)
    radii = _CLOSEST * covalent_radii[numbers]
    positions = np.zeros((0, 3))
    shrunk, failed = 1.0, 0
    while len(positions) < len(numbers):
        at = rng.uniform(0, edge, 3)
        away = positions - at
        away -= edge * np.round(away / edge)
        allowed = shrunk * (radii[: len(positions)] + radii[len(positions)])
        if np.all(np.linalg.norm(away, axis=1) >= allowed):
            positions, failed = np.vstack([positions, at]), 0
        elif (failed := failed + 1) == _ATTEMPTS:
            shrunk, failed = shrunk * _CLOSER, 0
    return Structure(numbers, positions, edge * np.eye(3), np.ones(3, dtype=bool))


def local_volume(structures: Sequence[Structure], cutoff: float) -> float:
    """Return the volume per atom in Å³ inside spheres of radius ``cutoff`` around atoms, in steps of a tenth.

    It says the same of molecules and of crystals, and does not change with a few frames more or less.
    """
    chosen = structures[:: max(1, len(structures) // _FRAMES)]
    atoms = sum(map(len, chosen))
    inside = atoms + sum(len(find_neighbors(structure, cutoff).indices) for structure in chosen)
    volume = 4 / 3 * np.pi * cutoff**3 * atoms / inside
    return float(1.1 ** np.round(np.log(volume) / np.log(1.1)))
