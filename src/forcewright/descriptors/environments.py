"""Environments of atoms, and how far one lies from all that a potential was fitted to, for potentials of any family.

An atom is described by the invariant functions of a small ACE basis, each scaled to a unit standard deviation over the
training atoms of its element. Its distance is that to the nearest of them, divided by the root of the number of
functions: it is about 1 where every function is off by as much as it varies in the training data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forcewright.descriptors.ace import ace_basis
from forcewright.features.ace.basis import AceBasis
from forcewright.structure import FloatArray, IntArray, Structure

_MOST = 4000  # environments of an element that are kept
_CONSTANT = 1e-10  # of the largest value: less spread than this is rounding
_BLOCK = 2_000_000  # distances computed at once

Described = Mapping[int, FloatArray]


@dataclass(frozen=True, eq=False)
class Environments:
    """Environments of training atoms, by element.

    Attributes
    ----------
    species
        Atomic numbers, ascending.
    cutoff
        Range of the functions in Å.
    functions
        Invariant functions per element.
    scales
        Standard deviation of each function (q,) over the atoms of an element; infinite where it does not vary.
    kept
        Scaled functions (K, q) of the atoms that are kept.
    """

    species: tuple[int, ...]
    cutoff: float
    functions: int
    scales: Described
    kept: Described

    @cached_property
    def _basis(self) -> AceBasis:
        return ace_basis(self.species, self.cutoff, self.functions)

    def distances(self, structure: Structure) -> FloatArray:
        """Return the distance of each atom (N,): infinite for those of an element that has not been seen."""
        return self.distances_of(structure.numbers, describe(self._basis, structure, self.species))

    def distances_of(self, numbers: IntArray, described: Described) -> FloatArray:
        """Return the distances of atoms (N,) of these atomic numbers, from what `describe` says of them."""
        distances = np.full(len(numbers), np.inf)
        for z, rows in described.items():
            if z in self.kept:
                distances[numbers == z] = nearest(rows / self.scales[z], self.kept[z])[0] / np.sqrt(rows.shape[1])
        return distances

    def to_arrays(self) -> dict[str, FloatArray]:
        """Return arrays that `from_arrays` reads."""
        arrays = {"species": np.array(self.species), "basis": np.array([self.cutoff, float(self.functions)])}
        for z in self.kept:
            scales = self.scales[z]
            arrays[f"scales_{z}"] = np.where(np.isfinite(scales), scales, 0.0)
            arrays[f"kept_{z}"] = self.kept[z].astype(np.float32)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray]) -> Environments:
        """Read what `to_arrays` returned; ValueError or KeyError where that is not what the arrays are."""
        species = tuple(int(z) for z in arrays["species"])
        cutoff, functions = (float(value) for value in arrays["basis"])
        scales, kept = {}, {}
        for z in (z for z in species if f"kept_{z}" in arrays):
            scales[z] = np.where(arrays[f"scales_{z}"] > 0, arrays[f"scales_{z}"], np.inf).astype(np.float64)
            kept[z] = np.asarray(arrays[f"kept_{z}"], dtype=np.float64)
            if kept[z].ndim != 2 or kept[z].shape[1] != len(scales[z]) or not len(kept[z]):
                raise ValueError(f"the environments of element {z} have the shape {kept[z].shape}")
        made = cls(species, cutoff, int(functions), scales, kept)
        for (functions_of, _), z in zip(made._basis.blocks(), species, strict=True):
            if z in scales and len(functions_of) != len(scales[z]):
                raise ValueError(f"{len(scales[z])} scales are not those of {len(functions_of)} functions")
        return made


def basis_for(species: Sequence[int], cutoff: float) -> AceBasis:
    """Return the basis that describes atoms of these species within a potential's cutoff (Å), or a shorter range."""
    usual = ace_basis(species)
    return usual if usual.cutoffs[0][0] <= cutoff else ace_basis(species, cutoff)


def describe(basis: AceBasis, structure: Structure, species: Sequence[int]) -> dict[int, FloatArray]:
    """Return the functions (n, q) of the atoms of each element that the basis knows, in the order of the atoms."""
    known = np.isin(structure.numbers, species)
    if not known.any():
        return {}
    if not known.all():  # neighbors that the basis does not know are passed over, their atoms are infinitely far
        structure = Structure(structure.numbers[known], structure.positions[known], structure.cell, structure.pbc)
    values = basis.project(structure)
    described = {}
    for z, (functions, start) in zip(basis.species, basis.blocks(), strict=True):
        of_element = structure.numbers == z
        if of_element.any():
            described[z] = values[of_element, start : start + len(functions)]
    return described


def environments_of(basis: AceBasis, frames: Sequence[Described]) -> Environments:
    """Return the environments of frames that a basis of `basis_for` describes.

    Of an element with more than a few thousand atoms as many are drawn, always the same.
    """
    rng = np.random.default_rng(0)
    scales, kept = {}, {}
    for z in sorted({z for frame in frames for z in frame}):
        rows = np.concatenate([frame[z] for frame in frames if z in frame])
        scales[z] = spreads(rows)
        if len(rows) > _MOST:
            rows = rows[np.sort(rng.choice(len(rows), _MOST, replace=False))]
        kept[z] = rows / scales[z]
    return Environments(basis.species, basis.cutoffs[0][0], len(basis.functions[0]), scales, kept)


def spreads(rows: FloatArray) -> FloatArray:
    """Return the standard deviation of each function (q,) over atoms (n, q); infinite where it does not vary."""
    spread = rows.std(axis=0)
    return np.where(spread > _CONSTANT * np.abs(rows).max(axis=0, initial=1e-300), spread, np.inf)


def nearest(rows: FloatArray, others: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the distance (n,) of each row (n, q) to the nearest of others (m, q), and which (n,) that is."""
    squares = np.einsum("kq,kq->k", others, others)
    indices = np.empty(len(rows), dtype=np.int64)
    step = max(1, _BLOCK // max(len(others), 1))
    for start in range(0, len(rows), step):
        indices[start : start + step] = (squares - 2.0 * rows[start : start + step] @ others.T).argmin(axis=1)
    return np.linalg.norm(rows - others[indices], axis=1), indices
