"""Active sets against brute force and against the identities that define them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from forcewright.errors import InputError
from forcewright.linalg.max_volume import extrapolation_grades, grading, max_volume


def log_volume(rows: np.ndarray) -> float:
    return float(np.linalg.slogdet(rows)[1])


@pytest.fixture
def rows() -> np.ndarray:
    """Correlated rows, as descriptors are, in columns of very different size."""
    rng = np.random.default_rng(4)
    hidden = rng.normal(size=(3000, 6))
    return np.tanh(hidden @ rng.normal(size=(6, 40)) + rng.normal(size=40)) * np.logspace(3, -4, 40)


@pytest.mark.parametrize("tolerance", [1.001, 1.01, 1.5])
def test_no_given_row_exceeds_the_tolerance(rows: np.ndarray, tolerance: float) -> None:
    found = max_volume(rows, tolerance=tolerance)
    assert found.missing == 0 and len(found.indices) == 40
    assert (np.diff(found.indices) > 0).all()
    np.testing.assert_array_equal(found.rows, rows[found.indices])
    grades = extrapolation_grades(rows, found.inverse)
    assert grades.max() <= tolerance * (1 + 1e-8)
    np.testing.assert_allclose(grades[found.indices], 1.0, rtol=1e-8)
    np.testing.assert_allclose(found.rows @ found.inverse, np.eye(40), atol=1e-7)


def test_no_swap_raises_the_volume(rows: np.ndarray) -> None:
    """By definition: replace each active row by each of some others, and compare determinants."""
    found = max_volume(rows[:, :8], tolerance=1.001)
    volume = log_volume(found.rows)
    for j in range(8):
        for i in range(0, 3000, 37):
            swapped = found.rows.copy()
            swapped[j] = rows[i, :8]
            assert log_volume(swapped) <= volume + np.log(1.001) + 1e-9


def test_grade_is_the_growth_of_the_volume(rows: np.ndarray) -> None:
    found = max_volume(rows[:500])
    far = 5.0 * rows[600:605] * np.random.default_rng(1).normal(size=(5, 40))
    grades = extrapolation_grades(far, found.inverse)
    for row, grade in zip(far, grades, strict=True):
        swapped = [np.where(np.arange(40)[:, None] == j, row, found.rows) for j in range(40)]
        growth = max(log_volume(a) for a in swapped) - log_volume(found.rows)
        assert np.log(grade) == pytest.approx(growth, abs=1e-8)


def test_small_cases_by_brute_force() -> None:
    """Single swaps may stop at a local maximum, which is at least p^(-p/2) τ^(-p) of the largest volume (Hadamard)."""
    rng, found_best = np.random.default_rng(0), 0
    for _ in range(60):
        rows = rng.normal(size=(11, 3))
        best = max(log_volume(rows[list(chosen)]) for chosen in combinations(range(11), 3))
        volume = log_volume(max_volume(rows, tolerance=1.001).rows)
        assert best - 1.5 * np.log(3) - 3 * np.log(1.001) <= volume <= best + 1e-12
        found_best += volume > best - 1e-9
    assert found_best > 40


def test_column_scaling_changes_nothing(rows: np.ndarray) -> None:
    scaled = rows * 2.0 ** np.random.default_rng(2).integers(-20, 20, 40)  # powers of two: no rounding differs
    plain, other = max_volume(rows), max_volume(scaled)
    np.testing.assert_array_equal(plain.indices, other.indices)
    np.testing.assert_allclose(
        extrapolation_grades(rows, plain.inverse), extrapolation_grades(scaled, other.inverse), rtol=1e-6
    )


def test_mixing_the_columns_leaves_the_grades_within_the_tolerance(rows: np.ndarray) -> None:
    mix = np.random.default_rng(3).normal(size=(40, 40))
    found = max_volume(rows)
    mixed_inverse = np.linalg.inv(rows[found.indices] @ mix)
    assert extrapolation_grades(rows @ mix, mixed_inverse).max() <= 1.01 + 1e-6


@pytest.mark.parametrize("size", [1, 7, 100, 2999])
def test_blocks_give_a_set_as_good_as_the_whole(rows: np.ndarray, size: int) -> None:
    step = rows[:600] if size == 1 else rows
    blocks = [step[start : start + size] for start in range(0, len(step), size)]
    found = max_volume(blocks)
    np.testing.assert_array_equal(found.rows, step[found.indices])
    assert extrapolation_grades(step, found.inverse).max() <= 1.01 + 1e-8
    once = max_volume(iter(blocks))  # cannot look back, and still comes close
    np.testing.assert_array_equal(once.rows, step[once.indices])
    assert extrapolation_grades(step, once.inverse).max() < 2.0


def test_too_few_rows_leave_directions_to_virtual_ones(rows: np.ndarray) -> None:
    few = rows[:25]
    found = max_volume(few)
    assert found.missing == 15 and list(found.indices) == list(range(25))
    np.testing.assert_allclose(extrapolation_grades(few, found.inverse), 1.0, rtol=1e-6)
    assert extrapolation_grades(rows[25:], found.inverse).min() > 1e3  # they go where nothing is known


def test_dependent_columns_leave_directions_to_virtual_ones() -> None:
    rng = np.random.default_rng(6)
    basis = rng.normal(size=(4, 9))
    rows = rng.normal(size=(300, 4)) @ basis
    found = max_volume(rows)
    assert found.missing == 5 and len(found.indices) == 4
    inside = rng.uniform(-0.2, 0.2, size=(10, 4)) @ rows[found.indices]
    assert extrapolation_grades(rows, found.inverse).max() <= 1.01 + 1e-4
    assert extrapolation_grades(inside, found.inverse).max() < 1.0
    assert extrapolation_grades(rng.normal(size=(10, 9)), found.inverse).min() > 1e4


def test_a_column_of_zeros_costs_nothing(rows: np.ndarray) -> None:
    with_zero = np.insert(rows, 5, 0.0, axis=1)
    found = max_volume(with_zero)
    assert found.missing == 1
    np.testing.assert_array_equal(found.indices, max_volume(rows).indices)


def test_virtual_rows_yield_to_rows_that_come_later() -> None:
    rng = np.random.default_rng(7)
    flat = rng.normal(size=(200, 6)) * [1, 1, 1, 1, 1, 0]
    full = rng.normal(size=(50, 6))
    assert max_volume([flat, full]).missing == 0
    assert max_volume(iter([flat, full])).missing == 0


def test_unusable_rows_are_told() -> None:
    with pytest.raises(InputError, match="no rows"):
        max_volume(np.zeros((0, 3)))
    with pytest.raises(InputError, match="not finite"):
        max_volume(np.array([[1.0, np.nan]]))
    with pytest.raises(InputError, match="equally wide"):
        max_volume([np.ones((2, 3)), np.ones((2, 4))])
    with pytest.raises(InputError, match=r"at least 1\.001"):
        max_volume(np.eye(2), tolerance=1.0)


def test_no_rows_have_no_grades() -> None:
    assert extrapolation_grades(np.zeros((0, 3)), np.eye(3)).shape == (0,)


def test_grading_knows_what_rows_span_and_what_leaves_their_span() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=(400, 5))
    mix = rng.normal(size=(5, 12)) * 10.0 ** rng.uniform(-3, 3, size=12)  # 12 functions, of different size, of rank 5
    rows = base @ mix
    known = grading(rows)
    assert (known.spanned, known.rank) == (5, 5) and known.inverse.shape == (12, 12)
    assert extrapolation_grades(rows, known.inverse).max() <= 1.01 + 1e-9
    # in the span they are those of the five numbers behind the functions
    others = 2.0 * rng.normal(size=(50, 5))
    expected = extrapolation_grades(others, max_volume(base).inverse)
    np.testing.assert_allclose(extrapolation_grades(others @ mix, known.inverse), expected, rtol=0.35)
    leaves = others @ mix + np.abs(rows).mean(axis=0) * rng.normal(size=(50, 12))
    assert extrapolation_grades(leaves, known.inverse).min() > 20.0
    scaled = rows * 10.0 ** rng.uniform(-5, 5, size=12)
    assert extrapolation_grades(scaled, grading(scaled).inverse).max() <= 1.01 + 1e-9
    never = np.hstack([rows, np.zeros((400, 1))])  # a function that no row has
    known = grading(never)
    assert known.spanned == 5
    assert (
        extrapolation_grades(np.hstack([rows[:3], np.full((3, 1), np.median(np.abs(rows)))]), known.inverse).min()
        > 20.0
    )


def test_grading_of_few_rows_and_of_nothing() -> None:
    few = np.random.default_rng(0).normal(size=(3, 8))
    known = grading(few)
    assert known.rank == known.spanned == 3
    np.testing.assert_allclose(extrapolation_grades(few, known.inverse), 1.0, rtol=1e-6)
    assert np.isfinite(grading(np.zeros((4, 3))).inverse).all()
    with pytest.raises(InputError, match="not finite"):
        grading(np.array([[1.0, np.nan]]))
