"""Statistics of labelled structures: a table, histograms and volumes over time, as files and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from forcewright.data import Sources, Target, read_property, read_with_summary
from forcewright.data.property_reading import read_target
from forcewright.data.property_survey import PropertySummary
from forcewright.data.statistics import UNITS, By, DatasetStatistics, VolumeSeries, histogram, volumes_over_time
from forcewright.data.statistics import statistics as describe_sets
from forcewright.files import atomic_path, write_table
from forcewright.recipes import provenance
from forcewright.recipes.run_folder import RunFolder
from forcewright.report import PageContent, Section, write_report
from forcewright.report.drawing import color_of, dress, new_figure, plain
from forcewright.report.numbers import significant
from forcewright.structure import Dataset
from forcewright.tables import Tabular

_NAMES = {
    "energy": "total energy", "energy_per_atom": "energy per atom", "force_norm": "force norm of a structure",
    "largest_force": "largest force", "volume": "volume", "volume_per_atom": "volume per atom",
    "shortest_distance": "shortest distance",
}  # fmt: skip
_LEGEND_LIMIT = 10  # sets that a legend names
_BINS = 60


@dataclass(frozen=True, eq=False, repr=False)
class Statistics(Tabular):
    """What frames hold: the statistics of each set of frames, and the volumes of trajectories over time.

    ``properties`` are those that were asked for, ``held`` has a line for each that the files hold.
    """

    sets: tuple[DatasetStatistics, ...]
    volumes: tuple[VolumeSeries, ...]
    properties: tuple[PropertySummary, ...] = ()
    held: tuple[str, ...] = ()

    def __repr__(self) -> str:
        frames = sum(part.frames for part in self.sets)
        return f"Statistics({frames} frames in {len(self.sets)} sets, {len(self.volumes)} trajectories)"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each set and quantity."""
        return [
            {"set": part.name, "quantity": quantity, "unit": UNITS[quantity], "count": s.count, "min": s.minimum,
             "max": s.maximum, "mean": s.mean, "std": s.std}
            for part in self.sets for quantity, s in part.summaries.items()
        ] + [
            {"set": "all", "quantity": f"{p.name}: {p.measure}", "unit": p.unit, "count": p.count, "min": p.minimum,
             "max": p.maximum, "mean": p.mean, "std": p.std}
            for p in self.properties
        ]  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{'set':28s} {'quantity':18s} {'frames':>7s} {'min':>12s} {'max':>12s} {'mean':>12s} {'std':>10s}"]
        for row in self.to_rows():
            numbers = "{count:7d} {min:12.5g} {max:12.5g} {mean:12.5g} {std:10.3g} {unit}".format_map(row)
            lines.append(f"{_short(row['set'])[:28]:28s} {row['quantity']:18s} {numbers}")
        for part in self.sets:
            near = ", ".join(f"{pair} {closest.distance:.4g}" for pair, closest in part.shortest.items())
            lines += [f"{_short(part.name)[:28]:28s} shortest distances in Å: {near}"] if near else []
        return "\n".join([*lines, *map(str, self.properties), *self.held])


def statistics(
    structures: Sources, output: str | Path | None = None, *, by: By = "group",
    labels: Mapping[str, str] | None = None, skip_broken: bool = False,
    target: Target | Mapping[str, Any] | str | Path | None = None,
) -> Statistics:  # fmt: skip
    """Return the range, mean and spread of energies, forces and volumes, and how volumes change over time.

    Parameters
    ----------
    structures, labels
        As `forcewright.read` takes them.
    output
        Folder for ``result.json``, ``statistics.csv``, figures and ``report.html``; nothing is written where it is not
        given.
    by
        What makes a set of frames: its file, its group, its trajectory, or nothing ("all").
    skip_broken
        Leave out frames that cannot be read, and warn of them.
    target
        A property whose values are described, too: a `forcewright.data.Target`, its plain data, or a YAML file.

    Raises
    ------
    InputError
        If a file cannot be read, a frame has no value of the property, or ``by`` is not known.
    """
    asked = None if target is None else read_target(target)
    dataset, summary = read_with_summary(structures, labels=labels, require_energy=False, strict=not skip_broken)
    values = [] if asked is None else [read_property(structures, asked, labels=labels, strict=not skip_broken)]
    result = Statistics(
        tuple(describe_sets(dataset, by)), tuple(volumes_over_time(dataset)),
        tuple(PropertySummary.of(held) for held in values if held.count), tuple(summary.survey.lines()),
    )  # fmt: skip
    if output is not None:
        with RunFolder(output, "statistics") as folder:
            _write(folder, dataset, result, by)
    return result


def _write(folder: RunFolder, dataset: Dataset, result: Statistics, by: By) -> None:
    files = [Path(file) for file in dict.fromkeys(frame.origin.rpartition("#")[0] for frame in dataset) if file]
    sets = [
        {
            "name": part.name, "frames": part.frames, "formulas": list(part.formulas),
            "quantities": {quantity: asdict(summary) for quantity, summary in part.summaries.items()},
            "shortest_distances": {pair: near._asdict() for pair, near in part.shortest.items()},
        }
        for part in result.sets
    ]  # fmt: skip
    volumes = [{"name": s.name, "frames": len(s.volumes), "correlation_length": s.correlation_length}
               for s in result.volumes]  # fmt: skip
    content: dict[str, Any] = {"by": by, "sets": sets, "volume_over_time": volumes, "units": dict(UNITS)}
    if result.properties or result.held:
        content |= {"properties": [asdict(p) for p in result.properties], "held": list(result.held)}
    summary = folder.write_result(content, provenance.file_hashes(file for file in files if file.is_file()))
    write_table(folder / "statistics.csv", result.to_rows())
    figures = {"histograms": draw_histograms(result.sets)}
    figures |= {"volume": draw_volumes(result.volumes)} if result.volumes else {}
    for name, figure in figures.items():
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=150)
    write_report(folder / "report.html", _page(dataset.name, result, figures, summary))


