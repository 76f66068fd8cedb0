"""The validation loss of predictions against labels (du Toit 2025, equation 3.4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forcewright import metrics
from forcewright.fitting.linear_fit import LossWeights
from forcewright.fitting.normal_equations import LABEL_OF
from forcewright.fitting.settings import ALPHA, FitSettings, TargetAccuracy
from forcewright.potential import Prediction
from forcewright.structure import Dataset, FloatArray, to_voigt


@dataclass(frozen=True)
class Loss:
    """How far predictions lie from labels.

    Attributes
    ----------
    weights
        Coefficient of each property.
    metric
        rmse, mae or huber.
    huber_delta
        Error at which Huber's loss turns from squared to absolute.
    properties
        Properties it counts, where some frame is labelled with them.
    """

    weights: LossWeights
    metric: str
    huber_delta: float
    properties: tuple[str, ...]

    def labelled(self, dataset: Dataset) -> tuple[str, ...]:
        """Return the properties that some frame is labelled with."""
        counts = dataset.count_labels()
        return tuple(name for name in self.properties if counts[LABEL_OF[name]])

    def parts(self, dataset: Dataset, predictions: Sequence[Prediction]) -> tuple[FloatArray, FloatArray]:
        """Return, per frame and labelled property, the summed errors and their number, both (frames, properties).

        Errors are: energy per √N, force vector of an atom, virial component per √N; squared for ``rmse``, absolute
        for ``mae``, Huber's for ``huber``.
        """
        names = self.labelled(dataset)
        sums = np.zeros((len(dataset), len(names)))
        counts = np.zeros_like(sums)
        for index, ((structure, labels, _), prediction) in enumerate(zip(dataset, predictions, strict=True)):
            root = np.sqrt(len(structure))
            errors: dict[str, FloatArray] = {}
            if labels.energy is not None:
                errors["energy"] = np.array([prediction.energy - labels.energy]) / root
            if labels.forces is not None and prediction.forces is not None:
                errors["force"] = np.linalg.norm(prediction.forces - labels.forces, axis=1)
            if "stress" in names and labels.stress is not None and prediction.stress is not None:
                errors["stress"] = to_voigt(prediction.stress - labels.stress) * structure.volume / root
            for column, name in enumerate(names):
                if name in errors:
                    sums[index, column] = self._summed(errors[name])
                    counts[index, column] = len(errors[name])
        return sums, counts

    def _summed(self, errors: FloatArray) -> float:
        zeros = np.zeros_like(errors)
        if self.metric == "huber":
            return len(errors) * metrics.huber(zeros, errors, delta=self.huber_delta)
        return float(np.sum(np.abs(errors))) if self.metric == "mae" else float(errors @ errors)

    def pooled(self, dataset: Dataset, predictions: Sequence[Prediction]) -> FloatArray:
        """Return the mean errors the loss is made of, one per labelled property."""
        means = metrics.pool(*self.parts(dataset, predictions))
        return np.sqrt(means) if self.metric == "rmse" else means

    def of(self, dataset: Dataset, predictions: Sequence[Prediction]) -> float:
        """Return the loss of predictions."""
        return float(self._coefficients(dataset) @ self.pooled(dataset, predictions))

    def of_parts(self, dataset: Dataset, sums: FloatArray, counts: FloatArray) -> float:
        """Return the loss from its parts (see `parts`)."""
        means = metrics.pool(sums, counts)
        return float(self._coefficients(dataset) @ (np.sqrt(means) if self.metric == "rmse" else means))

    def standard_error(self, dataset: Dataset, predictions: Sequence[Prediction], rng: np.random.Generator) -> float:
        """Return the bootstrap standard error of the loss over the frames."""
        means = metrics.resample(*self.parts(dataset, predictions), rng=rng)
        losses = (np.sqrt(means) if self.metric == "rmse" else means) @ self._coefficients(dataset)
        return float(np.nanstd(losses, ddof=1))

    def _coefficients(self, dataset: Dataset) -> FloatArray:
        return np.array([self.weights.of(name) for name in self.labelled(dataset)])


def properties_of(settings: FitSettings) -> tuple[str, ...]:
    """Return the properties that are fitted or measured; what was left to the data is settled."""
    stress = (settings.family.is_linear and settings.weights.fits_stress) or bool(settings.loss.stress)
    return ("energy", "force", "stress") if stress else ("energy", "force")


def alpha_of(settings: FitSettings, validation: Dataset) -> float:
    """Return the share α of the energy: 1 without forces; at target accuracies energy and force then count alike.

    What is not fitted has no share.
    """
    alpha = settings.loss.alpha
    if not validation.count_labels()["forces"] or "forces" in settings.left_out:
        return 1.0
    if "energy" in settings.left_out:
        return 0.0
    if not isinstance(alpha, TargetAccuracy):
        return alpha
    if alpha.energy_meV_per_atom is None or alpha.force_eV_per_A is None:
        return ALPHA
    sizes = [len(structure) for structure in validation.structures]
    energy = 1e-3 * alpha.energy_meV_per_atom * math.sqrt(float(np.mean(sizes)))
    force = math.sqrt(3.0) * alpha.force_eV_per_A
    return force / (energy + force)


def loss_of(settings: FitSettings, validation: Dataset) -> Loss:
    """Return the loss on a validation set; what was left to the data is settled."""
    loss, alpha = settings.loss, alpha_of(settings, validation)
    assert loss.stress != "auto"
    left_out = settings.left_out
    weights = LossWeights(
        0.0 if "energy" in left_out else alpha, 0.0 if "forces" in left_out else 1.0 - alpha, loss.stress or 0.0
    )
    return Loss(weights, loss.metric, loss.huber_delta, properties_of(settings))
