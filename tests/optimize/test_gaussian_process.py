from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from forcewright.optimize.gaussian_process import JITTER, Kernel, condition, fit

KERNEL = Kernel(1.7, np.array([0.3, 0.8, 2.0]), 1e-3)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    X = rng.random((15, 3))
    return X, np.sin(4 * X[:, 0]) + X[:, 1] ** 2, rng.random((40, 3))


def test_posterior_against_scikit_learn(data: tuple[np.ndarray, ...]) -> None:
    X, y, x = data
    kernel = ConstantKernel(1.7) * Matern([0.3, 0.8, 2.0], nu=2.5) + WhiteKernel(1e-3)
    mean, std = GaussianProcessRegressor(kernel, alpha=JITTER, optimizer=None).fit(X, y).predict(x, return_std=True)
    ours = condition(KERNEL, X, y).predict(x)
    np.testing.assert_allclose(ours[0], mean, rtol=1e-8)
    np.testing.assert_allclose(ours[1] ** 2, std**2 - 1e-3, rtol=1e-6)


def test_posterior_of_one_point_in_closed_form() -> None:
    kernel, X, y = Kernel(2.0, np.array([0.5]), 0.1), np.array([[0.2]]), np.array([1.5])
    r = np.sqrt(5) * 0.3 / 0.5
    k = 2.0 * (1 + r + r**2 / 3) * np.exp(-r)
    mean, std = condition(kernel, X, y).predict(np.array([[0.5]]))
    np.testing.assert_allclose(mean, k / 2.1 * 1.5)
    np.testing.assert_allclose(std**2, 2.0 - k**2 / 2.1)


def test_believed_points_keep_the_mean_and_shrink_the_uncertainty(data: tuple[np.ndarray, ...]) -> None:
    X, y, x = data
    before = condition(KERNEL, X, y)
    after = before.believe(x[:2])
    np.testing.assert_allclose(after.predict(x)[0], before.predict(x)[0], atol=1e-3)
    assert (after.predict(x)[1] <= before.predict(x)[1] + 1e-12).all()
    assert (after.predict(x[:2])[1] < 0.05).all()
    assert before.believe(x[:0]) is before


def test_fit_finds_which_feature_matters(data: tuple[np.ndarray, ...]) -> None:
    rng = np.random.default_rng(0)
    X = rng.random((40, 3))
    y = np.sin(6 * X[:, 0])
    model = fit(X, (y - y.mean()) / y.std(), rng)
    assert 3 * model.kernel.lengths[0] < model.kernel.lengths[1:].min()
    x = rng.random((50, 3))
    np.testing.assert_allclose(model.predict(x)[0] * y.std() + y.mean(), np.sin(6 * x[:, 0]), atol=0.02)


def test_fit_finds_the_noise() -> None:
    rng = np.random.default_rng(0)
    X = rng.random((80, 1))
    y = np.sin(6 * X[:, 0]) + 0.3 * rng.standard_normal(80)
    model = fit(X, (y - y.mean()) / y.std(), rng)
    assert 0.2 < np.sqrt(model.kernel.noise) * y.std() < 0.4


def test_same_generator_same_fit(data: tuple[np.ndarray, ...]) -> None:
    X, y, x = data
    first, second = (fit(X, y - y.mean(), np.random.default_rng(3)).predict(x) for _ in range(2))
    np.testing.assert_array_equal(first, second)
