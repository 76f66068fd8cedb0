"""Figures of a search: loss over trials, loss against each hyperparameter, importance, accuracy against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from forcewright.report.drawing import (
    ALARM,
    BEST,
    COLOR_MAP,
    INK,
    MAIN,
    RULE,
    SECOND,
    SOFT,
    dress,
    new_figure,
    plain,
    set_log,
    spans_decades,
)  # fmt: skip
from forcewright.report.numbers import unit_of

Trial = Mapping[str, Any]
_MANY = 400  # trials beyond which the points of a slice are drawn as pixels


def complete(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that have a finite loss."""
    return [t for t in trials if t.get("state") != "failed" and t.get("loss") is not None and np.isfinite(t["loss"])]


def best(trials: Sequence[Trial]) -> Trial | None:
    """Return the chosen trial; if none is marked, the complete one of smallest loss, the first of equals."""
    return min(complete(trials), key=lambda trial: (not trial.get("chosen"), trial["loss"]), default=None)


# --------------------------------------------------------------------------------------------- loss over trials


def draw_search(trials: Sequence[Trial]) -> Figure | None:
    """Draw the loss of every trial, the best so far, the initial region shaded, failed trials as crosses."""
    done = complete(trials)
    if not trials:
        return None
    figure = new_figure(3.1)
    ax = figure.subplots()
    _draw_losses(ax, done)
    initial = [trial["index"] for trial in trials if trial.get("phase") == "initial"]
    if initial:
        ax.axvspan(min(initial) - 0.5, max(initial) + 0.5, color=RULE, alpha=0.35, linewidth=0, zorder=0)
    _mark_failed(ax, trials, done)
    dress(ax, "trial", "loss")
    if spans_decades([trial["loss"] for trial in done]):
        set_log(ax.yaxis)
    ax.set_xlim(min(t["index"] for t in trials) - 0.7, max(t["index"] for t in trials) + 0.7)
    ax.locator_params(axis="x", integer=True)
    ax.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=5, loc="lower left", bbox_to_anchor=(0.0, 1.0),
              handletextpad=0.4, columnspacing=1.6, borderaxespad=0.2)  # fmt: skip
    return figure


def _draw_losses(ax: Axes, done: list[Trial]) -> None:
    for phase, color, label in (("initial", SECOND, "initial trial"), ("bayesian", MAIN, "Bayesian trial")):
        chosen = [trial for trial in done if (trial.get("phase") == "initial") == (phase == "initial")]
        if chosen:
            x, y = [trial["index"] for trial in chosen], [trial["loss"] for trial in chosen]
            ax.scatter(x, y, s=20, color=color, label=label, zorder=3, linewidths=0)
    if not done:
        return
    ordered = sorted(done, key=lambda trial: trial["index"])
    lowest = np.minimum.accumulate([trial["loss"] for trial in ordered])
    x = [trial["index"] for trial in ordered]
    ax.step(x, lowest, where="post", color=BEST, linewidth=1.4, label="best so far", zorder=2)
    winner = best(done)
    assert winner is not None
    ax.scatter([winner["index"]], [winner["loss"]], s=90, marker="*", color=BEST, zorder=4, label="chosen")


def _mark_failed(ax: Axes, trials: Sequence[Trial], done: list[Trial]) -> None:
    good = {trial["index"] for trial in done}
    failed = [trial["index"] for trial in trials if trial["index"] not in good]
    if failed:
        ax.scatter(failed, np.full(len(failed), 0.97), transform=ax.get_xaxis_transform(), marker="x", s=24,
                   color=ALARM, linewidths=1.3, label="failed", zorder=4)  # fmt: skip
    if not done:
        ax.set_yticks([])


# ------------------------------------------------------------------------------- importance and slices


def draw_importance(importance: Mapping[str, float]) -> Figure | None:
    """Draw the share of each hyperparameter in the variation of the loss, largest on top."""
    known = [item for item in importance.items() if np.isfinite(item[1])]
    items = sorted(known, key=lambda item: item[1])
    if not items:
        return None
    figure = new_figure(0.7 + 0.26 * len(items))
    ax = figure.subplots()
    values = [100 * value for _, value in items]
    ax.barh(range(len(items)), values, color=MAIN, height=0.62)
    ax.set_yticks(range(len(items)), [plain(name) for name, _ in items])
    for row, value in enumerate(values):
        ax.annotate(f"{value:.0f} %", (value, row), xytext=(4, 0), textcoords="offset points", va="center",
                    fontsize=8, color=SOFT)  # fmt: skip
    dress(ax, "share of the variation of the loss (%)", "")
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.set_xlim(0, 1.12 * max([*values, 1.0]))
    return figure


