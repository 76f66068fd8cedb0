"""What a reference is, as a hash: equal hashes, equal labels."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from forcewright.potential import Potential

_NO_NUMBERS = {"in.lammps", "structure.data"}  # files beside a saved potential that do not decide what it predicts


def hash_parts(parts: Iterable[bytes]) -> str:
    """Return the SHA-256 of byte strings, in order, each told from the next."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def hash_settings(kind: str, settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain settings, whatever their order."""
    return hash_parts([kind.encode(), json.dumps(dict(settings), sort_keys=True, default=str).encode()])


def hash_files(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the contents of files, in order."""
    return hash_parts(file.read_bytes() for file in files)


def hash_saved(potential: Potential) -> str:
    """Return the SHA-256 of what a potential writes when it is saved."""
    with tempfile.TemporaryDirectory(prefix="forcewright-") as folder:
        return hash_files(potential_files(potential.save(Path(folder) / "potential")))


def potential_files(path: Path) -> list[Path]:
    """Return the files that decide what the potential at a path predicts."""
    folder = path.parent if path.name == "potential.json" else path
    if folder.is_dir():
        inside = (file for file in sorted(folder.iterdir()) if file.is_file())
        return [file for file in inside if file.name not in _NO_NUMBERS and not file.name.startswith(".")]
    if path.suffix in (".snapcoeff", ".snapparam"):
        return [path.with_suffix(".snapcoeff"), path.with_suffix(".snapparam")]
    return [path]


def version_of(package: str) -> str:
    """Return the version of an installed package; 'unknown' where it is not installed as one."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
