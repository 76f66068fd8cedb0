"""Molecular dynamics with any potential: stages, engines, monitors, exact restart."""

from __future__ import annotations
