"""Physical validation: the same calculations with a potential and a reference, compared row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from forcewright.analyze.result import Result
from forcewright.errors import ForcewrightError, StoppedError
from forcewright.force_field import ForceField
from forcewright.protocols.structures import StructureSource
from forcewright.structure import Structure
from forcewright.tables import Tabular
from forcewright.validation.dynamic_properties import DYNAMIC_PROPERTIES
from forcewright.validation.properties import Computed, Number, Property, PropertySettings, unit_of
from forcewright.validation.static_properties import STATIC_PROPERTIES

#: The possible entries of ``properties`` in a config.
PROPERTIES: dict[str, Property] = {item.name: item for item in (*STATIC_PROPERTIES, *DYNAMIC_PROPERTIES)}

#: ``failed`` could not be computed; ``stopped`` neither, because a run left the training data before anything broke.
Verdict = Literal["pass", "fail", "no reference", "failed", "stopped"]


_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
_FIELDS: dict[str, Any] = {
    name: (Annotated[item.settings | None, BeforeValidator(item.read)], Field(default=None, description=item.meaning))
    for name, item in PROPERTIES.items()
}

#: The settings of each property that is asked for; None for the others.
PropertiesSettings: type[BaseModel] = create_model("PropertiesSettings", __config__=_STRICT, **_FIELDS)


class ValidationConfig(BaseModel):
    """Everything `forcewright validate` needs."""

    model_config = _STRICT

    potential: Any = None
    """The potential, unless the command names it: a folder, xTB, a LAMMPS pair style, an ASE calculator."""
    structure: StructureSource
    """The conventional unit cell of the crystal whose properties are computed."""
    reference: Any = None
    """What to compare with, in the form of ``potential``; known values of properties take precedence."""
    properties: PropertiesSettings  # type: ignore[valid-type]
    """The properties and their settings."""
    output: Path | None = None
    """Folder for the results."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.asked():
            raise ValueError(f"properties names none; give at least one of {', '.join(PROPERTIES)}")
        return self

    def asked(self) -> dict[str, PropertySettings]:
        """Return the settings of the properties that are asked for."""
        return {name: chosen for name in PROPERTIES if (chosen := getattr(self.properties, name)) is not None}


@dataclass(frozen=True)
class Row:
    """One number against its reference; ``reason`` says why it failed or has no reference."""

    property: str
    number: str
    value: Number | None
    reference: Number | None
    unit: str
    tolerance: str
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class PhysicsReport(Tabular):
    """All rows, and the results behind them, for figures: by property, then by name.

    ``hashes`` are those of the potential and of the reference, ``folder`` is where all was written, if it was.
    """

    potential: str
    reference: str | None
    rows: tuple[Row, ...]
    results: Mapping[str, Mapping[str, Result]]
    reference_results: Mapping[str, Mapping[str, Result]]
    hashes: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(row.verdict in ("pass", "no reference") for row in self.rows)

    def count(self, verdict: Verdict) -> int:
        """Return the number of rows with a verdict."""
        return sum(row.verdict == verdict for row in self.rows)

    def __str__(self) -> str:
        heads = ("property", "number", "value", "reference", "unit", "tolerance", "verdict")
        table = [heads, *(_texts(row) for row in self.rows)]
        widths = [max(len(line[k]) for line in table) for k in range(len(heads))]
        lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in table]
        return "\n".join(line.rstrip() for line in lines)

    def __repr__(self) -> str:
        verdicts: tuple[Verdict, ...] = ("pass", "fail", "failed", "stopped", "no reference")
        counts = ", ".join(f"{verdict} {count}" for verdict in verdicts if (count := self.count(verdict)))
        return f"PhysicsReport({self.potential}: {counts})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each number."""
        return [_finite(asdict(row)) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "potential": self.potential, "reference": self.reference, "passed": self.passed,
            "hashes": dict(self.hashes), "rows": self.to_rows(),
            "results": _plain(self.results), "reference_results": _plain(self.reference_results),
        }  # fmt: skip


def validate(
    force_field: ForceField, structure: Structure, properties: Mapping[str, PropertySettings],
    reference: ForceField | None = None, *, started: Callable[[str], None] = lambda name: None,
) -> PhysicsReport:  # fmt: skip
    """Compute properties with a potential and a reference and compare every number.

    A property that cannot be computed becomes a row that says why.

    Parameters
    ----------
    structure
        The crystal whose properties are computed.
    properties
        Settings by name, as in `PROPERTIES`.
    reference
        The force field to compare with; reference values in the settings take precedence.
    started
        Called with the name of each property before it is computed.
    """
    rows: list[Row] = []
    results: dict[str, Mapping[str, Result]] = {}
    reference_results: dict[str, Mapping[str, Result]] = {}
    for name, settings in properties.items():
        started(name)
        item = PROPERTIES[name]
        ours, problem, verdict = _compute(item, force_field, structure, settings)
        if ours is None:
            rows.append(Row(name, "", None, None, "", "", verdict, problem))
            continue
        theirs, problem = None, ""
        if reference is not None:
            theirs, problem, _ = _compute(item, reference, structure, settings, is_reference=True)
        rows += _compare(item, settings, ours, theirs, problem)
        results[name] = ours.results
        if theirs is not None:
            reference_results[name] = theirs.results
    compared = reference.name if reference is not None else None
    sources = {"potential": force_field, "reference": reference}
    hashes = {name: source.content_hash for name, source in sources.items() if source is not None}
    return PhysicsReport(force_field.name, compared, tuple(rows), results, reference_results, hashes)


