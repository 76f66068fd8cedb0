from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from forcewright.optimize.acquisition import (
    Goal,
    log_expected_improvement,
    log_probability_of_improvement,
    negative_lower_confidence_bound,
)

MEAN = np.array([0.3, -0.5, 1.2, 0.0])
STD = np.array([0.5, 0.1, 2.0, 1.0])
GOAL = Goal(best=0.1, xi=0.05, kappa=2.0)


def test_monte_carlo() -> None:
    y = MEAN + STD * np.random.default_rng(0).standard_normal((400_000, 4))
    improvement = np.maximum(GOAL.best - GOAL.xi - y, 0)
    np.testing.assert_allclose(np.exp(log_expected_improvement(MEAN, STD, GOAL)), improvement.mean(axis=0), rtol=0.01)
    np.testing.assert_allclose(
        np.exp(log_probability_of_improvement(MEAN, STD, GOAL)), (improvement > 0).mean(axis=0), rtol=0.01
    )


def test_integral_of_eq_2_50() -> None:
    target = GOAL.best - GOAL.xi
    for k in range(4):
        exact = quad(lambda y, k=k: (target - y) * norm.pdf(y, MEAN[k], STD[k]), MEAN[k] - 10 * STD[k], target)[0]
        np.testing.assert_allclose(np.exp(log_expected_improvement(MEAN, STD, GOAL))[k], exact, rtol=1e-7)


def test_textbook_values() -> None:
    one, zero = np.ones(1), np.zeros(1)
    goal = Goal(best=0.0, xi=0.0, kappa=1.96)
    np.testing.assert_allclose(np.exp(log_expected_improvement(zero, one, goal)), 1 / np.sqrt(2 * np.pi))
    np.testing.assert_allclose(np.exp(log_probability_of_improvement(zero, one, goal)), 0.5)
    np.testing.assert_allclose(negative_lower_confidence_bound(zero, one, goal), 1.96)


def test_larger_xi_asks_for_more() -> None:
    greedy, patient = Goal(0.1, 0.0, 2.0), Goal(0.1, 0.5, 2.0)
    assert (
        np.exp(log_probability_of_improvement(MEAN, STD, patient))
        < np.exp(log_probability_of_improvement(MEAN, STD, greedy))
    ).all()
    assert (
        np.exp(log_expected_improvement(MEAN, STD, patient)) < np.exp(log_expected_improvement(MEAN, STD, greedy))
    ).all()


def test_known_point_without_noise() -> None:
    mean, std = np.array([0.0, 1.0]), np.zeros(2)
    np.testing.assert_allclose(np.exp(log_expected_improvement(mean, std, Goal(0.5, 0.0, 1.0))), [0.5, 0.0])
    np.testing.assert_allclose(np.exp(log_probability_of_improvement(mean, std, Goal(0.5, 0.0, 1.0))), [1.0, 0.0])
    assert np.isfinite(log_expected_improvement(mean, std, Goal(0.5, 0.0, 1.0))).all()


@pytest.mark.parametrize("z", [3.0, 0.0, -0.999, -1.001, -5.0, -30.0, -1e3, -9e3, -2e4])
def test_logarithms_hold_where_the_functions_vanish(z: float) -> None:
    mean, std, goal = np.array([-z]), np.ones(1), Goal(0.0, 0.0, 1.0)
    # h(z) = φ(z) ∫ t exp(z t - t²/2) dt over t > 0, with t in units of 1/(1 + |z|): the integrand is of order 1
    unit = 1 / (1 + abs(z))
    integral = quad(lambda t: t * np.exp(z * t * unit - (t * unit) ** 2 / 2), 0, 60, epsabs=0, epsrel=1e-12)[0]
    exact = np.log(integral * unit**2) + norm.logpdf(z), norm.logcdf(z)
    np.testing.assert_allclose(log_expected_improvement(mean, std, goal)[0], exact[0], rtol=1e-9)
    np.testing.assert_allclose(log_probability_of_improvement(mean, std, goal)[0], exact[1], rtol=1e-9)
