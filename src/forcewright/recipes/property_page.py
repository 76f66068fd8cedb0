"""The page of a study of a property beside the energy, and its figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forcewright.data.properties import Target
from forcewright.features.equivariant.spherical import Irrep, cartesian_basis
from forcewright.properties.tensor_model import TensorFit, rank_of
from forcewright.recipes import provenance
from forcewright.report import Card, PageContent, Section
from forcewright.report.drawing import MAIN, SOFT, dress, new_figure
from forcewright.report.numbers import significant
from forcewright.structure import FloatArray

_MOST_POINTS = 5000  # of a parity plot


def draw_parity(target: Target, labels: FloatArray, predicted: FloatArray) -> Figure:
    """Return predictions against labels (n, components), a panel for each irrep in orthonormal components."""
    rank = rank_of(target)
    figure = new_figure(3.4)
    panels = figure.subplots(1, max(len(target.orders), 2), squeeze=False)[0]
    for ax in panels[len(target.orders) :]:
        ax.set_axis_off()
    unit = f" ({target.unit})" if target.unit else ""
    for ax, order in zip(panels, target.orders, strict=False):
        back = cartesian_basis(rank, Irrep(order, -1 if rank == 1 else 1)).T
        if rank == 2 and order == 0:
            back = back / np.sqrt(3)  # the isotropic value
        x, y = (labels @ back).ravel(), (predicted @ back).ravel()
        chosen = np.random.default_rng(0).permutation(len(x))[:_MOST_POINTS]
        ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
        ax.plot(ends, ends, color=SOFT, linewidth=0.8)
        ax.plot(x[chosen], y[chosen], ".", color=MAIN, markersize=2, alpha=0.5)
        title = "isotropic" if rank == 2 and order == 0 else f"{order}{target.parity}"
        dress(ax, f"label{unit}", f"predicted{unit}", title)
    return figure


def page_of(name: str, fit: TensorFit, summary: Mapping[str, Any], figure: Figure, text: str) -> PageContent:
    """Return the page of a study.

    Parameters
    ----------
    name
        Its title.
    summary
        The content of result.json.
    figure
        What `draw_parity` drew.
    text
        The config as YAML.
    """
    target = fit.data.target
    unit = target.unit or ""
    headings = [("set", ""), ("part", ""), ("MAE", unit), ("RMSE", unit), ("RMSE", "% of the spread"), ("values", "")]
    cells = [
        [of, row["part"], significant(row["mae"]), significant(row["rmse"]),
         "" if row["percent"] is None else significant(row["percent"]), str(row["values"])]
        for of, rows in summary["errors"].items() for row in rows
    ]  # fmt: skip
    chosen = [
        [part, str(number) if number < len(of) - 1 else "final model", f"{ridge:.0e}", str(candidate)]
        for part, of in summary["choices"].items() for number, (ridge, candidate) in enumerate(of)
    ]  # fmt: skip
    whole = summary["errors"]["held back"][0]
    return PageContent(
        title=name, kicker="Forcewright property", warnings=list(summary["warnings"]),
        summary=f"{target.name} ({target.irreps}, per {target.per}) of {summary['frames']} frames.",
        cards=[Card("held-back MAE", significant(whole["mae"]), unit, "mean over the components"),
               Card("held-back RMSE", significant(whole["rmse"]), unit,
                    "" if whole["percent"] is None else f"{significant(whole['percent'])} % of the spread")],
        facts=[("values", str(summary["values"])), ("cutoff", f"{fit.model.cutoff:g} Å")],
        sections=[
            Section("Errors", "Held-back values are those of fits without the frame's fold, whose ridge and settings "
                    "were chosen by the other folds. Errors of an irrep are those of its orthonormal components.",
                    [figure], [{"headings": headings, "rows": cells, "style": "plain"}]),
            Section("What was chosen", "For each part of the property by fold, and last of the model itself: the "
                    "ridge relative to the number of rows, and the candidate, 0 being the model of the config, or of a "
                    "search its best trial.", [],
                    [{"headings": [("part", ""), ("fold", ""), ("ridge", ""), ("candidate", "")], "rows": chosen,
                      "style": "plain"}]),
        ],
        result=dict(summary), config_text=text, citations=citations(),
    )  # fmt: skip


def citations() -> list[dict[str, str]]:
    """Return what to cite: the atomic cluster expansion of tensors, and what everything stands on."""
    covariant = "J. Nigam, S. Pozdnyakov, M. Ceriotti, J. Chem. Phys. 153, 121101 (2020)"
    adapted = "A. Grisafi, D. M. Wilkins, G. Csányi, M. Ceriotti, Phys. Rev. Lett. 120, 036002 (2018)"
    ours = [{"key": "covariant functions", "text": covariant}, {"key": "tensor regression", "text": adapted}]
    return [*ours, *provenance.cited(["forcewright", "ase"])]
