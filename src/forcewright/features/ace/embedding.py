"""The functions of a density, f(ρ; m), with two derivatives: a fit to forces needs the second.

Both are odd and behave as sign(ρ)|ρ|^m away from zero; near zero they are made linear in different ways (Lysogorskiy et
al., npj Comput. Mater. 7, 97 (2021), supplement).
"""

from __future__ import annotations

import numpy as np

from forcewright.features.ace.expansion import Embedding
from forcewright.structure import FloatArray

_STEEP = 1e6  # inverse density at which "FinnisSinclair" turns linear


def embed(embedding: Embedding, densities: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return w_p f(ρ_p; m_p) and its first and second derivatives in ρ_p, each shaped as ``densities`` (N, P)."""
    results = [np.empty_like(densities) for _ in range(3)]
    single = _shifted_scaled if embedding.kind == "FinnisSinclairShiftedScaled" else _finnis_sinclair
    for p, (weight, exponent) in enumerate(zip(embedding.weights, embedding.exponents, strict=True)):
        for result, value in zip(results, single(densities[:, p], exponent), strict=True):
            result[:, p] = weight * value
    return results[0], results[1], results[2]


def _shifted_scaled(rho: FloatArray, exponent: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Take f = s[(x + a)^m - y] with a = |ρ|, x = q^(q/(1-q)) e^-a, y = q^(1/(1-q)) e^-a and q = 1/m."""
    if abs(exponent - 1) < 1e-10:
        return rho, np.ones_like(rho), np.zeros_like(rho)
    q, a, sign = 1.0 / exponent, np.abs(rho), np.where(rho < 0, -1.0, 1.0)
    x, y = q ** (q / (1 - q)) * np.exp(-a), q ** (1 / (1 - q)) * np.exp(-a)
    base = x + a
    first = y + exponent * (1 - x) * base ** (exponent - 1)
    second = -y + exponent * (x * base ** (exponent - 1) + (exponent - 1) * (1 - x) ** 2 * base ** (exponent - 2))
    return sign * (base**exponent - y), first, sign * second


def _finnis_sinclair(rho: FloatArray, exponent: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Take f = s[(1 - g) a^m + W^(1-m) g a] with a = |ρ| and g = exp(-(W a)³)."""
    a, sign = np.abs(rho), np.where(rho < 0, -1.0, 1.0)
    slope = _STEEP ** (1 - exponent)
    tiny = a <= 1e-10
    safe = np.where(tiny, 1.0, a)
    cubed = np.minimum((_STEEP * safe) ** 3, 1e3)
    g = np.where(cubed > 30, 0.0, np.exp(-cubed))
    dg = -3 * _STEEP**3 * safe**2 * g
    ddg = (-6 * _STEEP**3 * safe + 9 * _STEEP**6 * safe**4) * g
    power, d_power = safe**exponent, exponent * safe ** (exponent - 1)
    dd_power = exponent * (exponent - 1) * safe ** (exponent - 2)
    value = (1 - g) * power + slope * g * safe
    first = d_power * (1 - g) + slope * g + dg * (slope * safe - power)
    second = dd_power * (1 - g) + ddg * (slope * safe - power) + 2 * dg * (slope - d_power)
    return np.where(tiny, slope * rho, sign * value), np.where(tiny, slope, first), np.where(tiny, 0.0, sign * second)
