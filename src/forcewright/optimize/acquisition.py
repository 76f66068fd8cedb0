"""Acquisition functions: how promising a point is, given the posterior of the loss there.

All are maximized; the loss is minimized.

Notation
--------
mean, std   μ(x), σ(x) of the posterior (m,)
best        f(x*), lowest loss so far
xi          ξ, least improvement that counts
kappa       κ, weight of the uncertainty
z           (f(x*) - ξ - μ)/σ, the standardized improvement
Φ, φ        distribution and density of the standard normal

Source: D. F. Thomas du Toit, DPhil thesis, University of Oxford 2025 (du Toit 2025), section 2.2.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr

from forcewright.optimize.space import FloatArray

MIN_STD = 1e-10
"""Floor of σ: at a known point without noise z would be 0/0."""


@dataclass(frozen=True)
class Goal:
    """What an acquisition function compares with: the best loss so far, ξ and κ."""

    best: float
    xi: float
    kappa: float


Acquisition: TypeAlias = Callable[[FloatArray, FloatArray, Goal], FloatArray]


def log_probability_of_improvement(mean: FloatArray, std: FloatArray, goal: Goal) -> FloatArray:
    """Log PI (m,) with PI(x) = P(f(x) < f(x*) - ξ) = Φ(z), from du Toit 2025, eqs. 2.44 and 2.45.

    The logarithm has the same maximum, and slopes where PI has long vanished. His eq. 2.46 prints +ξ; the inequality of
    eq. 2.45 gives -ξ, which is used here: a larger ξ demands more.
    """
    return np.asarray(log_ndtr(_z(mean, std, goal)))


def log_expected_improvement(mean: FloatArray, std: FloatArray, goal: Goal) -> FloatArray:
    """Log EI (m,) with EI(x) = E[max(0, f(x*) - ξ - f(x))] = σ h(z), du Toit 2025, eqs. 2.48, 2.51, 2.52.

    The logarithm has the same maximum, and slopes where EI has long vanished: log EI = log σ + log h(z) with
    h(z) = φ(z) + z Φ(z). For z < -1 the two terms of h cancel, and
    log h(z) = -z²/2 - log(2π)/2 + log(1 - |z| sqrt(π/2) erfcx(|z|/sqrt 2)); for z < -10⁴ the last logarithm is
    -2 log|z| (Ament et al., arXiv:2310.20708 (2023), eq. 9).
    """
    z = _z(mean, std, goal)
    low, far = np.minimum(z, -1.0), z < -1e4
    mills = math.sqrt(math.pi / 2) * -low * erfcx(-low / math.sqrt(2))
    tail = np.where(far, -2 * np.log(-low), np.log1p(-np.where(far, 0.0, mills)))
    left = -(low**2) / 2 - math.log(2 * math.pi) / 2 + tail
    high = np.maximum(z, -1.0)
    right = np.log(_density(high) + high * ndtr(high))
    return np.log(np.maximum(std, MIN_STD)) + np.where(z < -1.0, left, right)


def negative_lower_confidence_bound(mean: FloatArray, std: FloatArray, goal: Goal) -> FloatArray:
    """-LCB(x) = κ σ(x) - μ(x) (m,), du Toit 2025, eq. 2.53; to be maximized like the others."""
    return goal.kappa * std - mean


ACQUISITIONS: dict[str, Acquisition] = {
    "ei": log_expected_improvement, "pi": log_probability_of_improvement, "lcb": negative_lower_confidence_bound,
}  # fmt: skip
"""What is maximized under each name."""


def _z(mean: FloatArray, std: FloatArray, goal: Goal) -> FloatArray:
    return (goal.best - goal.xi - mean) / np.maximum(std, MIN_STD)


def _density(z: FloatArray) -> FloatArray:
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
