"""Files that belong to a potential: they lie in its folder beside their hashes, and travel with it in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from forcewright.errors import InputError
from forcewright.files import atomic_write


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder and folders of it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)


def hashes_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file, by name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def read_files(folder: Path, hashes: Any) -> dict[str, bytes]:
    """Read files that `write_files` wrote, and that have these hashes.

    Raises
    ------
    InputError
        If a file is missing, is not what was written, or would lie outside the folder.
    """
    if not isinstance(hashes, Mapping) or not hashes:
        raise InputError("names no files; save the potential again", file=folder / "potential.json", field="files")
    files = {}
    for name, expected in hashes.items():
        path = folder / plain_name(name, file=folder / "potential.json")
        if not path.is_file():
            raise InputError("is missing; copy the whole folder of the potential", file=path)
        files[name] = path.read_bytes()
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise InputError("is not the file that was saved (its SHA-256 differs); copy or save it again", file=path)
    return files


def plain_name(name: object, *, file: Path | None = None, field: str | None = "files") -> str:
    """Return a relative file name that stays inside its folder.

    Raises
    ------
    InputError
        If it is anything else.
    """
    parts = PurePosixPath(str(name)).parts
    if not isinstance(name, str) or not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise InputError(f"{name!r} is not the name of a file inside the folder", file=file, field=field)
    return name
