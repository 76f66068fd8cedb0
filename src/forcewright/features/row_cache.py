"""Design rows kept on disk or in memory, keyed by content: the same structure in the same basis is computed once."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from forcewright.errors import InputError
from forcewright.files import read_array
from forcewright.potential import Basis, DesignRows
from forcewright.structure import Structure

Rows = Callable[[Structure], DesignRows]


class KeptRows(Protocol):
    """Where design rows are kept."""

    def rows_of(self, basis: Basis) -> Rows:
        """Return a function that gives the rows of a structure, kept ones where there are any."""

    def prune(self) -> None:
        """Let go of what was used longest ago, down to the limit."""


@dataclass(frozen=True)
class RowMemory:
    """Design rows in the memory of this process, up to a limit; beyond it they are computed anew each time.

    What is kept does not travel to other processes.
    """

    limit_bytes: int
    _kept: dict[str, dict[str, DesignRows]] = field(default_factory=dict, repr=False)
    _sizes: dict[str, int] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        """Travel without the rows."""
        return RowMemory, (self.limit_bytes,)

    def rows_of(self, basis: Basis) -> Rows:
        """Return a function that gives the rows of a structure, kept ones where there are any."""
        key = _key(basis)
        kept = self._kept.pop(key, {})
        self._kept[key] = kept  # the last used is the last in order
        self._sizes.setdefault(key, 0)

        def rows(structure: Structure) -> DesignRows:
            name = structure.content_hash
            if name not in kept:
                computed = basis.rows(structure)
                size = sum(part.nbytes for part in computed)
                if sum(self._sizes.values()) + size > self.limit_bytes:
                    return computed
                kept[name] = computed
                self._sizes[key] += size
            return kept[name]

        return rows

    def prune(self) -> None:
        """Keep the rows of the basis used last alone where half of the limit is reached."""
        for key in list(self._kept)[:-1]:
            if sum(self._sizes.values()) > self.limit_bytes // 2:
                del self._kept[key], self._sizes[key]


@dataclass(frozen=True)
class RowCache:
    """A folder of design rows with a size limit; the settings used longest ago go first.

    What is damaged or missing is computed again, so the folder may be deleted at any time.
    """

    folder: Path
    limit_bytes: int

    def rows_of(self, basis: Basis) -> Rows:
        """Return a function that gives the rows of a structure, from the cache where they are in it."""
        folder = self.folder / _key(basis)

        def rows(structure: Structure) -> DesignRows:
            path = folder / f"{structure.content_hash[:32]}.npy"
            table = _load(path, (1 + 3 * len(structure) + 6, basis.size + 1))
            if table is not None:
                return _split(table, len(structure))
            computed = basis.rows(structure)
            if self.limit_bytes > 0:
                _store(path, computed)
            return computed

        return rows

    def prune(self) -> None:
        """Remove the settings used longest ago until the folder keeps its limit."""
        total = 0
        for _, path in sorted(((_age(path), path) for path in self.folder.glob("*")), reverse=True):
            total += _bytes_in(path)
            if total > self.limit_bytes:
                shutil.rmtree(path, ignore_errors=True)

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _key(basis: Basis) -> str:
    return hashlib.sha256(repr(basis).encode()).hexdigest()[:24]


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another worker removed it meanwhile
        return 0.0


def _bytes_in(folder: Path) -> int:
    try:
        with os.scandir(folder) as files:
            return sum(file.stat().st_size for file in files)
    except OSError:
        return 0


def _split(table: np.ndarray, atoms: int) -> DesignRows:
    design = table[:, :-1]
    return DesignRows(design[0], design[1 : 1 + 3 * atoms], design[1 + 3 * atoms :], table[:, -1])


def _load(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    try:
        table = read_array(path)
    except InputError:
        return None
    return table if table.shape == shape else None


def _store(path: Path, rows: DesignRows) -> None:
    """Write by rename, so that no reader sees half a file; a full disk only means no cache."""
    table = np.column_stack([np.vstack([rows.energy, rows.forces, rows.virial]), rows.offset])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            np.save(file, table, allow_pickle=False)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True) if "name" in locals() else None
