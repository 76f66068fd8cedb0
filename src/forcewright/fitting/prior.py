"""How hard the coefficients of a linear model are damped: scale, smoothness, and what elements share.

On the basis's own scale a coefficient is damped by what its function does in random packings of the elements, not by
what it does in the training data: so that functions which the data hardly excite stay as small as others.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse

from forcewright.errors import InputError
from forcewright.features.packings import local_volume, random_packings
from forcewright.fitting.linear_fit import Prior
from forcewright.fitting.problem import Problem
from forcewright.linalg.gram import FloatArray
from forcewright.potential import Basis, DesignRows, Shared, Sharing, Smooth
from forcewright.structure import IntArray, Structure

_CONSTANTS = 1e-6  # damping of reference energies that are fitted, relative to that of a function of the same size
_SEED = 7  # of the packings, which are part of the definition of the scale


def make_prior(problem: Problem, basis: Basis, *, shared: bool = True) -> Prior:
    """Return the prior that the settings ask for.

    Parameters
    ----------
    shared
        Whether elements may share coefficients; without, the prior is diagonal in the basis's own columns.

    Raises
    ------
    InputError
        If exponents are given and their number is not that of the basis.
    """
    settings = problem.settings.prior
    constants = len(problem.free_species)
    smoothness = basis.prior_features() if isinstance(basis, Smooth) else np.zeros((basis.size, 0))
    exponents = _exponents(settings.smoothness, smoothness.shape[1], "prior.smoothness")
    if settings.smoothness == "none":
        smoothness, exponents = smoothness[:, :0], exponents[:0]
    if settings.scale == "data":
        features = np.vstack([np.zeros((constants, smoothness.shape[1])), smoothness])
        return Prior(features, exponents, bounds=(-3.0, 3.0))
    shared = shared and settings.sharing != "none" and len(problem.train.species) > 1 and isinstance(basis, Shared)
    sharing = basis.sharing() if shared and isinstance(basis, Shared) else None
    log_scale = np.log(_scales(problem, basis, sharing))
    mixing, features = None, smoothness
    if sharing is not None:
        mixing = scipy.sparse.block_diag([scipy.sparse.eye_array(constants), sharing.mixing], format="csr")
        features = np.hstack([_of_labels(smoothness, sharing), sharing.orders])
        count = sharing.orders.shape[1]
        asked = settings.sharing
        if isinstance(asked, tuple) and count == 1:
            asked = asked[-1:]  # neighbors of a bispectrum's centers have no coefficients of their own
        exponents = np.append(exponents, _exponents(asked, count, "prior.sharing"))
    return Prior(
        np.vstack([np.zeros((constants, features.shape[1])), features]), exponents,
        offset=np.concatenate([np.full(constants, np.log(_CONSTANTS)), 2 * log_scale]), mixing=mixing,
        sharing=0 if sharing is None else sharing.orders.shape[1],
    )  # fmt: skip


def _exponents(setting: str | float | tuple[float, ...], count: int, field: str) -> FloatArray:
    """Return the fixed exponents (count,), NaN where they are searched."""
    if isinstance(setting, str):
        return np.full(count, np.nan)
    if isinstance(setting, tuple) and len(setting) != count:
        raise InputError(f"has {len(setting)} numbers; this basis takes {count}", field=field)
    return np.full(count, 1.0) * np.asarray(setting, dtype=np.float64)


def _of_labels(features: FloatArray, sharing: Sharing) -> FloatArray:
    """Return features (p, K) of amplitudes from those of columns: functions of a label are equally smooth."""
    columns = sharing.mixing.tocsc()
    first = columns.indices[columns.indptr[:-1]]
    return np.asarray(features[first])


def _scales(problem: Problem, basis: Basis, sharing: Sharing | None) -> FloatArray:
    """Return the root mean square force (p,) in eV/Å per unit of each amplitude in random packings.

    Amplitudes of one label have the same scale, the root of the mean of their squares.
    """
    rows = problem.rows.rows_of(basis)
    packings = packings_of(problem, basis)
    squares = np.mean([_force_squares(rows(structure), sharing) for structure in packings], axis=0)
    if sharing is not None:
        squares = _mean_over(squares, sharing.labels)
    smallest = np.max(squares, initial=0.0) * 1e-12  # functions that vanish everywhere are damped as such
    return np.asarray(np.sqrt(np.maximum(squares, smallest if smallest > 0 else 1.0)))


def packings_of(problem: Problem, basis: Basis) -> list[Structure]:
    """Return random packings of all elements of the training data, as dense as these are around their atoms."""
    reach = float(getattr(basis, "cutoff", 5.0))
    volume = local_volume(problem.train.structures, reach)
    return random_packings(problem.train.species, volume, np.random.default_rng(_SEED))


def _force_squares(rows: DesignRows, sharing: Sharing | None) -> FloatArray:
    forces = rows.forces if sharing is None else rows.forces @ sharing.mixing
    return np.asarray(np.mean(forces**2, axis=0))


def _mean_over(values: FloatArray, labels: IntArray) -> FloatArray:
    return np.asarray((np.bincount(labels, values) / np.maximum(np.bincount(labels), 1))[labels])
