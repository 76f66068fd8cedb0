"""The covariant functions of every atom's surroundings, from its neighbors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.features.ace.design import recursion
from forcewright.features.ace.expansion import Bond, RadialFamily
from forcewright.features.ace.radial import radial_functions
from forcewright.features.equivariant.functions import Function, Limits, Program, compile_program, enumerate_functions
from forcewright.features.equivariant.kernels import pull_neighbors, pull_program, run_program, sum_neighbors
from forcewright.features.equivariant.spherical import Irrep
from forcewright.neighbors import Neighbors, find_neighbors
from forcewright.structure import FloatArray, IntArray, Structure, require_known_species

_CHUNK_BYTES = 64_000_000  # of an atom's sums and functions that are held at once
_NOBLE_GASES = (2, 10, 18, 36, 54, 86, 118)
_ALIKE = 1.6  # rows or columns of the periodic table over which elements stay alike


def element_weights(group: Sequence[int], count: int) -> FloatArray:
    """Return how much each element of a group counts in each of its channels (elements, min(count, elements)).

    With one channel all count 1. With more, elements are told apart by degrees: the channels are the leading
    eigenvectors, times the roots of their eigenvalues, of a similarity exp(-Δrow²/2s² - Δcolumn²/2s²) in the periodic
    table, s = 1.6 (Faber, Christensen, Huang and von Lilienfeld, J. Chem. Phys. 148, 241717 (2018); Willatt, Musil and
    Ceriotti, Phys. Chem. Chem. Phys. 20, 29661 (2018), for channels of an element kernel). Columns are counted from
    the noble gas before, past which d and f electrons follow as they do in the table.
    """
    if count == 1 or len(group) == 1:
        return np.ones((len(group), 1))
    numbers = np.asarray(group)
    row = np.searchsorted(_NOBLE_GASES, numbers)
    column = numbers - np.append(0, _NOBLE_GASES)[row]
    distances = (row[:, None] - row) ** 2 + (column[:, None] - column) ** 2
    values, vectors = np.linalg.eigh(np.exp(-0.5 * distances / _ALIKE**2))
    kept = np.argsort(-values, kind="stable")[:count]
    weights = vectors[:, kept] * np.sqrt(values[kept])
    weights *= np.sign(weights[np.argmax(np.abs(weights), axis=0), np.arange(len(kept))])  # eigenvectors have no sign
    return np.asarray(weights / np.sqrt(np.mean(weights[:, 0] ** 2)))


@dataclass(frozen=True)
class EquivariantBasis:
    """Covariant functions for some irreps, the same for centers of every element.

    Parameters
    ----------
    species
        Atomic numbers, ascending.
    irreps
        What the functions transform like.
    cutoff
        In Å, of all pairs.
    degrees, nmax, lmax, l_weight
        See `Limits`.
    groups
        Atomic numbers of neighbors that are not told apart, group by group; all elements apart by default.
    family, decay
        Radial functions (`forcewright.features.ace.radial`).
    spread
        Channels that each group of several elements gets, see `element_weights`; no more than it has elements.
    """

    species: tuple[int, ...]
    irreps: tuple[Irrep, ...]
    cutoff: float
    degrees: tuple[float, ...]
    nmax: int
    lmax: int
    l_weight: float = 1.0
    groups: tuple[tuple[int, ...], ...] | None = None
    family: RadialFamily = "SBessel"
    decay: float = 5.25
    spread: int = 1

    @cached_property
    def weights(self) -> FloatArray:
        """Weight of each element in each channel (S, Q); `InputError` if groups leave one out or name one twice."""
        groups = self.groups or tuple((z,) for z in self.species)
        named = [z for group in groups for z in group]
        if len(set(named)) < len(named) or (missing := sorted(set(self.species) - set(named))):
            twice = len(set(named)) < len(named)
            left_out = "" if twice else ", ".join(chemical_symbols[z] for z in missing)
            what = "names an element twice" if twice else f"leaves out {left_out}"
            raise InputError(f"{what}; every element of the data belongs to one group", field="groups")
        blocks = [element_weights(group, self.spread) for group in groups]
        result = np.zeros((len(self.species), sum(block.shape[1] for block in blocks)))
        first = 0
        for group, block in zip(groups, blocks, strict=True):
            kept = [z in self.species for z in group]
            rows = [self.species.index(z) for z in np.array(group)[kept]]
            result[rows, first : first + block.shape[1]] = block[kept]
            first += block.shape[1]
        return result

    @cached_property
    def limits(self) -> Limits:
        """How far products go."""
        return Limits(self.degrees, self.nmax, self.lmax, self.weights.shape[1], self.l_weight)

    @cached_property
    def functions(self) -> dict[Irrep, tuple[Function, ...]]:
        """The functions of each irrep."""
        return {irrep: enumerate_functions(self.limits, irrep) for irrep in self.irreps}

    @cached_property
    def program(self) -> Program:
        """The products that evaluate them."""
        return compile_program(dict(self.functions), self.limits)

    def ranks(self, irrep: Irrep) -> IntArray:
        """Return the number of factors of each function of an irrep."""
        return np.array([len(function.factors) for function in self.functions[irrep]], dtype=np.int64)

    def evaluate(self, structure: Structure, atoms: IntArray | None = None) -> dict[Irrep, FloatArray]:
        """Return the functions (atoms, functions, 2l + 1) of each irrep, of some atoms or of all.

        Raises `InputError` if the structure holds an element that the basis does not.
        """
        require_known_species(structure, self.species, knower="the basis")
        atoms = np.arange(len(structure)) if atoms is None else np.asarray(atoms)
        neighbors, g, _, weights = self._pairs(structure)
        program = self.program
        outputs = np.concatenate(list(program.outputs.values()))
        parts = []
        leaf_count = self.limits.channels * self.nmax * (self.lmax + 1) ** 2
        size = max(1, _CHUNK_BYTES // (8 * (leaf_count + len(outputs))))
        for begin in range(0, len(atoms), size):
            chosen = atoms[begin : begin + size]
            sums = self._sums(neighbors, g, weights, chosen)
            out = np.zeros((len(chosen), len(outputs)))
            run_program(
                sums.reshape(len(chosen), -1), program.steps, program.starts, program.entries, program.coefficients,
                program.size, outputs, out,
            )  # fmt: skip
            parts.append(out)
        whole = np.concatenate(parts) if parts else np.zeros((0, len(outputs)))
        result, start = {}, 0
        for irrep, places in program.outputs.items():
            block = whole[:, start : start + len(places)]
            result[irrep] = block.reshape(len(atoms), -1, irrep.size)
            start += len(places)
        return result

    def gradients(
        self, structure: Structure, irrep: Irrep, coefficients: FloatArray, *, per_atom: bool = False
    ) -> FloatArray:
        """Return the derivatives of Σ_i Σ_f c_if φ_f(i) with the position of every atom, or of each term of the sum.

        Parameters
        ----------
        coefficients
            c (N, functions) of an irrep.
        per_atom
            Whether each atom i stands alone.

        Returns
        -------
        (2l + 1, N, 3) or (N, 2l + 1, N, 3), per Å; an atom moves with all its periodic images.

        Raises
        ------
        InputError
            If the structure holds an element that the basis does not.
        """
        require_known_species(structure, self.species, knower="the basis")
        neighbors, g, dg, weights = self._pairs(structure)
        program, count = self.program, len(structure)
        begins = np.ascontiguousarray(program.outputs[irrep][:: irrep.size])
        result = np.zeros((count if per_atom else 1, irrep.size, count, 3))
        width = self.limits.channels * self.nmax * (self.lmax + 1) ** 2
        size = max(1, _CHUNK_BYTES // (8 * width * (irrep.size + 1)))
        for begin in range(0, count, size):
            chosen = np.arange(begin, min(begin + size, count))
            sums = self._sums(neighbors, g, weights, chosen)
            slopes = np.zeros((len(chosen), irrep.size, width))
            pull_program(
                sums.reshape(len(chosen), -1), program.steps, program.starts, program.entries, program.coefficients,
                program.size, begins, np.ascontiguousarray(coefficients[chosen]), slopes,
            )  # fmt: skip
            pairs = slice(neighbors.starts[chosen[0]], neighbors.starts[chosen[-1] + 1])
            rows = chosen if per_atom else np.zeros_like(chosen)
            pull_neighbors(
                neighbors.starts[chosen[0] : chosen[-1] + 2] - neighbors.starts[chosen[0]], chosen,
                np.ascontiguousarray(neighbors.indices[pairs]), np.ascontiguousarray(neighbors.vectors[pairs]),
                np.ascontiguousarray(g[pairs]), np.ascontiguousarray(dg[pairs]), np.ascontiguousarray(weights[pairs]),
                recursion(self.lmax), slopes.reshape(len(chosen), irrep.size, self.limits.channels, self.nmax, -1),
                rows, result,
            )  # fmt: skip
        return result if per_atom else result[0]

    def _pairs(self, structure: Structure) -> tuple[Neighbors, FloatArray, FloatArray, FloatArray]:
        """Return the pairs, their radial functions (M, K) with derivatives, and their weights in the channels."""
        neighbors = find_neighbors(structure, self.cutoff)
        bond = Bond(self.family, self.cutoff, np.eye(self.nmax)[:, None, :], self.decay)
        g, dg = radial_functions(bond, neighbors.distances, "distance")
        elements = np.searchsorted(np.array(self.species), structure.numbers)
        return neighbors, g.T, dg.T, self.weights[elements[neighbors.indices]]

    def _sums(self, neighbors: Neighbors, g: FloatArray, weights: FloatArray, chosen: IntArray) -> FloatArray:
        """Return the sums A (atoms, Q, K, (L + 1)²) of chosen atoms."""
        pairs = np.concatenate([np.arange(neighbors.starts[i], neighbors.starts[i + 1]) for i in chosen])
        starts = np.concatenate([[0], np.cumsum(np.diff(neighbors.starts)[chosen])])
        sums = np.zeros((len(chosen), self.limits.channels, self.nmax, (self.lmax + 1) ** 2))
        sum_neighbors(
            starts, np.ascontiguousarray(neighbors.vectors[pairs]), np.ascontiguousarray(g[pairs]),
            np.ascontiguousarray(weights[pairs]), recursion(self.lmax), sums,
        )  # fmt: skip
        return sums
