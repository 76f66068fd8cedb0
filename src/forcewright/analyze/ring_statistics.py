"""Shortest-path rings of a bonded network.

A ring is a shortest-path ring if no two of its atoms are closer in the network than along the ring (Franzblau, Phys.
Rev. B 44, 4925 (1991)); these are the primitive rings of Yuan and Cormack, Comput. Mater. Sci. 24, 343 (2002).

The n atoms of a ring are placed from both sides of a root: positions 0, 1, n - 1, 2, n - 2 … Every atom placed must
have to every other a distance in the network equal to that along the ring, which is the definition, tested as early
as possible. Positions next to each other have distance 1, so that the ring closes by itself.

A ring must not close through an image of itself. Where the cell is thinner than the longest ring could span, the
network is repeated until it is not, and the atoms of the first cell alone serve as roots.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from forcewright.analyze.cutoff import Bonds, Cutoff, bonded
from forcewright.analyze.frames import at_least
from forcewright.analyze.pair_histogram import worker_threads
from forcewright.analyze.result import Axes, Result
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.threads import thread_count
from forcewright.trajectory import Frames


@dataclass(frozen=True, eq=False)
class RingStatistics(Result):
    """Averages over the frames; see `rings`.

    ==============  ===============================================================================
    size            number of atoms of a ring (M,), 3 … max_size
    rings_per_atom  number of rings of each size (M,) divided by the number of atoms of the network
    atoms_in_rings  share of the atoms (M,) that belong to at least one ring of that size
    deviation       standard deviation of ``rings_per_atom`` (M,) over the frames
    cutoff          longest bonds in Å, for pairs of species
    frames          number of frames
    ==============  ===============================================================================
    """

    units = {"cutoff": "Å"}

    size: IntArray
    rings_per_atom: FloatArray
    atoms_in_rings: FloatArray
    deviation: FloatArray
    cutoff: dict[tuple[str, str], float]
    frames: int

    def _draw(self, ax: Axes) -> None:
        ax.bar(self.size, self.rings_per_atom, yerr=self.deviation if self.frames > 1 else None, color="0.5")
        ax.set(xlabel="atoms in the ring", ylabel="rings per atom", xticks=self.size)


def rings(frames: Frames, cutoff: Cutoff = None, max_size: int = 12) -> RingStatistics:
    """Count the shortest-path rings of each size.

    Parameters
    ----------
    frames
        With periodic or open directions; cells of any size.
    cutoff
        Longest bond in Å, for all pairs or as ``{("Si", "O"): 2.0}``; else the first minimum of g(r) of the first
        frames. Species in no pair are no part of the network: ``{("O", "O"): 3.5}`` gives the rings of oxygen atoms
        in water.
    max_size
        Atoms of the largest ring looked for.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, or an argument is invalid.
    """
    max_size = at_least(max_size, 3, "max_size")
    bonds, stream = bonded(frames, cutoff)
    nodes = {symbol for pair in bonds.table for symbol in pair}
    amounts, members = [], np.zeros(max_size + 1)
    with worker_threads() as pool:
        for snapshot in stream:
            structure = snapshot.structure
            size = int(np.isin(bonds.kinds(structure), [bonds.species.index(a) for a in nodes]).sum())
            amount, belongs = _count_rings(structure, bonds, max_size, pool)
            amounts.append(amount / size)
            members += belongs / size
    return RingStatistics(
        size=np.arange(3, max_size + 1), rings_per_atom=np.mean(amounts, axis=0)[3:],
        atoms_in_rings=members[3:] / len(amounts), deviation=np.std(amounts, axis=0)[3:], cutoff=bonds.table,
        frames=len(amounts),
    )  # fmt: skip


def _count_rings(
    structure: Structure, bonds: Bonds, max_size: int, pool: ThreadPoolExecutor
) -> tuple[FloatArray, IntArray]:
    """Return the number of rings of each size (max_size + 1,) and of the atoms in them."""
    pairs = bonds.neighbors(structure)
    if len(pairs.indices) == 0:
        return np.zeros(max_size + 1), np.zeros(max_size + 1, dtype=np.int64)
    span = max_size * float(pairs.distances.max())
    heights = np.full(3, np.inf)  # between lattice planes in periodic directions
    heights[structure.pbc] = 1 / np.linalg.norm(np.linalg.pinv(structure.cell[structure.pbc]), axis=0)
    repeats = np.where(structure.pbc, np.floor(span / heights) + 1, 1).astype(int)
    roots = len(structure)
    if repeats.prod() > 1:
        # The first len(structure) atoms are those of the first cell.
        repeated = structure.to_ase().repeat(repeats)  # type: ignore[no-untyped-call]
        pairs = bonds.neighbors(Structure.from_ase(repeated))
    edges = np.linspace(0, roots, min(roots, 16 * thread_count()) + 1).astype(np.int64)
    belongs = np.zeros((max_size + 1, roots), dtype=np.bool_)  # threads write nothing but True
    parts = pool.map(
        lambda low, high: _rings_of(low, high, roots, pairs.starts, pairs.indices, max_size, belongs),
        edges[:-1], edges[1:],
    )  # fmt: skip
    counts = np.sum(list(parts), axis=0)[:, 1:] / np.arange(1, max_size + 1)
    return counts.sum(axis=1), belongs.sum(axis=1)


@njit(cache=True, nogil=True)
def _reach(
    center: int, depth: int, starts: Any, neighbors: Any, seen: Any, stamp: int, reached: Any, steps: Any
) -> int:
    """Write the nodes up to ``depth`` bonds from ``center`` and their distances; return how many there are.

    They go to ``found`` and ``steps``; ``seen[node] == stamp`` marks those met.
    """
    reached[0], steps[0] = center, 0
    seen[center] = stamp
    count, at = 1, 0
    while at < count and steps[at] < depth:
        node = reached[at]
        for k in range(starts[node], starts[node + 1]):
            other = neighbors[k]
            if seen[other] != stamp:
                seen[other] = stamp
                reached[count], steps[count] = other, steps[at] + 1
                count += 1
        at += 1
    return count


@njit(cache=True, nogil=True)
def _rings_of(low: int, high: int, homes: int, starts: Any, neighbors: Any, max_size: int, belongs: Any) -> Any:
    """Return the number of rings ``[size, k]`` that have an atom from ``low`` to ``high`` as their first, k times over.

    The first atom of a ring is that with the lowest index among the ``homes`` atoms of the cell. Where k images of it
    belong to the ring, the ring is found k times. The atoms of the rings are noted in ``belongs``.
    """
    nodes, depth = len(starts) - 1, max_size // 2
    seen, stamp = np.zeros(nodes, np.int64), 0
    nearby, steps = np.empty(nodes, np.int64), np.empty(nodes, np.int64)
    local = np.full(nodes, -1, np.int64)
    counts = np.zeros((max_size + 1, max_size + 1), np.int64)
    ring, position = np.empty(max_size, np.int64), np.empty(max_size, np.int64)
    cursor = np.empty(max_size, np.int64)
    for root in range(low, high):
        stamp += 1
        ball = _reach(root, depth, starts, neighbors, seen, stamp, nearby, steps)
        members = nearby[:ball].copy()
        for k in range(ball):
            local[members[k]] = k
        # distance[row[x], y] in the network between x, y near the root; 255 beyond depth; rows made when needed
        distance = np.full((ball, ball), 255, np.uint8)
        for k in range(ball):
            distance[0, k] = steps[k]
        known = np.zeros(ball, np.bool_)
        known[0] = True
        for size in range(3, max_size + 1):
            ring[0], position[0] = 0, 0
            last = 1
            cursor[1] = starts[root]
            while last > 0:
                # odd places of the order go up from the root, even ones down
                here = (last + 1) // 2 if last % 2 == 1 else size - last // 2
                before = members[ring[max(last - 2, 0)]]
                if cursor[last] == starts[before + 1]:
                    last -= 1
                    continue
                node = neighbors[cursor[last]]
                cursor[last] += 1
                x = local[node]
                if x < 0 or node % homes < root or (last == 2 and x < ring[1]):
                    continue
                fits = True
                for m in range(last):
                    along = abs(here - position[m])
                    if distance[ring[m], x] != min(along, size - along):
                        fits = False
                        break
                if not fits:
                    continue
                ring[last], position[last] = x, here
                if last == size - 1:
                    copies = 0
                    for m in range(size):
                        home = members[ring[m]] % homes
                        belongs[size, home] = True
                        copies += home == root
                    counts[size, copies] += 1
                    continue
                if not known[x]:
                    known[x] = True
                    stamp += 1
                    reached = _reach(node, depth, starts, neighbors, seen, stamp, nearby, steps)
                    for k in range(reached):
                        if local[nearby[k]] >= 0:
                            distance[x, local[nearby[k]]] = steps[k]
                last += 1
                cursor[last] = starts[members[ring[max(last - 2, 0)]]]
        for k in range(ball):
            local[members[k]] = -1
    return counts
