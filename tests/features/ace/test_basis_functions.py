"""Basis functions: couplings against tables and group theory, invariance, independence, completeness and order."""

from __future__ import annotations

from itertools import product
from math import sqrt

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from forcewright.errors import InputError
from forcewright.features.ace.basis_functions import basis_function, generate_functions
from forcewright.features.ace.clebsch_gordan import clebsch_gordan, coupling_tensor
from forcewright.features.ace.conversion import to_products
from forcewright.features.ace.couplings import independent_couplings
from forcewright.features.ace.expansion import BasisFunction, ProductFunction

#: Review of Particle Physics, table 45 "Clebsch-Gordan coefficients": l1 m1 l2 m2 l3 m3 and value
TABULATED = [
    (1, 1, 1, 1, 2, 2, 1.0),
    (1, 1, 1, 0, 1, 1, sqrt(1 / 2)),
    (1, 0, 1, 1, 1, 1, -sqrt(1 / 2)),
    (1, 1, 1, -1, 0, 0, sqrt(1 / 3)),
    (1, 0, 1, 0, 0, 0, -sqrt(1 / 3)),
    (1, 0, 1, 0, 2, 0, sqrt(2 / 3)),
    (1, 0, 1, 0, 1, 0, 0.0),
    (2, 2, 1, -1, 1, 1, sqrt(3 / 5)),
    (2, 1, 1, 0, 1, 1, -sqrt(3 / 10)),
    (2, 0, 1, 0, 1, 0, -sqrt(2 / 5)),
    (2, 1, 1, -1, 1, 0, sqrt(3 / 10)),
    (2, 0, 1, 0, 3, 0, sqrt(3 / 5)),
    (2, 2, 2, -1, 2, 1, sqrt(3 / 7)),
    (2, 0, 2, 0, 2, 0, -sqrt(2 / 7)),
    (2, 1, 2, -1, 4, 0, sqrt(8 / 35)),
    (2, 2, 2, -2, 3, 0, sqrt(1 / 10)),
    (2, 2, 2, -2, 0, 0, sqrt(1 / 5)),
]


@pytest.mark.parametrize(("l1", "m1", "l2", "m2", "l3", "m3", "value"), TABULATED)
def test_tabulated_coefficients(l1: int, m1: int, l2: int, m2: int, l3: int, m3: int, value: float) -> None:
    assert clebsch_gordan(l1, m1, l2, m2, l3, m3) == pytest.approx(value, rel=1e-15, abs=0)


def test_forbidden_coefficients_are_zero() -> None:
    assert clebsch_gordan(1, 0, 1, 0, 3, 0) == 0.0
    assert clebsch_gordan(1, 1, 1, 1, 2, 1) == 0.0
    assert clebsch_gordan(1, 2, 1, 0, 2, 2) == 0.0


@pytest.mark.parametrize(("l1", "l2"), [(1, 1), (2, 1), (3, 2), (4, 4), (8, 6), (12, 12)])
def test_coupling_is_orthogonal(l1: int, l2: int) -> None:
    columns = [coupling_tensor(l1, l2, l3).reshape(-1, 2 * l3 + 1) for l3 in range(abs(l1 - l2), l1 + l2 + 1)]
    matrix = np.concatenate(columns, axis=1)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-14)


@pytest.mark.parametrize("rank", [2, 3, 4, 5, 6])
def test_number_of_couplings_is_what_group_theory_counts(rank: int) -> None:
    """Invariants of O(3) in a product of symmetric powers, counted by the integral of their characters."""
    largest = {2: 8, 3: 6, 4: 4, 5: 3, 6: 2}[rank]
    rng = np.random.default_rng(rank)
    for _ in range(60):
        groups = np.cumsum(rng.integers(0, 2, size=rank) * (np.arange(rank) > 0)).tolist()
        l_of_group = rng.integers(0, largest + 1, size=rank).tolist()
        ls = tuple(l_of_group[group] for group in groups)
        found = len(independent_couplings(ls, tuple(groups)).intermediate)
        assert found == number_of_invariants(ls, groups), (ls, groups)


