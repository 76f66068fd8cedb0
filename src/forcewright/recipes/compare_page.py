"""Tables and page of a comparison of families, from the content of its result.json and the errors by family and set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.accuracy.errors import ErrorTable, force_norms
from forcewright.accuracy.parity import ParitySeries
from forcewright.fitting.settings import TuneStudySettings
from forcewright.recipes import provenance
from forcewright.report.numbers import DASH, duration, memory, significant

#: key, heading, unit, how it is written
COLUMNS: tuple[tuple[str, str, str, Any], ...] = (
    ("energy_mae_meV_per_atom", "energy MAE", "meV/atom", significant),
    ("energy_rmse_meV_per_atom", "energy RMSE", "meV/atom", significant),
    ("r2_energy", "R² energy", "", lambda value: significant(value, 5)),
    ("force_norm_mae_eV_per_A", "force-norm MAE", "eV/Å", significant),
    ("force_norm_rmse_eV_per_A", "force-norm RMSE", "eV/Å", significant),
    ("r2_force_norm", "R² force norm", "", lambda value: significant(value, 5)),
    ("force_rmse_eV_per_A", "force RMSE", "eV/Å", significant),
    ("fit_s", "one fit", "", duration),
    ("cost_us_per_atom", "cost", "µs/atom", significant),
    ("peak_memory_bytes", "peak memory", "", memory),
    ("cpu_s", "CPU time, all trials", "", duration),
    ("energy_used_kWh", "energy used", "kWh", significant),
)
_ACROSS = ("energy_mae_meV_per_atom", "force_norm_mae_eV_per_A", "force_rmse_eV_per_A")


def text_table(summary: Mapping[str, Any]) -> str:
    """Return the aligned table that the command line shows, and a line for every family that failed."""
    shown = _shown(summary["families"])
    lines = [["family", *(heading for _, heading, _, _ in shown)], ["", *(unit for _, _, unit, _ in shown)]]
    lines += [[name, *_cells(row, shown)] for name, row in summary["families"].items()]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
            zip(line[1:], widths[1:], strict=True))]) for line in lines]  # fmt: skip
    failed = [f"{name} failed: {reason}" for name, reason in summary["failed"].items()]
    return "\n".join([*text[:2], "-" * len(text[0]), *text[2:], *failed])


def _shown(rows: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Return the columns that some family has a number for."""
    return [column for column in COLUMNS if any(row[column[0]] is not None for row in rows.values())]


def _cells(row: Mapping[str, Any], columns: Any) -> list[str]:
    return [DASH if row[key] is None else str(write(row[key])) for key, _, _, write in columns]


