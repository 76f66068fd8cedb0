"""How far a teacher is from the labels it is to stand for, and how much of a student's error is the teacher's.

With errors of teacher and student that have nothing to do with each other, a student that is off by x from its teacher
is off by y = √(x² + λ²) from the labels, where λ is how far the teacher is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.potential import Failure, Reference
from forcewright.structure import Dataset, FloatArray, Labels, count_species


@dataclass(frozen=True)
class TeacherAudit:
    """What a teacher says of labelled frames.

    Attributes
    ----------
    frames, failures
        Frames it was asked for, and those it had no answer to.
    force_slope
        Slope of its forces on those of the labels, through the origin: below 1 it is too soft.
    force_mae_eV_per_A, force_rmse_eV_per_A
        Of components.
    energy_rmse_meV_per_atom
        After constants per element are taken out.
    offsets_eV
        These constants: what the labels have more than the teacher, by element, as far as compositions tell.
    groups
        Root mean square error of force components by group, in eV/Å.
    largest_derivative_error_eV_per_A
        Largest difference of a force and the derivative of the energy, of a few atoms of one frame.
    """

    frames: int
    failures: int
    force_slope: float | None
    force_mae_eV_per_A: float | None
    force_rmse_eV_per_A: float | None
    energy_rmse_meV_per_atom: float | None
    offsets_eV: dict[str, float]
    groups: dict[str, float]
    largest_derivative_error_eV_per_A: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def audit_teacher(reference: Reference, dataset: Dataset, said: Sequence[Labels | Failure]) -> TeacherAudit:
    """Return how far a teacher is from the labels of frames.

    Parameters
    ----------
    reference
        The teacher, of which derivatives of the energy of the first frame are asked for.
    dataset
        The labelled frames.
    said
        What it says of them.
    """
    pairs = [(frame, labels) for frame, labels in zip(dataset, said, strict=True) if isinstance(labels, Labels)]
    with_forces = [
        (frame.labels.group, frame.labels.forces, labels.forces) for frame, labels in pairs
        if frame.labels.forces is not None and labels.forces is not None
    ]  # fmt: skip
    groups: dict[str, list[FloatArray]] = {}
    for group, known, predicted in with_forces:
        groups.setdefault(group, []).append((predicted - known).ravel())
    slope = mae = rmse = None
    if with_forces:
        known = np.concatenate([part.ravel() for _, part, _ in with_forces])
        predicted = np.concatenate([part.ravel() for _, _, part in with_forces])
        mae, rmse = float(np.abs(predicted - known).mean()), float(np.sqrt(np.mean((predicted - known) ** 2)))
        slope = float(known @ predicted / (known @ known)) if known.any() else None
    offsets, scatter = _offsets(dataset, said)
    return TeacherAudit(
        len(dataset), len(dataset) - len(pairs), slope, mae, rmse, scatter, offsets,
        {name: float(np.sqrt(np.mean(np.concatenate(parts) ** 2))) for name, parts in sorted(groups.items())},
        derivative_error(reference, dataset) if pairs else None,
    )  # fmt: skip


def _offsets(dataset: Dataset, said: Sequence[Labels | Failure]) -> tuple[dict[str, float], float | None]:
    """Return constants per element by least squares, and the scatter of energies per atom that they leave in meV."""
    rows, differences, sizes = [], [], []
    for (structure, labels, _), predicted in zip(dataset, said, strict=True):
        if labels.energy is not None and isinstance(predicted, Labels) and predicted.energy is not None:
            rows.append(count_species(structure, dataset.species))
            differences.append(labels.energy - predicted.energy)
            sizes.append(float(len(structure)))
    if not rows:
        return {}, None
    atoms = np.array(sizes)
    counts, gaps = np.array(rows) / atoms[:, None], np.array(differences) / atoms
    constants = np.linalg.lstsq(counts, gaps, rcond=None)[0]
    left = gaps - counts @ constants
    named = {chemical_symbols[z]: float(c) for z, c in zip(dataset.species, constants, strict=True)}
    return named, float(1e3 * np.sqrt(np.mean(left**2)))


def derivative_error(
    reference: Reference, dataset: Dataset, *, step_A: float = 0.01, components: int = 3
) -> float | None:
    """Return the largest difference in eV/Å of forces on the first atoms of a frame from differences of its energy."""
    structure = dataset[0].structure
    moved = [structure]
    for index in range(min(components, 3 * len(structure))):
        for sign in (1.0, -1.0):
            positions = np.array(structure.positions)
            positions[divmod(index, 3)] += sign * step_A
            moved.append(type(structure)(structure.numbers, positions, structure.cell, structure.pbc))
    said = [labels for labels in reference.label(moved) if isinstance(labels, Labels)]
    if len(said) < len(moved) or said[0].forces is None:
        return None
    energies = np.array([labels.energy for labels in said[1:]], dtype=np.float64).reshape(-1, 2)
    slopes = -(energies[:, 0] - energies[:, 1]) / (2 * step_A)
    return float(np.abs(said[0].forces.ravel()[: len(slopes)] - slopes).max())


@dataclass(frozen=True)
class Distilled:
    """Mean absolute errors of force components in eV/Å, of a student.

    Attributes
    ----------
    to_teacher
        x.
    to_labels
        y.
    teacher_to_labels
        λ.
    expected
        √(x² + λ²).
    correlation
        Of the student's error to the teacher with the teacher's to the labels: below 0 the student takes some of the
        teacher's error back.
    """

    to_teacher: float
    to_labels: float
    teacher_to_labels: float
    expected: float
    correlation: float


def distilled(student: FloatArray, teacher: FloatArray, labels: FloatArray) -> Distilled:
    """Return how a student's forces (n,) compare with its teacher's and with the labels."""
    x, y, off = (float(np.abs(a - b).mean()) for a, b in ((student, teacher), (student, labels), (teacher, labels)))
    first, second = student - teacher, teacher - labels
    together = float(np.corrcoef(first, second)[0, 1]) if first.std() > 0 and second.std() > 0 else 0.0
    return Distilled(x, y, off, float(np.hypot(x, off)), together)
