"""`forcewright simulate`: from a config to files and a page, resumed by content, survivors counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from forcewright.cli import app
from forcewright.errors import ForcewrightError, InputError
from forcewright.protocols.survival import Survival
from forcewright.recipes.simulate import simulate
from forcewright.reference import reference_from
from forcewright.trajectory import read_thermo, snapshots

LJ = {"ase": "ase.calculators.lj:LennardJones", "kwargs": {"epsilon": 0.0104, "sigma": 3.4, "rc": 6.0, "smooth": True}}
ARGON = {"bulk": "Ar", "crystalstructure": "fcc", "a_A": 5.3, "cubic": True, "repeat": 2}


def config(folder: Path, **changes: Any) -> dict[str, Any]:
    content = {
        "potential": LJ,
        "structure": ARGON,
        "stages": [{"ensemble": "nvt", "temperature_K": 20, "time_ps": 0.2, "timestep_fs": 5}],
        "trajectory": {"every_fs": 20},
        "output": str(folder / "md"),
    }
    return {**content, **changes}


@pytest.mark.drawn
def test_a_run_leaves_what_it_promises(tmp_path: Path) -> None:
    result = simulate(config(tmp_path))
    folder = tmp_path / "md"
    assert result.completed and result.steps == 40
    assert len(list(snapshots(folder / "trajectory.extxyz"))) == 11  # the start and every 4th of 40 steps
    thermo = read_thermo(folder / "thermo.csv")
    assert thermo["time_ps"][-1] == pytest.approx(0.2)
    assert json.loads((folder / "result.json").read_text())["completed"] is True
    page = (folder / "report.html").read_text()
    assert "came to its end" in page and "<svg" in page
    assert yaml.safe_load((folder / "config.resolved.yaml").read_text())["seed"] == 0


def test_a_finished_run_is_not_done_again_and_another_is_refused(tmp_path: Path) -> None:
    simulate(config(tmp_path))
    before = (tmp_path / "md" / "trajectory.extxyz").stat().st_mtime_ns
    simulate(config(tmp_path))
    assert (tmp_path / "md" / "trajectory.extxyz").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="--fresh"):
        simulate(config(tmp_path, seed=1))
    assert simulate(config(tmp_path, seed=1), fresh=True).completed


def test_protocols_by_name(tmp_path: Path) -> None:
    protocol = {"kind": "ramp", "temperature_K": [10, 40], "rate_K_per_s": 1e14, "timestep_fs": 5}
    result = simulate(config(tmp_path, stages=None, protocol=protocol))
    assert [stage.name for stage in result.stages] == ["heat"] and result.time_ps == pytest.approx(0.3)


def test_dynamics_with_the_words_that_label(tmp_path: Path) -> None:
    pytest.importorskip("tblite", reason="tblite is absent (extra xtb)")
    source = {"xtb": {"method": "GFN1-xTB", "accuracy": 1e-3}}
    hot = {"ensemble": "nvt", "temperature_K": 300, "time_ps": 0.01, "timestep_fs": 0.5, "thermostat": "langevin"}
    trajectory = {"every_fs": 2, "forces": True}
    simulate(config(tmp_path, potential=source, structure={"molecule": "H2O"}, stages=[hot], trajectory=trajectory))
    frames = list(snapshots(tmp_path / "md" / "trajectory.extxyz"))
    labels = reference_from(source, tmp_path).label([frame.structure for frame in frames])
    assert len(frames) == 6
    for frame, label in zip(frames, labels, strict=True):
        np.testing.assert_allclose(frame.forces, label.forces, rtol=0, atol=1e-6)


def test_survivors_are_counted(tmp_path: Path) -> None:
    # A limit that some runs exceed: the closest pair of a hot crystal differs from run to run.
    hot = {"ensemble": "nvt", "temperature_K": 60, "time_ps": 0.6, "timestep_fs": 5, "thermostat": "langevin"}
    closest = {"Ar-Ar": 3.2}
    outcome = simulate(config(tmp_path, stages=[hot], runs=4, monitors={"closest_A": closest, "every_fs": 20}))
    assert isinstance(outcome, Survival)
    assert outcome.completed.shape == (4,) and 0 < outcome.survivors < 4
    np.testing.assert_array_less(outcome.times_ps[~outcome.completed], 0.6)
    assert outcome.low < outcome.share < outcome.high
    stored = json.loads((tmp_path / "md" / "result.json").read_text())
    assert stored["completed"] == outcome.completed.tolist()
    assert "independent runs" in (tmp_path / "md" / "report.html").read_text()
    folders = [tmp_path / "md" / f"run-{k}" / "trajectory.extxyz" for k in range(4)]
    assert len({folder.read_text() for folder in folders}) == 4  # each has random numbers of its own


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stages": None}, "give stages or a protocol"),
        ({"protocol": {"kind": "ramp"}}, "give stages or a protocol"),
        ({"stages": None, "protocol": {"kind": "melt"}}, "'melt' is not known; allowed are .*melt_quench"),
        ({"stages": None, "protocol": {"kind": "melt_quench", "melt_T": 3}}, "melt_K"),
        ({"engine": "gromacs"}, "engine"),
        ({"stagse": []}, "did you mean 'stages'"),
        ({"structure": {"bulk": "Cu"}, "potential": "nowhere"}, "does not exist"),
        ({"stages": [{"ensemble": "nvt", "temperature_K": 20, "time_ps": 1, "timestep_fs": 100}]}, "timestep_fs"),
        ({"stages": [{"ensemble": "npt", "temperature_K": 20, "time_ps": 1}], "structure": {"molecule": "H2"}}, "nvt"),
    ],
)
def test_mistakes_are_one_sentence(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ForcewrightError, match=words):
        simulate(config(tmp_path, **changes))
    assert not list(tmp_path.glob("md/*.extxyz"))


def test_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config(tmp_path, output="md")))
    done = CliRunner().invoke(app, ["simulate", str(path)])
    assert done.exit_code == 0 and "report.html" in done.output
    broken = config(tmp_path, output="broken", monitors={"closest_A": {"Ar-Ar": 3.7}, "every_fs": 5})
    path.write_text(yaml.safe_dump(broken))
    stopped = CliRunner().invoke(app, ["simulate", str(path)])
    assert stopped.exit_code == 1
    told = json.loads((tmp_path / "broken" / "result.json").read_text())
    assert told["alarm"]["monitor"] == "closest" or "close" in told["alarm"]["message"]
    assert told["alarm"]["distance"] < 3.76 and len(told["alarm"]["atoms"]) == 2
    assert "banner" in (tmp_path / "broken" / "report.html").read_text()
