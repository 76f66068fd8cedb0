"""`.yace` files, the C-tilde form of ACE potentials that pacemaker writes and LAMMPS (pair_style pace) evaluates.

Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021); Bochkarev et al., Phys. Rev. Mater. 6, 013804 (2022). Names in the
file on the left, of `expansion` on the right:

=====================================  ==========================================================================
radbasename, radparameters[0]          Bond.family, decay (further radparameters are never used)
radcoefficients [n][l][k]              Bond.coefficients (nradmax, lmax + 1, nradbase)
rcut, dcut, rcut_in, dcut_in           Bond.cutoff, cutoff_width, inner, inner_width (Å)
prehc, lambdahc                        Bond.core_prefactor, core_decay
inner_cutoff_type                      Expansion.core_mode; "density" where a file says nothing
npoti, FS_parameters                   Embedding.kind, and weights and exponents alternating
rho_core_cutoff, drho_core_cutoff      Embedding.core_limit, core_width (eV)
mus, ns, ls, ms_combs, ctildes         ProductFunction, rows flattened
=====================================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from forcewright.errors import InputError
from forcewright.features.ace.expansion import (
    CORE_MODES,
    EMBEDDINGS,
    RADIAL_FAMILIES,
    Bond,
    CoreMode,
    Embedding,
    Expansion,
    ProductFunction,
)
from forcewright.features.ace.expansion_checks import check_expansion
from forcewright.features.ace.plain_yaml import Entry, parse_plain
from forcewright.files import atomic_write


def read_yace(path: str | Path) -> Expansion:
    """Read a `.yace` file; nothing in it is run, and nothing is taken that could not be evaluated.

    Raises
    ------
    InputError
        If the file is missing, no text, no YAML, cut off, or holds an unknown name, a wrong length, a number that is
        not finite, or a function beyond its radial tables; says which field.
    """
    root = read_document(path, "elements, bonds and functions")
    elements = tuple(entry.text() for entry in root.child("elements").items())
    embeddings = tuple(_embedding(entry) for entry in _of_species(root.child("embeddings"), len(elements)))
    bonds, mode = _bonds(root.child("bonds"), len(elements))
    functions = tuple(
        tuple(_product_function(entry, center, embeddings[center].densities) for entry in species.items())
        for center, species in enumerate(_of_species(root.child("functions"), len(elements)))
    )
    energies, spline_bin = root.child("E0").numbers(len(elements)), root.child("deltaSplineBins").number()
    expansion = Expansion(elements, energies, bonds, embeddings, functions, mode, spline_bin)
    check_expansion(expansion, root.file)
    return expansion


def write_yace(path: str | Path, expansion: Expansion) -> Path:
    """Write a `.yace` file as pacemaker does, atomically, and return its path.

    Numbers have 17 digits, so that reading gives back the same bits; keys are in pacemaker's order. Where species have
    different numbers of densities, those that lack some get them with weight zero: the recursive evaluator, LAMMPS's
    default, takes the largest number for that of all and would misread the file without a word.

    Raises
    ------
    InputError
        If the expansion could not be evaluated (see `read_yace`) or the file cannot be written.
    """
    check_expansion(expansion, path)
    return atomic_write(path, "".join(_lines(_with_equal_densities(expansion))))


def _with_equal_densities(expansion: Expansion) -> Expansion:
    most = max(embedding.densities for embedding in expansion.embeddings)
    embeddings = tuple(_padded(embedding, most - embedding.densities) for embedding in expansion.embeddings)
    functions = tuple(
        tuple(
            replace(f, coefficients=np.pad(f.coefficients, ((0, 0), (0, most - f.coefficients.shape[1]))))
            for f in of_center
        )
        for of_center in expansion.functions
    )
    return replace(expansion, embeddings=embeddings, functions=functions)


def _padded(embedding: Embedding, missing: int) -> Embedding:
    weights, exponents = embedding.weights + (0.0,) * missing, embedding.exponents + (1.0,) * missing
    return replace(embedding, weights=weights, exponents=exponents)


def read_document(path: str | Path, keys: str) -> Entry:
    """Read a YAML file whose top level is a mapping, with ``keys`` such as these.

    Raises `InputError` if there is no such file, or it is no text or another kind of YAML (see `parse_plain`).
    """
    file = Path(path)
    root = Entry(parse_plain(_text(file), file), file)
    if not isinstance(root.tree, dict):
        raise InputError(f"is no ACE potential: expected keys such as {keys}", file=file)
    return root


def _text(file: Path) -> str:
    if file.is_dir():
        raise InputError("is a folder, expected the file of an ACE potential", file=file)
    if not file.exists():
        raise InputError("does not exist", file=file)
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError:
        raise InputError("is not a text file, expected the file of an ACE potential (YAML)", file=file) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=file) from None
    if not text.strip():
        raise InputError("is empty", file=file)
    return text


def _of_species(entry: Entry, count: int) -> list[Entry]:
    """The values of a mapping whose keys are all species indices 0 … count - 1."""
    _expect_keys(entry, {str(index) for index in range(count)}, f"the file has {count} elements")
    return [entry.child(str(index)) for index in range(count)]


def _bonds(entry: Entry, count: int) -> tuple[dict[tuple[int, int], Bond], CoreMode]:
    pairs = [(center, neighbor) for center in range(count) for neighbor in range(count)]
    names = {pair: (str(pair[0]), str(pair[1])) for pair in pairs}
    _expect_keys(entry, set(names.values()), f"every ordered pair of the {count} elements has a bond")
    entries = {pair: entry.child(name) for pair, name in names.items()}
    return {pair: read_bond(bond) for pair, bond in entries.items()}, common_core_mode(list(entries.values()))


def common_core_mode(bonds: list[Entry]) -> CoreMode:
    """The inner_cutoff_type of all bonds, which must agree."""
    fields = [bond.child_or("inner_cutoff_type", "density") for bond in bonds]
    modes = [known_word(field, "inner cutoff", CORE_MODES) for field in fields]
    for field, mode in zip(fields, modes, strict=True):
        if mode != modes[0]:
            raise field.refuse(f"is {mode!r} where {fields[0].field} is {modes[0]!r}; it must be the same in all bonds")
    return modes[0]


Word = TypeVar("Word", bound=str)


def known_word(entry: Entry, what: str, known: tuple[Word, ...]) -> Word:
    """The one of the ``known`` words that stands there."""
    for word in known:
        if word == entry.text():
            return word
    raise entry.refuse(f"{entry.text()!r} is no {what} known here; known are {', '.join(known)}")


def _expect_keys(entry: Entry, expected: set[Any], because: str) -> None:
    for key in sorted(expected, key=str):
        entry.child(key)
    if unknown := [key for key in entry.mapping() if key not in expected]:
        name = unknown[0] if isinstance(unknown[0], str) else f"[{', '.join(unknown[0])}]"
        raise entry.refuse(f"has the unknown key {name}; {because}")


@dataclass(frozen=True)
class BondKeys:
    """What the fields of a bond are called; files of B coefficients have other names."""

    nradmax: str = "nradmax"
    lmax: str = "lmax"
    nradbase: str = "nradbasemax"
    family: str = "radbasename"
    cutoff: str = "rcut"
    cutoff_width: str = "dcut"
    inner: str = "rcut_in"
    inner_width: str = "dcut_in"


def read_bond(entry: Entry, keys: BondKeys = BondKeys(), core: tuple[float, float] | None = None) -> Bond:
    """Read a bond, whose ``core`` is (prehc, lambdahc) unless it stands in the entry."""
    family = known_word(entry.child(keys.family), "radial basis", RADIAL_FAMILIES)
    parameters = entry.child("radparameters").numbers()
    if parameters.size == 0:
        raise entry.child("radparameters").refuse("is empty, expected at least one number")
    nradmax, lmax, nradbase = (entry.child(key).integer() for key in (keys.nradmax, keys.lmax, keys.nradbase))
    core = core or (entry.child("prehc").number(), entry.child("lambdahc").number())
    return Bond(
        family=family, cutoff=entry.child(keys.cutoff).number(),
        coefficients=_radial_coefficients(entry.child("radcoefficients"), (nradmax, lmax + 1, nradbase)),
        decay=float(parameters[0]), cutoff_width=entry.child(keys.cutoff_width).number(), core_prefactor=core[0],
        core_decay=core[1], inner=entry.child_or(keys.inner, "0").number(),
        inner_width=entry.child_or(keys.inner_width, "0").number(),
    )  # fmt: skip


def _radial_coefficients(entry: Entry, shape: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    rows: list[np.ndarray[Any, Any]] = []
    for by_l in _counted(entry, shape[0], "nradmax"):
        rows += [by_k.numbers(shape[2]) for by_k in _counted(by_l, shape[1], "lmax + 1")]
    return np.array(rows, dtype=np.float64).reshape(shape)


def _counted(entry: Entry, count: int, name: str) -> list[Entry]:
    items = entry.items()
    if len(items) != count:
        raise entry.refuse(f"holds {len(items)} lists, expected {count} ({name})")
    return items


def _embedding(entry: Entry) -> Embedding:
    kind = known_word(entry.child("npoti"), "embedding", EMBEDDINGS)
    parameters = entry.child("FS_parameters").numbers(2 * entry.child("ndensity").integer(1))
    limits = (entry.child("rho_core_cutoff").number(), entry.child("drho_core_cutoff").number())
    return Embedding(kind, tuple(parameters[::2].tolist()), tuple(parameters[1::2].tolist()), *limits)


def _product_function(entry: Entry, center: int, densities: int) -> ProductFunction:
    rank, rows = entry.child("rank").integer(1), entry.child("num_ms_combs").integer()
    for key, expected, source in (
        ("mu0", center, "the species it stands under"),
        ("ndensity", densities, "embeddings"),
    ):
        if (stated := entry.child(key).integer()) != expected:
            raise entry.child(key).refuse(f"is {stated}, expected {expected} as {source}")
    species, ns, ls = (tuple(entry.child(key).integers(rank)) for key in ("mus", "ns", "ls"))
    ms = np.array(entry.child("ms_combs").integers(rows * rank), dtype=np.int64).reshape(rows, rank)
    coefficients = entry.child("ctildes").numbers(rows * densities).reshape(rows, densities)
    return ProductFunction(species, ns, ls, ms, coefficients)


def _lines(expansion: Expansion) -> Iterator[str]:
    yield f"elements: [{', '.join(expansion.elements)}]\n"
    yield f"E0: {_floats(expansion.reference_energies)}\n"
    yield f"deltaSplineBins: {expansion.spline_bin:.17g}\n"
    yield "embeddings:\n"
    for index, embedding in enumerate(expansion.embeddings):
        yield f"  {index}: {_flow(_embedding_fields(embedding))}\n"
    yield "bonds:\n"
    for (center, neighbor), bond in sorted(expansion.bonds.items()):
        yield f"  [{center}, {neighbor}]: {_flow(_bond_fields(bond, expansion.core_mode))}\n"
    yield "functions:\n"
    for index, functions in enumerate(expansion.functions):
        yield f"  {index}:{'' if functions else ' []'}\n"
        for function in functions:
            yield f"    - {_flow(_function_fields(function, index))}\n"


def _embedding_fields(embedding: Embedding) -> Iterator[tuple[str, str]]:
    yield "ndensity", str(embedding.densities)
    pairs = zip(embedding.weights, embedding.exponents, strict=True)
    yield "FS_parameters", _floats(chain.from_iterable(pairs))
    yield "npoti", embedding.kind
    yield "rho_core_cutoff", f"{embedding.core_limit:.17g}"
    yield "drho_core_cutoff", f"{embedding.core_width:.17g}"


def _bond_fields(bond: Bond, mode: CoreMode) -> Iterator[tuple[str, str]]:
    yield "nradmax", str(bond.nradmax)
    yield "lmax", str(bond.lmax)
    yield "nradbasemax", str(bond.nradbase)
    yield "radbasename", bond.family
    yield "radparameters", _floats([bond.decay])
    by_n = (", ".join(map(_floats, by_l)) for by_l in bond.coefficients.tolist())
    yield "radcoefficients", f"[{', '.join(f'[{rows}]' for rows in by_n)}]"
    yield "prehc", f"{bond.core_prefactor:.17g}"
    yield "lambdahc", f"{bond.core_decay:.17g}"
    yield "rcut", f"{bond.cutoff:.17g}"
    yield "dcut", f"{bond.cutoff_width:.17g}"
    yield "rcut_in", f"{bond.inner:.17g}"
    yield "dcut_in", f"{bond.inner_width:.17g}"
    yield "inner_cutoff_type", mode


def _function_fields(function: ProductFunction, center: int) -> Iterator[tuple[str, str]]:
    yield "mu0", str(center)
    yield "rank", str(function.rank)
    yield "ndensity", str(function.coefficients.shape[1])
    yield "num_ms_combs", str(len(function.ms))
    yield "mus", str(list(map(int, function.species)))
    yield "ns", str(list(map(int, function.ns)))
    yield "ls", str(list(map(int, function.ls)))
    yield "ms_combs", str(function.ms.ravel().tolist())
    yield "ctildes", _floats(function.coefficients.ravel().tolist())


def _flow(fields: Iterable[tuple[str, str]]) -> str:
    return f"{{{', '.join(f'{key}: {value}' for key, value in fields)}}}"


def _floats(values: Iterable[float]) -> str:
    return f"[{', '.join([f'{value:.17g}' for value in values])}]"
