"""Numerical validation of potentials against labelled data."""

from __future__ import annotations

from forcewright.validate.errors import Errors, ErrorTable, check_species, compare, evaluate
from forcewright.validate.parity import Parity, ParitySeries

__all__ = ["ErrorTable", "Errors", "Parity", "ParitySeries", "check_species", "compare", "evaluate"]
