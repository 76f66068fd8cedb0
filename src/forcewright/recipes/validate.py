"""Validate: the physics of a potential against a reference, a row per number, with the figures of a paper."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forcewright.analyze.result import Result
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import atomic_write
from forcewright.protocols.structures import build_structure
from forcewright.recipes import provenance
from forcewright.recipes.force_fields import force_field
from forcewright.recipes.outputs import rebuild_report
from forcewright.recipes.run_folder import read_settings
from forcewright.report import Card, PageContent, Section, draw_svg, write_report
from forcewright.report.drawing import BEST, MAIN, dress, new_figure
from forcewright.report.numbers import DASH, significant
from forcewright.validation.physics import PhysicsReport, ValidationConfig, Verdict
from forcewright.validation.physics import validate as judge
from forcewright.validation.properties import PropertySettings, name_of

_RULES = ("black", "k", "gray", "0.8")  # colors of lines that only guide the eye
_VERDICT_MARKS = {"pass": "pass", "fail": "fail", "failed": "fail"}


def validate(
    config: str | Path | Mapping[str, Any], *, potential: str | Path | None = None, output: str | Path | None = None,
    on_property: Callable[[str], None] = lambda name: None,
) -> PhysicsReport:  # fmt: skip
    """Compute the physical properties a config names, compare and judge them, and write what comes out.

    Parameters
    ----------
    config
        A YAML file, or its content (paths are then relative to the working directory).
    potential
        Path of the potential, in place of the one the config names.
    output
        Folder to write to, in place of the one the config names.
    on_property
        Called with the name of each property before it is computed.

    Raises
    ------
    InputError
        If the config is not usable, or neither it nor ``potential`` says what to validate.
    """
    settings, folder, file = read_settings(ValidationConfig, config)
    given = settings.potential if potential is None else Path(potential).resolve()
    target = settings.output if output is None else Path(output).resolve()
    if given is None or target is None:
        missing = "potential" if given is None else "output"
        raise InputError("is missing; add it, or say it on the command line", file=file, field=missing)
    source = force_field(given, folder)
    reference = None if settings.reference is None else force_field(settings.reference, folder)
    structure = build_structure(settings.structure, folder).structure
    asked = {name: _absolute(one, folder) for name, one in settings.asked().items()}
    report = judge(source, structure, asked, reference, started=on_property)
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    _write((folder / target).resolve(), report, text)
    if isinstance(given, str | Path):
        _add_to_study((folder / given).resolve().parent, report)
    return report


def _absolute(settings: PropertySettings, folder: Path) -> PropertySettings:
    """Return the settings with paths taken from the config's folder."""
    paths = {
        name: (folder / value).resolve()
        for name in type(settings).model_fields
        if isinstance(value := getattr(settings, name), Path)
    }
    return settings.model_copy(update=paths)


def _write(folder: Path, report: PhysicsReport, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    summary = {**report.to_dict(), **provenance.record()}
    atomic_write(folder / "result.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    atomic_write(folder / "config.resolved.yaml", text)
    page = PageContent(
        title=f"Physics of {report.potential}", kicker="Forcewright validation", summary=_summary(report),
        cards=_cards(report), sections=sections(report), result=summary, config_text=text,
        citations=provenance.cited(["forcewright", "ase"]),
    )  # fmt: skip
    write_report(folder / "report.html", page)


def _add_to_study(folder: Path, report: PhysicsReport) -> None:
    """Show the physics in the report of the study that made the potential, where that lies around it."""
    if not (folder / "report.json").is_file():
        return
    stored = [
        {
            "title": f"Physics: {one.title.lower()}", "text": one.text, "paired": one.paired,
            "tables": list(one.tables),
            "figures": [[svg := draw_svg(figure), svg.width] for figure in one.figures if isinstance(figure, Figure)],
        }
        for one in sections(report)
    ]  # fmt: skip
    atomic_write(folder / "physics.json", json.dumps(stored) + "\n")
    rebuild_report(folder)


def _summary(report: PhysicsReport) -> str:
    against = f" against {report.reference}" if report.reference else ""
    judged = sum(row.verdict != "no reference" for row in report.rows)
    return (
        f"{report.potential}{against}: {report.count('pass')} of {judged} numbers that could be judged lie within "
        "their tolerance. Values stated in the config come before those a reference potential computes."
    )


def _cards(report: PhysicsReport) -> list[Card]:
    told: dict[Verdict, str] = {"pass": "within tolerance", "fail": "outside", "failed": "could not be computed"}
    counts = {verdict: report.count(verdict) for verdict in told}
    return [Card(told[verdict], str(count)) for verdict, count in counts.items() if count or verdict == "pass"]


def sections(report: PhysicsReport) -> list[Section]:
    """Return the physics of a potential as sections of a page: the table, then each property's figures."""
    headings = [("property", ""), ("number", ""), ("value", ""), ("reference", ""), ("unit", ""), ("tolerance", ""),
                ("verdict", "")]  # fmt: skip
    rows = [
        [
            row.property.replace("_", " "), name_of(row.number),
            _number(row.value), _number(row.reference), row.unit, row.tolerance,
            row.verdict if not row.reason else f"{row.verdict}: {row.reason}",
        ]
        for row in report.rows
    ]  # fmt: skip
    marks = [_VERDICT_MARKS.get(row.verdict, "") for row in report.rows]
    table = {"headings": headings, "rows": rows, "marks": marks, "style": "plain"}
    drawn = [
        figure for name, results in report.results.items()
        for figure in _figures(name, results, report.reference_results.get(name, {}))
    ]  # fmt: skip
    told = "Solid: the potential. Dashed: the reference, where there is one." if drawn else ""
    return [Section("Numbers", "", [], [table]), *([Section("Figures", told, drawn, paired=True)] if drawn else [])]


def _number(value: float | bool | None) -> str:
    return DASH if value is None else significant(value, 4)


def _figures(name: str, ours: Mapping[str, Result], theirs: Mapping[str, Result]) -> list[Figure]:
    """Return a figure of each result of a property; lines of the reference are drawn behind, where there are any."""
    figures = []
    for key, result in ours.items():
        figure = new_figure(3.2, 4.7)
        ax = figure.subplots()
        try:
            result.plot(ax)
            if key in theirs and _only_lines(ax):
                _draw_behind(ax, theirs[key])
        except (NotImplementedError, ForcewrightError):
            continue
        title = ax.get_title() or (key if key.startswith(name) else name).replace("_", " ")
        ax.set_title("")
        dress(ax, ax.get_xlabel(), ax.get_ylabel(), title)
        ax.grid(not ax.images)
        figures.append(figure)
    return figures


def _only_lines(ax: Axes) -> bool:
    """Tell whether a figure is of lines, which another one's can be laid over."""
    return bool(ax.lines) and not (ax.patches or ax.images or ax.collections)


def _draw_behind(ax: Axes, reference: Result) -> None:
    """Draw the lines of a reference dashed behind those that are there."""
    for line in ax.lines:
        line.set_color(MAIN if line.get_color() not in _RULES else line.get_color())
    before = len(ax.lines)
    reference.plot(ax)
    for line in ax.lines[before:]:
        line.set_visible(line.get_linestyle() != "None")  # the curve is enough, without its points
        line.set(color=BEST, linestyle="--", marker="", zorder=1)
    if (legend := ax.get_legend()) is not None:
        legend.remove()
