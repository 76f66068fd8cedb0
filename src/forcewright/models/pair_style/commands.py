"""Two commands of LAMMPS into a potential.

Two commands make it, as in a LAMMPS input: ``pair_style tersoff`` and ``pair_coeff * * Si.tersoff Si``. Files that
they name are read once and belong to the potential from then on: it travels, is saved and is hashed with them.
"""

from __future__ import annotations

import logging
import math
import re
import shlex
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path

from ase.data import chemical_symbols

from forcewright.errors import ForcewrightError, InputError
from forcewright.lammps_session import error_sentence, largest_range, new_instance, potentials_folder
from forcewright.models.pair_style.potential import PairStylePotential, require_harmless, require_plain_text
from forcewright.structure import atomic_number

log = logging.getLogger("forcewright")

_SYMBOLS = frozenset(chemical_symbols[1:])


def pair_style_potential(
    pair_style: str, pair_coeff: str | Sequence[str], base: Path, species: Sequence[str] | None = None,
    cutoff: float | None = None, charges: Mapping[str, float] | None = None, kspace_style: str | None = None,
) -> PairStylePotential:  # fmt: skip
    """Return the potential of a LAMMPS pair style in metal units.

    Parameters
    ----------
    pair_style
        What stands behind ``pair_style`` in a LAMMPS input.
    pair_coeff
        What stands behind each ``pair_coeff``. Files are looked for in ``base``, then among LAMMPS's own.
    species
        Element of each LAMMPS type; where not given, it is taken from the names at the end of ``pair_coeff``.
    cutoff
        Interaction range in Å; where not given, LAMMPS is asked.
    charges
        Charge of every element in elementary charges, where the pair style has any.
    kspace_style
        What stands behind ``kspace_style``, where charges are summed in reciprocal space.

    Raises
    ------
    InputError
        If this LAMMPS has no such pair style, a file does not exist, the elements cannot be told, or LAMMPS does not
        accept the commands (an element that is not in the file, say).
    """
    if cutoff is not None and not 0.0 < cutoff < math.inf:
        raise InputError(f"is {cutoff!r}; it must be a length above 0 Å", field="cutoff")
    lines = [pair_coeff] if isinstance(pair_coeff, str) else list(pair_coeff)
    style = _split(pair_style, "pair_style")
    require_harmless(style)
    coefficients = [_split(line, "pair_coeff") for line in lines]
    styles = _known_styles("pair", style[0])
    types = _types(coefficients, species)
    files = _Files(base, styles, {word for words in (style, *coefficients) for word in words})
    kspace = () if kspace_style is None else _split(kspace_style, "kspace_style")
    if kspace:
        _known_styles("kspace", kspace[0])
    potential = PairStylePotential(
        files.take(style), tuple(map(files.take, coefficients)), types, cutoff or 0.0, files.contents,
        None if charges is None else _charges(charges, types), kspace,
    )  # fmt: skip
    if wolf := next((word for word in style if "coul/wolf" in word), None):
        log.warning(
            "pair_style %s: its energies and forces disagree (by 0.84 meV/Å for a pair of unit charges at 3 Å, α = "
            "0.25 and 10 Å), so that no energy is conserved; %s has the same forces and is conservative",
            wolf, wolf.replace("wolf", "dsf"),
        )  # fmt: skip
    try:
        if cutoff is None:
            cutoff = largest_range(types, potential.write_commands, potential.charges, bool(kspace))
    except ForcewrightError as error:
        raise InputError(str(error), field="cutoff") from None
    except Exception as error:  # LAMMPS raises bare exceptions
        raise InputError(
            f"LAMMPS does not accept {' / '.join([pair_style, *lines, *([kspace_style] if kspace_style else [])])!r}: "
            f"{_explained(error_sentence(error))}", field="pair_coeff",
        ) from None  # fmt: skip
    return replace(potential, cutoff=cutoff)


def _charges(charges: Mapping[str, float], types: Sequence[int]) -> tuple[float, ...]:
    """Return the charges of the types, all of which must have one."""
    of_type = {atomic_number(str(symbol), "charges"): float(charge) for symbol, charge in charges.items()}
    if set(of_type) != set(types):
        symbols = ", ".join(chemical_symbols[z] for z in types)
        raise InputError(f"names {', '.join(map(str, charges))}; give the charge of each of {symbols}, no other",
                         field="charges")  # fmt: skip
    return tuple(of_type[z] for z in types)


