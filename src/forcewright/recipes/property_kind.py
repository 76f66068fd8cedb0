"""Whether a file or folder is about a property beside the energy: told without importing what such a study needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from forcewright.errors import InputError
from forcewright.plain_data import parse_json, read_yaml

_KIND = "tensor-property"  # as `forcewright.properties.tensor_model` saves its models
_DENSITIES = "forcewright-dos"  # as `forcewright.properties.dos_model` does


def describes_property(config: object) -> bool:
    """Tell whether a file or a mapping is a config with ``target:``; False for whatever cannot be read."""
    return "target" in _content(config)


def describes_density(config: object) -> bool:
    """Tell whether the target of a config is a density of states, which has a grid."""
    target = _content(config).get("target")
    return isinstance(target, Mapping) and target.get("grid") is not None


def _content(config: object) -> Mapping[str, object]:
    if isinstance(config, str | Path):
        try:
            config = read_yaml(Path(config))
        except (InputError, OSError):
            return {}
    return config if isinstance(config, Mapping) else {}


def _folder_of(path: Path, name: str, key: str, value: str) -> Path | None:
    """Return the path, or ``model/`` in it, where a file ``name`` holds ``key: value``; None where neither has one."""
    for folder in (path, path / "model"):
        try:
            content = parse_json((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content.get(key) == value:
            return folder
    return None


def property_folder(path: Path) -> Path | None:
    """Return the folder of a property model: the path, or ``model/`` of a study; None where there is none."""
    return _folder_of(path, "potential.json", "kind", _KIND) or density_folder(path)


def property_unit(path: Path) -> str | None:
    """Return the unit of the property that a folder's model predicts; None where it names none."""
    folder = property_folder(path)
    if folder is None or not (folder / "potential.json").is_file():
        return None
    target = parse_json((folder / "potential.json").read_text(encoding="utf-8")).get("target")
    return target.get("unit") if isinstance(target, dict) else None


def density_folder(path: Path) -> Path | None:
    """Return the folder of a model of densities of states, as `property_folder` does."""
    return _folder_of(path, "dos.json", "format", _DENSITIES)
