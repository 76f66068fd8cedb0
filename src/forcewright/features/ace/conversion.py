"""From coefficients of invariant functions to coefficients of products: the sum over couplings, done once per fit.

c̃_row,p = Σ_B c_Bp C_B,row over the functions of equal (μ, n, l), which differ in their intermediate L alone
(Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021), eq. 14). Evaluation then never sees an L.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from forcewright.errors import InputError
from forcewright.features.ace.expansion import BasisFunction, ProductFunction
from forcewright.structure import FloatArray


def to_products(functions: Sequence[BasisFunction], coefficients: ArrayLike) -> tuple[ProductFunction, ...]:
    """Sum F functions of one center into products, one object per (μ, n, l), ranks ascending.

    ``coefficients`` (F, P) have a column per density; (F,) stands for P = 1. Raises `InputError` if the numbers of
    functions and coefficients differ, or the functions belong to several centers.
    """
    weights = np.asarray(coefficients, dtype=np.float64)
    weights = weights[:, None] if weights.ndim == 1 else weights
    if weights.ndim != 2 or len(weights) != len(functions):
        raise InputError(f"has shape {weights.shape}, expected ({len(functions)}, densities)", field="coefficients")
    if len({function.center for function in functions}) > 1:
        raise InputError("belong to several centers; convert those of one center at a time", field="functions")
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, function in enumerate(functions):
        alike.setdefault((function.species, function.ns, function.ls), []).append(index)
    products = [_sum([functions[index] for index in indices], weights[indices]) for indices in alike.values()]
    return tuple(sorted(products, key=lambda product: product.rank))


def _sum(functions: list[BasisFunction], weights: FloatArray) -> ProductFunction:
    first = functions[0]
    if len(functions) == 1:
        ms, summed = first.ms, first.coupling[:, None] * weights
    else:
        ms, inverse = np.unique(np.concatenate([function.ms for function in functions]), axis=0, return_inverse=True)
        summed = np.zeros((len(ms), weights.shape[1]))
        terms = [function.coupling[:, None] * weight for function, weight in zip(functions, weights, strict=True)]
        np.add.at(summed, inverse.ravel(), np.concatenate(terms))
    return ProductFunction(first.species, first.ns, first.ls, ms, summed)
