"""Kernels between atoms' surroundings as functions of a linear model: kernel ridge regression on representative atoms.

With unit descriptor rows p of atoms of one element and those of M representatives,

    k(i, j) = (p_i · p_j)^ζ,    φ(i) = L⁻¹ k(i, ·),    L Lᵀ = K_MM,

a ridge on φ is kernel ridge regression restricted to the representatives, of structures as well, whose kernels are
sums over pairs of atoms (Deringer et al., Chem. Rev. 121, 10073 (2021), sections 2 and 3). Representatives are the
pivots of an incomplete Cholesky decomposition (Bach and Jordan, J. Mach. Learn. Res. 3, 1 (2002)): each is the atom
that those before describe worst.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import scipy.linalg
from ase.data import chemical_symbols
from pydantic import Field

from forcewright.configs import StrictModel
from forcewright.descriptors.choice import descriptor_by_name
from forcewright.descriptors.descriptor import Descriptor, unit_rows
from forcewright.errors import InputError
from forcewright.features.equivariant.spherical import Irrep
from forcewright.structure import FloatArray, IntArray, Structure, require_known_species

_POOL = 4000  # atoms of an element among which representatives are chosen
_NOTHING_NEW = 1e-8  # part of an atom's kernel with itself that the representatives do not describe
_SCALAR = Irrep(0, 1)


class KernelSettings(StrictModel):
    """A kernel on descriptors, for properties that no rotation changes."""

    kind: Literal["kernel"] = "kernel"
    """A kernel in place of covariant functions."""
    descriptor: Literal["soap", "acsf", "ace", "bispectrum"] = "soap"
    """What describes an atom's surroundings; soap and acsf need dscribe."""
    cutoff: float = Field(default=5.0, gt=0, le=20)
    """Reach in Å."""
    zeta: int = Field(default=2, ge=1, le=16)
    """Power of the product of two descriptions: higher tells surroundings apart more sharply."""
    representatives: int = Field(default=500, ge=1, le=10_000)
    """Atoms of each element that others are compared with."""
    scaling: ClassVar[float] = 0.0
    rank_weights: ClassVar[tuple[float, ...]] = (1.0,)

    def basis_for(
        self, species: Sequence[int], irreps: Sequence[Irrep], structures: Sequence[Structure]
    ) -> KernelBasis:
        """Return the kernel with representatives among the atoms of structures; `InputError` for a tensor."""
        if any(irrep != _SCALAR for irrep in irreps):
            raise InputError(
                f"a kernel predicts what no rotation changes (0e), not {' + '.join(map(str, irreps))}; leave kind out",
                field="model.kind",
            )
        described = descriptor_by_name(self.descriptor, species, cutoff=self.cutoff)
        rows = [unit_rows(described.rows(structure)) for structure in structures]
        numbers = np.concatenate([structure.numbers for structure in structures])
        stacked = np.concatenate(rows)
        chosen = {}
        for z in species:
            pool = np.flatnonzero(numbers == z)
            pool = pool[np.linspace(0, len(pool) - 1, min(_POOL, len(pool))).astype(np.int64)]
            chosen[z] = stacked[pool][_pivots(stacked[pool], self.zeta, self.representatives)]
        return KernelBasis(described, tuple(sorted(species)), self.zeta, chosen)

    def basis_from(
        self, species: Sequence[int], irreps: Sequence[Irrep], arrays: Mapping[str, FloatArray]
    ) -> KernelBasis:
        """Return the kernel whose representatives `KernelBasis.arrays` has given."""
        described = descriptor_by_name(self.descriptor, species, cutoff=self.cutoff)
        chosen = {z: np.asarray(arrays[_key(z)], dtype=np.float64) for z in species}
        if irreps != (_SCALAR,) or any(rows.ndim != 2 or rows.shape[1] != described.size for rows in chosen.values()):
            raise ValueError("representatives do not fit the descriptor")
        lengths = [np.linalg.norm(rows, axis=1) for rows in chosen.values()]
        if not all(len(of) and (np.isclose(of, 1.0, atol=1e-6) | (of == 0.0)).all() for of in lengths):
            raise ValueError("representatives are no rows of unit length")
        return KernelBasis(described, tuple(sorted(species)), self.zeta, chosen)


@dataclass(frozen=True, eq=False)
class KernelBasis:
    """The functions φ of every atom; those of elements with fewer representatives end with zeros.

    Parameters
    ----------
    descriptor
        Of atoms.
    species
        Atomic numbers, ascending.
    zeta
        ζ.
    representatives
        Unit descriptor rows (M, D) by atomic number.
    """

    descriptor: Descriptor
    species: tuple[int, ...]
    zeta: int
    representatives: Mapping[int, FloatArray]

    @cached_property
    def _roots(self) -> dict[int, FloatArray]:
        result = {}
        for z, rows in self.representatives.items():
            kernel = (rows @ rows.T) ** self.zeta
            kernel[np.diag_indices(len(kernel))] += _NOTHING_NEW
            result[z] = scipy.linalg.cholesky(kernel, lower=True)
        return result

    def ranks(self, irrep: Irrep) -> IntArray:
        """Return 1 for each function."""
        del irrep
        return np.ones(max(len(rows) for rows in self.representatives.values()), dtype=np.int64)

    def arrays(self) -> dict[str, FloatArray]:
        """Return what `KernelSettings.basis_from` takes."""
        return {_key(z): rows for z, rows in self.representatives.items()}

    def evaluate(self, structure: Structure, atoms: IntArray | None = None) -> dict[Irrep, FloatArray]:
        """Return the functions (atoms, M, 1), of some atoms or of all; `InputError` for an unknown element."""
        require_known_species(structure, self.species, knower="the kernel")
        chosen = np.arange(len(structure)) if atoms is None else np.asarray(atoms)
        rows = unit_rows(self.descriptor.rows(structure))[chosen]
        result = np.zeros((len(chosen), len(self.ranks(_SCALAR))))
        for z, others in self.representatives.items():
            here = np.flatnonzero(structure.numbers[chosen] == z)
            kernel = (rows[here] @ others.T) ** self.zeta
            result[here, : len(others)] = scipy.linalg.solve_triangular(self._roots[z], kernel.T, lower=True).T
        return {_SCALAR: result[:, :, None]}


def _key(z: int) -> str:
    return f"representatives_{chemical_symbols[z]}"


def _pivots(rows: FloatArray, zeta: int, count: int) -> IntArray:
    """Return the pivots of an incomplete Cholesky decomposition of a kernel of unit rows, in their order."""
    left = np.ones(len(rows))
    columns = np.zeros((min(count, len(rows)), len(rows)))
    chosen: list[int] = []
    for step in range(len(columns)):
        pivot = int(np.argmax(left))
        if left[pivot] < _NOTHING_NEW:
            break
        kernel = (rows @ rows[pivot]) ** zeta
        columns[step] = (kernel - columns[:step].T @ columns[:step, pivot]) / np.sqrt(left[pivot])
        left = np.maximum(left - columns[step] ** 2, 0.0)
        left[pivot] = 0.0
        chosen.append(pivot)
    return np.array(chosen, dtype=np.int64)
