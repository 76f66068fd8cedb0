"""Linear ACE: the invariant functions of a set of species as columns of a linear model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.features.ace import design
from forcewright.features.ace.conversion import to_products
from forcewright.features.ace.evaluator import AceEvaluator
from forcewright.features.ace.expansion import BasisFunction, Bond, CoreMode, Embedding, Expansion, RadialFamily
from forcewright.features.ace.function_table import FunctionTable, tabulate_functions
from forcewright.features.ace.radial import radial_functions, switch
from forcewright.features.ace.sharing import share_between_species
from forcewright.neighbors import find_neighbors
from forcewright.potential import DesignRows, Sharing
from forcewright.structure import FloatArray, IntArray, Structure, require_known_species
from forcewright.threads import thread_count

#: Parts of a structure with rows of their own, summed in order: the same sums whatever the number of threads. Few, as
#: the sums cost time where there is one thread.
_STRIPES = 4


@dataclass(frozen=True)
class RadialSettings:
    """Family of the radial functions, its λ, and the width in Å of its outer switch."""

    family: RadialFamily = "SBessel"
    decay: float = 5.25
    cutoff_width: float = 0.01


@dataclass(frozen=True)
class Core:
    """A ZBL repulsion that takes over between ``inner`` (S, S), per pair in Å, and ``width`` below it."""

    inner: tuple[tuple[float, ...], ...]
    width: float


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs inside the cutoffs, sorted by center and neighbor species: (i, μ) owns ``segments[i, μ]:segments[i, μ+1]``.

    ``g`` and ``dg`` (M, K) are the radial functions and their derivatives; ``species`` (N,) are positions in the
    basis. ``scale``, ``slope`` and ``closest`` (N,) tell how far the core has taken over: the factor of the expansion,
    its derivative with the distance of the closest pair, and which pair that is (-1: none).
    """

    species: IntArray
    segments: IntArray
    indices: IntArray
    vectors: FloatArray
    distances: FloatArray
    g: FloatArray
    dg: FloatArray
    scale: FloatArray
    slope: FloatArray
    closest: IntArray


