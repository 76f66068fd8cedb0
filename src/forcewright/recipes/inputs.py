"""What a study works on: the data, read and checked, and the problem its workers solve."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
from ase.data import chemical_symbols

from forcewright.data import holdout, isolated_or_fitted_energies, kfold, read_with_summary, require_sound
from forcewright.data.reference_energies import ReferenceEnergies
from forcewright.errors import InputError
from forcewright.models import model_class
from forcewright.models.linear import LossWeights
from forcewright.recipes.config import TargetAccuracy, TuneConfig
from forcewright.recipes.setting import Problem
from forcewright.structure import Dataset, atomic_number

log = logging.getLogger("forcewright.data")  # the command line shows this part of the log


@dataclass(frozen=True, eq=False)
class Inputs:
    """The data of a study, read and checked.

    ``isolated`` are the isolated atoms of the training data where these settle the reference energies; linear fits
    leave them out, and ``train`` is without them.
    """

    train: Dataset
    test: Dataset | None
    external: Dataset | None
    energies: ReferenceEnergies
    constant: bool
    isolated: Dataset


def read_inputs(settings: TuneConfig) -> Inputs:
    """Read and check all data a config names."""

    def load(paths: Sequence[Path], name: str) -> Dataset:
        dataset, summary = read_with_summary(list(paths), labels=settings.data.labels)
        require_sound(dataset)
        log.info("%s: %s\n%s", name, dataset, summary)
        return dataset

    train = load(settings.data.train, "train")
    test = load(settings.data.test, "test") if settings.data.test else None
    external = None
    if settings.protocol == "xpot":
        external = test
    elif settings.validation.external:
        external = load(settings.validation.external, "validation")
    for name, other in (("test", test), ("validation", external)):
        if other is not None and (unknown := set(other.species) - set(train.species)):
            symbols = ", ".join(chemical_symbols[z] for z in sorted(unknown))
            raise InputError(f"the {name} set holds {symbols}, which the training data do not", field=f"data.{name}")
    energies, constant, left_out = _reference_energies(settings, train)
    log.info("reference energies: %s", energies)
    kept = [i for i in range(len(train)) if i not in set(left_out)]
    return Inputs(train[kept], test, external, energies, constant, train[list(left_out)])


def _reference_energies(settings: TuneConfig, train: Dataset) -> tuple[ReferenceEnergies, bool, Sequence[int]]:
    """Return the energies, whether constants are fitted on top, and the isolated atoms a fit leaves out."""
    asked = settings.reference_energies
    found = isolated_or_fitted_energies(train)
    if asked == "isolated" and found.source != "isolated atoms":
        raise InputError("not every element has an isolated atom in the data", field="reference_energies")
    if asked in ("auto", "isolated") and found.source == "isolated atoms":
        return found, False, found.isolated
    if asked == "zero" or isinstance(asked, Mapping):
        given = (
            {} if asked == "zero" else {atomic_number(s, "reference_energies"): energy for s, energy in asked.items()}
        )
        if asked != "zero" and (missing := set(train.species) - set(given)):
            symbols = ", ".join(chemical_symbols[z] for z in sorted(missing))
            raise InputError(f"has no energy for {symbols}", field="reference_energies")
        per_species = {z: float(given.get(z, 0.0)) for z in train.species}
        return replace(found, per_species=per_species, source="given", rank_deficient=False), False, found.isolated
    fitted = isolated_or_fitted_energies(_without(train, found.isolated)) if found.isolated else found
    return fitted, True, ()


def _without(dataset: Dataset, indices: Sequence[int]) -> Dataset:
    return dataset[[i for i in range(len(dataset)) if i not in set(indices)]]


def make_problem(settings: TuneConfig, inputs: Inputs) -> Problem:
    """Return what the workers need: data, splits and the settings of the inner search."""
    rng = np.random.default_rng([settings.study.seed, 0])
    train, external = inputs.train, inputs.external
    splits = np.zeros(len(train), dtype=np.int64)
    if external is None and settings.validation.holdout:
        kept, held = holdout(train, settings.validation.holdout, rng=rng)
        train, external = inputs.train[kept], inputs.train[held]
        splits = np.zeros(len(train), dtype=np.int64)
    elif external is None:
        splits = kfold(train, settings.validation.folds or 5, rng=rng)
    judged = train if external is None else external
    loss = _loss_weights(settings, judged)
    weights = settings.weights
    if unknown := set(weights.groups) - set(train.groups):
        known = ", ".join(train.group_sizes)
        raise InputError(f"names {', '.join(sorted(unknown))}; the groups are {known}", field="weights.groups")
    family = model_class(str(settings.model["kind"]))
    model = family.with_data(settings.model, inputs.train) if hasattr(family, "with_data") else dict(settings.model)
    return Problem(
        train=train, splits=splits, external=external, energies=inputs.energies.per_species,
        constant=inputs.constant, model=model, weights=weights, ridge=settings.ridge,
        prior=settings.prior, loss=loss,
        metric=settings.loss.metric, huber_delta=settings.loss.huber_delta, search=settings.search,
        seed=settings.study.seed, nested=settings.validation.nested and external is None,
        cache=settings.output / "cache", cache_bytes=int(settings.cache_GB * 1e9),
        workers=settings.workers or psutil.cpu_count() or 1,
    )  # fmt: skip


def _loss_weights(settings: TuneConfig, judged: Dataset) -> LossWeights:
    """Return the loss's coefficients; target accuracies become the α at which both parts are equal there."""
    counts = judged.count_labels()
    alpha = settings.loss.alpha
    if isinstance(alpha, TargetAccuracy):
        sizes = [len(structure) for structure in judged.structures]
        energy = 1e-3 * alpha.energy_meV_per_atom * math.sqrt(float(np.mean(sizes)))
        force = math.sqrt(3.0) * alpha.force_eV_per_A
        alpha = force / (energy + force)
    if not counts["forces"]:
        return LossWeights(1.0, 0.0, settings.loss.stress)
    return LossWeights(alpha, 1.0 - alpha, settings.loss.stress)
