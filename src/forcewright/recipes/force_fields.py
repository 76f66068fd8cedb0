"""What stands behind ``potential:`` in a settings file, as a force field.

Three things can stand there: the path of a potential, ``{lammps: {pair_style: …, pair_coeff: …}}``, or
``{ase: "module:factory", kwargs: {…}}``. The module of a factory is imported like any other: it must be installed or
lie on ``PYTHONPATH``. The folder of the settings file is not searched, so that a file which happens to lie there never
runs because of its name.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

from ase.calculators.calculator import Calculator
from pydantic import BaseModel, ConfigDict, Field, model_validator

from forcewright.errors import InputError, MissingExtraError
from forcewright.lammps_session import LammpsNative
from forcewright.models import load
from forcewright.models.pair_style import PairStylePotential, pair_style_potential
from forcewright.potential import Potential
from forcewright.recipes.settings_file import validate
from forcewright.simulation.force_field import ForceField

_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

_EXTRAS = {"tblite": "xtb"}  # package -> extra of ours that installs it
_NO_NUMBERS = {"in.lammps", "structure.data"}  # files beside a saved potential that do not decide what it predicts


class PairStyleSettings(BaseModel):
    """A LAMMPS pair style in metal units."""

    model_config = _STRICT

    pair_style: str
    """What stands behind pair_style in a LAMMPS input."""
    pair_coeff: str | tuple[str, ...]
    """What stands behind pair_coeff, or several of them; files lie beside the settings or among LAMMPS's own."""
    species: tuple[str, ...] | None = None
    """Element of each LAMMPS type; needed where pair_coeff does not end with them."""
    cutoff: float | None = Field(default=None, gt=0)
    """Range in Å; LAMMPS is asked where it is not given."""


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
        return _of_potential(load(path), path.name, _hash_files(_files_of(path)))
    if isinstance(source, Mapping):
        return _of_settings(_validated(source), base)
    if isinstance(source, Potential):
        return _of_potential(source, type(source).__name__, _hash_saved(source))
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
    return _of_potential(potential, potential.name, _hash_saved(potential))


def _of_potential(potential: Potential, name: str, content_hash: str) -> ForceField:
    native = potential.pair_style if isinstance(potential, LammpsNative) else None
    if isinstance(potential, PairStylePotential):
        content_hash = _hash([content_hash.encode(), metadata.version("lammps").encode()])
    return ForceField(name, potential.calculator, content_hash, potential.species, potential, native)


@dataclass(frozen=True)
class AseFactory:
    """Makes an ASE calculator by the name of its factory; travels to other processes as that name.

    Raises
    ------
    InputError
        When called, if there is no such factory or it does not accept the arguments.
    MissingExtraError
        When called, if its package is an extra that is not installed.
    """

    module: str
    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Calculator:
        """Return a new calculator."""
        factory: Callable[..., Any] = self._factory()
        try:
            calculator: Any = factory(**self.kwargs)
        except Exception as error:  # anything may go wrong in somebody else's code
            raise InputError(
                f"{self.module}:{self.name} does not work with kwargs {dict(self.kwargs)}: {error}",
                field="potential.kwargs",
            ) from error
        if not hasattr(calculator, "get_property"):
            raise InputError(
                f"{self.module}:{self.name} returns a {type(calculator).__name__}, expected an ASE calculator",
                field="potential.ase",
            )
        made: Calculator = calculator
        return made

    def _factory(self) -> Any:
        try:
            return attrgetter(self.name)(import_module(self.module))
        except ImportError as error:
            package = (getattr(error, "name", None) or self.module).partition(".")[0]
            if package in _EXTRAS:
                raise MissingExtraError(package, _EXTRAS[package], f"the calculator {self.name}") from None
            raise InputError(
                f"the module {self.module} cannot be imported ({error}); install it, or put its folder on PYTHONPATH",
                field="potential.ase",
            ) from None
        except AttributeError:
            raise InputError(f"the module {self.module} has no {self.name}", field="potential.ase") from None

    def code_version(self) -> bytes:
        """Return the version of the package, or the source of a module that belongs to none."""
        top = self.module.partition(".")[0]
        distributions = metadata.packages_distributions().get(top, [])
        if distributions:
            return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(distributions))).encode()
        file = getattr(import_module(self.module), "__file__", None)
        return Path(file).read_bytes() if file else b""


def _of_factory(factory: AseFactory) -> ForceField:
    factory()  # whether it works is told now, and not after an hour
    kwargs = json.dumps(factory.kwargs, sort_keys=True, default=str)
    names = f"{factory.module}:{factory.name}"
    content_hash = _hash([names.encode(), kwargs.encode(), factory.code_version()])
    return ForceField(f"{factory.name} ({factory.module})", factory, content_hash)


def _files_of(path: Path) -> list[Path]:
    """Return the files that decide what the potential at a path predicts."""
    folder = path.parent if path.name == "potential.json" else path
    if folder.is_dir():
        inside = (file for file in sorted(folder.iterdir()) if file.is_file())
        return [file for file in inside if file.name not in _NO_NUMBERS and not file.name.startswith(".")]
    if path.suffix in (".snapcoeff", ".snapparam"):
        return [path.with_suffix(".snapcoeff"), path.with_suffix(".snapparam")]
    return [path]


def _hash_saved(potential: Potential) -> str:
    with tempfile.TemporaryDirectory(prefix="forcewright-") as folder:
        return _hash_files(_files_of(potential.save(Path(folder) / "potential")))


def _hash_files(files: Iterable[Path]) -> str:
    return _hash(file.read_bytes() for file in files)


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
