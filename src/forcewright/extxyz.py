r"""The grammar of extended XYZ, for data sets and trajectories alike.

A frame is a line with the number of atoms, a comment of ``key=value`` pairs, and a row for each atom. The grammar is
that of ASE (https://ase-lib.org/ase/io/formatoptions.html#extxyz) and of https://github.com/libAtoms/extxyz:

==================  ===================================================================================================
``Properties``      columns as name:type:width with types S, R, I, L; ``species:S:1:pos:R:3`` where it is missing
``Lattice``         nine numbers, the cell vectors one after the other
``pbc``             three flags, as in ``T T F``; where missing, periodic if there is a Lattice that is not zero
``config_type``     text as it stands, also where it looks like a number; so is ``group``
keys                a word, or text in double quotes; a key without a value is true; none has two values
values              a word, or text in ``"..."`` (``\"`` stands for a quotation mark), ``'...'``, ``{...}`` or ``[...]``
numbers             words that are all integers, reals (``1.5D-3`` too) or booleans become those, several a list
``[[...], [...]]``  a list of lists
``"_JSON ..."``     anything else
==================  ===================================================================================================

The three names at the top, and those of elements and positions among the columns, are read in upper and lower case, as
GPUMD writes them; ``cell`` with nine numbers is a Lattice. A file whose name ends in ``.gz`` is unpacked as it is read,
and bytes that are not UTF-8 are taken for Latin-1.

Reading is our own because ASE moves labels into a calculator and cannot say in which frame a file is broken. It takes
time linear in the length of the file, whatever stands in it.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from forcewright.errors import InputError
from forcewright.plain_data import parse_json
from forcewright.structure import FloatArray, IntArray, Structure, atomic_number

_PLAIN = "species:S:1:pos:R:3"
#: What the structure is made of, by its name in lower case.
_STRUCTURAL = {"properties": "Properties", "lattice": "Lattice", "pbc": "pbc"}
#: Names of columns that the structure is made of, in lower case.
_ATOMIC = {name.lower(): name for name in ("species", "symbols", "Z", "numbers", "pos", "positions")}
#: Keys whose values are names, so that ``1e3`` is not a number.
_NAMES = ("config_type", "group")
_NEXT_KEY = re.compile(r"[^\s=]")
_BARE_KEY = re.compile(r'[^\s="]+')
_EQUALS = re.compile(r"\s*=\s*")
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*+)"')
_BRACKET = re.compile(r"[][{}]")
_WORD = re.compile(r"[^\s,]+")
_BARE_VALUE = re.compile(r'[^\s"]*')
_PLAIN_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_.+:/-]*")
_FORTRAN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))[dD]([+-]?\d+)", re.ASCII)
_WIDTH = re.compile(r"0*[1-9]\d{0,5}", re.ASCII)
_WHOLE = re.compile(r"\s*[+-]?\d{1,4000}\s*", re.ASCII)
_BOOLEANS = {"T": True, "F": False, "true": True, "false": False, "True": True, "False": False, "TRUE": True,
             "FALSE": False}  # fmt: skip
#: Where nothing but a flag is expected, in lower case.
_FLAGS = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}


class Column(NamedTuple):
    """One entry of Properties."""

    name: str
    kind: str
    width: int


@dataclass(frozen=True, eq=False)
class ExtxyzFrame:
    """One frame.

    Attributes
    ----------
    structure
        Its atoms, cell and periodicity.
    info
        What else the comment holds: text, numbers, booleans, and lists of them.
    arrays
        The other columns, (N,) or (N, width).
    ends_with_line_break
        Whether the last row does; at the end of a file it is not certain to be whole otherwise.
    comment
        The comment line where it holds no ``key=value`` pair.
    """

    structure: Structure
    info: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    ends_with_line_break: bool = True
    comment: str = ""


class CutOffError(InputError):
    """A file ends within a frame."""


# reading ----------------------------------------------------------------------------------------------------------


def read_frames(path: Path) -> Iterator[ExtxyzFrame | InputError]:
    """Yield the frames of a file, or the error of a frame, one at a time.

    Reading goes on after a frame whose values cannot be read. It ends at one whose number of lines is wrong, because
    nothing after it can be trusted; at a `CutOffError` if the file ends within it. Raises `InputError` if it holds no
    text.
    """
    at = 1  # number of the line
    with open_text(path) as file:
        for number in count():
            try:
                first = file.readline()
                while first.isspace():  # blank lines between frames are harmless
                    first, at = file.readline(), at + 1
                if not first:
                    return
                if number == 0 and ("\0" in first or not first.isascii()):
                    raise InputError("is not a text file, expected extended XYZ; is the suffix right?", file=path)
                atoms = _atom_count(first, at)
                comment, rows = file.readline(), list(islice(file, min(atoms, sys.maxsize)))
                if len(rows) < atoms:
                    raise _cut_off(comment, len(rows), atoms)
                pairs = list(_pairs(comment)) if "=" in comment else []
                columns = _parse_columns(_text_of(pairs, "properties") or _PLAIN)
                words = _split_rows(rows, columns, at + 2)
            except (EOFError, zlib.error) as error:
                yield CutOffError(f"the compressed file is cut off or damaged ({error})", file=path, frame=number)
                return
            except gzip.BadGzipFile as error:
                raise InputError(f"is not a gzip file though its name ends in .gz ({error})", file=path) from None
            except InputError as error:
                if error.file is not None:
                    raise
                yield type(error)(error.problem, file=path, frame=number, field=error.field)
                return
            try:
                frame = _assemble(words, columns, pairs, rows[-1].endswith("\n"))
                yield frame if pairs else replace(frame, comment=comment.strip())
            except InputError as error:
                yield InputError(error.problem, file=path, frame=number, field=error.field)
            at += atoms + 2


def open_text(path: Path) -> TextIO:
    """Open a file of text, unpacked where its name ends in .gz, in which only a line feed ends a line.

    A byte-order mark is skipped, and what is not UTF-8 is read as Latin-1, in which notes of old programs are.
    """
    how: dict[str, Any] = {"encoding": "utf-8-sig", "errors": _LATIN_1, "newline": "\n"}
    file: TextIO = (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rt", **how)
    return file


_LATIN_1 = "forcewright.latin-1"


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_LATIN_1, _as_latin_1)


def _atom_count(line: str, at: int) -> int:
    if not _WHOLE.fullmatch(line):
        raise InputError(
            f"line {at} is {_shorten(line.strip())}, expected the number of atoms; "
            "compare the number of atoms of the frame before with its rows",
            field="number of atoms",
        )
    atoms = int(line)
    if atoms < 1:
        raise InputError(f"line {at} promises {atoms} atoms; a frame needs at least one", field="number of atoms")
    return atoms


def _cut_off(comment: str, rows: int, atoms: int) -> CutOffError:
    if not comment.endswith("\n"):
        return CutOffError("the file ends before the end of the comment line; it is cut off", field="comment")
    return CutOffError(
        f"the file ends after {rows} of {atoms} atoms; it is cut off or the number of atoms is wrong",
        field="number of atoms",
    )


def parse_comment(comment: str) -> dict[str, Any]:
    """Return the ``key=value`` pairs of a comment line as text, numbers, booleans and lists of them.

    Properties, Lattice and pbc, in whatever case, stay text. Raises `InputError` if a key has two values.
    """
    return _values(list(_pairs(comment)))


def _values(pairs: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    info: dict[str, Any] = {}
    for key, opener, text in pairs:
        structural = _STRUCTURAL.get(key.lower())
        name = structural or key
        is_text = structural or (key.lower() in _NAMES and not text.startswith("_JSON "))
        value = text if is_text else _parse_value(opener, text)
        if name in info and info[name] != value:
            raise InputError("stands twice in the comment, with other values; keep the right one", field=key)
        info[name] = value
    return info


def _text_of(pairs: Sequence[tuple[str, str, str]], name: str) -> str | None:
    return next((text for key, _, text in pairs if key.lower() == name), None)


def _pairs(comment: str) -> Iterator[tuple[str, str, str]]:
    """Yield each key, what opens its value (nothing, a quotation mark or a bracket), and the value's text."""
    comment = comment.rstrip("\r\n")
    closing = _closing_brackets(comment)
    at, closes = 0, True

    def match_quoted() -> re.Match[str] | None:
        # If one quotation mark is never closed, all after it are escaped as seen from it, and never closed either.
        nonlocal closes
        quoted = _QUOTED.match(comment, at) if closes else None
        closes = quoted is not None
        return quoted

    while start := _NEXT_KEY.search(comment, at):
        at = start.start()
        key = match_quoted() if comment[at] == '"' else _BARE_KEY.match(comment, at)
        if key is None:
            at += 1
            continue
        name = key[0] if key.re is _BARE_KEY else _unescape(key[1])
        at = key.end()
        if (equals := _EQUALS.match(comment, at)) is None:
            yield name, "", "T"
            continue
        at = equals.end()
        opener = comment[at : at + 1]
        end = closing.get(at, -1) if opener in ("[", "{") else comment.find("'", at + 1) if opener == "'" else -1
        if opener == '"' and (quoted := match_quoted()) is not None:
            text, at = _unescape(quoted[1]), quoted.end()
        elif end > 0:
            text, at = comment[at + 1 : end], end + 1
        else:
            bare = _BARE_VALUE.match(comment, at)
            assert bare is not None
            opener, text, at = "", bare[0], bare.end()
        yield name, opener, text


