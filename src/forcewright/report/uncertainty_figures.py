"""The figure of force errors against uncertainties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from forcewright.report.drawing import INK, color_of, dress, marker_of, new_figure, set_log


def draw_reliability(curves: Mapping[str, Sequence[Sequence[float]]]) -> Figure | None:
    """Draw the root mean squared force error of groups of atoms over their uncertainty, both logarithmic.

    Parameters
    ----------
    curves
        By kind of uncertainty, pairs of median uncertainty and error; each over the median of its own.
    """
    figure = new_figure(3.0, 4.7)
    ax = figure.subplots()
    drawn = 0
    for number, (name, curve) in enumerate(curves.items()):
        points = np.asarray(curve, dtype=float)
        points = points[(points > 0).all(axis=1)]
        if len(points) > 1:
            drawn += 1
            middle = float(np.median(points[:, 0]))
            ax.plot(points[:, 0] / middle, points[:, 1], color=color_of(number), marker=marker_of(number), markersize=3,
                    linewidth=1.0, label=name)  # fmt: skip
    if not drawn:
        return None
    dress(ax, "uncertainty / median", "force RMSE (eV/Å)")
    set_log(ax.xaxis)
    set_log(ax.yaxis)
    ax.legend(frameon=False, fontsize=7, labelcolor=INK, loc="upper left")
    return figure
