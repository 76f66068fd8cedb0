"""Errors of potentials on labelled data."""

from __future__ import annotations

from forcewright.accuracy.errors import Errors, ErrorTable, check_species, compare, evaluate
from forcewright.accuracy.parity import Parity, ParitySeries

__all__ = ["ErrorTable", "Errors", "Parity", "ParitySeries", "check_species", "compare", "evaluate"]
