"""Atomic writing: a file is either the old one or the whole new one, never half of it."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from forcewright.errors import InputError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give the path of a temporary file in the same folder that replaces ``path`` when the block ends well.

    For libraries that insist on opening files themselves; if the block raises, nothing of it remains.

    Raises
    ------
    InputError
        If the folder of ``path`` does not exist or ``path`` is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError("is a folder, expected the name of a file to write", file=target)
    if not target.parent.is_dir():
        raise InputError(f"cannot be written: the folder {target.parent} does not exist; create it", file=target)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())  # mkstemp gives 0600, an ordinary file does not
        os.replace(temporary, target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: str | Path, content: str | bytes) -> Path:
    """Write text (UTF-8) or bytes to ``path`` so that it is never half-written, and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


def write_arrays(path: str | Path, arrays: Mapping[str, ArrayLike], *, compressed: bool = False) -> Path:
    """Write arrays to an NPZ file like `atomic_write`, and return the path.

    Raises
    ------
    ValueError
        If an array holds objects, which only pickle could store.
    """
    buffer = io.BytesIO()
    write = np.savez_compressed if compressed else np.savez
    write(buffer, allow_pickle=False, **arrays)
    return atomic_write(path, buffer.getvalue())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
