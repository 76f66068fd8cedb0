"""Energies of two methods made comparable: each has a zero of its own, which has to go before errors mean anything.

==============  ====================================================================================================
alignment       what is taken away from prediction less reference
==============  ====================================================================================================
`none`          nothing
`first_frame`   its value in the first frame (that has both); which is not counted, for its error is zero by definition
`constant`      its mean per atom over the set, times the number of atoms
`per_element`   a constant for each element, by least squares of the errors per atom over all sets aligned this way
==============  ====================================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from forcewright.errors import InputError
from forcewright.structure import FloatArray

Alignment = Literal["none", "first_frame", "constant", "per_element"]
ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)


def aligned(differences: FloatArray, counts: FloatArray, alignment: Alignment) -> FloatArray:
    """Return the aligned errors of the energies of one set.

    Parameters
    ----------
    differences
        Prediction less reference (M,) in eV, of whole frames; NaN where either is not known.
    counts
        Atoms of each element (M, S).

    Returns
    -------
    errors
        (M,) in eV; NaN for frames that are not counted.

    Raises
    ------
    InputError
        If frames of different compositions are to be aligned by the first one.
    """
    if alignment == "per_element":
        return aligned_per_element([differences], [counts])[0]
    errors = np.array(differences, dtype=np.float64)
    known = np.isfinite(errors)
    if alignment == "none" or not known.any():
        return errors
    atoms = counts.sum(axis=1)
    if alignment == "constant":
        return np.asarray(errors - atoms * np.mean(errors[known] / atoms[known]))
    if (counts != counts[0]).any():
        frame = int(np.flatnonzero((counts != counts[0]).any(axis=1))[0])
        raise InputError(
            "has another composition than the first frame, which energies are to be aligned by; use "
            "alignment: per_element or constant", frame=frame, field="alignment",
        )  # fmt: skip
    first = int(np.flatnonzero(known)[0])
    errors -= errors[first]
    errors[first] = np.nan
    return errors


def aligned_per_element(differences: Sequence[FloatArray], counts: Sequence[FloatArray]) -> list[FloatArray]:
    """Return the errors (M,) of several sets less a constant for each element, the same for all of them.

    Of constants that the compositions do not settle (one formula alone) those of least norm are taken.
    """
    if not differences:
        return []
    every, composition = np.concatenate(differences), np.concatenate(counts)
    known = np.isfinite(every)
    if not known.any():
        return [np.array(part, dtype=np.float64) for part in differences]
    atoms = composition.sum(axis=1)
    constants = np.linalg.lstsq(
        composition[known] / atoms[known, None], every[known] / atoms[known], rcond=1e-9
    )[0]  # fmt: skip
    return [np.asarray(part - count @ constants) for part, count in zip(differences, counts, strict=True)]
