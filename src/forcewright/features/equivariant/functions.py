"""Which covariant functions a basis has, in a fixed order, and the program of products that evaluates them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from forcewright.errors import InputError
from forcewright.features.equivariant.couplings import independent_chains
from forcewright.features.equivariant.spherical import Irrep, real_coupling
from forcewright.structure import FloatArray, IntArray

MOST_FUNCTIONS = 20_000


class Factor(NamedTuple):
    """One A of a product: degree l, radial index n from 0, and element channel q from 0."""

    l: int  # noqa: E741 - the symbol of the field
    n: int
    q: int


class Function(NamedTuple):
    """A covariant function: its degree, factors, and chain of intermediate L (see `independent_chains`)."""

    degree: float
    factors: tuple[Factor, ...]
    chain: tuple[int, ...]


@dataclass(frozen=True)
class Limits:
    """How far products go.

    Parameters
    ----------
    degrees
        Largest degree Σ (n + l_weight l) of products of 1, 2, … factors.
    nmax, lmax
        Radial functions of a factor, and its largest l.
    channels
        Element channels Q.
    l_weight
        What l counts beside n.
    """

    degrees: tuple[float, ...]
    nmax: int
    lmax: int
    channels: int = 1
    l_weight: float = 1.0

    def weight(self, factor: Factor) -> float:
        """Return what one factor adds to the degree."""
        return factor.n + self.l_weight * factor.l


def enumerate_functions(limits: Limits, irrep: Irrep) -> tuple[Function, ...]:
    """Return all functions of an irrep within the limits, by number of factors, degree, factors and chain.

    Raises `InputError` if there are more than 20,000.
    """
    factors = [
        Factor(l, n, q)
        for l in range(limits.lmax + 1) for n in range(limits.nmax) for q in range(limits.channels)  # noqa: E741
    ]  # fmt: skip
    result: list[Function] = []
    for rank, largest in enumerate(limits.degrees, start=1):
        collected: list[Function] = []
        for content, degree in _contents(factors, [limits.weight(f) for f in factors], rank, largest):
            numbers: dict[Factor, int] = {}
            groups = tuple(numbers.setdefault(f, len(numbers)) for f in content)
            chains = independent_chains(tuple(f.l for f in content), groups, irrep)
            collected += [Function(degree, content, chain) for chain in chains]
            if len(result) + len(collected) > MOST_FUNCTIONS:
                raise InputError(
                    f"{list(limits.degrees)} makes more than {MOST_FUNCTIONS:,} functions of {irrep}; take smaller",
                    field="degrees",
                )
        result += sorted(collected)
    return tuple(result)


def _contents(
    factors: Sequence[Factor], weights: Sequence[float], rank: int, largest: float, first: int = 0
) -> Iterator[tuple[tuple[Factor, ...], float]]:
    """Yield every multiset of factors, in their order, whose weights add up to at most ``largest``."""
    if rank == 0:
        yield (), 0.0
        return
    for k in range(first, len(factors)):
        if weights[k] <= largest + 1e-9:
            for rest, degree in _contents(factors, weights, rank - 1, largest - weights[k], k):
                yield (factors[k], *rest), weights[k] + degree


@dataclass(frozen=True, eq=False)
class Program:
    """What `run_program` (in ``kernels``) takes; its outputs are those of each irrep in turn."""

    steps: IntArray
    starts: IntArray
    entries: IntArray
    coefficients: FloatArray
    size: int
    outputs: dict[Irrep, IntArray]


def compile_program(functions: dict[Irrep, Sequence[Function]], limits: Limits) -> Program:
    """Return the steps that evaluate functions of several irreps; equal intermediate products are made once."""
    width = (limits.lmax + 1) ** 2
    size = limits.channels * limits.nmax * width
    steps: list[tuple[int, int, int, int]] = []
    made: dict[tuple[tuple[Factor, ...], tuple[int, ...]], int] = {}
    couplings: dict[tuple[int, int, int], int] = {}

    def at(factor: Factor) -> int:
        return (factor.q * limits.nmax + factor.n) * width + factor.l * factor.l

    def memory_of(factors: tuple[Factor, ...], chain: tuple[int, ...]) -> int:
        nonlocal size
        if len(factors) == 1:
            return at(factors[0])
        if (factors, chain) not in made:
            left = memory_of(factors[:-1], chain[:-1])
            before = chain[-2] if len(chain) > 1 else factors[0].l
            kind = (before, factors[-1].l, chain[-1])
            coupling = couplings.setdefault(kind, len(couplings))
            steps.append((left, at(factors[-1]), coupling, size))
            made[factors, chain] = size
            size += 2 * chain[-1] + 1
        return made[factors, chain]

    outputs = {}
    for irrep, of in functions.items():
        begins = np.array([memory_of(f.factors, f.chain) for f in of], dtype=np.int64)
        outputs[irrep] = (begins[:, None] + np.arange(irrep.size)).ravel()
    starts, entries, coefficients = [0], [np.zeros((0, 3), dtype=np.int64)], [np.zeros(0)]
    for kind in couplings:
        tensor = real_coupling(*kind)
        where = np.argwhere(np.abs(tensor) > 1e-14)
        entries.append(where)
        coefficients.append(tensor[tuple(where.T)])
        starts.append(starts[-1] + len(where))
    return Program(
        np.array(steps, dtype=np.int64).reshape(-1, 4), np.array(starts), np.vstack(entries),
        np.concatenate(coefficients), size, outputs,
    )  # fmt: skip
