"""sGDML: symmetric gradient-domain machine learning of molecules or whole cells (extra ``sgdml``).

A kernel is that of one cell, the same atoms in the same order: its descriptor is the list of all inverse distances, and
it has 3N rows for every structure. A training set of several cells makes a kernel of each, which knows nothing of the
others. Forces are fitted; without ``energy_constraints`` the energy follows from them by integration, up to a constant
that is the mean difference to the energies of the training set.
"""

from forcewright.models.family import Family
from forcewright.models.sgdml.hyperparameters import SgdmlModel
from forcewright.models.sgdml.potential import CellKernel, SgdmlPotential

FAMILY = Family(
    kind="sgdml", hyperparameters=SgdmlModel, load=SgdmlPotential.load, shrink="n_train", extra="sgdml",
    packages=(("sgdml", "sgdml"),), predicts_other_cells=False,
    takes_isolated_atoms=False,  # a kernel is one of distances, of which an atom has none
)  # fmt: skip

__all__ = ["FAMILY", "CellKernel", "SgdmlModel", "SgdmlPotential"]
