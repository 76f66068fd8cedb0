"""The configs of examples/silicate-nmr can be read, and its study says what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from forcewright.recipes.pipeline import PipelineConfig, ordered, stages_of
from forcewright.recipes.run_folder import read_config

EXAMPLE = Path(__file__).parents[1] / "examples" / "silicate-nmr"


def test_the_average_comes_after_model_and_run() -> None:
    settings, _, file = read_config(PipelineConfig, EXAMPLE / "pipeline.yaml")
    assert file is not None
    stages = ordered(stages_of(settings, EXAMPLE, file), file)
    assert set(stages["average"].after) == {"beta", "shielding"}


def test_the_study_says_what_to_run_first(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "study.py"), "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "forcewright pipeline examples/silicate-nmr/pipeline.yaml" in done.stderr
