"""Structures that a potential was fitted to, and how far another lies from the nearest of them by the REMatch kernel.

The thesis on failing potentials (chapter 13) stops its active learner by this distance of whole structures; here the
rows are ACE functions, which need no other library, in place of SOAP. The kernel dilutes what happens at one atom of N
by 1/N, so that it notices other densities and phases long before two atoms that collide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forcewright.descriptors.ace import AceDescriptor
from forcewright.descriptors.environments import basis_for
from forcewright.descriptors.kernels import StructureKernel, kernel_distances
from forcewright.structure import FloatArray, IntArray, Structure

_MOST_FRAMES, _MOST_ATOMS = 400, 20_000  # of which this is affordable
_KERNEL = StructureKernel("rematch", normalized=False)


@dataclass(frozen=True, eq=False)
class KnownStructures:
    """Structures by the rows of their atoms.

    Attributes
    ----------
    species
        Atomic numbers, ascending.
    cutoff
        Range of the functions in Å.
    rows
        ACE functions (N, D) of the atoms of each structure.
    """

    species: tuple[int, ...]
    cutoff: float
    rows: Sequence[FloatArray]

    @classmethod
    def of(cls, species: Sequence[int], cutoff: float, structures: Sequence[Structure]) -> KnownStructures:
        """Return structures as they are described within a potential's cutoff (Å)."""
        basis = basis_for(species, cutoff)
        described = [AceDescriptor(basis).rows(structure) for structure in structures]
        return cls(basis.species, basis.cutoffs[0][0], described)

    @cached_property
    def _descriptor(self) -> AceDescriptor:
        return AceDescriptor(basis_for(self.species, self.cutoff))

    @cached_property
    def _self_matches(self) -> FloatArray:
        return _with_themselves(self.rows)

    def describe(self, structure: Structure) -> FloatArray:
        """Return the rows (N, D) of a structure."""
        return self._descriptor.rows(structure)

    def distances(self, structure: Structure) -> FloatArray:
        """Return the distance of the structure to the nearest that is known, once for each of its atoms (N,).

        Infinite where it holds an element that is not known.
        """
        if not np.isin(structure.numbers, self.species).all():
            return np.full(len(structure), np.inf)
        return np.full(len(structure), self.distance_of(self.describe(structure)))

    def distance_of(self, rows: FloatArray) -> float:
        """Return the distance of a structure of these rows to the nearest that is known."""
        kernel = _KERNEL.matrix([rows], self.rows)[0] / np.sqrt(_with_themselves([rows])[0] * self._self_matches)
        return float(kernel_distances(kernel).min())

    def distances_to_others(self, folds: IntArray) -> FloatArray:
        """Return the distance (A,) of each structure to the nearest of other folds; infinite where there is none."""
        kernel = _KERNEL.matrix(self.rows) / np.sqrt(np.multiply.outer(self._self_matches, self._self_matches))
        others = np.not_equal.outer(folds, folds)
        return np.asarray(np.where(others, kernel_distances(kernel), np.inf).min(axis=1))

    def to_arrays(self) -> dict[str, FloatArray]:
        """Return arrays that `from_arrays` reads."""
        return {
            "species": np.array(self.species), "cutoff": np.array(self.cutoff),
            "atoms": np.array([len(rows) for rows in self.rows]),
            "rows": np.concatenate(self.rows).astype(np.float32),
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray]) -> KnownStructures:
        """Read what `to_arrays` returned; ValueError or KeyError where that is not what the arrays are."""
        ends = np.cumsum(np.asarray(arrays["atoms"], dtype=np.int64))
        rows = np.asarray(arrays["rows"], dtype=np.float64)
        read = cls(tuple(int(z) for z in arrays["species"]), float(arrays["cutoff"]), np.split(rows, ends[:-1]))
        if not len(ends) or ends[-1] != len(rows) or rows.ndim != 2 or rows.shape[1] != read._descriptor.size:
            raise ValueError(f"rows of the shape {rows.shape} are not those of {len(ends)} structures")
        return read


def affordable(structures: Sequence[Structure]) -> IntArray:
    """Return which of many structures are compared: all, or a part, evenly."""
    atoms = sum(map(len, structures))
    count = min(len(structures), _MOST_FRAMES, max(1, int(len(structures) * _MOST_ATOMS / max(atoms, 1))))
    return np.unique(np.linspace(0, len(structures) - 1, count).astype(np.int64))


def _with_themselves(rows: Sequence[FloatArray]) -> FloatArray:
    """Return the kernel (A,) of every structure with itself."""
    return np.array([_KERNEL.matrix([of])[0, 0] for of in rows])