def _closing_brackets(comment: str) -> dict[int, int]:
    """Return where each bracket that is closed is closed."""
    ends: dict[int, int] = {}
    opened: dict[str, list[int]] = {"]": [], "}": []}
    for bracket in _BRACKET.finditer(comment):
        if bracket[0] in "[{":
            opened["]" if bracket[0] == "[" else "}"].append(bracket.start())
        elif opened[bracket[0]]:
            ends[opened[bracket[0]].pop()] = bracket.start()
    return ends


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text) if "\\" in text else text


def _parse_value(opener: str, text: str) -> Any:
    if text.startswith("_JSON "):
        try:
            return parse_json(text.removeprefix("_JSON "))
        except ValueError as error:
            raise InputError(f"{_shorten(text)} is not JSON ({error})", field="comment") from None
    quoted_lists = opener == '"' and text.startswith("[[") and text.endswith("]]")
    if quoted_lists or (opener == "[" and "[" in text):
        return [_parse_value("", row) for row in re.findall(r"\[([^][]*)\]", text)]
    words = _WORD.findall(text)
    for convert in (_whole, _real, _BOOLEANS.__getitem__):
        try:
            values = [convert(word) for word in words]
        except (ValueError, KeyError):
            continue
        return values[0] if len(values) == 1 else values or text
    return text


