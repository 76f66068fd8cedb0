"""The properties of a validation: settings, a calculation that gives numbers, and their tolerances."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from forcewright.analyze.result import Result
from forcewright.errors import MissingExtraError
from forcewright.force_field import ForceField
from forcewright.structure import Structure
from forcewright.validation.tolerance import Tolerance, ToleranceField

Number = float | bool


class PropertySettings(BaseModel):
    """The settings of every property in a config; a property adds those of its calculation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    reference: dict[str, Number] = {}
    """Known values by name of the number; they take precedence over those of a computed reference."""
    tolerance: ToleranceField | dict[str, ToleranceField] = {}
    """Allowed deviation from the reference: one tolerance for all numbers, or by name; a usual one by default."""

    def arguments(self) -> dict[str, Any]:
        """Return the settings of the calculation alone."""
        return {name: getattr(self, name) for name in type(self).model_fields if name not in _COMMON}


_COMMON = frozenset(PropertySettings.model_fields)


@dataclass(frozen=True)
class Computed:
    """The results of a calculation.

    ========  ===========================================================================
    numbers   by name, which ends in the unit: ``a0_A``, ``bulk_modulus_GPa``, ``stable``
    results   by name, for figures
    expected  expected numbers for every potential, unless a reference says otherwise
    ideal     what every potential should have, whatever a computed reference has
    failures  why parts of it could not be computed, by the name of their number
    notes     what is to be said beside the verdict on a number
    ========  ===========================================================================
    """

    numbers: Mapping[str, Number]
    results: Mapping[str, Result] = field(default_factory=dict)
    expected: Mapping[str, Number] = field(default_factory=dict)
    ideal: Mapping[str, Number] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Property:
    """A property that can be validated.

    ===========  ================================================================================================
    name         its key under ``properties`` in a config
    settings     model of its settings there
    run          computes it with a force field, starting from a structure
    tolerance    usual tolerances by the end of a number's name, of which the longest matching one counts; ``""``
                 matches all
    list_means   the setting that a list in place of settings stands for, if one is allowed
    differences  numbers that compare curves of a potential with those of a reference and should be zero
    better       which way a number is better, so that one beyond its reference passes: ``higher`` or ``lower``
    of_reference settings with which a reference is computed, where they differ; takes them and its force field
    extra        the extra of Forcewright that it needs, with the module that this installs
    meaning      what it is, in a sentence
    ===========  ================================================================================================
    """

    name: str
    settings: type[PropertySettings]
    run: Callable[[ForceField, Structure, Any], Computed]
    tolerance: Mapping[str, Tolerance]
    list_means: str | None = None
    differences: Callable[[Computed, Computed], Mapping[str, float]] | None = None
    better: Mapping[str, Literal["higher", "lower"]] = field(default_factory=dict)
    of_reference: Callable[[Any, ForceField], Any] = lambda settings, reference: settings
    extra: tuple[str, str] | None = None
    meaning: str = ""

    def require_package(self) -> None:
        """Raise a `MissingExtraError` if a package that the property needs is not installed."""
        if self.extra is not None and find_spec(self.extra[1]) is None:
            raise MissingExtraError(self.extra[1], self.extra[0], f"the property {self.name}")

    def tolerance_of(self, number: str, settings: PropertySettings) -> Tolerance:
        """Return the tolerance of a number: that of the settings, or the usual one."""
        if isinstance(settings.tolerance, Tolerance):
            return settings.tolerance
        if number in settings.tolerance:
            return settings.tolerance[number]
        fitting = [end for end in self.tolerance if number.endswith(end)]
        return self.tolerance[max(fitting, key=len)]

    def is_better(self, number: str, value: Number, reference: Number) -> bool:
        """Return whether a number is better than another; never for those of which more or less is not better."""
        way = self.better.get(number)
        return (way == "higher" and value > reference) or (way == "lower" and value < reference)

    def read(self, value: Any) -> Any:
        """Return settings as a mapping: None and true mean the defaults, a list the setting it stands for."""
        if value is None or value is True:
            return {}
        return {self.list_means: value} if isinstance(value, list) and self.list_means else value


def protocol_settings(protocol: Callable[..., Any], *, leave_out: frozenset[str] = frozenset()) -> type[Any]:
    """Return a model of the keyword arguments of a protocol, with their defaults and what its docstring says."""
    hints, meanings = get_type_hints(protocol), _meanings(protocol)
    fields: dict[str, Any] = {
        name: (hints[name], Field(default=parameter.default, description=meanings.get(name)))
        for name, parameter in inspect.signature(protocol).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in leave_out
    }
    title = "".join(part.capitalize() for part in protocol.__name__.split("_"))
    return create_model(f"{title}Settings", __base__=PropertySettings, **fields)


def _meanings(function: Callable[..., Any]) -> dict[str, str]:
    """Return what the section ``Parameters`` of a NumPy-style docstring says of each argument."""
    section = (inspect.getdoc(function) or "").partition("\nParameters\n----------\n")[2].partition("\n\n")[0]
    meanings: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in section.splitlines():
        if line.startswith(" "):
            lines.append(line.strip())
        else:
            lines = []
            meanings |= dict.fromkeys(line.strip().split(", "), lines)
    return {name: " ".join(lines) for name, lines in meanings.items()}


#: Units by the end of a number's name, longer ends first.
_UNITS = {
    "_eV_per_atom_per_ps": "eV/atom/ps",
    "_eV_per_atom": "eV/atom", "_meV_per_atom": "meV/atom", "_J_per_m2": "J/m²", "_A3_per_atom": "Å³/atom",
    "_cm2_per_s": "cm²/s", "_g_per_cm3": "g/cm³", "_degree": "°", "_GPa": "GPa", "_THz": "THz", "_eV": "eV",
    "_eV_per_K": "eV/K", "_A3": "Å³", "_g_cm3": "g/cm³", "_S_per_m": "S/m", "_mS_per_cm": "mS/cm", "_kB": "k_B",
    "_A4_per_u": "Å⁴/u", "_eA": "e·Å", "_nm": "nm", "_ppm": "ppm", "_MHz": "MHz", "_kHz": "kHz", "_T": "T",
    "_eV_per_A": "eV/Å", "_per_cm": "cm⁻¹", "_km_per_mol": "km/mol", "_ps": "ps", "_fs": "fs", "_K": "K", "_A": "Å",
}  # fmt: skip


def unit_of(number: str) -> str:
    """Return the unit that the name of a number ends in, or nothing."""
    return _UNITS.get(_unit_end(number), "")


def name_of(number: str) -> str:
    """Return the name of a number as words, without its unit."""
    return number.removesuffix(_unit_end(number)).replace("_", " ")


def _unit_end(number: str) -> str:
    return next((end for end in _UNITS if number.endswith(end)), "")
