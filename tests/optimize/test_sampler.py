from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from forcewright.optimize.design import hammersley
from forcewright.optimize.sampler import Observation, Suggestion, standardized, suggest
from forcewright.optimize.settings import StudySettings
from forcewright.optimize.space import Categorical, Integer, Params, Real, Space

BRANIN = Space({"x": Real(-5, 10), "y": Real(0, 15)})
HARTMANN = Space({name: Real(0, 1) for name in "abc"})
MIXED = Space({"x": Real(1e-3, 1e3, log=True), "n": Integer(1, 12), "kind": Categorical(("a", "b", "c"))})


def branin(p: Params) -> float:
    """Minimum 0.397887 (Dixon and Szegö, 1978)."""
    x, y = p["x"], p["y"]
    valley = (y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6) ** 2
    return float(valley + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10)


def hartmann(p: Params) -> float:
    """Minimum -3.86278 (Dixon and Szegö, 1978)."""
    A = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
    P = np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]) * 1e-4
    x = np.array([p[name] for name in "abc"])
    return -float(np.array([1, 1.2, 3, 3.2]) @ np.exp(-(A * (x - P) ** 2).sum(axis=1)))


def mixed(p: Params) -> float:
    return float(np.log10(p["x"] / 3) ** 2 + 0.1 * (p["n"] - 7) ** 2 + {"a": 1.0, "b": 0.0, "c": 2.0}[p["kind"]] + 0.01)


def search(space: Space, f: Callable[[Params], float | None], settings: StudySettings) -> list[Observation]:
    seen: list[Observation] = []
    for index in range(settings.trials):
        known = max(0, index - settings.batch + 1)
        suggestion = suggest(space, settings, index, seen[:known], [o.suggestion for o in seen[known:]])
        seen.append(Observation(suggestion, f(suggestion.params)))
    return seen


def best(space: Space, f: Callable[[Params], float], settings: StudySettings) -> float:
    return min(o.loss for o in search(space, f, settings) if o.loss is not None)


def test_test_functions_have_their_known_minima() -> None:
    assert branin({"x": np.pi, "y": 2.275}) == pytest.approx(0.397887, abs=1e-6)
    assert hartmann(dict(zip("abc", (0.114614, 0.555649, 0.852547), strict=True))) == pytest.approx(-3.86278, abs=1e-5)


@pytest.mark.parametrize(
    ("space", "f", "near", "acquisition"),
    [
        *[(BRANIN, branin, 0.6, acquisition) for acquisition in ("ei", "pi", "lcb", "gp_hedge")],
        *[(HARTMANN, hartmann, -3.8, acquisition) for acquisition in ("ei", "gp_hedge")],
    ],
)
def test_beats_random_at_equal_budget(
    space: Space, f: Callable[[Params], float], near: float, acquisition: str
) -> None:
    settings = {"trials": 24, "initial": 8, "acquisition": acquisition}
    ours = [best(space, f, StudySettings(seed=seed, **settings)) for seed in range(3)]
    random = [best(space, f, StudySettings(seed=seed, sampler="random", **settings)) for seed in range(25)]
    assert np.median(ours) < np.quantile(random, 0.2)
    assert np.median(ours) < near


def test_mixed_space_finds_the_best_choice() -> None:
    found = min(search(MIXED, mixed, StudySettings(trials=40, initial=10)), key=lambda o: o.loss or np.inf)
    assert (found.suggestion.params["n"], found.suggestion.params["kind"]) == (7, "b")
    assert found.suggestion.params["x"] == pytest.approx(3, rel=0.3)


def test_finite_space_is_walked_without_repeats() -> None:
    space = Space({"n": Integer(1, 5), "kind": Categorical(("a", "b", "c"))})
    seen = search(space, lambda p: float(p["n"]), StudySettings(trials=15, initial=6))
    points = [tuple(o.suggestion.params.values()) for o in seen]
    assert sorted(points) == sorted(product(range(1, 6), "abc"))
    again = search(space, lambda p: float(p["n"]), StudySettings(trials=18, initial=6))  # goes on when all are known
    assert len(again) == 18


def test_initial_points_are_hammersley_points() -> None:
    seen = search(BRANIN, branin, StudySettings(trials=8, initial=8, sampler="hammersley"))
    np.testing.assert_allclose([BRANIN.unit(o.suggestion.params) for o in seen], hammersley(8, 2), atol=1e-6)
    assert {o.suggestion.phase for o in seen} == {"initial"}


