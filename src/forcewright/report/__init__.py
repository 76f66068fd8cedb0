"""A study as one offline HTML page, and its trials as CSV. Lays out; computes nothing."""

from __future__ import annotations

from forcewright.report.content import ReportContent, Section
from forcewright.report.page import render, write_report
from forcewright.report.tables import write_trials_csv

__all__ = ["ReportContent", "Section", "render", "write_report", "write_trials_csv"]
