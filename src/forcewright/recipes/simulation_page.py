"""The page of a simulation: how it ended, what the thermometer showed, what structure it left."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.analyze import rdf
from forcewright.errors import ForcewrightError
from forcewright.potential import Graded, Potential
from forcewright.protocols.growth import Growth
from forcewright.protocols.survival import Survival
from forcewright.recipes import provenance
from forcewright.recipes.analyze import Selection, figure_of
from forcewright.recipes.extrapolation_page import extrapolation_sections
from forcewright.report import Card, PageContent, Section, draw_run, draw_structure, stage_table, write_report
from forcewright.report.numbers import duration, significant
from forcewright.simulation import SimulationResult, Stage
from forcewright.trajectory import Snapshot, count_frames, read_thermo, snapshots
from forcewright.validation.properties import name_of

_LAST_FRAMES, _DRAWN = 8, 3  # before a stop: listed, and drawn
_MOST_FRAMES = 50  # of the last quarter of a run, for its g(r)


def write_run_page(
    folder: Path, result: SimulationResult, stages: Sequence[Stage], name: str, summary: dict[str, Any], text: str,
    grown: Growth | None = None, potential: Potential | None = None,
) -> Path:  # fmt: skip
    """Write report.html of one run, with the growth of a crystal where it was about that, and return its path.

    ``summary`` is the content of its result.json, ``text`` its config; ``potential`` tells grades of the structures
    before a run was stopped, where it knows them.
    """
    thermo = read_thermo(folder / "thermo.csv")
    atoms = len(result.final)
    sections = [
        *_before_the_stop(result, potential),
        Section("Over time", "", draw_run(thermo, atoms), paired=True),
        Section("Stages", "", [], [_plan(stages)]),
        *extrapolation_sections(folder),
        *([] if grown is None else [_growth_section(grown)]),
        *_structure_at_the_end(result.trajectory),
    ]
    page = PageContent(
        title=folder.name, kicker="Forcewright simulation", summary=_ending(result, stages, name),
        warnings=[] if result.alarm is None else [result.alarm.message],
        cards=[*_stop_card(result, stages), *_cards(thermo, atoms, result.completed)],
        facts=_facts(result, summary, name), sections=sections,
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
    return f"The run with {name} came to its end: {planned:.4g} ps in {len(stages)} stage{'s' * (len(stages) > 1)}."


def _stop_card(result: SimulationResult, stages: Sequence[Stage]) -> list[Card]:
    if result.alarm is None:
        return []
    planned = sum(stage.time_ps or 0.0 for stage in stages)
    why = f"of {planned:.4g} ps, by the monitor of {name_of(result.alarm.monitor)}"
    return [Card("stopped after", f"{result.time_ps:.4g}", "ps", why)]


def _before_the_stop(result: SimulationResult, potential: Potential | None) -> list[Section]:
    """Return pictures of the last frames of a run that was stopped, with their grades where they are known."""
    if result.alarm is None:
        return []
    last: deque[Snapshot] = deque(maxlen=_LAST_FRAMES)
    with suppress(ForcewrightError):  # the last frame may hold what no file can
        last.extend(snapshots(result.trajectory))
    graded = potential if isinstance(potential, Graded) and potential.knows_grades else None
    figures, rows = [], []
    for snapshot in last:
        if not np.isfinite(snapshot.structure.positions).all():
            continue
        time = "" if snapshot.time is None else f"{snapshot.time / 1000:.4g} ps"
        grades = None if graded is None else graded.extrapolation_grades(snapshot.structure)
        atoms = [atom for atom in result.alarm.atoms if atom < len(snapshot)]
        figures.append((snapshot, atoms, time))
        largest = [] if snapshot.forces is None else [float(np.linalg.norm(snapshot.forces, axis=1).max())]
        rows.append(
            [
                time,
                significant(snapshot.temperature),
                *map(significant, largest),
                *([] if grades is None else [significant(float(grades.max())), str(int(np.argmax(grades)))]),
            ]
        )
    if not rows:
        return []
    headings = [("time", ""), ("temperature", "K"), *([("largest force", "eV/Å")] if len(rows[0]) in (3, 5) else []),
                *([] if graded is None else [("largest grade γ", ""), ("at atom", "")])]  # fmt: skip
    drawn = [draw_structure(vars(snapshot.structure), atoms, time) for snapshot, atoms, time in figures[-_DRAWN:]]
    text = "The last frames of the trajectory" + (
        "; the atoms that the monitor names are ringed." if result.alarm.atoms else "."
    )
    if graded is not None:
        text += " The extrapolation grade γ tells how far an atom's surroundings lie from the training data."
    return [Section("Before the stop", text, drawn, [{"headings": headings, "rows": rows, "style": "plain"}], True)]


def _cards(thermo: dict[str, np.ndarray], atoms: int, completed: bool) -> list[Card]:
    """Return means over the last quarter of the run, without the very end of one that broke down."""
    rows = len(thermo["time_ps"])
    end = rows if completed else max(rows - max(3, rows // 25), 1)
    last = slice(3 * end // 4, end)
    when = "last quarter" if completed else "last quarter before it broke"
    cards = []
    for label, column, unit, scale in (
        ("temperature", "temperature_K", "K", 1.0), ("potential energy", "potential_eV", "eV/atom", atoms),
        ("pressure", "pressure_GPa", "GPa", 1.0), ("density", "density_g_cm3", "g/cm³", 1.0),
    ):  # fmt: skip
        values = thermo.get(column, np.full(1, np.nan))[last] / scale
        values = values[np.isfinite(values)]
        if len(values):
            mean, spread = float(values.mean()), float(values.std())
            steady = spread <= 1e-9 * abs(mean)  # a constant, but for rounding
            cards.append(Card(label, significant(mean, 4), unit,
                              when if steady else f"{when}, spread {significant(spread, 2)}"))  # fmt: skip
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