def _whole(word: str) -> int:
    if not _WHOLE.fullmatch(word):  # int() takes 1_000 and the digits of every script
        raise ValueError(f"{_shorten(word)} is not a whole number")
    return int(word)


def _real(word: str) -> float:
    fortran = _FORTRAN.fullmatch(word)
    if "_" in word or not word.isascii():
        raise ValueError(f"{_shorten(word)} is not a number")
    return float(f"{fortran[1]}e{fortran[2]}" if fortran else word)


def _flag(word: str) -> bool:
    return _FLAGS[word.lower()]


#: What makes a value of a word, by the type of its column; reals go a faster way.
_CONVERT: dict[str, Callable[[str], Any]] = {"I": _whole, "S": str, "L": _flag}


@lru_cache(maxsize=64)  # most frames of a file have the same
def _parse_columns(properties: str) -> tuple[Column, ...]:
    parts = properties.split(":")
    if len(parts) % 3:
        raise InputError(f"{properties!r} is not a list of name:type:columns", field="Properties")
    columns: list[Column] = []
    for name, kind, width in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        if kind not in ("R", "I", "S", "L") or not _WIDTH.fullmatch(width):
            raise InputError(
                f"{name}:{kind}:{width} is not name:type:columns with a type of R, I, S, L", field="Properties"
            )
        name = _ATOMIC.get(name.lower(), name)
        if name in {column.name for column in columns}:
            raise InputError(f"names the column {name} twice", field="Properties")
        columns.append(Column(name, kind, int(width)))
    return tuple(columns)


