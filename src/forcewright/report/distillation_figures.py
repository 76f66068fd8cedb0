"""Figures of a distillation: errors against the number of labelled structures, and errors to labels against teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forcewright.report.drawing import ALARM, INK, MAIN, SECOND, SOFT, dress, new_figure, set_log


def draw_distillation(students: Sequence[Mapping[str, Any]], direct: Mapping[str, Any] | None) -> list[Figure]:
    """Draw the learning curve of students, and their errors to labels (y) against those to the teacher (x) with λ.

    Parameters
    ----------
    students
        A row for each: frames, to_teacher, to_labels, teacher_to_labels; None where nothing judged them.
    direct
        The fit to the labels alone; None where there is none.
    """
    known = [row for row in students if row["to_labels"] is not None]
    if not known:
        return []
    lam = float(known[0]["teacher_to_labels"])
    figures = [new_figure(2.9, 4.7), new_figure(2.9, 4.7)]
    ax = figures[0].subplots()
    sizes = [row["frames"] for row in known]
    ax.plot(sizes, [row["to_labels"] for row in known], "o-", color=MAIN, markersize=4, label="student to labels")
    ax.plot(sizes, [row["to_teacher"] for row in known], "s-", color=SECOND, markersize=4, label="student to teacher")
    ax.axhline(lam, color=SOFT, linestyle="--", linewidth=1.0, label="teacher to labels, λ")
    if direct is not None and direct["to_labels"] is not None:
        ax.plot([direct["frames"]], [direct["to_labels"]], "x", color=ALARM, label="fitted to labels alone")
    dress(ax, "labelled structures", "force MAE (eV/Å)")
    set_log(ax.xaxis)
    ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    ax = figures[1].subplots()
    x = np.linspace(0.0, 1.2 * max(row["to_teacher"] for row in known), 100)
    ax.plot(x, np.hypot(x, lam), color=SOFT, linewidth=1.0, label="√(x² + λ²)")
    ax.axhline(lam, color=SOFT, linestyle="--", linewidth=1.0, label="λ")
    ax.plot([row["to_teacher"] for row in known], [row["to_labels"] for row in known], "o", color=MAIN, markersize=4)
    dress(ax, "x, to the teacher (eV/Å)", "y, to the labels (eV/Å)")
    ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    return figures
