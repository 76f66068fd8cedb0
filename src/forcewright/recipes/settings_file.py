"""YAML files into validated settings; every mistake becomes one sentence that names file and field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from forcewright.configs import validate
from forcewright.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    InputError
        If the file is missing or holds anything else.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError("does not exist", file=path) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"is no readable YAML: {' '.join(str(error).split())}", file=path) from None
    if not isinstance(content, Mapping):
        raise InputError("is no mapping; expected keys such as data, model and output", file=path)
    return dict(content)


def read_settings(model: type[Model], config: str | Path | Mapping[str, Any]) -> tuple[Model, Path, Path | None]:
    """Read and validate a YAML file, or its content.

    Returns
    -------
    settings
        The validated settings.
    folder
        What relative paths in it are relative to: the file's folder, or the working directory.
    file
        The file, None where the content itself was given.

    Raises
    ------
    InputError
        If the file cannot be read, or a value is not allowed; names the field.
    """
    if isinstance(config, Mapping):
        return validate(model, dict(config)), Path.cwd(), None
    file = Path(config)
    return validate(model, read_yaml(file), file), file.parent, file
