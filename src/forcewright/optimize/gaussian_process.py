"""Gaussian process with a Matérn-5/2 kernel, one length per feature, and a noise term.

Notation
--------
X        (n, q) features of the known points
y        (n,) standardized targets
x        (m, q) features of the points to predict
lengths  ℓ (q,), one per feature (automatic relevance determination)
variance a, prior variance of the function
noise    s, variance of the noise
r        scaled distance, r² = Σ_k (x_k - x'_k)²/ℓ_k²
K        (n, n) covariance of the targets, k(X, X) + s 1
L        Cholesky factor of K
alpha    K⁻¹ y (n,)

Hyperparameters are fitted by scikit-learn; conditioning is written out here, so that points can be added
without a new fit. Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

from forcewright.optimize.space import FloatArray

JITTER = 1e-10
LENGTH_BOUNDS = (0.02, 50.0)
VARIANCE_BOUNDS = (0.05, 50.0)
NOISE_BOUNDS = (1e-7, 1.0)
RESTARTS = 1
"""Fits from random hyperparameters, besides the one from the center of the prior."""


@dataclass(frozen=True)
class Kernel:
    """Hyperparameters of the process."""

    variance: float
    lengths: FloatArray
    noise: float

    def __call__(self, x1: FloatArray, x2: FloatArray) -> FloatArray:
        """Return the covariance (m1, m2) of the function, without the noise.

        k(x, x') = a (1 + √5 r + 5 r²/3) exp(-√5 r), Rasmussen and Williams (2006), eq. 4.17.
        """
        a, b = x1 / self.lengths, x2 / self.lengths
        squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
        r = np.sqrt(5.0 * np.maximum(squared, 0.0))
        return np.asarray(self.variance * (1.0 + r + r**2 / 3.0) * np.exp(-r))


@dataclass(frozen=True)
class GaussianProcess:
    """A process conditioned on points; see `condition` and `fit`."""

    kernel: Kernel
    X: FloatArray
    y: FloatArray
    L: FloatArray
    alpha: FloatArray

    def predict(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation (m,) of the function, noise not included.

        μ = k(x, X) K⁻¹ y and σ² = k(x, x) - k(x, X) K⁻¹ k(X, x), Rasmussen and Williams (2006), eqs. 2.25, 2.26.
        """
        k_x = self.kernel(x, self.X)
        v = solve_triangular(self.L, k_x.T, lower=True, check_finite=False)
        variance = self.kernel.variance - (v**2).sum(axis=0)
        return k_x @ self.alpha, np.sqrt(np.maximum(variance, 0.0))

    def believe(self, x: FloatArray) -> GaussianProcess:
        """Add points (m, q) with their posterior mean as value; the hyperparameters stay.

        The kriging believer of Ginsbourger, Le Riche and Carraro (2010), algorithm 1: the mean stays as it is and
        the uncertainty around the points shrinks.
        """
        if len(x) == 0:
            return self
        return condition(self.kernel, np.vstack([self.X, x]), np.concatenate([self.y, self.predict(x)[0]]))


def condition(kernel: Kernel, X: FloatArray, y: FloatArray) -> GaussianProcess:
    """Condition on points X (n, q) with targets y (n,), Rasmussen and Williams (2006), algorithm 2.1, lines 2 and 3."""
    K = kernel(X, X) + (kernel.noise + JITTER) * np.eye(len(X))
    factor = cho_factor(K, lower=True)
    return GaussianProcess(kernel, X, y, np.tril(factor[0]), cho_solve(factor, y))


def fit(X: FloatArray, y: FloatArray, rng: np.random.Generator) -> GaussianProcess:
    """Find the hyperparameters of largest posterior probability and condition on features X (n, q) and targets y (n,).

    The targets have mean 0 and standard deviation 1; ``rng`` draws the starting points of the restarts.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    q = X.shape[1]
    center = np.exp(_prior(q)[0])
    kernel = ConstantKernel(center[0], VARIANCE_BOUNDS) * Matern(
        center[1:-1], [LENGTH_BOUNDS] * q, nu=2.5
    ) + WhiteKernel(center[-1], NOISE_BOUNDS)
    regressor = GaussianProcessRegressor(
        kernel, alpha=JITTER, optimizer=_maximize_posterior, n_restarts_optimizer=RESTARTS,
        random_state=int(rng.integers(2**31)),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound is a result, not a failure
        regressor.fit(X, y)
    theta = np.exp(regressor.kernel_.theta)
    return condition(Kernel(float(theta[0]), theta[1:-1], float(theta[-1])), X, y)


def _prior(q: int) -> tuple[FloatArray, FloatArray]:
    """Return center and width (q + 2,) of the normal prior of log(a), log(ℓ) …, log(s).

    With few points the likelihood alone runs to the bounds. Lengths grow as √q because distances do
    (Hvarfner, Hellsten and Nardi, arXiv:2402.02229 (2024), eq. 7, with a narrower width).
    """
    center = [0.0, *[math.log(0.5 * math.sqrt(q))] * q, math.log(1e-4)]
    return np.array(center), np.array([1.0, *[1.0] * q, 2.0])


def _maximize_posterior(
    objective: Callable[[FloatArray], tuple[float, FloatArray]], initial_theta: FloatArray, bounds: FloatArray
) -> tuple[FloatArray, float]:
    """Minimize the negative log marginal likelihood plus the negative log prior; scikit-learn's optimizer contract."""
    center, width = _prior(len(initial_theta) - 2)

    def negative_log_posterior(theta: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = objective(theta)
        distance = (theta - center) / width
        return value + 0.5 * float(distance @ distance), gradient + distance / width

    minimum = minimize(
        negative_log_posterior, initial_theta, method="L-BFGS-B", jac=True,
        bounds=[(low, high) for low, high in bounds], options={"maxiter": 100},
    )  # fmt: skip
    return minimum.x, float(minimum.fun)
