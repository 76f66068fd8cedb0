"""SNAP and quadratic SNAP, computed by LAMMPS."""

from forcewright.models.family import Family
from forcewright.models.snap.files import read_snap_files
from forcewright.models.snap.hyperparameters import SnapModel, ZblSettings
from forcewright.models.snap.potential import SnapPotential

FAMILY = Family(kind="snap", hyperparameters=SnapModel, load=SnapPotential.load, shrink="twojmax", reach="rcut")

__all__ = ["FAMILY", "SnapModel", "SnapPotential", "ZblSettings", "read_snap_files"]
