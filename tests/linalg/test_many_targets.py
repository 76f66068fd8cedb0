"""Ridge of many targets against scikit-learn, explicit refits and textbook formulas."""

import numpy as np
import pytest

from forcewright.errors import InputError
from forcewright.linalg.kernel_ridge import KernelFit, cross_validate_kernel
from forcewright.linalg.many_targets import FoldEquations, equations_of, predicted_bytes


@pytest.fixture(name="data")
def _data(rng):
    a = rng.normal(size=(60, 7)) * [1, 2, 3, 0.1, 1, 1, 1]
    b = a @ rng.normal(size=(7, 4)) + 0.1 * rng.normal(size=(60, 4)) + 3.0
    return a, b, rng.integers(0, 5, 60), rng.uniform(0.5, 2.0, 60)


@pytest.fixture(name="rng")
def _rng():
    return np.random.default_rng(11)


def test_fit_is_that_of_scikit_learn(data):
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    a, b, folds, weights = data
    fit = equations_of(a, b, folds, weights).fit(0.7)
    reference = linear_model.Ridge(alpha=0.7, fit_intercept=False, solver="svd").fit(a, b, sample_weight=weights**2)
    np.testing.assert_allclose(fit.coefficients, reference.coef_.T, rtol=1e-10, atol=1e-12)


def test_undamped_column_is_an_intercept(data):
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    a, b, folds, weights = data
    rows = np.column_stack([np.ones(len(a)), a])
    fit = equations_of(rows, b, folds, weights).fit(0.7, damping=np.r_[0.0, np.ones(7)])
    reference = linear_model.Ridge(alpha=0.7, solver="svd").fit(a, b, sample_weight=weights**2)
    np.testing.assert_allclose(fit.coefficients[1:], reference.coef_.T, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(fit.coefficients[0], reference.intercept_, rtol=1e-10)


def test_each_target_may_have_its_ridge(data):
    a, b, folds, _ = data
    equations = equations_of(a, b, folds)
    ridges = np.array([1e-3, 0.1, 1.0, 30.0])
    together = equations.fit(ridges).coefficients
    for target, ridge in enumerate(ridges):
        np.testing.assert_allclose(together[:, target], equations.fit(ridge).coefficients[:, target], rtol=1e-10)


def test_cross_validation_is_that_of_explicit_refits(data):
    a, b, folds, weights = data
    damping, ridges = np.linspace(0.5, 2.0, 7), [1e-3, 0.5, 20.0]
    result = equations_of(a, b, folds, weights).cross_validate(ridges, damping)
    for number, ridge in enumerate(ridges):
        squares = np.zeros(4)
        for fold in range(5):
            kept, w = folds != fold, weights[:, None]
            rows = np.vstack([(a * w)[kept], np.diag(np.sqrt(ridge * damping))])
            right = np.vstack([(b * w)[kept], np.zeros((7, 4))])
            c = np.linalg.lstsq(rows, right, rcond=None)[0]
            squares += (((a @ c - b) * w)[~kept] ** 2).sum(axis=0)
        np.testing.assert_allclose(result.errors[number], np.sqrt(squares / 60), rtol=1e-9)
    assert result.best() == ridges[int(np.argmin(result.squares.sum(axis=(1, 2))))]


def test_chunks_and_workers_add_up(data):
    a, b, folds, weights = data
    whole, first, second = equations_of(a, b, folds, weights), FoldEquations(7, 4, 5), FoldEquations(7, 4, 5)
    first.add(a[:20], b[:20], folds[:20], weights[:20])
    second.add(a[20:], b[20:], folds[20:], weights[20:])
    first.merge(second)
    np.testing.assert_allclose(first.gram, whole.gram, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(first.right, whole.right, rtol=1e-12, atol=1e-12)
    assert (first.counts == whole.counts).all()


def test_leverage_and_standard_error_are_those_of_the_textbook(data):
    a, b, folds, _ = data
    fit = equations_of(a, b, folds).fit(0.0)
    hat = a @ np.linalg.inv(a.T @ a) @ a.T
    residual = b - hat @ b
    np.testing.assert_allclose(fit.leverages(a), np.diag(hat), rtol=1e-9)
    np.testing.assert_allclose(fit.freedom, 7, rtol=1e-12)
    sigma = np.sqrt((residual**2).sum(axis=0) / (60 - 7))
    np.testing.assert_allclose(fit.standard_errors(a), np.sqrt(np.diag(hat))[:, None] * sigma, rtol=1e-9)


def test_directions_without_rows_stay_at_zero():
    fit = equations_of(np.array([[1.0, 1.0], [2.0, 2.0]]), np.array([2.0, 4.0]), [0, 1]).fit(0.0)
    np.testing.assert_allclose(fit.coefficients[:, 0], [1.0, 1.0], rtol=1e-10)  # the shortest solution


def test_linear_kernel_is_ridge_with_intercept(data):
    a, b, folds, _ = data
    rows = np.column_stack([np.ones(len(a)), a])
    fit = equations_of(rows, b, folds).fit(0.3, damping=np.r_[0.0, np.ones(7)])
    kernel = KernelFit.of(a @ a.T, b)
    np.testing.assert_allclose(kernel.predict(a[:9] @ a.T, 0.3), fit.predict(rows[:9]), rtol=1e-9)
    held = cross_validate_kernel(a @ a.T, b, folds, [0.3], relative=False)[0]
    squares = equations_of(rows, b, folds).cross_validate([0.3], damping=np.r_[0.0, np.ones(7)])
    np.testing.assert_allclose(np.sqrt(((held - b) ** 2).mean(axis=0)), squares.errors[0], rtol=1e-8)


def test_memory_is_predicted_before_it_is_used():
    equations = FoldEquations(40, 30, 3)
    held = sum(array.nbytes for array in (equations.gram, equations.right, equations.squares))
    assert held <= predicted_bytes(40, 30, 3) < 4 * held


@pytest.mark.parametrize(
    "call",
    [
        lambda e: e.add(np.ones((2, 3)), np.ones((2, 1)), 0),
        lambda e: e.add(np.ones((2, 2)), np.ones((2, 1)), 2),
        lambda e: e.add(np.array([[np.nan, 1.0]]), np.ones((1, 1)), 0),
        lambda e: e.fit(-1.0),
        lambda e: e.fit(1.0, damping=[1.0]),
        lambda e: e.fit(1.0, leave_out=[0, 1]),
        lambda e: e.cross_validate([]),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError):
        call(FoldEquations(2, 1, 2))
