"""What the trials of a study share: data, folds, reference energies, loss and settings.

A `Problem` is everything a worker needs and travels there once; a trial's parameters travel each time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from ase.data import atomic_numbers, chemical_symbols

from forcewright.data import group_folds, holdout, isolated_or_fitted_energies, kfold
from forcewright.data.reference_energies import ReferenceEnergies
from forcewright.errors import InputError
from forcewright.features.row_cache import KeptRows
from forcewright.fitting.frame_equations import FrameEquations
from forcewright.fitting.loss import Loss, loss_of
from forcewright.fitting.on_baseline import Baseline, BaselineRows, baseline_for
from forcewright.fitting.settings import FitSettings, ValidationSettings
from forcewright.fitting.stresses import settle_stress, stress_text
from forcewright.models import FAMILIES
from forcewright.models.family import Family
from forcewright.structure import Dataset, IntArray

log = logging.getLogger("forcewright.data")  # the command line shows this part of the log


@dataclass(frozen=True, eq=False)
class Problem:
    """Data and settings that all trials of a study share.

    Attributes
    ----------
    train
        Frames that trials fit to.
    everything
        Frames that the final fit takes: those of ``train`` and what was held back.
    isolated
        Isolated atoms of the training data where they settle the reference energies; linear fits leave them out.
    folds
        Fold of each frame of ``train`` (frames,), all zero where ``external`` validates.
    external
        Validation frames, where they are not the folds in turn.
    reference
        Energies of the isolated atoms.
    free_energies
        Whether the energy of each element's atom is fitted on top of ``reference``.
    model
        The model's config, with what the data settle in it; ranges may stand for numbers.
    settings
        Everything else, with what was left to the data settled.
    loss
        What is minimized.
    rows
        Where design rows are kept.
    scratch
        Folder for predictions of trials of families that have a fit of their own, while the study runs.
    is_single
        Whether there is one trial and nothing to choose: further densities are then fitted at the end only.
    families
        Where families are found, including those registered at run time, which a new process does not know.
    frame_equations
        Normal equations of every frame, where problems that share frames and basis share them.
    baseline
        What is fitted on top of, where the settings name it.
    choice
        What was chosen where the model left something open (`forcewright.fitting.alternatives.Choice`).
    """

    train: Dataset
    everything: Dataset
    isolated: Dataset
    folds: IntArray
    external: Dataset | None
    reference: ReferenceEnergies
    free_energies: bool
    model: Mapping[str, Any]
    settings: FitSettings
    loss: Loss
    rows: KeptRows
    scratch: Path
    is_single: bool
    families: Mapping[str, str]
    frame_equations: FrameEquations | None = None
    baseline: Baseline | None = None
    choice: Any = None

    @property
    def family(self) -> Family:
        """The family of the model."""
        return self.settings.family

    @property
    def energies(self) -> Mapping[int, float]:
        """Reference energy of each species in eV."""
        return self.reference.per_species

    @property
    def free_species(self) -> tuple[int, ...]:
        """Species whose reference energy is fitted."""
        return self.train.species if self.free_energies else ()

    def rows_in(self, kept: KeptRows) -> KeptRows:
        """Return where design rows are kept, with the part of the baseline in them."""
        return kept if self.baseline is None else BaselineRows(kept, self.baseline)

    def labels_to_fit(self, dataset: Dataset) -> Dataset:
        """Return a dataset with what is fitted as its labels: without the part of the baseline, or what is left out."""
        dataset = dataset if self.baseline is None else self.baseline.subtracted(dataset)
        return dataset.without_labels(self.settings.left_out)

    @property
    def validation(self) -> Dataset:
        """The frames the loss is measured on."""
        return self.train if self.external is None else self.external

    @property
    def fold_count(self) -> int:
        """Number of folds; 1 where an external set validates."""
        return int(self.folds.max()) + 1

    @property
    def is_nested(self) -> bool:
        """Whether the selection is done again inside each fold."""
        return self.settings.validation.nested and self.external is None

    @property
    def committee_blocks(self) -> int:
        """Blocks of frames that normal equations are kept in for what needs them after the fit; 0 for nothing."""
        if "committee" in self.settings.kinds:
            return self.settings.committee_settings.blocks
        return 1 if "standard_error" in self.settings.kinds else 0

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return self.settings.study.seed

    @property
    def workers(self) -> int:
        """Worker processes that may run at the same time."""
        return self.settings.workers or psutil.cpu_count() or 1

    def without_fold(self, fold: int) -> tuple[Problem, IntArray]:
        """Return the problem with one fold taken out entirely, and the indices of the frames in that fold."""
        kept = np.flatnonzero(self.folds != fold)
        folds = self.folds[kept]
        inner = replace(self, train=self.train[kept], folds=folds - (folds > fold))
        return inner, np.flatnonzero(self.folds == fold)

    def validated_on(self, external: Dataset, train: Dataset | None = None) -> Problem:
        """Return the problem with all training frames (or others) in the fit, and a set apart that validates."""
        train = self.train if train is None else train
        return replace(self, train=train, folds=np.zeros(len(train), dtype=np.int64), external=external)


def make_problem(
    settings: FitSettings, train: Dataset, *, test: Dataset | None = None, external: Dataset | None = None,
    rows: KeptRows, scratch: Path, is_single: bool = False,
) -> Problem:  # fmt: skip
    """Return what the trials share: data, reference energies, folds and the loss.

    Parameters
    ----------
    train
        Everything to fit to, isolated atoms included.
    test
        The test set; it validates with protocol xpot, and is looked at for its elements otherwise.
    external
        A separate validation set.

    Raises
    ------
    InputError
        If data and settings do not go together; names the field.
    """
    if settings.protocol == "xpot":
        if test is None:
            raise InputError("xpot selects on the test set; give one", field="protocol")
        external = test
    if settings.committee and settings.committee.by == "folds" and (external or settings.validation.holdout):
        raise InputError("folds need validation.kfold; take by: bootstrap", field="committee.by")
    if "committee" in settings.kinds and settings.model.get("densities", 1) != 1:
        raise InputError("takes a linear fit; with further densities fit again with other seeds", field="committee")
    if "standard_error" in settings.kinds and settings.model.get("densities", 1) != 1:
        raise InputError("a fit of several densities has no standard errors; take distance", field="uncertainty")
    for name, other in (("test", test), ("validation", external)):
        if other is not None and (unknown := set(other.species) - set(train.species)):
            symbols = ", ".join(chemical_symbols[z] for z in sorted(unknown))
            raise InputError(f"the {name} set holds {symbols}, which the training data do not", field=f"data.{name}")
    baseline = rows.baseline if isinstance(rows, BaselineRows) else baseline_for(settings.baseline, (train, external))
    if baseline is not None and not isinstance(rows, BaselineRows):
        rows = BaselineRows(rows, baseline)
    to_fit = train if baseline is None else baseline.subtracted(train)
    reference, free_energies, left_out = _reference_energies(settings, to_fit)
    log.info("reference energies: %s", reference)
    kept = [i for i in range(len(train)) if i not in set(left_out)]
    everything, isolated = train[kept], train[list(left_out)]
    if alone := set(train.species) - set(everything.species):
        symbols = ", ".join(chemical_symbols[z] for z in sorted(alone))
        raise InputError(
            f"the training data hold {symbols} only as isolated atoms; add structures, or leave these atoms out",
            field="data.train",
        )
    fitted, folds = everything, np.zeros(len(everything), dtype=np.int64)
    rng = np.random.default_rng([settings.study.seed, 0])
    if external is None and settings.validation.holdout:
        used, held = holdout(everything, settings.validation.holdout, rng=rng)
        fitted, external, folds = everything[used], everything[held], np.zeros(len(used), dtype=np.int64)
    elif external is None:
        folds = _folds(settings.validation, everything, rng)
        if settings.validation.nested:
            _require_elements_in_two_folds(everything, folds)
    if unknown_groups := set(settings.weights.groups) - set(fitted.groups):
        known = ", ".join(fitted.group_sizes)
        raise InputError(f"names {', '.join(sorted(unknown_groups))}; the groups are {known}", field="weights.groups")
    validation = fitted if external is None else external
    present = {name for name, count in fitted.count_labels().items() if count and name not in settings.left_out}
    if not present:
        raise InputError("leaves nothing to fit: the training data have no label that has a weight", field="weights")
    asked, settings = settings, settle_stress(settings, everything, validation)
    log.info("%s", stress_text(asked, settings, everything))
    model = settings.family.hyperparameters.with_data(settings.model, everything)
    if not settings.family.takes_isolated_atoms:
        isolated = isolated[:0]
    return Problem(
        fitted, everything, isolated, folds, external, reference, free_energies, model, settings,
        loss_of(settings, validation), rows, scratch, is_single, dict(FAMILIES), baseline=baseline,
    )  # fmt: skip


def _folds(validation: ValidationSettings, dataset: Dataset, rng: np.random.Generator) -> IntArray:
    """Return the fold of each frame (frames,): dealt at random, or the sets of groups that are left out."""
    count = validation.kfold or 5
    if validation.leave_out is None:
        try:
            return kfold(dataset, count, rng=rng)
        except InputError as error:
            raise InputError(error.problem, field="validation.kfold") from None
    if validation.leave_out == "groups":
        sets = {group: [group] for group in dataset.group_sizes}
    else:
        sets = validation.leave_out
    try:
        return group_folds(dataset, sets, count, rng=rng)
    except InputError as error:
        raise InputError(error.problem, field=f"validation.{error.field}") from None


def _require_elements_in_two_folds(dataset: Dataset, folds: IntArray) -> None:
    """Refuse nested validation where one fold alone holds an element: no other could say what it is like."""
    for element in dataset.species:
        frames = [i for i, structure in enumerate(dataset.structures) if element in structure.numbers]
        if len({int(folds[i]) for i in frames}) < 2:
            raise InputError(
                f"leaves no frame with {chemical_symbols[element]}, which stands in one fold only (frames "
                f"{', '.join(map(str, frames[:5]))}); add frames with it, or take validation without nested",
                field="validation.nested",
            )


def _reference_energies(settings: FitSettings, train: Dataset) -> tuple[ReferenceEnergies, bool, Sequence[int]]:
    """Return the energies, whether they are fitted on top, and the isolated atoms a linear fit leaves out."""
    choice = settings.reference_energies
    if choice != "isolated" and not train.count_labels()["energy"]:
        stated = (
            {_number_of(symbol): energy for symbol, energy in choice.items()} if isinstance(choice, Mapping) else {}
        )
        energies = {z: float(stated.get(z, 0.0)) for z in train.species}
        return ReferenceEnergies(energies, "given" if stated else "no energies"), False, ()
    from_data = isolated_or_fitted_energies(train)
    if choice == "isolated" and from_data.source != "isolated atoms":
        raise InputError("not every element has an isolated atom in the data", field="reference_energies")
    if choice in ("auto", "isolated") and from_data.source == "isolated atoms":
        return from_data, False, from_data.isolated
    if choice == "zero" or isinstance(choice, Mapping):
        stated = {} if choice == "zero" else {_number_of(symbol): energy for symbol, energy in choice.items()}
        if choice != "zero" and (missing := set(train.species) - set(stated)):
            symbols = ", ".join(chemical_symbols[z] for z in sorted(missing))
            raise InputError(f"has no energy for {symbols}", field="reference_energies")
        per_species = {z: float(stated.get(z, 0.0)) for z in train.species}
        stated_energies = replace(from_data, per_species=per_species, source="given", rank_deficient=False)
        return stated_energies, False, from_data.isolated
    if from_data.isolated:
        others = [i for i in range(len(train)) if i not in set(from_data.isolated)]
        return isolated_or_fitted_energies(train[others]), True, ()
    return from_data, True, ()


def _number_of(symbol: str) -> int:
    if symbol not in atomic_numbers:
        raise InputError(f"{symbol!r} is an unknown element", field="reference_energies")
    return int(atomic_numbers[symbol])
