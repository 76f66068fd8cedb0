"""GFN1-xTB and GFN2-xTB by tblite (Grimme, Bannwarth, Shushkov 2017; Bannwarth, Ehlert, Grimme 2019).

tblite samples periodic systems at the Γ point alone: cells must be large. Its energy is the free energy at the
electronic temperature.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, get_args

from forcewright.errors import InputError, MissingExtraError
from forcewright.reference.ase_factory import AseFactory
from forcewright.reference.calculators import CalculatorReference
from forcewright.reference.checks import Scope
from forcewright.reference.identity import hash_settings, version_of

XtbMethod = Literal["GFN1-xTB", "GFN2-xTB", "IPEA1-xTB"]
_SPECIES = tuple(range(1, 87))  # H ... Rn


def xtb_reference(
    method: XtbMethod = "GFN1-xTB", *, accuracy: float = 1.0, electronic_temperature_K: float = 300.0,
    max_iterations: int = 250, charge: float | None = None, multiplicity: int | None = None,
) -> CalculatorReference:  # fmt: skip
    """Return a tight-binding method as a reference.

    Parameters
    ----------
    method
        GFN1-xTB, GFN2-xTB or IPEA1-xTB.
    accuracy
        Smaller is more accurate: 1e-6 Hartree times this in the energy of the self-consistent cycle.
    electronic_temperature_K
        Of the Fermi distribution of electrons.
    max_iterations
        Longest self-consistent cycle; a structure that needs more fails.
    charge, multiplicity
        Of the whole cell; neutral and lowest multiplicity where not given.

    Raises
    ------
    MissingExtraError
        If tblite is not installed.
    InputError
        If there is no such method.
    """
    if method not in get_args(XtbMethod):
        raise InputError(f"{method!r} is not known; allowed are {', '.join(get_args(XtbMethod))}", field="xtb.method")
    if find_spec("tblite") is None:
        raise MissingExtraError("tblite", "xtb", f"the reference {method}")
    settings: dict[str, Any] = {
        "method": method, "accuracy": accuracy, "electronic_temperature": electronic_temperature_K,
        "max_iterations": max_iterations, "charge": charge, "multiplicity": multiplicity,
    }  # fmt: skip
    factory = AseFactory("tblite.ase", "TBLite", {**settings, "verbosity": 0}, "xtb", partly_periodic=False)
    identity = hash_settings("xtb", {**settings, "tblite": version_of("tblite")})
    scope = Scope(charge or 0.0, multiplicity, partly_periodic=False)
    return CalculatorReference(str(method), factory, identity, _SPECIES, scope=scope)
