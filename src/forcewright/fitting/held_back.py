"""The uncertainties of frames that were held back, for kinds that a fit can be asked for beside the family's own.

Each frame is judged by what has not seen it: a committee of the other folds, the posterior without its fold, the
environments of the other folds; or, where a set apart validates, by the fit to all training data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from forcewright.descriptors.environments import basis_for, describe, environments_of
from forcewright.descriptors.known_structures import KnownStructures, affordable
from forcewright.fitting.calibration import exchangeable, force_errors, held_back_by, remember
from forcewright.fitting.committee import fitted_members, members_without
from forcewright.fitting.linear_trial import LinearTrial
from forcewright.fitting.problem import Problem
from forcewright.linalg.gram import FloatArray
from forcewright.potential import Parametric, Potential, Prediction
from forcewright.structure import IntArray, Structure
from forcewright.uncertainty import MEASURES, Kind, calibrate, force_standard_errors, spread_of

_OPERATIONS = 1e11  # that standard errors of frames held back may take: more frames than that are not looked at


def with_kinds(
    problem: Problem, potential: Potential, predictions: Sequence[Prediction], *, trial: LinearTrial | None = None,
    final: LinearTrial | None = None, kept: LinearTrial | None = None,
) -> Potential:  # fmt: skip
    """Return the potential with the kinds of uncertainty that the settings ask for, each with its calibration.

    Parameters
    ----------
    predictions
        Those of the validation frames, by fits that have not seen them.
    trial
        The fit that the predictions are of; None for a family with a fit of its own.
    final, kept
        The fit to everything, and the same with its pairs kept apart.
    """
    known: dict[str, Any] = {}
    errors = force_errors(problem, predictions)
    for kind in problem.settings.kinds:
        if kind == "distance":
            known[kind] = _distance(problem, potential, errors)
        elif kind == "rematch":
            known[kind] = _rematch(problem, potential, errors)
        elif isinstance(potential, Parametric) and trial is not None and trial.fit is not None:
            if kind == "committee" and final is not None and kept is not None:
                known[kind] = _committee(problem, potential, trial, final, kept, errors)
            elif kind == "standard_error":
                known[kind] = _standard_error(problem, trial, errors)
    if not known or not hasattr(potential, "provenance"):
        return potential
    return remember(potential, uncertainties=known)


def _calibrated(
    problem: Problem, kind: Kind, held: Sequence[FloatArray], errors: Sequence[FloatArray]
) -> dict[str, Any] | None:
    measure, unit = MEASURES[kind]
    known = calibrate(
        exchangeable(problem, held), measure=measure, unit=unit, source=held_back_by(problem), errors=errors
    )
    return None if known is None else known.to_dict()


def _committee(
    problem: Problem, potential: Potential, trial: LinearTrial, final: LinearTrial, kept: LinearTrial,
    errors: Sequence[FloatArray],
) -> dict[str, Any]:  # fmt: skip
    """Return the members of the fit to everything, and their spread over frames that members have not seen."""
    settings = problem.settings.committee_settings
    assert trial.fit is not None
    rows = problem.rows.rows_of(trial.basis)
    first = len(problem.free_species)
    held: list[FloatArray] = []
    of_fold: dict[int, FloatArray] = {}
    for index, frame in enumerate(problem.validation):
        fold = int(problem.folds[index]) if problem.external is None else -1
        if fold not in of_fold:
            of_fold[fold] = np.array(members_without(problem, trial, settings, fold))[:, first:]
        forces = rows(frame.structure).forces @ of_fold[fold].T  # (3N, M); what is not fitted is the same for all
        held.append(spread_of([column.reshape(-1, 3) for column in forces.T]))
    members = fitted_members(problem, final, kept, settings)
    energies = np.array([[of_member[z] for z in potential.species] for _, of_member in members])
    return {
        "coefficients": np.array([coefficients for coefficients, _ in members]), "energies": energies,
        "calibration": _calibrated(problem, "committee", held, errors),
    }  # fmt: skip


def _standard_error(problem: Problem, trial: LinearTrial, errors: Sequence[FloatArray]) -> dict[str, Any]:
    """Return the calibration of standard errors of forces, by the posterior that has not seen the frame's fold."""
    fit = trial.fit
    assert fit is not None
    equations, rows = fit.equations, problem.rows.rows_of(trial.basis)
    degrees = max(sum(term.rows for term in equations.terms) - equations.columns, 1)
    variance = max(trial.squared_error.value, np.finfo(float).tiny) / degrees
    squared, ridge, prior = fit.ridge.unpack(trial.search.theta)
    folds = problem.folds if problem.external is None else np.zeros(len(problem.validation), dtype=np.int64)
    held: list[FloatArray] = [np.zeros(0)] * len(problem.validation)
    looked_at = _affordable(problem.validation.structures, equations.columns)
    for fold, solver in enumerate(fit.ridge.blocks.prepare(squared, ridge * prior)):
        half = equations.coefficients(solver.solve(np.eye(equations.columns)))
        covariance = variance * equations.coefficients(half.T)
        for index in looked_at[folds[looked_at] == fold].tolist():
            held[index] = force_standard_errors(rows(problem.validation[index].structure), covariance)
    return {"calibration": _calibrated(problem, "standard_error", held, errors)}


