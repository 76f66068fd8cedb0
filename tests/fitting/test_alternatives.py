"""What a model leaves open is settled by short fits; studies that go on, and fits of the same data, settle it alike."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from single_process import stay_in_process

import forcewright as fw
from forcewright.features.row_cache import RowMemory
from forcewright.fitting import alternatives
from forcewright.fitting.linear_trial import fit_linear
from forcewright.fitting.problem import Problem, make_problem
from forcewright.fitting.settings import FitSettings
from forcewright.models.ace import AceModel

MODEL = {"kind": "ace", "functions": 10, "rcut": 4.0, "nradmax": [4, 2, 1], "lmax": [0, 1, 1]}
QUICK: dict[str, Any] = {"validation": {"kfold": 2}, "search": {"starts": 1, "evaluations": 5}, "workers": 1}


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    stay_in_process(monkeypatch, drawn=False)


@pytest.fixture(scope="module")
def train(copper: Path) -> fw.Dataset:
    return fw.read(copper / "train.extxyz")


def problem_of(train: fw.Dataset, **changes: Any) -> Problem:
    settings = FitSettings.model_validate({**QUICK, "model": {**MODEL, **changes}})
    return make_problem(settings, train, rows=RowMemory(10**8), scratch=Path())


def test_the_radial_functions_that_predict_best_are_chosen(train: fw.Dataset) -> None:
    settled = alternatives.settle_model(problem_of(train))
    losses = settled.choice.losses
    least = min(losses.values())
    assert len(losses) == 5 and losses[settled.choice.chosen] <= 1.01 * least
    assert settled.model["radial"] == settled.choice.chosen.split()[0]
    # written out: the loss of one of them on the same frames
    few = alternatives.few_frames(train)
    assert settled.choice.frames == len(few) <= len(train)
    one = problem_of(few, radial="ChebPow", decay=4.0)
    weights = one.settings.weights.model_copy(update={"by": "all"})
    folds = alternatives.kfold(few, 4, rng=np.random.default_rng([one.seed, 8]))
    whole = problem_of(train, radial="ChebPow", decay=4.0)
    one = replace(
        one, folds=folds, loss=whole.loss, reference=whole.reference, model=whole.model,
        settings=one.settings.model_copy(update={"weights": weights}),
    )  # fmt: skip
    predictions = fit_linear(one, {}, 0, iterations=()).predictions
    assert one.loss.of(few, predictions) == pytest.approx(losses["ChebPow λ 4"], rel=1e-5)


def test_groups_that_are_left_out_have_no_part_in_the_choice(
    train: fw.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong labels of what is left out change nothing; where all is left out, folds are the groups."""
    groups = list(train.group_sizes)
    tried: list[Problem] = []
    monkeypatch.setattr(
        alternatives, "fit_linear", lambda problem, *rest, **more: tried.append(problem) or fit_linear(problem, *rest, **more)
    )  # fmt: skip

    def problem(leave_out: Any) -> Problem:
        settings = {**QUICK, "model": {**MODEL, "decay": 4.0}, "validation": {"leave_out": leave_out}}
        return make_problem(FitSettings.model_validate(settings), train, rows=RowMemory(10**8), scratch=Path())

    alternatives.settle_model(problem({"one": [groups[0]]}))
    assert tried and all(groups[0] not in p.everything.groups for p in tried)
    tried.clear()
    alternatives.settle_model(problem("groups"))
    assert all(set(p.everything.groups) == set(groups) for p in tried)
    for fold in range(tried[0].fold_count):
        assert len({tried[0].train.groups[k] for k in np.flatnonzero(tried[0].folds == fold)}) == 1


@pytest.mark.parametrize("radial", ["SBessel", {"choices": ["SBessel", "ChebPow"]}])
def test_what_the_config_says_is_not_searched(train: fw.Dataset, radial: Any) -> None:
    problem = problem_of(train, radial=radial)
    assert alternatives.settle_model(problem) is problem


def test_a_given_decay_is_kept_and_other_ranges_stand_in_their_middle() -> None:
    content = {**MODEL, "decay": 3.0, "rcut": {"low": 3.0, "high": 5.0}, "functions": 2000, "densities": 2}
    found = AceModel.alternatives(content)
    assert [one.words for one in found] == ["SBessel", "ChebPow", "ChebExpCos"]
    assert all(one.tried["decay"] == 3.0 and one.tried["densities"] == 1 for one in found)
    assert all(one.tried["functions"] == 150 and set(one.settled) == {"radial"} for one in found)


def test_a_choice_of_few_frames_holds_every_element_and_group(train: fw.Dataset) -> None:
    rare = train[7]
    numbers = np.array(rare.structure.numbers)
    numbers[0] = 47
    structure = fw.Structure(numbers, rare.structure.positions, rare.structure.cell, rare.structure.pbc)
    many = fw.Dataset((*train.frames * 40, fw.Frame(structure, rare.labels)))
    few = alternatives.few_frames(many)
    assert len(few) < len(many) and few.species == many.species and {*few.groups} == {*many.groups}


def test_studies_keep_their_choice(copper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"data": {"train": str(copper / "train.extxyz")}, "model": MODEL, **QUICK, "output": str(tmp_path / "run")}
    result = fw.fit(config)
    stored = tmp_path / "run" / "model_search.json"
    found = json.loads(stored.read_text())
    assert result.summary["model_search"]["chosen"] == found["chosen"]
    assert result.summary["settings"]["model"]["radial"] == found["model"]["radial"]
    monkeypatch.setattr(alternatives, "_choose", None)  # is not called again
    assert fw.fit(config).summary == result.summary
    (tmp_path / "run" / "result.json").unlink()
    again = fw.fit(config)
    np.testing.assert_array_equal(again.potential.coefficients, result.potential.coefficients)


def test_a_study_of_before_goes_on_with_the_family_of_before(copper: Path, tmp_path: Path) -> None:
    """Earlier versions took SBessel where nothing was said: an explicit one is another study for them and for us."""
    given = {"data": {"train": str(copper / "train.extxyz")}, **QUICK, "output": str(tmp_path / "run")}
    fw.fit({**given, "model": {**MODEL, "radial": "SBessel"}})
    with pytest.raises(fw.errors.InputError, match="another config"):
        fw.fit({**given, "model": MODEL})


def test_the_choice_is_said(train: fw.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="forcewright.data")
    settled = alternatives.settle_model(problem_of(train))
    assert f"{settled.choice.chosen}: chosen by validation losses on" in caplog.text
