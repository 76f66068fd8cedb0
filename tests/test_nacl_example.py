"""The configs of examples/nacl-npt: every stage of its pipeline can be read, and comes after what it reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

import forcewright as fw
from forcewright.recipes.config import TuneConfig
from forcewright.recipes.run_folder import read_config
from forcewright.recipes.simulate import SimulateConfig

EXAMPLE = Path(__file__).parents[1] / "examples" / "nacl-npt"


def test_every_stage_can_be_read_and_comes_after_what_it_reads(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "examples" / "nacl-npt")
    folder = tmp_path / "examples" / "nacl-npt"
    assert list(fw.pipeline(folder / "pipeline.yaml", dvc=True).states.values()) == ["written"] * 21
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
