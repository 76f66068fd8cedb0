"""Trajectories as extended XYZ: written and read one frame at a time, with every digit.

Columns are those ASE knows: positions in Å, momenta in ASE's unit sqrt(u eV) (velocities are momenta / masses), forces
in eV/Å, and masses in u where they are not those of the elements. The comment holds Lattice, pbc, energy (eV), stress
(nine numbers, eV/Å³), step, time (fs) and stage.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from ase import units
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from forcewright.errors import InputError
from forcewright.structure import FloatArray, IntArray, Structure, from_voigt
from forcewright.trajectory.snapshot import Snapshot

_log = logging.getLogger(__name__)

_PAIR = re.compile(r'([A-Za-z_][\w.-]*)\s*=\s*("[^"]*"|\'[^\']*\'|\{[^}]*\}|\[[^\]]*\]|[^\s"]+)')
_PLAIN = "species:S:1:pos:R:3"
_TRUE, _FALSE = ("T", "True", "true", "TRUE", "1"), ("F", "False", "false", "FALSE", "0")
#: Names of columns, ours first.
_COLUMNS = {
    "species": ("species", "symbols"), "Z": ("Z", "numbers"), "pos": ("pos", "positions"), "momenta": ("momenta",),
    "velocities": ("velocities", "velo", "vel"), "forces": ("forces", "force"), "masses": ("masses", "mass"),
}  # fmt: skip


class ExtxyzWriter:
    """Appends snapshots to an extended XYZ file.

    Parameters
    ----------
    offset
        Bytes of the file to keep; what comes after them is cut off.
    """

    def __init__(self, path: Path, *, forces: bool = False, offset: int = 0) -> None:
        self.path, self._forces = path, forces
        self._file = open_at(path, offset)

    def write(self, snapshot: Snapshot, stage: str = "") -> None:
        """Append one frame."""
        self._file.write(frame_text(snapshot, forces=self._forces, stage=stage).encode())

    def sync(self) -> int:
        """Bring everything to the disk and return the number of bytes."""
        return sync(self._file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def finish(self) -> Path:
        """Close the file and return it."""
        self.close()
        return self.path


def open_at(path: Path, offset: int) -> IO[bytes]:
    """Open a file for appending after its first ``offset`` bytes, which alone are kept."""
    file = open(path, "r+b" if offset else "wb")  # noqa: SIM115  # writers close it
    if file.seek(0, 2) < offset:
        file.close()
        raise InputError(f"is shorter than the {offset} bytes written so far; start again with --fresh", file=path)
    file.seek(offset)
    file.truncate()
    return file


def sync(file: IO[bytes]) -> int:
    """Bring what was written to the disk and return the number of bytes in the file."""
    file.flush()
    os.fsync(file.fileno())
    return file.tell()


def frame_text(snapshot: Snapshot, *, forces: bool = True, stage: str = "") -> str:
    """Return one frame; numbers have the fewest digits that read back exactly."""
    structure = snapshot.structure
    properties, columns = _PLAIN, [structure.positions]
    if snapshot.velocities is not None:
        properties += ":momenta:R:3"
        columns.append(snapshot.velocities * (snapshot.masses[:, None] / units.fs))
    if forces and snapshot.forces is not None:
        properties += ":forces:R:3"
        columns.append(snapshot.forces)
    if not np.array_equal(snapshot.masses, atomic_masses[structure.numbers]):
        properties += ":masses:R:1"
        columns.append(snapshot.masses[:, None])
    lines = [str(len(structure)), _comment(snapshot, properties, stage)]
    symbols = [chemical_symbols[z] for z in structure.numbers]
    rows = np.hstack(columns).tolist()
    lines += [f"{symbol} {' '.join(map(repr, row))}" for symbol, row in zip(symbols, rows, strict=True)]
    return "\n".join(lines) + "\n"


def _comment(snapshot: Snapshot, properties: str, stage: str) -> str:
    structure = snapshot.structure
    words = [f"Lattice={_quoted(structure.cell)}"] if structure.cell.any() else []
    words += [f"Properties={properties}", f'pbc="{" ".join("FT"[int(one)] for one in structure.pbc)}"']
    numbers = {"step": snapshot.step, "time": snapshot.time, "energy": snapshot.energy}
    words += [f"{name}={value!r}" for name, value in numbers.items() if value is not None]
    if snapshot.stress is not None:
        words.append(f"stress={_quoted(snapshot.stress)}")
    if stage:
        words.append('stage="' + re.sub(r'["\\\s]+', " ", stage).strip() + '"')
    return " ".join(words)


def _quoted(matrix: FloatArray) -> str:
    return '"' + " ".join(map(repr, matrix.ravel().tolist())) + '"'


class _Header(NamedTuple):
    columns: dict[str, tuple[int, int]]  # first and last + 1 column of each quantity
    width: int
    info: dict[str, str]


class _CutOff(Exception):
    """The file ends within a frame."""


def read_extxyz(path: Path) -> Iterator[Snapshot]:
    """Yield the frames of an XYZ or extended XYZ file, one at a time.

    A file that ends within a frame, as that of a running simulation may, gives the whole ones and a logged warning.

    Raises
    ------
    InputError
        If a frame cannot be read, or there is none; says which.
    """
    number = 0
    with open(path, encoding="utf-8", errors="replace") as file:
        while True:
            try:
                snapshot = _next_frame(file)
            except _CutOff:
                if number == 0:
                    raise InputError("ends within its first frame", file=path, frame=0) from None
                _log.warning("%s ends within frame %d, which is left out", path, number)
                return
            except InputError as error:
                raise InputError(error.problem, file=path, frame=number, field=error.field) from None
            if snapshot is None:
                break
            yield snapshot
            number += 1
    if number == 0:
        raise InputError("holds no frame", file=path)


def _next_frame(file: IO[str]) -> Snapshot | None:
    first = file.readline()
    while first.isspace():  # blank lines between frames are harmless
        first = file.readline()
    if not first:
        return None
    try:
        count = int(first)
    except ValueError:
        text = first.strip() if len(first) < 40 else first[:40] + "..."
        raise InputError(f"{text!r} stands where the number of atoms is expected") from None
    if count < 1:
        raise InputError(f"promises {count} atoms; a frame needs at least one")
    comment = file.readline()
    lines = list(islice(file, count))
    if len(lines) < count or not (lines[-1].endswith("\n") or _complete(lines, comment)):
        raise _CutOff
    return _parse(lines, count, _header(comment))


def _complete(lines: list[str], comment: str) -> bool:
    """Whether the last line, which no line break ends, is whole: not in files of ours, which all end with one."""
    return "step=" not in comment and len(lines[-1].split()) == len(lines[0].split())


def _header(comment: str) -> _Header:
    info = {key: value.strip("\"'{}[]") for key, value in _PAIR.findall(comment)}
    parts = info.pop("Properties", _PLAIN).split(":")
    names = {alias: name for name, aliases in _COLUMNS.items() for alias in aliases}
    columns, width = {}, 0
    try:
        for name, columns_wide in zip(parts[::3], map(int, parts[2::3]), strict=True):
            if name in names:
                columns[names[name]] = (width, width + columns_wide)
            width += columns_wide
    except ValueError:
        raise InputError(f"{':'.join(parts)!r} is not a list of name:type:columns", field="Properties") from None
    if "pos" not in columns or not ({"species", "Z"} & set(columns)):
        raise InputError("names no species and pos; there are no atoms without them", field="Properties")
    return _Header(columns, width, info)


def _parse(lines: list[str], count: int, header: _Header) -> Snapshot:
    words = "".join(lines).split()
    if len(words) != count * header.width:
        bad = next((k for k, line in enumerate(lines) if len(line.split()) != header.width), 0)
        raise InputError(
            f"row {bad} has {len(lines[bad].split())} columns, Properties announces {header.width}; mend the row or "
            f"the number of atoms ({count})"
        )
    parts = {name: _column(words, header, name) for name in header.columns if name not in ("species", "Z")}
    numbers = _numbers(words, header)
    cell, pbc = _cell(header.info)
    masses = parts["masses"][:, 0] if "masses" in parts else atomic_masses[numbers]
    velocities = parts.get("velocities")
    if "momenta" in parts:
        velocities = parts["momenta"] / masses[:, None] * units.fs
    return Snapshot(
        Structure(numbers, parts["pos"], cell, pbc), _number(header.info, "step", int),
        _number(header.info, "time", float), velocities, _number(header.info, "energy", float), parts.get("forces"),
        _stress(header.info), None, masses,
    )  # fmt: skip


def _column(words: list[str], header: _Header, name: str) -> FloatArray:
    first, last = header.columns[name]
    wanted = 1 if name == "masses" else 3
    if last - first != wanted:
        raise InputError(f"has {last - first} columns, expected {wanted}", field=name)
    try:
        return np.array([list(map(float, words[k :: header.width])) for k in range(first, last)]).T.copy()
    except ValueError as error:
        raise InputError(f"is not a column of numbers ({error})", field=name) from None


def _numbers(words: list[str], header: _Header) -> IntArray:
    if "species" not in header.columns:
        return np.array(words[header.columns["Z"][0] :: header.width]).astype(np.int64)
    symbols = words[header.columns["species"][0] :: header.width]
    try:
        return np.array([_atomic_number(symbol) for symbol in symbols], dtype=np.int64)
    except KeyError as error:
        raise InputError(f"{error.args[0]!r} is not the symbol of an element", field="species") from None


def _atomic_number(symbol: str) -> int:
    """Return the atomic number of a symbol, or of the number itself."""
    return int(symbol) if symbol.isdigit() else int(atomic_numbers[symbol])


def _cell(info: dict[str, str]) -> tuple[FloatArray, NDArray[np.bool_]]:
    lattice = info.get("Lattice", "")
    cell = _matrix(lattice, "Lattice") if lattice else np.zeros((3, 3))
    flags = info.get("pbc", " ".join("TTT" if lattice else "FFF")).replace(",", " ").split()
    if len(flags) != 3 or any(flag not in _TRUE + _FALSE for flag in flags):
        raise InputError(f'{info["pbc"]!r} is not three of T and F, as in pbc="T T F"', field="pbc")
    return cell, np.array([flag in _TRUE for flag in flags])


def _matrix(text: str, name: str) -> FloatArray:
    try:
        values = np.array([float(word) for word in text.replace(",", " ").replace("[", " ").replace("]", " ").split()])
        return from_voigt(values) if name == "stress" and len(values) == 6 else values.reshape(3, 3)
    except ValueError:
        raise InputError(f"{text!r} is not nine numbers", field=name) from None


def _stress(info: dict[str, str]) -> FloatArray | None:
    return _matrix(info["stress"], "stress") if "stress" in info else None


def _number(info: dict[str, str], name: str, kind: Any) -> Any:
    if name not in info:
        return None
    try:
        return kind(info[name])
    except ValueError:
        raise InputError(f"{info[name]!r} is not a number", field=name) from None


def count_extxyz(path: Path) -> int | None:
    """Return the number of frames, if all have as many atoms as the first; counts line breaks only."""
    with open(path, "rb") as file:
        try:
            rows = int(file.readline()) + 2
        except ValueError:
            return None
        breaks = 1 + sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 22), b""))
    return breaks // rows
