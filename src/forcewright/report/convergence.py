"""The figure of an iterative fit: the validation loss by iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forcewright.report.drawing import BEST, INK, MAIN, SOFT, dress, new_figure
from forcewright.report.numbers import significant

_FAR = 1.3  # times the loss of the linear fit: higher losses are not shown


def draw_convergence(fit: Mapping[str, Any]) -> Figure | None:
    """Draw the validation loss by iteration, the loss of the linear fit, and the iteration that was chosen.

    Parameters
    ----------
    fit
        ``curve``, the loss by iteration (None where it was not finite), ``linear_loss``, ``iterations`` (chosen),
        ``kept`` (whether the fit of several densities was kept).
    """
    points = [(k, loss) for k, loss in enumerate(fit.get("curve") or []) if loss is not None]
    if not points:
        return None
    figure = new_figure(3.0)
    ax = figure.subplots()
    x, y = zip(*points, strict=True)
    ax.plot(x, y, color=MAIN, linewidth=1.4, marker="o", markersize=3.5, label="several densities")
    linear, chosen = fit.get("linear_loss"), fit.get("iterations")
    if linear is not None:
        ax.axhline(linear, color=SOFT, linewidth=1.0, linestyle="--", label="linear fit")
    if chosen is not None and (taken := [point for point in points if point[0] == chosen]):
        label = "chosen" if fit.get("kept") else "best, not kept"
        ax.scatter([taken[0][0]], [taken[0][1]], s=110, marker="*", color=BEST, zorder=4, label=label)
    dress(ax, "iteration", "validation loss")
    ax.locator_params(axis="x", integer=True)
    _leave_out_the_start(ax, [loss for _, loss in points], linear)
    ax.set_xlim(-0.02 * max(points[-1][0], 1) - 0.2, 1.02 * max(points[-1][0], 1) + 0.2)
    ax.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0),
              handletextpad=0.4, columnspacing=1.6, borderaxespad=0.2)  # fmt: skip
    return figure


def _leave_out_the_start(ax: Axes, losses: Sequence[float], linear: float | None) -> None:
    """Cut off the axis if a fit starts far above its later losses, and say so."""
    level = min(losses) if linear is None else max(linear, min(losses))
    shown = [loss for loss in losses if loss <= _FAR * level]
    if len(shown) in (0, len(losses)):
        return
    low, high = min(*shown, level), max(*shown, level)
    margin = 0.1 * (high - low) or 0.1 * high
    ax.set_ylim(low - margin, high + margin)
    ax.text(1.0, 1.02, f"starts at {significant(losses[0])}, above the figure", transform=ax.transAxes, ha="right",
            va="bottom", fontsize=8, color=SOFT)  # fmt: skip
