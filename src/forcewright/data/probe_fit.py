"""Fit the probe of `probe_model` to the forces of a sample of frames, keeping the normal equations per group.

With them one fit per group, of any groups together, or of forces without energies costs one small solve.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from forcewright.structure import Dataset, FloatArray, Frame

#: Frames per group that are looked at; more would not change the verdict.
SAMPLE = 24
#: Beyond these numbers of atoms, groups (the largest count) and species the probe would cost too much memory.
MAX_ATOMS, MAX_GROUPS, MAX_SPECIES = 400, 24, 6
#: The probe speaks only where it explains this share of the squared forces, from this many forces per coefficient.
PROBE_QUALITY, FORCES_PER_COEFFICIENT = 0.7, 3
#: Weight of an energy per atom (1/eV) against a force component (Å/eV).
ENERGY_WEIGHT = 30.0


@dataclass
class GroupSums:
    """Normal equations of the forces (gram, target, squares, count) and of the energies per atom of one group."""

    gram: FloatArray
    target: FloatArray
    energy_gram: FloatArray
    energy_target: FloatArray
    squares: float = 0.0
    count: int = 0

    @classmethod
    def zero(cls, size: int) -> GroupSums:
        """Return empty sums for this number of coefficients."""
        return cls(np.zeros((size, size)), np.zeros(size), np.zeros((size, size)), np.zeros(size))


@dataclass
class ProbeSample:
    """The sampled frames with their energy rows (p,) and stress rows (6, p), and the sums of each group."""

    frames: list[Frame] = field(default_factory=list)
    energy_rows: list[FloatArray] = field(default_factory=list)
    stress_rows: list[FloatArray] = field(default_factory=list)
    sums: dict[str, GroupSums] = field(default_factory=dict)

    def members(self, group: str) -> list[int]:
        """Return the positions in the sample of the frames of a group."""
        return [k for k, frame in enumerate(self.frames) if frame.labels.group == group]


def sample_and_sum(dataset: Dataset) -> ProbeSample:
    """Compute the rows of up to SAMPLE frames of each group, evenly spaced over the group.

    The sample is empty where nothing has forces, or where the limits above forbid the probe.
    """
    from forcewright.data.probe_model import ProbeBasis  # compiled neighbor lists: loaded where they are used

    basis = ProbeBasis(dataset.species)
    sample = ProbeSample()
    for index in _spread(dataset):
        frame = dataset[index]
        rows = basis.rows(frame.structure)
        size = len(rows.energy)
        sums = sample.sums.setdefault(frame.labels.group, GroupSums.zero(size))
        forces = np.asarray(frame.labels.forces).ravel()
        sums.gram += rows.forces.T @ rows.forces
        sums.target += rows.forces.T @ forces
        sums.squares += float(forces @ forces)
        sums.count += forces.size
        if frame.labels.energy is not None:
            weight = ENERGY_WEIGHT / len(frame.structure)
            sums.energy_gram += weight**2 * np.outer(rows.energy, rows.energy)
            sums.energy_target += weight**2 * frame.labels.energy * rows.energy
        sample.frames.append(frame)
        sample.energy_rows.append(rows.energy)
        sample.stress_rows.append(rows.stress)
    return sample


def _spread(dataset: Dataset) -> list[int]:
    groups: dict[str, list[int]] = defaultdict(list)
    for index, (structure, labels, _) in enumerate(dataset):
        if labels.forces is not None and 1 < len(structure) <= MAX_ATOMS:
            groups[labels.group].append(index)
    if len(dataset.species) > MAX_SPECIES:
        return []
    groups = dict(sorted(groups.items(), key=lambda item: -len(item[1]))[:MAX_GROUPS])
    spaced = {n: np.unique(np.linspace(0, n - 1, min(SAMPLE, n)).astype(int)) for n in map(len, groups.values())}
    return sorted(members[k] for members in groups.values() for k in spaced[len(members)])


def fit(sums: Iterable[GroupSums], *, energies: bool) -> FloatArray | None:
    """Return coefficients fitted to forces, and energies if wanted; None where they explain the forces badly."""
    parts = list(sums)
    if not parts:
        return None
    gram, target, energy_gram, energy_target = (
        np.sum([getattr(part, name) for part in parts], axis=0)
        for name in ("gram", "target", "energy_gram", "energy_target")
    )
    if sum(part.count for part in parts) < FORCES_PER_COEFFICIENT * len(gram):
        return None
    coefficients = _solve(gram + energy_gram, target + energy_target) if energies else _solve(gram, target)
    explained = 2 * coefficients @ target - coefficients @ gram @ coefficients
    return coefficients if explained >= PROBE_QUALITY * sum(part.squares for part in parts) else None


def _solve(gram: FloatArray, target: FloatArray) -> FloatArray:
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-12))
    scaled = gram / np.outer(scale, scale) + 1e-7 * np.eye(len(gram))
    return np.asarray(np.linalg.solve(scaled, target / scale) / scale, dtype=np.float64)
