"""Error measures of predictions against a reference, and their statistical uncertainty.

==========  ==========  ======================================================================
symbol      shape       meaning
==========  ==========  ======================================================================
y, ŷ        any, same   reference and prediction; the error is ŷ - y
N           (n,)        number of atoms of each of n structures
S, C        (n, k)      per structure: sum of k kinds of (squared or absolute) errors, and how many
                        errors were summed; sum(S) / sum(C) over structures is a mean error
w           (b, n)      how often each structure was drawn in each of b bootstrap resamples
==========  ==========  ======================================================================

Sums per structure are enough for every RMSE and MAE here *and* for their bootstrap over structures, which costs one
matrix product. Structures are drawn, never single force components: components of one structure are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def _errors(reference: ArrayLike, predicted: ArrayLike) -> FloatArray:
    y, y_hat = np.asarray(reference, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if y.shape != y_hat.shape:
        raise ValueError(f"reference has shape {y.shape} and prediction {y_hat.shape}; give equal shapes")
    if y.size == 0:
        raise ValueError("there is nothing to compare; give at least one value")
    return y_hat - y


def rmse(reference: ArrayLike, predicted: ArrayLike) -> float:
    """Return the root mean square error over all entries, in the unit of the values.

    Raises
    ------
    ValueError
        If shapes differ or there is no entry; this holds for every measure of this module.
    """
    return float(np.sqrt(np.mean(_errors(reference, predicted) ** 2)))


def mae(reference: ArrayLike, predicted: ArrayLike) -> float:
    """Return the mean absolute error over all entries, in the unit of the values."""
    return float(np.mean(np.abs(_errors(reference, predicted))))


def r2(reference: ArrayLike, predicted: ArrayLike) -> float:
    """Return the coefficient of determination, 1 - Σ(ŷ-y)² / Σ(y-ȳ)²; NaN where the reference does not vary."""
    residual = float(np.sum(_errors(reference, predicted) ** 2))
    y = np.asarray(reference, dtype=np.float64)
    spread = float(np.sum((y - y.mean()) ** 2))
    return 1.0 - residual / spread if spread > 0.0 else float("nan")


def huber(reference: ArrayLike, predicted: ArrayLike, *, delta: float) -> float:
    """Return the mean Huber loss: e²/2 where |e| <= δ, δ(|e| - δ/2) beyond (Huber, Ann. Math. Stat. 35, 73, 1964)."""
    if not delta > 0.0:
        raise ValueError(f"delta is {delta}; it must be positive")
    size = np.abs(_errors(reference, predicted))
    return float(np.mean(np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))))


def energy_rmse_per_sqrt_atom(reference: ArrayLike, predicted: ArrayLike, atoms: ArrayLike) -> float:
    """Return sqrt(mean((ΔE / √N)²)) of total energies, in eV.

    Errors of a sum of N independent atomic errors grow as √N, so this measure does not depend on the cell size
    (Thomas du Toit, DPhil thesis, University of Oxford 2025, eq. 3.3; after Morrow et al., J. Chem. Phys. 158,
    121501, 2023).

    Parameters
    ----------
    reference, predicted
        Total energies (n,) in eV.
    atoms
        Number of atoms (n,).
    """
    scaled = _errors(reference, predicted) / np.sqrt(np.asarray(atoms, dtype=np.float64))
    return float(np.sqrt(np.mean(scaled**2)))


def force_vector_rmse(reference: ArrayLike, predicted: ArrayLike) -> float:
    """Return sqrt(mean over atoms of |ΔF|²) in eV/Å: √3 times the RMSE of components (du Toit 2025, eq. 3.4).

    Parameters
    ----------
    reference, predicted
        Forces (N, 3) in eV/Å, of one structure or of many stacked.
    """
    errors = _errors(reference, predicted).reshape(-1, 3)
    return float(np.sqrt(np.mean(np.sum(errors**2, axis=1))))


def force_norm(forces: ArrayLike) -> float:
    """Return the norm of a structure's forces, sqrt(Σ_i |F_i|²) in eV/Å.

    One number per structure: the "normalized force" of Eleonora Thomas (MSc thesis, Hasselt University 2025, eq. 6).
    Its RMSE, MAE and R² compare sizes of forces and not their directions; it grows as √N with the number of atoms.

    Parameters
    ----------
    forces
        Forces (N, 3) in eV/Å.
    """
    return float(np.linalg.norm(np.asarray(forces, dtype=np.float64)))


def quantiles(reference: ArrayLike, predicted: ArrayLike, levels: Sequence[float] = (0.5, 0.9, 0.99)) -> FloatArray:
    """Return quantiles of the absolute errors, one for each level in 0 ... 1."""
    return np.asarray(np.quantile(np.abs(_errors(reference, predicted)), levels), dtype=np.float64)


def pool(sums: ArrayLike, counts: ArrayLike) -> FloatArray:
    """Return the mean error of each of k kinds over all structures, ΣS / ΣC; NaN where nothing was counted.

    Parameters
    ----------
    sums, counts
        S and C of the table above, (n, k).
    """
    return _ratio(np.sum(np.asarray(sums, dtype=np.float64), axis=0), np.sum(np.asarray(counts, np.float64), axis=0))


def _ratio(sums: FloatArray, counts: FloatArray) -> FloatArray:
    quotient = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=quotient, where=counts > 0)
    return quotient


def resample(sums: ArrayLike, counts: ArrayLike, *, rng: np.random.Generator, resamples: int = 1000) -> FloatArray:
    """Return the pooled mean errors (b, k) of b bootstrap resamples of the structures.

    The k columns are drawn together, so differences between them (two models on the same structures) are paired.
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), algorithm 6.1.
    """
    s, c = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    n = len(s)
    drawn = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    w = np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)
    return _ratio(w @ s, w @ c)


def standard_errors(
    sums: ArrayLike, counts: ArrayLike, *, rng: np.random.Generator, root: ArrayLike = False, resamples: int = 1000
) -> FloatArray:
    """Return bootstrap standard errors over structures of k pooled errors.

    Parameters
    ----------
    sums, counts
        S and C of the table above, (n, k).
    root
        For which of the k columns the error is the square root of the pooled mean (RMSE) rather than the mean (MAE).

    Returns
    -------
    errors
        (k,); NaN where fewer than two structures were counted.
    """
    counted = np.sum(np.asarray(counts) > 0, axis=0)
    means = resample(sums, counts, rng=rng, resamples=resamples)
    statistics = np.where(np.asarray(root, dtype=bool), np.sqrt(np.abs(means)), means)
    return np.where(counted >= 2, _deviation(statistics), np.nan)


def paired_standard_error(
    sums_a: ArrayLike, sums_b: ArrayLike, counts: ArrayLike,
    *, rng: np.random.Generator, root: bool = True, resamples: int = 1000,
) -> float:  # fmt: skip
    """Return the standard error of the *difference* of two models' errors on the same structures.

    It decides which of two models is better: the hard structures are hard for both, so the difference is known far
    better than either error.

    Parameters
    ----------
    sums_a, sums_b, counts
        Per structure (n,): summed squared (``root``) or absolute errors of either model, and how many were summed.
    """
    count = np.asarray(counts, dtype=np.float64)
    both = np.column_stack([np.asarray(sums_a, dtype=np.float64), np.asarray(sums_b, dtype=np.float64)])
    means = resample(both, np.column_stack([count, count]), rng=rng, resamples=resamples)
    statistics = np.sqrt(means) if root else means
    return float(_deviation(statistics[:, :1] - statistics[:, 1:])[0])


def _deviation(values: FloatArray) -> FloatArray:
    """Standard deviation (ddof 1) down the columns over the entries that are numbers."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    filled = np.where(known, values, 0.0)
    mean = _ratio(filled.sum(axis=0), count.astype(np.float64))
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=0)
    return np.asarray(np.sqrt(_ratio(squares, np.maximum(count - 1.0, 0.0))), dtype=np.float64)
