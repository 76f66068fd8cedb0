"""Figures of probing: energies of pairs over their distance, and structures that fell into a hole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forcewright.report.drawing import ALARM, MAIN, RULE, SOFT, dress, new_figure
from forcewright.report.structure_figure import draw_structure

_COLUMNS = 3
_MOST_STRUCTURES = 6
_TOP = 20.0  # eV up to which curves are shown


def draw_stability(shown: Mapping[str, Any]) -> list[Figure]:
    """Return the figures of what probing has left: ``curves`` of pairs and ``holes``, as plain data."""
    figures = [draw_pairs(shown["curves"])] if shown.get("curves") else []
    pictures = [hole for hole in shown.get("holes", ()) if hole.get("structure")][:_MOST_STRUCTURES]
    return figures + [draw_structure(hole["structure"], hole["atoms"], hole["text"]) for hole in pictures]


def draw_pairs(curves: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the energy of each pair over its distance, with the shortest distance of the data and the hole."""
    rows = -(-len(curves) // _COLUMNS)
    figure = new_figure(2.5 * rows)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for ax, curve in zip(panels, curves, strict=False):
        r, energy = np.array(curve["distances_A"]), np.array(curve["energies_eV"], dtype=float)
        ax.plot(r, energy, color=MAIN, linewidth=1.4)
        ax.axhline(0.0, color=RULE, linewidth=0.8)
        ax.axvline(curve["shortest_A"], color=SOFT, linewidth=0.9, linestyle="--")
        low = float(np.nanmin(energy)) if np.isfinite(energy).any() else 0.0
        if curve["hole_A"] is not None:
            depth = float(np.interp(curve["hole_A"], r, energy))
            ax.plot([curve["hole_A"]], [depth], "v", color=ALARM, markersize=8)
            ax.annotate("hole", (curve["hole_A"], depth), xytext=(6, 6), textcoords="offset points", fontsize=8,
                        color=ALARM)  # fmt: skip
        ax.set_ylim(1.15 * min(low, -1.0), max(_TOP, -0.5 * low))
        dress(ax, "distance (Å)", "energy (eV)", curve["pair"].replace("-", "–"))
    for ax in panels[len(curves) :]:
        ax.set_axis_off()
    return figure
