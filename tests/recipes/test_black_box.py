from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from toy_family import HOME, ToyModel, rows

import forcewright as fw
from forcewright.data import read, write
from forcewright.errors import InputError
from forcewright.features.row_cache import RowMemory
from forcewright.fitting.family_fit import generator, load_predictions, save_predictions
from forcewright.fitting.problem import make_problem
from forcewright.models import FAMILIES
from forcewright.optimize.evaluation import StudyError
from forcewright.potential import Prediction
from forcewright.recipes.config import parse_config
from forcewright.recipes.inputs import read_inputs
from forcewright.recipes.outputs import rebuild_report
from forcewright.structure import Dataset, Frame, Labels, Structure


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "toy", HOME)


@pytest.fixture
def toy(config: dict[str, Any]) -> dict[str, Any]:
    """The small study on copper, with toys in place of SNAP."""
    model = {"kind": "toy", "cutoff": {"low": 3.0, "high": 6.0}, "functions": {"low": 3, "high": 8}}
    return {**{key: value for key, value in config.items() if key != "search"}, "model": model}


def trials_of(result: Any) -> list[tuple]:
    return [(t.index, t.params, t.loss, t.error) for t in result.trials]


@pytest.mark.whole
def test_tune_writes_the_same_things_as_for_a_linear_family(toy: dict[str, Any]) -> None:
    result = fw.tune(toy)
    folder = result.folder
    for name in (
        "result.json", "report.html", "trials.csv", "trials_by_group.csv", "errors_validation.csv", "errors_test.csv",
        "parity_validation.npz", "parity_test.npz", "potential/potential.json", "config.resolved.yaml",
    ):  # fmt: skip
        assert (folder / name).is_file(), name
    summary = json.loads((folder / "result.json").read_text())
    assert summary["trials"] == 3 and summary["failed_trials"] == 0 and summary["evaluations"] == 12
    assert summary["settings"]["model"]["kind"] == "toy" and set(summary["settings"]) == {"model", "loss"}
    assert summary["cost_us_per_atom"] > 0 and summary["fit_s"] > 0
    assert "Thompson" not in (folder / "report.html").read_text()
    errors = fw.evaluate(fw.load(folder / "potential"), fw.read(toy["data"]["test"]))
    assert errors.overall.force_rmse_eV_per_A == pytest.approx(summary["test"]["force_rmse_eV_per_A"], rel=1e-12)
    page = rebuild_report(folder)
    assert page.is_file()


def test_folds_are_predicted_by_fits_that_have_not_seen_them(toy: dict[str, Any], tmp_path: Path) -> None:
    """Least squares by hand on the other folds gives the validation error that is told."""
    model = {"kind": "toy", "cutoff": 4.5, "functions": 6}
    result = fw.fit({**toy, "model": model})
    settings = parse_config({**toy, "model": model}, folder=Path())
    inputs = read_inputs(settings)
    problem = make_problem(settings, inputs.train, rows=RowMemory(0), scratch=tmp_path)
    squares, count = 0.0, 0
    for fold in range(4):
        fitted = ToyModel(**model).fit(problem.train[problem.folds != fold], rng=np.random.default_rng(0))
        for structure, labels, _ in problem.train[problem.folds == fold]:
            forces = (rows(structure, fitted.species, 4.5, 6) @ np.array(fitted.coefficients))[
                1 : 1 + labels.forces.size
            ]
            squares += float(np.sum((forces - labels.forces.ravel()) ** 2))
            count += labels.forces.size
    assert result.summary["validation"]["force_rmse_eV_per_A"] == pytest.approx((squares / count) ** 0.5, rel=1e-9)
    everything = ToyModel(**model).fit(problem.train, rng=np.random.default_rng(0))
    np.testing.assert_allclose(result.potential.coefficients, everything.coefficients, rtol=1e-9)


@pytest.mark.whole
def test_trials_depend_neither_on_workers_nor_on_interruptions(toy: dict[str, Any], tmp_path: Path) -> None:
    toy["model"]["noise"] = 1e-3  # drawn from the generator that the fit is given
    toy["validation"] = {"kfold": 2}
    first = fw.tune({**toy, "study": {**toy["study"], "settings": 2}})
    resumed = fw.tune(toy)
    at_once = fw.tune({**toy, "workers": 2, "output": str(tmp_path / "two")})
    assert trials_of(resumed) == trials_of(at_once) and trials_of(resumed)[:2] == trials_of(first)
    assert resumed.potential.coefficients == at_once.potential.coefficients
    assert resumed.summary["validation"] == at_once.summary["validation"]
    assert resumed.summary["earlier_trials_s"] > 0 == at_once.summary["earlier_trials_s"]
    resolved = yaml.safe_load((resumed.folder / "config.resolved.yaml").read_text())
    assert "weights" not in resolved and trials_of(fw.tune(resolved)) == trials_of(resumed)


def test_generator_follows_seed_setting_and_part() -> None:
    draw = [
        generator(seed, params, part).random()
        for seed, params, part in [
            (0, {"a": 1.0, "b": 2}, "x"), (0, {"b": 2, "a": 1.0}, "x"), (1, {"a": 1.0, "b": 2}, "x"),
            (0, {"a": 1.5, "b": 2}, "x"), (0, {"a": 1.0, "b": 2}, "y"),
        ]
    ]  # fmt: skip
    assert draw[0] == draw[1] and len(set(draw)) == 4


