"""Figures of an assessment: errors by set, ranks, reaction paths, spectra, novelty against error, and the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from forcewright.report.drawing import (
    INK,
    MAIN,
    RULE,
    SOFT,
    color_of,
    dress,
    marker_of,
    new_figure,
    plain,
    set_log,
    spans_decades,
)  # fmt: skip

_LEGEND = {"frameon": False, "fontsize": 8, "labelcolor": INK}
_MANY = 1500  # points beyond which a panel is drawn as pixels


def draw_errors_by_set(
    errors: Mapping[str, Mapping[str, float]],
    spreads: Mapping[str, Mapping[str, float]],
    sets: Sequence[str],
    label: str,
) -> Figure | None:
    """Draw the error of each model on each set, with its standard error: a column for each set.

    Parameters
    ----------
    errors, spreads
        By model, then by set.
    """
    shown = [name for name in sets if any(name in by_set for by_set in errors.values())]
    values = [value for by_set in errors.values() for value in by_set.values()]
    if not shown or not values:
        return None
    figure = new_figure(3.6)
    ax = figure.subplots()
    width = 0.7 / max(len(errors), 1)
    for index, (model, by_set) in enumerate(errors.items()):
        known = [k for k, name in enumerate(shown) if name in by_set]
        x = [k + (index - (len(errors) - 1) / 2) * width for k in known]
        y = [by_set[shown[k]] for k in known]
        bars = [spreads.get(model, {}).get(shown[k]) or 0.0 for k in known]
        ax.errorbar(x, y, yerr=bars, fmt=marker_of(index), markersize=4.5, color=color_of(index), linewidth=1,
                    capsize=0, label=plain(model))  # fmt: skip
    dress(ax, "", label)
    for k in range(len(shown) - 1):
        ax.axvline(k + 0.5, color=RULE, linewidth=0.6)
    ax.grid(axis="x", visible=False)
    ax.set_xticks(range(len(shown)), [plain(name, 18) for name in shown], rotation=25 if len(shown) > 6 else 0,
                  ha="right" if len(shown) > 6 else "center")  # fmt: skip
    ax.set_xlim(-0.5, len(shown) - 0.5)
    if spans_decades(values, 10.0):
        set_log(ax.yaxis)
    figure.legend(loc="outside upper left", ncols=min(5, len(errors)), **_LEGEND)
    return figure


def draw_ranks(ranked: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> Figure | None:
    """Draw scores of models with their intervals, best on top: a panel for each quantity."""
    panels = {name: rows for name, rows in ranked.items() if rows}
    if not panels:
        return None
    figure = new_figure(0.8 + 0.28 * max(map(len, panels.values())))
    units = {"energy": "energy RMSE (meV/atom)", "forces": "force RMSE (eV/Å)"}
    for ax, (name, rows) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for k, row in enumerate(rows):
            low, high = row["score_interval"] or [row["score"]] * 2
            ax.plot([low, high], [k, k], color=MAIN, linewidth=2.5, solid_capstyle="butt", alpha=0.45)
            ax.plot([row["score"]], [k], "o", color=MAIN, markersize=5)
        dress(ax, units.get(name, name), "", title)
        ax.set_yticks(range(len(rows)), [plain(row["model"], 24) for row in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        if spans_decades([row["score"] for row in rows], 8.0):
            set_log(ax.xaxis)
    return figure


def draw_path(name: str, reference: ArrayLike, models: Mapping[str, ArrayLike], label: str) -> Figure:
    """Draw energies (eV) along a reaction, relative to the first frame."""
    figure = new_figure(3.0, 4.7)
    ax = figure.subplots()
    ax.plot(np.asarray(reference), color=INK, linewidth=2.0, label=plain(label))
    for index, (model, curve) in enumerate(models.items()):
        ax.plot(np.asarray(curve), color=color_of(index), linewidth=1.1, label=plain(model))
    dress(ax, "frame", "energy (eV)", plain(name))
    ax.legend(**_LEGEND)
    return figure


def draw_spectra(molecule: str, curves: Mapping[str, tuple[ArrayLike, ArrayLike]], unit: str = "THz") -> Figure:
    """Draw spectra one over the other; the first is the reference's, filled."""
    figure = new_figure(2.5, 4.7)
    ax = figure.subplots()
    for index, (name, (x, y)) in enumerate(curves.items()):
        if index == 0:
            ax.fill_between(np.asarray(x), np.asarray(y), color=RULE, linewidth=0, label=plain(name))
        else:
            ax.plot(np.asarray(x), np.asarray(y), color=color_of(index - 1), linewidth=0.9, label=plain(name))
    dress(ax, f"frequency ({unit})", "density", plain(molecule))
    ax.set_ylim(bottom=0)
    ax.legend(**_LEGEND)
    return figure


def draw_novelty(curves: Mapping[str, Sequence[Sequence[float]]], limit: float | None) -> Figure | None:
    """Draw the root mean square force error (eV/Å) of atoms in groups of rising novelty, a line for each model."""
    if not curves:
        return None
    figure = new_figure(3.2, 6.4)
    ax = figure.subplots()
    for index, (model, curve) in enumerate(curves.items()):
        x, y = np.array(curve).T
        ax.plot(x, y, marker=marker_of(index), markersize=4, color=color_of(index), linewidth=1.2, label=plain(model))
    if limit is not None:
        ax.axvline(limit, color=SOFT, linestyle="--", linewidth=0.9, label="limit of a frame")
    dress(ax, "novelty of the atom", "force error (eV/Å)")
    if spans_decades([x for curve in curves.values() for x, _ in curve]):
        set_log(ax.xaxis)
    if spans_decades([y for curve in curves.values() for _, y in curve], 5.0):
        set_log(ax.yaxis)
    figure.legend(loc="outside right upper", **_LEGEND)
    return figure


def draw_domain(points: ArrayLike, parts: Mapping[str, int], shares: ArrayLike, training: str = "") -> Figure:
    """Draw frames in two principal components, colored by set; those of the training set in gray behind.

    Parameters
    ----------
    points
        (M, 2), set after set.
    parts
        Number of frames by set, in order.
    training
        Name of the part that is the training set.
    """
    figure = new_figure(4.2, 6.4)
    ax = figure.subplots()
    start, color = 0, 0
    xy = np.asarray(points)
    for name, count in parts.items():
        here = xy[start : start + count]
        start += count
        behind = name == training
        ax.scatter(here[:, 0], here[:, 1], s=14, linewidths=0.8 if behind else 0, alpha=0.7, rasterized=len(xy) > _MANY,
                   color=SOFT if behind else color_of(color), marker="x" if behind else marker_of(color),
                   label=plain(name), zorder=1 if behind else 2)  # fmt: skip
        color += not behind
    first, second = (100 * float(share) for share in np.asarray(shares))
    dress(ax, f"component 1 ({first:.0f} %)", f"component 2 ({second:.0f} %)")
    figure.legend(loc="outside right upper", **_LEGEND)
    return figure
