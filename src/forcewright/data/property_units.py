"""Units of properties: which there are, and factors between those of one kind."""

from __future__ import annotations

import re

from ase import units as _ase

from forcewright.configs import did_you_mean
from forcewright.errors import InputError
from forcewright.units import BOHR, HARTREE, KCAL_PER_MOL, KJ_PER_MOL, RYDBERG

_DEBYE = _ase.Debye  # e·Å
_INVERSE_CM = _ase.invcm  # eV
#: 1 (e·Å)²/eV as a polarizability volume α/(4π ε0) in Å³: e²/(4π ε0) in eV·Å.
_COULOMB = HARTREE * BOHR

#: What is measured, and how much of the first unit each is.
_UNITS: dict[str, dict[str, float]] = {
    "dipole": {"e*Å": 1.0, "debye": _DEBYE, "e*bohr": BOHR, "C*m": _ase.C * _ase.m},
    "quadrupole": {"e*Å^2": 1.0, "debye*Å": _DEBYE, "e*bohr^2": BOHR**2},
    "volume": {"Å^3": 1.0, "bohr^3": BOHR**3, "nm^3": 1e3, "e^2*Å^2/eV": _COULOMB},
    "shielding": {"ppm": 1.0},
    "field gradient": {"hartree/e/bohr^2": 1.0, "V/Å^2": BOHR**2 / HARTREE, "V/m^2": 1e-20 * BOHR**2 / HARTREE},
    "coupling": {"10^19.T^2.J^-1": 1.0},
    "frequency": {"MHz": 1.0, "kHz": 1e-3, "Hz": 1e-6, "GHz": 1e3, "THz": 1e6},
    "charge": {"e": 1.0},
    "energy": {
        "eV": 1.0, "meV": 1e-3, "hartree": HARTREE, "rydberg": RYDBERG, "kcal/mol": KCAL_PER_MOL,
        "kJ/mol": KJ_PER_MOL, "cm^-1": _INVERSE_CM,
    },
    "density of states": {"1/eV": 1.0, "1/hartree": 1 / HARTREE, "1/rydberg": 1 / RYDBERG},
    "length": {"Å": 1.0, "bohr": BOHR, "nm": 10.0},
    "field": {"eV/Å": 1.0, "hartree/bohr": HARTREE / BOHR},
    "magnetic moment": {"mu_B": 1.0},
    "number": {"1": 1.0},
    "atomic units": {"a.u.": 1.0},
}  # fmt: skip
#: How much of the first unit of a kind one atomic unit is.
_ATOMIC = {
    "dipole": BOHR, "quadrupole": BOHR**2, "volume": BOHR**3, "field gradient": 1.0, "charge": 1.0, "energy": HARTREE,
    "density of states": 1 / HARTREE, "length": BOHR, "field": HARTREE / BOHR, "number": 1.0,
}  # fmt: skip
_SPELLINGS = {
    "d": "debye", "au": "a.u.", "a.u": "a.u.", "atomic": "a.u.", "atomicunits": "a.u.", "atomic_units": "a.u.",
    "a0": "bohr", "ang": "å", "angstrom": "å", "angstroms": "å", "ha": "hartree", "eh": "hartree", "ry": "rydberg",
    "states/ev": "1/ev", "ev^-1": "1/ev", "states/ev/atom": "1/ev", "states/ev/cell": "1/ev", "none": "1",
    "dimensionless": "1", "|e|": "e", "mub": "mu_b", "bohrmagneton": "mu_b", "cm-1": "cm^-1", "a": "å",
    "hartree^-1": "1/hartree", "ry^-1": "1/rydberg",
}  # fmt: skip
_KNOWN = {unit.lower(): (kind, unit) for kind, units in _UNITS.items() for unit in units}


def _spelled(unit: str) -> str:
    """Return a unit in one spelling: lower case, ``*`` for times, ``^`` for powers."""
    text = unit.strip().lower().replace("**", "^").replace("³", "^3").replace("²", "^2").replace("⁻¹", "^-1")
    text = text.replace("Å".lower(), "å").replace("µ", "mu").replace("μ", "mu")
    text = re.sub(r"\s*([*·/^])\s*", r"\1", text).replace("·", "*")
    if text in _SPELLINGS or text in _KNOWN:
        return _SPELLINGS.get(text, text)
    text = re.sub(r"\s+", "*", text)
    text = re.sub(r"^e(å|ang|angstrom|bohr|a0)", r"e*\1", text)
    words = [_SPELLINGS.get(word, word) for word in re.split(r"([*/^])", text)]
    return _SPELLINGS.get("".join(words), "".join(words))


def require_unit(unit: str) -> tuple[str, str]:
    """Return the kind of a unit and the unit as it is spelled here; ValueError if it is not known."""
    spelled = _spelled(unit)
    if spelled not in _KNOWN:
        allowed = [name for units in _UNITS.values() for name in units]
        raise ValueError(f"the unit {unit!r} is not known; {did_you_mean(unit, allowed)}")
    return _KNOWN[spelled]


def unit_factor(unit: str, wanted: str) -> float:
    """Return what numbers in one unit are multiplied by to be in another.

    ``a.u.`` is the atomic unit of whatever the other is a unit of.

    Raises
    ------
    InputError
        If a unit is not known, or the two measure different things.
    """
    try:
        (kind, name), (wanted_kind, wanted_name) = require_unit(unit), require_unit(wanted)
    except ValueError as error:
        raise InputError(str(error), field="unit") from None
    if kind == wanted_kind == "atomic units":
        return 1.0
    kinds = {kind, wanted_kind} - {"atomic units"}
    size, wanted_size = (
        _UNITS[its_kind][its_name] if its_kind != "atomic units" else _ATOMIC.get(next(iter(kinds)))
        for its_kind, its_name in ((kind, name), (wanted_kind, wanted_name))
    )
    if len(kinds) > 1 or size is None or wanted_size is None:
        raise InputError(f"{unit} cannot be converted to {wanted}; one is a unit of {kind}, the other of {wanted_kind}",
                         field="unit")  # fmt: skip
    return size / wanted_size