def _compute(
    item: Property,
    force_field: ForceField,
    structure: Structure,
    settings: PropertySettings,
    *,
    is_reference: bool = False,
) -> tuple[Computed | None, str, Verdict]:
    """Return what was computed, or why it could not be, and the verdict on what could not."""
    try:
        settings = item.of_reference(settings, force_field) if is_reference else settings
        return item.run(force_field, structure, settings), "", "pass"
    except StoppedError as error:
        return None, str(error), "stopped"
    except ForcewrightError as error:
        return None, str(error), "failed"
    except Exception as error:  # one property must not stop the others
        return None, f"{type(error).__name__}: {error}", "failed"


def _compare(
    item: Property, settings: PropertySettings, ours: Computed, theirs: Computed | None, problem: str
) -> list[Row]:
    numbers, expected, computed = dict(ours.numbers), dict(ours.expected), {}
    if theirs is not None:
        expected |= (computed := dict(theirs.numbers))
        if item.differences is not None:
            differences = item.differences(ours, theirs)
            numbers |= differences
            expected |= dict.fromkeys(differences, 0.0)
    expected |= {**ours.ideal, **settings.reference}
    why = f"the reference failed: {problem}" if problem else ""
    rows = [
        _row(item, settings, number, value, expected.get(number), computed.get(number), why)
        for number, value in numbers.items()
    ]
    rows = [
        replace(row, reason="; ".join(filter(None, [row.reason, ours.notes[row.number]])))
        if row.number in ours.notes else row
        for row in rows
    ]  # fmt: skip
    for number, reason in ours.failures.items():
        rows.append(Row(item.name, number, None, expected.get(number), unit_of(number), "", "failed", reason))
    stated = [*settings.reference, *(settings.tolerance if isinstance(settings.tolerance, dict) else ())]
    unknown = [number for number in dict.fromkeys(stated) if number not in {*numbers, *item.tolerance, *ours.failures}]
    return rows + [_missing(item, number, numbers, settings) for number in unknown]


def _row(
    item: Property, settings: PropertySettings, number: str, value: Number, reference: Number | None,
    computed: Number | None, why: str,
) -> Row:  # fmt: skip
    """Return the row of a number; ``computed`` is what the reference potential has, whatever is expected."""
    tolerance, unit = item.tolerance_of(number, settings), unit_of(number)
    if not math.isfinite(value):
        return Row(item.name, number, None, reference, unit, str(tolerance), "failed", "is not finite")
    if reference is None or not math.isfinite(reference):
        return Row(item.name, number, value, None, unit, str(tolerance), "no reference", why)
    if tolerance.allows(value, reference) or item.is_better(number, value, reference):
        return Row(item.name, number, value, reference, unit, str(tolerance), "pass")
    if computed is not None and item.is_better(number, value, computed):
        better = f"better than the reference's {computed:.4g}"
        return Row(item.name, number, value, reference, unit, str(tolerance), "pass", better)
    return Row(item.name, number, value, reference, unit, str(tolerance), "fail")


def _missing(item: Property, number: str, numbers: Mapping[str, Number], settings: PropertySettings) -> Row:
    """Return the row of a reference or tolerance for a number that was not computed."""
    close = get_close_matches(number, numbers, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"computed are {', '.join(numbers)}"
    reason = f"{number!r} is not among the numbers computed; {hint}"
    return Row(item.name, number, None, settings.reference.get(number), unit_of(number), "", "failed", reason)


def _texts(row: Row) -> tuple[str, ...]:
    value, reference = ("" if x is None else str(x) if isinstance(x, bool) else f"{x:.5g}" for x in
                        (row.value, row.reference))  # fmt: skip
    verdict = f"{row.verdict}: {row.reason}" if row.reason else row.verdict
    return row.property, row.number, value, reference, row.unit, row.tolerance, verdict


def _plain(results: Mapping[str, Mapping[str, Result]]) -> dict[str, Any]:
    return {name: {key: result.to_dict() for key, result in parts.items()} for name, parts in results.items()}


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
