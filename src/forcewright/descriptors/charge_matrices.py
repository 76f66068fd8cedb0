"""Matrices of the Coulomb energies of nuclei: one row for a whole structure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from forcewright.descriptors.descriptor import Descriptor, folded, made_by_dscribe
from forcewright.errors import InputError
from forcewright.structure import FloatArray, Structure

Order = Literal["eigenspectrum", "sorted_l2"]


@dataclass(frozen=True)
class _ChargeMatrix(Descriptor):
    """What both matrices share: how large they are, how they are sorted, and DScribe, which makes them."""

    atoms: int
    order: Order = "eigenspectrum"
    per_atom = False

    def __post_init__(self) -> None:
        assert self._maker  # raises where it cannot be made

    @property
    def size(self) -> int:
        """Numbers in the row."""
        return int(self._maker.get_number_of_features())

    def _require_room(self, structure: Structure) -> None:
        if len(structure) > self.atoms:
            raise InputError(
                f"holds {len(structure)} atoms, more than the {self.atoms} the matrix has room for", field="atoms"
            )

    @cached_property
    def _maker(self) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class CoulombMatrix(_ChargeMatrix):
    """The Coulomb matrix of a molecule (Rupp et al., Phys. Rev. Lett. 108, 058301 (2012)), by DScribe.

    ``M_ij = Z_i Z_j / |R_i - R_j|``, ``M_ii = 0.5 Z_i^2.4`` with distances in Å.

    Parameters
    ----------
    atoms
        Most atoms of a structure; smaller ones are filled up with zeros.
    order
        What makes it independent of the order of the atoms: its eigenvalues by their size (``"eigenspectrum"``, whose
        Euclidean distance is that of the paper), or the whole matrix, sorted by the length of its rows.

    Raises
    ------
    MissingExtraError
        If dscribe is not installed.
    InputError
        If a number is invalid.
    """

    name = "coulomb"

    def rows(self, structure: Structure) -> FloatArray:
        """Return the row (1, D) of an open structure."""
        self._check(structure)
        return np.asarray(self._maker.create(folded(structure)), dtype=np.float64).reshape(1, -1)

    def gradients(self, structure: Structure) -> FloatArray:
        """Return the derivatives (1, N, 3, D), which DScribe takes by central differences of its own."""
        self._check(structure)
        slopes = self._maker.derivatives(folded(structure), return_descriptor=False)
        return np.asarray(slopes, dtype=np.float64)[None]

    def _check(self, structure: Structure) -> None:
        if structure.pbc.any():
            raise InputError("has periodic directions; take the Ewald sum matrix, 'ewald'", field="pbc")
        self._require_room(structure)

    @cached_property
    def _maker(self) -> Any:
        return made_by_dscribe("CoulombMatrix", "the Coulomb matrix", n_atoms_max=self.atoms, permutation=self.order)


@dataclass(frozen=True)
class EwaldSumMatrix(_ChargeMatrix):
    """The Ewald sum matrix of a periodic cell (Faber et al., Int. J. Quantum Chem. 115, 1094 (2015)), by DScribe.

    Its elements are the Coulomb energies of the nuclei, all their images and a neutralizing background, in
    e² / (4πε₀ Å).

    Parameters
    ----------
    atoms, order
        As for `CoulombMatrix`.
    accuracy
        Relative error allowed in the sums.

    Raises
    ------
    MissingExtraError
        If dscribe is not installed.
    InputError
        If a number is invalid.
    """

    accuracy: float = 1e-6
    name = "ewald"
    differentiable = False

    def __post_init__(self) -> None:
        if not 0.0 < self.accuracy < 1.0:
            raise InputError(f"is {self.accuracy}; it must be between 0 and 1", field="accuracy")
        super().__post_init__()

    def rows(self, structure: Structure) -> FloatArray:
        """Return the row (1, D) of a cell that is periodic in three directions."""
        if not structure.pbc.all():
            raise InputError("has open directions; take the Coulomb matrix, 'coulomb'", field="pbc")
        self._require_room(structure)
        row = self._maker.create(folded(structure), accuracy=self.accuracy)
        return np.asarray(row, dtype=np.float64).reshape(1, -1)

    @cached_property
    def _maker(self) -> Any:
        return made_by_dscribe("EwaldSumMatrix", "the Ewald sum matrix", n_atoms_max=self.atoms, permutation=self.order)
