"""What a potential's uncertainty is on frames that were held back: kept with it, so that it can tell what lies outside.

A frame that its own active set has seen has a grade of hardly more than 1, so it says nothing. Every frame is graded by
active sets of the frames that are fitted to predict it: those of the other folds, or all where a set apart validates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.fitting.problem import Problem
from forcewright.linalg.max_volume import Grading
from forcewright.models.active_sets import active_sets, atomic_grades
from forcewright.models.baseline import BaselinePotential
from forcewright.potential import Environmental, Graded, Potential, Prediction, Varying
from forcewright.structure import FloatArray
from forcewright.uncertainty import NOVEL, Calibration, Span, calibrate

_Environments = Mapping[int, FloatArray]


def with_grades(problem: Problem, potential: Potential, predictions: Sequence[Prediction] = ()) -> Potential:
    """Return the potential with active sets of all training data, and its grades over frames that were held back.

    A potential that knows no grades is returned as it is.

    Parameters
    ----------
    predictions
        Those of the validation frames, by fits that have not seen them.
    """
    if not isinstance(potential, Graded):
        return potential
    if not isinstance(potential, Environmental):
        return potential.with_active_set(problem.everything.structures)
    train = [potential.environments(structure) for structure in problem.train.structures]
    held: list[FloatArray] = [np.zeros(0)] * len(train)
    sets = None
    if problem.external is None:
        for fold in range(problem.fold_count):
            seen = active_sets([known for known, k in zip(train, problem.folds, strict=True) if k != fold])
            for i in np.flatnonzero(problem.folds == fold):
                held[i] = _grades(problem.train[i].structure.numbers, train[i], seen)
    else:
        sets = active_sets(train)
        structures = problem.external.structures
        apart = [potential.environments(structure) for structure in structures]
        held = [_grades(s.numbers, known, sets) for s, known in zip(structures, apart, strict=True)]
        if len(problem.everything) > len(problem.train):  # what was held back is fitted in the end
            sets, train = None, train + apart
    sets = sets or active_sets(train)
    counts = {z: sum(len(known[z]) for known in train if z in known) for z in sets}
    spans = {
        chemical_symbols[z]: Span(counts[z], len(known.inverse), known.spanned, known.rank) for z, known in sets.items()
    }
    known = calibrate(
        exchangeable(problem, held), measure="extrapolation grade", unit="", source=held_back_by(problem), spans=spans,
        errors=force_errors(problem, predictions),
    )  # fmt: skip
    return _calibrated(potential.with_active({z: known.inverse for z, known in sets.items()}), known)


def with_uncertainty(
    problem: Problem, potential: Potential, held: Sequence[FloatArray], predictions: Sequence[Prediction] = ()
) -> Potential:
    """Return a potential of a family with a fit of its own with the uncertainties of frames that were held back.

    Parameters
    ----------
    held
        Those of the atoms (N,) of each frame, by fits that have not seen it; empty where they are not known.
    predictions
        Of the same frames, by the same fits.
    """
    if not isinstance(potential, Varying) or not held:
        return potential
    known = calibrate(
        exchangeable(problem, held), measure="standard deviation", unit="eV", source=held_back_by(problem),
        errors=force_errors(problem, predictions),
    )  # fmt: skip
    return _calibrated(potential, known)


def _grades(numbers: Any, known: _Environments, sets: Mapping[int, Grading]) -> FloatArray:
    return atomic_grades(numbers, known, {z: of_species.inverse for z, of_species in sets.items()})


def force_errors(problem: Problem, predictions: Sequence[Prediction]) -> list[FloatArray]:
    """Return the lengths of the force errors (N,) in eV/Å of each validation frame; empty without labels."""
    lengths = []
    for known, predicted in zip(problem.validation.labels, predictions, strict=bool(predictions)):
        if known.forces is None or predicted.forces is None:
            lengths.append(np.zeros(0))
        else:
            lengths.append(np.linalg.norm(predicted.forces - known.forces, axis=1))
    return lengths


def exchangeable(problem: Problem, held: Sequence[FloatArray]) -> list[FloatArray]:
    """Return what is known of validation frames, empty for those that are there because they were new."""
    labels = problem.validation.labels
    return [np.zeros(0) if known.info.get(NOVEL) else values for known, values in zip(labels, held, strict=True)]


def held_back_by(problem: Problem) -> str:
    """Return in words which frames were held back."""
    return f"{problem.fold_count} folds in turn" if problem.external is None else "the validation set"


def remember(potential: Any, **values: Any) -> Potential:
    """Return a potential whose provenance holds these as well."""
    if isinstance(potential, BaselinePotential):
        return potential.around(remember(potential.fitted, **values))
    return replace(potential, provenance={**potential.provenance, **values})  # type: ignore[no-any-return]


def _calibrated(potential: Potential, calibration: Calibration | None) -> Potential:
    if calibration is None or not hasattr(potential, "provenance"):
        return potential
    return remember(potential, uncertainty=calibration.to_dict())
