"""What stands behind ``module:name`` where a file names an ASE calculator, and whether it may be called.

A name from a file could stand for any function of any installed package. Calculators of `_HARMLESS` compute in this
process and run nothing else; everything else needs consent, before its module is imported. With consent, too, only
what is an ASE calculator, or a function that may return one, is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from types import FunctionType, MethodType
from typing import Any

from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import BaseCalculator

from forcewright.consent import CONSENT, consented
from forcewright.errors import InputError

#: Modules whose calculators read their arguments and no program, and whose import does nothing.
_HARMLESS = frozenset(
    f"ase.calculators.{name}"
    for name in ("acn", "eam", "emt", "lj", "mixing", "morse", "tersoff", "tip3p", "tip4p")
) | {"tblite.ase"}  # fmt: skip


def calculator_factory(home: str, *, field: str, allowed: bool = False) -> Callable[..., Any]:
    """Return what makes an ASE calculator: its class, or a function.

    Parameters
    ----------
    home
        Module and name, such as ``ase.calculators.emt:EMT``.
    field
        The field that it stands in, which errors name.
    allowed
        Whether consent was given in another way than by the environment.

    Raises
    ------
    InputError
        If it may not be called, or there is no such thing in the module.
    ImportError
        If the module cannot be imported.
    """
    module, _, name = home.partition(":")
    if _is_of_python(module):
        raise InputError(
            f"{home} does not work: {module} belongs to Python itself and has no ASE calculator", field=field
        )
    if not (allowed or consented() or module in _HARMLESS):
        raise InputError(
            f"would call {home!r}, which can do anything on this machine; if you trust where these settings come from, "
            f"set {CONSENT}=1", field=field,
        )  # fmt: skip
    try:
        factory: Any = attrgetter(name)(import_module(module))
    except AttributeError:
        raise InputError(f"the module {module} has no {name}", field=field) from None
    if not _may_make_calculators(factory, known=module if module in _HARMLESS else None):
        raise InputError(
            f"{home} does not work: it is neither an ASE calculator nor a function that could return one", field=field
        )
    made: Callable[..., Any] = factory
    return made


def _is_of_python(module: str) -> bool:
    return module.partition(".")[0] in {*sys.stdlib_module_names, "__main__"}


def _may_make_calculators(factory: Any, known: str | None) -> bool:
    """Tell whether something is a calculator's class, one of a module that is known, or a function of any other."""
    if isinstance(factory, type):
        is_calculator = issubclass(factory, BaseCalculator | GetPropertiesMixin) or hasattr(factory, "get_property")
        return is_calculator and (known is None or factory.__module__ == known)
    if known is not None or not isinstance(factory, FunctionType | MethodType):
        return False
    return not _is_of_python(str(factory.__module__))
