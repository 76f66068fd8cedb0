"""Fit the probe of `probe_model` to the forces of a sample of frames, keeping the normal equations per group.

With them one fit per group, of any groups together, or of forces without energies costs one small solve.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forcewright.structure import Dataset, FloatArray, Frame

#: Frames per group that are looked at in any case, and at most (one of a few dozen may be wrong); atoms in all groups.
SAMPLE, MOST, ATOMS = 24, 96, 12_000
#: Beyond these numbers of atoms, groups (the largest count) and species the probe would cost too much memory.
MAX_ATOMS, MAX_GROUPS, MAX_SPECIES = 400, 24, 6
#: The probe speaks only where it explains this share of the squared forces, from this many forces per coefficient.
PROBE_QUALITY, FORCES_PER_COEFFICIENT = 0.7, 3
#: Weight of an energy per atom (1/eV) against a force component (Å/eV).
ENERGY_WEIGHT = 30.0
#: Force rows are kept up to this many bytes, beyond which frames are judged by their sums alone.
KEPT_BYTES = 3e8


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
    """The sampled frames with their energy rows (p,) and stress rows (6, p), and the sums of each group.

    ``force_rows`` are those of single precision (3N, p) of the first frames that memory has room for.
    """

    frames: list[Frame] = field(default_factory=list)
    energy_rows: list[FloatArray] = field(default_factory=list)
    stress_rows: list[FloatArray] = field(default_factory=list)
    force_rows: list[NDArray[np.float32]] = field(default_factory=list)
    sums: dict[str, GroupSums] = field(default_factory=dict)

    def members(self, group: str) -> list[int]:
        """Return the positions in the sample of the frames of a group."""
        return [k for k, frame in enumerate(self.frames) if frame.labels.group == group]


def sample_and_sum(dataset: Dataset) -> ProbeSample:
    """Compute the rows of up to MOST frames of each group, evenly spaced over the group.

    The sample is empty where nothing has forces, or where the limits above forbid the probe.
    """
    from forcewright.data.probe_model import ProbeBasis  # compiled neighbor lists: loaded where they are used

    basis = ProbeBasis(dataset.species)
    sample, kept = ProbeSample(), 0
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
        if (kept := kept + rows.forces.nbytes // 2) < KEPT_BYTES:
            sample.force_rows.append(rows.forces.astype(np.float32))
    return sample


def _spread(dataset: Dataset) -> list[int]:
    groups: dict[str, list[int]] = defaultdict(list)
    for index, (structure, labels, _) in enumerate(dataset):
        if labels.forces is not None and 1 < len(structure) <= MAX_ATOMS:
            groups[labels.group].append(index)
    if len(dataset.species) > MAX_SPECIES:
        return []
    groups = dict(sorted(groups.items(), key=lambda item: -len(item[1]))[:MAX_GROUPS])
    chosen: list[int] = []
    for members in groups.values():
        atoms = np.mean([len(dataset[k].structure) for k in members])
        wanted = min(len(members), MOST, max(SAMPLE, int(ATOMS / len(groups) / atoms)))
        chosen += [members[k] for k in np.unique(np.linspace(0, len(members) - 1, wanted).astype(int))]
    return sorted(chosen)


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe: its coefficients (p,), and how far what it says is to be trusted.

    ``explained`` is the share of the squared forces, corrected for the number of coefficients.
    """

    coefficients: FloatArray
    explained: float
    variance: float
    _scale: FloatArray
    _gram: FloatArray

    def doubt(self, rows: FloatArray) -> FloatArray:
        """Return the standard errors (n,) of what the probe says for rows (n, p), as far as noise in the forces goes.

        Where no force tells a direction of ``rows``, as for strains of symmetric crystals, they are large.
        """
        scaled = rows / self._scale
        squares = np.einsum("ij,ji->i", scaled, np.linalg.solve(self._gram, scaled.T))
        return np.asarray(np.sqrt(self.variance * np.maximum(squares, 0.0)), dtype=np.float64)


def fit(
    sums: Iterable[GroupSums], *, energies: bool, quality: float = PROBE_QUALITY,
    differences: tuple[FloatArray, FloatArray] | None = None,
) -> Probe | None:  # fmt: skip
    """Return a probe fitted to forces, and energies if wanted; None where it explains the forces badly.

    Parameters
    ----------
    differences
        Normal equations of differences of energies that are fitted, too.
    quality
        The share of the squared forces that it has to explain.
    """
    parts = list(sums)
    if not parts:
        return None
    gram, target, energy_gram, energy_target = (
        np.sum([getattr(part, name) for part in parts], axis=0)
        for name in ("gram", "target", "energy_gram", "energy_target")
    )
    # elements that are not there have no columns worth counting
    used, count = int(np.count_nonzero(np.diag(gram) > 0.0)), sum(part.count for part in parts)
    squares = sum(part.squares for part in parts)
    if not used or not squares or count < FORCES_PER_COEFFICIENT * used:
        return None
    more, right = (energy_gram, energy_target) if energies else (0.0, 0.0)
    if differences is not None:
        more, right = more + differences[0], right + differences[1]
    coefficients, scale, scaled = _solve(gram + more, target + right)
    left = max(squares - float(2 * coefficients @ target - coefficients @ gram @ coefficients), 0.0)
    explained = 1.0 - left / squares * count / (count - used)
    if explained < quality:
        return None
    return Probe(coefficients, explained, left / (count - used), scale, scaled)


def _solve(gram: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-12))
    scaled = gram / np.outer(scale, scale) + 1e-7 * np.eye(len(gram))
    return np.asarray(np.linalg.solve(scaled, target / scale) / scale, dtype=np.float64), scale, scaled
