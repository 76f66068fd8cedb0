"""How close the atoms of each pair of elements come in a data set."""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from forcewright.neighbors import find_neighbors
from forcewright.structure import Dataset

_SHORT = 4.0  # Å within which the closest pairs of the data are looked for
_UNSEEN = 0.6  # sums of covalent radii that stand for the distance of a pair which the data do not hold


def shortest_distances(dataset: Dataset) -> dict[str, float]:
    """Return the smallest distance in Å of each pair of species in a dataset by "A-B".

    Pairs that never come closer than 4 Å get 0.6 times the sum of their covalent radii.
    """
    species = dataset.species
    shortest = np.full((len(species), len(species)), np.inf)
    for structure in dataset.structures:
        neighbors = find_neighbors(structure, _SHORT)
        kinds = np.searchsorted(species, structure.numbers)
        np.minimum.at(shortest, (kinds[neighbors.centers], kinds[neighbors.indices]), neighbors.distances)
    result = {}
    for i, a in enumerate(species):
        for j, b in enumerate(species[i:], start=i):
            fallback = _UNSEEN * float(covalent_radii[a] + covalent_radii[b])
            value = float(shortest[i, j])
            result[f"{chemical_symbols[a]}-{chemical_symbols[b]}"] = value if np.isfinite(value) else fallback
    return result
