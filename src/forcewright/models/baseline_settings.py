"""What stands behind ``baseline:`` in a settings file: a saved potential, or a LAMMPS pair style."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forcewright.configs import StrictModel, validate
from forcewright.errors import InputError
from forcewright.models import load
from forcewright.models.pair_style.settings import PairStyleSettings
from forcewright.potential import Potential


class BaselineSettings(StrictModel):
    """A LAMMPS pair style as a baseline."""

    lammps: PairStyleSettings
    """The pair style, with charges where it has any."""
    folder: Path = Path()
    """Where files lie that it names."""


def baseline_from(value: Any, folder: Path) -> Any:
    """Return what stands behind ``baseline`` with its files taken from a folder; what is no such thing as it is."""
    if isinstance(value, str | Path):
        return str((folder / value).resolve())
    if isinstance(value, Mapping) and "folder" not in value:
        return {**value, "folder": str(folder.resolve())}
    return value


def baseline_of(source: str | Path | Mapping[str, Any] | Potential) -> Potential:
    """Return the potential that stands behind ``baseline``.

    Raises
    ------
    InputError
        If it does not exist or is not understood, or would run a program without consent.
    """
    if isinstance(source, Mapping):
        if set(source) - {"folder"} != {"lammps"}:
            named = ", ".join(map(str, set(source) - {"folder"})) or "nothing"
            raise InputError(
                f"has {named}; a baseline is kept with the potential, so give the path of one, or {{lammps: …}}",
                field="baseline",
            )
        try:
            settings = validate(BaselineSettings, dict(source))
            return settings.lammps.potential(settings.folder)
        except InputError as error:
            inner = error.field or ""
            field = inner if inner.startswith("lammps") else f"lammps.{inner}"
            raise InputError(error.problem, file=error.file, field=f"baseline.{field}".rstrip(".")) from None
    if isinstance(source, str | Path):
        try:
            return load(source)
        except InputError as error:
            raise InputError(error.problem, file=error.file, field="baseline") from None
    return source
