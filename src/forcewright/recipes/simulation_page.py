"""The page of a simulation: how it ended, what the thermometer showed, what structure it left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.analyze import rdf
from forcewright.errors import ForcewrightError
from forcewright.protocols.growth import Growth
from forcewright.protocols.survival import Survival
from forcewright.recipes import provenance
from forcewright.recipes.analyze import Selection, figure_of
from forcewright.recipes.extrapolation_page import extrapolation_sections
from forcewright.report import Card, PageContent, Section, draw_run, stage_table, write_report
from forcewright.report.numbers import duration, significant
from forcewright.simulation import SimulationResult, Stage
from forcewright.trajectory import count_frames, read_thermo

_MOST_FRAMES = 50  # of the last quarter of a run, for its g(r)


def write_run_page(
    folder: Path, result: SimulationResult, stages: Sequence[Stage], name: str, summary: dict[str, Any], text: str,
    grown: Growth | None = None,
) -> Path:  # fmt: skip
    """Write report.html of one run, with the growth of a crystal where it was about that, and return its path.

    ``summary`` is the content of its result.json, ``text`` its config.
    """
    thermo = read_thermo(folder / "thermo.csv")
    atoms = len(result.final)
    figure = draw_run(thermo, atoms)
    sections = [
        Section("Stages", "", [], [_plan(stages)]),
        Section("Over time", "", [] if figure is None else [figure]),
        *extrapolation_sections(folder),
        *([] if grown is None else [_growth_section(grown)]),
        *_structure_at_the_end(result.trajectory),
    ]
    page = PageContent(
        title=folder.name, kicker="Forcewright simulation", summary=_ending(result, stages, name),
        warnings=[] if result.alarm is None else [result.alarm.message],
        cards=list(_cards(thermo, atoms)), facts=_facts(result, summary, name), sections=sections,
        result={**summary, **provenance.record()},
        config_text=text, citations=provenance.cited(["forcewright", "ase"]),
    )  # fmt: skip
    return write_report(folder / "report.html", page)


def _plan(stages: Sequence[Stage]) -> dict[str, Any]:
    names = [stage.name or f"{k} {stage.ensemble}" for k, stage in enumerate(stages, 1)]
    return stage_table([stage.model_dump(mode="json") | {"name": n} for stage, n in zip(stages, names, strict=True)])


def _ending(result: SimulationResult, stages: Sequence[Stage], name: str) -> str:
    planned = sum(stage.time_ps or 0.0 for stage in stages)
    done = (result.final.time or 0.0) / 1000.0
    if result.alarm is not None:
        return (
            f"The run with {name} was stopped after {done:.4g} of {planned:.4g} ps: {result.alarm.message}. "
            "What was written up to there is kept. A potential that breaks here does not know these surroundings; "
            "label structures from the last frames before and fit again, or keep to milder conditions."
        )
    return f"The run with {name} came to its end: {planned:.4g} ps in {len(stages)} stages."


def _cards(thermo: dict[str, np.ndarray], atoms: int) -> list[Card]:
    """Return means over the last quarter of the run."""
    last = slice(3 * len(thermo["time_ps"]) // 4, None)
    cards = []
    for label, column, unit, scale in (
        ("temperature", "temperature_K", "K", 1.0), ("potential energy", "potential_eV", "eV/atom", atoms),
        ("pressure", "pressure_GPa", "GPa", 1.0), ("density", "density_g_cm3", "g/cm³", 1.0),
    ):  # fmt: skip
        values = thermo.get(column, np.full(1, np.nan))[last] / scale
        values = values[np.isfinite(values)]
        if len(values):
            cards.append(Card(label, significant(float(values.mean()), 4), unit,
                              f"last quarter, spread {significant(float(values.std()), 2)}"))  # fmt: skip
    return cards


def _facts(result: SimulationResult, summary: dict[str, Any], name: str) -> list[tuple[str, str]]:
    return [
        ("atoms", significant(len(result.final))), ("steps", significant(result.steps)),
        ("steps per second", significant(float(result.steps_per_s))),
        ("wall time", duration(summary.get("wall_s"))), ("CPU time", duration(summary.get("cpu_s"))),
        ("engine", str(summary.get("engine", ""))), ("forces", name), ("seed", str(summary.get("seed", ""))),
    ]  # fmt: skip


def _growth_section(grown: Growth) -> Section:
    text = (
        f"Share of crystal-like atoms: {100 * grown.crystalline_share[0]:.0f} % at the start, "
        f"{100 * (grown.crystalline_share[0] + grown.grew):.0f} % at the end. An atom counts as crystal-like where its "
        f"bond order, averaged over its neighbors, lies beyond {grown.threshold:.3f}, halfway between template "
        f"({grown.order_of_template:.3f}) and melt ({grown.order_of_melt:.3f})."
    )
    figure = figure_of(grown)
    return Section("Growth", text, [] if figure is None else [figure])


def _structure_at_the_end(trajectory: Path) -> list[Section]:
    """Return g(r) over the last quarter of the frames, where that makes sense."""
    frames = count_frames(trajectory) or 0
    last = frames - max(1, frames // 4)
    try:
        distribution = rdf(Selection(trajectory, last, max(1, (frames - last) // _MOST_FRAMES)))
    except ForcewrightError:  # an open structure, for one
        return []
    figure = figure_of(distribution)
    return [] if figure is None else [Section("Structure at the end", "", [figure])]


def write_survival_page(
    folder: Path, outcome: Survival, stages: Sequence[Stage], name: str, text: str, summary: dict[str, Any]
) -> Path:
    """Write report.html of several runs and return its path."""
    runs = zip(outcome.times_ps, outcome.reasons, outcome.completed.tolist(), strict=True)
    rows = [[f"run-{k}", f"{time:.4g}", reason, "survived" if done else "failed"]
            for k, (time, reason, done) in enumerate(runs)]  # fmt: skip
    marks = ["pass" if done else "fail" for done in outcome.completed.tolist()]
    table = {"headings": [("run", ""), ("lasted", "ps"), ("ended because", ""), ("verdict", "")], "rows": rows,
             "marks": marks, "style": "plain"}  # fmt: skip
    count = len(rows)
    page = PageContent(
        title=folder.name, kicker="Forcewright survival",
        summary=f"{outcome.survivors} of {count} independent runs with {name} came to their end.",
        cards=[Card("share that survived", f"{100 * outcome.share:.0f}", "%",
                    f"95 % interval {100 * outcome.low:.0f} to {100 * outcome.high:.0f} %")],
        sections=[
            Section("Survival", "", [figure for figure in [figure_of(outcome)] if figure is not None], [table]),
            Section("Stages", "", [], [_plan(stages)]),
        ],
        result=summary, config_text=text, citations=provenance.cited(["forcewright", "ase"]),
    )  # fmt: skip
    return write_report(folder / "report.html", page)