def draw_slices(
    trials: Sequence[Trial], importance: Mapping[str, float] | None = None, units: Mapping[str, str] | None = None
) -> Figure | None:
    """Draw the loss against each hyperparameter that varies, colored by trial number, the most important first."""
    done = complete(trials)
    names = _varying(done)
    if not names:
        return None
    ranks = importance or {}
    names = sorted(names, key=lambda name: -ranks.get(name, 0.0))
    columns = {1: 2, 2: 2, 4: 4, 7: 4, 8: 4}.get(len(names), 3 if len(names) <= 9 else 4)
    rows = -(-len(names) // columns)
    figure = new_figure(0.35 + 2.15 * rows)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    logarithmic = spans_decades([trial["loss"] for trial in done])
    for ax, name in zip(axes.flat, names, strict=False):
        points = _draw_slice(ax, done, name)
        if unit := unit_of(name, units or {}):
            ax.set_xlabel(f"{ax.get_xlabel()} ({unit})")
        if logarithmic:
            set_log(ax.yaxis)
    for ax in axes.flat[len(names) :]:
        ax.remove()
    for row in axes:
        row[0].set_ylabel("loss", fontsize=9, color=INK)
    _draw_trial_scale(figure, points, list(axes.flat[: len(names)]), shrink=min(1.0, 1.6 / rows))
    return figure


def _draw_trial_scale(figure: Figure, points: Any, axes: list[Axes], shrink: float = 1.0) -> None:
    bar = figure.colorbar(points, ax=axes, shrink=shrink, aspect=22, pad=0.01, ticks=MaxNLocator(6, integer=True))
    bar.set_label("trial", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7.5, color=RULE, labelcolor=SOFT)
    bar.outline.set_visible(False)


def _varying(done: list[Trial]) -> list[str]:
    names = list(dict.fromkeys(name for trial in done for name in trial.get("params") or {}))
    return [name for name in names if len({str((t.get("params") or {}).get(name)) for t in done}) > 1]


def _draw_slice(ax: Axes, done: list[Trial], name: str) -> Any:
    have = [trial for trial in done if name in (trial.get("params") or {})]
    values = [trial["params"][name] for trial in have]
    losses, numbers = [trial["loss"] for trial in have], [trial["index"] for trial in have]
    categories = _categories(values)
    x = values if categories is None else [categories.index(str(value)) for value in values]
    first, last = min(t["index"] for t in done), max(t["index"] for t in done)
    points = ax.scatter(x, losses, c=numbers, cmap=COLOR_MAP, vmin=first, vmax=max(last, first + 1), s=18, linewidths=0,
                        rasterized=len(x) > _MANY)  # fmt: skip
    winner = best(have)
    assert winner is not None
    k = have.index(winner)
    ax.scatter([x[k]], [losses[k]], s=80, facecolors="none", edgecolors=BEST, linewidths=1.6)
    dress(ax, plain(name, 34), "")
    if categories is not None:
        ax.set_xticks(range(len(categories)), [plain(c, 14) for c in categories])
        ax.set_xlim(-0.6, len(categories) - 0.4)
    elif spans_decades(values, 100.0):
        set_log(ax.xaxis)
    else:
        ax.locator_params(axis="x", nbins=5, integer=all(isinstance(value, int) for value in values))
    return points


def _categories(values: Sequence[Any]) -> list[str] | None:
    """Return the sorted texts of values that are not all numbers, None for numbers."""
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return None
    return sorted({str(value) for value in values})


# ------------------------------------------------------------------------------------------- accuracy and cost


def draw_cost(trials: Sequence[Trial], limit: float | None = None) -> Figure | None:
    """Draw loss, energy and force error against the cost per atom, with the trials that no other beats in both.

    Parameters
    ----------
    limit
        Largest allowed cost in µs per atom.
    """
    done = [trial for trial in complete(trials) if trial.get("cost_us_per_atom")]
    shown = [
        (key, label)
        for key, label in (
            ("loss", "loss"),
            ("energy_rmse_meV_per_atom", "energy RMSE (meV/atom)"),
            ("force_rmse_eV_per_A", "force RMSE (eV/Å)"),
        )
        if any(trial.get(key) is not None for trial in done)
    ]
    if not shown:
        return None
    figure = new_figure(3.2)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for ax, (key, label) in zip(axes, shown, strict=True):
        points = _draw_cost_panel(ax, [trial for trial in done if trial.get(key) is not None], key, label, limit)
    axes[0].legend(frameon=False, fontsize=8, labelcolor=INK, ncols=4, loc="lower left", bbox_to_anchor=(0.0, 1.0),
                   handletextpad=0.4, columnspacing=1.6)  # fmt: skip
    _draw_trial_scale(figure, points, list(axes))
    return figure


def _draw_cost_panel(ax: Axes, trials: list[Trial], key: str, label: str, limit: float | None) -> Any:
    cost, error = [t["cost_us_per_atom"] for t in trials], [t[key] for t in trials]
    points = ax.scatter(cost, error, c=[t["index"] for t in trials], cmap=COLOR_MAP, s=20, linewidths=0, zorder=2)
    front = pareto_front(cost, error)
    ax.plot([cost[i] for i in front], [error[i] for i in front], color=ALARM, linewidth=1.1, marker="o", markersize=5,
            markerfacecolor="none", drawstyle="steps-post", zorder=3, label="Pareto front")  # fmt: skip
    winner = best(trials)
    assert winner is not None
    ax.scatter([winner["cost_us_per_atom"]], [winner[key]], s=110, marker="*", color=BEST, zorder=4, label="chosen")
    if limit is not None:
        ax.axvline(limit, color=SOFT, linewidth=1.0, linestyle="--", zorder=1, label="limit")
    dress(ax, "cost (µs per atom and step)", label)
    if spans_decades([*cost, *([limit] if limit else [])], 1.5):
        set_log(ax.xaxis)
    if spans_decades(error, 8.0):
        set_log(ax.yaxis)
    return points


def pareto_front(cost: Sequence[float], error: Sequence[float]) -> list[int]:
    """Return the indices of points that no other point beats in cost and error, by rising cost."""
    front: list[int] = []
    for index in sorted(range(len(cost)), key=lambda i: (cost[i], error[i])):
        if not front or error[index] < error[front[-1]]:
            front.append(index)
    return front
