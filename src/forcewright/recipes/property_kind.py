"""Whether a file or folder is about a property beside the energy: told without importing what such a study needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from forcewright.errors import InputError
from forcewright.plain_data import parse_json, read_yaml

_KIND = "tensor-property"  # as `forcewright.properties.tensor_model` saves its models


def describes_property(config: Path) -> bool:
    """Tell whether a file is a config with ``target:``; False for whatever cannot be read."""
    try:
        content = read_yaml(config)
    except (InputError, OSError):
        return False
    return isinstance(content, Mapping) and "target" in content


def property_folder(path: Path) -> Path | None:
    """Return the folder of a property model: the path, or ``model/`` of a study; None where there is none."""
    for folder in (path, path / "model"):
        try:
            content = parse_json((folder / "potential.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content.get("kind") == _KIND:
            return folder
    return None
