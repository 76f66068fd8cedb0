"""Numerical validation of potentials against labelled data."""

from __future__ import annotations

from forcewright.validation.errors import Errors, ErrorTable, check_species, compare, evaluate
from forcewright.validation.parity import Parity, ParitySeries

__all__ = ["ErrorTable", "Errors", "Parity", "ParitySeries", "check_species", "compare", "evaluate"]
