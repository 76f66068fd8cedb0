"""ACE, the atomic cluster expansion.

The energy of an atom is a function of one or more densities, each linear in the invariant functions of its surroundings
(features/ace). With one density of exponent 1 the model is linear and is fitted like SNAP; more densities are fitted
from there (`forcewright.models.ace.densities`).
"""

from forcewright.models.ace.densities import NonlinearSettings
from forcewright.models.ace.hyperparameters import AceModel, PruneSettings, RepulsionSettings
from forcewright.models.ace.potential import AcePotential, FittedBasis
from forcewright.models.family import Family

FAMILY = Family(kind="ace", hyperparameters=AceModel, load=AcePotential.load, shrink="functions", reach="rcut")

__all__ = [
    "FAMILY", "AceModel", "AcePotential", "FittedBasis", "NonlinearSettings", "PruneSettings", "RepulsionSettings",
]  # fmt: skip