def number_of_invariants(ls: tuple[int, ...], groups: list[int]) -> int:
    if sum(ls) % 2:
        return 0
    angle = np.pi * (np.arange(400) + 0.5) / 400  # enough points for the trigonometric polynomials to integrate exactly
    total = np.ones_like(angle)
    for group in set(groups):
        members = [ls[index] for index, other in enumerate(groups) if other == group]
        powers = [sum(np.cos(m * k * angle) for m in range(-members[0], members[0] + 1)) for k in range(1, 7)]
        symmetric = [np.ones_like(angle)]  # Newton's identities: h_k = Σ_i p_i h_(k-i) / k
        for k in range(1, len(members) + 1):
            symmetric.append(sum(powers[i - 1] * symmetric[k - i] for i in range(1, k + 1)) / k)
        total = total * symmetric[-1]
    return round(float(np.mean(total * (1 - np.cos(angle)))))


@pytest.mark.parametrize(
    ("species", "nradmax", "lmax"),
    [(1, (5, 3, 2, 2, 2, 1), (0, 3, 3, 2, 2, 2)), (2, (3, 2, 2, 1, 1), (0, 2, 2, 2, 1)), (3, (2, 2, 1, 1), (0, 2, 1, 1))],
)  # fmt: skip
def test_functions_are_invariant_and_independent(species: int, nradmax: tuple[int, ...], lmax: tuple[int, ...]) -> None:
    (functions, *_) = generate_functions(species, nradmax=nradmax, lmax=lmax)
    rng = np.random.default_rng(7)
    values = []
    for index in range(len(functions) + 40):
        neighbors, kinds = rng.normal(size=(9, 3)), rng.integers(0, species, size=9)
        atoms = atomic_base(neighbors, kinds, species)
        values.append([value_of(function, atoms) for function in functions])
        if index < 5:
            rotation = Rotation.random(rng=rng).as_matrix() * (-1 if index % 2 else 1)
            rotated = atomic_base(neighbors @ rotation.T, kinds, species)
            turned = [value_of(function, rotated) for function in functions]
            np.testing.assert_allclose(turned, values[-1], rtol=1e-10, atol=1e-10)
    scaled = np.array(values) / np.linalg.norm(values, axis=0)
    singular = np.linalg.svd(scaled, compute_uv=False)
    assert singular[-1] > 1e-9 * singular[0]


def atomic_base(neighbors: np.ndarray, kinds: np.ndarray, species: int) -> dict[tuple[int, ...], complex]:
    """A_μnlm of unrelated radial functions; those of rank 1 stand under l = m = 0 as well."""
    distance = np.linalg.norm(neighbors, axis=1)
    polar, azimuth = np.arccos(neighbors[:, 2] / distance), np.arctan2(neighbors[:, 1], neighbors[:, 0])
    base = {}
    for n, l in product(range(1, 6), range(4)):  # noqa: E741
        radial = distance**l * np.exp(-0.3 * n * distance) * np.cos((n + 0.4 * l) * distance)
        for m in range(-l, l + 1):
            parts = radial * sph_harm_y(l, m, polar, azimuth) * sqrt(4 * np.pi)
            for mu in range(species):
                base[mu, n, l, m] = complex(parts[kinds == mu].sum())
    return base


def value_of(function: BasisFunction, base: dict[tuple[int, ...], complex]) -> float:
    total = 0.0
    for ms, coefficient in zip(function.ms.tolist(), function.coupling.tolist(), strict=True):
        term = 1.0 + 0.0j
        for factor in zip(function.species, function.ns, function.ls, ms, strict=True):
            term *= base[factor]
        total += coefficient * term.real
    return total


def test_first_functions_are_the_smaller_expansion() -> None:
    large = generate_functions(2, nradmax=(8, 5, 3, 2), lmax=(0, 4, 3, 2), count=400)
    for count in (1, 17, 150, 399):
        small = generate_functions(2, nradmax=(8, 5, 3, 2), lmax=(0, 4, 3, 2), count=count)
        for more, fewer in zip(large, small, strict=True):
            assert [label(one) for one in fewer] == [label(one) for one in more[:count]]


