"""Which atoms count as bonded: cutoffs as given, or the first minimum of g(r)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, combinations_with_replacement, pairwise

import numpy as np

from forcewright.analyze.frames import length, same_atoms, species_index, symbols_of
from forcewright.errors import InputError
from forcewright.neighbors import Neighbors, find_neighbors
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.trajectory import Frames, Snapshot

#: One length in Å for all pairs; or one per pair of species, where pairs left out do not bond; or None for the first
#: minimum of g(r).
Cutoff = float | Mapping[tuple[str, str], float] | None

_SEARCHED = 7.0  # Å in which the first minimum is looked for
_WIDTH = 0.05  # Å per bin
_FRAMES, _ATOMS = 20, 20_000  # the first frames, until one of these is reached


class Bonds:
    """Finds the bonded neighbors in the structures of one composition.

    =======  ===============================================================================
    species  symbols, by ascending atomic number
    table    cutoffs in Å for every pair (a, b), a not after b in ``species``, that can bond
    =======  ===============================================================================
    """

    def __init__(self, species: tuple[str, ...], table: Mapping[tuple[str, str], float]) -> None:
        self.species, self.table = species, dict(table)
        index_of = {symbol: index for index, symbol in enumerate(self.species)}
        self._squares = np.zeros((len(index_of), len(index_of)))
        for (a, b), value in self.table.items():
            self._squares[index_of[a], index_of[b]] = self._squares[index_of[b], index_of[a]] = value**2

    def up_to(self, cutoff: float) -> Bonds:
        """Return bonds of the same species with another cutoff for all pairs."""
        return Bonds(self.species, _complete_table(cutoff, self.species))

    @property
    def longest(self) -> float:
        """The largest of the cutoffs in Å."""
        return max(self.table.values())

    def kinds(self, structure: Structure) -> IntArray:
        """Return the place of each atom (N,) in ``species``."""
        return species_index(structure, self.species)

    def neighbors(self, structure: Structure) -> Neighbors:
        """Return the bonded pairs, each twice, sorted by center."""
        pairs = find_neighbors(structure, self.longest)
        if len(set(self._squares.ravel())) == 1:
            return pairs
        kinds, centers = self.kinds(structure), pairs.centers
        squares = np.einsum("ij,ij->i", pairs.vectors, pairs.vectors)
        kept = squares < self._squares[kinds[centers], kinds[pairs.indices]]
        starts = np.concatenate([[0], np.cumsum(np.bincount(centers[kept], minlength=len(structure)))])
        return Neighbors(starts, pairs.indices[kept], pairs.vectors[kept])


def bonded(frames: Frames, cutoff: Cutoff, *, ordered: bool = False) -> tuple[Bonds, Iterator[Snapshot]]:
    """Return what is bonded and the snapshots of ``frames``, checked as by `same_atoms`.

    Without ``cutoff``, the first minimum of g(r) in the first frames serves all pairs (see `first_minimum`). InputError
    if a cutoff is not a length, names a species the frames do not hold, or there is no minimum.
    """
    stream = same_atoms(frames, ordered=ordered)
    head = [next(stream)]
    if cutoff is None:
        while len(head) < _FRAMES and len(head) * len(head[0]) < _ATOMS:
            more = next(stream, None)
            if more is None:
                break
            head.append(more)
        edges = np.arange(0.0, _SEARCHED + _WIDTH / 2, _WIDTH)
        counts = np.zeros(len(edges) - 1)
        for snapshot in head:
            counts += np.histogram(find_neighbors(snapshot.structure, _SEARCHED).distances, edges)[0]
        r = 0.5 * (edges[1:] + edges[:-1])
        cutoff = first_minimum(r, counts / r**2)
    species = symbols_of(head[0].structure)
    return Bonds(species, _complete_table(cutoff, species)), chain(head, stream)


def _complete_table(
    cutoff: float | Mapping[tuple[str, str], float], species: tuple[str, ...]
) -> dict[tuple[str, str], float]:
    pairs = list(combinations_with_replacement(species, 2))
    if not isinstance(cutoff, Mapping):
        return dict.fromkeys(pairs, length(cutoff, "cutoff"))
    table: dict[tuple[str, str], float] = {}
    for pair, value in cutoff.items():
        if not (isinstance(pair, tuple) and len(pair) == 2 and set(pair) <= set(species)):
            raise InputError(f"names {pair!r}; give pairs of the species {', '.join(species)}", field="cutoff")
        key = pair if pair in pairs else (pair[1], pair[0])
        if table.setdefault(key, length(value, "cutoff")) != value:
            raise InputError(f"gives two lengths for {pair[0]} and {pair[1]}", field="cutoff")
    if not table:
        raise InputError("names no pair of species", field="cutoff")
    return table


def first_minimum(r: FloatArray, g: FloatArray) -> float:
    """Return where g(r) is lowest between its first and its second peak.

    g is smoothed with weights 1, 2, 1. Its first peak is the highest point before it falls to half of that, if that is
    at least a fifth of the highest point of all; the second begins where g has risen from the lowest point since by a
    twentieth of the first peak. Where g is flat at its lowest, as in a crystal, the middle is returned. InputError if
    there is no peak or no rise after it.
    """
    smooth = np.convolve(np.pad(g, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    enough, peak, lowest = 0.2 * smooth.max(), 0, -1
    for k, value in enumerate(smooth):
        if lowest < 0:  # on the first peak
            if value > smooth[peak]:
                peak = k
            if smooth[peak] > enough and value < 0.5 * smooth[peak]:
                lowest = k
        elif value < smooth[lowest]:
            lowest = k
        elif value > smooth[lowest] + 0.05 * smooth[peak]:
            flat = np.flatnonzero(smooth[lowest:k] <= smooth[lowest] + 0.005 * smooth[peak]) + lowest
            run = next((i for i, (a, b) in enumerate(pairwise(flat)) if b != a + 1), len(flat) - 1)
            return float(0.5 * (r[flat[0]] + r[flat[run]]))
    raise InputError("g(r) has no first minimum within 7 Å; give the cutoff in Å", field="cutoff")
