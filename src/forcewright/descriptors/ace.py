"""The invariant functions of linear ACE, and the bispectrum, as descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii

from forcewright.descriptors.descriptor import Descriptor
from forcewright.errors import InputError
from forcewright.features.ace.basis import AceBasis, RadialSettings
from forcewright.features.ace.basis_functions import generate_functions
from forcewright.features.bispectrum import Bispectrum
from forcewright.structure import FloatArray, Structure, require_known_species

_RANGE = 3.6  # cutoff in largest covalent diameters: beyond the second shell of most crystals
_LIMITS = (3.5, 6.0)  # Å
_NRADMAX, _LMAX = (8, 4, 3), (0, 3, 2)  # by rank: two-, three- and four-body terms


def ace_basis(species: Sequence[int], cutoff: float | None = None, functions: int = 60) -> AceBasis:
    """Return a small ACE basis for describing structures.

    Parameters
    ----------
    species
        Atomic numbers.
    cutoff
        In Å; 3.6 times the largest covalent radius, between 3.5 and 6 Å, by default.
    functions
        Invariant functions per center element, the first in the order of their degree.

    Raises
    ------
    InputError
        If a number is invalid.
    """
    if functions < 1 or (cutoff is not None and not cutoff > 0):
        raise InputError(f"needs a cutoff above 0 Å and functions from 1 on, not {cutoff} and {functions}")
    species = tuple(sorted(set(species)))
    range_A = cutoff or float(np.clip(_RANGE * max(covalent_radii[z] for z in species), *_LIMITS))
    chosen = generate_functions(len(species), nradmax=_NRADMAX, lmax=_LMAX, count=functions)
    return AceBasis(species, RadialSettings(), ((range_A,) * len(species),) * len(species), chosen)


@dataclass(frozen=True)
class AceDescriptor(Descriptor):
    """The functions of an ACE basis at every atom; columns of other center species are zero.

    `AceDescriptor.of` makes one with a small basis.
    """

    basis: AceBasis
    name = "ace"

    @classmethod
    def of(cls, species: Sequence[int], cutoff: float | None = None, functions: int = 60) -> AceDescriptor:
        """Return the descriptor of a small basis; see `ace_basis`."""
        return cls(ace_basis(species, cutoff, functions))

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return self.basis.size

    def rows(self, structure: Structure) -> FloatArray:
        """Return the functions (N, D)."""
        return self.basis.project(structure)

    def gradients(self, structure: Structure) -> FloatArray:
        """Return the analytical derivatives (N, N, 3, D)."""
        pairs = self.basis.pairs(structure)
        count = len(structure)
        centers = np.repeat(np.arange(count), pairs.segments[:, -1] - pairs.segments[:, 0])
        result = np.empty((count, count, 3, self.size))
        for atom in range(count):
            moved = (pairs.indices == atom).astype(np.float64) - (centers == atom)
            for axis in range(3):
                change = np.zeros((len(moved), 3))
                change[:, axis] = moved
                result[:, atom, axis] = self.basis.differentiate(pairs, change)
        return result


@dataclass(frozen=True)
class BispectrumDescriptor(Descriptor):
    """The bispectrum of every atom (`forcewright.features.bispectrum.Bispectrum`), by LAMMPS; without gradients."""

    bispectrum: Bispectrum
    name = "bispectrum"
    differentiable = False

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return self.bispectrum.columns_per_species

    def rows(self, structure: Structure) -> FloatArray:
        """Return the components (N, D)."""
        require_known_species(structure, self.bispectrum.species, knower="the descriptor")
        return self.bispectrum.environments(structure)
