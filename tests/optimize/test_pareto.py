"""The Pareto front against its definition, and ParEGO against random search."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from optimize_objectives import essence
from pydantic import ValidationError

from forcewright.errors import InputError
from forcewright.optimize.journal import TrialRecord
from forcewright.optimize.pareto import RHO, non_dominated, scalarized, weights_of
from forcewright.optimize.sampler import Observation, suggest
from forcewright.optimize.settings import StudySettings
from forcewright.optimize.space import Integer, Params, Real, Space
from forcewright.optimize.study import Study, best_of, eligible
from forcewright.optimize.workers import Outcome


def test_front_by_hand() -> None:
    values = np.array([[1, 5], [2, 3], [3, 4], [4, 1], [2, 2], [1, 5], [4, 4], [1, 6]])
    np.testing.assert_array_equal(np.flatnonzero(non_dominated(values)), [0, 3, 4, 5])
    assert non_dominated(np.zeros((0, 2))).shape == (0,)
    np.testing.assert_array_equal(non_dominated(np.array([[3.0], [1.0], [1.0]])), [False, True, True])


@pytest.mark.parametrize("count", [2, 3])
def test_front_by_definition(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 6, size=(60, count)).astype(float)
    expected = [not any((b <= a).all() and (b < a).any() for b in values) for a in values]
    np.testing.assert_array_equal(non_dominated(values), expected)


def test_weights_are_spread_over_the_simplex() -> None:
    two = np.array([weights_of(index, 2, 0) for index in range(64)])
    assert np.abs(np.sort(two[:, 0]) - np.arange(64) / 64).max() < 1 / 32
    three = np.array([weights_of(index, 3, 5) for index in range(600)])
    for weights in (two, three):
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(three.mean(axis=0), 1 / 3, atol=0.01)
    np.testing.assert_allclose(three.var(axis=0), 1 / 18, atol=0.003)  # Dirichlet(1, 1, 1)
    np.testing.assert_array_equal(weights_of(7, 2, 3), weights_of(7, 2, 3))
    assert weights_of(7, 2, 3)[0] != weights_of(7, 2, 4)[0] != weights_of(8, 2, 4)[0]


def test_norm_by_hand() -> None:
    values = [(1.0, 100.0), None, (10.0, 10.0), (100.0, 1.0), (1000.0, 1000.0)]
    norms = scalarized(values, np.array([0.25, 0.75]), log=True)
    expected = [0.75 + RHO * 0.75, None, 0.375 + RHO * 0.5, 0.25 + RHO * 0.25, 1.125 + RHO * 1.5]
    assert [n is None for n in norms] == [e is None for e in expected]
    np.testing.assert_allclose([n for n in norms if n is not None], [e for e in expected if e is not None])
    # the least norm of each choice of weights lies on the front
    rng = np.random.default_rng(0)
    points = rng.random((40, 2))
    for weights in rng.dirichlet([1, 1], size=50):
        norms = scalarized([tuple(p) for p in points], weights, log=False)
        assert non_dominated(points)[int(np.argmin([n for n in norms if n is not None]))]


def test_norm_of_points_that_do_not_differ() -> None:
    assert scalarized([(1.0, 2.0), (1.0, 2.0)], np.array([0.5, 0.5]), log=True) == [0.0, 0.0]
    assert scalarized([(1.0, 2.0), (3.0, 2.0)], np.array([1.0, 0.0]), log=False) == [0.0, 1.0 + RHO]


# ------------------------------------------------------------------------------- coverage of a known front

ZDT = Space({name: Real(0, 1) for name in "abc"})
FIT = Space({"n": Integer(10, 1000), "r": Real(3, 7), "w": Real(0.3, 1.0), "t": Real(1e-2, 1e2, log=True)})


def zdt1(p: Params) -> tuple[float, float]:
    """Front f₂ = 1 - √f₁ (Zitzler, Deb and Thiele, Evol. Comput. 8, 173 (2000), T₁, with three variables)."""
    g = 1 + 9 * (p["b"] + p["c"]) / 2
    return p["a"], g * (1 - np.sqrt(p["a"] / g))


def fit_like(p: Params) -> tuple[float, float]:
    """Errors fall as a power of the number of functions, whose cost grows with their number and the cutoff cubed."""
    error = 0.08 + 0.6 * p["n"] ** -0.6 + 0.02 * (p["r"] - 4.8) ** 2 + 0.3 * (p["w"] - 0.85) ** 2
    return error + 0.01 * np.log10(p["t"]) ** 2, 0.05 * p["n"] * (p["r"] / 5) ** 3


def hypervolume(values: np.ndarray, corner: tuple[float, float]) -> float:
    """Area that the points dominate, up to a corner."""
    area, ceiling = 0.0, corner[1]
    for a, b in sorted(map(tuple, values)):
        if a < corner[0] and b < ceiling:
            area, ceiling = area + (corner[0] - a) * (ceiling - b), b
    return area


def searched(space: Space, f: Callable[[Params], tuple[float, float]], settings: StudySettings) -> np.ndarray:
    seen: list[Observation] = []
    for index in range(settings.trials):
        known = max(0, index - settings.batch + 1)
        suggestion = suggest(space, settings, index, seen[:known], [o.suggestion for o in seen[known:]])
        loss, other = f(suggestion.params)
        seen.append(Observation(suggestion, loss, (other,)))
    return np.array([(o.loss, *o.others) for o in seen])


def test_hypervolume_by_hand() -> None:
    assert hypervolume(np.array([[0, 2], [1, 1], [2, 2], [5, 0]]), (3, 3)) == 3 + 2


@pytest.mark.parametrize(
    ("space", "f", "log", "corner", "least"),
    [(ZDT, zdt1, False, (1.1, 1.1), 0.75), (FIT, fit_like, True, (np.log(0.6), np.log(60)), 7.0)],
)
def test_covers_the_front_better_than_random_and_than_the_loss_alone(
    space: Space, f: Callable[[Params], tuple[float, float]], log: bool, corner: tuple[float, float], least: float
) -> None:
    def covered(seed: int, **changes: object) -> float:
        settings = {"trials": 30, "initial": 10, "objectives": ("loss", "cost"), "log_loss": log, "seed": seed}
        values = searched(space, f, StudySettings.model_validate({**settings, **changes}))
        return hypervolume(np.log(values) if log else values, corner)

    ours = np.median([covered(seed) for seed in range(3)])
    assert ours > least  # of at most 0.877 for ZDT1
    assert ours > max(covered(seed, sampler="random") for seed in range(25))
    assert ours > np.median([covered(seed, objectives=("loss",)) for seed in range(3)]) * 1.1


# ------------------------------------------------------------------------------------------------ studies

TWO = StudySettings(trials=16, initial=6, objectives=("loss", "cost"))


def measured(params: Params, index: int) -> Outcome:
    if index == 5:
        raise ValueError("no such basis")
    loss, cost = fit_like(params)
    return Outcome(loss, {"cost": None if index == 3 else cost})


def run(journal: Path, settings: StudySettings = TWO, workers: int = 2) -> list[TrialRecord]:
    with Study(FIT, journal, settings) as study, ThreadPoolExecutor(workers) as pool:
        return study.run(measured, pool)


def test_a_study_of_two_objectives_resumes_and_depends_on_no_worker(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    assert [t.phase for t in whole] == ["initial"] * 6 + ["gp"] * 10
    assert whole[5].state == "failed" and whole[3].state == "complete"
    for trials, workers in ((4, 1), (9, 3), (16, 2)):
        resumed = run(tmp_path / "parts", TWO.model_copy(update={"trials": trials}), workers)
    assert essence(resumed) == essence(whole)
    alone = run(tmp_path / "alone", TWO.model_copy(update={"objectives": ("loss",)}))
    assert essence(alone)[:6] == essence(whole)[:6] and alone[6].params != whole[6].params


def test_studies_of_the_loss_alone_are_what_they_were(tmp_path: Path) -> None:
    """A journal knows nothing of objectives unless there is more than one, as before there were any."""
    settings = TWO.model_copy(update={"objectives": ("loss",)})
    run(tmp_path / "one", settings)
    assert "objectives" not in (tmp_path / "one").read_text()
    assert set(StudySettings().sequence()) == {
        "initial", "sampler", "acquisition", "seed", "batch", "xi", "kappa", "log_loss"
    }  # fmt: skip
    with pytest.raises(InputError, match="settings.objectives was absent, is"):
        Study(FIT, tmp_path / "one", TWO)


def test_patience_waits_for_new_compromises(tmp_path: Path) -> None:
    def staircase(params: Params, index: int) -> Outcome:
        return Outcome(1.0 + index, {"cost": 50.0 - min(index, 20)})  # never a lower loss, cheaper until trial 20

    lengths = []
    for objectives in (("loss",), ("loss", "cost")):
        settings = StudySettings(trials=40, initial=4, patience=5, sampler="random", objectives=objectives)
        with Study(FIT, tmp_path / str(len(objectives)), settings) as study, ThreadPoolExecutor(2) as pool:
            lengths.append(len(study.run(staircase, pool)))
    assert lengths == [10, 27]


def test_the_best_keeps_to_the_limits() -> None:
    losses_and_costs = [(3.0, 1.0), (1.0, 30.0), (2.0, 9.0), (2.0, 8.0), (None, 2.0), (0.5, None)]
    trials = [
        TrialRecord(i, "failed" if loss is None else "complete", "gp", {}, loss, {"cost": cost})
        for i, (loss, cost) in enumerate(losses_and_costs)
    ]
    assert best_of(trials).index == 5
    assert best_of(trials, {"cost": 100.0}).index == 1
    assert best_of(trials, {"cost": 10.0}).index == 2  # the earliest of equals
    assert [t.index for t in eligible(trials, {"cost": 10.0})] == [0, 2, 3]
    assert best_of(trials, {"cost": 0.5}).index == 0  # none is within: the one that comes closest
    assert best_of(trials[5:], {"cost": 0.5}).index == 5
    with pytest.raises(InputError, match="no finished trial"):
        best_of([], {"cost": 0.5})


def test_objectives_are_named_once_and_begin_with_the_loss() -> None:
    for objectives in (["cost", "loss"], ["loss", "loss"], []):
        with pytest.raises(ValidationError, match="must begin with loss"):
            StudySettings(objectives=objectives)
