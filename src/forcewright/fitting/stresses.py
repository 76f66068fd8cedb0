"""Whether stresses are fitted and how much they count, where the config leaves it to the data."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from forcewright.fitting.loss import alpha_of, loss_of
from forcewright.fitting.settings import FitSettings, LogRange, TargetAccuracy
from forcewright.structure import Dataset, Structure
from forcewright.units import GPA

#: range of the weight of virials per atom (1/eV) that is searched where the config says auto
STRESS_WEIGHTS = LogRange(low=1, high=10_000)

# Where the config names no accuracies: at α = 0.75 and 60 atoms these count alike.
ENERGY_TARGET = 2e-3  # eV/atom
FORCE_TARGET = 0.03  # eV/Å
STRESS_TARGET = 0.1  # GPa

Settings = TypeVar("Settings", bound=FitSettings)


def settle_stress(settings: Settings, train: Dataset, validation: Dataset) -> Settings:
    """Return settings in which numbers stand where they left stresses to the data.

    Parameters
    ----------
    train
        All training frames.
    validation
        The frames the loss is measured on.
    """
    weights, loss = settings.weights, settings.loss
    family, stressed = settings.family, len(_with_stress(train)) > 0
    if weights.stress == "auto" and family.is_linear:
        weights = weights.model_copy(update={"stress": STRESS_WEIGHTS if stressed else None})
    if loss.stress is None:
        loss = loss.model_copy(update={"stress": 0.0})
    elif loss.stress == "auto":
        fitted = family.hyperparameters.fitted_labels(settings.model)
        fits_stress = weights.fits_stress and (family.is_linear or (fitted is not None and "stress" in fitted))
        coefficient = _coefficient(settings, train, validation) if stressed and fits_stress else 0.0
        loss = loss.model_copy(update={"stress": coefficient})
    if weights is settings.weights and loss is settings.loss:
        return settings
    return settings.model_copy(update={"weights": weights, "loss": loss})


def _coefficient(settings: FitSettings, train: Dataset, validation: Dataset) -> float:
    """Return the coefficient at which the stress error wanted adds as much to the loss as the force error wanted.

    A stress error of σ in every component of every frame is a virial error per √N of σ times the root mean square of
    V/√N. Where forces do not count, energies take their part. Six digits: who types the number gets the same fit.
    """
    energy, force, stress = _wanted(settings)
    alpha = alpha_of(settings, validation)
    part = (1.0 - alpha) * math.sqrt(3.0) * force
    if part == 0.0:
        part = alpha * energy * math.sqrt(float(np.mean([len(structure) for structure in validation.structures])))
    squares = [structure.volume**2 / len(structure) for structure in _with_stress(train)]
    return float(f"{part / (stress * GPA * math.sqrt(float(np.mean(squares)))):.6g}")


def _wanted(settings: FitSettings) -> tuple[float, float, float]:
    """Return the errors wanted: of energies in eV per atom, of forces in eV/Å, of stresses in GPa."""
    alpha = settings.loss.alpha
    wanted = alpha if isinstance(alpha, TargetAccuracy) else TargetAccuracy(stress_GPa=STRESS_TARGET)
    energy = ENERGY_TARGET if wanted.energy_meV_per_atom is None else 1e-3 * wanted.energy_meV_per_atom
    return energy, wanted.force_eV_per_A or FORCE_TARGET, wanted.stress_GPa or STRESS_TARGET


def _with_stress(dataset: Dataset) -> list[Structure]:
    """Return the structures that are labelled with a stress and fill a cell."""
    return [structure for structure, labels, _ in dataset if labels.stress is not None and structure.volume > 0]


def stress_text(asked: FitSettings, settled: FitSettings, train: Dataset) -> str:
    """Return in words what becomes of the stresses of the training data.

    Parameters
    ----------
    asked
        The settings before `settle_stress`.
    settled
        Those after it.
    """
    frames, coefficient, family = len(_with_stress(train)), settled.loss.stress, settled.family
    if not frames:
        return "stresses: no frame has any; neither fitted nor counted in the loss"
    fitted = f"fitted as {family.kind} does"
    if family.is_linear or not settled.weights.fits_stress:
        fitted = "fitted" if settled.weights.fits_stress else "not fitted"
    counted = f"counted in the loss with the coefficient {coefficient:g}" if coefficient else "not counted in the loss"
    if coefficient and asked.loss.stress == "auto":
        _, force, stress = _wanted(settled)
        counted += f": an error of {stress:g} GPa then weighs as much as one of {force:g} eV/Å in the forces"
    return f"stresses: {frames} of {len(train)} frames have them; {fitted}, {counted}"


def fitted_labels(settings: FitSettings) -> tuple[str, ...] | None:
    """Return which labels have a part in the fit, of settings with stresses settled; None where a program decides."""
    fitted = settings.family.hyperparameters.fitted_labels(settings.model)
    return fitted and tuple(label for label in fitted if label not in settings.left_out)


def unused_labels(settings: FitSettings, train: Dataset, validation: Dataset) -> list[str]:
    """Return in sentences which labels that are there have no part in the fit, or in the loss that chooses it.

    Parameters
    ----------
    settings
        With stresses settled (see `settle_stress`).
    """
    family, fitted = settings.family, fitted_labels(settings)
    if fitted is None:  # a program of somebody else knows
        return []
    loss = loss_of(settings, validation).weights
    shares = {"energy": loss.energy, "forces": loss.force, "stress": loss.stress}
    present = {**train.count_labels(), "stress": len(_with_stress(train))}
    judged = validation.count_labels()
    sentences = []
    for label, (words, remedy_in_loss) in _WORDS.items():
        if present[label] and label not in fitted:
            remedy = f"see the hyperparameters of {family.kind}"
            if label in settings.left_out:
                remedy = f"take weights.{label.removesuffix('s') if label == 'forces' else label}: null out to fit them"
            sentences.append(
                f"{words} are in {present[label]} of {len(train)} training frames, and the fit leaves them aside; "
                f"{remedy}."
            )
        elif present[label] and judged[label] and shares[label] == 0.0:
            sentences.append(
                f"{words} are fitted, but have no part in the loss that weights and hyperparameters are chosen by; "
                f"{remedy_in_loss}."
            )
    return sentences


_WORDS = {
    "energy": ("Energies", "raise loss.alpha above 0"),
    "forces": ("Forces", "lower loss.alpha below 1"),
    "stress": ("Stresses", "take loss.stress out to count them"),
}
