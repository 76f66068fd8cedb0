"""What stands behind ``potential:`` in a settings file, as a force field.

It is the path of a potential, or what labels structures as well (`forcewright.reference.settings`): ``{xtb: GFN1-xTB}``
or ``{xtb: {method: …, accuracy: …}}``, ``{lammps: {pair_style: …, pair_coeff: …}}``,
``{ase: "module:factory", kwargs: {…}}``, or ``{pretrained: chgnet}``; or a potential with electrons at a temperature by
a model of densities of states, ``{hot_electrons: {potential: …, dos: …, electronic_temperature_K: …}}``.

The module of a factory is imported like any other: it must be installed or lie on ``PYTHONPATH``. The folder of the
settings file is not searched, so that a file which happens to lie there never runs because of its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms
from pydantic import Field

from forcewright.configs import StrictModel, validate
from forcewright.errors import InputError
from forcewright.force_field import ForceField
from forcewright.models import load, potential_path
from forcewright.models.pair_style import PairStylePotential
from forcewright.models.pretrained import PretrainedPotential
from forcewright.potential import Potential
from forcewright.properties.dos_model import DosModel
from forcewright.properties.hot_electrons import HotElectronPotential
from forcewright.reference.calculators import CalculatorReference
from forcewright.reference.identity import hash_parts, identify, version_of
from forcewright.reference.settings import CalculatorSettings, calculator_reference
from forcewright.structure import Frame, Labels
from forcewright.trajectory import Snapshot


class HotElectronSettings(StrictModel):
    """A potential and a model of densities of states, together the free energy of hot electrons."""

    potential: Path | dict[str, Any]
    """Folder or file of the potential at 0 K, or {lammps: ...} or {pretrained: ...}."""
    dos: Path
    """Folder of the model of densities of states (`forcewright.properties.dos_model`)."""
    electronic_temperature_K: float = Field(ge=0)
    """Temperature of the electrons."""

    def read(self, base: Path) -> HotElectronPotential:
        """Return the potential; paths are relative to ``base``."""
        try:
            model = DosModel.load(base / self.dos)
        except InputError as error:
            raise InputError(error.problem, file=error.file, field="dos") from None
        return HotElectronPotential(self._ground(base), model, self.electronic_temperature_K)

    def _ground(self, base: Path) -> Potential:
        if isinstance(self.potential, Path):
            return load(base / self.potential)
        try:
            settings = validate(ForceFieldSettings, self.potential)
            if settings.pretrained is not None:
                return PretrainedPotential(settings.pretrained)
            if settings.lammps is not None:
                return settings.lammps.potential(base)
        except InputError as error:
            field = ".".join(filter(None, ["potential", "hot_electrons", "potential", error.field]))
            raise InputError(error.problem, file=error.file, field=field) from None
        raise InputError(
            "is neither a path, {lammps: ...} nor {pretrained: ...}, which are what hot electrons are added to",
            field="potential.hot_electrons.potential",
        )


class ForceFieldSettings(CalculatorSettings):
    """A source of forces that is not a file: exactly one of them."""

    choices = "a path, or one of {xtb: ...}, {lammps: ...}, {ase: ...}, {pretrained: ...} and {hot_electrons: ...}"

    hot_electrons: HotElectronSettings | None = None
    """A potential whose electrons have a temperature."""


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
        If the package of a calculator is an extra that is not installed.
    """
    if isinstance(source, str | Path | Potential):
        return _of_potential(source if isinstance(source, Potential) else base / source)
    if isinstance(source, Mapping):
        return _of_settings(source, base)
    raise InputError(f"is a {type(source).__name__}; give a potential, {ForceFieldSettings.choices}", field="potential")


def refuse_unrepresented(source: ForceField, start: Snapshot, file: Path | None, index: int) -> None:
    """Refuse a starting structure whose periodicity, or the charge or spin its file declares, a reference lacks.

    Raises
    ------
    InputError
        Naming the file, the frame and what to do.
    """
    if not isinstance(source, CalculatorReference):
        return
    info: dict[str, Any] = {}
    if file is not None:
        with suppress(Exception):  # what reads the structure has told what is wrong with the file
            atoms = ase.io.read(file, index)
            info = dict(atoms.info) if isinstance(atoms, Atoms) else {}
    failure = source.scope.refusal(Frame(start.structure, Labels(info=info)))
    if failure is not None:
        raise InputError(failure.reason, file=file, field="structure")


def shown_name(source: object, base: Path, computed: ForceField) -> str:
    """Return what pages call a force field: a potential in the folder of a study by both names."""
    if not isinstance(source, str | Path):
        return computed.name
    path = potential_path(base / source).resolve()
    return f"{path.parent.name}/{path.name}" if path.name == "potential" else path.name


def _of_settings(source: Mapping[str, Any], base: Path) -> ForceField:
    try:
        settings = validate(ForceFieldSettings, dict(source))
    except InputError as error:
        raise InputError(error.problem, field=".".join(filter(None, ["potential", error.field]))) from None
    if settings.hot_electrons is not None:
        hot = _of_potential(settings.hot_electrons.read(base))
        return replace(hot, name=f"hot electrons of {settings.hot_electrons.electronic_temperature_K:g} K")
    if settings.pretrained is not None:
        try:
            return _of_potential(PretrainedPotential(settings.pretrained))
        except InputError as error:
            raise InputError(error.problem, file=error.file, field="potential.pretrained") from None
    if settings.lammps is None:
        return calculator_reference(settings, field="potential")
    try:
        return _of_potential(settings.lammps.potential(base))
    except InputError as error:
        raise InputError(error.problem, field=f"potential.lammps.{error.field}") from None


def _of_potential(source: Path | Potential) -> ForceField:
    potential, name, content_hash = identify(source)
    if isinstance(potential, PairStylePotential):
        content_hash = hash_parts([content_hash.encode(), version_of("lammps").encode()])
    return ForceField.of_potential(potential, name, content_hash)
