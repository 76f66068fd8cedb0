"""magres files: NMR parameters beside the structure they were computed for (https://www.ccpnc.ac.uk/docs/magres).

=======================  ======  =======================  ==================================================
key                      per     unit                     meaning
=======================  ======  =======================  ==================================================
``ms``                   atom    ppm                      absolute magnetic shielding, nine numbers, row by row
``efg``, ``efg_local``,  atom    a.u. (Eh/e/a0²)          electric field gradient
``efg_nonlocal``
``isc``, ``isc_...``     pair    10^19.T^2.J^-1           reduced J-coupling: ``isc_pairs`` (n, 2) and ``isc``
``sus``                  frame   10^-6.cm^3.mol^-1        macroscopic susceptibility
=======================  ======  =======================  ==================================================

``has_ms`` and so on say which atoms have a value. ASE reads such files, too; this reader names the line of what is
wrong, and atoms without a value do not turn its arrays into Python objects.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from gzip import BadGzipFile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcewright.configs import echo
from forcewright.data.raw import RawFrame, RawFrames
from forcewright.errors import InputError
from forcewright.extxyz import open_text
from forcewright.plain_data import real
from forcewright.structure import FloatArray, Structure, atomic_number
from forcewright.units import BOHR

_PER_ATOM = ("ms", "efg", "efg_local", "efg_nonlocal")
_PER_PAIR = ("isc", "isc_fc", "isc_spin", "isc_orbital_p", "isc_orbital_d")
#: The unit that each kind of tensor is kept in, and the spellings of it that files use.
UNITS = {
    "ms": ("ppm",), "efg": ("au", "a.u."), "isc": ("10^19.T^2.J^-1",), "sus": ("10^-6.cm^3.mol^-1",),
}  # fmt: skip
_LENGTHS = {"angstrom": 1.0, "ang": 1.0, "bohr": BOHR, "au": BOHR, "a.u.": BOHR}


def read_magres(path: Path) -> RawFrames:
    """Yield the one structure of a magres file with its tensors; the error of what is wrong with it otherwise."""
    try:
        yield _frame(_blocks(path))
    except InputError as error:
        yield InputError(error.problem, file=path, frame=0, field=error.field)


def _blocks(path: Path) -> dict[str, list[tuple[int, list[str]]]]:
    """Return the lines of each block, as words, with their numbers."""
    blocks: dict[str, list[tuple[int, list[str]]]] = {}
    current: str | None = None
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, 1):
                text = line.strip()
                if number == 1 and not text.startswith("#$magres"):
                    raise InputError("is not a magres file; its first line is #$magres-abinitio-v1.0", file=path)
                if not text or text.startswith("#"):
                    continue
                if tag := re.fullmatch(r"[<\[](/?)(\w+)[>\]]", text):
                    if tag[1] and current != tag[2]:
                        raise InputError(f"line {number} closes [{tag[2]}], which is not open", field=tag[2])
                    current = None if tag[1] else tag[2]
                    blocks.setdefault(tag[2], [])
                elif current is not None:
                    blocks[current].append((number, text.split()))
    except BadGzipFile as error:
        raise InputError(f"is not a gzip file though its name ends in .gz ({error})", file=path) from None
    except (EOFError, zlib.error) as error:
        raise InputError(f"the compressed file is cut off or damaged ({error})") from None
    if current is not None:
        raise InputError(f"the file ends within [{current}]; it is cut off", field=current)
    if "atoms" not in blocks:
        raise InputError("there is no block [atoms]", field="atoms")
    return blocks


def _frame(blocks: dict[str, list[tuple[int, list[str]]]]) -> RawFrame:
    atoms = blocks["atoms"]
    scale = {name: _length(atoms, name) for name in ("lattice", "atom")}
    cell = np.zeros((3, 3))
    symbols: list[str] = []
    sites: dict[tuple[str, str], int] = {}
    positions: list[FloatArray] = []
    for number, words in atoms:
        if words[0] == "lattice":
            cell = _reals(words[1:], number, "lattice", 9).reshape(3, 3) * scale["lattice"]
        elif words[0] == "atom":
            if len(words) != 7:
                raise InputError(
                    f"line {number} has {len(words)} words, expected: atom species label index x y z", field="atom"
                )
            symbols.append(words[1].partition(":")[0])
            site = words[2], words[3]
            if site in sites:
                raise InputError(f"line {number}: the atom {' '.join(site)} stands twice", field="atom")
            sites[site] = len(sites)
            positions.append(_reals(words[4:], number, "atom", 3) * scale["atom"])
    if not sites:
        raise InputError("there is no atom in the block [atoms]", field="atom")
    numbers = np.array([atomic_number(symbol, "atom") for symbol in symbols])
    structure = Structure(numbers, np.array(positions), cell, np.full(3, bool(cell.any())))
    return RawFrame(structure, *_tensors(blocks.get("magres", []), sites))


def _length(lines: Sequence[tuple[int, list[str]]], name: str) -> float:
    """Return Å per unit of the lattice or of positions; 1 where there is neither."""
    stated = [(number, words) for number, words in lines if words[0] == "units" and words[1:2] == [name]]
    if not stated:
        if any(words[0] == name for _, words in lines):
            raise InputError(f"there is no unit of the {name}; write 'units {name} Angstrom'", field="units")
        return 1.0
    number, words = stated[0]
    if (unit := " ".join(words[2:])).lower() not in _LENGTHS:
        raise InputError(f"line {number}: the unit {unit!r} is not known; allowed are Angstrom, Bohr", field="units")
    return _LENGTHS[unit.lower()]


def _tensors(
    lines: Sequence[tuple[int, list[str]]], sites: dict[tuple[str, str], int]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    info: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    pairs: dict[str, list[tuple[int, int]]] = {}
    couplings: dict[str, list[FloatArray]] = {}
    for number, words in lines:
        tag = words[0]
        if tag == "units":
            _check_unit(words, number)
        elif tag == "sus":
            info["sus"] = _reals(words[1:], number, tag, 9)
        elif tag in _PER_ATOM:
            (site,), rest = _sites(words[1:], 1, sites, number, tag)
            values = arrays.setdefault(tag, np.zeros((len(sites), 9)))
            known = arrays.setdefault(f"has_{tag}", np.zeros(len(sites), dtype=bool))
            if known[site]:
                raise InputError(f"line {number}: the atom has two values; keep the right one", field=tag)
            values[site], known[site] = _reals(rest, number, tag, 9), True
        elif tag in _PER_PAIR:
            both, rest = _sites(words[1:], 2, sites, number, tag)
            pairs.setdefault(tag, []).append((both[0], both[1]))
            couplings.setdefault(tag, []).append(_reals(rest, number, tag, 9))
        else:
            raise InputError(f"line {number}: {echo(tag)} is not known; allowed are units, sus, "
                             f"{', '.join((*_PER_ATOM, *_PER_PAIR))}", field="magres")  # fmt: skip
    for tag, which in pairs.items():
        info[f"{tag}_pairs"], info[tag] = np.array(which), np.array(couplings[tag])
    return info, arrays


def _check_unit(words: Sequence[str], number: int) -> None:
    kind = words[1].split("_")[0] if len(words) > 1 else ""
    if kind not in UNITS:
        raise InputError(f"line {number}: {echo(kind)} is not known; allowed are {', '.join(UNITS)}", field="units")
    unit = " ".join(words[2:])
    if unit not in UNITS[kind]:
        raise InputError(f"line {number}: the unit {unit!r} of {kind} is not known; allowed is {UNITS[kind][0]}",
                         field="units")  # fmt: skip


def _sites(
    words: Sequence[str], count: int, sites: dict[tuple[str, str], int], number: int, tag: str
) -> tuple[list[int], list[str]]:
    """Return the positions of the atoms a tensor belongs to, and its words.

    CASTEP leaves no space between a label and an index of three digits: ``H1222`` is ``H1 222``.
    """
    rest = list(words)
    chosen: list[int] = []
    for _ in range(count):
        site = (rest[0], rest[1]) if len(rest) > 1 else ("", "")
        if site in sites:
            del rest[:2]
        elif rest and (site := (rest[0][:-3], rest[0][-3:])) in sites:
            del rest[:1]
        else:
            raise InputError(f"line {number} speaks of the atom {' '.join(words[:2])}, which is not in [atoms]",
                             field=tag)  # fmt: skip
        chosen.append(sites[site])
    return chosen, rest


def _reals(words: Sequence[str], number: int, field: str, count: int) -> FloatArray:
    if len(words) != count:
        raise InputError(f"line {number} holds {len(words)} numbers, expected {count}", field=field)
    values = np.array([_real(word, number, field) for word in words])
    if not np.isfinite(values).all():
        raise InputError(f"line {number} holds NaN or infinity", field=field)
    return values


def _real(word: str, number: int, field: str) -> float:
    try:
        return real(word)
    except ValueError:
        raise InputError(f"line {number} holds {echo(word)}, which is not a number", field=field) from None
