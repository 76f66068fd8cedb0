"""The covariant functions of every atom's surroundings, from its neighbors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forcewright.errors import InputError
from forcewright.features.ace.design import recursion
from forcewright.features.ace.expansion import Bond, RadialFamily
from forcewright.features.ace.radial import radial_functions
from forcewright.features.equivariant.functions import Function, Limits, Program, compile_program, enumerate_functions
from forcewright.features.equivariant.kernels import run_program, sum_neighbors
from forcewright.features.equivariant.spherical import Irrep
from forcewright.neighbors import find_neighbors
from forcewright.structure import FloatArray, IntArray, Structure, require_known_species

_CHUNK_BYTES = 64_000_000  # of an atom's sums and functions that are held at once


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

    @cached_property
    def channel_of(self) -> IntArray:
        """Channel of each element (S,); raises `InputError` if the groups leave one out or name one twice."""
        groups = self.groups or tuple((z,) for z in self.species)
        named = [z for group in groups for z in group]
        if len(set(named)) < len(named) or (missing := sorted(set(self.species) - set(named))):
            what = "names an element twice" if len(set(named)) < len(named) else f"leaves out {missing}"
            raise InputError(f"{what}; every element of the data belongs to one group", field="groups")
        return np.array([next(q for q, group in enumerate(groups) if z in group) for z in self.species])

    @cached_property
    def limits(self) -> Limits:
        """How far products go."""
        return Limits(self.degrees, self.nmax, self.lmax, int(self.channel_of.max()) + 1, self.l_weight)

    @cached_property
    def functions(self) -> dict[Irrep, tuple[Function, ...]]:
        """The functions of each irrep."""
        return {irrep: enumerate_functions(self.limits, irrep) for irrep in self.irreps}

    @cached_property
    def program(self) -> Program:
        """The products that evaluate them."""
        return compile_program(dict(self.functions), self.limits)

    def evaluate(self, structure: Structure, atoms: IntArray | None = None) -> dict[Irrep, FloatArray]:
        """Return the functions (atoms, functions, 2l + 1) of each irrep, of some atoms or of all.

        Raises `InputError` if the structure holds an element that the basis does not.
        """
        require_known_species(structure, self.species, knower="the basis")
        atoms = np.arange(len(structure)) if atoms is None else np.asarray(atoms)
        neighbors = find_neighbors(structure, self.cutoff)
        bond = Bond(self.family, self.cutoff, np.eye(self.nmax)[:, None, :], self.decay)
        g = radial_functions(bond, neighbors.distances, "distance")[0].T
        elements = np.searchsorted(np.array(self.species), structure.numbers)
        channels = self.channel_of[elements[neighbors.indices]]
        program = self.program
        outputs = np.concatenate(list(program.outputs.values()))
        parts = []
        leaf_count = self.limits.channels * self.nmax * (self.lmax + 1) ** 2
        size = max(1, _CHUNK_BYTES // (8 * (leaf_count + len(outputs))))
        for begin in range(0, len(atoms), size):
            chosen = atoms[begin : begin + size]
            pairs = np.concatenate([np.arange(neighbors.starts[i], neighbors.starts[i + 1]) for i in chosen])
            starts = np.concatenate([[0], np.cumsum(np.diff(neighbors.starts)[chosen])])
            sums = np.zeros((len(chosen), self.limits.channels, self.nmax, (self.lmax + 1) ** 2))
            sum_neighbors(
                starts, np.ascontiguousarray(neighbors.vectors[pairs]), np.ascontiguousarray(g[pairs]),
                np.ascontiguousarray(channels[pairs]), recursion(self.lmax), sums,
            )  # fmt: skip
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
