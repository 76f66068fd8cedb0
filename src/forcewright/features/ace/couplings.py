"""Rotation-invariant couplings of products of spherical harmonics: which intermediate L are possible and independent.

Drautz, Phys. Rev. B 99, 014104 (2019), section III; Dusson et al., J. Comput. Phys. 454, 110946 (2022), section 4;
the order of coupling is pacemaker's (Bochkarev et al., Phys. Rev. Mater. 6, 013804 (2022)), so L mean the same.

Factors are coupled two by two in their order, (1 2)(3 4)…; the results likewise, until one with L = 0 is left; an odd
one waits for the next round: ((1 2) 3), ((1 2)(3 4)), (((1 2)(3 4)) 5), (((1 2)(3 4))(5 6)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from math import prod

import numpy as np

from forcewright.errors import InputError
from forcewright.features.ace.clebsch_gordan import coupling_tensor
from forcewright.structure import FloatArray, IntArray

MAX_RANK = 6
_LARGEST = 150_000  # products of m of one function: l up to 170 for rank 2, 9 for rank 4, 3 for rank 6
_ZERO = 1e-13  # couplings are of order one, and their sums wrong by some 1e-16
_DEPENDENT = 1e-8  # part of a coupling that must be new for it to count as independent


@dataclass(frozen=True, eq=False)
class Couplings:
    """Independent couplings of one sequence of l.

    ``intermediate`` lists the L of every coupling (as `BasisFunction.intermediate`), ``ms`` (rows, rank) the m, and
    ``coefficients`` (couplings, rows) the weight of Re Π A of every row, sign-flipped and permuted rows added in.
    """

    intermediate: tuple[tuple[int, ...], ...]
    ms: IntArray
    coefficients: FloatArray

    def rows_of(self, index: int) -> tuple[IntArray, FloatArray]:
        """Rows and coefficients of one coupling without those that vanish; read only."""
        kept = np.abs(self.coefficients[index]) > _ZERO
        ms, coefficients = self.ms[kept], self.coefficients[index, kept]
        ms.flags.writeable = coefficients.flags.writeable = False
        return ms, coefficients


@cache
def independent_couplings(ls: tuple[int, ...], groups: tuple[int, ...]) -> Couplings:
    """Couplings of ``ls`` whose functions are linearly independent; the first in lexicographic order of L are kept.

    Parameters
    ----------
    ls
        Angular momenta of the factors.
    groups
        One number per factor, ascending; factors of equal (μ, n, l) share it. Exchanging those changes no product, so
        that some couplings vanish and others become equal.
    """
    every = all_couplings(ls, groups)
    chosen: list[int] = []
    basis = np.zeros((0, every.coefficients.shape[1]))
    for index, vector in enumerate(every.coefficients):
        rest = vector - basis.T @ (basis @ vector)
        rest -= basis.T @ (basis @ rest)  # once more, against rounding
        if (norm := np.linalg.norm(rest)) > _DEPENDENT:
            chosen.append(index)
            basis = np.vstack([basis, rest / norm])
    return Couplings(tuple(every.intermediate[i] for i in chosen), every.ms, every.coefficients[chosen])


@lru_cache(maxsize=256)
def all_couplings(ls: tuple[int, ...], groups: tuple[int, ...]) -> Couplings:
    """All couplings of ``ls`` that triangle inequalities allow, dependent ones included (see `independent_couplings`).

    Those with an odd Σ l change sign under inversion and have no real part: there are none of them.
    """
    if (size := prod(2 * l + 1 for l in ls)) > _LARGEST:  # noqa: E741
        raise InputError(
            f"l {list(ls)} have {size:,} products of m, and at most {_LARGEST:,} are coupled; take smaller l",
            field="lmax",
        )  # fmt: skip
    trees = dict(_invariants(ls)) if sum(ls) % 2 == 0 else {}
    intermediate = tuple(sorted(trees))
    grids = np.meshgrid(*(np.arange(-l, l + 1) for l in ls), indexing="ij")  # noqa: E741
    balanced = np.flatnonzero(sum(grids).ravel() == 0)  # type: ignore[union-attr]
    ms, inverse = canonical_rows(np.stack([grid.ravel()[balanced] for grid in grids], axis=1), ls, groups)
    coefficients = np.zeros((len(intermediate), len(ms)))
    for row, key in zip(coefficients, intermediate, strict=True):
        row[:] = np.bincount(inverse, weights=trees[key].ravel()[balanced], minlength=len(ms))
    return Couplings(intermediate, ms, coefficients)


def canonical_rows(ms: IntArray, ls: tuple[int, ...], groups: tuple[int, ...]) -> tuple[IntArray, IntArray]:
    """Give the distinct rows up to exchange within groups and sign, and which of them each given row becomes.

    As A_(l,-m) = (-1)^m A*_lm and Σ m = 0, a row and its negative have the same real part.
    """
    places = np.cumprod([1, *(2 * l + 1 for l in ls[:0:-1])])[::-1]  # noqa: E741
    codes = [(_sorted_within(rows, groups) + ls) @ places for rows in (ms, -ms)]
    distinct, inverse = np.unique(np.maximum(*codes), return_inverse=True)
    digits = distinct[:, None] // places % (2 * np.array(ls) + 1)
    return digits - np.array(ls), inverse


def _sorted_within(ms: IntArray, groups: tuple[int, ...]) -> IntArray:
    ordered = ms.copy()
    for group in set(groups):
        members = [index for index, other in enumerate(groups) if other == group]
        if len(members) > 1:
            ordered[:, members] = -np.sort(-ms[:, members], axis=1)
    return ordered


def _invariants(ls: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], FloatArray]]:
    """Yield the L of every invariant coupling and its coefficients, one axis per factor over m from -l to l."""
    if len(ls) == 1:
        if ls == (0,):
            yield (), np.ones(1)
        return
    yield from _rounds([(l, np.eye(2 * l + 1)) for l in ls], ())  # noqa: E741


def _rounds(
    parts: list[tuple[int, FloatArray]], chosen: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], FloatArray]]:
    """Couple ``parts``, each an L with a tensor whose last axis is its M, round after round down to L = 0."""
    if len(parts) == 2:
        if parts[0][0] == parts[1][0]:
            yield chosen, _couple(parts[0], parts[1], 0)[..., 0]
        return
    for ls, coupled in _round(parts):
        yield from _rounds(coupled, chosen + ls)


def _round(parts: list[tuple[int, FloatArray]]) -> Iterator[tuple[tuple[int, ...], list[tuple[int, FloatArray]]]]:
    if len(parts) < 2:
        yield (), parts
        return
    (l1, _), (l2, _) = parts[:2]
    for l3 in range(abs(l1 - l2), l1 + l2 + 1):
        first = _couple(parts[0], parts[1], l3)
        for ls, rest in _round(parts[2:]):
            yield (l3, *ls), [(l3, first), *rest]


def _couple(left: tuple[int, FloatArray], right: tuple[int, FloatArray], l3: int) -> FloatArray:
    tensor = np.tensordot(left[1], coupling_tensor(left[0], right[0], l3), axes=(-1, 0))
    coupled: FloatArray = np.moveaxis(np.tensordot(tensor, right[1], axes=(-2, -1)), left[1].ndim - 1, -1)
    return coupled
