"""Hyperparameters of graph networks and their training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from forcewright.models.family import FittedHyperparameters
from forcewright.models.graph.architecture import ARCHITECTURE, Architecture, Precision, require_packages
from forcewright.structure import Dataset

if TYPE_CHECKING:
    from forcewright.models.graph.potential import GraphPotential
    from forcewright.models.graph.training import Epoch

_CITATIONS = {
    "schnet": "K. T. Schütt, H. E. Sauceda, P.-J. Kindermans, A. Tkatchenko and K.-R. Müller, SchNet - A deep learning "
    "architecture for molecules and materials, J. Chem. Phys. 148, 241722 (2018).",
    "painn": "K. Schütt, O. Unke and M. Gastegger, Equivariant message passing for the prediction of tensorial "
    "properties and molecular spectra, ICML 2021: PaiNN.",
    "tensornet": "G. Simeon and G. De Fabritiis, TensorNet: Cartesian tensor representations for efficient learning of "
    "molecular potentials, Advances in Neural Information Processing Systems 36 (2023).",
    "nequip": "S. Batzner et al., E(3)-equivariant graph neural networks for data-efficient and accurate interatomic "
    "potentials, Nat. Commun. 13, 2453 (2022).",
    "mace": "I. Batatia, D. P. Kovács, G. N. C. Simm, C. Ortner and G. Csányi, MACE: Higher order equivariant message "
    "passing neural networks for fast and accurate force fields, "
    "Advances in Neural Information Processing Systems 35 (2022).",
    "graph-pes": "J. L. A. Gardner, graph-pes: train and use graph-based potential energy surfaces (software): the "
    "networks and their training.",
}


class GraphModel(Architecture, FittedHyperparameters):
    """Hyperparameters of a graph network and its training, as they stand in the config."""

    kind: Literal["graph"] = "graph"
    """The family: graph networks."""
    start_from: Path | None = None
    """Folder of a saved graph network to go on from (fine-tuning); its architecture may not be changed."""
    energy_offsets: Literal["fitted", "isolated"] = "fitted"
    """Energy of each species outside the network: a fit to the composition, or that of isolated atoms in the data."""
    energy_weight: float = Field(default=1.0, ge=0)
    """Weight of the squared error of the energy per √N, in units of the root mean square force."""
    forces_weight: float = Field(default=1.0, ge=0)
    """Weight of the squared error of a force component."""
    stress_weight: float = Field(default=0.0, ge=0)
    """Weight of the squared error of a component of the virial per √N."""
    epochs: int = Field(default=200, ge=1)
    """How often training goes through the data at most."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Limit of the training time; with it, results depend on the speed of the machine."""
    batch_size: int = Field(default=4, ge=1)
    """Structures per step."""
    learning_rate: float = Field(default=3e-3, gt=0, lt=1)
    """Largest learning rate, after a short warm-up; it then falls along a cosine."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decay of the weights (AdamW)."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Memory of the moving average of the weights that is kept in the end; 0 keeps the last weights."""
    gradient_clip: float = Field(default=10.0, gt=0)
    """Longest gradient a step follows."""
    validation_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training set, in whole blocks of trajectories, that only tells when to stop; 0 stops never."""
    patience: int = Field(default=50, ge=1)
    """Epochs without a better validation loss after which training ends."""
    precision: Precision = "float32"
    """Precision of training and prediction."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where there is one. On a GPU, sums are not repeatable to the last digit."""

    @classmethod
    def fitted_labels(cls, content: Mapping[str, object]) -> tuple[str, ...]:
        """Return the labels whose weight is not zero."""
        weights = {"energy": "energy_weight", "forces": "forces_weight", "stress": "stress_weight"}
        return tuple(label for label, name in weights.items() if content.get(name, cls.model_fields[name].default) != 0)

    def citations(self, *, graded: bool = False) -> dict[str, str]:
        """Return what to cite: the architecture and the package."""
        del graded
        return {key: _CITATIONS[key] for key in (self.architecture, "graph-pes")}

    def fit(
        self, train: Dataset, *, rng: np.random.Generator, progress: Callable[[Epoch], None] | None = None
    ) -> GraphPotential:
        """Train on energies and forces, and on stresses where they have a weight.

        Parameters
        ----------
        train
            Frames with energies, forces or both; a share of them is held back to tell when to stop.
        rng
            Decides the first weights, what is held back, and the order of the frames.
        progress
            Called after each epoch.

        Raises
        ------
        MissingExtraError
            If graph-pes or torch is not installed.
        InputError
            If there is nothing to train on, isolated atoms are wanted and missing, there is no GPU where one is asked
            for, or ``start_from`` is another network, or training diverges.
        """
        require_packages()
        from forcewright.models.graph.fitting import fit

        return fit(self, train, rng=rng, progress=progress)

    def settings(self) -> dict[str, Any]:
        """Return the fields that say what the network is."""
        return self.model_dump(include=set(ARCHITECTURE))
