"""Test frames that are near-copies of training frames, found by their fingerprints.

The fingerprint of a frame is the sorted distances of every atom to its nearest neighbors, atom by atom: it does not
change when the frame is moved or turned, and it changes continuously. Only frames with the same elements in the same
order are compared, as those of one trajectory are. The difference d of two fingerprints is their root mean square
difference in Å.

The scale is that of independent frames: for two independent draws from a group with variances σ² of the entries, the
mean of d² is 2 <σ²>. A test frame is a near-copy where d falls below a share of that, or of `WIDEST` where a group is
so broad that its spread says nothing about neighbors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from forcewright.data.findings import Finding, locate
from forcewright.data.set_checks import translation_hash
from forcewright.neighbors import find_neighbors
from forcewright.structure import Dataset, FloatArray, Structure

NEIGHBORS = 12  # nearest neighbors of each atom that count
TOLERANCE = 0.25  # of the distance between independent frames
WIDEST = 0.06  # Å: what two frames of a solid at some hundred K differ by
_SMALLEST = 1e-4  # Å: a scale for groups whose frames are all the same
_AXES = 12  # principal axes in which neighbors are looked for first
_NAMED = 5  # pairs that are named one by one


class NearCopy(NamedTuple):
    """A test frame and the training frame nearest to it: the difference in Å, and in units of independent frames'."""

    test: int
    train: int
    distance_A: float
    scaled: float


@dataclass(frozen=True, eq=False)
class _Prints:
    """Fingerprints (n, p) of frames that can be compared, and which frames they are of."""

    frames: list[int]
    rows: FloatArray


def fingerprint(structure: Structure) -> FloatArray:
    """Return the sorted distances (N, k) in Å of every atom to its k nearest neighbors, images included.

    k is 12, or all other atoms where a structure without periodicity has fewer.
    """
    if not structure.pbc.any():
        vectors = structure.positions[:, None] - structure.positions
        distances = np.sort(np.linalg.norm(vectors, axis=2), axis=1)
        return np.asarray(distances[:, 1 : NEIGHBORS + 1])
    volume = structure.volume or float(np.ptp(structure.positions, axis=0).clip(1.0).prod())
    cutoff = 1.6 * (volume / len(structure)) ** (1 / 3) + 0.5
    while True:
        pairs = find_neighbors(structure, cutoff)
        counts = np.diff(pairs.starts)
        if counts.min() >= NEIGHBORS:
            order = np.lexsort((pairs.distances, pairs.centers))
            first = pairs.starts[:-1, None] + np.arange(NEIGHBORS)
            return np.asarray(pairs.distances[order][first])
        cutoff *= 1.3


def near_copies(train: Dataset, test: Dataset, *, tolerance: float = TOLERANCE) -> list[NearCopy]:
    """Return the test frames that are nearly frames of the training set, nearest first.

    ``tolerance`` is the share of the distance between independent frames below which a frame counts as a copy.
    """
    known = _prints(train)
    copies: list[NearCopy] = []
    for key, prints in _prints(test).items():
        if key in known:
            copies += _near(known[key], prints, _scales(train, known[key]), tolerance)
    return sorted(copies, key=lambda pair: (pair.scaled, pair.test))


def _prints(dataset: Dataset) -> dict[bytes, _Prints]:
    """Return fingerprints by the elements of the atoms in their order."""
    members: dict[bytes, list[int]] = defaultdict(list)
    for index, structure in enumerate(dataset.structures):
        usable = np.isfinite(structure.positions).all() and np.isfinite(structure.cell).all()
        periodic = structure.pbc.any()  # a periodic direction without a usable cell vector is told of by `audit`
        if usable and (structure.volume > 0 if periodic else len(structure) > 1):
            members[structure.numbers.tobytes() + bytes([int(periodic)])].append(index)
    return {
        key: _Prints(frames, np.array([fingerprint(dataset[i].structure).ravel() for i in frames]))
        for key, frames in members.items()
    }


def _scales(train: Dataset, prints: _Prints) -> FloatArray:
    """Return for each training frame how far independent frames of its group are apart, in Å."""
    groups = np.array([train[i].labels.group for i in prints.frames])
    scales = np.full(len(groups), WIDEST)
    for name in np.unique(groups):
        members = groups == name
        if members.sum() > 1:
            scales[members] = min(np.sqrt(2 * prints.rows[members].var(axis=0, ddof=1).mean()), WIDEST)
    return np.asarray(np.maximum(scales, _SMALLEST))


def _near(train: _Prints, test: _Prints, scales: FloatArray, tolerance: float) -> Iterator[NearCopy]:
    """Yield near-copies: candidates by a tree over principal axes, where distances are never too large."""
    from scipy.spatial import cKDTree  # takes long to import

    size = train.rows.shape[1]
    center = train.rows.mean(axis=0)
    sample = (train.rows - center)[:: max(1, len(train.rows) // 500)]
    axes = np.linalg.svd(sample, full_matrices=False)[2][:_AXES].T
    tree = cKDTree((train.rows - center) @ axes)
    reach = tolerance * float(scales.max()) * np.sqrt(size)
    for index, row in zip(test.frames, test.rows, strict=True):
        candidates = tree.query_ball_point((row - center) @ axes, reach)
        if not candidates:
            continue
        distances = np.sqrt(np.mean((train.rows[candidates] - row) ** 2, axis=1))
        scaled = distances / scales[candidates]
        nearest = int(scaled.argmin())
        if scaled[nearest] < tolerance:
            at = train.frames[candidates[nearest]]
            yield NearCopy(index, at, float(distances[nearest]), float(scaled[nearest]))


def check_leakage(train: Dataset, test: Dataset) -> Iterator[Finding]:
    """Yield what near-copies there are: how many, and the nearest pairs by file and frame."""
    copies = near_copies(train, test)
    if copies:  # `check_unseen` tells of the same structures, moved at most; a turned one is still news
        known = {translation_hash(structure) for structure in train.structures}
        copies = [pair for pair in copies if translation_hash(test[pair.test].structure) not in known]
    if not copies:
        return
    share = f"{len(copies)} of {len(test)} test frames are near-copies of training frames"
    message = f"{share}; the test errors would flatter: split in blocks of trajectories with a gap"
    yield Finding("warning", "near-copies", message)
    for pair in copies[:_NAMED]:
        at = locate(train[pair.train], pair.train)
        message = (
            f"differs from the training frame {at['frame']}{' of ' + at['file'] if at['file'] else ''} by "
            f"{pair.distance_A:.2g} Å, {pair.scaled:.0%} of what independent frames do"
        )
        yield Finding("note", "near-copies", message, **locate(test[pair.test], pair.test))
