"""How close the atoms of each pair of elements come in a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from forcewright.neighbors import find_neighbors
from forcewright.structure import Dataset, Structure

_SHORT = 4.0  # Å within which the closest pairs of the data are looked for
_UNSEEN = 0.6  # sums of covalent radii that stand for the distance of a pair which the data do not hold


def closest_pairs(structures: Sequence[Structure], reach: float = _SHORT) -> dict[tuple[int, int], float]:
    """Return the smallest distance in Å of each pair of atomic numbers, ascending, that comes closer than ``reach``."""
    species = np.unique(np.concatenate([structure.numbers for structure in structures]))
    shortest = np.full((len(species), len(species)), np.inf)
    for structure in structures:
        neighbors = find_neighbors(structure, reach)
        kinds = np.searchsorted(species, structure.numbers)
        np.minimum.at(shortest, (kinds[neighbors.centers], kinds[neighbors.indices]), neighbors.distances)
    near = np.argwhere(np.triu(np.isfinite(shortest)))
    return {(int(species[i]), int(species[j])): float(shortest[i, j]) for i, j in near}


def shortest_distances(dataset: Dataset) -> dict[str, float]:
    """Return the smallest distance in Å of each pair of species in a dataset by "A-B".

    Pairs that never come closer than 4 Å get 0.6 times the sum of their covalent radii.
    """
    species, closest = dataset.species, closest_pairs(dataset.structures)
    result = {}
    for i, a in enumerate(species):
        for b in species[i:]:
            fallback = _UNSEEN * float(covalent_radii[a] + covalent_radii[b])
            result[f"{chemical_symbols[a]}-{chemical_symbols[b]}"] = closest.get((a, b), fallback)
    return result
