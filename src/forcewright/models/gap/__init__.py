"""Gaussian approximation potentials, fitted by gap_fit and evaluated by QUIP (extra ``gap``)."""

from forcewright.models.family import Family
from forcewright.models.gap.hyperparameters import GapModel
from forcewright.models.gap.potential import GapPotential

FAMILY = Family(
    kind="gap", hyperparameters=GapModel, load=GapPotential.load, shrink="soap.n_sparse", extra="gap",
    packages=(("quippy", "quippy-ase"),),
)  # fmt: skip

__all__ = ["FAMILY", "GapModel", "GapPotential"]
