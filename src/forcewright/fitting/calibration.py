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
from forcewright.potential import Environmental, Graded, Potential, Varying
from forcewright.structure import FloatArray
from forcewright.uncertainty import Calibration, Span, calibrate

_Environments = Mapping[int, FloatArray]


def with_grades(problem: Problem, potential: Potential) -> Potential:
    """Return the potential with active sets of all training data, and its grades over frames that were held back.

    A potential that knows no grades is returned as it is.
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
    known = calibrate(held, measure="extrapolation grade", unit="", source=_source(problem), spans=spans)
    return _remember(potential.with_active({z: known.inverse for z, known in sets.items()}), known)


def with_uncertainty(problem: Problem, potential: Potential, held: Sequence[FloatArray]) -> Potential:
    """Return a potential of a family with a fit of its own with the uncertainties of frames that were held back.

    Parameters
    ----------
    held
        Those of the atoms (N,) of each frame, by fits that have not seen it; empty where they are not known.
    """
    if not isinstance(potential, Varying) or not held:
        return potential
    return _remember(potential, calibrate(held, measure="standard deviation", unit="eV", source=_source(problem)))


def _grades(numbers: Any, known: _Environments, sets: Mapping[int, Grading]) -> FloatArray:
    return atomic_grades(numbers, known, {z: of_species.inverse for z, of_species in sets.items()})


def _source(problem: Problem) -> str:
    return f"{problem.fold_count} folds in turn" if problem.external is None else "the validation set"


def _remember(potential: Any, calibration: Calibration | None) -> Potential:
    if isinstance(potential, BaselinePotential):
        return potential.around(_remember(potential.fitted, calibration))
    if calibration is None or not hasattr(potential, "provenance"):
        return potential  # type: ignore[no-any-return]
    provenance = {**potential.provenance, "uncertainty": calibration.to_dict()}
    return replace(potential, provenance=provenance)  # type: ignore[no-any-return]
