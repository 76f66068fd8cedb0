"""How new the atoms of a set are beside a training set, whether errors grow with that, and a map of all frames.

Novelty is the distance of `forcewright.descriptors.environments`: to the nearest training atom of the same element, 1
where every function is off by as much as it varies in the training data. A frame is *outside* where its newest atom
exceeds what 99 % of training frames have, each half described by the other (`forcewright.uncertainty.calibrate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forcewright.descriptors.ace import ace_basis
from forcewright.descriptors.environments import Environments, describe, environments_of
from forcewright.features.ace.basis import AceBasis
from forcewright.structure import Dataset, FloatArray, Structure
from forcewright.uncertainty import MEASURES, Calibration, calibrate, rank_correlation

_GROUPS = 8
_FEWEST = 40  # atoms below which nothing is said


@dataclass(frozen=True, eq=False)
class Novelty:
    """Novelty of atoms with respect to one training set.

    Attributes
    ----------
    environments
        Those of the training set.
    calibration
        What frames like those of the training set have; None for too few.
    """

    environments: Environments
    calibration: Calibration | None

    @classmethod
    def of(cls, training: Dataset) -> Novelty:
        """Return the novelty with respect to a training set."""
        basis, species = ace_basis(training.species), training.species
        described = [describe(basis, structure, species) for structure in training.structures]
        held_back: list[FloatArray] = [np.zeros(0)] * len(described)
        if len(described) > 1:
            for half in (0, 1):
                others = environments_of(basis, described[1 - half :: 2])
                for k in range(half, len(described), 2):
                    held_back[k] = others.distances_of(training[k].structure.numbers, described[k])
        measure, unit = MEASURES["distance"]
        source = "each half of the training data by the other"
        return cls(environments_of(basis, described), calibrate(held_back, measure=measure, unit=unit, source=source))

    def outside(self, distances: FloatArray) -> bool | None:
        """Return whether a frame with these distances of its atoms (N,) lies outside; None where that is not known."""
        if self.calibration is None:
            return None
        return bool(distances.max() > self.calibration.limit_of(len(distances)))


def relation(novelty: FloatArray, errors: FloatArray) -> dict[str, Any] | None:
    """Return how the force errors (A,) of atoms in eV/Å go with their novelty (A,); None for too few atoms.

    Returns
    -------
    relation
        ``atoms``, ``spearman`` (rank correlation), and ``curve``: median novelty and root mean square error of groups
        of atoms of rising novelty.
    """
    known = np.isfinite(novelty) & np.isfinite(errors)
    x, y = novelty[known], errors[known]
    if len(x) < _FEWEST or not np.ptp(x) or not np.ptp(y):
        return None
    groups = np.array_split(np.argsort(x, kind="stable"), _GROUPS)
    return {
        "atoms": len(x), "spearman": rank_correlation(x, y),
        "curve": [[float(np.median(x[part])), float(np.sqrt(np.mean(y[part] ** 2)))] for part in groups],
    }  # fmt: skip


def domain_map(structures: Sequence[Structure]) -> tuple[FloatArray, FloatArray]:
    """Return two principal components (M, 2) of the mean descriptors of frames, and their shares of the variance (2,).

    A frame is described by the mean over its atoms of the functions of a small ACE basis, those of each center element
    apart, each scaled to unit variance over all frames.
    """
    basis = ace_basis(sorted({int(z) for structure in structures for z in structure.numbers}))
    rows = np.array([_mean_row(basis, structure) for structure in structures])
    spread = rows.std(axis=0)
    varying = spread > 1e-10 * np.abs(rows).max(initial=1e-300)
    scaled = (rows[:, varying] - rows[:, varying].mean(axis=0)) / spread[varying]
    if not scaled.size:
        return np.zeros((len(rows), 2)), np.zeros(2)
    left, values, _ = np.linalg.svd(scaled, full_matrices=False)
    points = np.zeros((len(rows), 2))
    wanted = min(2, len(values))
    points[:, :wanted] = left[:, :wanted] * values[:wanted]
    shares = np.zeros(2)
    shares[:wanted] = values[:wanted] ** 2 / max(float(np.sum(values**2)), 1e-300)
    return points, shares


def _mean_row(basis: AceBasis, structure: Structure) -> FloatArray:
    return np.asarray(basis.project(structure).mean(axis=0))