@pytest.mark.parametrize(("l_weight", "rank_weight"), [(0.5, 1.5), (1.0, 0.0), (0.0, 0.3), (0.7, 2.0)])
def test_count_keeps_the_least_degree(l_weight: float, rank_weight: float) -> None:
    limits = {"nradmax": (6, 4, 3, 2), "lmax": (0, 3, 2, 2)}
    weights = {"l_weight": l_weight, "rank_weight": rank_weight}
    (every,) = generate_functions(1, **limits, **weights)  # type: ignore[arg-type]
    degrees = [
        sum(one.ns) - one.rank + l_weight * sum(one.ls) + rank_weight * (one.rank - 1) for one in every
    ]  # fmt: skip
    assert degrees == sorted(degrees)
    (first,) = generate_functions(1, **limits, **weights, count=120)  # type: ignore[arg-type]
    assert [label(one) for one in first] == [label(one) for one in every[:120]]


def test_limits_hold_for_each_rank() -> None:
    nradmax, lmax = (7, 4, 3, 1, 2), (0, 5, 2, 3, 1)
    (functions,) = generate_functions(["Si"], nradmax=nradmax, lmax=lmax)
    for rank in range(1, 6):
        of_rank = [one for one in functions if one.rank == rank]
        assert max(max(one.ns) for one in of_rank) == nradmax[rank - 1]
        assert max(max(one.ls) for one in of_rank) == lmax[rank - 1]
    assert len({label(one) for one in functions}) == len(functions)


def test_every_center_has_its_functions() -> None:
    functions = generate_functions(["C", "H"], nradmax=(3, 2), lmax=(0, 2), count=20)
    for center, of_center in enumerate(functions):
        assert {one.center for one in of_center} == {center}
        assert len(of_center) == 20
    assert len({mu for one in functions[0] for mu in one.species}) == 2


def test_fewer_functions_than_asked_for_are_all_there_are() -> None:
    (functions,) = generate_functions(1, nradmax=(3, 1), lmax=(0, 1), count=50)
    assert [(one.ns, one.ls) for one in functions] == [((1,), (0,)), ((2,), (0,)), ((1, 1), (0, 0)), ((3,), (0,)),
                                                       ((1, 1), (1, 1))]  # fmt: skip


def test_a_large_expansion_is_enumerated_up_to_rank_five() -> None:
    (functions,) = generate_functions(1, nradmax=(20, 10, 8, 5, 3), lmax=(0, 8, 6, 4, 2), count=2400)
    assert len(functions) == 2400
    assert {one.rank for one in functions} == {1, 2, 3, 4, 5}


def test_rows_are_written_once() -> None:
    """No row is the negative or a permutation of another: the evaluator would do it twice."""
    (functions,) = generate_functions(1, nradmax=(2, 2, 2, 2, 1, 1), lmax=(0, 2, 2, 2, 2, 1))
    for function in functions:
        seen = set()
        for row in function.ms:
            forms = {
                tuple(sorted(zip(function.ns, function.ls, sign * row, strict=True))) for sign in (1, -1)
            }  # fmt: skip
            assert not forms & seen
            seen |= forms


def test_functions_made_one_by_one_are_those_generated() -> None:
    for functions in generate_functions(2, nradmax=(2, 2, 1, 1), lmax=(0, 2, 2, 2)):
        for one in functions:
            again = basis_function(one.center, one.species, one.ns, one.ls, one.intermediate)
            assert label(again) == label(one)
            np.testing.assert_array_equal(again.ms, one.ms)
            np.testing.assert_array_equal(again.coupling, one.coupling)


@pytest.mark.parametrize("ls", [(1, 1, 2), (2, 1, 1), (2, 2, 2), (3, 2, 3)])
def test_three_factors_in_any_order_are_coupled_by_hand(ls: tuple[int, int, int]) -> None:
    """Σ ⟨l1 m1 l2 m2 | l3 -m3⟩ ⟨l3 -m3 l3 m3 | 0 0⟩ A A A, where the first and the last factor may be equal."""
    base = atomic_base(np.random.default_rng(5).normal(size=(7, 3)), np.arange(7) % 2, 2)
    (l1, l2, l3), species, ns = ls, (1, 0, 1), (2, 1, 2)
    expected = 0.0 + 0.0j
    for m1, m2 in product(range(-l1, l1 + 1), range(-l2, l2 + 1)):
        if abs(m1 + m2) <= l3:
            coupling = clebsch_gordan(l1, m1, l2, m2, l3, m1 + m2) * clebsch_gordan(l3, m1 + m2, l3, -m1 - m2, 0, 0)
            expected += coupling * base[1, 2, l1, m1] * base[0, 1, l2, m2] * base[1, 2, l3, -m1 - m2]
    assert value_of(basis_function(1, species, ns, ls, (l3,)), base) == pytest.approx(expected.real, rel=1e-12)
    assert abs(expected.imag) < 1e-12 * abs(expected.real)


