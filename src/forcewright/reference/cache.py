"""Labels on disk, keyed by content: the same structure by the same reference is computed once.

One .npz per structure in a folder per reference, written atomically, never pickled. What is damaged is computed again,
so the folder may be deleted at any time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.errors import InputError
from forcewright.files import atomic_path, atomic_write, read_arrays
from forcewright.plain_data import parse_json
from forcewright.potential import Failure, Reference
from forcewright.reference.checks import checked_labels
from forcewright.structure import Labels, Structure

_VERSION = 1


@dataclass(frozen=True)
class LabelCache:
    """The labels that one reference gave.

    Parameters
    ----------
    folder
        Folder of this reference.
    """

    folder: Path

    @classmethod
    def of(cls, reference: Reference, folder: str | Path) -> LabelCache:
        """Return the cache of a reference inside a folder that several may share, and make it.

        Raises
        ------
        InputError
            If the folder cannot be made.
        """
        path = Path(folder) / reference.content_hash[:16]
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not (path / "reference.json").exists():
                about = {"name": reference.name, "content_hash": reference.content_hash}
                atomic_write(path / "reference.json", json.dumps(about, indent=1) + "\n")
        except OSError as error:
            raise InputError(f"cannot be used as a cache: {error}", file=Path(folder), field="cache") from None
        return cls(path)

    def get(self, structure: Structure) -> Labels | Failure | None:
        """Return what is known of a structure, None where nothing is."""
        try:
            content = read_arrays(self._path(structure))
            about = parse_json(str(content["about"]))
            if about["version"] != _VERSION:
                return None
            if "failure" in about:
                return Failure(str(about["failure"]), repeatable=True)
            stress = content.get("stress")
            labels = checked_labels(structure, float(content["energy"]), content["forces"], stress, about["info"])
        except Exception:  # absent or damaged in one of many ways
            return None
        return labels if isinstance(labels, Labels) else None

    def put(self, structure: Structure, result: Labels | Failure) -> None:
        """Keep labels, and failures that would repeat themselves."""
        about: dict[str, Any] = {"version": _VERSION}
        arrays: dict[str, Any] = {}
        if isinstance(result, Failure):
            if not result.repeatable:
                return
            about["failure"] = result.reason
        else:
            about["info"] = dict(result.info)
            arrays = {"energy": result.energy, "forces": result.forces}
            if result.stress is not None:
                arrays["stress"] = result.stress
        path = self._path(structure)
        path.parent.mkdir(exist_ok=True)
        with atomic_path(path) as temporary:
            np.savez(temporary, about=np.array(json.dumps(about)), **arrays)

    def _path(self, structure: Structure) -> Path:
        name = structure.content_hash
        return self.folder / name[:2] / f"{name[2:40]}.npz"
