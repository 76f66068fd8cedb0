"""The weighted ridge against explicit least squares on the rows themselves, and gradients against differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from sklearn.linear_model import Ridge

from forcewright.linalg.gram import (
    CholeskySolver,
    FactorBlocks,
    GramBlocks,
    NotPositiveDefinite,
    RowAccumulator,
    RowReducer,
    column_scale,
    packed_scale,
    unpack,
)
from forcewright.linalg.ridge import Measure, WeightedRidge
from forcewright.linalg.weight_search import WeightSpace, search_weights, starting_points

P, T, F, ROWS = 6, 3, 4, 25


def _gram(rows: np.ndarray) -> np.ndarray:
    folder = RowAccumulator(rows.shape[1])
    folder.add(rows)
    return folder.result()


def _factor(parts: list[np.ndarray]) -> np.ndarray:
    reducer = RowReducer(P + 1)
    for part in parts:
        reducer.add(part.copy())
    return reducer.result()


@pytest.fixture
def rows() -> np.ndarray:
    """Rows [A | b] (F, T, ROWS, P + 1) of a noisy linear relation."""
    rng = np.random.default_rng(3)
    design = rng.normal(size=(F, T, ROWS, P))
    target = design @ rng.normal(size=P) + 0.3 * rng.normal(size=(F, T, ROWS))
    return np.concatenate([design, target[..., None]], axis=-1)


MEASURES = [Measure(0.7, F * ROWS), Measure(0.3, F * ROWS)]


NO_PRIOR = np.zeros((P, 0))
FEATURES = np.column_stack([np.log(1.0 + np.arange(P)), np.arange(P) // 2]).astype(float)


def gram_problem(rows: np.ndarray, features: np.ndarray = NO_PRIOR) -> WeightedRidge:
    parts = np.array([[_gram(block) for block in split] for split in rows])
    validation = [[unpack(part, P + 1) for part in split[:2]] for split in parts]
    return WeightedRidge(GramBlocks(parts, P, leave_out=True), validation, MEASURES, features)


def factor_problem(rows: np.ndarray, features: np.ndarray = NO_PRIOR) -> WeightedRidge:
    factors = [[_factor([rows[f, t] for f in range(F) if f != out]) for t in range(T)] for out in range(F)]
    validation = [[_factor([block]) for block in split[:2]] for split in rows]
    return WeightedRidge(FactorBlocks(factors, P), validation, MEASURES, features, factored=True)


def explicit(rows: np.ndarray, theta: np.ndarray, prior: np.ndarray | float = 1.0) -> tuple[float, list[np.ndarray]]:
    """Leave each split out, fit the weighted rows with scikit-learn, and measure the loss on what was left out.

    With c_j = x_j/√π_j a prior becomes a plain ridge on x.
    """
    weights, ridge, root = np.exp(theta[:T]), np.exp(theta[T]), np.sqrt(prior * np.ones(P))
    squares, solutions = np.zeros(2), []
    for out in range(F):
        train = np.vstack([weights[t] * rows[f, t] for f in range(F) if f != out for t in range(T)])
        model = Ridge(alpha=ridge, fit_intercept=False, solver="svd").fit(train[:, :-1] / root, train[:, -1])
        solutions.append(model.coef_ / root)
        for q in range(2):
            block = rows[out, q]
            squares[q] += np.sum((block[:, :-1] @ solutions[-1] - block[:, -1]) ** 2)
    return float(np.sqrt(squares / (F * ROWS)) @ [0.7, 0.3]), solutions


THETAS = [np.array([0.0, 0.0, 0.0, -8.0]), np.array([1.0, -2.0, 0.5, 1.0]), np.array([-3.0, 2.0, 0.0, -2.0])]


@pytest.mark.parametrize("make", [gram_problem, factor_problem])
@pytest.mark.parametrize("theta", THETAS)
def test_loss_is_that_of_explicit_cross_validation(rows: np.ndarray, make, theta: np.ndarray) -> None:
    problem = make(rows)
    loss, solutions = explicit(rows, theta)
    assert problem.loss_and_gradient(theta)[0] == pytest.approx(loss, rel=1e-10)
    np.testing.assert_allclose(problem.solutions(theta), solutions, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("make", [gram_problem, factor_problem])
@pytest.mark.parametrize("theta", THETAS)
def test_gradient_equals_finite_differences(rows: np.ndarray, make, theta: np.ndarray) -> None:
    problem, step = make(rows), 1e-5
    gradient = problem.loss_and_gradient(theta)[1]
    for k in range(T + 1):
        e = step * np.eye(T + 1)[k]
        difference = problem.loss_and_gradient(theta + e)[0] - problem.loss_and_gradient(theta - e)[0]
        assert gradient[k] == pytest.approx(difference / (2 * step), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("make", [gram_problem, factor_problem])
@pytest.mark.parametrize("theta", THETAS)
def test_a_ridge_relative_to_the_rows(rows: np.ndarray, make, theta: np.ndarray) -> None:
    """It is the plain ridge times Σ w² n, which makes the fit the same for weights that are all larger."""
    offset, counts = np.linspace(-1.0, 1.0, P), np.array([3.0, 40.0, 7.0])
    problem = replace(make(rows), offset=offset, rows=counts)
    plain = theta.copy()
    plain[T] += np.log(np.exp(2 * theta[:T]) @ counts)
    assert problem.loss_and_gradient(theta)[0] == pytest.approx(explicit(rows, plain, np.exp(offset))[0], rel=1e-10)
    larger = theta + np.array([1.3] * T + [0.0])
    assert problem.loss_and_gradient(larger)[0] == pytest.approx(problem.loss_and_gradient(theta)[0], rel=1e-9)
    gradient = problem.loss_and_gradient(theta)[1]
    for k, e in enumerate(1e-5 * np.eye(T + 1)):
        difference = problem.loss_and_gradient(theta + e)[0] - problem.loss_and_gradient(theta - e)[0]
        assert gradient[k] == pytest.approx(difference / 2e-5, rel=1e-5, abs=1e-9)


ETAS = [np.zeros(2), np.array([1.5, -0.7]), np.array([-3.0, 3.0])]


@pytest.mark.parametrize("make", [gram_problem, factor_problem])
@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("eta", ETAS)
def test_prior_is_that_of_explicit_cross_validation(rows: np.ndarray, make, theta: np.ndarray, eta: np.ndarray) -> None:
    problem, full = make(rows, FEATURES), np.append(theta, eta)
    loss, solutions = explicit(rows, theta, np.prod(np.exp(FEATURES * eta), axis=1))
    assert problem.loss_and_gradient(full)[0] == pytest.approx(loss, rel=1e-10)
    np.testing.assert_allclose(problem.solutions(full), solutions, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("make", [gram_problem, factor_problem])
@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("eta", ETAS)
def test_gradient_in_the_prior_equals_finite_differences(
    rows: np.ndarray, make, theta: np.ndarray, eta: np.ndarray
) -> None:
    problem, full, step = make(rows, FEATURES), np.append(theta, eta), 1e-5
    gradient = problem.loss_and_gradient(full)[1]
    assert gradient.shape == (T + 3,)
    for k in range(T + 3):
        e = step * np.eye(T + 3)[k]
        difference = problem.loss_and_gradient(full + e)[0] - problem.loss_and_gradient(full - e)[0]
        assert gradient[k] == pytest.approx(difference / (2 * step), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("make", [gram_problem, factor_problem])
@pytest.mark.parametrize("theta", THETAS)
def test_exponents_of_zero_change_nothing(rows: np.ndarray, make, theta: np.ndarray) -> None:
    plain_loss, plain_gradient = make(rows).loss_and_gradient(theta)
    loss, gradient = make(rows, FEATURES).loss_and_gradient(np.append(theta, np.zeros(2)))
    assert loss == plain_loss
    np.testing.assert_array_equal(gradient[: T + 1], plain_gradient)


def test_a_free_prior_finds_which_columns_are_noise() -> None:
    """Only the first two of many columns matter: rough ones damped harder must predict what was left out better."""
    rng = np.random.default_rng(5)
    design = rng.normal(size=(F, 1, 12, P))
    target = design[..., :2] @ [3.0, -2.0] + 2.0 * rng.normal(size=(F, 1, 12))
    parts = np.array([[_gram(np.column_stack([a, b])) for a, b in zip(*split, strict=True)]
                      for split in zip(design, target, strict=True)])  # fmt: skip
    validation = [[unpack(part, P + 1) for part in split] for split in parts]
    features = (np.arange(P) > 1).astype(float)[:, None]
    problem = WeightedRidge(GramBlocks(parts, P, leave_out=True), validation, [Measure(1.0, 12 * F)], features)
    mapping, bound = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([10.0, 3.0])
    space = WeightSpace(np.zeros(3), mapping, -bound, bound)
    found = search_weights(problem, space, [np.zeros(2)], 50)
    alike = search_weights(problem, WeightSpace(np.zeros(3), mapping[:, :1], -bound[:1], bound[:1]), [np.zeros(1)], 50)
    assert found.phi[1] == pytest.approx(3.0)
    known = np.linalg.lstsq(design[..., :2].reshape(-1, 2), target.ravel(), rcond=None)[1][0] / target.size
    assert found.loss - np.sqrt(known) < 0.6 * (alike.loss - np.sqrt(known))


def test_external_validation_trains_on_everything(rows: np.ndarray) -> None:
    parts = np.array([[_gram(block) for block in split] for split in rows[:3]]).sum(axis=0)[None]
    judged = [[unpack(_gram(rows[3, 0]), P + 1)]]
    problem = WeightedRidge(GramBlocks(parts, P, leave_out=False), judged, [Measure(1.0, ROWS)], NO_PRIOR)
    theta = np.array([0.3, -0.2, 0.1, -4.0])
    train = np.vstack([np.exp(theta[t]) * rows[f, t] for f in range(3) for t in range(T)])
    model = Ridge(alpha=np.exp(-4.0), fit_intercept=False, solver="svd").fit(train[:, :-1], train[:, -1])
    expected = np.sqrt(np.mean((rows[3, 0][:, :-1] @ model.coef_ - rows[3, 0][:, -1]) ** 2))
    loss, gradient = problem.loss_and_gradient(theta)
    assert loss == pytest.approx(expected, rel=1e-10)
    e = np.array([1e-5, 0, 0, 0])
    difference = problem.loss_and_gradient(theta + e)[0] - problem.loss_and_gradient(theta - e)[0]
    assert gradient[0] == pytest.approx(difference / 2e-5, rel=1e-5)


def test_column_scaling_gives_a_unit_diagonal(rows: np.ndarray) -> None:
    block = rows.reshape(-1, P + 1) * np.append(10.0 ** np.arange(P), 1.0)
    packed = _gram(block)
    scale = column_scale(packed, P)
    scaled = unpack(packed * packed_scale(scale), P + 1)
    np.testing.assert_allclose(np.diag(scaled)[:P], 1.0, rtol=1e-12)
    zero = np.zeros_like(packed)
    np.testing.assert_array_equal(column_scale(zero, P), 1.0)


def test_orthogonal_solver_keeps_digits_that_cholesky_loses() -> None:
    """Hilbert matrix, the classic: condition 5e14 squared is far beyond double precision."""
    design = scipy.linalg.hilbert(12)[:, :P] @ np.diag(np.ones(P))
    design = np.vander(np.linspace(0, 1, 30), P + 6)[:, :]
    exact = np.ones(design.shape[1])
    rows = np.column_stack([design, design @ exact])
    columns = design.shape[1]
    factor = RowReducer(columns + 1)
    factor.add(rows.copy())
    blocks = FactorBlocks([[factor.result()]], columns)
    by_qr = blocks.prepare(np.ones(1), np.full(columns, 1e-30))[0].solution()
    assert np.abs(by_qr - exact).max() < 1e-5
    try:
        by_cholesky = CholeskySolver(_gram(rows), columns, np.full(columns, 1e-30)).solution()
    except NotPositiveDefinite:
        return
    assert np.abs(by_cholesky - exact).max() > 10 * np.abs(by_qr - exact).max()


def test_rank_deficiency_is_told(rows: np.ndarray) -> None:
    block = rows[0, 0].copy()
    block[:, 1] = 0.0
    with pytest.raises(NotPositiveDefinite):
        CholeskySolver(_gram(block), P, np.zeros(P))


def test_condition_estimate_agrees_with_the_singular_values(rows: np.ndarray) -> None:
    block = rows.reshape(-1, P + 1)
    gram = block[:, :P].T @ block[:, :P]
    solver = CholeskySolver(_gram(block), P, np.zeros(P))
    expected = 1.0 / (np.linalg.norm(gram, 1) * np.linalg.norm(np.linalg.inv(gram), 1))
    assert solver.reciprocal_condition() == pytest.approx(expected, rel=0.5)


def test_search_finds_what_a_grid_finds(rows: np.ndarray) -> None:
    problem = gram_problem(rows)
    bounds = np.log([[0.01, 100.0]] * 2 + [[1e-6, 1e3]])
    mapping = np.zeros((T + 1, 3))
    mapping[0, 0] = mapping[1, 1] = mapping[3, 2] = 1.0
    space = WeightSpace(np.zeros(T + 1), mapping, bounds[:, 0], bounds[:, 1])
    found = search_weights(problem, space, starting_points(space, 4, np.random.default_rng(0)), 60)
    grid = [
        problem.loss_and_gradient(space.theta(np.array([a, b, c])))[0]
        for a in np.linspace(*bounds[0], 9)
        for b in np.linspace(*bounds[1], 9)
        for c in np.linspace(*bounds[2], 9)
    ]
    assert found.loss <= min(grid) + 1e-9
    assert np.all(found.phi >= bounds[:, 0] - 1e-12) and np.all(found.phi <= bounds[:, 1] + 1e-12)
    assert found.evaluations > 0


def test_nothing_to_search_is_one_evaluation(rows: np.ndarray) -> None:
    problem = gram_problem(rows)
    space = WeightSpace(np.array([0.0, 0.0, 0.0, -3.0]), np.zeros((T + 1, 0)), np.zeros(0), np.zeros(0))
    found = search_weights(problem, space, starting_points(space, 5, np.random.default_rng(0)), 60)
    assert found.evaluations == 1
    assert found.loss == pytest.approx(explicit(rows, space.offset)[0])


def test_a_cautious_search_damps_until_a_tenfold_ridge_costs_more(rows: np.ndarray) -> None:
    problem = gram_problem(rows)
    mapping = np.zeros((T + 1, 1))
    mapping[T, 0] = 1.0
    space = WeightSpace(np.zeros(T + 1), mapping, np.log([1e-12]), np.log([1e6]))
    middle = [np.zeros(1)]
    least, cautious = (search_weights(problem, space, middle, 200, caution) for caution in (0.0, 0.05))
    assert cautious.phi > least.phi and cautious.loss > least.loss
    loss, gradient = problem.loss_and_gradient(cautious.theta)
    assert cautious.loss == loss
    # the relative slope of the loss is that at which ten times the ridge costs a twentieth
    assert gradient[T] / loss == pytest.approx(np.log(1.05) / np.log(10.0), rel=0.02)
