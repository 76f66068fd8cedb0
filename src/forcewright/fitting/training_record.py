"""Let a fitted potential remember what its training data hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase.data import chemical_symbols

from forcewright.data.closest_pairs import closest_pairs
from forcewright.fitting.calibration import remember
from forcewright.fitting.problem import Problem
from forcewright.fitting.stresses import fitted_labels
from forcewright.potential import Potential
from forcewright.structure import Dataset
from forcewright.training_record import TrainingRecord

_REACH = (4.0, 6.0)  # Å up to which pairs are looked for: the cutoff, within these bounds


def with_training_record(problem: Problem, potential: Potential) -> Potential:
    """Return the potential with a record of what it was fitted to; one without a provenance as it is."""
    if not hasattr(potential, "provenance"):
        return potential
    record = record_of(problem.everything, float(np.clip(potential.cutoff, *_REACH)))
    fitted = fitted_labels(problem.settings)
    labels = {name: count if fitted is None or name in fitted else 0 for name, count in record.labels.items()}
    return remember(potential, training=replace(record, labels=labels).to_dict())


def record_of(dataset: Dataset, reach: float) -> TrainingRecord:
    """Return what there is to remember of a dataset, with the distances of pairs that are closer than ``reach`` Å."""
    structures = dataset.structures
    shortest = {
        f"{chemical_symbols[a]}-{chemical_symbols[b]}": distance
        for (a, b), distance in closest_pairs(structures, reach).items()
    }
    volumes = [s.volume / len(s) for s in structures if s.pbc.all() and s.volume > 0]
    forces = [labels.forces for labels in dataset.labels if labels.forces is not None]
    largest = None
    if forces:
        together = np.concatenate(forces)
        norms = np.linalg.norm(together, axis=1)
        largest = (float(np.sqrt(np.mean(together**2))), float(norms.max()))
    return TrainingRecord(
        len(structures), sum(map(len, structures)), reach, shortest, (min(volumes), max(volumes)) if volumes else None,
        dataset.count_labels(), largest,
    )  # fmt: skip
