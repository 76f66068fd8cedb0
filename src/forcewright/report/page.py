"""One offline HTML page: text escaped, figures inline, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from forcewright.files import atomic_write
from forcewright.report.content import Card, PageContent, ReportContent, Section, Svg
from forcewright.report.drawing import WIDTH, to_data_uri, to_svg
from forcewright.report.error_figures import draw_groups, draw_parity, parity_legend
from forcewright.report.neighboring_pages import link_neighbors, with_links, with_relative_paths
from forcewright.report.numbers import duration, memory, significant, unit_of
from forcewright.report.search_figures import draw_cost, draw_importance, draw_search, draw_slices
from forcewright.report.tables import (
    density_table,
    element_table,
    error_table,
    error_text,
    finding_row,
    flatten,
    grid,
    is_grid,
    trial_table,
)  # fmt: skip

_SMALL = 3.5  # inches: of narrower figures more stand side by side
_MOST_FINDINGS = 100  # rows of the audit that are shown
#: weights multiply energies per atom, force components and virials per atom
_WEIGHT_UNITS = {"energy": "atom/eV", "force": "Å/eV", "stress": "atom/eV"}
_PROTOCOLS = {
    "honest": "the test set was not used in any choice",
    "xpot": "errors of an external set that also chose the hyperparameters",
    "kfold": "k-fold cross-validation",
    "k-fold": "k-fold cross-validation",
    "nested": "nested cross-validation",
    "holdout": "one held-out part",
}


#: sections that every study has: title, rank (`Section`), and the name of the macro that shows it
_STUDY_SECTIONS = (
    ("Prediction against reference", 20, "parity"), ("Errors by group", 30, "groups"),
    ("Loss over trials", 40, "search"), ("Importance of hyperparameters", 42, "importance"),
    ("Accuracy and cost", 44, "cost"), ("Data audit", 50, "audit"), ("All trials", 90, "trials"),
)  # fmt: skip


def write_report(path: str | Path, content: ReportContent | PageContent, *, absolute_paths: bool = False) -> Path:
    """Write a report and return its path; pages in the folders around it are linked with it, both ways.

    Parameters
    ----------
    path
        The HTML file, or a folder in which it becomes ``report.html``; missing folders are made.
    absolute_paths
        Whether paths stay absolute, which tells readers about the machine; else they are relative to the page.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        target = target / "report.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    page = render(content)
    if not absolute_paths:
        page = with_relative_paths(page, target.parent.resolve())
    written = atomic_write(target, with_links(page, target))
    link_neighbors(target)
    return written


