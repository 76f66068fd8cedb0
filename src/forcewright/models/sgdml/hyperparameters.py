"""Hyperparameters of sGDML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from forcewright.models.family import FittedHyperparameters
from forcewright.structure import Dataset

if TYPE_CHECKING:
    from forcewright.models.sgdml.potential import SgdmlPotential

_CITATIONS = {
    "sgdml": "S. Chmiela, H. E. Sauceda, K.-R. Müller and A. Tkatchenko, Towards exact molecular dynamics simulations "
    "with machine-learned force fields, Nat. Commun. 9, 3887 (2018): symmetric gradient domain machine learning.",
    "sgdml package": "S. Chmiela, H. E. Sauceda, I. Poltavsky, K.-R. Müller and A. Tkatchenko, sGDML: Constructing "
    "accurate and data efficient molecular force fields using machine learning, "
    "Comput. Phys. Commun. 240, 38 (2019).",
}


class SgdmlModel(FittedHyperparameters):
    """Hyperparameters of sGDML, as they stand in the config."""

    kind: Literal["sgdml"] = "sgdml"
    """The family: sGDML."""
    n_train: int | None = Field(default=None, ge=2)
    """Structures in the kernel of each cell, drawn at random; all where not given. Memory grows with the square, time
    with the cube."""
    sigmas: tuple[float, ...] = Field(default=(3.0, 10.0, 30.0, 100.0), min_length=1)
    """Lengths of the kernel to choose from, by the force error on frames held back from the training set."""
    regularization: float = Field(default=1e-10, gt=0)
    """What is added to the diagonal of the kernel."""
    symmetries: bool = False
    """Find permutations of equal atoms between the frames and build them into the kernel (the s of sGDML)."""
    energy_constraints: bool = True
    """Fit energies too, not only forces; needed where the lattice varies, since forces say nothing of strain."""
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training set that tells which sigma is best; the last fit uses it too."""
    max_memory_GB: float | None = Field(default=None, gt=0)
    """Memory the fit may take; what is free where not given."""

    @classmethod
    def fitted_labels(cls, content: Mapping[str, object]) -> tuple[str, ...]:
        """Return energies and forces: without constraints, energies still settle the constant of integration."""
        del content
        return ("energy", "forces")

    def citations(self, *, graded: bool = False) -> dict[str, str]:
        """Return what to cite: the method and the package."""
        del graded
        return dict(_CITATIONS)

    def fit(self, train: Dataset, *, rng: np.random.Generator) -> SgdmlPotential:
        """Fit to energies and forces.

        Parameters
        ----------
        train
            Frames of one cell or several, at least 2 of each and all with energies and forces. Frames of one cell
            have the same atoms in the same order; lattices may differ.
        rng
            Decides which structures are drawn, and which are held back.

        Raises
        ------
        MissingExtraError
            If sgdml is not installed.
        InputError
            If frames lack labels, a cell comes with its atoms in two orders, or a kernel does not fit into memory; then
            it says how many structures would.
        """
        from forcewright.models.sgdml.fitting import fit

        return fit(self, train, rng=rng)
