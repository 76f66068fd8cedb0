"""`make demo`: tune on the shipped frames, write the report, end with 5 ps of NVT dynamics of the winner."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

import forcewright as fw
from forcewright.optimize.journal import OtherStudyError
from forcewright.recipes.outputs import rebuild_report
from forcewright.report import Section, draw_run
from forcewright.report.numbers import duration
from forcewright.trajectory import read_thermo

HERE = Path(__file__).resolve().parent
STAGE: dict[str, Any] = {
    "ensemble": "nvt", "thermostat": "langevin", "thermostat_time_fs": 100, "temperature_K": 500, "time_ps": 5.0,
}  # fmt: skip
console = Console()


def tune() -> Any:
    """Tune or resume; a study of an earlier version of the demo is started over."""

    def on_trial(trial: Any, wanted: int) -> None:
        outcome = trial.error or f"loss {trial.loss:.4g}"
        console.print(f"trial {trial.index + 1}/{wanted}: {outcome}", highlight=False)

    try:
        return fw.tune(HERE / "tune.yaml", on_trial=on_trial)
    except OtherStudyError as error:
        console.print(f"starting over: {error}", highlight=False, markup=False)
        return fw.tune(HERE / "tune.yaml", on_trial=on_trial, fresh=True)


def run_dynamics(study: Path) -> Any:
    """Run Langevin dynamics of C62H from a held-out frame with the potential of a study."""
    test = HERE / "test.extxyz"
    frame = next(i for i, labels in enumerate(fw.read(test).labels) if labels.group.startswith("hv_500K"))
    config = {
        "potential": str(study / "potential"), "structure": {"file": str(test), "index": frame}, "stages": [STAGE],
        "thermo_every_fs": 10, "output": str(study / "nvt"),
    }  # fmt: skip
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"{STAGE['time_ps']:g} ps of NVT dynamics")

        def on_progress(state: Any) -> None:
            progress.update(bar, completed=state.step, total=state.steps)

        return fw.simulate(config, fresh=True, on_progress=on_progress)


def main() -> None:
    """Tune, simulate, report."""
    if not (HERE / "train.extxyz").exists():
        sys.exit(f"{HERE / 'train.extxyz'} is missing; make it with study.py --ship")
    console.print("tuning SNAP for hydrogen in diamond; run it again to resume", highlight=False)
    result = tune()
    console.print(str(result.test), highlight=False, markup=False)
    run = run_dynamics(result.folder)
    thermo = read_thermo(run.thermo)
    warm = np.mean(thermo["temperature_K"][len(thermo["time_ps"]) // 2 :])
    section = Section(
        "Five picoseconds of dynamics",
        f"NVT (Langevin, {STAGE['temperature_K']} K, relaxation time {STAGE['thermostat_time_fs']} fs) of C62H from a "
        f"held-out frame with the tuned potential: {run.reason}, mean temperature of the second half {warm:.0f} K, "
        f"{duration(run.wall_s)}. Its own page is nvt/report.html.",
        draw_run(thermo, len(run.final)),
        paired=True,
    )
    page = rebuild_report(result.folder, [section])
    if not run.completed:
        sys.exit(f"the dynamics failed: {run.reason}; see {page}")
    console.print(f"open {page}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    try:
        main()
    except fw.ForcewrightError as error:
        sys.exit(f"error: {error}")