def render(content: ReportContent | PageContent) -> str:
    """Return the page as text."""
    environment = Environment(
        loader=PackageLoader("forcewright.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    if isinstance(content, PageContent):
        return environment.get_template("plain.html").render(**_plain_context(content))
    return environment.get_template("report.html").render(**_context(content))


def _plain_context(content: PageContent) -> dict[str, Any]:
    sections = [_section(section) for section in content.sections]
    return {
        "kicker": content.kicker, "title": content.title,
        "titles": ["Summary", *(section["title"] for section in sections), "Provenance", "Citations"],
        "warnings": list(content.warnings), "summary": _paragraphs(content.summary), "links": list(content.links),
        "cards": [*(card._asdict() for card in content.cards), *_section_cards(content.sections)],
        "facts": [(name, text) for name, text in content.facts if text], "sections": sections,
        "config": content.config_text, "provenance": list(_provenance(content.result)),
        "citations": list(content.citations),
    }  # fmt: skip


def _context(content: ReportContent) -> dict[str, Any]:
    result = content.result
    several = len(content.trials) > 1
    ranked = [(section.rank, "", _section(section)) for section in map(_as_section, content.sections)]
    ranked += [(rank, macro, {"title": title}) for title, rank, macro in _STUDY_SECTIONS]
    ranked.sort(key=lambda entry: entry[0])
    tables = {name: result[key] for key, name in (("validation", "Validation"), ("test", "Test")) if result.get(key)}
    return {
        "kicker": "Forcewright report",
        "title": content.title, "links": list(content.links),
        "titles": ["Summary", *(section["title"] for _, _, section in ranked), "Provenance", "Citations"],
        "order": [(macro, section) for _, macro, section in ranked],
        "warnings": list(result.get("warnings") or []),
        "xpot": result.get("protocol") == "xpot",
        "protocol": _PROTOCOLS.get(str(result.get("protocol")), result.get("protocol") or ""),
        "cards": list(_cards(tables)), "more_cards": _section_cards(content.sections),
        "facts": list(_facts(content)), **_chosen(content.chosen, content.units), "loss": _paragraphs(content.loss),
        "single": len(content.trials) == 1,
        "search": _picture(draw_search(content.trials)) if several else None,
        "failed": sum(trial.get("state") == "failed" for trial in content.trials),
        "parities": [
            (name.capitalize(), _pictures(draw_parity(parity)), parity_legend(parity))
            for name, parity in content.parity.items()
        ],
        "tables": [(name, error_table(table)) for name, table in tables.items()],
        "elements": [(name, element_table(table)) for name, table in tables.items()],
        "densities": [(name, density_table(table)) for name, table in tables.items()],
        "groups": _pictures(draw_groups(tables)),
        "importance": _picture(draw_importance(content.importance)),
        "slices": _picture(draw_slices(content.trials, content.importance, content.units)),
        "cost": _picture(draw_cost(content.trials, result.get("max_cost_us_per_atom"))) if several else None,
        "findings": [finding_row(finding) for finding in content.findings[:_MOST_FINDINGS]],
        "more_findings": max(0, len(content.findings) - _MOST_FINDINGS),
        "energies": [(name, significant(value, 8)) for name, value in content.reference_energies.items()],
        "energies_source": content.reference_energies_source,
        "labels": [] if is_grid(content.label_counts) else list(flatten(content.label_counts)),
        "label_grid": grid(content.label_counts) if is_grid(content.label_counts) else None,
        "group_sizes": [(name, significant(count)) for name, count in content.group_sizes.items()],
        "trials": trial_table(content.trials, content.units), "config": content.config_text,
        "provenance": list(_provenance(result)), "citations": list(content.citations),
    }  # fmt: skip


def _as_section(section: Section | Sequence[Any]) -> Section:
    return Section(*section)


def _section_cards(sections: Sequence[Section | Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the cards of all sections, for the top of the page."""
    ordered = sorted(map(_as_section, sections), key=lambda section: section.rank)
    return [Card(*card)._asdict() for section in ordered for card in section.cards]


def _cards(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for name, table in tables.items():
        for key, quantity, unit in (
            ("energy_rmse_meV_per_atom", "energy RMSE", "meV/atom"),
            ("force_rmse_eV_per_A", "force RMSE", "eV/Å"),
        ):
            if table.get(key) is not None:
                value, _, error = error_text(table, key).partition(" ± ")
                yield {"set": name, "quantity": quantity, "value": value, "error": error, "unit": unit,
                       "frames": f"{significant(table.get('frames'))} frames"}  # fmt: skip


def _facts(content: ReportContent) -> Iterator[tuple[str, str]]:
    """Yield name and text of the known facts of a run: trials, times, memory, cost."""
    result = content.result
    failed = sum(trial.get("state") == "failed" for trial in content.trials)
    trials = _count(result.get("trials")) or len(content.trials)
    rows = (
        ("trials", significant(trials) + (f" ({failed} failed)" if failed else "") if trials else None),
        ("weight and ridge trials", _text(_count(result.get("evaluations")))),
        ("wall time", _text(result.get("wall_s"), duration)),
        ("CPU time", _text(result.get("cpu_s"), duration)),
        ("peak memory", _text(result.get("peak_memory_bytes"), memory)),
        ("cost of the potential", _text(result.get("cost_us_per_atom"), lambda cost: f"{significant(cost)} µs/atom")),
        ("how it is measured", f"CPU time, {threads} thread" if (threads := result.get("cost_threads")) else None),
        ("seed", _text(result.get("seed"))),
    )
    yield from ((name, text) for name, text in rows if text)


def _count(value: Any) -> int | None:
    """Return the count of a number or a list; None for anything else."""
    return len(value) if isinstance(value, (list, tuple)) else value if isinstance(value, int) else None


def _text(value: Any, write: Any = significant) -> str | None:
    return None if value is None else str(write(value))


def _chosen(chosen: Mapping[str, Any], units: Mapping[str, str]) -> dict[str, Any]:
    """Split the chosen hyperparameters into a list of values and a table per mapping of mappings."""
    tables = {name: value for name, value in chosen.items() if is_grid(value)}
    rest = {name: value for name, value in chosen.items() if name not in tables}
    listed = [(name, f"{text} {unit}" if (unit := unit_of(name, units)) else text) for name, text in flatten(rest)]
    grids = [(name, grid(_with_units(name, value, units), _WEIGHT_UNITS if name == "weights" else {}))
             for name, value in tables.items()]  # fmt: skip
    return {"chosen": listed, "chosen_grids": grids}


def _with_units(name: str, rows: Mapping[str, Any], units: Mapping[str, str]) -> dict[str, Any]:
    """Return a mapping of hyperparameters whose names carry their units."""
    known = {row: unit_of(f"{name}.{row}", units) for row in rows}
    return {f"{row} ({known[row]})" if known[row] else row: value for row, value in rows.items()}


def _provenance(result: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the tables of provenance: one of single values, one per mapping."""
    single = ("date", "command", "seed", "protocol", "started", "finished")
    if rows := [(name, _words(result[name])) for name in single if result.get(name) is not None]:
        yield "Run", rows
    for key, title in (("machine", "Machine"), ("versions", "Versions"), ("data_hashes", "Data (SHA-256)")):
        value = result.get(key)
        if isinstance(value, Mapping) and value:
            yield title, list(flatten(value))
        elif value:
            yield title, [(key, str(value))]


def _words(value: Any) -> str:
    return " ".join(str(word) for word in value) if isinstance(value, (list, tuple)) else str(value)


def _section(section: Section | Sequence[Any]) -> dict[str, Any]:
    title, text, figures, tables, paired, *_ = Section(*section)
    pictures = [_picture(figure) for figure in figures]
    widths = [figure.get_figwidth() for figure in figures if isinstance(figure, Figure)]
    small = len(widths) == len(figures) and max(widths, default=0.0) < _SMALL
    return {"title": title, "paragraphs": _paragraphs(text), "figures": pictures, "tables": list(tables),
            "paired": paired, "small": small}  # fmt: skip


def _paragraphs(text: str) -> list[str]:
    return [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]


def _pictures(figures: Sequence[Figure] | Svg) -> list[Markup | None]:
    return [_picture(figure) for figure in ([figures] if isinstance(figures, Svg) else figures)]


def _picture(figure: Figure | Svg | bytes | None) -> Markup | None:
    """Return the element that shows a figure; matplotlib escapes its texts."""
    if figure is None:
        return None
    if isinstance(figure, bytes):
        return Markup('<img alt="figure" src="{}">').format(to_data_uri(figure))
    if isinstance(figure, Svg):  # of a file that anybody may have changed: as an image it runs and loads nothing
        share = figure.width / WIDTH
        element = Markup('<img alt="figure" style="width: 100%" src="data:image/svg+xml,{}">').format(_quoted(figure))
    else:
        drawn = draw_svg(figure)
        share = drawn.width / WIDTH
        element = Markup(str(drawn))  # noqa: S704
    # A small figure keeps its font size.
    return element if share > 0.95 else Markup('<div style="max-width: {:.0f}%">{}</div>').format(100 * share, element)


def _quoted(svg: str) -> str:
    """Return the text of a picture for a data URI: all that could end the address is a number there."""
    return re.sub(r"[^ !$()*+,\-./0-9:;=?@A-Z_a-z~\u00a0-\ud7ff]", lambda character: quote(character[0]), svg)


def draw_svg(figure: Figure) -> Svg:
    """Return a figure as it appears in a page, to be kept for later pages."""
    return Svg(to_svg(figure), figure.get_figwidth())
