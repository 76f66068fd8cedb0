"""Pairs of neighbors behind one function, and a cache of them for molecular dynamics.

Atoms and those of their periodic images that lie within the cutoff of the cell are sorted into bins of half the cutoff,
so that the search needs no wrapping; the time per atom does not depend on the number of atoms. All pairs of atoms come
from here; SciPy's trees serve only points that are not atoms (descriptors, vertices of voids).

=========  ============  ==================================================================
array      shape         meaning
=========  ============  ==================================================================
starts     (N·G + 1,)    pairs of center i in group g: ``starts[i*G + g]`` to ``starts[i*G + g + 1]``
indices    (M,)          the neighbor j of each pair
vectors    (M, 3)        r_ij = r_j - r_i + shift, from the center to the neighbor, in Å
=========  ============  ==================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from forcewright.errors import InputError
from forcewright.open_cell import compact, complement, heights
from forcewright.structure import FloatArray, IntArray, Structure

IndexArray = NDArray[np.int32]

# Bins per cutoff: with two, 125 bins hold 3.7 times as many atoms as the sphere, with one 27 bins hold 6.4 times.
_BINS_PER_CUTOFF = 2
_MOST_POINTS = 5e7  # atoms and images; at about 100 bytes each this is 5 GB
_NO_GROUPS = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Neighbors:
    """All pairs closer than a cutoff, sorted by center and by the group of the neighbor; see the module's table.

    Every pair stands twice, once for each of its atoms; the order of neighbors within a group means nothing.
    """

    starts: IntArray
    indices: IndexArray
    vectors: FloatArray
    groups: int = 1

    @property
    def centers(self) -> IntArray:
        """The center i of each pair (M,)."""
        rows = self.starts[:: self.groups]
        return np.repeat(np.arange(len(rows) - 1), np.diff(rows))

    @property
    def distances(self) -> FloatArray:
        """The length of each vector (M,) in Å."""
        lengths: FloatArray = np.linalg.norm(self.vectors, axis=1)
        return lengths

    def grouped(self, group_of: ArrayLike, groups: int) -> Neighbors:
        """Return the same pairs sorted by center and then by the group of the neighbor."""
        centers = self.centers
        keys = centers * groups + np.asarray(group_of)[self.indices]
        order = np.argsort(keys, kind="stable")
        rows = (len(self.starts) - 1) // self.groups
        starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=rows * groups))])
        return Neighbors(starts, self.indices[order], self.vectors[order], groups)


def find_neighbors(
    structure: Structure, cutoff: float, *, group_of: ArrayLike | None = None, groups: int = 1
) -> Neighbors:
    """Find all pairs closer than ``cutoff``, periodic images of the center itself included.

    Parameters
    ----------
    structure
        Any mixture of periodic and open directions; the cell may be smaller than the cutoff.
    cutoff
        In Å, above 0.
    group_of
        A group 0 … groups - 1 for each atom, such as its species; pairs of a center are then sorted by it.

    Raises
    ------
    InputError
        If the cutoff is not above 0, a periodic direction has no cell vector, or a position is not finite.
    """
    return NeighborSearch(structure, cutoff, group_of=group_of, groups=groups).all()


class NeighborSearch:
    """A structure sorted into bins, from which the neighbors of some atoms at a time are had: memory stays bounded.

    Parameters and errors are those of `find_neighbors`.
    """

    def __init__(
        self, structure: Structure, cutoff: float, *, group_of: ArrayLike | None = None, groups: int = 1
    ) -> None:
        if not (np.isfinite(cutoff) and cutoff > 0):
            raise InputError(f"is {cutoff}; it must be a length above 0 Å", field="cutoff")
        if not np.isfinite(structure.positions).all():
            bad = int(np.flatnonzero(~np.isfinite(structure.positions).all(axis=1))[0])
            raise InputError(f"atom {bad} stands at {structure.positions[bad].tolist()}", field="positions")
        cell = compact(_complete_cell(structure), structure.pbc)
        margins = cutoff / heights(cell) * (1 + 1e-12)
        images = float(np.prod(1 + 2 * margins[structure.pbc])) * len(structure)
        if images > _MOST_POINTS:
            raise InputError(
                f"is {cutoff:g} Å, within which {len(structure)} atoms have about {images:.1g} periodic images; "
                f"at most {_MOST_POINTS:.0e} are searched: make it smaller", field="cutoff",
            )  # fmt: skip
        self.count = len(structure)
        self.cutoff, self.groups = float(cutoff), int(groups)
        self._group_of = _NO_GROUPS if group_of is None else np.ascontiguousarray(group_of, dtype=np.int32)
        fractions = structure.positions @ np.linalg.inv(cell)
        fractions[:, structure.pbc] -= np.floor(fractions[:, structure.pbc])
        self._bins = _fill_bins(fractions, cell, structure.pbc, margins, float(_BINS_PER_CUTOFF))

    def all(self) -> Neighbors:
        """Return the pairs of all atoms."""
        starts = np.empty(self.count * self.groups + 1, dtype=np.int64)
        guess = 16 * self.count + 64
        every = np.arange(self.count, dtype=np.int32)
        indices, vectors = self.of(every, starts, np.empty(guess, dtype=np.int32), np.empty((guess, 3)))
        count = int(starts[-1])
        return Neighbors(starts, indices[:count], vectors[:count], self.groups)

    def of(
        self, centers: IndexArray, starts: IntArray, indices: IndexArray, vectors: FloatArray
    ) -> tuple[IndexArray, FloatArray]:
        """Write the pairs of ``centers`` (n,) into ``starts`` (n·groups + 1,), ``indices`` and ``vectors``.

        The last two are returned, or larger ones where they were too small. Releases the interpreter lock.
        """
        others = (self.cutoff**2, centers, self._group_of, self.groups, starts, indices, vectors)
        filled: tuple[IndexArray, FloatArray] = _search(*self._bins, *others)  # type: ignore[call-arg]
        return filled


def _complete_cell(structure: Structure) -> FloatArray:
    """Return the cell with unit vectors, at right angles to the others, for open directions without a cell vector."""
    cell = np.array(structure.cell)
    missing = ~cell.any(axis=1)
    if (missing & structure.pbc).any():
        axis = int(np.flatnonzero(missing & structure.pbc)[0])
        raise InputError(f"direction {axis} is periodic but its cell vector is zero", field="cell")
    if missing.any():
        cell[missing] = complement(cell[~missing])
    if _is_flat(cell) and not structure.pbc.all():  # vectors of open directions mean nothing
        cell[~structure.pbc] = complement(cell[structure.pbc])
    if _is_flat(cell):
        raise InputError("the cell vectors lie in a plane; they must span a volume", field="cell")
    return cell


def _is_flat(cell: FloatArray) -> bool:
    return bool(abs(np.linalg.det(cell)) < 1e-9 * np.linalg.norm(cell, axis=1).prod())


@njit(cache=True, nogil=True)
def _fill_bins(fractions, cell, pbc, margins, per_cutoff):  # type: ignore[no-untyped-def]
    """Sort atoms and images within ``margins`` (in fractions of the cell) into bins.

    Returns bin counts (3,), reach (3,), the bin of each atom (N, 3), its place among the points (N,), bin starts,
    point coordinates (points, 3 rows), and the atom of each point.
    """
    count = len(fractions)
    low, high = np.zeros((count, 3), np.int64), np.zeros((count, 3), np.int64)
    points = 0
    for i in range(count):
        images = 1
        for d in range(3):
            if pbc[d]:
                low[i, d] = int(np.ceil(-margins[d] - fractions[i, d]))
                high[i, d] = int(np.floor(1 + margins[d] - fractions[i, d]))
            images *= high[i, d] - low[i, d] + 1
        points += images
    origin, width, shape = np.empty(3), np.empty(3), np.empty(3, np.int64)
    upper = np.empty(3)
    for d in range(3):
        origin[d] = -margins[d] if pbc[d] else fractions[:, d].min()
        upper[d] = 1 + margins[d] if pbc[d] else fractions[:, d].max()
        width[d] = margins[d] / per_cutoff * (1 + 1e-9)
    # Atoms far apart in open directions would need more bins than there are atoms: wider bins then.
    while True:
        total = 1.0
        for d in range(3):
            total *= np.floor((upper[d] - origin[d]) / width[d]) + 1
        if total <= 8.0 * points + 512.0:
            break
        for d in range(3):
            width[d] *= 1.25
    reach = np.empty(3, np.int64)
    for d in range(3):
        shape[d] = int((upper[d] - origin[d]) / width[d]) + 1
        reach[d] = int(np.ceil(margins[d] / width[d]))
    bins = np.empty(points, np.int64)
    unsorted = np.empty((3, points))
    owner = np.empty(points, np.int32)
    home = np.empty((count, 3), np.int64)
    first = np.empty(count, np.int64)
    k = 0
    at = np.empty(3, np.int64)
    f = np.empty(3)
    for i in range(count):
        for sx in range(low[i, 0], high[i, 0] + 1):
            for sy in range(low[i, 1], high[i, 1] + 1):
                for sz in range(low[i, 2], high[i, 2] + 1):
                    f[0], f[1], f[2] = fractions[i, 0] + sx, fractions[i, 1] + sy, fractions[i, 2] + sz
                    for d in range(3):
                        at[d] = min(max(int((f[d] - origin[d]) / width[d]), 0), shape[d] - 1)
                        unsorted[d, k] = f[0] * cell[0, d] + f[1] * cell[1, d] + f[2] * cell[2, d]
                    bins[k] = (at[0] * shape[1] + at[1]) * shape[2] + at[2]
                    owner[k] = i
                    if sx == 0 and sy == 0 and sz == 0:
                        for d in range(3):
                            home[i, d] = at[d]
                        first[i] = k
                    k += 1
    starts = np.zeros(shape[0] * shape[1] * shape[2] + 1, np.int64)
    for k in range(points):
        starts[bins[k] + 1] += 1
    for b in range(len(starts) - 1):
        starts[b + 1] += starts[b]
    cursor = starts[:-1].copy()
    slot = np.empty(points, np.int64)
    coordinates, atom_of = np.empty((3, points)), np.empty(points, np.int32)
    for k in range(points):
        p = cursor[bins[k]]
        cursor[bins[k]] += 1
        slot[k] = p
        atom_of[p] = owner[k]
        for d in range(3):
            coordinates[d, p] = unsorted[d, k]
    for i in range(count):
        first[i] = slot[first[i]]
    return shape, reach, home, first, starts, coordinates, atom_of


@njit(cache=True, nogil=True)
def _search(  # type: ignore[no-untyped-def]
    shape, reach, home, first, bin_starts, coordinates, atom_of, cutoff2, centers, group_of, groups, starts, indices,
    vectors,
):  # fmt: skip
    """Collect the pairs of ``centers``; arguments before ``cutoff2`` are what `_fill_bins` returns."""
    xs, ys, zs = coordinates[0], coordinates[1], coordinates[2]
    picked = np.empty(1024, np.int64)
    cursor = np.empty(groups + 1, np.int64)
    filled = 0
    starts[0] = 0
    for c in range(len(centers)):
        i = centers[c]
        center = first[i]
        x, y, z = xs[center], ys[center], zs[center]
        z_low, z_high = max(home[i, 2] - reach[2], 0), min(home[i, 2] + reach[2], shape[2] - 1) + 1
        count = 0
        for bx in range(max(home[i, 0] - reach[0], 0), min(home[i, 0] + reach[0], shape[0] - 1) + 1):
            for by in range(max(home[i, 1] - reach[1], 0), min(home[i, 1] + reach[1], shape[1] - 1) + 1):
                column = (bx * shape[1] + by) * shape[2]
                begin, end = bin_starts[column + z_low], bin_starts[column + z_high]
                if count + end - begin > len(picked):
                    larger = np.empty(2 * (count + end - begin), np.int64)
                    for k in range(count):
                        larger[k] = picked[k]
                    picked = larger
                for p in range(begin, end):
                    dx, dy, dz = xs[p] - x, ys[p] - y, zs[p] - z
                    # Written always and kept if near: no branch to mispredict.
                    picked[count] = p
                    count += (dx * dx + dy * dy + dz * dz < cutoff2) & (p != center)
        if filled + count > len(indices):
            room = int(1.3 * (filled + count) / (c + 1) * len(centers)) + 1024
            more_indices, more_vectors = np.empty(room, np.int32), np.empty((room, 3))
            for k in range(filled):
                more_indices[k] = indices[k]
                for d in range(3):
                    more_vectors[k, d] = vectors[k, d]
            indices, vectors = more_indices, more_vectors
        if groups == 1:
            for k in range(count):
                p = picked[k]
                indices[filled + k] = atom_of[p]
                vectors[filled + k, 0], vectors[filled + k, 1], vectors[filled + k, 2] = xs[p] - x, ys[p] - y, zs[p] - z
            starts[c + 1] = filled + count
        else:
            cursor[:] = 0
            for k in range(count):
                cursor[group_of[atom_of[picked[k]]] + 1] += 1
            cursor[0] = filled
            for g in range(groups):
                cursor[g + 1] += cursor[g]
                starts[c * groups + g + 1] = cursor[g + 1]
            for k in range(count):
                p = picked[k]
                j = atom_of[p]
                q = cursor[group_of[j]]
                cursor[group_of[j]] += 1
                indices[q] = j
                vectors[q, 0], vectors[q, 1], vectors[q, 2] = xs[p] - x, ys[p] - y, zs[p] - z
        filled += count
    return indices, vectors


@njit(cache=True, nogil=True)
def _move(starts, groups, indices, positions, offsets, vectors):  # type: ignore[no-untyped-def]
    """Write r_j - r_i + offset of every pair into ``vectors``."""
    for i in range(len(positions)):
        for k in range(starts[i * groups], starts[(i + 1) * groups]):
            for d in range(3):
                vectors[k, d] = positions[indices[k], d] - positions[i, d] + offsets[k, d]


@dataclass(frozen=True, eq=False)
class _Listed:
    """A list made with the skin: where the atoms stood, and r_ij - (r_j - r_i) of each pair."""

    structure: Structure
    neighbors: Neighbors
    offsets: FloatArray


@dataclass(eq=False)
class NeighborCache:
    """Neighbors within ``cutoff + skin``, found anew only when a pair within ``cutoff`` could be missing.

    The list is reused while no atom has moved more than half the skin since it was made and numbers, cell and pbc are
    the same. What `neighbors` returns holds pairs up to ``cutoff + skin`` and is overwritten by the next call, so one
    cache serves one trajectory in one thread.
    """

    cutoff: float
    skin: float = 0.5
    groups: int = 1
    rebuilds: int = field(default=0, init=False)
    _listed: _Listed | None = field(default=None, init=False, repr=False)

    def neighbors(self, structure: Structure, group_of: ArrayLike | None = None) -> Neighbors:
        """Return the pairs of ``structure``; arguments and errors as in `find_neighbors`."""
        if self._listed is None or not self._still_holds(self._listed, structure):
            self._listed = self._list(structure, group_of)
            self.rebuilds += 1
        else:
            kept = self._listed.neighbors
            _move(kept.starts, kept.groups, kept.indices, structure.positions, self._listed.offsets, kept.vectors)
        return self._listed.neighbors

    def _still_holds(self, listed: _Listed, structure: Structure) -> bool:
        old = listed.structure
        same = all(np.array_equal(getattr(old, name), getattr(structure, name)) for name in ("numbers", "cell", "pbc"))
        if not same:
            return False
        moved = structure.positions - old.positions
        return bool(np.einsum("ij,ij->i", moved, moved).max() <= (0.5 * self.skin) ** 2)

    def _list(self, structure: Structure, group_of: ArrayLike | None) -> _Listed:
        pairs = find_neighbors(structure, self.cutoff + self.skin, group_of=group_of, groups=self.groups)
        offsets = np.zeros_like(pairs.vectors)
        plain = np.empty_like(pairs.vectors)
        _move(pairs.starts, pairs.groups, pairs.indices, structure.positions, offsets, plain)
        return _Listed(structure, replace(pairs, vectors=pairs.vectors.copy()), pairs.vectors - plain)
