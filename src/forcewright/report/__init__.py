"""A study, a simulation or a validation as one offline HTML page. It lays out and computes nothing.

Called, the package writes the page of a finished study anew, as `forcewright.recipes.report.report` describes.
"""

from __future__ import annotations

import sys

from forcewright.report.content import Card, PageContent, ReportContent, Section, Svg
from forcewright.report.convergence import draw_convergence
from forcewright.report.diagnosis_figures import (
    draw_frame_errors,
    draw_histograms,
    draw_indicators,
    draw_parts,
    draw_pressures,
    draw_squeeze,
)
from forcewright.report.distillation_figures import draw_distillation
from forcewright.report.learning_figures import draw_learning
from forcewright.report.page import draw_svg, render, write_report
from forcewright.report.run_figures import draw_extrapolation, draw_run, stage_table
from forcewright.report.stability_figures import draw_stability
from forcewright.report.structure_figure import draw_structure
from forcewright.report.tables import grade_table
from forcewright.report.uncertainty_figures import draw_reliability
from forcewright.verbs import VerbPackage

__all__ = [
    "Card", "PageContent", "ReportContent", "Section", "Svg", "draw_convergence", "draw_distillation",
    "draw_extrapolation",
    "draw_frame_errors", "draw_histograms", "draw_indicators", "draw_learning", "draw_parts", "draw_pressures",
    "draw_reliability", "draw_run", "draw_squeeze", "draw_stability", "draw_structure", "draw_svg", "grade_table",
    "render", "stage_table", "write_report",
]  # fmt: skip

sys.modules[__name__].__class__ = VerbPackage
