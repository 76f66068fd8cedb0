"""What stands behind ``baseline:`` in a settings file: a saved potential, or what computes without a fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from forcewright.configs import StrictModel, validate
from forcewright.errors import InputError
from forcewright.models import load
from forcewright.models.calculator_potential import NamedCalculator
from forcewright.models.pair_style.settings import PairStyleSettings
from forcewright.models.pretrained import PretrainedPotential
from forcewright.potential import Potential


class BaselineSettings(StrictModel):
    """What computes a baseline without a fit: exactly one of lammps, pretrained and ase."""

    lammps: PairStyleSettings | None = None
    """A LAMMPS pair style, with charges where it has any."""
    pretrained: str | None = None
    """A pretrained model by name, such as chgnet: the fit learns what labels differ from it by."""
    ase: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """Module and name of something that returns an ASE calculator, such as tblite.ase:TBLite; what can do more than
    compute needs FORCEWRIGHT_ALLOW_COMMANDS=1, whenever the potential is read."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments for it."""
    folder: Path = Path()
    """Where files lie that the pair style names."""


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
        kinds = sorted(set(source) - {"folder", "kwargs"})
        if len(kinds) != 1 or kinds[0] not in ("lammps", "pretrained", "ase"):
            raise InputError(
                f"has {' and '.join(map(str, kinds)) or 'nothing'}; a baseline is kept with the potential, so give the "
                "path of one, {lammps: …}, {pretrained: …} or {ase: …}", field="baseline",
            )  # fmt: skip
        try:
            settings = validate(BaselineSettings, dict(source))
            if settings.pretrained is not None:
                return PretrainedPotential(settings.pretrained)
            if settings.ase is not None:
                made = NamedCalculator(settings.ase, settings.kwargs)
                made.calculator()  # whether it works shows now
                return made
            assert settings.lammps is not None
            return settings.lammps.potential(settings.folder)
        except InputError as error:
            inner = error.field or ""
            field = inner if inner.split(".")[0] in (*kinds, "kwargs") else f"{kinds[0]}.{inner}"
            raise InputError(error.problem, file=error.file, field=f"baseline.{field}".rstrip(".")) from None
    if isinstance(source, str | Path):
        try:
            return load(source)
        except InputError as error:
            raise InputError(error.problem, file=error.file, field="baseline") from None
    return source
