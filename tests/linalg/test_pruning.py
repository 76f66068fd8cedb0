"""Pruning against refits: the saliency is by definition what leaving a group out costs."""

from __future__ import annotations

import numpy as np
import pytest

from forcewright.errors import InputError
from forcewright.linalg.gram import NotPositiveDefinite
from forcewright.linalg.pruning import prune_groups

P = 24
GROUPS = np.repeat(np.arange(10), [1, 2, 3, 4, 1, 2, 3, 4, 2, 2])


@pytest.fixture
def equations() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    design = rng.normal(size=(200, P)) @ (np.eye(P) + 0.4 * rng.normal(size=(P, P)))
    return design.T @ design + 0.1 * np.eye(P), design.T @ (design @ rng.normal(size=P) + rng.normal(size=200))


def explained(matrix: np.ndarray, right: np.ndarray, columns: np.ndarray) -> float:
    return float(right[columns] @ np.linalg.solve(matrix[np.ix_(columns, columns)], right[columns]))


def without(group: int) -> np.ndarray:
    return np.flatnonzero(group != GROUPS)


def test_the_group_that_leaves_first_is_the_one_whose_loss_costs_least(equations) -> None:
    """Leave each group out in turn, fit the rest again, and compare: an exact identity."""
    matrix, right = equations
    losses = np.array(
        [explained(matrix, right, np.arange(P)) - explained(matrix, right, without(g)) for g in range(10)]
    )
    pruned = prune_groups(matrix, right, GROUPS, np.ones(10), 9.0, gamma=0.0, rate=1e-9)
    assert pruned.history[0].removed == (int(np.argmin(losses)),)
    rise = explained(matrix, right, np.arange(P)) - pruned.history[0].explained
    assert rise == pytest.approx(losses.min(), rel=1e-8)
    costs = np.random.default_rng(1).uniform(1, 9, 10)
    pruned = prune_groups(matrix, right, GROUPS, costs, costs.sum() - 1e-9, gamma=0.7, rate=1e-9)
    assert pruned.history[0].removed == (int(np.argmin(losses / costs**0.7)),)


def test_one_at_a_time_is_greedy_elimination_by_refits(equations) -> None:
    matrix, right = equations
    pruned = prune_groups(matrix, right, GROUPS, np.ones(10), 2.0, rate=1e-9)
    left = list(range(10))
    for step in pruned.history:
        kept = [np.flatnonzero(np.isin(GROUPS, [g for g in left if g != out])) for out in left]
        remaining = [explained(matrix, right, columns) for columns in kept]
        worst = int(np.argmax(remaining))
        assert step.removed == (left.pop(worst),)
        assert step.explained == pytest.approx(remaining[worst], rel=1e-10)
        assert (step.columns, step.cost) == (len(kept[worst]), len(left))
    assert sorted(set(GROUPS[pruned.columns])) == left and len(left) == 2


@pytest.mark.parametrize("rate", [1e-9, 0.05, 0.5, 1.0])
def test_orthogonal_columns_are_thresholded(rate: float) -> None:
    """With an orthogonal design nothing is fitted again, and what leaves has the smallest h²/M."""
    rng = np.random.default_rng(2)
    diagonal, right = rng.uniform(0.5, 2.0, 50), rng.normal(size=50)
    pruned = prune_groups(np.diag(diagonal), right, np.arange(50), np.ones(50), 20, rate=rate)
    np.testing.assert_array_equal(pruned.columns, np.sort(np.argsort(right**2 / diagonal)[30:]))
    assert pruned.history[-1].explained == pytest.approx(np.sort(right**2 / diagonal)[30:].sum())


@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_a_sparse_truth_is_recovered(rate: float) -> None:
    rng = np.random.default_rng(3)
    mixed = rng.normal(size=(600, 40)) @ rng.normal(size=(40, 300))
    design = mixed / 6 + rng.normal(size=(600, 300))  # correlated columns, so that thresholding would not do
    groups = np.repeat(np.arange(100), 3)
    true = rng.choice(100, 8, replace=False)
    columns = np.flatnonzero(np.isin(groups, true))
    target = design[:, columns] @ rng.choice([-1.0, 1.0], size=24) + 0.5 * rng.normal(size=600)
    matrix = design.T @ design + 1e-6 * np.eye(300)
    pruned = prune_groups(matrix, design.T @ target, groups, np.ones(100), 8, rate=rate)
    np.testing.assert_array_equal(pruned.columns, columns)
    kept = pruned.columns
    assert pruned.history[-1].explained == pytest.approx(explained(matrix, design.T @ target, kept), rel=1e-9)


def test_updates_agree_with_factoring_anew(equations, monkeypatch: pytest.MonkeyPatch) -> None:
    from forcewright.linalg import pruning

    matrix, right = equations
    updated = prune_groups(matrix, right, GROUPS, np.ones(10), 3.0, rate=0.05)
    monkeypatch.setattr(pruning, "_RENEW", 1.0)
    renewed = prune_groups(matrix, right, GROUPS, np.ones(10), 3.0, rate=0.05)
    np.testing.assert_array_equal(updated.columns, renewed.columns)
    for one, other in zip(updated.history, renewed.history, strict=True):
        assert one.removed == other.removed and one.explained == pytest.approx(other.explained, rel=1e-12)


def test_what_is_protected_or_free_stays(equations) -> None:
    matrix, right = equations
    groups = GROUPS.copy()
    groups[[0, 23]] = -1  # constants: no group, no cost
    costs = np.array([0.0, 5, 1, 1, 1, 0, 1, 1, 1, 1])  # group 5 costs nothing: nothing is won without it
    pruned = prune_groups(matrix, right, groups, costs, 7.0, protected=[2, 8, 23], rate=0.1)
    stays = np.flatnonzero(np.isin(groups, [-1, 1, 3, 5]))
    assert set(stays) <= set(pruned.columns)
    assert pruned.history[-1].cost <= 7.0
    assert (np.diff(pruned.columns) > 0).all()
    with pytest.raises(InputError, match="must stay cost 6 already"):
        prune_groups(matrix, right, groups, costs, 5.5, protected=[2, 8, 23])


def test_the_target_is_met_and_not_overshot_by_more_than_a_group(equations) -> None:
    matrix, right = equations
    costs = np.random.default_rng(5).uniform(1, 3, 10)
    for target in (costs.sum(), 0.77 * costs.sum(), 0.3 * costs.sum()):
        for rate in (0.02, 0.3, 1.0):
            pruned = prune_groups(matrix, right, GROUPS, costs, float(target), rate=rate)
            cost = costs[np.unique(GROUPS[pruned.columns])].sum()
            assert target - 3 < cost <= target
            assert sum(len(step.removed) for step in pruned.history) == 10 - len(np.unique(GROUPS[pruned.columns]))


def test_nothing_need_leave(equations) -> None:
    pruned = prune_groups(*equations, GROUPS, np.ones(10), 10.0)
    np.testing.assert_array_equal(pruned.columns, np.arange(P))
    assert pruned.history == ()


def test_unusable_equations_are_told(equations) -> None:
    matrix, right = equations
    with pytest.raises(NotPositiveDefinite):
        prune_groups(matrix - 1e6 * np.eye(P), right, GROUPS, np.ones(10), 5.0)
    with pytest.raises(InputError, match="are inconsistent"):
        prune_groups(matrix, right, GROUPS, np.ones(9), 5.0)
