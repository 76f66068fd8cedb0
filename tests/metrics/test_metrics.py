from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from sklearn import metrics as peer

from forcewright import metrics

RNG = np.random.default_rng(1)
Y = RNG.normal(size=(40, 3))
Y_HAT = Y + 0.3 * RNG.normal(size=(40, 3))


def test_closed_forms() -> None:
    assert metrics.rmse([0, 0], [3, 4]) == pytest.approx(np.sqrt(12.5))
    assert metrics.mae([0, 0], [3, -4]) == 3.5
    assert metrics.huber([0, 0], [0.5, 3], delta=1.0) == pytest.approx((0.125 + 2.5) / 2)
    assert metrics.energy_rmse_per_sqrt_atom([0, 0], [2, 3], [4, 9]) == 1.0
    assert metrics.force_vector_rmse([[0, 0, 0]], [[1, 2, 2]]) == 3.0
    assert metrics.force_norm([[1, 2, 2], [0, 4, 0], [0, 0, 0]]) == 5.0
    assert metrics.r2([1, 2, 3], [2, 2, 2]) == 0.0
    assert np.isnan(metrics.r2([2, 2], [1, 3]))


def test_against_scikit_learn() -> None:
    assert metrics.rmse(Y, Y_HAT) == pytest.approx(peer.root_mean_squared_error(Y.ravel(), Y_HAT.ravel()))
    assert metrics.mae(Y, Y_HAT) == pytest.approx(peer.mean_absolute_error(Y.ravel(), Y_HAT.ravel()))
    assert metrics.r2(Y, Y_HAT) == pytest.approx(peer.r2_score(Y.ravel(), Y_HAT.ravel()))


def test_huber_lies_between_square_and_line() -> None:
    assert metrics.huber(Y, Y_HAT, delta=1e3) == pytest.approx(metrics.rmse(Y, Y_HAT) ** 2 / 2)
    delta = 1e-6
    assert metrics.huber(Y, Y_HAT, delta=delta) / delta == pytest.approx(metrics.mae(Y, Y_HAT), rel=1e-5)
    with pytest.raises(ValueError, match="must be positive"):
        metrics.huber(Y, Y_HAT, delta=0.0)


def test_vector_error_is_root_three_times_component_error() -> None:
    assert metrics.force_vector_rmse(Y, Y_HAT) == pytest.approx(np.sqrt(3) * metrics.rmse(Y, Y_HAT))


def test_energy_error_per_sqrt_atom_does_not_grow_with_the_cell() -> None:
    """ΔE is a sum of N independent errors of width σ, so the measure is σ for small and large cells alike."""
    rng, sigma = np.random.default_rng(3), 0.02
    for atoms in (4, 400):
        errors = rng.normal(scale=sigma, size=(5000, atoms)).sum(axis=1)
        found = metrics.energy_rmse_per_sqrt_atom(np.zeros(5000), errors, np.full(5000, atoms))
        assert found == pytest.approx(sigma, rel=0.04)


def test_quantiles() -> None:
    assert metrics.quantiles(np.zeros(101), -np.arange(101.0), [0.5, 0.9]) == pytest.approx([50, 90])


@pytest.mark.parametrize(("y", "y_hat", "words"), [([1, 2], [1], "equal shapes"), ([], [], "nothing to compare")])
def test_refuses(y: list[float], y_hat: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metrics.rmse(y, y_hat)


def test_pooling_equals_the_error_over_all_entries() -> None:
    squares, counts = (Y_HAT - Y) ** 2, np.full((40, 1), 3)
    assert np.sqrt(metrics.pool(squares.sum(axis=1, keepdims=True), counts)[0]) == pytest.approx(metrics.rmse(Y, Y_HAT))
    assert np.isnan(metrics.pool(np.zeros((4, 1)), np.zeros((4, 1)))[0])


def test_standard_error_against_scipy() -> None:
    """Structures of unequal size, drawn whole: scipy's bootstrap, paired over sums and counts."""
    rng = np.random.default_rng(5)
    counts = rng.integers(1, 60, size=80).astype(float)
    squares = counts * rng.chisquare(3, size=80)
    ours = metrics.standard_errors(
        squares[:, None], counts[:, None], rng=np.random.default_rng(0), root=True, resamples=20_000
    )
    peer_result = scipy.stats.bootstrap(
        (squares, counts),
        lambda s, c, axis: np.sqrt(np.sum(s, axis=axis) / np.sum(c, axis=axis)),
        paired=True, n_resamples=20_000, rng=np.random.default_rng(1), method="percentile",
    )  # fmt: skip
    assert ours[0] == pytest.approx(peer_result.standard_error, rel=0.03)


def test_standard_error_of_a_mean_is_textbook() -> None:
    values = np.random.default_rng(2).exponential(size=400)
    found = metrics.standard_errors(values[:, None], np.ones((400, 1)), rng=np.random.default_rng(0), resamples=20_000)
    assert found[0] == pytest.approx(values.std() / 20, rel=0.03)


def test_standard_error_of_one_structure_is_unknown() -> None:
    sums, counts = np.array([[1.0], [0.0]]), np.array([[1.0], [0.0]])
    assert np.isnan(metrics.standard_errors(sums, counts, rng=np.random.default_rng(0))).all()


def test_missing_labels_do_not_spoil_the_rest() -> None:
    sums, counts = np.array([[1.0, 2.0], [0.0, 3.0], [2.0, 1.0]]), np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    assert np.isfinite(metrics.standard_errors(sums, counts, rng=np.random.default_rng(0))).all()


def test_paired_difference_is_known_better_than_either() -> None:
    """Model b errs as a does, 5 % more everywhere: the difference of RMSEs is nearly certain, either RMSE is not."""
    rng = np.random.default_rng(7)
    squares, counts = rng.chisquare(1, size=200) * 30, np.full(200, 30.0)
    single = metrics.standard_errors(squares[:, None], counts[:, None], rng=np.random.default_rng(0), root=True)[0]
    paired = metrics.paired_standard_error(squares, 1.05**2 * squares, counts, rng=np.random.default_rng(0))
    assert paired == pytest.approx(0.05 * single, rel=1e-6)


def test_same_seed_same_error() -> None:
    sums, counts = np.abs(Y), np.ones_like(Y)
    first, second = (metrics.standard_errors(sums, counts, rng=np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first, second)
