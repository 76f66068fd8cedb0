"""An ASE calculator by the name of what makes it, such as ``ase.calculators.emt:EMT``.

The module is imported like any other: it must be installed or lie on ``PYTHONPATH``. The folder of a settings file is
not searched, so that a file which happens to lie there never runs because of its name. What may be called is decided in
`forcewright.models.ase_calculator`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, cast

from ase import Atoms
from ase.calculators.calculator import Calculator

from forcewright.errors import InputError, MissingExtraError
from forcewright.models.ase_calculator import calculator_factory
from forcewright.reference.checks import partly_periodic
from forcewright.reference.identity import hash_settings

_EXTRAS = {"tblite": "xtb"}  # package -> extra of ours that installs it


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Return which installed distributions hold which package; to ask takes half a second."""
    return metadata.packages_distributions()


@dataclass(frozen=True)
class AseFactory:
    """Makes an ASE calculator by the name of its factory; travels to other processes as that name.

    Parameters
    ----------
    module, name
        Where the factory is: ``ase.calculators.emt`` and ``EMT``.
    kwargs
        Arguments for it.
    setting
        The field of a settings file it comes from, which errors name: a call raises `InputError` if there is no such
        factory or it does not accept the arguments, `MissingExtraError` if its package is an extra to be installed.
    allowed
        Whether it was named in Python, and not in a file, where it may need consent.
    partly_periodic
        Whether it knows one or two periodic directions; where not, such structures raise `InputError` when computed.
    """

    module: str
    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    setting: str = "potential"
    allowed: bool = False
    partly_periodic: bool = True

    def __call__(self) -> Calculator:
        """Return a new calculator."""
        factory = self._factory()
        try:
            calculator: Any = factory(**self.kwargs)
        except Exception as error:  # anything may go wrong in somebody else's code
            raise InputError(
                f"{self.module}:{self.name} does not work with kwargs {dict(self.kwargs)}: {error}",
                field=f"{self.setting}.kwargs",
            ) from error
        if not hasattr(calculator, "get_property"):
            raise InputError(
                f"{self.module}:{self.name} returns a {type(calculator).__name__}, expected an ASE calculator",
                field=f"{self.setting}.ase",
            )
        return cast(Calculator, calculator if self.partly_periodic else _refusing(calculator))

    def _factory(self) -> Callable[..., Any]:
        try:
            return calculator_factory(f"{self.module}:{self.name}", field=f"{self.setting}.ase", allowed=self.allowed)
        except ImportError as error:
            package = (getattr(error, "name", None) or self.module).partition(".")[0]
            if package in _EXTRAS:
                raise MissingExtraError(package, _EXTRAS[package], f"the calculator {self.name}") from None
            raise InputError(
                f"the module {self.module} cannot be imported ({error}); install it, or put its folder on PYTHONPATH",
                field=f"{self.setting}.ase",
            ) from None

    def code_version(self) -> bytes:
        """Return the version of the package, or the source of a module that belongs to none."""
        top = self.module.partition(".")[0]
        distributions = _distributions().get(top, [])
        if distributions:
            return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(distributions))).encode()
        file = getattr(import_module(self.module), "__file__", None)
        return Path(file).read_bytes() if file else b""

    @property
    def content_hash(self) -> str:
        """SHA-256 of name, arguments and version."""
        version = self.code_version().hex()
        return hash_settings("ase", {"name": f"{self.module}:{self.name}", "kwargs": self.kwargs, "version": version})


def _refusing(calculator: Any) -> Any:
    """Return a calculator that refuses what it would silently take for periodic in all directions, or in none."""
    compute = calculator.calculate

    def calculate(atoms: Atoms | None = None, *rest: Any, **named: Any) -> Any:
        if atoms is not None and (problem := partly_periodic(atoms.pbc)):
            raise InputError(problem, field="pbc")
        return compute(atoms, *rest, **named)

    calculator.calculate = calculate
    return calculator
