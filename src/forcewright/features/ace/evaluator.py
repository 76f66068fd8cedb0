"""Energies, forces and virial of an ACE potential, fast: tables made once, then compiled loops over blocks of atoms.

With the notation of `forcewright.features.ace.expansion`: E_i = F(ρ_1 … ρ_P) s + φ_i + E0, where ρ_p sums products of
A, φ_i = Σ_j φ(r_ij) is the core repulsion and s fades the expansion out where the core takes over. The gradients
dE_i/dr_ij follow from one reverse sweep through the products; force on i: Σ_j (dE_i/dr_ij - dE_j/dr_ji).

How: Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021) share products between functions; here they are coupled besides
(see `forcewright.features.ace.product_graph`) and swept for 16 atoms at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numba.core import event
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from forcewright.errors import InputError
from forcewright.features.ace import kernels
from forcewright.features.ace.design import recursion
from forcewright.features.ace.expansion import Bond, Expansion
from forcewright.features.ace.kernels import Buffers, CenterTables, run_blocks
from forcewright.features.ace.product_graph import ProductGraph, build_graph
from forcewright.features.ace.radial import tabulate
from forcewright.neighbors import Neighbors, NeighborSearch
from forcewright.structure import FloatArray, IntArray, Structure, require_known_species
from forcewright.threads import thread_count

_CORE_MODES = {"density": kernels.DENSITY, "distance": kernels.DISTANCE, "zbl": kernels.ZBL}
_EMBEDDINGS = {
    "FinnisSinclairShiftedScaled": kernels.SHIFTED_SCALED, "FinnisSinclair": kernels.PLAIN_POWER,
}  # fmt: skip
#: Atoms whose neighbors are held at a time; a multiple of the atoms per block.
_CHUNK = 512
#: Largest room (bytes) in which a block's radial functions are kept between the passes: about a second cache. Reading
#: the table once more from the third cache, or from memory beside busy neighbors, takes longer.
_KEPT = 2_097_152
#: Parts of a structure with forces of their own, summed in order: the same sums whatever the number of threads.
_STRIPES = 8


class Evaluation(NamedTuple):
    """Energies (N,) in eV, forces (N, 3) in eV/Å or None, and the virial (3, 3) in eV.

    virial = Σ r_ij ⊗ dE_i/dr_ij = stress · volume, tension positive as in ASE; 0 where forces were not asked for.
    """

    energies: FloatArray
    forces: FloatArray | None
    virial: FloatArray


class AceEvaluator:
    """An ACE potential ready to be evaluated; making one takes about a second, and the first call compiles.

    One evaluator may be used by one thread at a time: it owns working memory. It pickles as its expansion.

    Parameters
    ----------
    expansion
        The potential. Its radial functions are tabulated with ``expansion.spline_bin`` as python-ace and LAMMPS do.
    """

    def __init__(self, expansion: Expansion) -> None:
        self.expansion = expansion
        self.cutoff = expansion.cutoff
        self._numbers = np.array([atomic_numbers[symbol] for symbol in expansion.elements])
        self._species_of = np.full(len(chemical_symbols), -1, dtype=np.int32)
        self._species_of[self._numbers] = np.arange(len(self._numbers))
        # Many small products: threads of the linear algebra would wait for each other far longer than they work.
        with threadpool_limits(limits=1, user_api="blas"):
            self._tables = [_center_tables(expansion, center) for center in range(len(expansion.elements))]
        self._buffers: dict[int, tuple[int, Buffers]] = {}
        self._lists: dict[int, tuple[NDArray[np.int32], FloatArray]] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return AceEvaluator, (self.expansion,)

    @property
    def groups(self) -> int:
        """Number of species, by which neighbor lists are grouped."""
        return len(self._numbers)

    def species(self, numbers: IntArray) -> NDArray[np.int32]:
        """Return the species index (N,) of each atomic number; `InputError` if the potential does not know one."""
        species = self._species_of[numbers]
        if species.min() < 0:
            require_known_species(numbers, self._numbers)
        return species

    def evaluate(
        self, structure: Structure, *, forces: bool = True, threads: int | None = None,
        neighbors: Neighbors | None = None,
    ) -> Evaluation:  # fmt: skip
        """Evaluate a structure; without ``neighbors`` they are found for some atoms at a time, in bounded memory.

        Parameters
        ----------
        threads
            Number of threads; None for as many as there are processors (or OMP_NUM_THREADS says). Results do not
            depend on it up to 8.
        neighbors
            Pairs up to the cutoff or beyond, such as a list with a skin in molecular dynamics; best made with
            ``group_of=species(numbers)`` and ``groups=groups``, or they are sorted so here.

        Raises
        ------
        InputError
            If a species is unknown, the cell or a position is unusable, the list is of other atoms, or two atoms all
            but coincide.
        """
        species = self.species(structure.numbers)
        if neighbors is None:
            search = NeighborSearch(structure, self.cutoff, group_of=species, groups=self.groups)
            return self._run(species, search, forces, threads)
        if neighbors.groups != self.groups:
            neighbors = neighbors.grouped(species, self.groups)
        if len(neighbors.starts) != len(species) * self.groups + 1:
            raise InputError(
                f"the list is of {(len(neighbors.starts) - 1) // self.groups} atoms, the structure has {len(species)}",
                field="neighbors",
            )
        return self._run(species, neighbors, forces, threads)

    def _run(
        self, species: NDArray[np.int32], source: NeighborSearch | Neighbors, forces: bool, threads: int | None
    ) -> Evaluation:
        count = len(species)
        threads = thread_count() if threads is None else max(1, threads)
        parts = [(center, np.flatnonzero(species == center).astype(np.int32)) for center in range(self.groups)]
        stripes = _stripes([part for part in parts if len(part[1])], count, threads)
        threads = min(threads, len(stripes))
        pairs = _largest(source) if isinstance(source, Neighbors) else 0
        energies = np.zeros(count)
        virials = np.zeros((len(stripes), 6))
        total = np.zeros((count, 3)) if forces else None
        spread = np.zeros((len(stripes) if threads > 1 else 1, count if forces else 1, 3))

        def work(thread: int) -> None:
            for number in range(thread, len(stripes), threads):
                local = spread[number if threads > 1 else 0]
                self._stripe(stripes[number], source, pairs, forces, energies, local, virials[number], thread)
                if threads == 1 and total is not None:
                    np.add(total, local, total)
                    local[:] = 0.0

        with nullcontext() if run_blocks.signatures else _announced_compilation():
            if threads == 1:
                work(0)
            else:
                with ThreadPoolExecutor(threads) as pool:
                    list(pool.map(work, range(threads)))
                if total is not None:
                    for local in spread:
                        total += local
        xx, yy, zz, yz, xz, xy = virials.sum(axis=0)
        return Evaluation(energies, total, np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))

    def _stripe(
        self, stripe: Sequence[tuple[int, NDArray[np.int32]]], source: NeighborSearch | Neighbors, pairs: int,
        forces: bool, energies: FloatArray, local: FloatArray, virial: FloatArray, thread: int,
    ) -> None:  # fmt: skip
        """Evaluate the (center species, atoms) of a stripe on one thread; ``pairs`` is `_largest` of a given list."""
        for center, atoms in stripe:
            if isinstance(source, Neighbors):
                self._atoms(center, atoms, atoms, source, pairs, forces, energies, local, virial, thread)
                continue
            for first in range(0, len(atoms), _CHUNK):
                chosen = atoms[first : first + _CHUNK]
                starts = np.empty(len(chosen) * self.groups + 1, dtype=np.int64)
                kept = self._lists.get(thread) or (np.empty(0, dtype=np.int32), np.empty((0, 3)))
                self._lists[thread] = source.of(chosen, starts, *kept)
                listed = Neighbors(starts, *self._lists[thread], self.groups)
                rows = np.arange(len(chosen), dtype=np.int32)
                largest = _largest(listed)
                self._atoms(center, chosen, rows, listed, largest, forces, energies, local, virial, thread)

    def _atoms(
        self, center: int, atoms: NDArray[np.int32], rows: NDArray[np.int32], neighbors: Neighbors, pairs: int,
        forces: bool, energies: FloatArray, local: FloatArray, virial: FloatArray, thread: int,
    ) -> None:  # fmt: skip
        """Evaluate atoms of one species, whose neighbors, at most ``pairs`` each, are ``rows`` of a list."""
        problem = np.zeros(3)
        outcome = run_blocks(
            self._tables[center], self._buffers_for(thread, pairs + 8 * self.groups), atoms, rows, neighbors.starts,
            neighbors.indices, neighbors.vectors, forces, energies, local, virial, problem,
        )  # fmt: skip
        if outcome == kernels.TOO_CLOSE:
            i, j, distance = int(problem[0]), int(problem[1]), problem[2]
            raise InputError(
                f"atoms {i} and {j} are {distance:.3g} Å apart, closer than this potential is tabulated",
                field="positions",
            )

    def _buffers_for(self, thread: int, pairs: int) -> Buffers:
        """Return the working memory of a thread, with room for ``pairs`` neighbors of each atom of a block."""
        if thread not in self._buffers or self._buffers[thread][0] < pairs:
            self._buffers[thread] = (pairs, _buffers(self._tables, pairs))
        return self._buffers[thread][1]


def _largest(neighbors: Neighbors) -> int:
    """Return the largest number of neighbors of an atom."""
    bounds = neighbors.starts[:: neighbors.groups]
    return int((bounds[1:] - bounds[:-1]).max(initial=0))


def _stripes(
    parts: Sequence[tuple[int, NDArray[np.int32]]], count: int, threads: int
) -> list[list[tuple[int, NDArray[np.int32]]]]:
    """Cut the atoms of each species into the same number of stripes, of whole blocks where there are enough."""
    wanted = max(1, min(max(_STRIPES, threads), count // (4 * kernels.LANES)))
    stripes: list[list[tuple[int, NDArray[np.int32]]]] = [[] for _ in range(wanted)]
    for center, atoms in parts:
        blocks = -(-len(atoms) // kernels.LANES)
        edges = kernels.LANES * np.round(np.linspace(0, blocks, wanted + 1)).astype(int)
        for stripe, first, last in zip(stripes, edges[:-1], edges[1:], strict=True):
            if first < last:
                stripe.append((center, atoms[first:last]))
    return stripes


@contextmanager
def _announced_compilation() -> Iterator[None]:
    """Say once, in the log, that compiling takes a while; loading from the cache on disk says nothing."""
    announced: list[bool] = []

    class Listener(event.Listener):
        def on_start(self, event: Any) -> None:
            if not announced:
                announced.append(True)
                logging.getLogger("forcewright").info(
                    "compiling the ACE evaluator, once per machine and version; some seconds"
                )

        def on_end(self, event: Any) -> None:
            pass

    with event.install_listener("numba:compile", Listener()):
        yield


# ---- tables


def _aligned(count: int) -> FloatArray:
    """Return zeros that begin at a cache line: vectors then never straddle two."""
    raw = np.zeros(8 * count + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + 8 * count].view(np.float64)


def _buffers(tables: Sequence[CenterTables], pairs: int) -> Buffers:
    lanes = kernels.LANES
    species = len(tables[0].bins)
    momentum = max(int(t.momenta.max()) for t in tables)
    columns = max(int(t.columns.max()) for t in tables)
    rows = max(2 * t.nodes + species * (len(t.exponents) + 1) + 1 for t in tables)
    block = lanes * (pairs + 8 * species) + 8
    floats = {name: _aligned(block) for name in ("ux", "uy", "uz", "distance", "inverse", "fraction", "extra")}
    integers = {name: np.zeros(block, dtype=np.int64) for name in ("offset", "neighbor")}
    return Buffers(
        values=_aligned(rows * lanes), adjoints=_aligned(rows * lanes),
        partial=_aligned(max(len(t.row_x) * len(t.exponents) for t in tables) * 2 * lanes),
        sums=_aligned(lanes * max(len(t.sum_rows) for t in tables)),
        harmonics=_aligned((momentum + 1) ** 2 * kernels.CHUNK), radial=_aligned(kernels.CHUNK * columns + 16),
        transposed=_aligned(2 * columns * (block if 16 * columns * block <= _KEPT else 8)),
        contracted=_aligned(16 * (momentum + 1) ** 2), pair_force=_aligned(24), totals=_aligned(72),
        **floats, **integers,
    )  # fmt: skip


class _Layout(NamedTuple):
    """Which column and which sum belongs to which leaf, for one center species."""

    radial: list[list[list[int]]]  # [species][l] -> the n that occur, from 1
    counts: IntArray
    firsts: IntArray
    columns: IntArray
    sum_starts: IntArray
    sum_rows: NDArray[np.int32]


def _layout(graph: ProductGraph, species_count: int, densities: int) -> _Layout:
    momentum = int(graph.leaves[:, 2].max(initial=0))
    tail = densities + 1
    radial: list[list[list[int]]] = [[[] for _ in range(momentum + 1)] for _ in range(species_count)]
    for species, n, l, m in graph.leaves.tolist():
        if m == 0:
            radial[species][l].append(n)
    counts = np.array([[len(ns) for ns in by_l] for by_l in radial], dtype=np.int64)
    counts[:, 0] += tail
    firsts = np.cumsum(counts, axis=1) - counts
    columns = (counts.sum(axis=1) + 7) // 8 * 8
    sizes = (2 * np.arange(momentum + 1) + 1) * ((counts + 7) // 8 * 8)
    sum_starts = (np.cumsum(sizes) - sizes.ravel()).reshape(sizes.shape)
    density_rows = 2 * graph.nodes
    sum_rows = np.full(int(sizes.sum()), density_rows + species_count * tail, dtype=np.int32)
    for node, (species, n, l, m) in enumerate(graph.leaves.tolist()):
        column, stride = radial[species][l].index(n), (counts[species, l] + 7) // 8 * 8
        for part in range(2 if m else 1):
            component = 2 * m - 1 + part if m else 0
            sum_rows[sum_starts[species, l] + component * stride + column] = 2 * node + part
    for species in range(species_count):
        start = sum_starts[species, 0] + len(radial[species][0])
        sum_rows[start : start + tail] = density_rows + species * tail + np.arange(tail)
    return _Layout(radial, counts, firsts, columns, sum_starts, sum_rows)


def _contraction(expansion: Expansion, center: int, species: int, layout: _Layout) -> FloatArray:
    """Return the matrix (K + 1, columns) from g_k and the core to the columns of one bond."""
    bond = expansion.bonds[center, species]
    coefficients = bond.coefficients
    matrix = np.zeros((bond.nradbase + 1, int(layout.columns[species])))
    for l, ns in enumerate(layout.radial[species]):
        for column, n in enumerate(ns):
            if n <= bond.nradmax and l <= bond.lmax:
                matrix[:-1, layout.firsts[species, l] + column] = coefficients[n - 1, l]
    tail = len(layout.radial[species][0])
    densities = expansion.embeddings[center].densities
    for function in expansion.functions[center]:
        if function.rank == 1 and function.species[0] == species and function.ns[0] <= bond.nradbase:
            matrix[function.ns[0] - 1, tail : tail + densities] += function.coefficients.sum(axis=0)
    matrix[-1, tail + densities] = 1.0
    return matrix


def _spline(expansion: Expansion, center: int, species: int, layout: _Layout) -> tuple[FloatArray, int, float]:
    """Return values and slopes of a bond, flat [node][eight columns][2][8], 0 in the last two; bins and their width."""
    bond: Bond = expansion.bonds[center, species]
    z_i, z_j = (atomic_numbers[expansion.elements[s]] for s in (center, species))
    table = tabulate(bond, expansion.core_mode, z_i, z_j, expansion.spline_bin)
    matrix = _contraction(expansion, center, species, layout)
    nodes = np.zeros((table.bins + 2, matrix.shape[1] // 8, 2, 8))
    nodes[:-1, :, 0] = (table.values @ matrix).reshape(table.bins + 1, -1, 8)
    nodes[:-1, :, 1] = (table.width * (table.slopes @ matrix)).reshape(table.bins + 1, -1, 8)
    return nodes.ravel(), table.bins, table.width


def _center_tables(expansion: Expansion, center: int) -> CenterTables:
    species_count, embedding = len(expansion.elements), expansion.embeddings[center]
    graph = build_graph(expansion.functions[center], embedding.densities)
    layout = _layout(graph, species_count, embedding.densities)
    splines = [_spline(expansion, center, species, layout) for species in range(species_count)]
    lengths = np.array([len(spline[0]) for spline in splines])
    flat = _aligned(int(lengths.sum()))
    np.concatenate([spline[0] for spline in splines], out=flat)
    momenta = np.array([int(np.flatnonzero(row).max()) for row in layout.counts], dtype=np.int64)
    bonds = [expansion.bonds[center, species] for species in range(species_count)]
    table = recursion(layout.counts.shape[1] - 1)
    # The tables of the graph have the same names there.
    of_graph = {name: getattr(graph, name) for name in CenterTables._fields if hasattr(graph, name)}
    of_graph |= {name: np.ravel(of_graph[name]) for name in ("term_weights", "target_weights")}
    of_graph["row_weights"] = np.ascontiguousarray(graph.row_weights.T).ravel()
    return CenterTables(
        spline=flat, spline_starts=np.cumsum(lengths) - lengths,
        bins=np.array([spline[1] for spline in splines], dtype=np.int64),
        inverse_widths=np.array([1 / spline[2] for spline in splines]),
        cutoffs=np.array([bond.cutoff for bond in bonds]), columns=layout.columns, momenta=momenta,
        counts=layout.counts, firsts=layout.firsts, sum_starts=layout.sum_starts, sum_rows=layout.sum_rows,
        recursion_a=table[:, :, 0].ravel(), recursion_b=table[:, :, 1].ravel(),
        diagonal=np.cumprod(np.diag(table[:, :, 0])), **of_graph,
        embedding_weights=np.array(embedding.weights, dtype=np.float64),
        exponents=np.array(embedding.exponents, dtype=np.float64), embedding=_EMBEDDINGS[embedding.kind],
        core_mode=_CORE_MODES[expansion.core_mode], core_limit=float(embedding.core_limit),
        core_width=float(embedding.core_width), inner=np.array([bond.inner for bond in bonds]),
        inner_width=np.array([bond.inner_width for bond in bonds]),
        reference_energy=float(expansion.reference_energies[center]),
    )  # fmt: skip
