"""Arrhenius fits of numbers that follow the law, and their errors over many seeds."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units

from forcewright import analyze
from forcewright.errors import InputError

KELVIN = np.array([500.0, 600.0, 700.0, 900.0, 1100.0])
TRUE = 3e-3 * np.exp(-0.35 / (units.kB * KELVIN))


def test_numbers_that_follow_the_law() -> None:
    fit = analyze.arrhenius(KELVIN, TRUE, 0.1 * TRUE)
    assert fit.activation_energy_eV == pytest.approx(0.35, rel=1e-10)
    assert fit.prefactor == pytest.approx(3e-3, rel=1e-10)
    assert fit.chi2_per_freedom == pytest.approx(0.0, abs=1e-15)
    value, _ = fit.predict([300.0])
    assert value[0] == pytest.approx(3e-3 * np.exp(-0.35 / (units.kB * 300)), rel=1e-9)
    conductivity = analyze.arrhenius(KELVIN, TRUE / KELVIN, 0.1 * TRUE / KELVIN, quantity="conductivity")
    assert conductivity.activation_energy_eV == pytest.approx(0.35, rel=1e-10)
    assert conductivity.predict(KELVIN)[0] == pytest.approx(TRUE / KELVIN, rel=1e-9)


def test_numpy() -> None:
    rng = np.random.default_rng(0)
    relative = np.array([0.3, 0.1, 0.08, 0.05, 0.02])
    noisy = TRUE * np.exp(relative * rng.normal(size=5))
    fit = analyze.arrhenius(KELVIN, noisy, relative * noisy)
    slope, covariance = np.polyfit(-1 / (units.kB * KELVIN), np.log(noisy), 1, w=1 / relative, cov="unscaled")
    assert fit.activation_energy_eV == pytest.approx(slope[0], rel=1e-9)
    np.testing.assert_allclose(fit.covariance, covariance[::-1, ::-1], rtol=1e-8)
    plain = analyze.arrhenius(KELVIN, noisy)
    slope, covariance = np.polyfit(-1 / (units.kB * KELVIN), np.log(noisy), 1, cov=True)
    assert plain.activation_energy_error_eV == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-8)


def test_errors_hold_over_seeds() -> None:
    rng, inside, deviations = np.random.default_rng(1), [], []
    for _ in range(400):
        noisy = TRUE * (1 + 0.05 * rng.normal(size=5))
        fit = analyze.arrhenius(KELVIN, noisy, 0.05 * TRUE)
        inside.append(abs(fit.activation_energy_eV - 0.35) < 1.96 * fit.activation_energy_error_eV)
        value, error = fit.predict([300.0])
        deviations.append(np.log(value[0] / (3e-3 * np.exp(-0.35 / (units.kB * 300)))) / (error[0] / value[0]))
    assert 0.91 < np.mean(inside) < 0.98
    assert 0.9 < np.std(deviations) < 1.1


def test_figure() -> None:
    ax = analyze.arrhenius(KELVIN, TRUE, 0.1 * TRUE).plot()
    assert "0.350" in ax.get_legend().get_texts()[0].get_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([300.0], [1.0], [0.1]), "two different temperatures"),
        (([300.0, 400.0], [1.0, 2.0]), "without errors"),
        (([300.0, 400.0], [1.0, 0.0], [0.1, 0.1]), "above 0"),
        (([300.0, 400.0], [1.0, 2.0, 3.0]), "one length"),
        (([300.0, 400.0], [1.0, 2.0], [0.1, 0.0]), "errors"),
    ],
)
def test_mistakes_get_a_sentence(arguments: tuple, words: str) -> None:
    with pytest.raises(InputError, match=words):
        analyze.arrhenius(*arguments)