@dataclass(frozen=True)
class AceBasis:
    """Invariant functions of every center species, and the radial functions under them.

    Parameters
    ----------
    species
        Atomic numbers, ascending; a species index μ is the position in it.
    cutoffs
        Cutoff in Å of every pair (S, S), symmetric.
    functions
        Functions of each center species (S tuples); all radial functions are R_nl = g_n.
    core
        Repulsion at short range.
    """

    species: tuple[int, ...]
    radial: RadialSettings
    cutoffs: tuple[tuple[float, ...], ...]
    functions: tuple[tuple[BasisFunction, ...], ...] = field(repr=False)
    core: Core | None = None

    def __repr__(self) -> str:
        """Tell everything the design rows depend on, which are cached by it."""
        names = [f"{f.species}{f.ns}{f.ls}{f.intermediate}" for block in self.functions for f in block]
        counts = [len(block) for block in self.functions]
        return f"AceBasis({self.species}, {self.radial}, {self.cutoffs}, {self.core}, {counts}, {names})"

    @property
    def size(self) -> int:
        """Number of columns p."""
        return sum(len(block) for block in self.functions)

    @property
    def cutoff(self) -> float:
        """Largest cutoff in Å."""
        return max(map(max, self.cutoffs))

    @property
    def columns(self) -> tuple[BasisFunction, ...]:
        """The functions column by column, center species after center species."""
        return tuple(f for block in self.functions for f in block)

    def select(self, columns: Sequence[int]) -> AceBasis:
        """Return the basis of some of the columns, in their order here."""
        kept = {int(c) for c in columns}
        functions = tuple(tuple(f for k, f in enumerate(block, start) if k in kept) for block, start in self.blocks())
        return replace(self, functions=functions)

    def prior_features(self) -> FloatArray:
        """Return log(1 + Σ(n - 1)), log(1 + Σ l) and rank - 1 of every column (p, 3)."""
        rows = [(np.log1p(sum(f.ns) - f.rank), np.log1p(sum(f.ls)), f.rank - 1) for f in self.columns]
        return np.array(rows, dtype=np.float64).reshape(-1, 3)

    def sharing(self) -> Sharing:
        """Return the combinations of the functions that a prior may damp by how far they tell elements apart."""
        return share_between_species(self.functions, self.species)

    def pruning_groups(self) -> tuple[IntArray, FloatArray]:
        """Return the (center, μ, n, l) each column belongs to (p,), and its multiplications; rank 1 always stays."""
        ids: dict[Any, int] = {}
        costs: dict[int, float] = {}
        groups = np.full(self.size, -1)
        for column, f in enumerate(self.columns):
            if f.rank > 1:
                group = groups[column] = ids.setdefault((f.center, f.species, f.ns, f.ls), len(ids))
                costs.setdefault(group, float(f.ms.size))
        return groups, np.array(list(costs.values()))

    def rows(self, structure: Structure) -> DesignRows:
        """Return the design rows of one structure; `InputError` if it holds a species that the basis does not."""
        pairs = self.pairs(structure)
        stripes = max(1, min(_STRIPES, len(structure) // (2 * design.LANES)))
        threads = min(thread_count(), stripes)
        if threads == 1:
            energy, forces, virial = _sum(self._stripe_of_rows(pairs, stripe, stripes) for stripe in range(stripes))
        else:
            with ThreadPoolExecutor(threads) as pool:
                jobs = [pool.submit(self._stripe_of_rows, pairs, stripe, stripes) for stripe in range(stripes)]
                energy, forces, virial = _sum(job.result() for job in jobs)
        core, core_forces, core_virial = self.core_part(pairs, structure)
        offset = np.concatenate([[core], core_forces.ravel(), core_virial])
        return DesignRows(energy, np.ascontiguousarray(forces.T), np.ascontiguousarray(virial.T), offset)

    def _stripe_of_rows(self, pairs: Pairs, stripe: int, stripes: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return energy (p,), forces (p, 3N) and virial (p, 6) rows of every ``stripes``-th block of atoms."""
        energy, forces = np.zeros(self.size), np.zeros((self.size, 3 * len(pairs.species)))
        virial = np.zeros((self.size, 6))
        for atoms, part, table in self._parts(pairs):
            striped = atoms[np.arange(len(atoms)) // design.LANES % stripes == stripe]
            design.add_rows(  # type: ignore[call-arg]
                striped, pairs.segments, pairs.indices, pairs.vectors, pairs.g, pairs.dg, pairs.scale, pairs.slope,
                pairs.closest, self._recursion, *table.arrays, energy[part], forces[part], virial[part],
            )  # fmt: skip
        return energy, forces, virial

    def tangent_rows(
        self, pairs: Pairs, coefficients: FloatArray, first: FloatArray, second: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return rows of ∂E/∂c with E = Σ_i s F(ρ_1 … ρ_P): energy (P·p,), forces (3N, P·p) and virial (6, P·p).

        ``coefficients`` (p, P); ``first`` and ``second`` (N, P) are derivatives of F in each density.
        """
        count, densities = len(pairs.species), coefficients.shape[1]
        energy, forces = np.zeros((densities, self.size)), np.zeros((densities, self.size, 3 * count))
        virial = np.zeros((densities, self.size, 6))
        coefficients, first, second = (np.ascontiguousarray(array) for array in (coefficients, first, second))
        for atoms, part, table in self._parts(pairs):
            design.add_tangent_rows(  # type: ignore[call-arg]
                atoms, pairs.segments, pairs.indices, pairs.vectors, pairs.g, pairs.dg, pairs.scale, pairs.slope,
                pairs.closest, self._recursion, *table.arrays, part.start, coefficients, first, second,
                energy, forces, virial,
            )  # fmt: skip
        columns = densities * self.size
        return energy.ravel(), forces.reshape(columns, -1).T, virial.reshape(columns, 6).T

    def project(self, structure: Structure) -> FloatArray:
        """Return the functions of every atom (N, p): zero in the columns of other center species."""
        return self.values(self.pairs(structure))

    def values(self, pairs: Pairs) -> FloatArray:
        """Return the functions of every atom (N, p) from its pairs."""
        result = np.zeros((len(pairs.species), self.size))
        for atoms, part, table in self._parts(pairs):
            result[atoms, part] = design.project(
                atoms, pairs.segments, pairs.vectors, pairs.g, self._recursion, *table.arrays
            )
        return result

    def pull(self, pairs: Pairs, adjoint: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return forces (N, 3) and virial (6,), -dE/dε, of E = Σ_if adjoint_if B_f(i) with fixed ``adjoint`` (N, p)."""
        forces, virial = np.zeros((len(pairs.species), 3)), np.zeros(6)
        for atoms, part, table in self._parts(pairs):
            design.pull(  # type: ignore[call-arg]
                atoms, pairs.segments, pairs.indices, pairs.vectors, pairs.g, pairs.dg, self._recursion,
                *table.arrays, np.ascontiguousarray(adjoint[atoms, part]), forces, virial,
            )  # fmt: skip
        return forces, virial

    def differentiate(self, pairs: Pairs, change: FloatArray) -> FloatArray:
        """Return the derivative (N, p) of the functions when the pair vectors (M, 3) change along ``change`` (M, 3)."""
        result = np.zeros((len(pairs.species), self.size))
        for atoms, part, table in self._parts(pairs):
            result[atoms, part] = design.differentiate(  # type: ignore[call-arg]
                atoms, pairs.segments, pairs.vectors, pairs.g, pairs.dg, self._recursion, *table.arrays, change
            )
        return result

    def core_part(self, pairs: Pairs, structure: Structure) -> tuple[float, FloatArray, FloatArray]:
        """Return energy, forces (N, 3) and virial (6,), -dE/dε, of the core alone, as far as it has taken over."""
        if np.all(pairs.scale >= 1.0):
            return 0.0, np.zeros((len(structure), 3)), np.zeros(6)
        energies, forces, virial = self._core_evaluator.evaluate(structure, threads=1)
        assert forces is not None  # asked for by default
        return float(energies.sum()), forces, -virial.ravel()[[0, 4, 8, 5, 2, 1]]

    def blocks(self) -> Iterator[tuple[tuple[BasisFunction, ...], int]]:
        """Yield the functions of each center species and the column they begin at."""
        start = 0
        for block in self.functions:
            yield block, start
            start += len(block)

    def _parts(self, pairs: Pairs) -> Iterator[tuple[IntArray, slice, FunctionTable]]:
        """Yield the atoms of each species, the columns of their functions, and these as a table."""
        for mu, (block, start) in enumerate(self.blocks()):
            yield np.flatnonzero(pairs.species == mu), slice(start, start + len(block)), self._tables[mu]

    def pairs(self, structure: Structure) -> Pairs:
        """Return the pairs inside the cutoffs and their radial functions; `InputError` for an unknown species."""
        species = self.species_of(structure)
        neighbors = find_neighbors(structure, self.cutoff)
        count, number = len(structure), len(self.species)
        centers = np.repeat(np.arange(count), np.diff(neighbors.starts))
        kinds = species[centers] * number + species[neighbors.indices]
        distances = np.linalg.norm(neighbors.vectors, axis=1)
        inside = np.flatnonzero(distances < np.ravel(self.cutoffs)[kinds])
        order = inside[np.argsort(centers[inside] * number + species[neighbors.indices[inside]], kind="stable")]
        centers, kinds, distances = centers[order], kinds[order], distances[order]
        keys = centers * number + kinds % number
        starts = np.searchsorted(keys, np.arange(count * number + 1))
        segments = starts[np.arange(count)[:, None] * number + np.arange(number + 1)]
        g, dg = np.zeros((len(order), self._nmax)), np.zeros((len(order), self._nmax))
        for kind in np.unique(kinds):
            chosen = kinds == kind
            bond = self.bonds[divmod(int(kind), number)]
            value, slope = radial_functions(bond, distances[chosen], self.core_mode)
            g[chosen], dg[chosen] = value.T, slope.T
        scale, slope, closest = self._core_switch(centers, kinds, distances, count)
        indices, vectors = neighbors.indices[order].astype(np.int64), np.ascontiguousarray(neighbors.vectors[order])
        return Pairs(species, segments, indices, vectors, distances, g, dg, scale, slope, closest)

    def species_of(self, structure: Structure) -> IntArray:
        """Return each atom's species index (N,)."""
        require_known_species(structure, self.species, knower="the basis")
        return np.searchsorted(np.array(self.species), structure.numbers)

    def _core_switch(
        self, centers: IntArray, kinds: IntArray, distances: FloatArray, count: int
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return how far the core has taken over at each atom (see `Pairs`)."""
        scale, slope, closest = np.ones(count), np.zeros(count), np.full(count, -1)
        if self.core is None or len(distances) == 0:
            return scale, slope, closest
        depth = distances - np.ravel(self.core.inner)[kinds] + self.core.width  # 0: the core alone; width: none of it
        order = np.lexsort((depth, centers))
        atoms, first = np.unique(centers[order], return_index=True)
        closest[atoms] = order[first]
        value, derivative = switch(self.core.width - depth[closest[atoms]], self.core.width, self.core.width)
        scale[atoms], slope[atoms] = value, -derivative
        closest[scale >= 1.0] = -1
        return scale, slope, closest

    def expansion(
        self, coefficients: FloatArray, energies: Mapping[int, float], embedding: Embedding | None = None
    ) -> Expansion:
        """Return the potential of given coefficients (p,) or (p, P) in products of A, as a `.yace` file holds it."""
        coefficients = coefficients[:, None] if coefficients.ndim == 1 else coefficients
        functions = [to_products(block, coefficients[start : start + len(block)]) for block, start in self.blocks()]
        return Expansion(
            tuple(chemical_symbols[z] for z in self.species),
            np.array([energies.get(z, 0.0) for z in self.species]), self.bonds,
            (embedding or Embedding(),) * len(self.species), tuple(functions), self.core_mode,
        )  # fmt: skip

    @property
    def core_mode(self) -> CoreMode:
        """How a `.yace` file names the way the core takes over."""
        return "distance" if self.core is None else "zbl"

    @cached_property
    def _nmax(self) -> int:
        return max((n for f in self.columns for n in f.ns), default=1)

    @cached_property
    def _lmax(self) -> int:
        return max((l for f in self.columns for l in f.ls), default=0)

    @cached_property
    def _recursion(self) -> FloatArray:
        return design.recursion(self._lmax)

    @cached_property
    def _tables(self) -> tuple[FunctionTable, ...]:
        return tuple(tabulate_functions(block) for block in self.functions)

    @cached_property
    def bonds(self) -> dict[tuple[int, int], Bond]:
        """Radial functions and core of every ordered pair of species."""
        identity = np.repeat(np.eye(self._nmax)[:, None, :], self._lmax + 1, axis=1)
        count = range(len(self.species))
        return {
            (i, j): Bond(
                self.radial.family, self.cutoffs[i][j], identity, self.radial.decay, self.radial.cutoff_width,
                core_prefactor=0.0 if self.core is None else 1.0,
                inner=0.0 if self.core is None else self.core.inner[i][j],
                inner_width=0.0 if self.core is None else self.core.width,
            )
            for i in count for j in count
        }  # fmt: skip

    @cached_property
    def _core_evaluator(self) -> AceEvaluator:
        return AceEvaluator(replace(self, functions=((),) * len(self.species)).expansion(np.zeros(0), {}))

    def __getstate__(self) -> dict[str, Any]:
        """Leave compiled tables behind when travelling to a worker process."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


def _sum(parts: Iterator[tuple[FloatArray, FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Add up the arrays of all parts, in order."""
    totals = next(parts)
    for part in parts:
        for total, addend in zip(totals, part, strict=True):
            total += addend
    return totals
