"""The look of figures: colors, axes, and their conversion to inline SVG.

Figures are made with ``matplotlib.figure.Figure`` alone, without pyplot and its global state.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from forcewright.accuracy.parity import ParitySeries

#: P. Tol, Colour schemes, SRON/EPS/TN/09-002 (2021), "muted", and a gray: apart in all common kinds of color vision.
PALETTE = ("#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677", "#44AA99", "#AA4499", "#999933", "#882255", "#8a9099")
MARKERS = ("o", "s", "^", "D")
INK, SOFT, RULE = "#1d232b", "#6b7480", "#d5d9de"
MAIN, SECOND, ALARM, BEST = "#1f4e79", "#9db8d1", "#b3261e", "#d9822b"
SECOND_RUN = "#c2571a"  # beside MAIN, for the second of two sets that are equals
COLOR_MAP = "viridis"
WIDTH = 9.6  # inches, drawn as wide as the page


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure, sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.04, hspace=0.06)  # type: ignore[union-attr, call-arg]
    return figure


def dress(ax: Axes, x: str, y: str, title: str = "") -> None:
    """Set labels and the common look of axes."""
    ax.set_xlabel(x, fontsize=9, color=INK)
    ax.set_ylabel(y, fontsize=9, color=INK)
    if title:
        ax.set_title(title, fontsize=9.5, color=INK, loc="left", fontweight="bold")
    ax.tick_params(labelsize=8, color=RULE, labelcolor=SOFT, which="both")
    ax.grid(color=RULE, linewidth=0.5, alpha=0.6)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_color(RULE)
        spine.set_visible(side in ("left", "bottom"))


def set_log(axis: Axis) -> None:
    """Make an axis logarithmic with plain numbers at its ticks."""
    axis._set_axes_scale("log")  # type: ignore[attr-defined]
    low, high = sorted(axis.get_view_interval())
    decades = np.log10(high / low) if low > 0 else 9.0
    subs = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.7 else tuple(np.arange(1.0, 10.0))
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def spans_decades(values: Sequence[float] | np.ndarray, ratio: float = 20.0) -> bool:
    """Whether positive values span a ratio that needs a logarithmic axis."""
    array = np.asarray(values, dtype=float)
    return bool(array.size and array.min() > 0 and array.max() / array.min() > ratio)


def color_of(index: int) -> str:
    """Return the color of the group number ``index``."""
    return PALETTE[index % len(PALETTE)]


def marker_of(index: int) -> str:
    """Return the marker of the group number ``index``: it changes when colors repeat."""
    return MARKERS[index // len(PALETTE) % len(MARKERS)]


def plain(text: object, longest: int = 30) -> str:
    """Return text that matplotlib shows literally: no mathematics, no control characters, shortened."""
    clean = "".join(c if c.isprintable() else " " for c in str(text))
    clean = clean if len(clean) <= longest else clean[: longest - 1] + "…"
    return clean.replace("$", r"\$")


def dress_parity(ax: Axes, series: ParitySeries, unit: str, title: str = "") -> None:
    """Set labels and equal limits of axes with predictions against references, and draw the diagonal."""
    low = min(series.reference.min(), series.predicted.min())
    high = max(series.reference.max(), series.predicted.max())
    margin = 0.05 * (high - low) or 1.0
    ax.axline((low, low), slope=1, color=SOFT, linewidth=0.8, zorder=1)
    dress(ax, f"reference ({unit})", f"predicted ({unit})", title)
    ax.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), box_aspect=1)
    ax.locator_params(nbins=5)
    ax.ticklabel_format(useOffset=False)


def to_svg(figure: Figure) -> str:
    """Return a figure as an inline ``<svg>`` element whose text stays text and that refers to nothing external."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "forcewright"}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a glyph the layout font lacks is still shown by the browser
        figure.savefig(buffer, format="svg", dpi=170, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return re.sub(r"<svg[^>]*>", lambda tag: re.sub(r' (?:width|height)="[^"]*"', "", tag.group()), svg, count=1)


def to_data_uri(png: bytes) -> str:
    """Return the bytes of a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
