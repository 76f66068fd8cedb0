"""Frames by novelty: the largest uncertainty of their atoms, or the volume of their descriptors."""

from __future__ import annotations

from typing import Any

import numpy as np

from forcewright.errors import InputError
from forcewright.linalg.max_volume import max_volume
from forcewright.potential import Potential
from forcewright.selection.checks import require_count
from forcewright.selection.descriptors import frame_descriptors
from forcewright.structure import Dataset, FloatArray, IntArray
from forcewright.uncertainty import uncertainty_of


def novelty(dataset: Dataset, potential: Potential, kind: str | None = None) -> FloatArray:
    """Return the largest uncertainty of an atom in every frame (M,), infinite where it is not known.

    Parameters
    ----------
    kind
        Kind of uncertainty (`forcewright.uncertainty.KINDS`); the first that the potential knows where not given.

    Raises
    ------
    InputError
        If the potential knows no uncertainty, or not this one.
    """
    known = uncertainty_of(potential, kind)
    if known is None:
        raise InputError("needs a potential that knows how uncertain it is, such as one fitted here", field="by")
    largest = [float(known.of(structure).max()) for structure in dataset.structures]
    return np.where(np.isnan(largest), np.inf, largest)


def select_novelty(
    dataset: Dataset, count: int, rng: np.random.Generator, *, potential: Any = None, above: float = 0.0,
    kind: str | None = None,
) -> IntArray:  # fmt: skip
    """Return ``count`` frame numbers of largest uncertainty, the largest first; ties are broken at random.

    Parameters
    ----------
    potential
        A potential that knows how uncertain it is, such as a fitted ACE.
    above
        Only frames with an uncertainty above this are taken, so there may be fewer. What a grade means differs from fit
        to fit: outside is what exceeds the 99 % quantile that the potential keeps (`forcewright.uncertainty`).
    kind
        Kind of uncertainty: grade, variance, committee, standard_error, distance or rematch; the first that the
        potential knows where not given.

    Raises
    ------
    InputError
        If the potential does not know the uncertainty or there are fewer frames.
    """
    require_count(count, len(dataset))
    values = novelty(dataset, potential, kind)
    order = rng.permutation(len(dataset))
    order = order[np.argsort(-values[order], kind="stable")]
    return order[values[order] > above][:count]


def select_max_volume(
    dataset: Dataset, count: int, rng: np.random.Generator, *, cutoff: float | None = None, functions: int = 60,
    with_deviation: bool = False,
) -> IntArray:  # fmt: skip
    """Return ``count`` frame numbers, first those whose descriptors span the largest volume (D-optimality).

    The volume is that of ``count`` leading principal components, or as many as there are; if more frames are wanted,
    the chosen rows are removed and the search is repeated on the rest. Parameters are those of `frame_descriptors`;
    nothing is random unless all frames are alike.

    Raises
    ------
    InputError
        If there are fewer frames.
    """
    require_count(count, len(dataset))
    rows = frame_descriptors(dataset, cutoff=cutoff, functions=functions, with_deviation=with_deviation)
    left = np.arange(len(dataset))
    chosen: list[int] = []
    while len(chosen) < count and len(left):
        part = _leading(rows[left], count - len(chosen))
        selected = max_volume(part).indices if part.shape[1] else np.zeros(0, dtype=np.int64)
        if not len(selected):
            selected = rng.permutation(len(left))[: count - len(chosen)]
        chosen += left[selected].tolist()
        left = np.delete(left, selected)
    return np.array(chosen[:count], dtype=np.int64)


def _leading(rows: FloatArray, count: int) -> FloatArray:
    """Return the rows in their leading principal components, of unit variance each."""
    if not rows.shape[1]:
        return rows
    left, singular, _ = np.linalg.svd(rows, full_matrices=False)
    used = min(count, int((singular > 1e-8 * singular[0]).sum())) if singular[0] > 0 else 0
    return np.asarray(left[:, :used])