def _split_rows(rows: list[str], columns: Sequence[Column], first_line: int) -> list[str]:
    """Return all words of the rows, after checking how many there are in each."""
    width = sum(column.width for column in columns)
    words = [row.split() for row in rows]
    for number, row in enumerate(words):
        if len(row) != width:
            cut_off = number == len(rows) - 1 and not rows[-1].endswith("\n")
            raise (CutOffError if cut_off else InputError)(
                f"line {first_line + number} has {len(row)} columns where Properties announces {width} "
                f"({', '.join(f'{c.name} {c.width}' for c in columns)}); correct the row, Properties, or the number of "
                f"atoms ({len(rows)})",
                field="Properties",
            )
    return list(chain.from_iterable(words))


def _assemble(
    words: list[str], columns: Sequence[Column], pairs: Sequence[tuple[str, str, str]], ends_with_line_break: bool
) -> ExtxyzFrame:
    info = _values(pairs)
    info.pop("Properties", None)
    lattice, pbc = _take_lattice(info, pairs), info.pop("pbc", None)
    width = sum(column.width for column in columns)
    arrays: dict[str, NDArray[Any]] = {}
    start = 0
    for column in columns:
        arrays[column.name] = _parse_column([words[start + k :: width] for k in range(column.width)], column)
        start += column.width
    numbers = _atomic_numbers(arrays)
    positions = arrays.pop("pos", arrays.pop("positions", None))
    if positions is None or positions.shape != (len(numbers), 3):
        raise InputError("there are no positions; Properties needs pos:R:3", field="pos")
    cell = _parse_lattice(lattice)
    structure = Structure(numbers, positions, cell, _parse_pbc(pbc, bool(cell.any())))
    return ExtxyzFrame(structure, info, arrays, ends_with_line_break)


def _take_lattice(info: dict[str, Any], pairs: Sequence[tuple[str, str, str]]) -> str | None:
    """Take the Lattice, or a ``cell`` in its place, from the values; a cell that is none must not go unnoticed."""
    lattice = info.pop("Lattice", None)
    cells = [key for key in info if key.lower() in ("cell", "unit_cell")]
    if not cells:
        return None if lattice is None else str(lattice)
    text = _text_of(pairs, cells[0].lower()) or ""
    numbers = _words(text)
    if len(numbers) != 9:
        if lattice is None:
            raise InputError(
                f"{_shorten(text)} is not nine numbers, and there is no Lattice; write "
                'Lattice="ax ay az bx by bz cx cy cz"',
                field=cells[0],
            )  # fmt: skip
        return str(lattice)
    if lattice is not None and not np.allclose(_parse_lattice(lattice), _parse_lattice(text, cells[0]), atol=1e-6):
        raise InputError("is another cell than Lattice; keep the right one", field=cells[0])
    del info[cells[0]]
    return text if lattice is None else str(lattice)


def _parse_column(texts: list[list[str]], column: Column) -> NDArray[Any]:
    """Return the values (N,) or (N, width) of one entry of Properties."""
    try:
        if column.kind == "R":
            values = np.array([_reals(text) for text in texts])
        else:
            kind = np.int64 if column.kind == "I" else None  # beyond 64 bits there would be objects
            values = np.array([[_CONVERT[column.kind](word) for word in text] for text in texts], dtype=kind)
    except (ValueError, KeyError, OverflowError) as error:
        reason = f"a row holds {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"the column does not hold numbers of type {column.kind} ({reason})", field=column.name
        ) from None
    return values[0] if column.width == 1 else np.ascontiguousarray(values.T)


def _reals(words: list[str]) -> list[float]:
    together = "".join(words)
    if "_" in together or not together.isascii():  # float() takes 1_000 and the digits of every script
        return list(map(_real, words))
    try:
        return list(map(float, words))
    except ValueError:
        return list(map(_real, words))


def _atomic_numbers(arrays: dict[str, NDArray[Any]]) -> IntArray:
    symbols = arrays.pop("species", arrays.pop("symbols", None))
    numbers = arrays.pop("Z", arrays.pop("numbers", None))
    if symbols is None:
        if numbers is None:
            raise InputError("there are no elements; Properties needs species:S:1 or Z:I:1", field="species")
        return numbers.ravel()  # Structure refuses what is not whole
    words = symbols.astype(str).ravel().tolist()
    number_of = {word: _element(word) for word in dict.fromkeys(words)}
    return np.array([number_of[word] for word in words], dtype=np.int64)


