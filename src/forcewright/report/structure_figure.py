"""Pictures of structures: atoms as circles in perspective of none, the cell, and rings around those that matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import ArrayLike

from forcewright.report.drawing import ALARM, INK, SOFT, new_figure, plain

_SHRINK = 0.55  # of the covalent radius
_MOST_ATOMS = 400  # that are drawn; of more only those around the marked ones
_EDGES = [(i, j) for i in range(8) for j in range(i) if bin(i ^ j).count("1") == 1]


def draw_structure(
    structure: Mapping[str, Any], marked: Sequence[int] = (), title: str = "", *, size: float = 3.1
) -> Figure:
    """Draw atoms, seen a little from the side, with their cell.

    Parameters
    ----------
    structure
        ``numbers`` (N,), ``positions`` (N, 3) and ``cell`` (3, 3) in Å.
    marked
        Atoms in a ring.
    size
        Of the picture, in inches.
    """
    numbers, positions = np.asarray(structure["numbers"], dtype=int), np.asarray(structure["positions"], dtype=float)
    cell = np.asarray(structure.get("cell", np.zeros((3, 3))), dtype=float)
    positions = _inside(positions, cell, np.asarray(structure.get("pbc", np.zeros(3)), dtype=bool))
    shown = _shown(positions, list(marked))
    turned, corners = positions @ _turn(), _corners(cell) @ _turn()
    figure = new_figure(size, size)
    ax = figure.subplots()
    if cell.any():
        lines = [(corners[i, :2], corners[j, :2]) for i, j in _EDGES]
        ax.add_collection(LineCollection(lines, colors=SOFT, linewidths=0.7, zorder=0))
    order = shown[np.argsort(turned[shown, 2], kind="stable")]
    circles = [Circle(turned[k, :2].tolist(), _SHRINK * float(covalent_radii[numbers[k]])) for k in order]
    colors = jmol_colors[numbers[order]]
    ax.add_collection(PatchCollection(circles, facecolors=colors, edgecolors=INK, linewidths=0.4, zorder=1))
    for k in marked:
        radius = 1.6 * _SHRINK * float(covalent_radii[numbers[k]])
        ax.add_patch(Circle(turned[k, :2].tolist(), radius, fill=False, edgecolor=ALARM, linewidth=1.8, zorder=3))
    drawn = np.concatenate(
        [turned[shown, :2], *([corners[:, :2]] if cell.any() and len(shown) == len(numbers) else [])]
    )
    low, high = drawn.min(axis=0) - 1.2, drawn.max(axis=0) + 1.2
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.axis("off")
    if title:
        ax.set_title(plain(title, 60), fontsize=8.5, color=INK)
    kinds = list(dict.fromkeys(numbers[shown].tolist()))
    for row, z in enumerate(sorted(kinds)):
        ax.text(0.0, 0.0 - 0.055 * row, f"● {chemical_symbols[z]}", color=0.8 * jmol_colors[z], fontsize=8,
                transform=ax.transAxes, va="bottom")  # fmt: skip
    return figure


def _inside(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Return positions (N, 3) moved into the cell along its periodic vectors."""
    if not pbc.any() or abs(np.linalg.det(cell)) < 1e-9:
        return positions
    fractions = positions @ np.linalg.inv(cell)
    return np.asarray(positions - (np.floor(fractions + 1e-6) * pbc) @ cell)


def _shown(positions: np.ndarray, marked: list[int]) -> np.ndarray:
    """Return the atoms to draw: all, or of very many those nearest to a marked one."""
    if len(positions) <= _MOST_ATOMS:
        return np.arange(len(positions))
    center = positions[marked[0]] if marked else positions.mean(axis=0)
    return np.sort(np.argsort(np.linalg.norm(positions - center, axis=1))[:_MOST_ATOMS])


def _turn() -> np.ndarray:
    """Return the rotation (3, 3) to the view, for rows of positions: x to the right, z up, from the front side."""
    a, b = np.radians([-72.0, 12.0])
    about_z = np.array([[np.cos(b), np.sin(b), 0], [-np.sin(b), np.cos(b), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    return np.asarray(about_z @ about_x)


def _corners(cell: ArrayLike) -> np.ndarray:
    bits = np.array([[k & 1, k >> 1 & 1, k >> 2 & 1] for k in range(8)], dtype=float)
    return np.asarray(bits @ np.asarray(cell))
