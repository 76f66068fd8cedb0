"""Errors of the forces on single atoms: a mean over a set must not hide the two atoms that are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from scipy.spatial.distance import cdist

from forcewright.structure import FloatArray, IntArray, Structure

_BONDED = 1.25  # times the sum of covalent radii
_SHARED = 0.7  # of the bonds of the first frame, for atoms of one index to be the same atom
_LARGEST = 400  # atoms beyond which bonds are not compared


@dataclass(frozen=True, eq=False)
class AtomTable:
    """The atoms of a set in one row: where each is, and what it is.

    Attributes
    ----------
    frame, index
        Frame and number in its frame of each atom (A,).
    numbers
        Atomic numbers (A,).
    same
        Whether atoms of one index are the same atom of one molecule in all frames.
    """

    frame: IntArray
    index: IntArray
    numbers: IntArray
    same: bool

    @classmethod
    def of(cls, structures: Sequence[Structure], same: bool | None = None) -> AtomTable:
        """Return the table of structures; whether atoms are the same is seen from their bonds, unless it is said."""
        sizes = np.array([len(structure) for structure in structures])
        frame = np.repeat(np.arange(len(sizes)), sizes)
        index = np.concatenate([np.arange(size) for size in sizes])
        numbers = np.concatenate([structure.numbers for structure in structures]).astype(np.int64)
        return cls(frame, index, numbers, are_same_atoms(structures) if same is None else same)

    def name(self, atom: int) -> str:
        """Return what an atom of the table is called, such as C4."""
        return f"{chemical_symbols[self.numbers[atom]]}{self.index[atom]}"

    def by_index(self, squares: FloatArray) -> FloatArray:
        """Return the mean over frames (N,) of what is known of each atom (A,), by its index."""
        known = np.isfinite(squares)
        sums = np.bincount(self.index[known], weights=squares[known], minlength=self.index.max() + 1)
        counts = np.bincount(self.index[known], minlength=self.index.max() + 1)
        return np.asarray(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))


def are_same_atoms(structures: Sequence[Structure]) -> bool:
    """Return whether atoms of one index are the same atom in all structures: the same elements and most bonds kept."""
    if len(structures) < 2 or len(structures[0]) > _LARGEST:
        return False
    first = structures[0]
    if any(not np.array_equal(first.numbers, other.numbers) for other in structures):
        return False
    bonds = _bonds(first)
    return bool(bonds.any()) and all(
        np.count_nonzero(bonds & _bonds(other)) >= _SHARED * np.count_nonzero(bonds) for other in structures[1:]
    )


def _bonds(structure: Structure) -> np.ndarray:
    """Return which pairs of atoms (N, N) are bonded, without periodic images: of molecules."""
    radii = covalent_radii[structure.numbers]
    near = cdist(structure.positions, structure.positions) < _BONDED * (radii[:, None] + radii)
    return np.asarray(np.triu(near, 1))


def share_of_worst(squares: FloatArray, count: int = 2) -> float:
    """Return the share of a sum of squares (N,) that its largest ones have; NaN where there is nothing."""
    known = np.sort(squares[np.isfinite(squares)])[::-1]
    total = float(known.sum())
    return float(known[:count].sum() / total) if total > 0 else float("nan")
