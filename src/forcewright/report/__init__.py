"""A study as one offline HTML page. Lays out; computes nothing."""

from __future__ import annotations

from forcewright.report.content import ReportContent, Section
from forcewright.report.page import render, write_report

__all__ = ["ReportContent", "Section", "render", "write_report"]