@pytest.mark.parametrize("sampler", ["random", "hammersley"])
def test_points_of_samplers_that_do_not_learn_are_distinct_and_stay_when_extended(sampler: str) -> None:
    short = search(BRANIN, branin, StudySettings(trials=20, initial=8, sampler=sampler))
    long = search(BRANIN, branin, StudySettings(trials=40, initial=8, sampler=sampler))
    assert long[:20] == short
    assert len({tuple(o.suggestion.params.values()) for o in long}) == 40


@pytest.mark.parametrize("sampler", ["gp", "hammersley", "random"])
def test_other_seed_other_points(sampler: str) -> None:
    first, second = (
        search(BRANIN, branin, StudySettings(trials=10, initial=8, seed=s, sampler=sampler)) for s in (0, 1)
    )
    assert all(a.suggestion.params != b.suggestion.params for a, b in zip(first, second, strict=True))


def test_suggestion_depends_on_nothing_but_its_arguments() -> None:
    settings = StudySettings(trials=14, initial=8, acquisition="gp_hedge")
    seen = search(MIXED, mixed, settings)
    np.random.seed(3)  # noqa: NPY002
    again = suggest(MIXED, settings, 13, seen[:12], [seen[12].suggestion])
    assert again == seen[13].suggestion


def test_open_points_are_not_suggested_again() -> None:
    settings = StudySettings(trials=16, initial=8, batch=5)
    seen = search(BRANIN, branin, settings)[:12]
    u = np.array([BRANIN.unit(o.suggestion.params) for o in seen])
    fresh = BRANIN.unit(suggest(BRANIN, settings, 12, seen[:8], [o.suggestion for o in seen[8:]]).params)
    assert np.abs(u[8:] - fresh).max(axis=1).min() > 0.02


def test_portfolio_gains_follow_the_rewards() -> None:
    seen = search(BRANIN, branin, StudySettings(trials=16, initial=8, acquisition="gp_hedge", batch=1))
    memories = [o.suggestion.portfolio for o in seen[8:]]
    assert all(m is not None and len(m.proposals) == 3 for m in memories)
    gains = np.array([m.gains for m in memories if m is not None])
    assert (gains[0] == 0).all()
    assert (np.diff(gains, axis=0) != 0).all()
    # the chosen proposal has been evaluated, so its reward is close to minus its standardized loss
    y = standardized([o.loss for o in seen[:9]], True)
    first = memories[0]
    assert first is not None
    chosen = ["ei", "pi", "lcb"].index(first.chosen)
    assert gains[1, chosen] == pytest.approx(-y[8], abs=0.2)


def test_failed_trials_take_the_worst_value() -> None:
    np.testing.assert_allclose(standardized([1.0, None, 3.0], False), standardized([1.0, 3.0, 3.0], False))
    np.testing.assert_allclose(standardized([1.0, 10.0], True), [-1, 1])
    np.testing.assert_allclose(standardized([-1.0, 3.0, 1.0], True), standardized([0.0, 2.0, 1.0], False))
    np.testing.assert_array_equal(standardized([0.1, None, 0.1], True), [0.0, 0.0, 0.0])
    assert np.isfinite(standardized([1e-300, 1e308, 1e308, -1e307], False)).all()


def test_search_turns_away_from_where_evaluations_fail() -> None:
    def half(p: Params) -> float | None:
        return None if p["x"] > 2.5 else branin(p)

    runs = [search(BRANIN, half, StudySettings(trials=24, initial=8, seed=seed)) for seed in range(3)]
    assert np.median([sum(o.loss is None for o in seen[8:]) for seen in runs]) < 5  # of 16; half of the space fails
    assert np.median([min(o.loss for o in seen if o.loss is not None) for seen in runs]) < 1.0


def test_without_any_result_points_are_random() -> None:
    seen = search(BRANIN, lambda p: None, StudySettings(trials=6, initial=3))
    assert [o.suggestion.phase for o in seen] == ["initial"] * 3 + ["random"] * 3
    assert len({tuple(o.suggestion.params.values()) for o in seen}) == 6


def test_one_point_of_history_is_enough() -> None:
    first = Observation(Suggestion({"x": 0.0, "y": 1.0}, "initial"), 1.0)
    assert suggest(BRANIN, StudySettings(trials=9, initial=1, batch=1), 1, [first], []).phase == "gp"
