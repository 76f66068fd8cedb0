"""Which elements are alike: directions in which properties of elements may vary, the likely ones first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import covalent_radii

from forcewright.structure import FloatArray

_NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)
_ELECTRONS = 1.4  # valence electrons over which elements cease to be alike
_RADIUS = 0.25  # Å of covalent radius, likewise
_UNEXPLAINED = 1e-3  # variance that neither of them explains


def valence_electrons(number: int) -> int:
    """Return the electrons outside the closed shells of a neutral atom, a full d or f shell counted as closed.

    Lanthanides and actinides have 3, as scandium has.
    """
    core = max(closed for closed in _NOBLE if closed < number)
    outer, length = number - core, _NOBLE[_NOBLE.index(core) + 1] - core
    if length == 32:  # without the f shell
        outer = outer if outer <= 2 else max(3, outer - 14)
    return outer if length == 8 or length == 2 or outer < 12 else outer - 10


def element_directions(species: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Return orthonormal directions (S, S), one a row, and the log precision (S,) of a prior along each.

    The first is the mean of the species, with log precision 0. The others are the eigenvectors of a covariance
    between species exp(-Δe²/2ℓ_e² - Δr²/2ℓ_r²), e being valence electrons and r covalent radii, with the mean
    projected out; their precisions are relative to that of the mean.
    """
    count = len(species)
    electrons = np.array([valence_electrons(z) for z in species]) / _ELECTRONS
    radii = covalent_radii[list(species)] / _RADIUS
    distances = (electrons[:, None] - electrons) ** 2 + (radii[:, None] - radii) ** 2
    covariance = np.exp(-0.5 * distances) + _UNEXPLAINED * np.eye(count)
    centering = np.eye(count) - 1 / count
    variances, vectors = np.linalg.eigh(centering @ covariance @ centering)
    directions = np.vstack([np.full(count, count**-0.5), vectors[:, :0:-1].T])
    relative = variances[:0:-1] / (covariance.sum() / count)
    return directions, np.concatenate([[0.0], np.maximum(-np.log(relative), 0.0)])
