"""Smallest allowed distances between atoms of each pair of species."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import covalent_radii

from forcewright.errors import InputError
from forcewright.neighbors import find_neighbors
from forcewright.structure import FloatArray, IntArray, Structure, atomic_number

#: One distance for all pairs, distances per pair such as {"C-H": 0.9}, or None for those of covalent radii.
Separations = float | Mapping[str, float] | None


class MinimumSeparations:
    """The smallest distance allowed between each pair of atomic numbers.

    Parameters
    ----------
    separations
        A distance in Å for all pairs, distances per pair (names in either order), or None. Other pairs have ``factor``
        times the sum of their covalent radii.
    factor
        Share of the covalent bond length.

    Raises
    ------
    InputError
        If an element is unknown or a number is invalid.
    """

    def __init__(self, separations: Separations = None, factor: float = 0.8) -> None:
        if not factor > 0:
            raise InputError(f"is {factor}; it must be above 0", field="factor")
        self.factor = float(factor)
        pairs = separations if isinstance(separations, Mapping) else {}
        self.everywhere = None if isinstance(separations, Mapping | None) else _length(separations, "all pairs")
        self.pairs = {_pair(name): _length(value, name) for name, value in pairs.items()}

    def __call__(self, z1: int, z2: int) -> float:
        """Return the distance in Å for two atomic numbers."""
        if self.everywhere is not None:
            return self.everywhere
        bonded = self.factor * (covalent_radii[z1] + covalent_radii[z2])
        return self.pairs.get((min(z1, z2), max(z1, z2)), float(bonded))

    def table(self, species: Sequence[int]) -> FloatArray:
        """Return the distances (S, S) in Å."""
        return np.array([[self(int(i), int(j)) for j in species] for i in species], dtype=np.float64)

    def ratio(self, structure: Structure) -> tuple[float, tuple[int, int]]:
        """Return the smallest ratio of a distance to the one allowed, images included, and the two atoms.

        It is at least 1 if all separations are respected, and infinite if no two atoms are near each other.
        """
        species: IntArray = np.unique(structure.numbers)
        table = self.table([int(z) for z in species])
        pairs = find_neighbors(structure, float(table.max()))
        if not len(pairs.indices):
            return np.inf, (0, 0)
        kinds = np.searchsorted(species, structure.numbers)
        ratios = pairs.distances / table[kinds[pairs.centers], kinds[pairs.indices]]
        worst = int(ratios.argmin())
        return float(ratios[worst]), (int(pairs.centers[worst]), int(pairs.indices[worst]))


def _length(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (np.isfinite(value) and value > 0):
        raise InputError(f"is {value!r} for {name}; separations are lengths above 0 Å", field="separations")
    return float(value)


def _pair(name: str) -> tuple[int, int]:
    numbers = [atomic_number(symbol, "separations") for symbol in str(name).split("-")]
    if len(numbers) != 2:
        raise InputError(f"holds {name!r}; write pairs such as C-H", field="separations")
    return min(numbers), max(numbers)
