"""Runs of the version before `fitting/` (tests/recipes/earlier_version/make_runs.py): resumed, loaded, reported."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import forcewright as fw
from forcewright.recipes.learning_curve import learning_curve
from forcewright.recipes.outputs import rebuild_report

MADE = Path(__file__).parent / "earlier_version" / "made"


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """A copy of some of the runs, with the paths in their texts put right; finished studies have a page."""

    def copy(*names: str) -> Path:
        for name in ("train.extxyz", "test.extxyz", *names):
            source, target = MADE / name, tmp_path / name
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
        for path in tmp_path.rglob("*"):
            if path.is_file() and path.suffix in (".yaml", ".json", ".log", ".extxyz", ".data", ".csv"):
                path.write_text(path.read_text().replace("@HERE@", str(tmp_path)))
        for path in tmp_path.rglob("result.json"):
            (path.parent / "report.html").touch()
        return tmp_path

    return copy


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["finished", "nested", "gap", "ace"])
def test_finished_studies_are_taken_as_they_are(made: Callable[..., Path], name: str) -> None:
    if name == "gap":
        pytest.importorskip("quippy", reason="the package quippy-ase is not installed")
    folder = made(name, f"{name}.yaml")
    before = files_in(folder / name)
    result = fw.tune(folder / f"{name}.yaml")
    after = files_in(folder / name)
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    assert changed <= {"forcewright.log", ".journal.log.lock", ".forcewright.lock"}
    assert result.summary == json.loads(before["result.json"])
    assert len(rebuild_report(folder / name).read_text()) > 10_000
    resolved = yaml.safe_load((folder / name / "config.resolved.yaml").read_text())
    assert fw.tune(resolved).summary == result.summary  # the config it wrote is the same study


def test_a_stopped_study_goes_on_to_the_same_trials_and_potential(made: Callable[..., Path]) -> None:
    folder = made("stopped", "stopped.yaml")
    seen: list[int] = []
    result = fw.tune(folder / "stopped.yaml", on_trial=lambda record, wanted: seen.append(record.index))
    expected = json.loads((MADE / "stopped.trials.json").read_text())
    assert seen == [0, 1, 2] and [[t.index, t.params, t.loss] for t in result.trials] == expected
    coefficients = json.loads((MADE / "stopped.potential.json").read_text())
    np.testing.assert_array_equal(result.potential.coefficients, coefficients)


def test_a_learning_curve_takes_the_fits_of_before(made: Callable[..., Path]) -> None:
    folder = made("curve", "curve.yaml")
    fitted: list[str] = []
    curve = learning_curve(folder / "curve.yaml", on_fit=fitted.append)
    before = json.loads((MADE / "curve" / "result.json").read_text())
    assert not fitted and curve.summary["families"] == before["families"]


def test_a_comparison_takes_the_studies_of_before(made: Callable[..., Path]) -> None:
    folder = made("comparison", "potentials")
    config = yaml.safe_load((folder / "comparison" / "config.resolved.yaml").read_text())
    before = json.loads((folder / "comparison" / "result.json").read_text())
    again = fw.compare(config)
    assert again.summary["families"]["snap"]["origin"] == "fitted before"
    for name, row in before["families"].items():
        for key in ("energy_rmse_meV_per_atom", "force_rmse_eV_per_A"):
            assert again.summary["families"][name][key] == row[key]


def numbers_in(text: str) -> np.ndarray:
    return np.array([float(word) for word in re.findall(r"-?\d+\.?\d*(?:e[-+]?\d+)?", text)])


def test_a_stopped_simulation_goes_on(made: Callable[..., Path]) -> None:
    """Forces of SNAP come from LAMMPS, whose sums depend on its neighbor list in their last digit."""
    folder = made("simulation", "simulation.yaml", "potentials")
    expected: dict[str, Any] = json.loads((MADE / "simulation.expected.json").read_text())
    fw.simulate(folder / "simulation.yaml")
    assert (folder / "simulation" / "thermo.csv").read_text() == expected["thermo.csv"]
    trajectory = (folder / "simulation" / "trajectory.extxyz").read_text()
    np.testing.assert_allclose(numbers_in(trajectory), numbers_in(expected["trajectory.extxyz"]), atol=1e-12)
