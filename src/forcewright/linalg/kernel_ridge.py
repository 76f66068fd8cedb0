"""Kernel ridge regression of many targets at once, at many ridges by one eigendecomposition.

    F(x) = m + k(x)ᵀ A,    A = (K_c + λ)⁻¹ (Y - m)

with K_c the kernel centered over the training rows and m the mean of the targets there, so that a constant is
not damped. Rows may have weights w: means are weighted, and √w multiplies rows and columns of the kernel. For a linear
kernel K = X Xᵀ this is ridge regression with an intercept, at the cost of the number of rows instead of the number of
columns (Saunders, Gammerman and Vovk, ICML 1998).
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
    weights
        Of the training rows (n,), with mean 1.
    """

    mean: FloatArray
    column_mean: FloatArray
    grand_mean: float
    vectors: FloatArray
    values: FloatArray
    turned: FloatArray
    weights: FloatArray

    @classmethod
    def of(cls, kernel: FloatArray, targets: FloatArray, weights: FloatArray | None = None) -> KernelFit:
        """Decompose the kernel (n, n) of the training rows; ``targets`` (n, m), ``weights`` (n,), all above 0."""
        if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or len(targets) != len(kernel):
            raise InputError(f"kernel {kernel.shape} and targets {targets.shape} do not fit", field="kernel")
        if not (np.isfinite(kernel).all() and np.isfinite(targets).all()):
            raise InputError("kernel and targets must be finite numbers", field="kernel")
        weights = np.ones(len(kernel)) if weights is None else np.asarray(weights / np.mean(weights))
        parts, root = weights / len(weights), np.sqrt(weights)
        column = parts @ kernel
        grand = float(column @ parts)
        centered = kernel - column[:, None] - column[None, :] + grand
        values, vectors = scipy.linalg.eigh(centered * np.outer(root, root))
        mean = parts @ targets
        turned = vectors.T @ (root[:, None] * (targets - mean))
        return cls(mean, column, grand, vectors, np.maximum(values, 0.0), turned, weights)

    @property
    def loadings(self) -> FloatArray:
        """Eigenvectors (n, n) as they multiply rows of the kernel."""
        return np.sqrt(self.weights)[:, None] * self.vectors

    def dual(self, ridge: float | FloatArray) -> FloatArray:
        """Return the coefficients A (n, m) of the training rows, of the centered kernel."""
        total = self.values[:, None] + np.atleast_1d(np.asarray(ridge, dtype=np.float64))[None, :]
        smallest = len(self.values) * np.finfo(np.float64).eps * max(float(self.values.max(initial=0.0)), 1e-300)
        inverse = np.where(total > smallest, 1.0 / np.maximum(total, smallest), 0.0)
        return np.asarray(self.loadings @ (inverse * self.turned))

    def center(self, kernel: FloatArray) -> FloatArray:
        """Return the centered kernel (k, n) between new rows and those of the training."""
        means = kernel @ self.weights / len(self.weights)
        return np.asarray(kernel - means[:, None] - self.column_mean + self.grand_mean)

    def predict(self, kernel: FloatArray, ridge: float | FloatArray) -> FloatArray:
        """Return targets (k, m) of new rows from their kernel with the training rows (k, n)."""
        return np.asarray(self.mean + self.center(kernel) @ self.dual(ridge))


def cross_validate_kernel(
    kernel: FloatArray, targets: FloatArray, folds: NDArray[np.int64], ridges: ArrayLike, relative: bool = True,
    weights: FloatArray | None = None,
) -> FloatArray:  # fmt: skip
    """Return the targets of every row predicted by the other folds, at all ridges: (L, n, m).

    Parameters
    ----------
    folds
        Fold of every row (n,).
    relative
        Whether a ridge is in units of the mean diagonal of the centered training kernel.
    weights
        Of the rows (n,).
    """
    values = np.atleast_1d(np.asarray(ridges, dtype=np.float64))
    result = np.empty((len(values), *targets.shape))
    for fold in np.unique(folds):
        held, kept = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        fit = KernelFit.of(kernel[np.ix_(kept, kept)], targets[kept], None if weights is None else weights[kept])
        across = fit.center(kernel[np.ix_(held, kept)]) @ fit.loadings
        unit = float(fit.values.mean()) if relative else 1.0
        for number, ridge in enumerate(values):
            result[number, held] = fit.mean + across @ (fit.turned / (fit.values + ridge * unit)[:, None])
    return result
