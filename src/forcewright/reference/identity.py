"""What computes energies and forces, as a hash: equal hashes, equal numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from forcewright.files import scratch_folder
from forcewright.models import load, potential_path
from forcewright.models.pair_style import PairStylePotential
from forcewright.models.pretrained import PretrainedPotential
from forcewright.potential import Potential

#: Files beside a saved potential that do not decide what it predicts.
_NO_NUMBERS = {"in.lammps", "structure.data", "in.extrapolation.lammps", "model.yaml", "model.asi", "NOTICE.txt"}


def hash_parts(parts: Iterable[bytes]) -> str:
    """Return the SHA-256 of byte strings, in order and apart from each other."""
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


def identify(source: Potential | str | Path) -> tuple[Potential, str, str]:
    """Return a potential, or what `load` reads at a path, its name, and the SHA-256 of its files as they are saved."""
    if isinstance(source, (str, Path)):
        path = potential_path(source)
        return load(path), Path(source).name, hash_files(potential_files(path))
    name = source.name if isinstance(source, PairStylePotential | PretrainedPotential) else type(source).__name__
    with scratch_folder("identity") as folder:
        return source, name, hash_files(potential_files(source.save(folder / "potential")))


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