@pytest.mark.whole
def test_failed_fits_are_failed_trials_with_their_reason(toy: dict[str, Any]) -> None:
    toy["model"] |= {"fails_above": 4.0, "crashes_above": 5.0}
    toy["study"] = {"settings": 6, "initial": 6, "seed": 1}
    result = fw.tune(toy)
    reasons = [trial.error for trial in result.trials if trial.loss is None]
    assert any("toys go no further than 4.0" in reason for reason in reasons)
    assert any("process died" in reason for reason in reasons)
    assert result.summary["failed_trials"] == len(reasons) < 6


def test_a_study_whose_fits_all_fail_says_why(toy: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="toys go no further"):
        fw.fit({**toy, "model": {"kind": "toy", "fails_above": 1.0}})


@pytest.mark.parametrize(
    ("name", "value"),
    [("weights", {"energy": 100}), ("ridge", 1e-8), ("prior", "none"), ("search", {"starts": 1})],
)
def test_what_is_about_normal_equations_is_refused(toy: dict[str, Any], name: str, value: Any) -> None:
    with pytest.raises(InputError, match="applies to linear families; toy has fields of its own") as caught:
        fw.tune({**toy, name: value})
    assert caught.value.field == name


def test_files_that_a_model_names_are_taken_from_the_folder_of_the_config(toy: dict[str, Any], tmp_path: Path) -> None:
    model = {"kind": "toy", "start_from": "earlier/potential"}
    settings = parse_config({**toy, "model": model}, folder=tmp_path)
    assert settings.model["start_from"] == str(tmp_path / "earlier" / "potential")


def test_nested_and_given_reference_energies_are_refused(toy: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="every pair of folds"):
        fw.tune({**toy, "validation": {"kfold": 4, "nested": True}})
    with pytest.raises(InputError, match="settles its own"):
        fw.tune({**toy, "reference_energies": "zero"})


def test_holdout_and_external_validation(toy: dict[str, Any], tmp_path: Path) -> None:
    model = {"kind": "toy", "cutoff": 4.5}
    held = fw.fit({**toy, "model": model, "validation": {"holdout": 0.25}})
    assert held.summary["validation"]["frames"] == 10 and held.summary["evaluations"] == 1
    train = read(toy["data"]["train"])
    np.testing.assert_allclose(  # what was held back helps in the end
        held.potential.coefficients, ToyModel(**model).fit(train, rng=np.random.default_rng(0)).coefficients, rtol=1e-9
    )
    external = {"external": toy["data"]["test"]}
    outside = fw.fit({**toy, "model": model, "validation": external, "output": str(tmp_path / "external")})
    errors = fw.evaluate(outside.potential, read(toy["data"]["test"]))
    told = outside.summary["validation"]["energy_rmse_meV_per_atom"]
    assert told == pytest.approx(errors.overall.energy_rmse_meV_per_atom, rel=1e-12)


def test_isolated_atoms_are_in_every_fit_and_never_judged(toy: dict[str, Any], tmp_path: Path) -> None:
    train = read(toy["data"]["train"])
    atom = Frame(Structure([29], [[0.0, 0, 0]]), Labels(energy=1.5, forces=np.zeros((1, 3)), group="isolated_atom"))
    write(Dataset((*train.frames, atom)), tmp_path / "with.extxyz")
    data = {**toy["data"], "train": str(tmp_path / "with.extxyz")}
    result = fw.fit({**toy, "data": data, "model": {"kind": "toy", "cutoff": 4.5}})
    assert result.summary["validation"]["frames"] == len(train)
    expected = ToyModel(cutoff=4.5).fit(Dataset((*train.frames, atom)), rng=np.random.default_rng(0))
    np.testing.assert_allclose(result.potential.coefficients, expected.coefficients, rtol=1e-7)
    assert "isolated atoms among its training data" in result.summary["reference_energies"]["isolated_atoms"]


def test_predictions_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stress = rng.normal(size=(3, 3))
    stress = stress + stress.T
    given = [
        Prediction(1.0, rng.normal(size=(2, 3)), stress),
        Prediction(-3.5),
        Prediction(2.0, rng.normal(size=(1, 3))),
    ]
    back = load_predictions(save_predictions(tmp_path / "one.npz", given))
    for a, b in zip(given, back, strict=True):
        assert a.energy == b.energy
        for x, y in ((a.forces, b.forces), (a.stress, b.stress)):
            assert (x is None) == (y is None)
            if x is not None:
                np.testing.assert_array_equal(x, y)


def test_real_gap_fit_is_tuned_like_everything_else(toy: dict[str, Any]) -> None:
    pytest.importorskip("quippy", reason="the package quippy-ase is not installed")
    soap = {"cutoff": 4.0, "n_max": 3, "l_max": 2, "n_sparse": {"low": 5, "high": 25}}
    model = {"kind": "gap", "two_body": {"cutoff": {"low": 3.5, "high": 5.0}, "n_sparse": 10}, "soap": soap}
    study = {"settings": 2, "initial": 2, "seed": 1}
    result = fw.tune({**toy, "model": model, "study": study, "validation": {"holdout": 0.3}})
    summary = result.summary
    assert summary["failed_trials"] == 0 and summary["settings"]["model"]["kind"] == "gap"
    errors = fw.evaluate(fw.load(result.folder / "potential"), read(toy["data"]["test"]))
    assert errors.overall.force_rmse_eV_per_A == pytest.approx(summary["test"]["force_rmse_eV_per_A"], rel=1e-9)
    assert errors.overall.force_r2 > 0.9
    assert "Gaussian approximation potentials" in (result.folder / "report.html").read_text()
