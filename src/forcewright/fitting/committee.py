"""Committees: potentials of the same hyperparameters whose spread tells how sure a prediction is.

The normal equations of blocks of frames are there already, so that a member costs one solution. Member m of a Bayesian
bootstrap (Rubin, Ann. Stat. 9, 130 (1981)) counts the squared errors of block b as often as an exponential(1) draw
says; or members are the fits that leave out each fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.errors import InputError
from forcewright.fitting.linear_fit import split_coefficients
from forcewright.fitting.linear_trial import LinearTrial, fold_of_blocks, potential_of
from forcewright.fitting.problem import Problem
from forcewright.fitting.settings import CommitteeSettings
from forcewright.models import load
from forcewright.potential import Potential, Prediction
from forcewright.structure import FloatArray
from forcewright.trajectory.reading import StructuresOrFile, structures_of


@dataclass(frozen=True, eq=False)
class Spread:
    """Standard deviations over the members of a committee.

    Attributes
    ----------
    energy
        In eV.
    forces
        Of each force vector (N,), the root of the summed variances of its components, in eV/Å.
    """

    energy: float
    forces: FloatArray

    def __repr__(self) -> str:
        return f"Spread(energy {self.energy:.3g} eV, forces up to {self.forces.max():.3g} eV/Å)"


@dataclass(frozen=True, eq=False)
class Committee:
    """Potentials that differ in the data their fit counts."""

    members: tuple[Potential, ...]

    def __repr__(self) -> str:
        return f"Committee({len(self.members)} × {self.members[0]!r})"

    def __len__(self) -> int:
        return len(self.members)

    def predict(self, structures: StructuresOrFile) -> list[Prediction]:
        """Return the mean prediction of the members for every structure."""
        return [_mean(predictions) for predictions in self._predictions(structures)]

    def spread(self, structures: StructuresOrFile) -> list[Spread]:
        """Return how much the members differ for every structure."""
        spreads = []
        for predictions in self._predictions(structures):
            energies, forces = (np.array([getattr(p, name) for p in predictions]) for name in ("energy", "forces"))
            variances = forces.var(axis=0, ddof=1).sum(axis=-1)
            spreads.append(Spread(float(energies.std(ddof=1)), np.asarray(np.sqrt(variances))))
        return spreads

    def _predictions(self, structures: StructuresOrFile) -> list[tuple[Prediction, ...]]:
        several = structures_of(structures)
        return list(zip(*(member.predict(several) for member in self.members), strict=True))

    @classmethod
    def load(cls, folder: str | Path, kind: str | None = None) -> Committee:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If the folder holds no committee, or a member is damaged or not of the ``kind``, where one is named.
        """
        members: list[Potential] = []
        while (member := Path(folder) / str(len(members))).is_dir():
            members.append(load(member, kind=kind))
        if not members:
            raise InputError("holds no committee; expected folders 0, 1 and so on, each of a potential", file=folder)
        return cls(tuple(members))

    def save(self, folder: str | Path) -> Path:
        """Save every member to a folder of its own below ``folder``, and return it."""
        for number, member in enumerate(self.members):
            member.save(Path(folder) / str(number))
        return Path(folder)


def _mean(predictions: Sequence[Prediction]) -> Prediction:
    forces = [prediction.forces for prediction in predictions if prediction.forces is not None]
    stresses = [prediction.stress for prediction in predictions if prediction.stress is not None]
    return Prediction(
        float(np.mean([prediction.energy for prediction in predictions])),
        np.mean(forces, axis=0) if forces else None,
        np.mean(stresses, axis=0) if stresses else None,
    )


def fitted_members(
    problem: Problem, trial: LinearTrial, kept: LinearTrial, settings: CommitteeSettings
) -> list[tuple[FloatArray, dict[int, float]]]:
    """Return coefficients (p,) and reference energies of the members of a trial that has kept its linear fit.

    Parameters
    ----------
    kept
        The trial with its pairs kept apart: what that changed is changed in all members.

    Raises
    ------
    InputError
        If the fit has several densities.
    """
    members = []
    for fitted in members_without(problem, trial, settings):
        coefficients, energies = split_coefficients(fitted, problem.energies, problem.free_species)
        moved = {z: energy + kept.energies[z] - trial.energies[z] for z, energy in energies.items()}
        members.append((coefficients + kept.coefficients - trial.coefficients, moved))
    return members


def members_without(
    problem: Problem, trial: LinearTrial, settings: CommitteeSettings, fold: int = -1
) -> list[FloatArray]:
    """Return all coefficients of the members, constants of free species first, fitted without a fold (-1: with all).

    Raises
    ------
    InputError
        If the fit has several densities.
    """
    fit, theta = trial.fit, trial.search.theta
    if trial.iterations or fit is None:
        raise InputError("takes a linear fit; with further densities fit again with other seeds", field="committee")
    equations = fit.blocks or fit.equations
    fold_of = fold_of_blocks(problem, settings.blocks) if fit.blocks else np.arange(len(equations.training))
    if settings.by == "folds":
        if fold < 0:
            return fit.fold_coefficients(theta)
        others = [k for k in range(problem.fold_count) if k != fold]  # each leaves out a second fold
        weights = [((fold_of != fold) & (fold_of != k)).astype(np.float64) for k in others]
    else:
        rng = np.random.default_rng([problem.seed, 7, *([] if fold < 0 else [fold])])
        draws = rng.exponential(size=(settings.members, len(equations.training)))
        weights = list(draws * (fold_of != fold))
    return [fit.fit_weighted_blocks(theta, of_member) for of_member in weights]


def committee_of(
    problem: Problem, params: Mapping[str, Any], trial: LinearTrial, settings: CommitteeSettings,
    kept: LinearTrial | None = None,
) -> Committee:  # fmt: skip
    """Return the committee of a trial that has kept its linear fit; ``kept`` as in `fitted_members`.

    Raises
    ------
    InputError
        If the fit has several densities.
    """
    members = []
    for number, (coefficients, energies) in enumerate(fitted_members(problem, trial, kept or trial, settings)):
        member = replace(trial, coefficients=coefficients, energies=energies, covariance=None)
        members.append(potential_of(problem, params, member, {"committee": settings.by, "member": number}))
    return Committee(tuple(members))