def rows_by_set(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per family and test set; what does not depend on the set stands in each."""
    rows = []
    for family, row in summary["families"].items():
        general = {key: row[key] for key, *_ in COLUMNS} | {"trials": row["trials"], "origin": row["origin"]}
        for name, errors in row["sets"].items():
            rows.append({"family": family, "kind": row["kind"], "set": name, **general, **errors})
    return rows


def write_page(
    folder: Path, summary: Mapping[str, Any], tables: Mapping[str, Mapping[str, ErrorTable]], config_text: str
) -> Path:
    """Write report.html of a comparison and return its path."""
    from forcewright.report import Card, PageContent, write_report  # matplotlib: not before it is needed

    ranked = {name: row for name, row in summary["families"].items() if row["energy_mae_meV_per_atom"] is not None}
    cards = []
    for key, label, unit in (
        ("energy_mae_meV_per_atom", "lowest energy MAE", "meV/atom"),
        ("force_norm_mae_eV_per_A", "lowest force-norm MAE", "eV/Å"),
        ("cost_us_per_atom", "lowest cost", "µs/atom"),
    ):
        known = {name: row[key] for name, row in ranked.items() if row[key] is not None}
        if known:
            first = min(known, key=lambda name: known[name])
            cards.append(Card(label, significant(known[first]), unit, first))
    page = PageContent(
        title=f"Comparison: {folder.name}", kicker="Forcewright comparison",
        warnings=[
            *(f"{name} failed: {reason}" for name, reason in summary["failed"].items()),
            *(f"{name}: {warning}" for name, row in summary["families"].items() for warning in row.get("warnings", [])),
        ],
        summary=_summary_text(summary), cards=cards, sections=list(sections(summary, tables)), result=summary,
        config_text=config_text, citations=citations(summary),
    )  # fmt: skip
    return write_report(folder / "report.html", page)


def _summary_text(summary: Mapping[str, Any]) -> str:
    count, first = len(summary["families"]), summary["judged_on"]
    frames = summary["sets"][first]["frames"]
    return (
        f"{count} {'family' if count == 1 else 'families'} on the same frames; the table is of the set {first!r} "
        f"({frames} frames). Energies are per atom; the force norm is the root of the "
        "summed squares of all force components of a structure. One fit is the fit to all training data (linear "
        "families: with the search for weights and cross-validation); CPU time, memory and energy are of the whole "
        f"study. Energy used is CPU time times {summary['power_W_per_core']:g} W per core. Cost is the CPU time of "
        "an evaluation of energy, forces and stress with one thread, the least of several."
    )


def sections(summary: Mapping[str, Any], tables: Mapping[str, Mapping[str, ErrorTable]]) -> Iterator[Any]:
    """Yield the sections of the page, for a page on more than the comparison too."""
    from forcewright.report import Section
    from forcewright.report.compare_figures import draw_errors_by_source, draw_family_parity, draw_pareto, draw_sets

    rows = summary["families"]
    shown = _shown(rows)
    table = {
        "headings": [("family", ""), *((heading, unit) for _, heading, unit, _ in shown)],
        "rows": [[name, *_cells(row, shown)] for name, row in rows.items()], "style": "plain",
    }  # fmt: skip
    yield Section("Families side by side", "", [], [table])
    pareto = draw_pareto(rows)
    if pareto is not None:
        yield Section("Accuracy and cost", "", [pareto])
    if len(summary["sets"]) > 1:
        sets = draw_sets({name: row["sets"] for name, row in rows.items()})
        yield Section(
            "Several test sets",
            "The first set is closest to the training data; how errors grow on the others tells how far a family can "
            "be trusted outside.",
            [] if sets is None else [sets], list(_set_tables(summary)),
        )  # fmt: skip
    series = _series(tables)
    colors = "set" if len(summary["sets"]) > 1 else "group"
    strips, parity = draw_errors_by_source(series), draw_family_parity(series)
    if strips is not None:
        text = f"The absolute error of every frame, colored by {colors}; a bar marks the mean."
        yield Section("Errors by source", text, [strips])
    if parity is not None:
        yield Section("Prediction against reference", f"Colored by {colors}.", [parity])


def _set_tables(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    names = list(summary["sets"])
    for column in _shown(summary["families"]):
        key, heading, unit, _ = column
        if key in _ACROSS:
            rows = [[family, *(_cells(row["sets"][name], [column])[0] for name in names)]
                    for family, row in summary["families"].items()]  # fmt: skip
            yield {"caption": f"{heading} ({unit})", "headings": [("family", ""), *((name, "") for name in names)],
                   "rows": rows, "style": "plain"}  # fmt: skip


def _series(tables: Mapping[str, Mapping[str, ErrorTable]]) -> dict[str, dict[str, ParitySeries]]:
    """Return energies and force norms of each family over all sets; the source is the set, or the group of one set."""
    pooled = {}
    for family, by_set in tables.items():
        energy = _pooled({name: table.parity.energy for name, table in by_set.items()})
        force_norm = _pooled({name: force_norms(table.parity) for name, table in by_set.items()})
        both = {"energy": energy, "force_norm": force_norm}
        pooled[family] = {key: series for key, series in both.items() if series is not None}
    return pooled


def _pooled(parts: Mapping[str, ParitySeries | None]) -> ParitySeries | None:
    known = {name: series for name, series in parts.items() if series is not None}
    if len(parts) == 1 or not known:
        return next(iter(known.values()), None)
    names = tuple(parts)
    joined = {
        key: np.concatenate([getattr(series, key) for series in known.values()])
        for key in ("reference", "predicted", "frame")
    }
    group = np.concatenate([np.full(len(series), names.index(name)) for name, series in known.items()])
    return replace(next(iter(known.values())), **joined, group=group, names=names)


def citations(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what all families together cite, each once."""
    cited: dict[str, dict[str, str]] = {}
    for row in summary["families"].values():
        model = (row["settings"] or {}).get("model", {})
        for entry in provenance.citations(model, TuneStudySettings(), (row["trials"] or 0) > 1):
            cited.setdefault(entry["key"], entry)
    return list(cited.values())
