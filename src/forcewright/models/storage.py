"""How potentials lie on disk: one JSON file that names its kind, beside arrays that are never pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forcewright.errors import InputError
from forcewright.files import atomic_write

FORMAT = "forcewright-potential"
VERSION = 1


def write_json(path: Path, kind: str, content: Mapping[str, Any]) -> Path:
    """Write the description of a potential atomically."""
    head = {"format": FORMAT, "version": VERSION, "kind": kind}
    return atomic_write(path, json.dumps({**head, **content}, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, kind: str | None = None) -> dict[str, Any]:
    """Read what `write_json` wrote.

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
