"""The configs of examples/water-ir: every stage of its pipeline can be read, and comes after what it reads."""

from __future__ import annotations

from pathlib import Path

from forcewright.recipes.pipeline import PipelineConfig, ordered, stages_of
from forcewright.recipes.run_folder import read_config

PIPELINE = Path(__file__).parents[1] / "examples" / "water-ir" / "pipeline.yaml"


def test_spectra_come_after_the_models_and_the_run() -> None:
    settings, _, file = read_config(PipelineConfig, PIPELINE)
    assert file is not None
    stages = ordered(stages_of(settings, PIPELINE.parent, file), file)
    assert set(stages["spectra"].after) == {"dynamics", "dipole", "polarizability"}
    assert {"dipole", "polarizability"} <= set(stages["modes"].after)
    assert stages["dipole"].after == ("labels",) and stages["labels"].after == ("structures",)
    assert stages["dipole"].writes == ("../../runs/water-ir/dipole/model", "../../runs/water-ir/dipole/result.json")
    assert "../../runs/water-ir/dipole/model" in stages["spectra"].reads
