"""Tables of a report: rows of text for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forcewright.report.numbers import DASH, duration, parameter, significant, unit_of, with_error
from forcewright.report.search_figures import best

#: columns of the error tables: key of ErrorTable.to_dict(), heading, unit
ERROR_COLUMNS = (
    ("energy_rmse_meV_per_atom", "energy RMSE", "meV/atom"),
    ("energy_mae_meV_per_atom", "energy MAE", "meV/atom"),
    ("energy_r2", "energy R²", ""),
    ("force_rmse_eV_per_A", "force RMSE", "eV/Å"),
    ("force_mae_eV_per_A", "force MAE", "eV/Å"),
    ("force_r2", "force R²", ""),
    ("stress_rmse_GPa", "stress RMSE", "GPa"),
    ("pressure_bias_GPa", "pressure bias", "GPa"),
)

#: columns of the table by density
_DENSITY_COLUMNS = ("energy_rmse_meV_per_atom", "force_rmse_eV_per_A", "stress_rmse_GPa", "pressure_bias_GPa")


def error_text(errors: Mapping[str, Any] | None, key: str) -> str:
    """Return one error ± its standard error."""
    if not errors:
        return DASH
    return with_error(errors.get(key), (errors.get("standard_error") or {}).get(key))


def error_table(table: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return headings and rows of one data set's errors: a row per group, the last for all frames."""
    if not table:
        return None
    columns = [column for column in ERROR_COLUMNS if table.get(column[0]) is not None]
    groups = table.get("groups") or {}
    named = [*groups.items(), ("all", table)] if len(groups) != 1 else [("all", table)]
    rows = [[name, significant(errors.get("frames")), *(error_text(errors, key) for key, _, _ in columns)]
            for name, errors in named]  # fmt: skip
    return {"headings": [("group", ""), ("frames", ""), *((name, unit) for _, name, unit in columns)], "rows": rows}


def element_table(table: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return headings and rows of force errors by the element of the atom; None for one element alone."""
    elements = (table or {}).get("elements") or {}
    if len(elements) < 2:
        return None
    columns = (("force_rmse_eV_per_A", "force RMSE"), ("force_mae_eV_per_A", "force MAE"),
               ("largest_force_error_eV_per_A", "largest error of a force"))  # fmt: skip
    rows = [[symbol, significant(errors.get("atoms")), *(error_text(errors, key) for key, _ in columns)]
            for symbol, errors in elements.items()]  # fmt: skip
    headings = [("element", ""), ("atoms", ""), *((name, "eV/Å") for _, name in columns)]
    return {"headings": headings, "rows": rows, "style": "plain"}


def density_table(table: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return headings and rows of errors by density, from dense to dilute; None for one density alone."""
    densities = (table or {}).get("densities") or []
    columns = [column for column in ERROR_COLUMNS if column[0] in _DENSITY_COLUMNS]
    columns = [column for column in columns if any(row.get(column[0]) is not None for row in densities)]
    if len(densities) < 2 or not columns:
        return None
    rows = []
    for row in densities:
        low, high = (significant(end, 4) for end in row["volume_per_atom_A3"])
        name = low if low == high else f"{low} to {high}"
        rows.append([name, significant(row.get("frames")), *(error_text(row, key) for key, _, _ in columns)])
    headings = [("volume per atom", "Å³"), ("frames", ""), *((name, unit) for _, name, unit in columns)]
    return {"headings": headings, "rows": rows, "style": "plain"}


def grade_table(grades: Mapping[str, Any]) -> dict[str, Any]:
    """Return headings and rows of uncertainties: a row per group, the last for all atoms.

    Parameters
    ----------
    grades
        atoms, frames, median, percentile_95, max, frames_outside and share_outside, and the same by group in
        ``groups``; ``measure`` and ``unit``. Earlier versions have share_above_1 in place of frames.
    """
    groups = grades.get("groups") or {}
    named = [*groups.items(), ("all", grades)] if len(groups) != 1 else [("all", grades)]
    symbol, unit = ("σ", grades.get("unit", "")) if grades.get("measure") == "standard deviation" else ("γ", "")
    counts = ["frames", "atoms"] if "frames" in grades else ["atoms"]
    columns = [*counts, "median", "percentile_95", "max"]
    names = [*counts, f"median {symbol}", f"95th percentile of {symbol}", f"largest {symbol}"]
    units = {name: unit for name in names[len(counts) :]}
    last, heading = (
        ("share_outside", "frames outside") if "frames" in grades else ("share_above_1", "share with γ above 1")
    )
    rows = []
    for name, row in named:
        share = row.get(last)
        percent = DASH if share is None else f"{significant(100.0 * share)}\u202f%"
        rows.append([name, *(significant(row.get(key)) for key in columns), percent])
    return {"headings": [("group", ""), *((name, units.get(name, "")) for name in names), (heading, "")], "rows": rows}


def trial_table(trials: Sequence[Mapping[str, Any]], units: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """Return headings with units and rows of all trials; ``units`` are those of hyperparameters."""
    if not trials:
        return None
    names = parameter_names(trials)
    headings = [("trial", ""), ("phase", ""), ("loss", ""), ("energy RMSE", "meV/atom"), ("force RMSE", "eV/Å"),
                ("cost", "µs/atom"), ("time", ""), *((name, unit_of(name, units or {})) for name in names)]  # fmt: skip
    winner = best(trials)
    return {"headings": headings, "rows": [_trial_row(trial, names) | {"best": trial is winner} for trial in trials]}


def _trial_row(trial: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    params = trial.get("params") or {}
    cells = [
        significant(trial.get("index")), str(trial.get("phase") or DASH), significant(trial.get("loss"), 4),
        significant(trial.get("energy_rmse_meV_per_atom")), significant(trial.get("force_rmse_eV_per_A")),
        significant(trial.get("cost_us_per_atom")), duration(trial.get("wall_s")),
        *(parameter(params.get(name)) for name in names),
    ]  # fmt: skip
    failed = trial.get("state") == "failed"
    return {"cells": cells, "failed": failed, "error": str(trial.get("error") or "failed") if failed else ""}


def parameter_names(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the hyperparameters that occur in any trial, in order of appearance."""
    return list(dict.fromkeys(name for trial in trials for name in trial.get("params") or {}))


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and text of each value; names inside mappings are joined by a dot."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", parameter(value)


def is_grid(value: Any) -> bool:
    """Whether a value is a mapping of mappings, such as weights by group and property."""
    return isinstance(value, Mapping) and bool(value) and all(isinstance(row, Mapping) for row in value.values())


def grid(rows: Mapping[str, Mapping[str, Any]], units: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return headings, with the units of columns, and rows of a mapping of mappings."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    known = units or {}
    return {
        "headings": ["", *(f"{name} ({known[name]})" if name in known else name for name in columns)],
        "rows": [[name, *(parameter(row[c]) if c in row else DASH for c in columns)] for name, row in rows.items()],
    }


def finding_row(finding: Any) -> dict[str, str]:
    """Return severity, file, frame, field and message of a finding: a mapping, a row or an object with these names."""
    names = ("severity", "file", "frame", "field", "message")
    if isinstance(finding, Mapping):
        values = [finding.get(name) for name in names]
    elif isinstance(finding, (list, tuple)) and not hasattr(finding, "severity"):
        values = [*finding, *[None] * 5][:5]
    else:
        values = [getattr(finding, name, None) for name in names]
    return {name: DASH if value in (None, "") else str(value) for name, value in zip(names, values, strict=True)}
