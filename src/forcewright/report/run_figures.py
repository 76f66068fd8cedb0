"""The figure of a simulation (temperature, energies, pressure, volume) and the table of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from forcewright.report.drawing import ALARM, INK, MAIN, RULE, SECOND, SOFT, dress, new_figure, plain, set_log

_FEW_ROWS = 12  # of which the end is not told apart
_FAR = 2.0  # times the range of all before, beyond which the end is cut off
_MOST_POINTS = 2000  # of a line; beyond, the band between lowest and highest of every bin is drawn


def draw_run(thermo: Mapping[str, ArrayLike], atoms: int) -> list[Figure]:
    """Draw temperature, energies per atom, pressure and volume per atom over time, a figure each.

    What the end of a run that broke down makes far larger than all before is cut off, and said.

    Parameters
    ----------
    thermo
        Columns of thermo.csv; columns that are absent or empty are left out. ``stage`` holds names.
    """
    time = np.asarray(thermo["time_ps"], dtype=float)
    panels = [panel for panel in _PANELS if any(_known(thermo, name) for name, *_ in panel[2])]
    if len(time) < 2:
        return []
    stage = np.asarray(thermo.get("stage", np.zeros(len(time)))).astype(str)
    figures = []
    for label, per_atom, lines in panels:
        figures.append(new_figure(2.6, 4.7))
        ax = figures[-1].subplots()
        measured: list[np.ndarray] = []
        for name, color, legend in lines:
            if _known(thermo, name):
                values = np.asarray(thermo[name], dtype=float) / (atoms if per_atom else 1)
                _draw_line(ax, time, values, color, legend, dashed="target" in name)
                measured += [] if "target" in name else [values]
        dress(ax, "time (ps)", label)
        for k in _changes(stage):
            ax.axvline(time[k], color=RULE, linewidth=1.0, zorder=0)
        ax.set_xlim(time[0], time[-1])
        if sum(_known(thermo, name) for name, *_ in lines) > 1:
            ax.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=2, loc="lower right",
                      bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1)  # fmt: skip
        if panels[0][0] == label:
            _name_stages(ax, time, stage)
        _cut_off(ax, measured)
    return figures


def _cut_off(ax: Axes, lines: Sequence[np.ndarray]) -> None:
    """Keep the last rows of a run that broke down from flattening all before."""
    finite = [line[np.isfinite(line)] for line in lines]
    before = [line[: -max(3, len(line) // 25)] for line in finite if len(line) > _FEW_ROWS]
    if not before or len(before) < len(finite):
        return
    low, high = min(line.min() for line in before), max(line.max() for line in before)
    lowest, highest = min(line.min() for line in finite), max(line.max() for line in finite)
    span = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-12)
    if highest <= high + _FAR * span and lowest >= low - _FAR * span:
        return
    ax.set_ylim(max(lowest, low - 0.5 * span), min(highest, high + 0.5 * span))
    reached = [f"{value:.3g}" for value, beyond in ((lowest, lowest < low - 0.5 * span),
                                                    (highest, highest > high + 0.5 * span)) if beyond]  # fmt: skip
    ax.text(0.98, 0.5, f"cut off: the end reaches {' and '.join(reached)}", transform=ax.transAxes, ha="right",
            va="center", fontsize=8, color=ALARM)  # fmt: skip


#: y label, whether it is divided by the number of atoms, and lines: column, color, legend
_PANELS: tuple[tuple[str, bool, tuple[tuple[str, str, str], ...]], ...] = (
    ("temperature (K)", False, (("temperature_K", MAIN, "measured"), ("target_temperature_K", ALARM, "target"))),
    ("energy (eV/atom)", True, (("potential_eV", MAIN, "potential"), ("total_eV", SECOND, "total"))),
    ("pressure (GPa)", False, (("pressure_GPa", MAIN, "measured"), ("target_pressure_GPa", ALARM, "target"))),
    ("volume (Å³/atom)", True, (("volume_A3", MAIN, "volume"),)),
)


def _known(thermo: Mapping[str, ArrayLike], name: str) -> bool:
    return name in thermo and bool(np.isfinite(np.asarray(thermo[name], dtype=float)).any())


def _draw_line(ax: Axes, x: np.ndarray, y: np.ndarray, color: str, label: str, dashed: bool) -> None:
    if dashed:
        ax.plot(x, y, color=color, linewidth=1.1, linestyle="--", label=label, zorder=3)
        return
    if len(x) <= _MOST_POINTS:
        ax.plot(x, y, color=color, linewidth=0.8, label=label)
        return
    edges = np.linspace(0, len(x), _MOST_POINTS // 4 + 1).astype(int)
    bins = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    middle = [float(x[part].mean()) for part in bins]
    ax.fill_between(middle, [y[part].min() for part in bins], [y[part].max() for part in bins], color=color, alpha=0.25,
                    linewidth=0)  # fmt: skip
    ax.plot(middle, [y[part].mean() for part in bins], color=color, linewidth=0.9, label=label)


def _changes(stage: np.ndarray) -> np.ndarray:
    return np.flatnonzero(stage[1:] != stage[:-1]) + 1


def _name_stages(ax: Axes, time: np.ndarray, stage: np.ndarray) -> None:
    """Write the names of the stages above their spans if they fit."""
    bounds = [0, *_changes(stage).tolist(), len(time) - 1]
    for a, b in zip(bounds[:-1], bounds[1:], strict=True):
        width = (time[b] - time[a]) / max(time[-1] - time[0], 1e-300)
        if width > 0.02 * len(stage[a]):
            ax.text(0.5 * (time[a] + time[b]), 0.97, plain(stage[a]), transform=ax.get_xaxis_transform(),
                    ha="center", va="top", fontsize=7.5, color=SOFT)  # fmt: skip


def draw_extrapolation(time: ArrayLike, ratios: ArrayLike) -> Figure | None:
    """Draw over time how far a run is outside: ``ratios`` to the limit, logarithmic; None for fewer than two times."""
    x, y = np.asarray(time, dtype=float), np.asarray(ratios, dtype=float)
    shown = np.isfinite(y) & (y > 0)
    if shown.sum() < 2:
        return None
    figure = new_figure(2.5)
    ax = figure.subplots()
    _draw_line(ax, x[shown], y[shown], MAIN, "uncertainty", dashed=False)
    ax.axhline(1.0, color=SOFT, linewidth=1.0, linestyle="--", label="limit (1 % of frames like the training data)")
    dress(ax, "time (ps)", "uncertainty / limit")
    set_log(ax.yaxis)
    ax.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    return figure


def stage_table(stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the table of stages, each a mapping with the fields of `Stage`."""
    headings = [("stage", ""), ("ensemble", ""), ("temperature", "K"), ("pressure", "GPa"), ("time", "ps"),
                ("time step", "fs")]  # fmt: skip
    rows = []
    for index, stage in enumerate(stages):
        timed = stage.get("time_ps") is not None
        times = [f"{stage['time_ps']:g}", f"{stage['timestep_fs']:g}"] if timed else ["–", "–"]
        ramps = [_ramp(stage.get("temperature_K")), _ramp(stage.get("pressure_GPa"))]
        rows.append([str(stage.get("name") or index), str(stage["ensemble"]), *ramps, *times])
    return {"headings": headings, "rows": rows, "style": "plain"}


def _ramp(ends: Sequence[float] | None) -> str:
    if ends is None:
        return "–"
    start, end = ends
    return f"{start:g}" if start == end else f"{start:g} → {end:g}"
