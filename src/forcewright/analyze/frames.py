"""What every analysis asks of its frames: at least one, and the same atoms in each."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from forcewright.errors import InputError
from forcewright.structure import IntArray, Structure
from forcewright.trajectory import Frames, Snapshot, snapshots

_log = logging.getLogger(__name__)


def same_atoms(frames: Frames, *, ordered: bool = False) -> Iterator[Snapshot]:
    """Yield the snapshots of ``frames`` one at a time, all of one composition.

    Parameters
    ----------
    ordered
        Whether each atom must also keep its place in the list.

    Raises
    ------
    InputError
        If there is no frame, or one holds other atoms than the first, or holds a position that is not finite; one
        at the end, where a simulation broke down, is left out with a warning.
    """
    file = frames if isinstance(frames, str | Path) else None
    first: IntArray | None = None
    stream = snapshots(frames)
    for index, snapshot in enumerate(stream):
        structure = snapshot.structure
        if not np.isfinite(structure.positions).all():
            if index and next(stream, None) is None:
                _log.warning("an atom has no finite position in the last frame (%d), which is left out", index)
                return
            raise InputError("an atom has no finite position", file=file, frame=index, field="positions")
        numbers = structure.numbers if ordered else np.sort(structure.numbers)
        if first is None:
            first = numbers
        elif not np.array_equal(first, numbers):
            raise InputError(_difference(first, numbers), file=file, frame=index, field="numbers")
        yield snapshot
    if first is None:
        raise InputError("holds no frame; an analysis needs at least one", file=file, field="frames")


def _difference(first: IntArray, numbers: IntArray) -> str:
    if np.array_equal(np.sort(first), np.sort(numbers)):
        return "lists its atoms in another order than the first frame; sort them by their number before"
    return f"holds {formula(numbers)}, the first frame {formula(first)}; analyze frames of one composition at a time"


def formula(numbers: IntArray) -> str:
    """Return the chemical formula of atomic numbers, such as ``Ge2Sb2Te5``."""
    kinds, counts = np.unique(numbers, return_counts=True)
    return "".join(f"{chemical_symbols[z]}{n if n > 1 else ''}" for z, n in zip(kinds, counts, strict=True))


def symbols_of(structure: Structure) -> tuple[str, ...]:
    """Return the species that occur, by ascending atomic number."""
    return tuple(chemical_symbols[z] for z in np.unique(structure.numbers))


def species_index(structure: Structure, species: Sequence[str]) -> IntArray:
    """Return for each atom (N,) its place in ``species``, -1 where it is none of them."""
    index_of = np.full(len(chemical_symbols), -1, dtype=np.int64)
    for index, symbol in enumerate(species):
        index_of[atomic_numbers[symbol]] = index
    return index_of[structure.numbers]


def known_symbol(symbol: str, structure: Structure, field: str) -> str:
    """Return ``symbol``; raise InputError if it does not occur in the structure."""
    if symbol not in symbols_of(structure):
        there = ", ".join(symbols_of(structure))
        raise InputError(f"is {symbol!r}, the frames hold {there}", field=field)
    return symbol


def require_periodic(structure: Structure, purpose: str) -> None:
    """Raise InputError unless the cell is periodic in three directions, since ``purpose`` needs a volume."""
    if not structure.pbc.all() or structure.volume <= 0:
        raise InputError(f"has open directions; {purpose} needs a cell periodic in all three", field="pbc")


def length(value: float, field: str) -> float:
    """Return ``value`` if it is a length above 0 Å."""
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"is {value}; it must be a length above 0 Å", field=field)
    return float(value)


def at_least(value: int, lowest: int, field: str) -> int:
    """Return ``value`` if it is a whole number not below ``lowest``."""
    if int(value) != value or value < lowest:
        raise InputError(f"is {value}; it must be a whole number of at least {lowest}", field=field)
    return int(value)