def test_products_sum_the_couplings() -> None:
    (functions,) = generate_functions(1, nradmax=(2, 2, 2, 2, 1), lmax=(0, 2, 2, 2, 2))
    rng = np.random.default_rng(3)
    coefficients = rng.normal(size=(len(functions), 2))
    products = to_products(functions, coefficients)
    assert len(products) == len({(one.species, one.ns, one.ls) for one in functions}) < len(functions)
    assert [one.rank for one in products] == sorted(one.rank for one in products)
    base = atomic_base(rng.normal(size=(8, 3)), np.zeros(8, dtype=int), 1)
    expected = coefficients.T @ [value_of(function, base) for function in functions]
    found = sum(densities_of(product, base) for product in products)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    (single,) = {one.coefficients.shape[1] for one in to_products(functions, coefficients[:, 0])}
    assert single == 1


def densities_of(function: ProductFunction, base: dict[tuple[int, ...], complex]) -> np.ndarray:
    columns = [
        BasisFunction(0, function.species, function.ns, function.ls, (), function.ms, column)
        for column in function.coefficients.T
    ]
    return np.array([value_of(column, base) for column in columns])


def test_products_refuse_what_does_not_fit() -> None:
    functions = generate_functions(2, nradmax=(2,), lmax=(0,))
    with pytest.raises(InputError, match=r"has shape \(3, 1\), expected \(4, densities\)"):
        to_products(functions[0], np.ones(3))
    with pytest.raises(InputError, match="several centers"):
        to_products([*functions[0], *functions[1]], np.ones(8))


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"elements": []}, "elements", "at least one element"),
        ({"nradmax": ()}, "nradmax", "one of each per rank"),
        ({"nradmax": (5, 2)}, "nradmax", "has 2 numbers and lmax has 3"),
        ({"nradmax": (1,) * 7, "lmax": (0,) * 7}, "nradmax", "1 to 6"),
        ({"nradmax": (5, -2, 1)}, "nradmax", "zero or more"),
        ({"nradmax": (0, 0, 0)}, "nradmax", "leaves no function"),
        ({"lmax": (0, -1, 1)}, "lmax", "zero or more"),
        ({"lmax": (1, 1, 1)}, "lmax", "rank 1, which has no angular dependence"),
        ({"count": 0}, "count", "at least one function"),
        ({"order": "body"}, "order", "'degree' or 'pacemaker'"),
        ({"l_weight": -1.0}, "l_weight", "zero or more"),
        ({"rank_weight": float("nan")}, "rank_weight", "zero or more"),
    ],
)
def test_senseless_limits_are_refused(changed: dict[str, object], field: str, words: str) -> None:
    given: dict[str, object] = {"elements": ["Si"], "nradmax": (5, 2, 2), "lmax": (0, 1, 1), **changed}
    with pytest.raises(InputError) as caught:
        generate_functions(given.pop("elements"), **given)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert words in caught.value.problem


def test_impossible_couplings_are_refused() -> None:
    with pytest.raises(InputError, match=r"cannot be coupled to an invariant through L \[1\]; possible are \[\[2\]\]"):
        basis_function(0, (0, 0, 0), (1, 1, 1), (1, 1, 2), (1,))
    with pytest.raises(InputError, match="needs 1 to 6 factors"):
        basis_function(0, (0, 0), (1,), (1,), ())


def label(function: BasisFunction) -> tuple[tuple[int, ...], ...]:
    return function.species, function.ns, function.ls, function.intermediate