def _affordable(structures: Sequence[Structure], columns: int) -> IntArray:
    """Return which structures are looked at: all, or as many, evenly, as `_OPERATIONS` allow, but fifty at least."""
    needed = 6.0 * columns**2 * sum(map(len, structures))
    count = len(structures) if needed <= _OPERATIONS else max(50, int(len(structures) * _OPERATIONS / needed))
    return np.unique(np.linspace(0, len(structures) - 1, min(count, len(structures))).astype(np.int64))


def _distance(problem: Problem, potential: Potential, errors: Sequence[FloatArray]) -> dict[str, Any]:
    """Return the environments of all training data, and the distances of frames to those of the other folds."""
    species = problem.everything.species
    basis = basis_for(species, potential.cutoff)

    def described(structures: Sequence[Structure]) -> list[Mapping[int, FloatArray]]:
        return [describe(basis, structure, species) for structure in structures]

    train, validation = described(problem.train.structures), problem.validation.structures
    held: list[FloatArray] = [np.zeros(0)] * len(validation)
    if problem.external is None:
        for fold in range(problem.fold_count):
            others = environments_of(basis, [known for known, k in zip(train, problem.folds, strict=True) if k != fold])
            for i in np.flatnonzero(problem.folds == fold):
                held[i] = others.distances_of(validation[i].numbers, train[i])
        everything = environments_of(basis, train)
    else:
        apart = described(validation)
        everything = environments_of(basis, train)
        held = [everything.distances_of(s.numbers, known) for s, known in zip(validation, apart, strict=True)]
        if len(problem.everything) > len(problem.train):  # what was held back is fitted in the end
            everything = environments_of(basis, train + apart)
    calibration = _calibrated(problem, "distance", held, errors)
    return {"environments": everything.to_arrays(), "calibration": calibration}


def _rematch(problem: Problem, potential: Potential, errors: Sequence[FloatArray]) -> dict[str, Any]:
    """Return the training frames, and how far frames are from those of the other folds, or from all of training."""
    species, cutoff = problem.everything.species, potential.cutoff
    structures = problem.train.structures
    few = affordable(structures)
    known = KnownStructures.of(species, cutoff, [structures[k] for k in few.tolist()])
    held: list[FloatArray] = [np.zeros(0)] * len(problem.validation)
    if problem.external is None:
        for k, distance in zip(few.tolist(), known.distances_to_others(problem.folds[few]), strict=True):
            held[k] = np.full(len(structures[k]), distance)
    else:
        apart = problem.validation.structures
        for k in affordable(apart).tolist():
            held[k] = known.distances(apart[k])
        if len(problem.everything) > len(problem.train):  # what was held back is fitted in the end
            everything = problem.everything.structures
            known = KnownStructures.of(species, cutoff, [everything[k] for k in affordable(everything).tolist()])
    calibration = _calibrated(problem, "rematch", held, errors)
    if calibration is not None:
        calibration["tail"] = 0.0  # a match over more atoms is no larger
    return {"structures": known.to_arrays(), "calibration": calibration}
