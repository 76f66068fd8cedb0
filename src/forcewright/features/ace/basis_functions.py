"""Which invariant basis functions an expansion consists of, enumerated in a fixed order.

The functions are those of pacemaker (Bochkarev et al., Phys. Rev. Mater. 6, 013804 (2022)): all products of factors
(μ, n, l) within the limits of their rank, each with the couplings that are linearly independent; only pacemaker's table
ends at some l and this does not. Enumerated by degree, as the cost of a large expansion is bought in that order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Literal, NamedTuple

from forcewright.errors import InputError
from forcewright.features.ace.couplings import MAX_RANK, all_couplings, independent_couplings
from forcewright.features.ace.expansion import BasisFunction
from forcewright.structure import FloatArray, IntArray

Order = Literal["degree", "pacemaker"]
MOST_FUNCTIONS = 1_000_000


class _Label(NamedTuple):
    """A function without its center and coefficients; compares as the ladder breaks ties."""

    degree: float
    rank: int
    ns: tuple[int, ...]
    ls: tuple[int, ...]
    coupling: int
    species: tuple[int, ...]


@dataclass(frozen=True)
class _Limits:
    species: int
    nradmax: tuple[int, ...]
    lmax: tuple[int, ...]
    l_weight: float
    rank_weight: float

    def largest_degree(self) -> float:
        ranks = enumerate(zip(self.nradmax, self.lmax, strict=True), start=1)
        return max(rank * (n - 1 + self.l_weight * l) + self.rank_weight * (rank - 1) for rank, (n, l) in ranks)  # noqa: E741


def generate_functions(
    elements: Sequence[str] | int, *, nradmax: Sequence[int], lmax: Sequence[int], count: int | None = None,
    order: Order = "degree", l_weight: float = 0.5, rank_weight: float = 1.5,
) -> tuple[tuple[BasisFunction, ...], ...]:  # fmt: skip
    """Enumerate the basis functions of every center species, so that the first k are the k-th step of a ladder.

    Parameters
    ----------
    elements
        Symbols, or their number S.
    nradmax, lmax
        Largest n and l of a factor, one for rank 1, 2, … up to 6; n of rank 1 counts the g_n, and its l is 0.
    count
        Functions per center; fewer if the limits allow no more. By default all within the limits.
    order
        "degree": by Σ(n-1) + l_weight Σl + rank_weight (rank - 1), ties by rank, n, l, L and species.
        "pacemaker": by rank + Σn + Σl, and ``count`` is shared equally among a center's blocks, one for each set of
        other species, as number_of_functions_per_element is; a block that has fewer leaves the rest unused.
    l_weight, rank_weight
        Weights of "degree", not negative.

    Returns
    -------
    One tuple of functions per center species. Arrays are shared and read only.

    Raises
    ------
    InputError
        If the limits or weights make no sense, or allow more than a million functions and no ``count`` is given.
    """
    species = elements if isinstance(elements, int) else len(elements)
    if order == "pacemaker":
        l_weight, rank_weight = 1.0, 2.0  # rank + Σn + Σl, less the constant 2
    limits = _Limits(species, tuple(nradmax), tuple(lmax), l_weight, rank_weight)
    _check(limits, count, order)
    if order == "pacemaker":
        share = None if count is None else count * species // (species * 2 ** (species - 1))  # of each block
        labels = _labels(limits, None if share is None else lambda candidates: _fill(candidates, limits, share))
        chosen = [_by_blocks(labels, center, share) for center in range(species)]
    else:
        labels = sorted(_labels(limits, None if count is None else lambda candidates: len(candidates) >= count))[:count]
        chosen = [labels] * species
    return tuple(tuple(_function(center, label) for label in of) for center, of in enumerate(chosen))


def basis_function(
    center: int, species: Sequence[int], ns: Sequence[int], ls: Sequence[int], intermediate: Sequence[int]
) -> BasisFunction:
    """Make the one function with these factors and intermediate L, whether or not it is among the independent ones.

    Raises `InputError` if the lengths differ, the rank is above 6, or the l cannot be coupled to L = 0 through these L.
    """
    factors = list(zip(species, ns, ls, strict=False))
    if not len(species) == len(ns) == len(ls) or not 1 <= len(ns) <= MAX_RANK:
        raise InputError(
            f"needs 1 to {MAX_RANK} factors, found species {species}, n {ns} and l {ls}", field="functions"
        )
    couplings = all_couplings(tuple(ls), _groups(factors))
    if tuple(intermediate) not in couplings.intermediate:
        problem = f"l {list(ls)} cannot be coupled to an invariant through L {list(intermediate)}"
        possible = [list(path) for path in couplings.intermediate]
        raise InputError(f"{problem}; possible are {possible}", field="functions")
    ms, coefficients = couplings.rows_of(couplings.intermediate.index(tuple(intermediate)))
    return BasisFunction(center, tuple(species), tuple(ns), tuple(ls), tuple(intermediate), ms, coefficients)


def _check(limits: _Limits, count: int | None, order: str) -> None:
    if order not in ("degree", "pacemaker"):
        raise InputError(f"{order!r} is no order of basis functions; it is 'degree' or 'pacemaker'", field="order")
    if limits.species < 1:
        raise InputError("needs at least one element", field="elements")
    ranks = len(limits.nradmax)
    if not 1 <= ranks <= MAX_RANK or len(limits.lmax) != ranks:
        problem = f"has {ranks} numbers and lmax has {len(limits.lmax)}; give one of each per rank, 1 to {MAX_RANK}"
        raise InputError(problem, field="nradmax")
    if max(limits.nradmax) == 0:
        raise InputError("is zero for every rank, which leaves no function", field="nradmax")
    if min(limits.nradmax) < 0 or min(limits.lmax) < 0:
        raise InputError("must be zero or more for every rank", field="nradmax" if min(limits.nradmax) < 0 else "lmax")
    for name, values, highest in (("nradmax", limits.nradmax, 1000), ("lmax", limits.lmax, 100)):
        if max(values) > highest:
            raise InputError(f"is {max(values)}, expected {highest} at most", field=name)
    if limits.lmax[0] != 0:
        raise InputError(f"is {limits.lmax[0]} for rank 1, which has no angular dependence; give 0", field="lmax")
    if count is not None and count < 1:
        raise InputError(f"is {count}, expected at least one function per element", field="count")
    for name in ("l_weight", "rank_weight"):
        if not 0 <= getattr(limits, name) < float("inf"):
            raise InputError(f"is {getattr(limits, name)}, expected zero or more", field=name)


def _labels(limits: _Limits, enough: Callable[[list[_Label]], bool] | None) -> list[_Label]:
    """List all labels up to the least whole degree at which there are enough, or all there are."""
    largest = limits.largest_degree()
    budget = largest if enough is None else 0.0
    while True:
        labels = [label for rank in range(1, len(limits.nradmax) + 1) for label in _of_rank(limits, rank, budget)]
        if budget >= largest or (enough is not None and enough(labels)):
            return labels
        budget += 1.0


def _of_rank(limits: _Limits, rank: int, budget: float) -> list[_Label]:
    nmax, lmax = limits.nradmax[rank - 1], limits.lmax[rank - 1]
    factors = [(mu, n, l) for mu in range(limits.species) for n in range(1, nmax + 1) for l in range(lmax + 1)]  # noqa: E741
    costs = [n - 1 + limits.l_weight * l for _, n, l in factors]  # noqa: E741
    base = limits.rank_weight * (rank - 1)
    labels: list[_Label] = []
    for chosen in _multisets(costs, rank, budget - base + 1e-9):
        product = [factors[index] for index in chosen]
        species, ns, ls = zip(*product, strict=True)
        if sum(ls) % 2:
            continue
        degree = sum(ns) - rank + limits.l_weight * sum(ls) + base
        for coupling in range(len(independent_couplings(ls, _groups(product)).intermediate)):
            labels.append(_Label(degree, rank, ns, ls, coupling, species))
        if len(labels) > MOST_FUNCTIONS:
            problem = f"allows more than {MOST_FUNCTIONS:,} functions of rank {rank}; lower it, or lmax, or give count"
            raise InputError(problem, field="nradmax")
    return labels


def _multisets(costs: list[float], size: int, budget: float) -> Iterable[tuple[int, ...]]:
    """Yield ascending indices, repeats allowed, whose costs sum to at most ``budget``."""
    open_ones: list[tuple[tuple[int, ...], float]] = [((), budget)] if budget >= 0 else []
    while open_ones:
        start, left = open_ones.pop()
        affordable = [(index, left - costs[index]) for index in range(start[-1] if start else 0, len(costs))
                      if costs[index] <= left]  # fmt: skip
        if len(start) == size - 1:
            yield from ((*start, index) for index, _ in affordable)
        else:
            open_ones.extend(((*start, index), rest) for index, rest in affordable)


def _block(label: _Label, center: int) -> frozenset[int]:
    return frozenset({center, *label.species})


def _fill(labels: list[_Label], limits: _Limits, share: int) -> bool:
    """Whether every block of every center has its share; blocks of more species than factors never have functions."""
    ranks = max(rank for rank, n in enumerate(limits.nradmax, start=1) if n > 0)
    for center in range(limits.species):
        sizes = Counter(_block(label, center) for label in labels)
        others = [mu for mu in range(limits.species) if mu != center]
        blocks = (frozenset({center, *some}) for size in range(ranks + 1) for some in combinations(others, size))
        if any(sizes[block] < share for block in blocks):
            return False
    return True


def _by_blocks(labels: list[_Label], center: int, share: int | None) -> list[_Label]:
    """Take ``share`` of every block in order of degree, ties in the order in which pacemaker creates functions."""
    ordered = sorted(labels, key=lambda x: (x.degree, x.rank, x.species, x.ns, x.ls, x.coupling))
    sizes: Counter[frozenset[int]] = Counter()
    taken = []
    for label in ordered:
        sizes[_block(label, center)] += 1
        if share is None or sizes[_block(label, center)] <= share:
            taken.append(label)
    return taken


def _function(center: int, label: _Label) -> BasisFunction:
    groups = _groups(list(zip(label.species, label.ns, label.ls, strict=True)))
    intermediate, ms, coefficients = _coupling(label.ls, groups, label.coupling)
    return BasisFunction(center, label.species, label.ns, label.ls, intermediate, ms, coefficients)


@cache
def _coupling(ls: tuple[int, ...], groups: tuple[int, ...], index: int) -> tuple[tuple[int, ...], IntArray, FloatArray]:
    couplings = independent_couplings(ls, groups)
    return couplings.intermediate[index], *couplings.rows_of(index)


def _groups(factors: list[tuple[int, int, int]]) -> tuple[int, ...]:
    """Number the distinct factors in the order in which they appear."""
    seen: dict[tuple[int, int, int], int] = {}
    return tuple(seen.setdefault(factor, len(seen)) for factor in factors)
