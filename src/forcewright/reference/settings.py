"""What stands behind ``reference:`` in a settings file, and the reference it means.

A simulation's ``potential:`` takes the same words, where they can move atoms: `CalculatorSettings`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from forcewright.configs import StrictModel
from forcewright.consent import CONSENT, consented
from forcewright.errors import InputError
from forcewright.models.pair_style.settings import PairStyleSettings
from forcewright.models.pretrained import PretrainedPotential
from forcewright.potential import Reference
from forcewright.reference.ase_factory import AseFactory
from forcewright.reference.calculators import CalculatorReference, close
from forcewright.reference.checks import Scope
from forcewright.reference.espresso import PROGRAM, espresso_reference
from forcewright.reference.offered import offered_names, offered_reference
from forcewright.reference.properties import PropertyName
from forcewright.reference.pyscf import pyscf_reference
from forcewright.reference.teacher import potential_reference
from forcewright.reference.xtb import XtbMethod, xtb_reference

_OPTIONS = ("kwargs", "reuse", "properties", "offered")  # nothing that computes by itself


class XtbSettings(StrictModel):
    """A tight-binding method of tblite; ``xtb: GFN1-xTB`` is short for ``xtb: {method: GFN1-xTB}``."""

    method: XtbMethod = "GFN1-xTB"
    """GFN1-xTB, GFN2-xTB or IPEA1-xTB."""
    accuracy: float = Field(default=1.0, gt=0)
    """Smaller is more accurate."""
    electronic_temperature_K: float = Field(default=300.0, ge=0)
    """Of the Fermi distribution of electrons."""
    max_iterations: int = Field(default=250, ge=1)
    """Longest self-consistent cycle."""
    charge: float | None = None
    """Of the whole cell."""
    multiplicity: int | None = Field(default=None, ge=1)
    """Of the whole cell; the lowest where not given."""

    @model_validator(mode="before")
    @classmethod
    def _method_alone(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value


class Cp2kSettings(StrictModel):
    """CP2K through ASE; every parameter of ase.calculators.cp2k.CP2K may stand in ``settings``."""

    command: tuple[str, ...] | None = None
    """The program and its arguments as a list, where it is not found by itself."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Parameters such as basis_set, xc, cutoff (eV), max_scf, uks and inp."""


class PyscfSettings(StrictModel):
    """Molecules by PySCF; ``pyscf: pbe`` is short for ``pyscf: {xc: pbe}``."""

    xc: str | None = None
    """A functional such as pbe or b3lyp; Hartree–Fock where not given."""
    basis: str = "def2-svp"
    """Name of a basis set."""
    charge: int = 0
    """Of the molecule."""
    multiplicity: int | None = Field(default=None, ge=1)
    """Of the molecule; the lowest where not given."""
    max_iterations: int = Field(default=100, ge=1)
    """Longest self-consistent cycle."""

    @model_validator(mode="before")
    @classmethod
    def _functional_alone(cls, value: Any) -> Any:
        return {"xc": value} if isinstance(value, str) else value


class EspressoSettings(StrictModel):
    """Quantum ESPRESSO's pw.x."""

    pseudopotentials: dict[str, str] = Field(min_length=1)
    """File of the pseudopotential of each element."""
    folder: Path = Path(".")
    """Where the files of the pseudopotentials lie."""
    input: dict[str, dict[str, Any]]
    """Namelists of pw.x, such as system with ecutwfc (Ry), occupations and degauss."""
    kpoints: float | tuple[int, int, int] = 0.2
    """Largest distance of k-points in 1/Å (with the factor 2π), or the numbers of points along three directions."""
    command: tuple[str, ...] | None = None
    """The program and its arguments as a list, where it is not found by itself."""


