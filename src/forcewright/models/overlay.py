"""Two pair styles of LAMMPS as one: their commands together, as ``pair_style hybrid/overlay``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from ase.data import chemical_symbols

from forcewright.errors import InputError

_OVERLAY = "hybrid/overlay"
#: Commands of an input that belong to its pair style.
_OURS = re.compile(r"\s*(pair_style|pair_coeff|pair_modify|kspace_style|kspace_modify|set\s+type)\s")


def is_of_pair_style(line: str) -> bool:
    """Tell whether a line of a LAMMPS input is a command of the pair style, or gives atoms their charge."""
    return _OURS.match(line) is not None


@dataclass(frozen=True)
class _Commands:
    """The commands of a pair style, sorted: styles with their arguments, and words of every other command."""

    styles: list[str]
    is_hybrid: bool
    coefficients: list[list[str]]
    charges: list[list[str]]
    modifiers: list[list[str]]
    kspace: list[list[str]]


def _sorted(lines: Sequence[str]) -> _Commands:
    words = [shlex.split(line, posix=False) for line in lines]  # quotes stay
    (style,) = (line[1:] for line in words if line[0] == "pair_style")
    if style[0].startswith("hybrid") and style[0] != _OVERLAY:
        raise InputError(f"is {style[0]}; of hybrid styles LAMMPS can add only {_OVERLAY} to another", field="baseline")
    hybrid = style[0] == _OVERLAY

    def of(*names: str) -> list[list[str]]:
        return [line for line in words if line[0] in names]

    return _Commands(
        style[1:] if hybrid else style, hybrid, of("pair_coeff"), of("set"), of("pair_modify"),
        of("kspace_style", "kspace_modify"),
    )  # fmt: skip


def overlay(
    first: Sequence[str], types: Sequence[int], second: Sequence[str], second_types: Sequence[int]
) -> list[str]:
    """Return the commands of two pair styles together; atoms have the types of the first.

    Parameters
    ----------
    first, second
        Commands of each.
    types, second_types
        Atomic number of each LAMMPS type that they are written for; the second may know more elements.

    Raises
    ------
    InputError
        If LAMMPS cannot add the two up.
    """
    a, b = _sorted(first), _sorted(second)
    if a.kspace and b.kspace:
        raise InputError("sums in reciprocal space, and so does what it is added to; LAMMPS does it once",
                         field="baseline")  # fmt: skip
    of_element = {z: index for index, z in enumerate(types, start=1)}
    moved_to = {index: of_element.get(z) for index, z in enumerate(second_types, start=1)}
    moved = [line for words in b.coefficients for line in _moved(words, moved_to, types, second_types)]
    charges = [
        ["set", "type", str(moved_to[int(words[2])]), *words[3:]] for words in b.charges if moved_to[int(words[2])]
    ]
    lines = [
        *a.charges, *charges, ["pair_style", _OVERLAY, *a.styles, *b.styles], *a.modifiers, *b.modifiers,
        *_named(a, a.coefficients, a.styles, b.styles, 0), *_named(b, moved, b.styles, a.styles, 1),
        *a.kspace, *b.kspace,
    ]  # fmt: skip
    return [" ".join(words) for words in lines]


def _named(
    commands: _Commands, coefficients: Sequence[list[str]], styles: Sequence[str], others: Sequence[str], position: int
) -> list[list[str]]:
    """Return pair_coeff commands that name their style, with its number where the style occurs more than once."""
    named = []
    for words in coefficients:
        name, rest = (words[3], words[4:]) if commands.is_hybrid else (styles[0], words[3:])
        here, there = styles.count(name), others.count(name)
        number = []
        if here > 1:
            number, rest = [int(rest[0])], rest[1:]
        elif here and there:
            number = [1]
        if number and position:
            number = [number[0] + there]
        named.append([*words[:3], name, *map(str, number), *rest])
    return named


def _moved(
    words: list[str], moved_to: Mapping[int, int | None], types: Sequence[int], second_types: Sequence[int]
) -> list[list[str]]:
    """Return a pair_coeff command for other types: those of elements that there are not are left out."""
    symbols = [chemical_symbols[z] for z in second_types]
    if words[1:3] == ["*", "*"]:
        names = words[-len(symbols) :]
        if all(name in (symbol, "NULL") for name, symbol in zip(names, symbols, strict=True)):
            name_of = dict(zip(second_types, names, strict=True))
            return [[*words[: -len(symbols)], *(name_of.get(z, "NULL") for z in types)]]
        return [words]
    pairs = {tuple(sorted((i, j))) for i in _types(words[1], len(moved_to)) for j in _types(words[2], len(moved_to))}
    allowed = combinations_with_replacement(range(1, len(moved_to) + 1), 2)
    here = [tuple(moved_to[k] for k in pair) for pair in allowed if pair in pairs]
    return [["pair_coeff", *map(str, sorted(pair)), *words[3:]] for pair in here if None not in pair]  # type: ignore[type-var]


def _types(word: str, count: int) -> range:
    """Return the types that a word of pair_coeff stands for: a number, or a range with an asterisk."""
    low, asterisk, high = word.partition("*")
    if not asterisk:
        return range(int(low), int(low) + 1)
    return range(int(low or 1), int(high or count) + 1)
