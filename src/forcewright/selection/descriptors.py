"""Descriptors of frames: one vector per frame.

An atom is described by the invariant functions of linear ACE (`forcewright.features.ace`), a frame by their mean over
its atoms; the columns of different center elements stand side by side, so that the mean also describes the
composition. To account for unusual atoms, `with_deviation` adds the standard deviation over the atoms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import covalent_radii

from forcewright.errors import InputError
from forcewright.features.ace.basis import AceBasis, RadialSettings
from forcewright.features.ace.basis_functions import generate_functions
from forcewright.structure import Dataset, FloatArray, Structure

_RANGE = 3.6  # cutoff in largest covalent diameters: beyond the second shell of most crystals
_LIMITS = (3.5, 6.0)  # Å
_NRADMAX, _LMAX = (8, 4, 3), (0, 3, 2)  # by rank: two-, three- and four-body terms


def ace_basis(species: Sequence[int], cutoff: float | None = None, functions: int = 60) -> AceBasis:
    """Return a small ACE basis for describing structures.

    Parameters
    ----------
    species
        Atomic numbers.
    cutoff
        In Å; 3.6 times the largest covalent radius, between 3.5 and 6 Å, by default.
    functions
        Invariant functions per center element, the first in the order of their degree.

    Raises
    ------
    InputError
        If a number is invalid.
    """
    if functions < 1 or (cutoff is not None and not cutoff > 0):
        raise InputError(f"needs a cutoff above 0 Å and functions from 1 on, not {cutoff} and {functions}")
    species = tuple(sorted(set(species)))
    range_A = cutoff or float(np.clip(_RANGE * max(covalent_radii[z] for z in species), *_LIMITS))
    chosen = generate_functions(len(species), nradmax=_NRADMAX, lmax=_LMAX, count=functions)
    return AceBasis(species, RadialSettings(), ((range_A,) * len(species),) * len(species), chosen)


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
