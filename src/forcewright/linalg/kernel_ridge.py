"""Kernel ridge regression of many targets at once, at many ridges by one eigendecomposition.

    F(x) = m + k(x)ᵀ A,    A = (K_c + λ)⁻¹ (Y - m)

with K_c the kernel centered over the training rows and m the mean of the targets there, so that a constant is
not damped. For a linear kernel K = X Xᵀ this is ridge regression with an intercept, at the cost of the number of rows
instead of the number of columns (Saunders, Gammerman and Vovk, ICML 1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from forcewright.errors import InputError
from forcewright.linalg.gram import FloatArray


@dataclass(frozen=True, eq=False)
class KernelFit:
    """A training set decomposed: predicts all targets at any ridge.

    Attributes
    ----------
    mean
        Mean targets (m,).
    column_mean, grand_mean
        Means of the kernel over the training rows (n,), and over both.
    vectors, values, turned
        Eigenvectors (n, n) and eigenvalues (n,) of the centered kernel, and the targets in them (n, m).
    """

    mean: FloatArray
    column_mean: FloatArray
    grand_mean: float
    vectors: FloatArray
    values: FloatArray
    turned: FloatArray

    @classmethod
    def of(cls, kernel: FloatArray, targets: FloatArray) -> KernelFit:
        """Decompose the kernel (n, n) of the training rows; ``targets`` (n, m)."""
        if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or len(targets) != len(kernel):
            raise InputError(f"kernel {kernel.shape} and targets {targets.shape} do not fit", field="kernel")
        if not (np.isfinite(kernel).all() and np.isfinite(targets).all()):
            raise InputError("kernel and targets must be finite numbers", field="kernel")
        column = kernel.mean(axis=0)
        grand = float(column.mean())
        values, vectors = scipy.linalg.eigh(kernel - column[:, None] - column[None, :] + grand)
        mean = targets.mean(axis=0)
        return cls(mean, column, grand, vectors, np.maximum(values, 0.0), vectors.T @ (targets - mean))

    def dual(self, ridge: float | FloatArray) -> FloatArray:
        """Return the coefficients A (n, m) of the training rows, of the centered kernel."""
        total = self.values[:, None] + np.atleast_1d(np.asarray(ridge, dtype=np.float64))[None, :]
        smallest = len(self.values) * np.finfo(np.float64).eps * max(float(self.values.max(initial=0.0)), 1e-300)
        inverse = np.where(total > smallest, 1.0 / np.maximum(total, smallest), 0.0)
        return np.asarray(self.vectors @ (inverse * self.turned))

    def center(self, kernel: FloatArray) -> FloatArray:
        """Return the centered kernel (k, n) between new rows and those of the training."""
        return np.asarray(kernel - kernel.mean(axis=1, keepdims=True) - self.column_mean + self.grand_mean)

    def predict(self, kernel: FloatArray, ridge: float | FloatArray) -> FloatArray:
        """Return targets (k, m) of new rows from their kernel with the training rows (k, n)."""
        return np.asarray(self.mean + self.center(kernel) @ self.dual(ridge))


def cross_validate_kernel(
    kernel: FloatArray, targets: FloatArray, folds: NDArray[np.int64], ridges: ArrayLike, relative: bool = True
) -> FloatArray:
    """Return the targets of every row predicted by the other folds, at all ridges: (L, n, m).

    Parameters
    ----------
    folds
        Fold of every row (n,).
    relative
        Whether a ridge is in units of the mean diagonal of the centered training kernel.
    """
    values = np.atleast_1d(np.asarray(ridges, dtype=np.float64))
    result = np.empty((len(values), *targets.shape))
    for fold in np.unique(folds):
        held, kept = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        fit = KernelFit.of(kernel[np.ix_(kept, kept)], targets[kept])
        across = fit.center(kernel[np.ix_(held, kept)]) @ fit.vectors
        unit = float(fit.values.mean()) if relative else 1.0
        for number, ridge in enumerate(values):
            result[number, held] = fit.mean + across @ (fit.turned / (fit.values + ridge * unit)[:, None])
    return result
