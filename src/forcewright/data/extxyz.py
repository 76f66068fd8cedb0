"""Extended XYZ, the format most training sets are published in.

The grammar is ASE's (https://ase-lib.org/ase/io/formatoptions.html#extxyz); the reader is our own because ASE refuses
a stress of six numbers, moves labels into a calculator and cannot say in which frame a file is broken. The writer
keeps every digit (17 significant).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from forcewright.data.raw import RawFrame, RawFrames, plain
from forcewright.errors import InputError
from forcewright.files import atomic_write
from forcewright.structure import Dataset, FloatArray, Frame, Structure

_PAIR = re.compile(
    r"""("(?:\\.|[^"\\])*"|[^\s="]+)              # key
        (?:\s*=\s*("(?:\\.|[^"\\])*"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|[^\s"]*))?   # value, perhaps in quotes or brackets
    """,
    re.VERBOSE,
)
_BOOLEANS = {"T": True, "F": False, "true": True, "false": False, "True": True, "False": False, "TRUE": True,
             "FALSE": False}  # fmt: skip
_TAKEN = dict.fromkeys(("Lattice", "Properties", "pbc"))
_TYPES: dict[str, type] = {"R": float, "I": int, "S": str, "L": bool}
_PLAIN_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_.+:/-]*")


class _Column(NamedTuple):
    name: str
    kind: str
    width: int


def read_extxyz(path: Path) -> RawFrames:
    """Yield the frames of an extended XYZ file.

    A frame whose numbers cannot be read yields its error and reading goes on; when the number of lines is wrong,
    nothing after it can be trusted and the reader stops there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError("is not a text file, expected extended XYZ; is the suffix right?", file=path) from None
    at, frame = 0, 0
    while at < len(lines):
        if not lines[at].strip():  # blank lines between frames are harmless
            at += 1
            continue
        try:
            count = _count(lines, at)
            columns, info = _header(lines[at + 1])
            rows = _rows(lines, at, count, columns)
        except InputError as error:
            yield InputError(error.problem, file=path, frame=frame, field=error.field)
            return
        try:
            yield _frame(rows, columns, info)
        except InputError as error:
            yield InputError(error.problem, file=path, frame=frame, field=error.field)
        at, frame = at + count + 2, frame + 1


def _count(lines: list[str], at: int) -> int:
    try:
        count = int(lines[at])
    except ValueError:
        raise InputError(
            f"line {at + 1} is {_shortened(lines[at])}, expected the number of atoms; "
            "compare the number of atoms of the frame before with its rows",
            field="number of atoms",
        ) from None
    if count < 1:
        raise InputError(f"line {at + 1} promises {count} atoms; a frame needs at least one", field="number of atoms")
    if at + 1 >= len(lines):
        raise InputError("the file ends before the comment line; it is cut off", field="comment")
    return count


def _rows(lines: list[str], at: int, count: int, columns: list[_Column]) -> list[list[str]]:
    rows = [line.split() for line in lines[at + 2 : at + 2 + count]]
    if len(rows) < count:
        raise InputError(
            f"the file ends after {len(rows)} of {count} atoms; it is cut off or the number of atoms is wrong",
            field="number of atoms",
        )
    width = sum(column.width for column in columns)
    for number, row in enumerate(rows):
        if len(row) != width:
            raise InputError(
                f"line {at + 3 + number} has {len(row)} columns where Properties announces {width} "
                f"({', '.join(f'{c.name} {c.width}' for c in columns)}); mend the row, Properties, or the number of "
                f"atoms ({count})",
                field="Properties",
            )
    return rows


def _header(comment: str) -> tuple[list[_Column], dict[str, Any]]:
    extended = "=" in comment
    info = parse_comment(comment) if extended else {}
    properties = info.pop("Properties", "species:S:1:pos:R:3")
    return _columns(str(properties)), info


def _columns(properties: str) -> list[_Column]:
    parts = properties.split(":")
    if len(parts) % 3:
        raise InputError(f"{properties!r} is not a list of name:type:columns", field="Properties")
    columns = []
    for name, kind, width in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        if kind not in _TYPES or not width.isdigit() or not int(width):
            raise InputError(
                f"{name}:{kind}:{width} is not name:type:columns with a type of R, I, S, L", field="Properties"
            )
        columns.append(_Column(name, kind, int(width)))
    return columns


def parse_comment(comment: str) -> dict[str, Any]:
    """Parse the ``key=value`` pairs of a comment line into text, numbers, booleans and lists of them."""
    return {
        _unquoted(found.group(1)): True if found.group(2) is None else _value(found.group(2))
        for found in _PAIR.finditer(comment)
    }


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text[1:-1] if len(text) > 1 and text[0] in "'{[" else text


def _value(text: str) -> Any:
    content = _unquoted(text)
    if content.startswith("_JSON "):
        try:
            return json.loads(content.removeprefix("_JSON "))
        except json.JSONDecodeError as error:
            raise InputError(f"{_shortened(content)} is not JSON ({error})", field="comment") from None
    words = re.findall(r"[^\s,]+", content)
    for convert in (int, float, _BOOLEANS.__getitem__):
        try:
            values = [convert(word) for word in words]
        except (ValueError, KeyError):
            continue
        return values[0] if len(values) == 1 else values or content
    return content


