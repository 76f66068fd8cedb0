"""Figures of a rerun and of a diagnosis: errors and indicators over time, histograms, walls and pressures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from forcewright.report.drawing import ALARM, BEST, INK, MAIN, SECOND, SOFT, color_of, dress, new_figure, plain, set_log

_SIZE = (2.5, 4.7)  # inches, two side by side
_LOG_RATIO = 30.0


def _half() -> tuple[Figure, Axes]:
    figure = new_figure(*_SIZE)
    return figure, figure.subplots()


def _legend(ax: Axes) -> None:
    ax.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0),
              borderaxespad=0.1)  # fmt: skip


def draw_frame_errors(
    time: ArrayLike, energy: ArrayLike, rmse: ArrayLike, largest: ArrayLike, pressure: ArrayLike
) -> list[Figure]:
    """Draw errors over time (ps): energies (eV/atom), forces (eV/Å) of all and of the worst atom, pressures (GPa)."""
    x = np.asarray(time, dtype=float)
    figures = []
    for label, lines in (
        ("energy error (meV/atom)", [(1e3 * np.asarray(energy), MAIN, "")]),
        ("force error (eV/Å)", [(np.asarray(rmse), MAIN, "root mean square"), (np.asarray(largest), ALARM, "largest")]),
        ("pressure error (GPa)", [(np.asarray(pressure), MAIN, "")]),
    ):
        if not np.isfinite(lines[0][0]).any():
            continue
        figure, ax = _half()
        for values, color, legend in lines:
            ax.plot(x, values, color=color, linewidth=0.9, marker=".", markersize=3, label=legend or None)
        dress(ax, "time (ps)", label)
        if len(lines) > 1:
            if np.nanmax(lines[1][0]) > _LOG_RATIO * max(float(np.nanmedian(lines[1][0])), 1e-12):
                set_log(ax.yaxis)
            _legend(ax)
        else:
            ax.axhline(0.0, color=SOFT, linewidth=0.8)
        figures.append(figure)
    return figures


def draw_indicators(series: Sequence[Mapping[str, Any]], broke_ps: float | None, end_ps: float) -> list[Figure]:
    """Draw indicators over time with their limits, the first anomaly and the break.

    Parameters
    ----------
    series
        Mappings with ``name``, ``unit``, ``times``, ``values``, ``low``, ``high`` and ``anomaly`` (ps, or None).
    """
    figures = []
    for entry in series:
        x, y = np.asarray(entry["times"], dtype=float), np.asarray(entry["values"], dtype=float)
        shown = np.isfinite(y)
        if shown.sum() < 2:
            continue
        figure, ax = _half()
        ax.plot(x[shown], y[shown], color=MAIN, linewidth=0.8, marker="." if shown.sum() < 80 else None, markersize=3)
        for limit in (entry["low"], entry["high"]):
            if limit is not None:
                ax.axhline(limit, color=SOFT, linewidth=0.9, linestyle="--")
        if entry["anomaly"] is not None:
            ax.axvline(entry["anomaly"], color=BEST, linewidth=1.1, label="first anomaly")
        if broke_ps is not None:
            ax.axvline(broke_ps, color=ALARM, linewidth=1.1, label="break")
        dress(ax, "time (ps)", f"{entry['name']} ({entry['unit']})")
        _keep_in_view(ax, y[shown & (x <= 0.9 * end_ps)], y[shown], (entry["low"], entry["high"]))
        ax.set_xlim(0.0, max(end_ps, float(x[shown].max())))
        if ax.get_legend_handles_labels()[0]:
            _legend(ax)
        figures.append(figure)
    return figures


def _keep_in_view(ax: Axes, usual: np.ndarray, values: np.ndarray, limits: Sequence[float | None]) -> None:
    """Make an axis logarithmic, or cut the end off, where the end would flatten all before."""
    if len(usual) < 2:
        return
    known = [limit for limit in limits if limit is not None]
    low, high = min([float(usual.min()), *known]), max([float(usual.max()), *known])
    span = high - low or abs(high) or 1.0
    if values.min() > 0 and values.max() / max(high, 1e-300) > _LOG_RATIO / 10:
        set_log(ax.yaxis)
    elif values.max() > high + 3 * span or values.min() < low - 3 * span:
        ax.set_ylim(max(float(values.min()), low - span), min(float(values.max()), high + span))
        ax.text(0.02, 0.95, f"the end reaches {values.min():.3g} to {values.max():.3g}", transform=ax.transAxes,
                va="top", fontsize=8, color=ALARM)  # fmt: skip


def draw_histograms(
    before: ArrayLike, after: ArrayLike, label: str, curve: tuple[ArrayLike, ArrayLike] | None = None
) -> Figure:
    """Draw the distributions of a quantity in equilibrium and at the break, and what theory says (x, density)."""
    first, last = np.asarray(before, dtype=float).ravel(), np.asarray(after, dtype=float).ravel()
    first, last = first[np.isfinite(first)], last[np.isfinite(last)]
    figure, ax = _half()
    high = float(np.quantile(np.concatenate([first, last]), 0.999))
    low = min(0.0, float(np.quantile(np.concatenate([first, last]), 0.001)))
    edges = np.linspace(low, high * 1.05 or 1.0, 41).tolist()
    ax.hist(np.clip(first, None, edges[-1]), edges, density=True, color=SECOND, label="in equilibrium")
    ax.hist(np.clip(last, None, edges[-1]), edges, density=True, histtype="step", color=ALARM, linewidth=1.2,
            label="at the break")  # fmt: skip
    if curve is not None:
        ax.plot(np.asarray(curve[0]), np.asarray(curve[1]), color=INK, linewidth=0.9, linestyle="--", label="Maxwell")
    dress(ax, label, "density")
    _legend(ax)
    return figure


def draw_squeeze(distances: ArrayLike, energies: ArrayLike, reference: ArrayLike, shortest: float, pair: str) -> Figure:
    """Draw the energy (eV) of a structure in which a pair is pushed together, and the shortest trained distance (Å)."""
    x = np.asarray(distances, dtype=float)
    figure, ax = _half()
    y, known = np.asarray(energies, dtype=float), np.asarray(reference, dtype=float)
    ax.plot(x, y, color=MAIN, marker=".", label="potential")
    if np.isfinite(known).any():
        ax.plot(x, known, color=BEST, marker=".", label="reference")
    ax.axvline(shortest, color=SOFT, linestyle="--", linewidth=0.9, label="shortest in training")
    dress(ax, f"{plain(pair)} distance (Å)", "energy (eV)")
    _legend(ax)
    return figure


def draw_pressures(ratios: ArrayLike, pressures: ArrayLike, reference: ArrayLike) -> Figure:
    """Draw pressures (GPa) of atoms at rest over the volume, that of equilibrium being 1."""
    x = np.asarray(ratios, dtype=float)
    figure, ax = _half()
    ax.axhline(0.0, color=SOFT, linewidth=0.8)
    ax.plot(x, np.asarray(pressures, dtype=float), color=MAIN, marker=".", label="potential")
    known = np.asarray(reference, dtype=float)
    if np.isfinite(known).any():
        ax.plot(x, known, color=BEST, marker=".", label="reference")
    dress(ax, "volume / that of equilibrium", "pressure at rest (GPa)")
    _legend(ax)
    return figure


def draw_parts(time: ArrayLike, parts: Mapping[str, ArrayLike], broke_ps: float | None) -> Figure | None:
    """Draw what each part of a potential adds to the force on an atom (eV/Å) over time (ps)."""
    x = np.asarray(time, dtype=float)
    if not parts or len(x) < 2:
        return None
    figure = new_figure(2.6)
    ax = figure.subplots()
    values = {name: np.asarray(part, dtype=float) for name, part in parts.items()}
    for k, (name, y) in enumerate(values.items()):
        ax.plot(x, y, color=color_of(k), linewidth=1.1, marker=".", markersize=3, label=plain(name))
    largest = np.concatenate(list(values.values()))
    if np.nanmax(largest) > _LOG_RATIO * max(float(np.nanmedian(largest)), 1e-12):
        ax.set_yscale("symlog", linthresh=max(float(np.nanmedian(largest)), 1e-3))
    if broke_ps is not None:
        ax.axvline(broke_ps, color=ALARM, linewidth=1.1)
    dress(ax, "time (ps)", "force on the atom (eV/Å)")
    ax.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=6, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    return figure
