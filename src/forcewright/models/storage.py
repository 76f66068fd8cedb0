"""How potentials lie on disk: one JSON file that names its kind, beside arrays that are never pickled."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from forcewright.errors import InputError
from forcewright.files import atomic_write, write_arrays
from forcewright.models.kept_files import write_files

FORMAT = "forcewright-potential"
VERSION = 1


def write_potential(
    folder: str | Path, kind: str, content: Mapping[str, Any], *,
    arrays: Mapping[str, Mapping[str, ArrayLike]] | None = None, files: Mapping[str, bytes] | None = None,
) -> Path:  # fmt: skip
    """Write the folder of a potential and return it: what describes it comes last.

    Parameters
    ----------
    content
        What ``potential.json`` says beside its kind, as plain data.
    arrays
        Arrays of each NPZ file, by its name.
    files
        Further files, by their names.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, of_file in (arrays or {}).items():
        write_arrays(folder / name, of_file)
    write_files(folder, files or {})
    head = {"format": FORMAT, "version": VERSION, "kind": kind}
    atomic_write(folder / "potential.json", json.dumps({**head, **content}, indent=1, allow_nan=False) + "\n")
    return folder


def read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read the arrays of an NPZ file that `write_potential` wrote.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"is damaged: {error}; save the potential again", file=path) from None


def read_json(path: Path, kind: str | None = None) -> dict[str, Any]:
    """Read a ``potential.json`` that `write_potential` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind or of a newer version.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError("does not exist; is this the folder of a saved potential?", file=path) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"is damaged: {error}", file=path) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError("is not a potential saved by Forcewright", file=path)
    if content.get("version", 0) > VERSION:
        raise InputError(f"has format version {content['version']}, this Forcewright reads up to {VERSION}", file=path)
    if kind is not None and content.get("kind") != kind:
        raise InputError(f"is of kind {content.get('kind')!r}, expected {kind!r}", file=path)
    return content
