"""The functions of a density against complex steps of the published formulas, and against the evaluator."""

from __future__ import annotations

import numpy as np
import pytest

from forcewright.features.ace.basis import AceBasis, RadialSettings
from forcewright.features.ace.basis_functions import generate_functions
from forcewright.features.ace.embedding import embed
from forcewright.features.ace.evaluator import AceEvaluator
from forcewright.features.ace.expansion import EMBEDDINGS, Embedding, EmbeddingKind
from forcewright.structure import Structure

EXPONENTS = (0.3, 0.5, 1.0, 1.7, 2.0)
WEIGHTS = (1.0, -0.7, 2.0, 0.4, 1.5)
DENSITIES = np.concatenate([np.linspace(-5, 5, 41), [1e-3, -1e-3, 1e-5, -1e-5, 3e-6, -1e-6, 4e-7, 1e-7]])


def published(kind: EmbeddingKind, rho: complex, m: float) -> complex:
    """Lysogorskiy et al. (2021), supplement, for numbers right or left of the imaginary axis."""
    sign = 1.0 if rho.real >= 0 else -1.0
    a = sign * rho
    if kind == "FinnisSinclairShiftedScaled":
        if m == 1.0:
            return rho
        q = 1 / m
        x = q ** (q / (1 - q)) * np.exp(-a)
        return sign * ((x + a) ** m - q ** (1 / (1 - q)) * np.exp(-a))
    g = np.exp(-((1e6 * a) ** 3)) if abs(1e6 * a) < 5 else 0.0
    return sign * ((1 - g) * a**m + g * 1e6 ** (1 - m) * a)


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_values_and_derivatives_are_those_of_the_published_formula(kind: EmbeddingKind) -> None:
    embedding = Embedding(kind, WEIGHTS, EXPONENTS)
    value, first, second = embed(embedding, np.repeat(DENSITIES[:, None], len(EXPONENTS), axis=1))
    for p, (weight, m) in enumerate(zip(WEIGHTS, EXPONENTS, strict=True)):
        for k, rho in enumerate(DENSITIES):
            assert value[k, p] == pytest.approx(weight * published(kind, complex(rho), m).real, rel=1e-12, abs=1e-15)
            if rho == 0:
                continue
            step = 1e-20 * abs(rho)
            slope = published(kind, complex(rho, step), m).imag / step
            assert first[k, p] == pytest.approx(weight * slope, rel=1e-10)
            # the length over which the function bends: about 1 for the one, the density itself for the other
            bend = max(abs(rho), 0.1) if kind == "FinnisSinclairShiftedScaled" else abs(rho)
            step = 1e-3 * bend
            middle, up = published(kind, complex(rho), m), published(kind, complex(rho, step), m)
            scale = abs(weight) * (abs(middle) / bend**2 + abs(slope) / bend + 1)
            assert second[k, p] == pytest.approx(2 * weight * (middle - up).real / step**2, abs=1e-5 * scale)


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_derivatives_are_continuous_through_zero(kind: EmbeddingKind) -> None:
    near = np.array([-1e-9, -1e-12, 0.0, 1e-12, 1e-9])
    embedding = Embedding(kind, WEIGHTS, EXPONENTS)
    value, first, second = embed(embedding, np.repeat(near[:, None], len(EXPONENTS), axis=1))
    np.testing.assert_allclose(value, -value[::-1], rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(value[[1, 3]], first[2] * near[[1, 3], None], rtol=1e-3, atol=1e-15)
    np.testing.assert_allclose(first, np.repeat(first[2:3], 5, axis=0), rtol=1e-5)
    assert np.isfinite(second).all()


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_values_are_those_of_the_evaluator(kind: EmbeddingKind) -> None:
    """Pairs of carbon have densities from 0 to 5, pairs of silicon from -5 to 0, by their distance."""
    distances = np.linspace(1.2, 3.95, 40)
    radial, cutoffs = RadialSettings(), ((4.0, 4.0), (4.0, 4.0))
    basis = AceBasis((6, 14), radial, cutoffs, generate_functions(2, nradmax=(1,), lmax=(0,)))
    pairs = [Structure([z, z], [[0, 0, 0], [0, 0, d]]) for z in (6, 14) for d in distances]
    largest = basis.project(pairs[0]).max()
    own = np.array([[5.0 / largest], [5.0 / largest], [-5.0 / largest], [-5.0 / largest]])
    coefficients = own * np.linspace(0.4, 1.0, len(EXPONENTS))
    embedding = Embedding(kind, WEIGHTS, EXPONENTS)
    evaluator = AceEvaluator(basis.expansion(coefficients, {}, embedding))
    for pair in pairs:
        expected = embed(embedding, basis.project(pair) @ coefficients)[0].sum(axis=1)
        np.testing.assert_allclose(evaluator.evaluate(pair, forces=False).energies, expected, atol=1e-8)
