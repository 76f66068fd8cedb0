"""Combinations of ACE's functions that tell one element from another to a known degree.

A function is a product of factors (μ, n, l) at a center of species c. Written over all assignments of species to its
factors, the energy of one label (the (n, l) of all factors) is

    E = Σ_i Σ_b Σ_z X[c_i, b, z] Π_t A_(z_t n_t l_t) coupled through path b,

and any X stands for coefficients c_f = Σ_bz X[c, b, z] R[bz, f] of the independent functions. Let X have a Gaussian
prior with covariance κ(c, c') Π_t κ(z_t, z'_t), κ being a covariance between elements (as between the elements of
alchemical kernels: De, Bartók, Csányi and Ceriotti, Phys. Chem. Chem. Phys. 18, 13754 (2016)) with eigenvectors
u_j and log precisions ℓ_j; u_0 is the mean of all elements, with ℓ_0 = 0. Then log precisions of X are the
eigenvalues of N = Σ_t L_t, L = Σ_j ℓ_j u_j u_jᵀ: 0 where the energy does not depend on which neighbors they are, and
the larger, the more factors tell elements apart that are alike. With R = R̂ W, W = (RᵀR)^(1/2), the coefficients are
c = W V a, V being the eigenvectors of R̂ᵀ N R̂: the prior of the amplitudes a is diagonal, and so is that of any power
κ^η taken in the same way. The center's species is treated likewise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations, product
from typing import Any

import numpy as np
import scipy.sparse

from forcewright.features.ace.couplings import all_couplings, canonical_rows
from forcewright.features.ace.expansion import BasisFunction
from forcewright.features.element_similarity import element_directions
from forcewright.potential import Sharing
from forcewright.structure import FloatArray, IntArray

_Label = tuple[tuple[int, int], ...]  # (n, l) of every slot
_Content = tuple[tuple[int, int, int], ...]  # (species, n, l) of every factor


def share_between_species(functions: Sequence[Sequence[BasisFunction]], species: Sequence[int]) -> Sharing:
    """Return the combinations of the functions of every center species, and how far each tells elements apart.

    Parameters
    ----------
    functions
        Functions of each center species.
    species
        Atomic numbers (S,).
    """
    directions, precisions = element_directions(species)
    operator = directions.T @ (precisions[:, None] * directions)
    starts = np.cumsum([0, *map(len, functions)])
    labels: dict[_Label, list[list[int]]] = defaultdict(lambda: [[] for _ in species])
    for center, block in enumerate(functions):
        for position, f in enumerate(block):
            labels[tuple(sorted(zip(f.ns, f.ls, strict=True)))][center].append(position)
    mixing: Any = scipy.sparse.lil_array((starts[-1], starts[-1]))
    orders, numbers = np.zeros((starts[-1], 2)), np.zeros(starts[-1], dtype=np.int64)
    used = 0
    for number, (label, members) in enumerate(labels.items()):
        for centers in _alike(functions, members):
            local = members[centers[0]]
            matrix, order = _combinations(label, [functions[centers[0]][k] for k in local], operator)
            # centers that do not all have the same functions share nothing
            shared = len(centers) == len(species)
            across = directions if shared else np.eye(1)
            for row, log_precision in zip(across, precisions if shared else precisions.max(keepdims=True), strict=True):
                columns = used + np.arange(len(local))
                for center, weight in zip(centers, row, strict=True):
                    mixing[np.ix_(starts[center] + np.asarray(members[center]), columns)] = weight * matrix
                orders[columns] = np.column_stack([order, np.full(len(local), log_precision)])
                numbers[columns] = number
                used += len(local)
    return Sharing(mixing.tocsr(), orders, numbers)


def _alike(functions: Sequence[Sequence[BasisFunction]], members: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return all centers together where they have the same functions of a label, and else each that has any alone."""
    contents = [[(functions[c][k].species, functions[c][k].intermediate) for k in of] for c, of in enumerate(members)]
    centers = list(range(len(members)))
    return [centers] if all(content == contents[0] for content in contents) else [[c] for c in centers if members[c]]