class VaspSettings(StrictModel):
    """VASP: inputs are written to a folder, finished runs are read back from it."""

    folder: Path
    """Where the folders of the structures lie."""
    incar: dict[str, Any]
    """Tags of the INCAR; ENCUT must be among them."""
    kpoints: float | tuple[int, int, int] = 0.2
    """Largest distance of k-points in 1/Å (with the factor 2π), or the numbers of points along three directions."""
    potcar: dict[str, str] = Field(default_factory=dict)
    """Name of an element's POTCAR where it differs from the element's."""
    energy: Literal["free", "sigma_0"] = "free"
    """VASP's free energy, whose derivatives the forces are, or the energy extrapolated to zero smearing."""


class CalculatorSettings(StrictModel):
    """What computes energies and forces, for labels and for simulations alike; `choices` are what a user can give."""

    choices: ClassVar[str]

    xtb: XtbSettings | None = None
    """GFN1-xTB, GFN2-xTB or IPEA1-xTB by tblite."""
    lammps: PairStyleSettings | None = None
    """A LAMMPS pair style."""
    ase: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """Module and name of something that returns an ASE calculator, such as ase.calculators.emt:EMT; what can do more
    than compute needs FORCEWRIGHT_ALLOW_COMMANDS=1."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments for it."""
    pretrained: str | None = None
    """A pretrained model that ships in its package: chgnet or sevennet-0, extras of the names chgnet and sevennet."""

    @property
    def kinds(self) -> list[str]:
        """Which of them are given."""
        names = (name for name in type(self).model_fields if name not in _OPTIONS)
        return [name for name in names if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> Self:
        if len(self.kinds) != 1:
            problem = f"has {' and '.join(self.kinds)}" if self.kinds else "is empty"
            raise ValueError(f"{problem}; give {self.choices}")
        if self.kwargs and self.ase is None:
            raise ValueError("kwargs are for ase")
        return self


class ReferenceSettings(CalculatorSettings):
    """What labels structures: exactly one of them."""

    choices = "one of xtb, lammps, ase, pretrained, cp2k, espresso, pyscf, vasp, potential"

    reuse: bool = False
    """Use one ASE calculator for all structures, where making one is slow."""
    properties: tuple[PropertyName, ...] = ()
    """What labels hold beside energy, forces and stress, as far as the program gives it: dipole, quadrupole,
    polarizability, charges, magmoms, shielding, eigenvalues and others. For xtb, pyscf, espresso and ase."""
    cp2k: Cp2kSettings | None = None
    """CP2K."""
    espresso: EspressoSettings | None = None
    """Quantum ESPRESSO."""
    pyscf: PyscfSettings | None = None
    """PySCF, for molecules."""
    vasp: VaspSettings | None = None
    """VASP, run by somebody else."""
    potential: Path | None = None
    """A trained potential as teacher."""
    offered: dict[str, Any] = Field(default_factory=dict)
    """A reference of another package by its name; the name may also stand beside those above."""

    @model_validator(mode="before")
    @classmethod
    def _of_other_packages(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or not (names := set(content) - set(cls.model_fields)):
            return content
        offered = {name: content[name] for name in names & offered_names()}
        kept = {name: value for name, value in content.items() if name not in offered}
        return {**kept, "offered": {**content.get("offered", {}), **offered}} if offered else content

    @property
    def kinds(self) -> list[str]:
        """Which of them are given."""
        return [*super().kinds, *self.offered]

    @model_validator(mode="after")
    def _reused(self) -> Self:
        if self.reuse and self.ase is None:
            raise ValueError("reuse is for ase")
        if self.properties and not {"xtb", "pyscf", "espresso", "ase"} & set(self.kinds):
            raise ValueError("properties are for xtb, pyscf, espresso and ase")
        return self


def reference_from(settings: ReferenceSettings | Mapping[str, Any], base: Path) -> Reference:
    """Return the reference that settings describe.

    Parameters
    ----------
    settings
        Settings, or a mapping such as ``{"xtb": "GFN1-xTB"}``.
    base
        Folder that paths are relative to.

    Raises
    ------
    InputError
        If anything in it is not known, does not exist or cannot be used.
    MissingExtraError
        If its package is an extra that is not installed.
    """
    parsed = settings if isinstance(settings, ReferenceSettings) else ReferenceSettings.model_validate(dict(settings))
    try:
        return _made(parsed, base)
    except InputError as error:
        (kind,) = parsed.kinds
        field = (error.field or "").removeprefix("reference.")
        if field.split(".")[0] not in (kind, "kwargs", "properties"):
            field = ".".join(filter(None, [kind, field]))
        raise InputError(error.problem, file=error.file, field=f"reference.{field}") from None


def _made(settings: ReferenceSettings, base: Path) -> Reference:
    if settings.xtb is not None or settings.ase is not None:
        return calculator_reference(settings, reuse=settings.reuse).with_properties(settings.properties)
    if settings.pretrained is not None:
        return potential_reference(PretrainedPotential(settings.pretrained))
    if settings.pyscf is not None:
        return pyscf_reference(**settings.pyscf.model_dump()).with_properties(settings.properties)
    if settings.espresso is not None:
        _require_consent(settings.espresso.command, PROGRAM[0], "espresso.command")
        asked = settings.espresso.model_dump()
        return espresso_reference(**{**asked, "folder": base / settings.espresso.folder}).with_properties(
            settings.properties
        )
    if settings.cp2k is not None:
        from forcewright.reference.cp2k import cp2k_reference

        _require_consent(settings.cp2k.command)
        return cp2k_reference(settings.cp2k.settings, settings.cp2k.command)
    if settings.vasp is not None:
        from forcewright.reference.vasp import VaspReference

        return VaspReference(**{**settings.vasp.model_dump(), "folder": base / settings.vasp.folder})
    for name, content in settings.offered.items():
        return offered_reference(name, content, base)
    if settings.lammps is not None:
        return potential_reference(settings.lammps.potential(base))
    assert settings.potential is not None
    return potential_reference(base / settings.potential)


def _require_consent(command: Sequence[str] | None, known: str = r"cp2k[\w.]*", field: str = "cp2k.command") -> None:
    """Refuse to run a program without consent, unless its name is that of the one that is meant."""
    if command and not (re.fullmatch(known, command[0]) or consented()):
        raise InputError(
            f"would run {' '.join(command)!r} on this machine; if you trust where these settings come from, set "
            f"{CONSENT}=1", field=field,
        )  # fmt: skip


def calculator_reference(
    settings: CalculatorSettings, *, reuse: bool = False, field: str = "reference"
) -> CalculatorReference:
    """Return what stands behind ``xtb`` or ``ase``; ``reuse``, ``field`` and errors are those of `ase_reference`."""
    if settings.xtb is not None:
        return xtb_reference(**settings.xtb.model_dump())
    return ase_reference(str(settings.ase), settings.kwargs, reuse=reuse, field=field, allowed=False)


def ase_reference(
    name: str, kwargs: Mapping[str, Any] | None = None, *, reuse: bool = False, field: str = "reference",
    allowed: bool = True,
) -> CalculatorReference:  # fmt: skip
    """Return any ASE calculator as a reference.

    Parameters
    ----------
    name
        Module and name of what makes it, such as ``ase.calculators.emt:EMT``.
    kwargs
        Arguments for it.
    reuse
        Use one calculator for all structures (see `CalculatorReference`).
    field
        The field of a settings file it comes from, which errors name.
    allowed
        Whether it may be called without consent in the environment: not so where a file names it.

    Raises
    ------
    InputError
        If there is no such factory, or it does not accept the arguments.
    MissingExtraError
        If its package is an extra that is not installed.
    """
    module, _, factory_name = name.partition(":")
    factory = AseFactory(module, factory_name, dict(kwargs or {}), field, allowed)
    close(factory())  # whether it works shows now, and not after an hour
    said = kwargs or {}
    scope = Scope(said.get("charge") or 0.0, said.get("multiplicity"), partly_periodic=not module.startswith("tblite"))
    return CalculatorReference(f"{factory_name} ({module})", factory, factory.content_hash, reuse=reuse, scope=scope)
