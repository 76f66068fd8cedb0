"""Stresses are used where they are, weigh as the accuracies wanted say, and are never left aside without a word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.units import GPa
from single_process import stay_in_process

import forcewright as fw
from forcewright.errors import InputError
from forcewright.features.row_cache import RowMemory
from forcewright.fitting.problem import Problem, make_problem
from forcewright.fitting.settings import FitSettings, TargetAccuracy
from forcewright.potential import Prediction

MODEL = {"kind": "snap", "twojmax": 2, "rcut": 4.0}
QUICK: dict[str, Any] = {"validation": {"kfold": 2}, "search": {"starts": 1, "evaluations": 5}, "workers": 1}


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    stay_in_process(monkeypatch, drawn=False)


@pytest.fixture(scope="module")
def train(copper: Path) -> fw.Dataset:
    return fw.read(copper / "train.extxyz")


def without(train: fw.Dataset, *labels: str) -> fw.Dataset:
    nothing = dict.fromkeys(labels)
    return fw.Dataset(
        tuple(fw.Frame(structure, replace(known, **nothing), origin) for structure, known, origin in train)
    )


def problem_of(train: fw.Dataset, **changes: Any) -> Problem:
    settings = FitSettings.model_validate({"model": MODEL, **QUICK, **changes})
    return make_problem(settings, train, rows=RowMemory(10**8), scratch=Path())


def loss_of_errors(problem: Problem, force: float = 0.0, stress: float = 0.0) -> float:
    """Return the loss of predictions whose force and stress components are all wrong by this much (eV/Å, GPa)."""
    predictions = [
        Prediction(labels.energy, labels.forces + force, labels.stress + stress * GPa)
        for _, labels, _ in problem.validation
    ]
    return problem.loss.of(problem.validation, predictions)


@pytest.mark.parametrize(
    ("alpha", "force", "stress"),
    [
        (0.75, 0.03, 0.1),
        ({"stress_GPa": 0.3}, 0.03, 0.3),
        ({"energy_meV_per_atom": 2, "force_eV_per_A": 0.05}, 0.05, 0.1),
        ({"energy_meV_per_atom": 2, "force_eV_per_A": 0.05, "stress_GPa": 0.02}, 0.05, 0.02),
    ],
)
def test_the_stress_wanted_weighs_as_much_as_the_force_wanted(
    train: fw.Dataset, alpha: Any, force: float, stress: float
) -> None:
    problem = problem_of(train, loss={"alpha": alpha})
    assert loss_of_errors(problem, stress=stress) == pytest.approx(loss_of_errors(problem, force=force), rel=1e-5)
    if alpha == {"stress_GPa": 0.3}:
        assert problem.loss.weights.energy == 0.75


def test_without_forces_it_weighs_as_much_as_the_energy_wanted(train: fw.Dataset) -> None:
    problem = problem_of(without(train, "forces"), loss={"alpha": {"energy_meV_per_atom": 2, "force_eV_per_A": 0.1}})
    size = np.sqrt(np.mean([len(structure) for structure in problem.train.structures]))
    assert problem.loss.weights.energy == 1.0
    virial = np.sqrt(np.mean([s.volume**2 / len(s) for s in problem.train.structures])) * 0.1 * GPa
    assert problem.loss.weights.stress * virial == pytest.approx(2e-3 * size, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "fitted", "counted"),
    [
        ({}, True, True),
        ({"weights": {"stress": None}}, False, False),
        ({"loss": {"stress": None}}, True, False),
        ({"loss": {"stress": 0.2}}, True, True),
        ({"weights": {"stress": None}, "loss": {"stress": 0.2}}, False, True),
        ({"weights": {"stress": None, "groups": {"bulk": {"stress": 10}}}}, True, True),
    ],
)
def test_stresses_are_used_unless_switched_off(
    train: fw.Dataset, changes: dict[str, Any], fitted: bool, counted: bool
) -> None:
    problem = problem_of(train, **changes)
    assert problem.settings.weights.fits_stress == fitted and (problem.loss.weights.stress > 0) == counted
    bare = problem_of(without(train, "stress"), **changes)
    if not changes:
        assert not bare.settings.weights.fits_stress and bare.loss.weights.stress == 0
        assert bare.loss.properties == ("energy", "force")


def test_what_is_done_with_stresses_is_said(train: fw.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="forcewright.data")
    number = problem_of(train).loss.weights.stress
    assert f"coefficient {number:g}: an error of 0.1 GPa" in caplog.text
    problem_of(without(train, "stress"))
    assert "no frame has any; neither fitted nor counted" in caplog.text


def test_the_number_that_auto_finds_gives_the_same_fit(train: fw.Dataset) -> None:
    auto = fw.fit(train, model=MODEL, **QUICK)
    assert auto.summary["warnings"] == [] and {*auto.summary["settings"]["weights"]["bulk"]} == {
        "energy", "force", "stress"
    }  # fmt: skip
    typed = fw.fit(train, model=MODEL, loss=auto.summary["settings"]["loss"], **QUICK)
    np.testing.assert_array_equal(typed.potential.coefficients, auto.potential.coefficients)
    off = fw.fit(train, model=MODEL, weights={"stress": None}, **QUICK)
    assert off.validation.overall.stress_rmse_GPa > auto.validation.overall.stress_rmse_GPa


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": {"stress": None}}, ["Stresses are in 40 of 40 training frames, and the fit leaves them aside"]),
        ({"loss": {"stress": 0}}, ["Stresses are fitted, but have no part in the loss"]),
        ({"loss": {"alpha": 1}}, ["Forces are fitted, but have no part in the loss"]),
        ({"loss": {"alpha": 0}}, ["Energies are fitted, but have no part in the loss"]),
    ],
)
def test_labels_left_aside_are_warned_of(train: fw.Dataset, changes: dict[str, Any], words: list[str]) -> None:
    warnings = fw.fit(train, model=MODEL, **QUICK, **changes).summary["warnings"]
    assert len(warnings) == len(words) and all(w in warning for w, warning in zip(words, warnings, strict=True))


def test_comparisons_and_learning_curves_warn_too(copper: Path, tmp_path: Path) -> None:
    files = {"train": str(copper / "train.extxyz"), "test": str(copper / "test.extxyz")}
    families = {"off": {"model": MODEL, "weights": {"stress": None}}, "on": {"model": MODEL}}
    both = fw.compare({"data": files, "families": families, "common": QUICK, "output": str(tmp_path / "both")})
    rows = both.summary["families"]
    assert "leaves them aside" in rows["off"]["warnings"][0] and rows["on"]["warnings"] == []
    curve = fw.learning_curve(
        {"data": files, "families": families, "common": QUICK, "output": str(tmp_path / "curve"),
         "sizes": [10, 20], "repeats": 1}
    )  # fmt: skip
    (warning,) = curve.summary["warnings"]
    assert warning.startswith("off: Stresses are in 40 of 40") and warning in str(curve)


def test_a_study_of_before_goes_on_without_stresses_until_it_is_begun_anew(copper: Path, tmp_path: Path) -> None:
    """Earlier versions wrote null, 0 and free into config and journal where nothing was said."""
    config = {
        "data": {"train": str(copper / "train.extxyz")}, "model": MODEL, **QUICK, "output": str(tmp_path / "run")
    }  # fmt: skip
    config["model"] = {**MODEL, "zbl": None}
    off = fw.fit({
        **config, "weights": {"stress": None}, "loss": {"stress": 0}, "prior": "free", "short_range": "off",
        "search": {**QUICK["search"], "caution": 0},
    })  # fmt: skip
    assert "leaves them aside" in off.summary["warnings"][0]
    again = fw.fit(config)
    assert again.summary == off.summary
    stored = yaml.safe_load((tmp_path / "run" / "config.resolved.yaml").read_text())
    assert stored["weights"]["stress"] is None and fw.fit(stored).summary == off.summary
    fresh = fw.fit(config, fresh=True)
    assert "stress" in fresh.summary["settings"]["weights"]["bulk"] and fresh.summary["warnings"] == []
    assert fw.fit(config).summary == fresh.summary


@pytest.mark.parametrize(
    ("alpha", "words"),
    [({"force_eV_per_A": 0.1}, "go together"), ({}, "names no accuracy"), ({"stress_GPa": 0}, "greater than 0")],
)
def test_half_a_wish_is_refused(train: fw.Dataset, alpha: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        fw.fit(train, model=MODEL, loss={"alpha": alpha})


def test_accuracies_are_written_as_they_were_asked_for() -> None:
    """Journals of before know them by these keys alone."""
    asked = {"energy_meV_per_atom": 2.0, "force_eV_per_A": 0.1}
    assert TargetAccuracy.model_validate(asked).model_dump(mode="json") == asked
