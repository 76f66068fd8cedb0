"""Tables and page of an ablation, from the content of its result.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from forcewright.recipes.compare_page import citations
from forcewright.report.numbers import DASH, duration, significant

#: kinds of errors that are compared: key, heading, unit
ERRORS = (
    ("energy_rmse_meV_per_atom", "energy RMSE", "meV/atom"),
    ("energy_mae_meV_per_atom", "energy MAE", "meV/atom"),
    ("force_rmse_eV_per_A", "force RMSE", "eV/Å"),
    ("force_mae_eV_per_A", "force MAE", "eV/Å"),
)
KEYS = tuple(key for key, *_ in ERRORS)
_SHOWN = tuple(error for error in ERRORS if "rmse" in error[0])
_BASE = "base"


def text_table(summary: Mapping[str, Any]) -> str:
    """Return the aligned table that the command line shows, and a line for every variant that failed."""
    headings, rows = _table(summary)
    lines = [[" ".join(part for part in heading if part) for heading in headings], *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    text = ["  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
            zip(line[1:], widths[1:], strict=True))]) for line in lines]  # fmt: skip
    failed = [f"{name} failed: {reason}" for name, reason in summary["failed"].items()]
    note = "In brackets: difference from the base ± standard error over the frames, * where 95 % exclude zero."
    return "\n".join([text[0], "-" * len(text[0]), *text[1:], note, *failed])


def _table(summary: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Return headings and rows: errors on every set with what they differ by, cost and survival."""
    variants = summary["variants"]
    columns = [
        (key, heading, unit, name) for name in summary["sets"] for key, heading, unit in _SHOWN
        if any(row["sets"][name].get(key) is not None for row in variants.values())
    ]  # fmt: skip
    several = len(summary["sets"]) > 1
    measured = [(f"{heading}, {name}" if several else heading, unit) for _, heading, unit, name in columns]
    headings = [("variant", ""), *measured, ("cost", "µs/atom"), ("survived", ""), ("study", "CPU")]
    rows = [
        [name, *(_with_difference(row, set_name, key) for key, _, _, set_name in columns),
         significant(row["cost_us_per_atom"]), _survived(row["survival"]), duration(row["cpu_s"])]
        for name, row in variants.items()
    ]  # fmt: skip
    return headings, rows


def _with_difference(row: Mapping[str, Any], set_name: str, key: str) -> str:
    value = row["sets"][set_name].get(key)
    if value is None:
        return DASH
    difference = row["differences"].get(set_name, {}).get(key)
    if difference is None:
        return significant(value)
    error = difference["standard_error"]
    sign = "+" if difference["value"] >= 0 else ""
    spread = "" if error is None else f" ± {significant(error, 2)}"
    mark = "*" if difference["is_clear"] else ""
    return f"{significant(value)} ({sign}{significant(difference['value'], 2)}{spread}){mark}"


def _survived(survival: Mapping[str, int] | None) -> str:
    return DASH if survival is None else f"{survival['survived']} of {survival['done']}"


def rows_by_set(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per variant and set, with errors, their differences from the base, cost and survival."""
    rows = []
    for name, row in summary["variants"].items():
        survival = row["survival"] or {"done": None, "survived": None}
        for set_name, errors in row["sets"].items():
            flat: dict[str, Any] = {"variant": name, "set": set_name, **{key: errors.get(key) for key in KEYS}}
            for key in KEYS:
                difference = row["differences"].get(set_name, {}).get(key, {})
                for part in ("value", "standard_error", "low", "high"):
                    flat[f"{key}_difference" + ("" if part == "value" else f"_{part}")] = difference.get(part)
            flat |= {"cost_us_per_atom": row["cost_us_per_atom"], "runs": survival["done"],
                     "runs_survived": survival["survived"], "cpu_s": row["cpu_s"]}  # fmt: skip
            rows.append(flat)
    return rows


def write_page(folder: Path, summary: Mapping[str, Any], config_text: str) -> Path:
    """Write report.html of an ablation and return its path."""
    from forcewright.report import PageContent, write_report  # matplotlib: not before it is needed

    variants, first = summary["variants"], summary["judged_on"]
    page = PageContent(
        title=f"Ablation: {folder.name}", kicker="Forcewright ablation",
        warnings=[
            *(f"{name} failed: {reason}" for name, reason in summary["failed"].items()),
            *(f"{name}: {warning}" for name, row in variants.items() for warning in row.get("warnings", [])),
        ],
        summary=(
            f"One base and {len(variants) - 1} changes of it, each fitted with everything else as it was, on the same "
            f"frames ({summary['sets'][first]['frames']} in {first!r}). What a study settles by itself, such as "
            "weights that are searched or ACE's radial functions, is settled anew in each. Differences are of the "
            "errors on the same frames: their standard errors and 95 % intervals are of resamples of the frames, drawn "
            "for both together, and hold no spread of repeated fits. Survived: runs of dynamics in which the study "
            "probed its potential."
        ),
        sections=list(_sections(summary)), result=summary, config_text=config_text,
        citations=citations({"families": variants}),
    )  # fmt: skip
    return write_report(folder / "report.html", page)


def _sections(summary: Mapping[str, Any]) -> Iterator[Any]:
    from forcewright.report import Section
    from forcewright.report.ablation_figures import draw_differences

    headings, rows = _table(summary)
    changed = [[name, json.dumps(row["changed"], ensure_ascii=False)] for name, row in summary["variants"].items()
               if name != _BASE]  # fmt: skip
    yield Section(
        "Variants side by side",
        "In brackets: difference from the base ± standard error; * marks those whose 95 % interval excludes zero.", [],
        [{"headings": headings, "rows": rows, "style": "plain"},
         {"caption": "What was changed", "headings": [("variant", ""), ("change", "")], "rows": changed,
          "style": "plain"}],
    )  # fmt: skip
    figures = [
        figure
        for key, heading, unit in _SHOWN
        if (figure := draw_differences(summary["variants"], key, f"{heading} ({unit})")) is not None
    ]
    if figures:
        text = "Error less that of the base, with 95 % intervals: right of the line a change makes it worse."
        yield Section("What each part is worth", text, figures)
