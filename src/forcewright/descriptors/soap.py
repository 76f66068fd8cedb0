"""Smooth overlap of atomic positions: power spectra of the smoothed neighbor densities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from forcewright.descriptors.descriptor import OpenOrPeriodic, made_by_dscribe, require_above, unit_rows
from forcewright.neighbors import find_neighbors
from forcewright.structure import FloatArray, Structure, require_known_species


@dataclass(frozen=True)
class Soap(OpenOrPeriodic):
    """SOAP power spectra of every atom (Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115 (2013)), by DScribe.

    Parameters
    ----------
    species
        Atomic numbers that may occur.
    cutoff
        Radius of the surroundings in Å, above 1.
    n_max, l_max
        Number of radial functions (Gaussians) and largest angular momentum.
    sigma
        Width of the Gaussian on each atom in Å.
    weighted
        Let neighbors count less the farther they are, with the weight ``1 + 2x³ - 3x²``, x = r / cutoff, so that
        nothing jumps at the cutoff, and leave the atom itself out. Has no gradients.
    unit
        Divide each row by its length, so that the product of two rows is their similarity.

    Raises
    ------
    MissingExtraError
        If dscribe is not installed.
    InputError
        If a number is invalid.
    """

    species: tuple[int, ...]
    cutoff: float = 5.0
    n_max: int = 8
    l_max: int = 6
    sigma: float = 0.5
    weighted: bool = False
    unit: bool = True
    name = "soap"

    def __post_init__(self) -> None:
        object.__setattr__(self, "species", tuple(sorted(set(self.species))))
        require_above(self.cutoff, 1.0, "cutoff")
        require_above(self.sigma, 0.0, "sigma")
        assert self._periodic  # what DScribe says against the settings is told now

    def rows(self, structure: Structure) -> FloatArray:
        """Return the power spectra (N, D)."""
        spectra = self._created(structure)
        return unit_rows(spectra) if self.unit else spectra

    def gradients(self, structure: Structure) -> FloatArray:
        """Return the analytical derivatives (N, N, 3, D).

        DScribe has them for open structures alone. The surroundings of each atom are therefore taken as a cluster of
        the images within reach, and the derivatives of all images of an atom are added.
        """
        if self.weighted:
            return super().gradients(structure)
        require_known_species(structure, self.species, knower="the descriptor")
        count = len(structure)
        result = np.zeros((count, count, 3, self.size))
        reach = self.cutoff + float(self._open.get_cutoff_padding())
        neighbors = find_neighbors(structure, reach)
        for atom in range(count):
            part = slice(neighbors.starts[atom], neighbors.starts[atom + 1])
            members = np.concatenate([[atom], neighbors.indices[part]])
            positions = np.concatenate([np.zeros((1, 3)), neighbors.vectors[part]])
            cluster = Atoms(structure.numbers[members], positions)
            slopes, values = self._open.derivatives(cluster, centers=[0], method="analytical", attach=True)
            np.add.at(result[atom], members, slopes[0])
            if self.unit:
                norm = float(np.linalg.norm(values[0]))
                row = values[0] / norm
                result[atom] = (result[atom] - (result[atom] @ row)[..., None] * row) / norm
        return result

    def _made(self, periodic: bool) -> Any:
        # (1 + 2x³ - 3x²) on the neighbors; no weight on the central atom, which is alike everywhere
        weight = {"function": "poly", "r0": self.cutoff, "c": 1, "m": 1, "w0": 0}
        return made_by_dscribe(
            "SOAP", "SOAP", species=[chemical_symbols[z] for z in self.species], r_cut=self.cutoff, n_max=self.n_max,
            l_max=self.l_max, sigma=self.sigma, periodic=periodic, **({"weighting": weight} if self.weighted else {}),
        )  # fmt: skip
