"""Figures of errors: parity plots, and errors by group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forcewright import metrics
from forcewright.accuracy.parity import Parity, ParitySeries
from forcewright.report.drawing import (
    INK,
    MAIN,
    MARKERS,
    RULE,
    SECOND,
    SOFT,
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

#: field of Parity, title, axis unit, unit of the errors, factor between the two
_PANELS = (
    ("energy", "Energy", "eV/atom", "meV/atom", 1e3),
    ("forces", "Force components", "eV/Å", "eV/Å", 1.0),
    ("stress", "Stress components", "GPa", "GPa", 1.0),
)
_SETS = {"Validation": MAIN, "Nested": "#44AA99", "Test": SECOND}
_PANEL = 3.15  # inches: three stand side by side
_SIGNS = {"o": "●", "s": "■", "^": "▲", "D": "◆"}
_SPREAD = 30.0  # ratio of errors of groups from which on their axis is logarithmic
_MANY = 1500  # points beyond which a panel is drawn as pixels


def draw_parity(parity: Parity) -> list[Figure]:
    """Draw prediction against reference, a figure per labelled quantity, colored by group."""
    figures = []
    for name, title, unit, error_unit, factor in _PANELS:
        if (series := getattr(parity, name)) is not None:
            figures.append(new_figure(_PANEL, _PANEL))
            _draw_panel(figures[-1].subplots(), series, title, unit, error_unit, factor)
    return figures


def parity_legend(parity: Parity) -> list[tuple[str, str, str]]:
    """Return color, sign and name of each group of a parity plot; nothing where there is one group."""
    known = [series for name, *_ in _PANELS if (series := getattr(parity, name)) is not None]
    names = known[0].names if known else ()
    return [(color_of(k), _SIGNS[marker_of(k)], plain(name)) for k, name in enumerate(names)] if len(names) > 1 else []


def _draw_panel(ax: Axes, series: ParitySeries, title: str, unit: str, error_unit: str, factor: float) -> None:
    _scatter(ax, series)
    dress_parity(ax, series, unit, title)
    rmse, mae = metrics.rmse(series.reference, series.predicted), metrics.mae(series.reference, series.predicted)
    text = f"RMSE {significant(factor * rmse)} {error_unit}\nMAE {significant(factor * mae)} {error_unit}"
    ax.text(0.04, 0.96, text, transform=ax.transAxes, va="top", fontsize=8, color=INK, linespacing=1.4)
    _draw_distribution(ax, factor * (series.predicted - series.reference), factor * rmse, error_unit)


def _scatter(ax: Axes, series: ParitySeries) -> None:
    """Draw the points in a shuffled order (the same every time) and in portions, so that no group hides another."""
    many = len(series) > _MANY
    colors = np.array([color_of(index) for index in range(len(series.names))])
    shapes = np.array([MARKERS.index(marker_of(index)) for index in range(len(series.names))])
    order = np.random.default_rng(0).permutation(len(series))
    for portion in np.array_split(order, 16 if len(np.unique(shapes)) > 1 else 1):
        for shape in np.unique(shapes[series.group[portion]]):
            chosen = portion[shapes[series.group[portion]] == shape]
            ax.scatter(
                series.reference[chosen], series.predicted[chosen], c=colors[series.group[chosen]],
                marker=MARKERS[shape], s=4.5 if many else 14, alpha=0.6 if many else 0.8, linewidths=0,
                rasterized=many, zorder=2,
            )  # fmt: skip


def _draw_distribution(ax: Axes, errors: np.ndarray, rmse: float, unit: str) -> None:
    """Draw a small histogram of the errors, ±3 RMSE, in the lower right corner."""
    inset = ax.inset_axes((0.60, 0.10, 0.36, 0.22))
    reach = 3 * rmse or 1.0
    inset.hist(np.clip(errors, -reach, reach), bins=31, range=(-reach, reach), color=MAIN, alpha=0.75)
    inset.set_yticks([])
    twice = significant(2 * rmse, 2)
    inset.set_xticks([-reach * 2 / 3, 0, reach * 2 / 3], [f"−{twice}", "0", twice])
    inset.tick_params(labelsize=6.5, color=RULE, labelcolor=SOFT, length=2, pad=1.5)
    inset.set_title(f"error ({unit})", fontsize=6.5, color=SOFT, pad=2)
    inset.patch.set_alpha(0.0)
    for side, spine in inset.spines.items():
        spine.set_color(RULE)
        spine.set_visible(side == "bottom")


def draw_groups(tables: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    """Draw energy, force and stress RMSE of every group as bars with standard errors, a figure each.

    Parameters
    ----------
    tables
        ``ErrorTable.to_dict()`` by data set, drawn in this order.
    """
    names = sorted({name for table in tables.values() for name in table.get("groups") or {}})
    errors = {
        "energy_rmse_meV_per_atom": "energy RMSE (meV/atom)", "force_rmse_eV_per_A": "force RMSE (eV/Å)",
        "stress_rmse_GPa": "stress RMSE (GPa)",
    }  # fmt: skip
    cells = [(table, name) for table in tables.values() for name in names]
    figures = []
    for key, label in errors.items():
        if not any(_value(table, name, key)[0] is not None for table, name in cells):
            continue
        figures.append(new_figure(0.9 + (0.15 + 0.17 * len(tables)) * len(names), 1.35 * _PANEL))
        ax = figures[-1].subplots()
        _draw_bars(ax, tables, names, key, label)
        ax.set_yticks(np.arange(len(names)), [plain(name, 24) for name in names])
        ax.invert_yaxis()
        if len(tables) > 1:
            ax.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right", bbox_to_anchor=(1.0, 1.0),
                      ncols=3)  # fmt: skip
    return figures


def _draw_bars(ax: Axes, tables: Mapping[str, Mapping[str, Any]], names: list[str], key: str, label: str) -> None:
    thickness = 0.76 / len(tables)
    drawn: list[float] = []
    for index, (title, table) in enumerate(tables.items()):
        values = [_value(table, name, key) for name in names]
        drawn += [value for value, _ in values if value]
        places = np.arange(len(names)) + (index - (len(tables) - 1) / 2) * thickness
        ax.barh(
            places, [value or 0.0 for value, _ in values], height=0.9 * thickness, color=_SETS.get(title, SECOND),
            xerr=[error or 0.0 for _, error in values], error_kw={"ecolor": INK, "elinewidth": 0.8, "capsize": 1.5},
            label=title,
        )  # fmt: skip
    dress(ax, label, "")
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.set_xlim(left=0)
    if spans_decades(drawn, _SPREAD):
        ax.set_xlim(0.4 * min(drawn), 2.0 * max(drawn))
        set_log(ax.xaxis)


def _value(table: Mapping[str, Any], group: str, key: str) -> tuple[float | None, float | None]:
    errors = (table.get("groups") or {}).get(group) or {}
    return errors.get(key), (errors.get("standard_error") or {}).get(key)
