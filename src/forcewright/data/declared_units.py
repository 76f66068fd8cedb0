"""Units that a frame declares beside its numbers, as in ``energy-unit=hartree``: converted, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forcewright.errors import InputError
from forcewright.units import BAR, BOHR, GPA, HARTREE, KBAR, KCAL_PER_MOL, KJ_PER_MOL, RYDBERG

_QUANTITIES = {
    "energy": "energy", "energies": "energy", "force": "forces", "forces": "forces", "stress": "stress",
    "virial": "virial", "length": "length", "lengths": "length", "distance": "length", "position": "length",
    "positions": "length", "pos": "length", "coordinate": "length", "coordinates": "length", "coords": "length",
    "lattice": "length", "cell": "length",
}  # fmt: skip
_ENERGIES = {
    "ev": 1.0, "electronvolt": 1.0, "mev": 1e-3, "hartree": HARTREE, "ha": HARTREE, "eh": HARTREE, "au": HARTREE,
    "rydberg": RYDBERG, "ry": RYDBERG, "kcal/mol": KCAL_PER_MOL, "kj/mol": KJ_PER_MOL,
}  # fmt: skip
_LENGTHS = {"angstrom": 1.0, "angstroms": 1.0, "ang": 1.0, "a": 1.0, "å": 1.0, "bohr": BOHR, "a0": BOHR, "nm": 10.0}
_PRESSURES = {"gpa": GPA, "mpa": 1e-3 * GPA, "pa": 1e-9 * GPA, "kbar": KBAR, "bar": BAR}
#: What a key ``unit`` that speaks of everything may say: nothing but our own units.
_OURS = ("ev", "metal", "ase", "angstrom", "ev/angstrom", "ev/angstrom^3")


@dataclass(frozen=True)
class DeclaredUnits:
    """What to multiply labels by, and the keys that say so."""

    factors: Mapping[str, float]
    keys: tuple[str, ...] = ()

    def factor(self, quantity: str, key: str) -> float:
        """Return the factor of energy, forces, stress or virial that stand under ``key``.

        Raises `InputError` if another unit of energy is declared and that of the forces is left open.
        """
        if quantity == "virial" and "virial" not in self.factors:
            return self.factors.get("energy", 1.0)  # it is an energy
        if quantity == "forces" and "forces" not in self.factors and self.factors.get("energy", 1.0) != 1.0:
            raise InputError(
                "have no unit, while that of the energy is declared not to be eV; write force-unit beside it", field=key
            )
        return self.factors.get(quantity, 1.0)


def declared_units(info: Mapping[str, Any]) -> DeclaredUnits:
    """Return what the values of a frame say of its units.

    Raises
    ------
    InputError
        If a unit is not known, or lengths are declared not to be in Å.
    """
    factors: dict[str, float] = {}
    keys = []
    for key, value in info.items():
        quantity = _quantity(key)
        if quantity is None:
            continue
        keys.append(key)
        if quantity == "all":
            stated = value if isinstance(value, list) else [value]
            if any(_spelled(str(word)) not in _OURS for word in stated):
                raise InputError(
                    f"is {value!r}, which leaves open what it is the unit of; write energy-unit, force-unit and "
                    "stress-unit, or convert to eV, eV/Å and eV/Å³ and leave it out", field=key,
                )  # fmt: skip
            continue
        factor = _factor(quantity, _spelled(str(value)))
        if factor is None:
            allowed = {"stress": _PRESSURES, "length": {"angstrom": 1.0}}.get(quantity, _ENERGIES)
            per = {"forces": ", each per angstrom or bohr", "stress": ", or an energy per angstrom^3"}.get(quantity, "")
            raise InputError(
                f"{value!r} is not a unit of {quantity} that can be read; allowed are {', '.join(allowed)}{per}",
                field=key,
            )
        if quantity in factors and factors[quantity] != factor:
            raise InputError(f"is {value!r}, and another key says something else; keep the right one", field=key)
        factors[quantity] = factor
    return DeclaredUnits(factors, tuple(keys))


def _quantity(key: str) -> str | None:
    """Return what a key declares the unit of, ``all`` where it does not say, or None where it declares none."""
    words = [word for word in re.split(r"[^a-z]+", key.lower()) if word not in ("", "ref", "dft")]
    if not words or not {"unit", "units"} & {words[0], words[-1]}:
        return None
    rest = [word for word in words if word not in ("unit", "units")]
    if not rest:
        return "all" if len(words) == 1 else None
    return _QUANTITIES.get(rest[0]) if len(rest) == 1 else None


def _spelled(unit: str) -> str:
    """Return a unit in one spelling: lower case, ``/`` for per, no spaces."""
    text = unit.strip().lower().replace("**", "^").replace("Å".lower(), "angstrom").replace("³", "^3")
    text = re.sub(r"[\s_*]*\bper\b[\s_]*|_per_", "/", text).replace("a.u.", "au").replace("mole", "mol")
    text = re.sub(r"[\s_*·]+(angstrom|ang|a|bohr)\s*\^?-([13])", r"/\1^\2", text)
    return re.sub(r"\s+", "", text).replace("^1", "").replace("kcal_mol", "kcal/mol").replace("kj_mol", "kj/mol")


def _factor(quantity: str, unit: str) -> float | None:
    if quantity in ("energy", "virial"):
        return _ENERGIES.get(unit)
    if quantity == "length":
        return 1.0 if _LENGTHS.get(unit) == 1.0 else None  # the cell would have to follow
    if quantity == "stress" and unit in _PRESSURES:
        return _PRESSURES[unit]
    energy, _, length = unit.rpartition("/")
    power = 1
    if quantity == "stress":
        volume = re.fullmatch(r"(\w+?)\^?3", length)
        length, power = (volume[1], 3) if volume else ("", 3)
    if unit == "au":
        return HARTREE / BOHR**power if quantity == "forces" else HARTREE / BOHR**3
    if energy not in _ENERGIES or length not in _LENGTHS:
        return None
    return _ENERGIES[energy] / _LENGTHS[length] ** power
