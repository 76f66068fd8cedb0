"""Validate: the physics of a potential against a reference, a row per number, with the figures of a paper."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forcewright.analyze.result import Result
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import as_path, atomic_write, only_writer
from forcewright.models import potential_path
from forcewright.potential import Potential
from forcewright.protocols.structures import build_structure
from forcewright.recipes import provenance
from forcewright.recipes.force_fields import force_field, shown_name
from forcewright.recipes.outputs import rebuild_report
from forcewright.recipes.run_folder import LOCK, RunFolder, config_text, read_config, with_absolute_paths
from forcewright.report import Card, PageContent, Section, draw_svg, write_report
from forcewright.report.drawing import BEST, MAIN, dress, new_figure
from forcewright.report.numbers import DASH, significant
from forcewright.validation.physics import PROPERTIES, PhysicsReport, ValidationConfig, Verdict
from forcewright.validation.physics import validate as judge
from forcewright.validation.properties import name_of

_RULES = ("black", "k", "gray", "0.8")  # colors of lines that only guide the eye
_VERDICT_MARKS = {"pass": "pass", "fail": "fail", "failed": "fail"}


def validate(
    config: str | Path | Mapping[str, Any] | ValidationConfig, *,
    potential: str | Path | Potential | Mapping[str, Any] | None = None, output: str | Path | None = None,
    on_property: Callable[[str], None] = lambda name: None,
) -> PhysicsReport:  # fmt: skip
    """Compute the physical properties a config names, compare and judge them, and write what comes out.

    Nothing is written where neither a config in memory nor ``output`` names a folder. ``folder`` of the report is where
    it was written.

    Parameters
    ----------
    config
        A YAML file, or its content (paths are then relative to the working directory).
    potential
        The potential or its path, in place of the one the config names.
    output
        Folder to write to, in place of the one the config names. Where neither names one, a config in a file is
        answered in ``physics`` beside the potential.
    on_property
        Called with the name of each property before it is computed.

    Raises
    ------
    InputError
        If the config is not usable, or neither it nor ``potential`` says what to validate.
    MissingExtraError
        If a package is not installed that a property or a force field needs.
    """
    settings, folder, file = read_config(ValidationConfig, config)
    settings = with_absolute_paths(settings, folder)
    source = settings.potential if potential is None else potential
    if isinstance(source, str | Path):  # that of the command line lies in the working directory
        source = (Path(source) if potential is not None else folder / source).resolve()
    target = settings.output if output is None else as_path(output).resolve()
    if target is None and file is not None and isinstance(source, Path):
        target = potential_path(source).parent / "physics"
    if source is None or (target is None and file is not None):
        missing = "potential" if source is None else "output"
        raise InputError("is missing; add it, or say it on the command line", file=file, field=missing)
    for name in settings.asked():
        PROPERTIES[name].require_package()  # not after hours of other properties
    judged = force_field(source, folder)
    if isinstance(source, Path):
        judged = replace(judged, name=shown_name(source, folder, judged))
    reference = None if settings.reference is None else force_field(settings.reference, folder)
    structure = build_structure(settings.structure, folder).structure
    if target is None:
        return judge(judged, structure, settings.asked(), reference, started=on_property)
    settings = settings.model_copy(update={"potential": source, "output": target})
    with RunFolder(target, "validate") as opened:
        report = judge(judged, structure, settings.asked(), reference, started=on_property)
        study = potential_path(source).parent if isinstance(source, Path) else None
        if study is not None and not (study / "report.json").is_file():  # no study lies around the potential
            study = None
        _write(opened, report, config_text(settings), study)
    if study is not None:
        _add_to_study(study, report, target)
    return replace(report, folder=target)


def _write(folder: RunFolder, report: PhysicsReport, text: str, study: Path | None) -> None:
    summary = folder.write_result(report.to_dict())
    folder.write_config(text)
    captions: dict[Verdict, str] = {
        "pass": "within tolerance", "fail": "outside", "failed": "could not be computed",
        "stopped": "stopped outside the training data",
    }  # fmt: skip
    counts = {verdict: report.count(verdict) for verdict in captions}
    cards = [Card(captions[verdict], str(count)) for verdict, count in counts.items() if count or verdict == "pass"]
    page = PageContent(
        title=f"Physics of {report.potential}", kicker="Forcewright validation", summary=_summary(report),
        cards=cards, sections=[part._replace(cards=()) for part in sections(report)], result=summary, config_text=text,
        citations=provenance.cited(["forcewright", "ase"]),
        links=[] if study is None else [("study of the potential", _link(study, folder.path))],
    )  # fmt: skip
    write_report(folder / "report.html", page)


def _link(folder: Path, base: Path) -> str:
    return quote(os.path.relpath(folder / "report.html", base))


def _add_to_study(folder: Path, report: PhysicsReport, output: Path) -> None:
    """Show the physics in the report of the study that made the potential, with a link to their own page."""
    page = os.path.relpath(output / "report.html", folder)
    stored = [
        {
            **part._asdict(), "page": page, "title": f"Physics: {part.title.lower()}",
            "figures": [[svg := draw_svg(figure), svg.width] for figure in part.figures if isinstance(figure, Figure)],
        }
        for part in sections(report)
    ]  # fmt: skip
    with only_writer(folder, LOCK):
        atomic_write(folder / "physics.json", json.dumps(stored) + "\n")
        rebuild_report(folder)


def _summary(report: PhysicsReport) -> str:
    against = f" against {report.reference}" if report.reference else ""
    judged = sum(row.verdict != "no reference" for row in report.rows)
    return (
        f"{report.potential}{against}: {report.count('pass')} of {judged} numbers that could be judged lie within "
        "their tolerance. Values stated in the config come before those a reference potential computes; what is ideal "
        "(no drift of the energy, all runs survive, a wall that rises) stays so whatever the reference does."
    )


def sections(report: PhysicsReport) -> list[Section]:
    """Return the physics of a potential as sections of a page: the table, then each property's figures."""
    headings = [(name, "") for name in ("property", "number", "value", "reference", "unit", "tolerance", "verdict")]
    rows = [
        [
            row.property.replace("_", " "), name_of(row.number),
            *(DASH if v is None else significant(v, 4) for v in (row.value, row.reference)), row.unit, row.tolerance,
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
    text = "Solid: the potential. Dashed: the reference, where there is one." if drawn else ""
    judged = sum(row.verdict != "no reference" for row in report.rows)
    share = Card("physics", f"{report.count('pass')} of {judged}", "", "numbers within their tolerance")
    numbers = Section("Numbers", "", [], [table], rank=36, cards=[share] if judged else [])
    return [numbers, *([Section("Figures", text, drawn, paired=True, rank=37)] if drawn else [])]


def _figures(name: str, ours: Mapping[str, Result], theirs: Mapping[str, Result]) -> list[Figure]:
    """Return a figure of each result of a property; lines of the reference are drawn behind, where there are any."""
    figures = []
    for key, result in ours.items():
        figure = new_figure(3.2, 4.7)
        ax = figure.subplots()
        try:
            result.plot(ax)
            only_lines = bool(ax.lines) and not (ax.patches or ax.images or ax.collections)
            if key in theirs and only_lines:  # anything else cannot be laid over another one's
                _draw_behind(ax, theirs[key])
        except (NotImplementedError, ForcewrightError):
            continue
        title = ax.get_title() or (key if key.startswith(name) else name).replace("_", " ")
        ax.set_title("")
        dress(ax, ax.get_xlabel(), ax.get_ylabel(), title)
        ax.grid(not ax.images)
        figures.append(figure)
    return figures


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
