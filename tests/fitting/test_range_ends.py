"""Chosen numbers at an end of their range are named, with the way to widen it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import forcewright as fw
from forcewright.features.row_cache import RowMemory
from forcewright.fitting.linear_trial import LinearTrial, fit_linear
from forcewright.fitting.problem import Problem, make_problem
from forcewright.fitting.range_ends import at_range_ends
from forcewright.fitting.settings import FitSettings
from forcewright.recipes.account import sections

MODEL = {"kind": "snap", "twojmax": {"low": 2, "high": 6}, "rcut": {"low": 3.0, "high": 5.0}}
PARAMS = {"twojmax": 4, "rcut": 4.0}


@pytest.fixture(scope="module")
def fitted(copper: Path) -> tuple[Problem, LinearTrial]:
    usual = {"low": 100, "high": 15000, "log": True}
    weights = {
        "energy": usual,
        "groups": {"bulk": {"force": {"low": 1, "high": 9}}, "surface": {"force": 3}},
        "stress": None,
    }
    content = {"model": MODEL, "weights": weights, "validation": 2, "search": {"starts": 1, "evaluations": 1}}
    content["ridge"] = {"low": 1e-12, "high": 1e-3, "log": True}
    settings = FitSettings.model_validate(content)
    problem = make_problem(settings, fw.read(copper / "train.extxyz"), rows=RowMemory(10**8), scratch=Path())
    return problem, fit_linear(problem, {"twojmax": 2, "rcut": 4.0}, 0)


def with_numbers(trial: LinearTrial, **values: float) -> LinearTrial:
    """Return the trial as if the search had found other numbers, by group_property and ridge; else 500, 3 and 1e-6."""
    names = [f"{term.group}_{term.property}" for term in trial.terms]
    usual = [500.0 if name.endswith("energy") else 3.0 for name in names]
    numbers = [values.get(name, number) for name, number in zip(names, usual, strict=True)]
    theta = np.log([*numbers, values.get("ridge", 1e-6)])
    return replace(trial, search=replace(trial.search, theta=theta))


@pytest.mark.parametrize(
    ("params", "values", "sentences"),
    [
        ({}, {}, []),
        ({"rcut": 4.985}, {}, ["model.rcut is 4.985, at the upper end of its range (3 to 5); raise model.rcut.high."]),
        ({"rcut": 4.97}, {}, []),
        ({"twojmax": 2}, {}, ["model.twojmax is 2, at the lower end of its range (2 to 6); lower model.twojmax.low."]),
        (
            {}, {"surface_energy": 100.0, "bulk_energy": 100.5},
            ["weights.energy of bulk, surface is 100.5, 100, at the lower end of its range (100 to 15000); lower "
             "weights.energy.low."],
        ),
        (
            {}, {"bulk_force": 9.0},
            ["weights.groups.bulk.force is 9, at the upper end of its range (1 to 9); raise "
             "weights.groups.bulk.force.high."],
        ),
        ({}, {"ridge": 1e-3}, ["ridge is 0.001, at the upper end of its range (1e-12 to 0.001); raise ridge.high."]),
    ],
)  # fmt: skip
def test_numbers_at_an_end_are_named(
    fitted: tuple[Problem, LinearTrial], params: dict[str, Any], values: dict[str, float], sentences: list[str]
) -> None:
    problem, trial = fitted
    assert at_range_ends(problem, {**PARAMS, **params}, with_numbers(trial, **values)) == sentences


def test_of_what_is_not_stated_the_advice_is_to_state_it(fitted: tuple[Problem, LinearTrial]) -> None:
    """What is advised stands in the config as it is, and is the range that a fit then has."""
    problem, trial = fitted
    unstated = FitSettings.model_validate({"model": MODEL, "weights": {"stress": None}, "validation": 2})
    numbers = {f"{term.group}_{term.property}": 500.0 for term in trial.terms}
    low = with_numbers(trial, **{name: 100.0 for name in numbers if name.endswith("energy")}, ridge=1e-3)
    said = at_range_ends(replace(problem, settings=unstated), PARAMS, low)
    assert len(said) == 2 and all("default range" in sentence for sentence in said)
    content = {key: value for text in said for key, value in yaml.safe_load(text.split("`")[1]).items()}
    wider = FitSettings.model_validate({"model": MODEL, **content})
    assert (wider.weights.energy.low, wider.ridge.high) == (1.0, 0.1)


def test_summary_and_report_name_them(copper: Path) -> None:
    train = fw.read(copper / "train.extxyz")
    result = fw.fit(
        train, model={"kind": "snap", "twojmax": 2, "rcut": 4.0}, validation=2,
        ridge={"low": 1e3, "high": 1e4}, search={"starts": 1, "evaluations": 10},
    )  # fmt: skip
    (said,) = [sentence for sentence in result.summary["at_range_ends"] if sentence.startswith("ridge")]
    assert said.endswith(("lower ridge.low.", "raise ridge.high."))
    (shown,) = [text for title, text, *_ in sections(result.summary) if title.startswith("Ranges")]
    assert said in shown