def _combinations(
    label: _Label, functions: Sequence[BasisFunction], operator: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return W V (n, n), whose columns are coefficients of the functions, and the log precision (n,) of each."""
    contents: dict[_Content, list[int]] = defaultdict(list)
    for position, f in enumerate(functions):
        contents[tuple(zip(f.species, f.ns, f.ls, strict=True))].append(position)
    assignments: list[tuple[int, ...]] = []
    blocks = []
    for content, positions in contents.items():
        paths = tuple(functions[k].intermediate for k in positions)
        for slots in _arrangements(label, content):
            relation = _relation(label, content, slots, paths)
            block = np.zeros((len(relation), len(functions)))
            block[:, positions] = relation
            blocks.append(block)
            assignments.append(tuple(content[slots.index(t)][0] for t in range(len(label))))
    left, singular, right = np.linalg.svd(np.vstack(blocks), full_matrices=False)
    orthonormal = (left @ right).reshape(len(assignments), -1, len(functions))
    number = _number_operator(np.array(assignments), operator)
    order, vectors = np.linalg.eigh(np.einsum("apm,ab,bpn->mn", orthonormal, number, orthonormal, optimize=True))
    return (right.T * singular) @ right @ vectors, np.maximum(order, 0.0)


def _arrangements(label: _Label, content: _Content) -> list[tuple[int, ...]]:
    """Return the ways to deal factors to the slots of a label, as the slot of every factor, without repetitions."""
    factors_of: dict[tuple[int, int], list[int]] = defaultdict(list)
    for position, (_, n, l) in enumerate(content):  # noqa: E741
        factors_of[n, l].append(position)
    choices = []
    for pair, factors in factors_of.items():
        slots = [t for t, other in enumerate(label) if other == pair]
        distinct = {tuple(content[factor][0] for factor in order): order for order in permutations(factors)}
        choices.append([list(zip(order, slots, strict=True)) for order in distinct.values()])
    result = []
    for choice in product(*choices):
        slot_of = dict(pair for part in choice for pair in part)
        result.append(tuple(slot_of[factor] for factor in range(len(content))))
    return result


def _relation(
    label: _Label, content: _Content, slots: tuple[int, ...], intermediates: tuple[tuple[int, ...], ...]
) -> FloatArray:
    """Return R (paths, functions): each coupled product of factors in their slots as a sum of the functions."""
    seen: dict[tuple[int, int, int], int] = {}
    groups = tuple(seen.setdefault(factor, len(seen)) for factor in content)
    return _relation_of(tuple(l for _, l in label), tuple(l for *_, l in content), groups, slots, intermediates)  # noqa: E741


@lru_cache(maxsize=4096)
def _relation_of(
    slot_ls: tuple[int, ...], ls: tuple[int, ...], groups: tuple[int, ...], slots: tuple[int, ...],
    intermediates: tuple[tuple[int, ...], ...],
) -> FloatArray:  # fmt: skip
    free = all_couplings(slot_ls, tuple(range(len(slot_ls))))
    rows, inverse = canonical_rows(free.ms[:, slots], ls, groups)
    products = np.array([np.bincount(inverse, weights=row, minlength=len(rows)) for row in free.coefficients])
    symmetric = all_couplings(ls, groups)
    functions = symmetric.coefficients[[symmetric.intermediate.index(path) for path in intermediates]]
    return np.asarray(np.linalg.lstsq(functions.T, products.T, rcond=None)[0].T)


def _number_operator(assignments: IntArray, operator: FloatArray) -> FloatArray:
    """Return N (a, a) = Σ_t L_t between assignments (a, rank) of species, L (S, S) acting on one of their slots."""
    different = assignments[:, None, :] != assignments[None, :, :]
    result = np.zeros(different.shape[:2])
    for slot, species in enumerate(assignments.T):
        others_agree = different.sum(axis=-1) == different[..., slot]
        result += np.where(others_agree, operator[np.ix_(species, species)], 0.0)
    return result
