from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forcewright.errors import InputError
from forcewright.fitting.hyperparameters import fill_model, search_ranges
from forcewright.optimize.space import Integer, Real
from forcewright.recipes.config import parse_config, read_config

EXAMPLE = """
data: {train: Mo_train.extxyz, test: [Mo_test.extxyz, more.extxyz]}
validation: {kfold: 5}
model: {kind: snap, twojmax: {low: 2, high: 8}, quadratic: true, rcut: {low: 3.0, high: 6.0}, radii: {Mo: {low: 0.4, high: 0.6}}}
weights: {energy: {low: 100, high: 15000, log: true}, force: {low: 0.1, high: 500, log: true}, by: group}
ridge: {low: 1.0e-12, high: 1.0e-3, log: true}
loss: {metric: rmse, alpha: 0.75}
study: {settings: 32, initial: 16, sampler: gp, acquisition: ei, seed: 0}
output: runs/mo
"""


@pytest.fixture
def example() -> dict[str, Any]:
    import yaml

    return yaml.safe_load(EXAMPLE)


def test_paths_are_relative_to_the_config(tmp_path: Path) -> None:
    (tmp_path / "mo.yaml").write_text(EXAMPLE)
    config = read_config(tmp_path / "mo.yaml")
    assert config.data.train == [tmp_path / "Mo_train.extxyz"]
    assert config.data.test == [tmp_path / "Mo_test.extxyz", tmp_path / "more.extxyz"]
    assert config.output == tmp_path / "runs/mo"
    assert config.study.trials == 32


def test_ranges_are_found_by_type_and_place(example: dict[str, Any]) -> None:
    ranges = search_ranges(example["model"])
    assert ranges == {"twojmax": Integer(2, 8), "rcut": Real(3.0, 6.0), "radii.Mo": Real(0.4, 0.6)}
    model = fill_model(example["model"], {"twojmax": 4, "rcut": 5.0, "radii.Mo": 0.45})
    assert (model.twojmax, model.rcut, model.radii, model.quadratic) == (4, 5.0, {"Mo": 0.45}, True)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"ouput": "x"}, "ouput", "did you mean 'output'"),
        ({"loss": {"alpa": 0.5}}, "loss.alpa", "did you mean 'alpha'"),
        ({"loss": {"metric": "rms"}}, "loss.metric", "'rms'"),
        ({"loss": {"alpha": 1.5}}, "loss.alpha", "1.5"),
        ({"model": {"kind": "snip"}}, "model.kind", "allowed are"),
        ({"model": {"twojmax": 6}}, "model.kind", "allowed are"),
        ({"model": {"kind": "snap", "twojmx": 3}}, "model.twojmx", "did you mean 'twojmax'"),
        ({"model": {"kind": "snap", "twojmax": {"low": 2.5, "high": 6}}}, "model.twojmax", "whole number"),
        ({"model": {"kind": "snap", "rcut": {"low": 6, "high": 3}}}, "model.rcut", "must be below high"),
        ({"model": {"kind": "snap", "rcut": {"low": -1, "high": 3}}}, "model.rcut", "greater than 0"),
        ({"model": {"kind": "snap", "rcut": -3}}, "model.rcut", "greater than 0"),
        ({"weights": {"energy": {"low": 10, "high": 1}}}, "weights.energy", "must be below high"),
        ({"weights": {"energy": {"low": 0, "high": 1}}}, "weights.energy.low", "greater than 0"),
        ({"weights": {"energy": "much"}}, "weights.energy", "'much'"),
        ({"weights": {"groups": {"Surface": {"enrgy": 1}}}}, "weights.groups.Surface.enrgy", "did you mean 'energy'"),
        ({"validation": {"kfold": 5, "holdout": 0.1}}, "validation", "give one of"),
        ({"validation": {"kfold": 1}}, "validation.kfold", "greater than or equal to 2"),
        ({"validation": {"holdout": 0.1, "nested": True}}, "validation", "nested needs kfold"),
        ({"study": {"trals": 3}}, "study.trals", "did you mean 'trials'"),
        ({"reference_energies": "foo"}, "reference_energies", "'least_squares'"),
        ({"data": {"test": "x"}}, "data.train", "is missing"),
        ({"ridge": {"low": 1e-3, "high": 1e-12}}, "ridge", "must be below high"),
    ],
)
def test_mistakes_name_the_field_and_what_is_allowed(example, change: dict, field: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse_config({**example, **change}, folder=Path())
    assert caught.value.field == field


def test_xpot_needs_a_test_set(example: dict[str, Any]) -> None:
    example["data"].pop("test")
    with pytest.raises(InputError, match="selects on the test set"):
        parse_config({**example, "protocol": "xpot"}, folder=Path())


@pytest.mark.parametrize(
    ("text", "words"), [("a: [1", "not readable YAML"), ("- 1", "is not a mapping"), ("", "is not a mapping")]
)
def test_files_that_are_no_config(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        read_config(tmp_path / "c.yaml")
    with pytest.raises(InputError, match="does not exist"):
        read_config(tmp_path / "none.yaml")
