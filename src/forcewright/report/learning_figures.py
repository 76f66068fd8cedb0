"""The figures of a learner, round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forcewright.report.drawing import ALARM, INK, MAIN, SECOND, SOFT, dress, new_figure, set_log


def draw_learning(rows: Sequence[Mapping[str, Any]], rounds: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Draw growth of the data, novelty, survival against labels, and errors on the fixed frames, a figure each.

    Parameters
    ----------
    rows
        A flat row for each round.
    rounds
        What each round did; its ``walks`` tell how far each walker came.
    """
    if not rows:
        return []
    before = np.concatenate([[0], np.cumsum([row["labels"] for row in rows])])[:-1]
    figures = [_figure()]
    ax = figures[0].axes[0]
    ax.step(range(len(rows)), [row["frames"] for row in rows], where="mid", color=MAIN)
    dress(ax, "round", "training frames")

    figures.append(_figure())
    ax = figures[-1].axes[0]
    for number, done in enumerate(rounds):
        known = [(w["novelty"], w["failed"]) for w in done["walks"] if w["novelty"]]
        for value, failed in known:
            ax.plot(number, value, "x" if failed else "o", color=ALARM if failed else MAIN, markersize=4)
    ax.axhline(1.0, color=SOFT, linewidth=1.0, linestyle="--")
    dress(ax, "round", "largest novelty / limit")
    set_log(ax.yaxis)

    figures.append(_figure())
    ax = figures[-1].axes[0]
    for labels, done in zip(before.tolist(), rounds, strict=True):
        for walk in done["walks"]:
            mark = "o" if walk["completed"] else "x"
            ax.plot(labels, walk["reached_ps"], mark, color=MAIN if walk["completed"] else ALARM, markersize=4)
    dress(ax, "labels so far", "way of each walker (ps)")

    columns = (("energy_rmse_meV_per_atom", "energy (meV/atom)", MAIN), ("force_rmse_eV_per_A", "force (eV/Å)", SECOND))
    drawn = [(name, label, color) for name, label, color in columns if any(row[name] is not None for row in rows)]
    if drawn:
        figures.append(_figure())
        ax = figures[-1].axes[0]
        for name, label, color in drawn:
            values = [np.nan if row[name] is None else row[name] for row in rows]
            ax.plot(before, values, "o-", color=color, markersize=3, linewidth=1.0, label=label)
        dress(ax, "labels so far", "RMSE on the fixed frames")
        set_log(ax.yaxis)
        ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    return figures


def _figure() -> Figure:
    figure = new_figure(2.6, 4.7)
    figure.subplots()
    return figure
