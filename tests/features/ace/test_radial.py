"""Radial functions against finite differences, orthonormality, known values and the switch's definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scalar_evaluator import interpolate

from forcewright.errors import InputError
from forcewright.features.ace.expansion import CORE_MODES, RADIAL_FAMILIES, Bond
from forcewright.features.ace.radial import core_repulsion, radial_functions, switch, tabulate


def bond(family: str = "SBessel", nradbase: int = 6, **changes: float) -> Bond:
    made = Bond(family, 5.0, np.ones((2, 3, nradbase)), 3.3, 0.7, 40.0, 1.3, 1.6, 0.4)  # type: ignore[arg-type]
    return replace(made, **changes)


def slope(function, r: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Central differences of eighth order."""
    weights = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
    return sum(w * (function(r + k * step) - function(r - k * step)) for k, w in enumerate(weights, 1)) / step


# Away from the ends of the switches, where a third derivative jumps, and from sharp inner cuts.
DISTANCES = np.concatenate([np.linspace(1.23, 1.57, 9), np.linspace(1.63, 4.27, 40), np.linspace(4.33, 4.97, 15)])


@pytest.mark.parametrize("family", RADIAL_FAMILIES)
@pytest.mark.parametrize("mode", CORE_MODES)
def test_derivatives_match_finite_differences(family: str, mode: str) -> None:
    made = bond(family)
    _, dg = radial_functions(made, DISTANCES, mode)  # type: ignore[arg-type]
    expected = slope(lambda r: radial_functions(made, r, mode)[0], DISTANCES)  # type: ignore[arg-type]
    np.testing.assert_allclose(dg, expected, atol=2e-9, rtol=1e-9)


@pytest.mark.parametrize("mode", CORE_MODES)
def test_core_derivatives_match_finite_differences(mode: str) -> None:
    made = bond()
    _, dphi = core_repulsion(made, mode, 14, 8, DISTANCES)  # type: ignore[arg-type]
    expected = slope(lambda r: core_repulsion(made, mode, 14, 8, r)[0], DISTANCES)  # type: ignore[arg-type]
    np.testing.assert_allclose(dphi, expected, atol=2e-9, rtol=1e-8)


def test_simplified_bessel_functions_are_orthonormal_and_end_smoothly() -> None:
    made = bond("SBessel", 9, inner=0.0, inner_width=0.0)
    nodes, weights = np.polynomial.legendre.leggauss(80)
    r = 2.5 * (nodes + 1)
    g, _ = radial_functions(made, r, "density")
    np.testing.assert_allclose((g * (2.5 * weights * r**2)) @ g.T, np.eye(9), atol=1e-12)
    near, dnear = radial_functions(made, np.array([5.0 - 1e-6]), "density")
    assert np.abs(near).max() < 1e-9
    assert np.abs(dnear).max() < 1e-3


def test_chebyshev_families_reduce_to_cosines() -> None:
    r = np.array([1.0, 2.5, 4.0])
    g, _ = radial_functions(bond("ChebLinear", inner=0.0, inner_width=0.0), r, "density")
    np.testing.assert_allclose(g[2], 0.5 - 0.5 * np.cos(3 * np.arccos(1 - r / 5)), rtol=1e-13)
    g, _ = radial_functions(bond("ChebPow", inner=0.0, inner_width=0.0), r, "density")
    np.testing.assert_allclose(g[1], 0.5 - 0.5 * np.cos(2 * np.arccos(1 - 2 * (1 - r / 5) ** 3.3)), atol=1e-14)
    g, _ = radial_functions(bond("ChebExpCos", inner=0.0, inner_width=0.0), r, "density")
    np.testing.assert_allclose(g[0], 0.5 + 0.5 * np.cos(np.pi * r / 5), rtol=1e-13)


@pytest.mark.parametrize("family", RADIAL_FAMILIES)
def test_one_function_is_enough(family: str) -> None:
    g, dg = radial_functions(bond(family, 1), np.array([2.0, 3.0]), "distance")
    assert g.shape == dg.shape == (1, 2)


def test_switch_is_one_then_zero_and_a_step_without_width() -> None:
    value, derivative = switch(np.array([1.0, 1.5, 1.75, 2.0, 3.0]), 2.0, 0.5)
    np.testing.assert_allclose(value, [1, 1, 0.5, 0, 0], atol=1e-15)
    np.testing.assert_allclose(derivative, [0, 0, -3.75, 0, 0], atol=1e-15)
    value, derivative = switch(np.array([1.0, 2.0, 2.1]), 2.0, 0.0)
    assert value.tolist() == [1, 0, 0]
    assert not derivative.any()


def test_inner_cuts_by_mode() -> None:
    r = np.array([0.9, 1.1, 1.25, 1.7])
    seen = {mode: radial_functions(bond(), r, mode)[0][0] != 0 for mode in CORE_MODES}
    assert all(mask.tolist() == [False, False, True, True] for mask in seen.values())
    sharp = bond(inner=0.0, inner_width=0.0)
    assert (radial_functions(sharp, r, "density")[0][0] != 0).all()
    assert (radial_functions(sharp, r, "zbl")[0][0] != 0).tolist() == [False, True, True, True]


def test_zbl_is_half_the_universal_repulsion_at_short_range() -> None:
    made = bond(cutoff=6.0, cutoff_width=1.0, core_prefactor=1.0)
    r = np.array([0.1, 0.2])
    phi, _ = core_repulsion(made, "zbl", 14, 14, r)
    a = 0.46850 / (2 * 14**0.23)
    amplitudes, rates = [0.18175, 0.50986, 0.28022, 0.02817], [3.19980, 0.94229, 0.40290, 0.20162]
    screening = sum(c * np.exp(-b * r / a) for c, b in zip(amplitudes, rates, strict=True))
    np.testing.assert_allclose(phi, 0.5 * 14.3996454 * 196 / r * screening, rtol=1e-5)


def test_zbl_without_width_is_an_error_in_words() -> None:
    with pytest.raises(InputError, match="needs a width"):
        core_repulsion(bond(cutoff_width=0.0), "zbl", 14, 14, np.array([1.0]))


def test_table_interpolates_to_fourth_order_and_ends_at_zero() -> None:
    table = tabulate(bond("ChebPow"), "density", 14, 14, 0.0013)
    assert table.bins == int(5 / 0.0013)
    assert not table.values[-1].any() and not table.slopes[-1].any()
    r = np.random.default_rng(1).uniform(1.7, 4.99, 500)
    value, derivative = interpolate(table, r)
    g, dg = radial_functions(bond("ChebPow"), r, "density")
    phi, dphi = core_repulsion(bond("ChebPow"), "density", 14, 14, r)
    np.testing.assert_allclose(value, np.vstack([g, phi[None]]), atol=1e-10)
    np.testing.assert_allclose(derivative, np.vstack([dg, dphi[None]]), atol=1e-6)
    assert not np.any(interpolate(table, np.array([5.0, 6.0])))


@pytest.mark.parametrize("width", [0.0, -1.0, 3.0])
def test_unusable_bins_are_an_error_in_words(width: float) -> None:
    with pytest.raises(InputError, match="half the cutoff"):
        tabulate(bond(), "distance", 14, 14, width)
