"""Pacemaker's own file of a fit (`output_potential.yaml`): coefficients of invariant functions, not yet of products.

Blocks stand under ``species``: "A" holds the embedding of A, its bond with itself and functions of A alone, "A B" the
bond of center A with B and functions that have B among their factors, "A B C" functions alone. Elements are numbered
in alphabetical order. There are no reference energies: pacemaker subtracts them before it fits.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from forcewright.errors import InputError
from forcewright.features.ace.basis_functions import basis_function
from forcewright.features.ace.conversion import to_products
from forcewright.features.ace.expansion import EMBEDDINGS, BasisFunction, Bond, Embedding, Expansion, ProductFunction
from forcewright.features.ace.expansion_checks import check_expansion
from forcewright.features.ace.plain_yaml import Entry
from forcewright.features.ace.yace import BondKeys, common_core_mode, known_word, read_bond, read_document

_KEYS = BondKeys("nradmaxi", "lmaxi", "nradbaseij", "radbase", "rcutij", "dcutij", "r_in", "delta_in")
#: Where the L that a file leaves out, the last one of a rank, is found: among the l (True) or the other L, by index.
_IMPLIED = {3: (True, 2), 4: (False, 0), 5: (True, 4), 6: (False, 2)}


def read_b_basis(path: str | Path) -> Expansion:
    """Read an `output_potential.yaml` of pacemaker and sum its couplings, as pace_yaml2yace does.

    Raises
    ------
    InputError
        If the file is missing, no text, no YAML, cut off, or does not hold a potential; says which field.
    """
    root = read_document(path, "global and species")
    blocks = {tuple(block.child("speciesblock").text().split()): block for block in root.child("species").items()}
    elements = tuple(sorted({symbol for symbols in blocks for symbol in symbols}))
    embeddings = tuple(_embedding(_block(root, blocks, (symbol,))) for symbol in elements)
    pairs = {(i, j): _pair(elements, i, j) for i, j in product(range(len(elements)), repeat=2)}
    bonds = {pair: _block(root, blocks, symbols) for pair, symbols in pairs.items()}
    mode = common_core_mode(list(bonds.values()))
    read = {pair: _bond(entry) for pair, entry in bonds.items()}
    functions = tuple(
        _functions([block for symbols, block in blocks.items() if symbols[0] == symbol], elements, center, embedding)
        for center, (symbol, embedding) in enumerate(zip(elements, embeddings, strict=True))
    )
    spline_bin = root.child("global").child("DeltaSplineBins").number()
    expansion = Expansion(elements, np.zeros(len(elements)), read, embeddings, functions, mode, spline_bin)
    check_expansion(expansion, root.file)
    return expansion


def _pair(elements: tuple[str, ...], center: int, neighbor: int) -> tuple[str, ...]:
    return (elements[center],) if center == neighbor else (elements[center], elements[neighbor])


def _block(root: Entry, blocks: dict[tuple[str, ...], Entry], symbols: tuple[str, ...]) -> Entry:
    if symbols not in blocks:
        raise root.child("species").refuse(
            f"has no block {' '.join(symbols)!r}; every element and every ordered pair needs one"
        )
    return blocks[symbols]


def _bond(entry: Entry) -> Bond:
    prefactor, decay = 0.0, 0.0  # where the file says nothing, there is no core
    if "core-repulsion" in entry.mapping():
        prefactor, decay = entry.child("core-repulsion").numbers(2).tolist()
    return read_bond(entry, _KEYS, (prefactor, decay))


def _embedding(entry: Entry) -> Embedding:
    kind = known_word(entry.child("npoti"), "embedding", EMBEDDINGS)
    parameters = entry.child("parameters").numbers(2 * entry.child("ndensityi").integer(1))
    limits = (entry.child_or("rho_core_cut", "100000").number(), entry.child_or("drho_core_cut", "250").number())
    return Embedding(kind, tuple(parameters[::2].tolist()), tuple(parameters[1::2].tolist()), *limits)


def _functions(
    blocks: list[Entry], elements: tuple[str, ...], center: int, embedding: Embedding
) -> tuple[ProductFunction, ...]:
    functions, coefficients = [], []
    for block in blocks:
        for entry in block.child("nbody").items() if "nbody" in block.mapping() else []:
            if entry.child_or("skip", "false").text() == "false":
                functions.append(_function(entry, elements, center))
                coefficients.append(entry.child("c").numbers(embedding.densities))
    return to_products(functions, np.reshape(coefficients, (len(functions), embedding.densities)))


def _function(entry: Entry, elements: tuple[str, ...], center: int) -> BasisFunction:
    symbols = entry.child("type").text().split()
    if not symbols or not set(symbols) <= set(elements) or symbols[0] != elements[center]:
        raise entry.child("type").refuse(f"is {' '.join(symbols)!r}, expected {elements[center]} and its neighbors")
    rank = len(symbols) - 1
    ns, ls = entry.child("nr").integers(rank), entry.child("nl").integers(rank)
    lint = entry.child("lint").integers() if "lint" in entry.mapping() else []
    if rank in _IMPLIED and len(lint) == rank - 3:
        among_ls, index = _IMPLIED[rank]
        lint.append((ls if among_ls else lint)[index])
    try:
        return basis_function(center, [elements.index(symbol) for symbol in symbols[1:]], ns, ls, lint)
    except InputError as error:
        raise entry.refuse(error.problem) from None
