"""The example of molten salt: every stage of its pipeline can be read, and comes after what it reads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml

import forcewright as fw
from forcewright.recipes.config import TuneConfig
from forcewright.recipes.run_folder import read_config
from forcewright.recipes.simulate import SimulateConfig

EXAMPLE = Path(__file__).parents[1] / "examples" / "nacl-npt"


def test_every_stage_can_be_read_and_comes_after_what_it_reads(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "examples" / "nacl-npt")
    folder = tmp_path / "examples" / "nacl-npt"
    assert list(fw.pipeline(folder / "pipeline.yaml", dvc=True).states.values()) == ["written"] * 41
    written = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    for name in written:
        config = yaml.safe_load((folder / "pipeline.yaml").read_text())["stages"][name]
        for kind, model in (("simulate", SimulateConfig), ("fit", TuneConfig)):
            if kind in config:
                settings = read_config(model, folder / config[kind])[0]
                assert "runs/nacl-npt" in str(settings.output)
    order = list(written)
    assert order.index("five-labels") < order.index("five-efv") < order.index("ace-216")
    assert order.index("nvt-efv") < order.index("rerun-efv")
    assert order.index("breaks") < order.index("diagnosis") and order.index("learn") < order.index("mended")


def test_means_of_two_wells_come_from_samples_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Harmonic wells, whose samples are Gaussian: means 0 and 0.6 are known, and so is the energy between them."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    reweighting = import_module("reweighting")
    rng, kT, stiff, shift = np.random.default_rng(0), 0.12, 1.5, 0.6
    samples = []
    for center, spring in ((0.0, 1.0), (shift, stiff)):
        x = center + np.sqrt(kT / spring) * rng.normal(size=4000)
        samples.append((0.5 * stiff * (x - shift) ** 2 - 0.5 * x**2 + 7.0, 1000.0 + x))
    means, errors = reweighting.with_block_errors(*samples, kT)
    assert means[:2] == pytest.approx([1000.0, 1000.0 + shift], abs=4 * errors[:2].max()) and errors[:2].max() < 0.01
    alone = reweighting.both_means(samples[0], (np.zeros(0), np.zeros(0)), kT)  # of the first alone, all is known of it
    assert alone[0] == pytest.approx(samples[0][1].mean(), abs=1e-9)


@pytest.mark.slow
def test_the_whole_study_in_small(tmp_path: Path) -> None:
    """Every stage runs once, nothing runs again, and every table has rows."""
    shutil.copytree(EXAMPLE, tmp_path / "examples" / "nacl-npt")
    study = tmp_path / "examples" / "nacl-npt" / "study.py"
    first, again = (
        subprocess.run([sys.executable, str(study), "--demo"], capture_output=True, text=True) for _ in range(2)
    )
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.count(": running") == 41 and again.stdout.count(": unchanged") == 41
    measured = json.loads((tmp_path / "runs/nacl-npt-demo/runs/nacl-npt/measured.json").read_text())
    assert all(rows for rows in measured.values())
