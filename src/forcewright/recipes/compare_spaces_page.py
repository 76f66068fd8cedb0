"""The page of a comparison of two configuration spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from forcewright.files import atomic_path
from forcewright.recipes import provenance
from forcewright.recipes.run_folder import RunFolder
from forcewright.report import Card, PageContent, Section, write_report
from forcewright.report.drawing import INK, MAIN, SECOND_RUN, SOFT, dress, new_figure, plain
from forcewright.report.numbers import significant

if TYPE_CHECKING:
    from forcewright.analyze.configuration_space import Side
    from forcewright.recipes.compare_spaces import Set, SpacesCompared

_BINS = 40
_MOST_ROWS = 25  # frames to add that are listed
_COLORS = (MAIN, SECOND_RUN)


def draw_page(folder: RunFolder, compared: SpacesCompared, axes: tuple[str, str], summary: Mapping[str, Any]) -> None:
    """Write report.html and its figures."""
    figures = {
        "first": draw_series(compared), "nearest": draw_nearest(compared), "map": draw_map(compared, axes),
    }  # fmt: skip
    a, b = compared.a.name, compared.b.name
    share = 100 * summary["share"]
    sections = [
        Section(
            "Distance to the first frame",
            "How far each goes from where it began. A run that has forgotten its start fluctuates about one value; one "
            "that goes on growing, or jumps, has not yet seen all that it will.",
            [figures["first"]],
        ),
        Section(
            "Nearest match",
            "For each frame, the distance to the nearest one in half of the other set, both halves in turn; and, in "
            "gray, to the nearest one in the other half of its own set: what two runs of the same kind would show. The "
            f"line is the spread of the set that is searched: {share:.0f} % of its own frames have a match within it.",
            [figures["nearest"]], [_coverage_table(compared)],
        ),
        Section(
            "Map",
            "Distances between frames as nearly as two dimensions show them. map.html shows each frame under the "
            "pointer in three dimensions, without a network; map.chemiscope.json.gz is the same for chemiscope.",
            [figures["map"]],
        ),
        *_missing_section("A", compared.missing_in_a, compared.b, compared.sides.b, compared, len(compared.a.frames)),
        *_missing_section("B", compared.missing_in_b, compared.a, compared.sides.a, compared, 0),
    ]  # fmt: skip
    cards = [_card(b, a, compared.sides.b, summary), _card(a, b, compared.sides.a, summary)]
    page = PageContent(
        title=f"{a} and {b}", kicker="Forcewright configuration spaces", summary=_verdict(compared, summary),
        warnings=_warnings(compared), cards=cards,
        facts=[
            ("frames of A", str(len(compared.a.frames))), ("frames of B", str(len(compared.b.frames))),
            ("descriptor", _descriptor(summary)), ("kernel", _kernel(summary)),
        ],
        sections=sections, result=summary, citations=provenance.cited(["forcewright", "ase", *cited_keys(summary)]),
        links=[("map", "map.html")],
    )  # fmt: skip
    for name, figure in figures.items():
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=150)
    write_report(folder / "report.html", page)


def _descriptor(summary: Mapping[str, Any]) -> str:
    within = f" within {summary['cutoff']:g} Å" if summary["cutoff"] else ""
    return f"{summary['descriptor']}{within}, {summary['size']} numbers"


def _kernel(summary: Mapping[str, Any]) -> str:
    if summary["kernel"] == "rematch":
        return f"rematch, γ = {summary['gamma']:g}"
    return str(summary["kernel"])


def cited_keys(summary: Mapping[str, Any]) -> list[str]:
    """Return the keys of what a comparison cites beside the programs."""
    keys = ["dscribe"] if summary["descriptor"] in ("soap", "acsf", "coulomb", "ewald") else []
    keys += ["rematch"] if summary["kernel"] in ("rematch", "best", "average") else []
    return [*keys, "umap"] if summary["map"] == "umap" else keys


def _card(inner: str, outer: str, side: Side, summary: Mapping[str, Any]) -> Card:
    value = f"{100 * side.coverage.value:.1f} ± {100 * side.coverage.error:.1f}"
    return Card(f"of {inner} within {outer}", value, "%", f"{100 * summary['share']:.0f} if they were alike")


def _verdict(compared: SpacesCompared, summary: Mapping[str, Any]) -> str:
    share = summary["share"]
    inside = [side.coverage.value + 2 * side.coverage.error >= share for side in (compared.sides.b, compared.sides.a)]
    a, b = compared.a.name, compared.b.name
    if all(inside):
        said = f"{a} and {b} cover one another: neither has frames that the other lacks, within the errors."
    elif inside[0]:
        said = f"{a} covers {b} and goes beyond it: frames of {a} lie outside what {b} has seen."
    elif inside[1]:
        said = f"{b} covers {a} and goes beyond it: frames of {b} lie outside what {a} has seen."
    else:
        said = f"Neither covers the other: each of {a} and {b} has frames that the other lacks."
    return " ".join([said, *(f"{line}." for line in compared.lines())])


def _warnings(compared: SpacesCompared) -> list[str]:
    said = []
    for part, side in ((compared.a, compared.sides.a), (compared.b, compared.sides.b)):
        if side.coverage.independent < 10:
            said.append(
                f"{part.name} has some {side.coverage.independent:.0f} independent frames; the error of its share is "
                "rough"
            )
        middle = len(side.first) // 2
        drift = float(
            np.median(side.first[middle:]) - np.median(side.first[1:middle] if middle > 1 else side.first[:1])
        )
        if abs(drift) > 2 * float(np.std(side.first[middle:])) > 0:
            said.append(
                f"{part.name} is at another distance from its first frame in its second half than in its first: it has "
                "not settled, and its spread is that of its drift (leave out the start with --skip)"
            )
    return said


def draw_series(compared: SpacesCompared) -> Figure:
    """Return the distance of each frame to the first one of its set."""
    figure = new_figure(3.0)
    ax = figure.subplots()
    timed = compared.a.timed and compared.b.timed
    for part, side, color in ((compared.a, compared.sides.a, MAIN), (compared.b, compared.sides.b, SECOND_RUN)):
        times = part.times - part.times[0] if timed else part.indices
        ax.plot(times, side.first, color=color, linewidth=0.9, label=plain(part.name, 40))
    dress(ax, "time (ps)" if timed else "frame", "distance to the first frame")
    ax.set_ylim(0, None)
    ax.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def draw_nearest(compared: SpacesCompared) -> Figure:
    """Return histograms of the distance to the nearest frame, in both directions, each with its baseline."""
    figure = new_figure(3.2)
    pairs = (
        (compared.b, compared.sides.b, compared.a, compared.sides.a, SECOND_RUN),
        (compared.a, compared.sides.a, compared.b, compared.sides.b, MAIN),
    )
    largest = max(max(side.by_half.max(), side.baseline.max()) for side in (compared.sides.a, compared.sides.b))
    edges = np.linspace(0.0, 1.02 * float(largest) or 1.0, _BINS + 1)
    for ax, (mine, side, other, other_side, color) in zip(figure.subplots(1, 2, sharex=True), pairs, strict=True):
        for values, shade, alpha, label in (
            (other_side.baseline, SOFT, 0.45, f"{other.name} in its other half"),
            (side.by_half.ravel(), color, 0.7, f"{mine.name} in {other.name}"),
        ):
            ax.stairs(
                np.histogram(values, edges)[0] / len(values), edges, fill=True, color=shade, alpha=alpha,
                label=plain(label, 60),
            )  # fmt: skip
        ax.axvline(other_side.spread, color=INK, linewidth=0.9, linestyle="--")
        dress(ax, "distance to the nearest frame", "share of the frames")
        ax.legend(fontsize=7.5, frameon=False)
    return figure


def draw_map(compared: SpacesCompared, axes: tuple[str, str]) -> Figure:
    """Return the frames of both sets as points, with rings around those to add."""
    figure = new_figure(4.6, 6.4)
    ax = figure.subplots()
    count = len(compared.a.frames)
    groups = ((compared.a, compared.coordinates[:count], MAIN), (compared.b, compared.coordinates[count:], SECOND_RUN))
    for part, points, color in groups:
        ax.scatter(points[:, 0], points[:, 1], s=11, color=color, alpha=0.6, linewidths=0, label=plain(part.name, 40))
    rings = np.concatenate([compared.missing_in_b, compared.missing_in_a + count]).astype(int)
    if len(rings):
        x, y = compared.coordinates[rings].T
        ax.scatter(x, y, s=46, facecolors="none", edgecolors=INK, linewidths=0.8, label="to add")
    dress(ax, *axes)
    ax.legend(fontsize=8, frameon=False)
    return figure


def _coverage_table(compared: SpacesCompared) -> dict[str, Any]:
    rows = []
    for mine, side, other, other_side in (
        (compared.b, compared.sides.b, compared.a, compared.sides.a),
        (compared.a, compared.sides.a, compared.b, compared.sides.b),
    ):
        rows.append([
            f"{mine.name} in {other.name}", f"{100 * side.coverage.value:.1f} ± {100 * side.coverage.error:.1f}",
            significant(min(side.coverage.independent, len(side.nearest)), 2),
            significant(float(np.median(side.nearest)), 3),
            significant(float(np.median(other_side.baseline)), 3), significant(other_side.spread, 3),
        ])  # fmt: skip
    headings = [
        ("frames", ""), ("within the spread", "%"), ("independent frames", ""), ("median to the nearest", ""),
        ("median in its other half", ""), ("spread", ""),
    ]  # fmt: skip
    return {"headings": headings, "rows": rows, "style": "plain"}


def _missing_section(
    letter: str, missing: np.ndarray, part: Set, side: Side, compared: SpacesCompared, start: int
) -> list[Section]:
    if not len(missing):
        return []
    headings = [("frame", ""), *([("time", "ps")] if part.timed else []), ("distance to the nearest", ""),
                *([("largest atomic distance", "")] if compared.largest is not None else [])]  # fmt: skip
    rows = [
        [
            str(int(part.indices[k])), *([significant(float(part.times[k]), 5)] if part.timed else []),
            significant(float(side.nearest[k]), 3),
            *([significant(float(compared.largest[start + k]), 3)] if compared.largest is not None else []),
        ]
        for k in missing[:_MOST_ROWS].tolist()
    ]  # fmt: skip
    text = (
        f"Frames of {part.name} that {letter} lacks, in missing_in_{letter.lower()}.extxyz, the most distant first; "
        "each next one is the farthest from the set and from those before it. Those of a simulation carry no labels: "
        "label them with your reference before a potential is fitted to them."
    )
    return [Section(f"Frames to add to {letter}", text, [], [{"headings": headings, "rows": rows, "style": "plain"}])]
