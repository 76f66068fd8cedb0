"""What every evaluator takes for granted about an expansion, checked once: lengths, limits and finite numbers."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from forcewright.errors import InputError
from forcewright.features.ace.expansion import Bond, Embedding, Expansion, ProductFunction
from forcewright.structure import FloatArray, atomic_number


def check_expansion(expansion: Expansion, file: str | Path | None = None) -> None:
    """Refuse an expansion that cannot be evaluated by an `InputError`, naming fields as a `.yace` file does.

    An element is unknown or given twice, a bond is missing, a length or number is invalid, or a function names a
    species, n, l or m that the bonds do not have.
    """
    try:
        _check_elements(expansion)
        _positive(expansion.spline_bin, "deltaSplineBins")
        for index, embedding in enumerate(expansion.embeddings):
            _check_embedding(embedding, f"embeddings.{index}")
        for pair, bond in expansion.bonds.items():
            _check_bond(bond, expansion.core_mode == "zbl", f"bonds[{pair[0]}, {pair[1]}]")
        _check_functions(expansion)
    except InputError as error:
        raise InputError(error.problem, file=file, field=error.field) from None


def _check_elements(expansion: Expansion) -> None:
    elements = expansion.elements
    if not elements:
        raise InputError("is empty, expected at least one element", field="elements")
    for symbol in elements:
        atomic_number(symbol, "elements")
        if elements.count(symbol) > 1:
            raise InputError(f"{symbol} is given twice", field="elements")
    _finite(expansion.reference_energies, "E0")
    for field, values in (("embeddings", expansion.embeddings), ("functions", expansion.functions)):
        if len(values) != len(elements):
            raise InputError(f"holds {len(values)} species, expected {len(elements)}", field=field)
    if expansion.reference_energies.shape != (len(elements),):
        raise InputError(f"holds {expansion.reference_energies.size} numbers, expected {len(elements)}", field="E0")
    for pair in product(range(len(elements)), repeat=2):
        if pair not in expansion.bonds:
            raise InputError("is missing; every ordered pair of elements has a bond", field=f"bonds{list(pair)}")


def _check_embedding(embedding: Embedding, field: str) -> None:
    if len(embedding.exponents) != embedding.densities or not embedding.densities:
        counts = f"{embedding.densities} weights and {len(embedding.exponents)} exponents"
        raise InputError(f"has {counts}, expected one per density", field=f"{field}.FS_parameters")
    _finite(np.array([*embedding.weights, *embedding.exponents]), f"{field}.FS_parameters")
    if min(embedding.exponents) <= 0:
        raise InputError(f"has the exponent {min(embedding.exponents):g}, expected > 0", field=f"{field}.FS_parameters")
    _finite(np.array(embedding.core_limit), f"{field}.rho_core_cutoff")
    _positive(embedding.core_width, f"{field}.drho_core_cutoff", zero=True)


def _check_bond(bond: Bond, zbl: bool, field: str) -> None:
    _positive(bond.cutoff, f"{field}.rcut")
    _positive(bond.cutoff_width, f"{field}.dcut", zero=not zbl)  # half of the ZBL core divides by it
    _positive(bond.inner, f"{field}.rcut_in", zero=True)
    _positive(bond.inner_width, f"{field}.dcut_in", zero=True)
    for name, value in (("radparameters", bond.decay), ("prehc", bond.core_prefactor), ("lambdahc", bond.core_decay)):
        _finite(np.array(value), f"{field}.{name}")
    if bond.family in ("ChebExpCos", "ChebPow"):
        _positive(bond.decay, f"{field}.radparameters")
    _finite(bond.coefficients, f"{field}.radcoefficients")
    if bond.coefficients.ndim != 3 or bond.lmax < 0:
        shape = bond.coefficients.shape
        raise InputError(f"has shape {shape}, expected (nradmax, lmax + 1, nradbase)", field=f"{field}.radcoefficients")


def _check_functions(expansion: Expansion) -> None:
    # A bond without an n or l that another bond has counts as zero there: the limits are those of all bonds together.
    bonds = expansion.bonds.values()
    nradmax, lmax, nradbase = (max(getattr(bond, name) for bond in bonds) for name in ("nradmax", "lmax", "nradbase"))
    for center, functions in enumerate(expansion.functions):
        densities = expansion.embeddings[center].densities
        for index, function in enumerate(functions):
            n_limit, l_limit = (nradbase, 0) if function.rank == 1 else (nradmax, lmax)
            field = f"functions.{center}[{index}]"
            _check_factors(function, len(expansion.elements), n_limit, l_limit, field)
            _check_products(function, densities, field)


def _check_factors(function: ProductFunction, species: int, n_limit: int, l_limit: int, field: str) -> None:
    if not len(function.species) == len(function.ns) == len(function.ls) > 0:
        raise InputError("needs as many species as radial indices and l, at least one", field=f"{field}.mus")
    bounds = {
        "mus": (function.species, 0, species - 1),
        "ns": (function.ns, 1, n_limit),
        "ls": (function.ls, 0, l_limit),
    }
    for name, (values, low, high) in bounds.items():
        for value in values:
            if not low <= value <= high:
                of = f" for rank {function.rank}" if name != "mus" else ""
                raise InputError(f"holds {value}, allowed are {low} to {high}{of}", field=f"{field}.{name}")


def _check_products(function: ProductFunction, densities: int, field: str) -> None:
    ms, coefficients = function.ms, function.coefficients
    if ms.ndim != 2 or ms.shape[1] != function.rank:
        raise InputError(f"has shape {ms.shape}, expected (rows, {function.rank})", field=f"{field}.ms_combs")
    if coefficients.shape != (len(ms), densities):
        problem = f"has shape {coefficients.shape}, expected ({len(ms)}, {densities})"
        raise InputError(problem, field=f"{field}.ctildes")
    if (np.abs(ms) > np.array(function.ls)).any():
        raise InputError(f"holds an m larger than its l {list(function.ls)}", field=f"{field}.ms_combs")
    if ms.sum(axis=1).any():
        row = ms[ms.sum(axis=1) != 0][0].tolist()
        raise InputError(f"has the row {row}, expected rows whose m sum to zero", field=f"{field}.ms_combs")
    _finite(coefficients, f"{field}.ctildes")


def _finite(values: FloatArray, field: str) -> None:
    if not np.isfinite(values).all():
        raise InputError("holds a number that is not finite", field=field)


def _positive(value: float, field: str, *, zero: bool = False) -> None:
    if not (np.isfinite(value) and (value >= 0 if zero else value > 0)):
        raise InputError(f"is {value:g}, expected {'zero or more' if zero else 'more than zero'}", field=field)
