"""Covariant couplings of products of real harmonics: which chains of intermediate L are possible and independent.

Factors are coupled one after the other, ((1 2)_L2 3)_L3 …, the last L being that of the result; parity is the product
of the factors' (-1)^l. Exchanging equal factors changes no product, so that some couplings vanish and others depend
on each other (Dusson et al., J. Comput. Phys. 454, 110946 (2022), section 4; Nigam, Pozdnyakov and Ceriotti,
J. Chem. Phys. 153, 121101 (2020), for covariant ones).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

import numpy as np

from forcewright.features.equivariant.spherical import Irrep, real_coupling
from forcewright.structure import FloatArray

_DEPENDENT = 1e-8  # part of a coupling that must be new for it to count as independent


@lru_cache(maxsize=65536)
def independent_chains(ls: tuple[int, ...], groups: tuple[int, ...], irrep: Irrep) -> tuple[tuple[int, ...], ...]:
    """Return chains (L2, …) of intermediate L, the last being that of the result, with independent functions.

    Parameters
    ----------
    ls
        Degrees of the factors, at least one; a single factor has the empty chain.
    groups
        One number per factor; equal factors share it.
    irrep
        What the product is coupled to.
    """
    if (-1) ** sum(ls) != irrep.parity:
        return ()
    chains = [(chain, tensor) for chain, tensor in _chains(ls) if (chain or ls)[-1] == irrep.l]
    if len(set(groups)) == len(groups):
        return tuple(chain for chain, _ in chains)
    chosen: list[tuple[int, ...]] = []
    basis = np.zeros((0, int(np.prod([2 * l + 1 for l in ls])) * irrep.size))  # noqa: E741
    for chain, tensor in chains:
        vector = _symmetrized(tensor, groups).ravel()
        rest = vector - basis.T @ (basis @ vector)
        rest -= basis.T @ (basis @ rest)  # once more, against rounding
        if (norm := np.linalg.norm(rest)) > _DEPENDENT:
            chosen.append(chain)
            basis = np.vstack([basis, rest / norm])
    return tuple(chosen)


def _chains(ls: tuple[int, ...]) -> list[tuple[tuple[int, ...], FloatArray]]:
    """Return every chain and its coefficients, one axis for each factor and the last for the result."""
    if len(ls) == 1:
        return [((), np.eye(2 * ls[0] + 1))]
    result = []
    for chain, tensor in _chains(ls[:-1]):
        before = (chain or ls)[-1] if len(ls) > 2 else ls[0]
        for after in range(abs(before - ls[-1]), before + ls[-1] + 1):
            coupled = np.tensordot(tensor, real_coupling(before, ls[-1], after), axes=(-1, 0))
            result.append(((*chain, after), coupled))
    return result


def _symmetrized(tensor: FloatArray, groups: tuple[int, ...]) -> FloatArray:
    rank = len(groups)
    same = [p for p in permutations(range(rank)) if all(groups[a] == groups[b] for a, b in enumerate(p))]
    return np.asarray(sum(np.transpose(tensor, (*p, rank)) for p in same) / len(same))
