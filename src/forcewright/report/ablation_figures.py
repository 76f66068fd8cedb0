"""Figure of an ablation: how much each change makes the errors larger or smaller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from forcewright.report.drawing import INK, color_of, dress, marker_of, new_figure, plain


def draw_differences(variants: Mapping[str, Mapping[str, Any]], key: str, label: str) -> Figure | None:
    """Draw the difference of each variant from the base with its 95 % interval, a color for each set.

    Parameters
    ----------
    variants
        By variant: ``differences`` by set and key, each with ``value``, ``low`` and ``high``.
    """
    rows = {
        name: {of: by_key[key] for of, by_key in row["differences"].items() if key in by_key}
        for name, row in variants.items() if row["differences"]
    }  # fmt: skip
    sets = list(dict.fromkeys(name for row in rows.values() for name in row))
    if not sets:
        return None
    figure = new_figure(1.0 + (0.3 + 0.14 * len(sets)) * len(rows), 6.8)
    ax = figure.subplots()
    ax.axvline(0.0, color=INK, linewidth=0.9, zorder=1)
    step = 0.7 / len(sets)
    for index, name in enumerate(sets):
        for line, row in enumerate(rows.values()):
            if (difference := row.get(name)) is None:
                continue
            y = line - 0.35 + (index + 0.5) * step
            if difference["low"] is not None:
                ax.plot([difference["low"], difference["high"]], [y, y], color=color_of(index), linewidth=1.6)
            ax.plot([difference["value"]], [y], color=color_of(index), marker=marker_of(index), markersize=6,
                    linewidth=0, label=plain(name, 22) if line == 0 else None)  # fmt: skip
    dress(ax, f"difference of the {label}", "")
    ax.grid(visible=False, axis="y")
    ax.set_yticks(range(len(rows)), [plain(name, 26) for name in rows])
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    if len(sets) > 1:
        ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    return figure
