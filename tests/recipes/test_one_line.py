"""What stands in one line in place of a config."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import pytest
import yaml
from ase.build import bulk
from command_line import run_here

from forcewright.errors import InputError
from forcewright.recipes.config import parse_config
from forcewright.recipes.one_line import source_of, study_config

SNAP = Path(__file__).parent / "earlier_version/made/potentials/snap"  # of copper


def test_a_fit(copper: Path, tmp_path: Path) -> None:
    words = ["fit", copper / "train.extxyz", "--model", "snap", "--test", copper / "test.extxyz", "-o", "runs/x"]
    quick = ["--set", "model.twojmax=2", "--set", "search={starts: 1, evaluations: 5}", "--set", "workers=1"]
    done = run_here(*words, *quick, "--set", "weights.by=all", "--set", "stability=off", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load((tmp_path / "runs/x/config.resolved.yaml").read_text())
    assert written["data"]["train"] == [str(copper / "train.extxyz")] and written["model"]["twojmax"] == 2
    result = json.loads((tmp_path / "runs/x/result.json").read_text())
    assert result["test"] and "written to" in done.stdout


def test_a_search_is_what_init_writes(copper: Path, tmp_path: Path) -> None:
    train, test = copper / "train.extxyz", copper / "test.extxyz"
    run_here("init", train, "--test", test, "-o", "made.yaml", "--run", "x", cwd=tmp_path)
    written = yaml.safe_load((tmp_path / "made.yaml").read_text())
    config = study_config([train], model="ace", search=True, test=[test], output="x", settings=["study.trials=3"])
    assert parse_config({**config, "study": written["study"]}, folder=Path.cwd()).model_copy(
        update={"output": "x"}
    ) == (parse_config(written, folder=tmp_path).model_copy(update={"output": "x"}))
    assert config["study"]["trials"] == 3 and "low" in config["model"]["rcut"]


def test_dynamics_and_validation(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "start.extxyz", bulk("Cu", cubic=True))
    words = ["simulate", SNAP, "start.extxyz", "--temperature", 300, "--time", 0.02, "--repeat", 2, "-o", "runs/md"]
    done = run_here(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((tmp_path / "runs/md/config.resolved.yaml").read_text())
    assert config["stages"][0]["ensemble"] == "nvt" and config["structure"]["repeat"] == [2, 2, 2]
    assert len(ase.io.read(tmp_path / "runs/md/trajectory.extxyz", ":")) > 10
    physics = ["validate", SNAP, "start.extxyz", "--what", "equation_of_state", "-o", "physics"]
    done = run_here(*physics, "--reference", "ase: ase.calculators.emt:EMT", cwd=tmp_path)
    assert "bulk_modulus_GPa" in done.stdout and (tmp_path / "physics/report.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "a.extxyz", "b.extxyz"], "say --model"), (["tune", "a.yaml", "--test", "b"], "go with --model"),
        (["simulate", "p", "s"], "--temperature is missing"), (["simulate", "a.yaml", "--temperature", "3"], "a config alone"),
        (["validate", "p", "s", "--what", "elastics"], "did you mean 'elastic'"),
        (["validate", "p", "s", "--reference", "x"], "--reference goes with --what"),
        (["validate", "s", "--what", "elastic"], "--what goes with a potential"),
        (["fit", "a.extxyz", "--model", "ace", "--set", "trials"], "is not KEY=VALUE"),
    ],
)  # fmt: skip
def test_mistakes(words: list[str], said: str, tmp_path: Path) -> None:
    done = run_here(*words, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


def test_sources() -> None:
    assert source_of("xtb: GFN1-xTB") == {"xtb": "GFN1-xTB"} and source_of("runs/x") == "runs/x"
    with pytest.raises(InputError):
        source_of("xtb: [")
