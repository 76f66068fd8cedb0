"""What stands behind ``potential:`` in a settings file, as a force field.

Three things can stand there: the path of a potential, ``{lammps: {pair_style: …, pair_coeff: …}}``, or
``{ase: "module:factory", kwargs: {…}}``. The module of a factory is imported like any other: it must be installed or
lie on ``PYTHONPATH``. The folder of the settings file is not searched, so that a file which happens to lie there never
runs because of its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from forcewright.errors import InputError
from forcewright.lammps_session import LammpsNative
from forcewright.models import load
from forcewright.models.pair_style import PairStylePotential, pair_style_potential
from forcewright.potential import Potential
from forcewright.recipes.settings_file import validate
from forcewright.reference.ase_factory import AseFactory
from forcewright.reference.identity import hash_files, hash_parts, hash_saved, potential_files
from forcewright.reference.settings import PairStyleSettings
from forcewright.simulation.force_field import ForceField

__all__ = ["AseFactory", "ForceFieldSettings", "PairStyleSettings", "force_field"]

_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ForceFieldSettings(BaseModel):
    """A source of forces that is not a file: exactly one of lammps and ase."""

    model_config = _STRICT

    lammps: PairStyleSettings | None = None
    """A LAMMPS pair style."""
    ase: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """Module and name of something that returns an ASE calculator, such as ase.calculators.emt:EMT."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments for it."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.lammps is None) == (self.ase is None):
            raise ValueError("needs a path, {lammps: ...} or {ase: ...}, and one of them only")
        if self.kwargs and self.ase is None:
            raise ValueError("kwargs are for ase")
        return self


def force_field(source: str | Path | Potential | Mapping[str, Any], base: Path) -> ForceField:
    """Return the force field of what stands behind ``potential:`` in a settings file.

    Parameters
    ----------
    source
        A path, a potential, or a mapping as `ForceFieldSettings` reads it.
    base
        Folder that paths are relative to.

    Raises
    ------
    InputError
        If anything in it is not known, does not exist or cannot be used.
    MissingExtraError
        If the package of an ASE calculator is an extra that is not installed.
    """
    if isinstance(source, str | Path):
        path = base / source
        return _of_potential(load(path), path.name, hash_files(potential_files(path)))
    if isinstance(source, Mapping):
        return _of_settings(_validated(source), base)
    if isinstance(source, Potential):
        return _of_potential(source, type(source).__name__, hash_saved(source))
    raise InputError(
        f"is a {type(source).__name__}; give a path, a potential, {{lammps: ...}} or {{ase: 'module:factory'}}",
        field="potential",
    )


def _validated(source: Mapping[str, Any]) -> ForceFieldSettings:
    try:
        return validate(ForceFieldSettings, dict(source))
    except InputError as error:
        raise InputError(error.problem, field=".".join(filter(None, ["potential", error.field]))) from None


def _of_settings(settings: ForceFieldSettings, base: Path) -> ForceField:
    if settings.lammps is None:
        module, _, name = str(settings.ase).partition(":")
        return _of_factory(AseFactory(module, name, settings.kwargs))
    given = settings.lammps
    try:
        potential = pair_style_potential(given.pair_style, given.pair_coeff, base, given.species, given.cutoff)
    except InputError as error:
        raise InputError(error.problem, field=f"potential.lammps.{error.field}") from None
    return _of_potential(potential, potential.name, hash_saved(potential))


def _of_potential(potential: Potential, name: str, content_hash: str) -> ForceField:
    native = potential.pair_style if isinstance(potential, LammpsNative) else None
    if isinstance(potential, PairStylePotential):
        content_hash = hash_parts([content_hash.encode(), metadata.version("lammps").encode()])
    return ForceField(name, potential.calculator, content_hash, potential.species, potential, native)


def _of_factory(factory: AseFactory) -> ForceField:
    factory()  # whether it works is told now, and not after an hour
    return ForceField(f"{factory.name} ({factory.module})", factory, factory.content_hash)