def draw_histograms(sets: Sequence[DatasetStatistics]) -> Figure:
    """Return the histograms of all quantities, the sets in colors."""
    present = [quantity for quantity in UNITS if any(quantity in part.values for part in sets)]
    lines = (len(present) + 2) // 3
    figure = new_figure(2.7 * lines + 0.4)
    for number, quantity in enumerate(present):
        ax = figure.add_subplot(lines, 3, number + 1)
        drawn = histogram(list(sets), quantity, _BINS)
        for index, part in enumerate(sets):
            if part.name in drawn.counts:
                color, label = color_of(index), plain(_short(part.name))
                ax.stairs(drawn.counts[part.name], drawn.edges, fill=True, alpha=0.55, color=color, label=label)
        dress(ax, f"{_NAMES[quantity]} ({UNITS[quantity]})", "frames" if number % 3 == 0 else "")
        ax.tick_params(axis="x", labelrotation=20)
    if 1 < len(sets) <= _LEGEND_LIMIT:
        swatches = [Patch(color=color_of(k), alpha=0.55, label=plain(_short(part.name))) for k, part in enumerate(sets)]
        figure.legend(handles=swatches, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure


def draw_volumes(series: Sequence[VolumeSeries]) -> Figure:
    """Return the volume of every trajectory over time."""
    figure = new_figure(3.2)
    ax = figure.subplots()
    for number, part in enumerate(series):
        ax.plot(part.times, part.volumes, color=color_of(number), linewidth=0.8, label=plain(_short(part.name)))
    names = {part.time_name for part in series}
    name = names.pop() if len(names) == 1 else "time or frame"
    unit = {"time_fs": "time (fs)", "time": "time (fs)"}.get(name, name)
    dress(ax, unit, "volume (Å³)")
    if 1 < len(series) <= _LEGEND_LIMIT:
        ax.legend(fontsize=7, frameon=False)
    return figure


def _these(count: int) -> str:
    return "the trajectory" if count == 1 else f"the {count} trajectories"


def _short(name: str) -> str:
    return Path(name).name if "/" in name and ", " not in name else name


def _page(name: str, result: Statistics, figures: Mapping[str, Figure], summary: Mapping[str, Any]) -> PageContent:
    sets, series = result.sets, result.volumes
    headings = [("set", ""), ("frames", ""), ("min", ""), ("max", ""), ("mean", ""), ("std", "")]
    tables: list[dict[str, Any]] = [
        {
            "caption": f"{_NAMES[quantity]} ({UNITS[quantity]})", "headings": headings, "style": "plain",
            "rows": [[_short(part.name), str(s.count), *(significant(v, 6) for v in (s.minimum, s.maximum, s.mean)),
                      significant(s.std, 3)]
                     for part in sets if (s := part.summaries.get(quantity)) is not None],
        }
        for quantity in UNITS if any(quantity in part.summaries for part in sets)
    ]  # fmt: skip
    norm = "The force norm of a structure is the root of the sum of the squares of all its force components."
    closest = [
        [_short(part.name), pair, significant(near.distance, 4), _short(near.origin)]
        for part in sets for pair, near in part.shortest.items()
    ]  # fmt: skip
    if closest:
        columns = [("set", ""), ("pair", ""), ("shortest distance", "Å"), ("in frame", "")]
        tables.append({"caption": "Shortest distances", "headings": columns, "rows": closest, "style": "plain"})
    properties = [
        [f"{p.name} ({p.key})", p.kind, f"{p.frames} of {p.of_frames}", str(p.count), p.measure,
         *(significant(v, 5) for v in (p.minimum, p.maximum, p.mean, p.std)), p.unit]
        for p in result.properties
    ]  # fmt: skip
    if properties:
        words = ("property", "kind", "frames", "values", "measure", "min", "max", "mean", "std", "unit")
        tables.append({"caption": "Properties", "headings": [(word, "") for word in words], "rows": properties,
                       "style": "plain"})  # fmt: skip
    if result.held:
        rows = [[line.strip().removeprefix("property ")] for line in result.held]
        tables.append(
            {"caption": "What else the files hold", "headings": [("key", "")], "rows": rows, "style": "plain"}
        )
    sections = [
        Section("Ranges, means and standard deviations", norm, [], tables),
        Section("Histograms", "", [figures["histograms"]]),
    ]
    if series:
        longest = max(part.correlation_length for part in series)
        rows = [[_short(part.name), str(len(part.volumes)), str(part.correlation_length)] for part in series]
        table = {"headings": [("trajectory", ""), ("frames", ""), ("correlated over", "frames")], "rows": rows,
                 "style": "plain"}  # fmt: skip
        text = (
            "Volumes that oscillate make frames alike that are a period apart. Frames are taken for correlated while "
            f"the autocorrelation of the volume exceeds 1/e. For {_these(len(series))} shown, whose volume changes and "
            f"whose frames follow one another, a gap of {longest} frames between training and test blocks is safe."
        )
        sections.append(Section("Volume over time", text, [figures["volume"]], [table]))
    facts = [("frames", str(sum(part.frames for part in sets))),
             ("formulas", ", ".join(sorted({f for part in sets for f in part.formulas})[:12]))]  # fmt: skip
    return PageContent(
        title=name or "dataset", kicker="Forcewright dataset statistics", facts=facts, sections=sections,
        result=summary, citations=provenance.cited(["forcewright", "ase"]),
    )  # fmt: skip
