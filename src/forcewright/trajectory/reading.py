"""Frames from anywhere as a stream of snapshots."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sized
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms, FixCartesian, FixScaled
from numpy.typing import NDArray

from forcewright.errors import InputError
from forcewright.structure import Frame, Structure, Structures, as_structures, from_voigt, results_of
from forcewright.trajectory.extxyz import count_extxyz, read_extxyz
from forcewright.trajectory.h5md import count_h5md, read_h5md
from forcewright.trajectory.snapshot import Snapshot

_log = logging.getLogger(__name__)

#: What analyses take: a file, one frame, or frames one after the other.
Frames = str | Path | Snapshot | Structure | Atoms | Iterable[Snapshot | Structure | Atoms]

#: What takes structures takes these, or the name of a file of them.
StructuresOrFile: TypeAlias = "str | Path | Structures"

_READERS = {".xyz": read_extxyz, ".extxyz": read_extxyz, ".h5": read_h5md, ".h5md": read_h5md}
_COUNTERS = {".xyz": count_extxyz, ".extxyz": count_extxyz, ".h5": count_h5md, ".h5md": count_h5md}


def snapshots(frames: Frames) -> Iterator[Snapshot]:
    """Yield the snapshots of a trajectory file or of frames in memory, one at a time.

    Extended XYZ and H5MD are read here, other formats by ASE. A file that ends within a frame gives the whole ones
    where it is extended XYZ, and a logged warning.

    Raises
    ------
    InputError
        If the file does not exist, cannot be read or holds no frame; says in which frame it is broken.
    """
    if isinstance(frames, str | Path):
        yield from _read(Path(frames))
        return
    if isinstance(frames, Snapshot | Structure | Atoms):
        frames = [frames]
    for frame in frames:
        yield _snapshot(frame)


def structures_of(frames: StructuresOrFile) -> list[Structure]:
    """Return the structures of a file, of a trajectory or of frames in memory, one or several, as a list.

    Raises
    ------
    InputError
        If a file cannot be read, or there is anything else among them.
    """
    if isinstance(frames, str | Path):
        return [snapshot.structure for snapshot in snapshots(frames)]
    return as_structures(frames)


def count_frames(frames: Frames) -> int | None:
    """Return the number of frames where it is had without reading them; None where it is not."""
    if isinstance(frames, str | Path):
        count = _COUNTERS.get(Path(frames).suffix.lower())  # packed files would have to be read
        return count(Path(frames)) if count is not None and Path(frames).is_file() else None
    return len(frames) if isinstance(frames, Sized) else None


def _read(path: Path) -> Iterator[Snapshot]:
    try:
        exists = path.is_file()
    except OSError as error:  # a name longer than names may be
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    if not exists:
        raise InputError("does not exist", file=path)
    if path.stat().st_size == 0:
        raise InputError("is empty; it holds no frame", file=path)
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix if name.endswith((".xyz.gz", ".extxyz.gz")) else path.suffix.lower()
    reader = _READERS.get(suffix, _read_with_ase)
    yield from reader(path)


def _read_with_ase(path: Path) -> Iterator[Snapshot]:
    from ase.io.formats import UnknownFileTypeError, iread  # takes half a second, which every worker would wait for

    _require_usable_dump(path)
    number = 0
    try:
        for atoms in iread(path):
            yield _snapshot(atoms)
            number += 1
    except UnknownFileTypeError:
        raise InputError("is of no format that can be read; .extxyz and .h5 are best", file=path) from None
    except (InputError, GeneratorExit):
        raise
    except Exception as error:  # each of ASE's readers raises what it likes
        raise InputError(f"cannot be read: {type(error).__name__}: {error}", file=path, frame=number) from None
    if number == 0:
        raise InputError("holds no frame", file=path)


def _require_usable_dump(path: Path) -> None:
    """Refuse a LAMMPS dump that names types alone, which ASE takes for atomic numbers: type 1 for hydrogen.

    And one that announces more atoms than its bytes can hold, which ASE's reader would look for without an end.
    """
    with open(path, "rb") as file:
        start = file.read(1 << 16)
        if start.startswith(b"ITEM: "):
            with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                for number, count in enumerate(re.finditer(rb"^ITEM: NUMBER OF ATOMS\s+(\d+)", content, re.MULTILINE)):
                    if len(count[1]) > 18 or int(count[1]) > len(content):
                        problem = f"announces {count[1][:20].decode()} atoms, more than the file holds"
                        raise InputError(problem, file=path, frame=number, field="NUMBER OF ATOMS")
    columns = re.search(rb"^ITEM: ATOMS([^\n]*)", start, re.MULTILINE)
    if start.startswith(b"ITEM: ") and columns is not None and b"element" not in columns[1].split():
        raise InputError(
            "is a LAMMPS dump that names types and no elements; write the column element (dump ... custom ... id "
            "element x y z; dump_modify ... element Si O)", file=path, field="element",
        )  # fmt: skip


def _snapshot(frame: Snapshot | Structure | Atoms) -> Snapshot:
    if isinstance(frame, Snapshot):
        return frame
    if isinstance(frame, Structure):
        return Snapshot(frame)
    if isinstance(frame, Frame):
        return Snapshot(frame.structure)
    if not isinstance(frame, Atoms):
        raise InputError(f"holds a {type(frame).__name__}; give a file, ASE atoms, structures or snapshots")
    atoms: Any = frame
    masses, info = atoms.get_masses(), atoms.info
    momenta = atoms.arrays.get("momenta")
    results = results_of(atoms)
    stress = results.get("stress")
    return Snapshot(
        Structure.from_ase(atoms), info.get("step"), info.get("time"),
        None if momenta is None else momenta / masses[:, None] * units.fs, results.get("energy"),
        results.get("forces"), None if stress is None else from_voigt(stress), masses=masses, fixed=_fixed(atoms),
    )  # fmt: skip


def _fixed(atoms: Any) -> NDArray[np.bool_] | None:
    """Return which coordinates (N, 3) the constraints of ASE atoms hold; others than fixed atoms are warned of."""
    fixed = np.zeros((len(atoms), 3), dtype=bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            fixed[constraint.index] = True
        elif isinstance(constraint, FixCartesian | FixScaled):  # the mask tells what is held
            fixed[constraint.index] |= np.asarray(constraint.mask, dtype=bool)
        else:
            _log.warning("the constraint %s is not known and not kept", type(constraint).__name__)
    return fixed if fixed.any() else None
