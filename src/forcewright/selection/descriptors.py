"""Descriptors of frames: one vector per frame.

An atom is described by the invariant functions of linear ACE (`forcewright.features.ace`), a frame by their mean over
its atoms; the columns of different center elements stand side by side, so that the mean also describes the
composition. To account for unusual atoms, `with_deviation` adds the standard deviation over the atoms.
"""

from __future__ import annotations

import numpy as np

from forcewright.descriptors.ace import ace_basis
from forcewright.errors import InputError
from forcewright.features.ace.basis import AceBasis
from forcewright.structure import Dataset, FloatArray, Structure


def frame_descriptors(
    dataset: Dataset, *, cutoff: float | None = None, functions: int = 60, with_deviation: bool = False
) -> FloatArray:
    """Return the descriptors (M, p) of all frames, each column scaled to a mean square deviation of 1 from its mean.

    Columns that are the same in all frames are left out.

    Parameters
    ----------
    with_deviation
        Whether the standard deviations over the atoms follow the means.

    Raises
    ------
    InputError
        If there is no frame, or a structure cannot be described.
    """
    if not len(dataset):
        raise InputError("the dataset is empty; there is nothing to describe", file=dataset.source or None)
    basis = ace_basis(dataset.species, cutoff, functions)
    return standardized(np.array([_describe(basis, s, with_deviation) for s in dataset.structures]))


def _describe(basis: AceBasis, structure: Structure, with_deviation: bool) -> FloatArray:
    atoms = basis.project(structure)
    parts = [atoms.mean(axis=0), atoms.std(axis=0)] if with_deviation else [atoms.mean(axis=0)]
    return np.concatenate(parts)


def standardized(rows: FloatArray) -> FloatArray:
    """Return rows (M, p) less their mean, each column divided by its standard deviation; constant columns left out."""
    deviation = rows.std(axis=0)
    varying = deviation > 1e-10 * np.maximum(np.abs(rows).max(axis=0), 1e-300)
    return np.asarray((rows[:, varying] - rows[:, varying].mean(axis=0)) / deviation[varying])
