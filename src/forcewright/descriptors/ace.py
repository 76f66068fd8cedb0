"""The invariant functions of linear ACE, and the bispectrum, as descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forcewright.descriptors.descriptor import Descriptor
from forcewright.features.ace.basis import AceBasis
from forcewright.features.bispectrum import Bispectrum
from forcewright.features.environments import ace_basis
from forcewright.structure import FloatArray, Structure, require_known_species


@dataclass(frozen=True)
class AceDescriptor(Descriptor):
    """The functions of an ACE basis at every atom; columns of other center species are zero.

    `AceDescriptor.of` makes one with a small basis.
    """

    basis: AceBasis
    name = "ace"

    @classmethod
    def of(cls, species: Sequence[int], cutoff: float | None = None, functions: int = 60) -> AceDescriptor:
        """Return the descriptor of a small basis; see `forcewright.features.environments.ace_basis`."""
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
