"""Writes a linear model as pacemaker's B-basis files, which LAMMPS's ``pace/extrapolation`` takes with an active set.

That pair style does not read ``.yace`` files, whose products no longer tell the invariant functions. It numbers the
functions of a center by rank, then by neighbor species, n, l and L, whatever their order in the file; rows of the
active set's inverse follow (python-ace: ``save_active_inverse_set``, a plain NPZ file with an array by element).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.features.ace.basis import AceBasis
from forcewright.features.ace.expansion import BasisFunction, Bond, Embedding
from forcewright.structure import FloatArray


def b_basis_text(basis: AceBasis, coefficients: FloatArray, embedding: Embedding, spline_bin: float) -> str:
    """Return the YAML text of the potential with given coefficients (p, P), without the energies of isolated atoms.

    The format has no room for these constants. ``spline_bin`` is the step in Å of the tables that its reader makes.
    """
    symbols = [chemical_symbols[z] for z in basis.species]
    lines = ["global:", f"  DeltaSplineBins: {spline_bin:.17g}", "species:"]
    for key, functions in _blocks(basis, coefficients).items():
        lines.append(f"  - speciesblock: {' '.join(symbols[mu] for mu in key)}")
        if len(key) == 1:
            lines += (f"    {field}" for field in _embedding_fields(embedding))
        if len(key) <= 2:
            lines += (f"    {field}" for field in _bond_fields(basis.bonds[key[0], key[-1]], basis.core_mode))
        if functions:
            lines.append("    nbody:")
            lines += (f"      - {{{_function(f, c, symbols, key[0])}}}" for f, c in functions)
    return "\n".join(lines) + "\n"


def _blocks(basis: AceBasis, coefficients: FloatArray) -> dict[tuple[int, ...], list[tuple[BasisFunction, FloatArray]]]:
    """Return the functions by center and the other species among their factors; all elements and pairs are there."""
    count = len(basis.species)
    blocks: dict[tuple[int, ...], list[tuple[BasisFunction, FloatArray]]] = {(mu,): [] for mu in range(count)}
    blocks |= {(mu, nu): [] for mu in range(count) for nu in range(count) if mu != nu}
    for mu, (functions, start) in enumerate(basis.blocks()):
        for function, row in zip(functions, coefficients[start:], strict=False):
            key = (mu, *sorted(set(function.species) - {mu}))
            blocks.setdefault(key, []).append((function, row))
    return dict(sorted(blocks.items(), key=lambda item: (len(item[0]), item[0])))


def _embedding_fields(embedding: Embedding) -> Iterator[str]:
    pairs = zip(embedding.weights, embedding.exponents, strict=True)
    yield f"ndensityi: {embedding.densities}"
    yield f"npoti: {embedding.kind}"
    yield f"parameters: {_numbers([number for pair in pairs for number in pair])}"
    yield f"rho_core_cut: {embedding.core_limit:.17g}"
    yield f"drho_core_cut: {embedding.core_width:.17g}"


def _bond_fields(bond: Bond, mode: str) -> Iterator[str]:
    yield f"nradmaxi: {bond.nradmax}"
    yield f"lmaxi: {bond.lmax}"
    yield f"rcutij: {bond.cutoff:.17g}"
    yield f"dcutij: {bond.cutoff_width:.17g}"
    yield "NameOfCutoffFunctionij: cos"
    yield f"r_in: {bond.inner:.17g}"
    yield f"delta_in: {bond.inner_width:.17g}"
    yield f"inner_cutoff_type: {mode}"
    yield f"core-repulsion: {_numbers([bond.core_prefactor, bond.core_decay])}"
    yield f"nradbaseij: {bond.nradbase}"
    yield f"radbase: {bond.family}"
    yield f"radparameters: {_numbers([bond.decay])}"
    by_n = (", ".join(map(_numbers, by_l)) for by_l in bond.coefficients.tolist())
    yield f"radcoefficients: [{', '.join(f'[{rows}]' for rows in by_n)}]"


def _function(function: BasisFunction, coefficients: FloatArray, symbols: Sequence[str], center: int) -> str:
    names = " ".join(symbols[mu] for mu in (center, *function.species))
    lint = f"lint: {list(map(int, function.intermediate))}, " if function.intermediate else ""
    ns, ls = list(map(int, function.ns)), list(map(int, function.ls))
    return f"type: {names}, nr: {ns}, nl: {ls}, {lint}c: {_numbers(coefficients.tolist())}"


def _numbers(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.17g}' for value in values)}]"


def active_set_file(basis: AceBasis, active: Mapping[int, FloatArray]) -> bytes:
    """Return the content of the ``.asi`` file of what grades the atoms of each species (p, p)."""
    arrays: dict[str, Any] = {}
    for z, functions in zip(basis.species, basis.functions, strict=True):
        keys = [(f.rank, f.species, f.ns, f.ls, f.intermediate) for f in functions]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        arrays[chemical_symbols[z]] = np.ascontiguousarray(active[z][order])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