def _explained(sentence: str) -> str:
    """Add to what LAMMPS says how to give it what it lacks."""
    if "attribute q" in sentence:
        return f"{sentence}; add the charges, as in charges: {{Na: 1, Cl: -1}}"
    if "requires a KSpace style" in sentence:
        return f"{sentence}; add one, as in kspace_style: pppm 1.0e-5"
    return sentence


def _split(text: str, field: str) -> tuple[str, ...]:
    require_plain_text(text, field)
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"is {text!r}: {error}", field=field) from None
    if not words:
        raise InputError("is empty; write what stands behind it in a LAMMPS input", field=field)
    return words


def _known_styles(category: str, wanted: str) -> Set[str]:
    """Return the names of LAMMPS's styles of a category, pair or kspace, among which the one that is wanted must be."""
    lmp = new_instance()
    try:
        known, packages = lmp.available_styles(category), lmp.installed_packages
    finally:
        lmp.close()
    if wanted not in known:
        close = get_close_matches(wanted, known, n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise InputError(
            f"is {wanted!r}, which this LAMMPS does not know; {hint}It has the packages {', '.join(packages)}",
            field=f"{category}_style",
        )
    return frozenset(known)


def _types(coefficients: Sequence[Sequence[str]], species: Sequence[str] | None) -> tuple[int, ...]:
    """Return the atomic numbers of the LAMMPS types."""
    named = _named_elements(coefficients)
    if species is None and (not named or None in named):
        raise InputError(
            "does not name the element of each LAMMPS type at its end; add them, as in species: [Si, O]",
            field="pair_coeff",
        )
    symbols = list(species) if species is not None else [symbol for symbol in named if symbol]
    types = tuple(atomic_number(str(symbol), "species") for symbol in symbols)
    if len(set(symbols)) < len(symbols) or not symbols:
        raise InputError(f"is {symbols}; each element stands for one LAMMPS type", field="species")
    if named and any(a is not None and a != b for a, b in zip(named, symbols, strict=False)):
        raise InputError(f"is {symbols}, but pair_coeff names {[name or 'NULL' for name in named]}", field="species")
    return types


def _named_elements(coefficients: Sequence[Sequence[str]]) -> list[str | None]:
    """Return the elements at the ends of ``pair_coeff * * …``, None where all lines say NULL."""
    named: list[str | None] = []
    for words in coefficients:
        if tuple(words[:2]) != ("*", "*"):
            continue
        elements = words[_elements_start(words) :]
        named += [None] * (len(elements) - len(named))
        for index, word in enumerate(elements):
            named[index] = named[index] or (None if word == "NULL" else word)
    return named


def _elements_start(words: Sequence[str]) -> int:
    """Return where the element names at the end of a command start."""
    elements = takewhile(lambda word: word in _SYMBOLS or word == "NULL", reversed(words))
    return len(words) - len(list(elements))


class _Files:
    """Files named by commands, read once and called by names that occur nowhere else in the commands."""

    def __init__(self, base: Path, styles: Set[str], words: Set[str]) -> None:
        self.contents: dict[str, bytes] = {}
        self._folders = [folder for folder in (base, potentials_folder()) if folder is not None]
        self._styles, self._words = styles, words
        self._name_of: dict[Path, str] = {}

    def take(self, words: Sequence[str]) -> tuple[str, ...]:
        """Return a command with names in the place of paths."""
        end = _elements_start(words)
        return (*(self._taken(word) for word in words[:end]), *words[end:])

    def _taken(self, word: str) -> str:
        if word in self._styles or _is_number(word):
            return word
        path = next((folder / word for folder in self._folders if (folder / word).is_file()), None)
        if path is not None:
            return self._add(path.resolve(), word)
        if "/" in word or re.search(r"\.[A-Za-z]", word):
            places = " nor in ".join(str(folder) for folder in self._folders)
            raise InputError(f"names the file {word!r}, which is not in {places}", field="pair_coeff")
        return word

    def _add(self, path: Path, word: str) -> str:
        if path not in self._name_of:
            name = re.sub(r"[^\w.+-]", "_", path.name)
            while name in self.contents or name in self._words - {word} or name in self._styles:
                name = f"_{name}"
            self._name_of[path] = name
            self.contents[name] = path.read_bytes()
        return self._name_of[path]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