def _element(word: str) -> int:
    """Return the atomic number of a symbol in upper or lower case, or of the number itself."""
    symbol = word.capitalize()
    if _WHOLE.fullmatch(word):
        return max(min(int(word), len(chemical_symbols)), 0)  # Structure refuses what is not in the table
    return atomic_number(symbol if symbol in atomic_numbers else word, "species")


def _parse_lattice(text: str | None, field: str = "Lattice") -> FloatArray:
    try:
        return np.zeros((3, 3)) if text is None else np.array(_reals(_words(text))).reshape(3, 3)
    except ValueError:
        raise InputError(f"{_shorten(str(text))} is not nine numbers", field=field) from None


def _parse_pbc(text: str | None, periodic: bool) -> NDArray[np.bool_]:
    words = _words("FT"[periodic] if text is None else text)
    if len(words) == 1:
        words = list(words[0]) if len(words[0]) == 3 else words * 3  # TTF, or T for all
    try:
        return np.array([_flag(word) for word in words]).reshape(3)
    except (KeyError, ValueError):
        raise InputError(f'{text!r} is not three of T and F, as in pbc="T T F"', field="pbc") from None


def _words(text: str) -> list[str]:
    return re.findall(r"[^\s,\[\]]+", text)


def _shorten(text: str) -> str:
    return repr(text if len(text) < 40 else text[:40] + "...")


# writing ----------------------------------------------------------------------------------------------------------


def format_frame(
    structure: Structure, columns: Mapping[str, NDArray[Any]], pairs: Mapping[str, str], *, aligned: bool = False
) -> str:
    """Return the lines of one frame.

    Parameters
    ----------
    columns
        Numbers (N, k) that follow the positions, and after them truth values.
    pairs
        Further keys and what `format_value` or `quote` return of their values.
    aligned
        Whether columns are aligned, with 17 significant digits; otherwise numbers have the fewest digits that read
        back exactly.
    """
    kinds = {name: "L" if values.dtype == bool else "R" for name, values in columns.items()}
    ordered = sorted(columns, key=lambda name: kinds[name] == "L")
    properties = _PLAIN + "".join(f":{name}:{kinds[name]}:{columns[name].shape[1]}" for name in ordered)
    words = [f"Lattice={format_value(structure.cell.ravel().tolist())}"] if structure.cell.any() else []
    words += [f"Properties={properties}", f"pbc={format_value(structure.pbc.tolist())}"]
    words += [f"{key if _PLAIN_TEXT.fullmatch(key) else quote(key)}={text}" for key, text in pairs.items()]
    symbols = [chemical_symbols[z] for z in structure.numbers]
    numbers = np.hstack([structure.positions, *(columns[name] for name in ordered if kinds[name] == "R")]).tolist()
    flags = [columns[name] for name in ordered if kinds[name] == "L"]
    table = zip(symbols, numbers, strict=True)
    if aligned:
        rows = [f"{symbol:2s} {' '.join([f'{value:24.16e}' for value in row])}" for symbol, row in table]
    else:
        rows = [f"{symbol} {' '.join(map(repr, row))}" for symbol, row in table]
    if flags:
        rows = [
            f"{row} {' '.join('FT'[flag] for flag in values)}"
            for row, values in zip(rows, np.hstack(flags).astype(int).tolist(), strict=True)
        ]
    return "\n".join([str(len(structure)), " ".join(words), *rows]) + "\n"


def format_value(value: Any) -> str:
    """Return the text that reads back as a value of Python's own text, numbers, booleans, lists and dicts."""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list) and len(value) > 1 and {type(item) for item in value} in ({bool}, {int}, {float}):
        return '"' + " ".join(format_value(item) for item in value) + '"'
    if isinstance(value, str) and value and value == " ".join(value.split()) and _is_text(value):
        return value if _PLAIN_TEXT.fullmatch(value) else quote(value)
    # Text that would read back as something else (numbers, booleans, line breaks) and nested values travel as JSON.
    return quote("_JSON " + json.dumps(value))


def _is_text(value: str) -> bool:
    return not value.startswith("_JSON ") and _parse_value('"', value) == value


def quote(text: str) -> str:
    """Return text in double quotes, with spaces for line breaks."""
    return '"' + re.sub(r"[\r\n]", " ", text).replace("\\", "\\\\").replace('"', '\\"') + '"'
