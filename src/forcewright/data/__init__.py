"""Reading, writing, auditing and splitting labelled structures."""

from forcewright.data.checks import audit, require_forces, require_sound
from forcewright.data.findings import Audit, Finding
from forcewright.data.folds import group_folds, holdout, kfold
from forcewright.data.formats import FORMATS, Sources, dataset_of, describe, read, read_with_summary, write
from forcewright.data.labelling import LabelSummary
from forcewright.data.properties import Grid, PropertySet, Target
from forcewright.data.property_reading import read_property
from forcewright.data.reference_energies import ReferenceEnergies, isolated_or_fitted_energies

__all__ = [
    "FORMATS", "Audit", "Finding", "Grid", "LabelSummary", "PropertySet", "ReferenceEnergies", "Sources", "Target",
    "audit", "dataset_of", "describe", "group_folds", "holdout", "isolated_or_fitted_energies", "kfold", "read",
    "read_property", "read_with_summary", "require_forces", "require_sound", "write",
]  # fmt: skip
