"""Figures that show several families of potentials side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from forcewright import metrics
from forcewright.accuracy.parity import ParitySeries
from forcewright.report.drawing import (
    ALARM,
    INK,
    RULE,
    color_of,
    dress,
    dress_parity,
    marker_of,
    new_figure,
    plain,
    set_log,
    spans_decades,
)  # fmt: skip
from forcewright.report.numbers import significant
from forcewright.report.search_figures import pareto_front

#: key, title, unit of the axes, unit of the errors, factor between the two
QUANTITIES = (
    ("energy", "Energy per atom", "eV/atom", "meV/atom", 1e3),
    ("force_norm", "Norm of a structure's forces", "eV/Å", "eV/Å", 1.0),
)
_ERRORS = {
    "energy_mae_meV_per_atom": "energy MAE (meV/atom)",
    "force_norm_mae_eV_per_A": "force-norm MAE (eV/Å)",
}
_MANY = 1500  # points beyond which a panel is drawn as pixels

Series = Mapping[str, ParitySeries]  # by quantity


def draw_pareto(rows: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """Draw the error of each family against its cost in µs per atom, with the families that no other beats in both.

    Parameters
    ----------
    rows
        By family: cost_us_per_atom, energy_mae_meV_per_atom, force_norm_mae_eV_per_A.
    """
    panels = [(key, label) for key, label in _ERRORS.items() if any(_positive(row, key) for row in rows.values())]
    if not panels:
        return None
    figure = new_figure(3.6)
    for ax, (key, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw_pareto_panel(ax, {name: row for name, row in rows.items() if _positive(row, key)}, key, label)
    return figure


def _positive(row: Mapping[str, Any], key: str) -> bool:
    return bool(row.get(key)) and bool(row.get("cost_us_per_atom"))


def _draw_pareto_panel(ax: Axes, rows: Mapping[str, Mapping[str, Any]], key: str, label: str) -> None:
    cost, error = ([row[name] for row in rows.values()] for name in ("cost_us_per_atom", key))
    front = pareto_front(cost, error)
    ax.plot([cost[i] for i in front], [error[i] for i in front], color=ALARM, linewidth=1.0, drawstyle="steps-post",
            zorder=1, label="Pareto front")  # fmt: skip
    for index, (name, x, y) in enumerate(zip(rows, cost, error, strict=True)):
        ax.scatter([x], [y], s=46, color=color_of(index), marker=marker_of(index), zorder=3)
        ax.annotate(plain(name, 22), (x, y), xytext=(6, 4), textcoords="offset points", fontsize=8, color=INK)
    dress(ax, "cost (µs per atom and step)", label)
    ax.margins(0.22)
    if spans_decades(cost, 3.0):
        set_log(ax.xaxis)
    if spans_decades(error, 3.0):
        set_log(ax.yaxis)


def draw_family_parity(families: Mapping[str, Series]) -> Figure | None:
    """Draw prediction against reference, a row per family: energy per atom and force norm, colored by source."""
    columns = _quantities(families)
    if not columns:
        return None
    names = _sources(families)
    figure = new_figure(2.9 * len(families) + 0.4, 3.6 * len(columns))
    grid = figure.subplots(len(families), len(columns), squeeze=False)
    for row, (family, series) in zip(grid, families.items(), strict=True):
        for ax, (key, title, unit, error_unit, factor) in zip(row, columns, strict=True):
            if key in series:
                _draw_parity_panel(ax, series[key], unit, error_unit, factor)
                ax.set_title(f"{plain(family, 24)}: {title.lower()}", fontsize=9.5, color=INK, loc="left")
            else:
                ax.set_visible(False)
    _add_legend(figure, names)
    return figure


def _draw_parity_panel(ax: Axes, series: ParitySeries, unit: str, error_unit: str, factor: float) -> None:
    order = np.random.default_rng(0).permutation(len(series))  # so that no source hides another
    colors = np.array([color_of(index) for index in range(len(series.names))])[series.group]
    many = len(series) > _MANY
    ax.scatter(series.reference[order], series.predicted[order], c=colors[order], s=5 if many else 13, alpha=0.75,
               linewidths=0, rasterized=many, zorder=2)  # fmt: skip
    dress_parity(ax, series, unit)
    lines = [
        f"{name} {significant(factor * measure(series.reference, series.predicted))} {error_unit}"
        for name, measure in (("RMSE", metrics.rmse), ("MAE", metrics.mae))
    ]
    lines.append(f"R² {significant(metrics.r2(series.reference, series.predicted), 4)}")
    ax.text(0.04, 0.96, "\n".join(lines), transform=ax.transAxes, va="top", fontsize=8, color=INK, linespacing=1.4,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 2})  # fmt: skip


def draw_errors_by_source(families: Mapping[str, Series]) -> Figure | None:
    """Draw the absolute error of every frame, a line per family, colored by the source of the frame."""
    columns = _quantities(families)
    if not columns:
        return None
    names = _sources(families)
    figure = new_figure(1.1 + (0.25 + 0.16 * len(names)) * len(families))
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for ax, (key, title, _, unit, factor) in zip(axes, columns, strict=True):
        shown = _draw_strips(ax, [series.get(key) for series in families.values()], names, factor)
        dress(ax, f"error: {title.lower()} ({unit})", "")
        if spans_decades(shown):
            set_log(ax.xaxis)
        ax.grid(visible=False, axis="y")
        ax.set_yticks(range(len(families)), [plain(name, 22) for name in families])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.set_ylim(len(families) - 0.5, -0.5)
    _add_legend(figure, names)
    return figure


def _draw_strips(ax: Axes, lines: Sequence[ParitySeries | None], names: Sequence[str], factor: float) -> np.ndarray:
    """Draw one strip per line and source with a bar at its mean; return all errors above zero."""
    rng = np.random.default_rng(0)
    drawn = [np.zeros(0)]
    step = 0.8 / max(1, len(names))
    for row, series in enumerate(lines):
        if series is None:
            continue
        errors = factor * np.abs(series.predicted - series.reference)
        for index in np.unique(series.group):
            part = errors[series.group == index]
            part = np.maximum(part, errors.max() * 1e-6)  # exact predictions stay on a logarithmic axis
            y = row - 0.4 + (index + 0.5) * step
            scatter = y + 0.3 * step * rng.uniform(-1, 1, len(part))
            many = len(part) > _MANY
            ax.scatter(part, scatter, s=6, color=color_of(index), alpha=0.5, linewidths=0, rasterized=many)
            ax.plot([part.mean()] * 2, [y - 0.45 * step, y + 0.45 * step], color=INK, linewidth=1.4)
            drawn.append(part)
        ax.axhline(row + 0.5, color=RULE, linewidth=0.6)
    return np.concatenate(drawn)


def draw_sets(families: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure | None:
    """Draw the errors of each family on each test set, in order, to show how it extrapolates.

    Parameters
    ----------
    families
        By family and set: energy_mae_meV_per_atom, force_norm_mae_eV_per_A.
    """
    sets = list(dict.fromkeys(name for tables in families.values() for name in tables))
    rows = [row for tables in families.values() for row in tables.values()]
    panels = [(key, label) for key, label in _ERRORS.items() if any(row.get(key) for row in rows)]
    if len(sets) < 2 or not panels:
        return None
    figure = new_figure(3.4)
    for ax, (key, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        values: list[float] = []
        for index, (family, tables) in enumerate(families.items()):
            points = [(x, tables[name][key]) for x, name in enumerate(sets) if tables.get(name, {}).get(key)]
            if points:
                ax.plot(*zip(*points, strict=True), color=color_of(index), marker=marker_of(index), markersize=6,
                        linewidth=1.2, label=plain(family, 22))  # fmt: skip
                values += [value for _, value in points]
        dress(ax, "", label)
        ax.set_xticks(range(len(sets)), [plain(name, 16) for name in sets])
        ax.set_xlim(-0.4, len(sets) - 0.6)
        if spans_decades(values, 5.0):
            set_log(ax.yaxis)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False, fontsize=8,
                  labelcolor=INK)  # fmt: skip
    return figure


def draw_learning_curve(curves: Mapping[str, Mapping[str, Any]], key: str, label: str) -> Figure | None:
    """Draw errors against the number of frames, both logarithmic: every repeat, the geometric mean, the fitted line.

    Parameters
    ----------
    curves
        By family: ``points``, each with ``frames`` and values by key, and ``fits`` by key, each with ``slope``,
        ``slope_standard_error`` and ``prefactor``.
    """
    figure = new_figure(3.8, 6.4)
    ax = figure.subplots()
    drawn = 0
    for index, (name, curve) in enumerate(curves.items()):
        points = [(point["frames"], point[key]) for point in curve["points"] if point.get(key)]
        if not points:
            continue
        drawn += 1
        x, y = (np.array(values, dtype=float) for values in zip(*points, strict=True))
        ax.scatter(x, y, s=16, color=color_of(index), alpha=0.45, linewidths=0)
        sizes = np.unique(x)
        means = [float(np.exp(np.mean(np.log(y[x == size])))) for size in sizes]
        ax.plot(sizes, means, color=color_of(index), marker=marker_of(index), markersize=6, linewidth=0,
                label=_with_slope(name, curve["fits"].get(key)))  # fmt: skip
        if fit := curve["fits"].get(key):
            ax.plot(sizes, fit["prefactor"] * sizes ** fit["slope"], color=color_of(index), linewidth=1.1)
    if not drawn:
        return None
    dress(ax, "training frames", label)
    set_log(ax.xaxis)
    set_log(ax.yaxis)
    ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    return figure


def _with_slope(name: str, fit: Mapping[str, Any] | None) -> str:
    if fit is None:
        return plain(name, 22)
    error = fit.get("slope_standard_error")
    slope = significant(fit["slope"], 2) + (f" ± {significant(error, 1)}" if error else "")
    return f"{plain(name, 22)}: slope {slope}"


def _quantities(families: Mapping[str, Series]) -> list[tuple[str, str, str, str, float]]:
    return [entry for entry in QUANTITIES if any(entry[0] in series for series in families.values())]


def _sources(families: Mapping[str, Series]) -> tuple[str, ...]:
    return next((parity.names for series in families.values() for parity in series.values()), ())


def _add_legend(figure: Figure, names: Sequence[str]) -> None:
    if len(names) < 2:
        return
    handles = [Line2D([], [], linestyle="", marker="o", color=color_of(index), markersize=5, label=plain(name))
               for index, name in enumerate(names)]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(names)), frameon=False, fontsize=8,
                  labelcolor=INK, handletextpad=0.2)  # fmt: skip