def _frame(rows: list[list[str]], columns: list[_Column], info: dict[str, Any]) -> RawFrame:
    arrays: dict[str, NDArray[Any]] = {}
    start = 0
    for column in columns:
        cells = [row[start : start + column.width] for row in rows]
        arrays[column.name] = _array(cells, column)
        start += column.width
    numbers = _numbers(arrays)
    positions = arrays.pop("pos", arrays.pop("positions", None))
    if positions is None or positions.shape != (len(rows), 3):
        raise InputError("there are no positions; Properties needs pos:R:3", field="pos")
    lattice = info.pop("Lattice", None)
    cell = np.zeros((3, 3)) if lattice is None else _cell(lattice)
    pbc = info.pop("pbc", [lattice is not None] * 3)
    return RawFrame(Structure(numbers, positions, cell, _pbc(pbc)), info, arrays)


def _array(cells: list[list[str]], column: _Column) -> NDArray[Any]:
    try:
        if column.kind == "L":
            values = np.array([[_BOOLEANS[cell] for cell in row] for row in cells])
        else:
            values = np.array(cells).astype(_TYPES[column.kind])
    except (ValueError, KeyError) as error:
        reason = f"a row holds {error}" if isinstance(error, KeyError) else str(error).replace("np.str_", "")
        raise InputError(
            f"the column does not hold numbers of type {column.kind} ({reason})", field=column.name
        ) from None
    return values[:, 0] if column.width == 1 else values


def _numbers(arrays: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    symbols = arrays.pop("species", arrays.pop("symbols", None))
    numbers = arrays.pop("Z", arrays.pop("numbers", None))
    if symbols is None:
        if numbers is None:
            raise InputError("there are no elements; Properties needs species:S:1 or Z:I:1", field="species")
        return numbers.astype(np.int64)
    unknown = [symbol for symbol in symbols if not atomic_numbers.get(str(symbol).capitalize())]
    if unknown:
        raise InputError(f"{str(unknown[0])!r} is not the symbol of an element", field="species")
    return np.array([atomic_numbers[str(symbol).capitalize()] for symbol in symbols])


def _cell(lattice: Any) -> FloatArray:
    try:
        return np.array(lattice, dtype=np.float64).reshape(3, 3)
    except (ValueError, TypeError):
        raise InputError(f"{_shortened(str(lattice))} is not nine numbers", field="Lattice") from None


def _pbc(pbc: Any) -> NDArray[np.bool_]:
    flags = pbc if isinstance(pbc, list) else [pbc] * 3
    if len(flags) != 3 or any(flag not in (0, 1) for flag in flags):
        raise InputError(f'{pbc!r} is not three of T and F, as in pbc="T T F"', field="pbc")
    return np.array(flags, dtype=bool)


def _shortened(text: str) -> str:
    return repr(text if len(text) < 40 else text[:40] + "...")


def write_extxyz(dataset: Dataset, path: Path) -> None:
    """Write labels as REF_energy, REF_forces and REF_stress (nine numbers), the group as config_type."""
    atomic_write(path, "".join(line + "\n" for frame in dataset for line in _lines(frame)))


def _lines(frame: Frame) -> Iterator[str]:
    structure, labels, _ = frame
    properties, table = "species:S:1:pos:R:3", structure.positions
    if labels.forces is not None:
        properties, table = properties + ":REF_forces:R:3", np.hstack([table, labels.forces])
    pairs: dict[str, Any] = {}
    if labels.energy is not None:
        pairs["REF_energy"] = labels.energy
    if labels.stress is not None:
        pairs["REF_stress"] = labels.stress.ravel()
    pairs["config_type"] = labels.group
    pairs |= {key: value for key, value in labels.info.items() if key not in pairs | _TAKEN}
    lattice = [f"Lattice={_text(structure.cell.ravel())}"] if structure.cell.any() else []
    words = [f"{_quoted_key(key)}={_text(value)}" for key, value in pairs.items()]
    yield str(len(structure))
    yield " ".join([*lattice, f"Properties={properties}", f"pbc={_text(structure.pbc)}", *words])
    for number, row in zip(structure.numbers, table, strict=True):
        yield " ".join([f"{chemical_symbols[number]:2s}", *(f"{x:24.16e}" for x in row)])


def _quoted_key(key: str) -> str:
    return key if _PLAIN_TEXT.fullmatch(key) else '"' + _escaped(key) + '"'


def _text(value: Any) -> str:
    value = plain(value)
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list) and len(value) > 1 and {type(item) for item in value} in ({bool}, {int}, {float}):
        return '"' + " ".join(_text(item) for item in value) + '"'
    if isinstance(value, str) and _PLAIN_TEXT.fullmatch(value) and _value(value) == value:
        return value
    if (
        isinstance(value, str)
        and value
        and value == " ".join(value.split())
        and _value(f'"{_escaped(value)}"') == value
    ):
        return '"' + _escaped(value) + '"'
    # Text that would read back as something else (numbers, booleans, line breaks) and nested values travel as JSON.
    return '"' + _escaped("_JSON " + json.dumps(value)) + '"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
