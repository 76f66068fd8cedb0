"""Hydrogen in diamond: reference dynamics, five families of potentials, elasticity, dynamics, and one page.

Run ``python examples/hv-diamond/study.py`` (extras xtb, gap, sgdml, graph); ``study.yaml`` beside it says everything
there is to choose, another file of its kind can be given. It follows E. Thomas, master's thesis, UHasselt 2025, step by
step. Every step can be interrupted: run it again, and what is finished is not done again. With ``--ship`` it writes
``train.extxyz`` and ``test.extxyz`` beside itself, which `make demo` uses.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import Progress
from study_page import Findings, write_page

import forcewright as fw
from forcewright.errors import ForcewrightError, InputError
from forcewright.execution.processes import process_pool
from forcewright.files import atomic_write
from forcewright.protocols.equation_of_state import EquationOfState, equation_of_state
from forcewright.recipes.compare import family_config
from forcewright.recipes.force_fields import force_field
from forcewright.recipes.generate import generate
from forcewright.recipes.run_folder import read_config
from forcewright.recipes.select import split
from forcewright.recipes.statistics import statistics
from forcewright.structure import Dataset, Frame, Labels, Structure
from forcewright.trajectory import snapshots

HERE = Path(__file__).resolve().parent
THERMO_FS = 2.0
console = Console(highlight=False)


class Study(BaseModel):
    """The content of study.yaml, whose comments say what each part is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: Path
    workers: int = 2
    reference: dict[str, Any] | None = None
    frames: dict[str, list[Path]] = {}
    cells: dict[str, Any] = {}
    dynamics: dict[str, Any] = {}
    scans: list[dict[str, Any]] = []
    explore: dict[str, Any] = {}
    split: dict[str, Any]
    common: dict[str, Any] = {}
    families: dict[str, dict[str, Any]]
    physics: str
    equation_of_state: dict[str, Any]
    nvt: dict[str, Any]


@dataclass(frozen=True)
class Clock:
    """Wall seconds of every step, kept in a file, so that those of an interrupted study add up."""

    file: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, file: Path) -> Clock:
        return cls(file, json.loads(file.read_text()) if file.exists() else {})

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        console.print(f"[bold]{step}[/bold]")
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start
            atomic_write(self.file, json.dumps(self.seconds, indent=1) + "\n")


# ------------------------------------------------------------------------------------------------ the data


def make_cells(study: Study) -> dict[str, Structure]:
    """Build and relax the cells, or take the frame of lowest energy of each composition of the user's frames."""
    if study.frames:
        return lowest_frames(read_user_frames(study))
    file = study.output / "cells.extxyz"
    made_once(file, study.cells, lambda: generate({**study.cells, "output": str(file)}))
    return {group_of(frame): frame.structure for frame in fw.read(file, require_energy=False)}


def group_of(frame: Frame) -> str:
    """Return the cell's name, the first part of its group."""
    return frame.labels.group.split("_")[0]


def lowest_frames(frames: Dataset) -> dict[str, Structure]:
    lowest: dict[str, Frame] = {}
    for frame in frames:
        name = group_of(frame)
        if name not in lowest or frame.labels.energy < lowest[name].labels.energy:
            lowest[name] = frame
    return {name: frame.structure for name, frame in lowest.items()}


def start(study: Study, index: int) -> dict[str, Any]:
    """Return a cell in the form that simulations and generation steps take."""
    return {"file": str(study.output / "cells.extxyz"), "index": index}


def made_once(file: Path, recipe: Any, make: Callable[[], Any]) -> None:
    """Make a file unless it is there and was made by the same recipe."""
    stamp = file.with_name(f".{file.name}.recipe")
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()
    if not (file.exists() and stamp.exists() and stamp.read_text() == digest):
        make()
        atomic_write(stamp, digest)


def dynamics_config(study: Study, cells: Sequence[str], cell: str, kelvin: float, seed: int) -> dict[str, Any]:
    """Return what `forcewright simulate` takes for a cell, one of those in the file of cells, and a temperature."""
    stages = [
        {**study.dynamics[stage], "temperature_K": kelvin, "name": name}
        for stage, name in (("equilibrate", "heat"), ("sample", "npt"))
    ]
    return {
        "potential": study.reference,
        "structure": start(study, cells.index(cell)),
        "stages": stages, "trajectory": {"every_fs": study.dynamics["every_fs"], "forces": True},
        "thermo_every_fs": THERMO_FS, "checkpoint_every_steps": 100, "seed": seed,
        "output": str(study.output / "npt" / f"{cell}_{kelvin:g}K"),
    }  # fmt: skip


def simulate_all(configs: Sequence[Mapping[str, Any]], workers: int, what: str) -> list[Any]:
    """Run simulations, several at a time, each with one thread."""

    def rows_done() -> int:
        files = (Path(config["output"]) / "thermo.csv" for config in configs)
        return sum(max(0, file.read_text().count("\n") - 1) for file in files if file.exists())

    def rows_wanted(config: Mapping[str, Any]) -> float:
        return sum(1000 * stage["time_ps"] for stage in config["stages"]) / config["thermo_every_fs"]

    return run_all(
        fw.simulate, [(config,) for config in configs], workers, what, rows_done, sum(map(rows_wanted, configs))
    )


def run_all(
    function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], workers: int, what: str,
    done: Callable[[], float] | None = None, total: float | None = None,
) -> list[Any]:  # fmt: skip
    """Call a function with each of the arguments in separate processes, and show the progress."""
    pool: Any = process_pool(workers)
    futures: list[Future[Any]] = [pool.submit(function, *values) for values in arguments]
    try:
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task(what, total=total or len(futures))
            while waiting := [future for future in futures if not future.done()]:
                wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                progress.update(bar, completed=done() if done else len(futures) - len(waiting))
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def sample_dynamics(study: Study, cells: Sequence[str]) -> Dataset:
    """Run the reference dynamics of every cell and temperature, and return their labelled frames."""
    runs = [(cell, kelvin) for cell in cells for kelvin in study.dynamics["temperatures_K"]]
    configs = [dynamics_config(study, cells, cell, kelvin, seed) for seed, (cell, kelvin) in enumerate(runs)]
    heating_fs = 1000.0 * study.dynamics["equilibrate"]["time_ps"]
    frames: list[Frame] = []
    for (cell, kelvin), result in zip(
        runs, simulate_all(configs, study.workers, "dynamics with the reference"), strict=True
    ):
        group = f"{cell}_{kelvin:g}K"
        if not result.completed:
            console.print(f"{group} ended early: {result.reason}; its frames up to there are used")
        for snapshot in snapshots(result.trajectory):
            if snapshot.time > heating_fs:
                info = {"trajectory": group, "time_fs": snapshot.time}
                labels = Labels(snapshot.energy, snapshot.forces, snapshot.stress, group, info)
                frames.append(Frame(snapshot.structure, labels, f"{result.trajectory.name}#{snapshot.step}"))
    return Dataset(tuple(frames), "dynamics")


def scan(study: Study, cells: Sequence[str]) -> Dataset:
    """Make and label the structures that dynamics does not visit."""
    if not study.scans or study.reference is None:
        return Dataset(())
    made = study.output / "scans.extxyz"
    starts = {name: start(study, index) for index, name in enumerate(cells)}
    config = {"structures": starts, "recipes": study.scans, "seed": 2, "output": str(made)}
    with console.status("structures"):
        made_once(made, [config, (study.output / "cells.extxyz").read_text()], lambda: generate(config))
    return label(study, made)


def label(study: Study, file: Path) -> Dataset:
    """Label the structures of a file with the reference; what fails is listed and left out."""
    labelled = file.with_name(f"{file.stem}-labelled.extxyz")
    config = {
        "reference": study.reference, "structures": [str(file)], "output": str(labelled), "workers": study.workers,
        "cache": str(study.output / "labels"),
    }  # fmt: skip
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("labels", total=None)
        result = fw.label(config, on_done=lambda state: progress.advance(bar))
    console.print(str(result))
    return fw.read(labelled)


def explore(study: Study, cells: Sequence[str], train: Dataset) -> Dataset:
    """Return labelled frames of dynamics with potentials fitted to what is known so far, a few rounds.

    Runs of the reference are too short for what is rare, such as a hydrogen atom that hops. A potential gets there, or
    fails on the way: either shows what the training data lack.
    """
    explored = Dataset(())
    if study.reference is None:
        return explored
    for number in range(study.explore.get("rounds", 0)):
        folder = study.output / f"explore-{number + 1}"
        folder.mkdir(exist_ok=True)
        known = fw.write(train + explored, folder / "train.extxyz")
        family = study.families[study.explore["family"]]
        fitted = fw.fit(family_config(study.common, family, [known], folder / "fit", None))
        structures = visit(study, cells, fitted.folder / "potential", folder)
        explored = explored + label(study, fw.write(structures, folder / "explored.extxyz"))
    return explored


def visit(study: Study, cells: Sequence[str], potential: Path, folder: Path) -> Dataset:
    """Return structures of dynamics with a potential, evenly spaced in time up to where a run failed, if it did."""
    plan = study.explore
    runs = [(cell, seed) for cell in cells for seed in range(plan["runs"])]
    configs = [
        {
            "potential": str(potential), "stages": [plan["stage"]], "seed": seed,
            "structure": start(study, cells.index(cell)),
            "trajectory": {"every_fs": plan["every_fs"]}, "thermo_every_fs": plan["every_fs"],
            "output": str(folder / f"{cell}_{seed}"),
        }
        for cell, seed in runs
    ]  # fmt: skip
    frames: list[Frame] = []
    for (cell, _), result in zip(runs, simulate_all(configs, study.workers, "exploring"), strict=True):
        if not result.completed:
            console.print(f"{folder.name}: {cell} broke, {result.reason}")
        met = list(snapshots(result.trajectory))[1 : None if result.completed else -1]
        if not met:  # it broke at once
            continue
        chosen = np.unique(np.linspace(0, len(met) - 1, plan["count"]).round().astype(int))
        frames += [Frame(met[index].structure, Labels(group=f"{cell}_explored")) for index in chosen]
    return Dataset(tuple(frames), folder.name)


def read_user_frames(study: Study) -> Dataset:
    """Read the user's files; the name before the first underscore of a group is that of its cell."""
    frames: list[Frame] = []
    for group, files in study.frames.items():
        for structure, labels, origin in fw.read([HERE / file for file in files]):
            info = {**labels.info, "trajectory": group}
            frames.append(Frame(structure, Labels(labels.energy, labels.forces, labels.stress, group, info), origin))
    return Dataset(tuple(frames), "own")


def convert(frames: Dataset, folder: Path) -> list[Path]:
    """Write all frames as extended XYZ and ASE database, and those of each cell as npz of sGDML."""
    written = [fw.write(frames, folder / "frames.extxyz"), fw.write(frames, folder / "frames.db")]
    names = [group_of(frame) for frame in frames]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # npz holds neither groups nor stresses
        for name in dict.fromkeys(names):
            written.append(fw.write(frames[[cell == name for cell in names]], folder / f"{name}.npz"))
    return written


# --------------------------------------------------------------------------------------------- the physics


def fit_equation_of_state(potential: Any, structure: Structure, settings: Mapping[str, Any]) -> EquationOfState | str:
    """Return the equation of state of a cell, or why there is none."""
    try:
        return equation_of_state(force_field(potential, HERE).calculator, structure, center=False, **settings)
    except ForcewrightError as error:
        return str(error)


def equations_of_state(
    study: Study, cells: Mapping[str, Structure], families: Sequence[str]
) -> dict[str, dict[str, EquationOfState]]:
    """Return those of the reference and of every family by cell; the volumes are the same for all."""
    sources: dict[str, Any] = {} if study.reference is None else {"reference": study.reference}
    sources |= {name: str(study.output / "families/studies" / name / "potential") for name in families}
    tasks = [(cell, name) for cell in cells for name in sources]
    arguments = [(sources[name], cells[cell], study.equation_of_state) for cell, name in tasks]
    states: dict[str, dict[str, EquationOfState]] = {cell: {} for cell in cells}
    for (cell, name), result in zip(
        tasks, run_all(fit_equation_of_state, arguments, study.workers, "equations of state"), strict=True
    ):
        if isinstance(result, str):
            console.print(f"no equation of state of {cell} by {name}: {result}")
        else:
            states[cell][name] = result
    return states


def run_nvt(study: Study, cells: Mapping[str, Structure]) -> dict[str, dict[float, Any]]:
    """Run Langevin dynamics of every cell and temperature with the family chosen for the physics.

    The friction is so weak that it needs 10 ps to warm a crystal, so each run is brought to its temperature first.
    """
    nvt = study.nvt
    tau_fs = 1.0 / nvt["friction"] / units.fs
    stage = {"ensemble": "nvt", "thermostat": "langevin", "timestep_fs": nvt["timestep_fs"]}
    runs, configs = [(cell, kelvin) for cell in cells for kelvin in nvt["temperatures_K"]], []
    for seed, (cell, kelvin) in enumerate(runs):
        heat = {**stage, "name": "heat", "temperature_K": kelvin, "thermostat_time_fs": 50, "time_ps": 0.5}
        run = {**stage, "name": "nvt", "temperature_K": kelvin, "thermostat_time_fs": tau_fs, "time_ps": nvt["time_ps"]}
        configs.append({
            "potential": str(study.output / "families/studies" / study.physics / "potential"),
            "structure": start(study, list(cells).index(cell)),
            "stages": [heat, run], "trajectory": {"every_fs": 10}, "thermo_every_fs": 10, "seed": seed,
            "output": str(study.output / "nvt" / f"{cell}_{kelvin:g}K"),
        })  # fmt: skip
    results: dict[str, dict[float, Any]] = {cell: {} for cell in cells}
    for (cell, kelvin), result in zip(runs, simulate_all(configs, study.workers, "NVT dynamics"), strict=True):
        if not result.completed:
            console.print(f"{cell} at {kelvin:g} K ended early: {result.reason}")
        results[cell][kelvin] = result
    return results


# ---------------------------------------------------------------------------------------------------- all


def read_study(path: Path) -> Study:
    study, folder, _ = read_config(Study, path)
    if study.physics not in study.families:
        raise InputError(f"is {study.physics!r}; choose one of {', '.join(study.families)}", file=path, field="physics")
    if not study.frames and study.reference is None:
        raise InputError("is missing, and there are no frames; give one of the two", file=path, field="reference")
    output = (folder / study.output).resolve()
    output.mkdir(parents=True, exist_ok=True)
    return study.model_copy(update={"output": output})


def thinned(frames: Dataset) -> Dataset:
    """Return every second frame of the dynamics and all others: what the repository carries."""
    moving = [index for index, labels in enumerate(frames.labels) if "trajectory" in labels.info]
    return frames[sorted(set(range(len(frames))) - set(moving[1::2]))]


def main(path: Path, ship: bool) -> None:
    """Do the study; with ``ship`` also write the frames of the demo."""
    study = read_study(path)
    clock = Clock.of(study.output / "seconds.json")
    with clock("cells"):
        cells = make_cells(study)
        listed = [Frame(structure, Labels(group=name)) for name, structure in cells.items()]
        if study.frames:
            fw.write(Dataset(tuple(listed)), study.output / "cells.extxyz")
    with clock("reference dynamics"):
        moving = read_user_frames(study) if study.frames else sample_dynamics(study, list(cells))
    with clock("scans and labels"):
        still = scan(study, list(cells))
    with clock("describe and split"):
        fw.write(moving, study.output / "dynamics.extxyz")
        described = statistics([study.output / "dynamics.extxyz"], study.output / "statistics")
        sets, volumes = described.sets, described.volumes
        parts = split(moving, (study.output / "train-dynamics.extxyz", study.output / "test.extxyz"), **study.split)
        console.print("\n".join(parts.lines()))
    if ship:
        for name, frames in (("train", parts.train + still), ("test", parts.test)):
            fw.write(thinned(frames), HERE / f"{name}.extxyz")
    with clock("explore"):
        still = still + explore(study, list(cells), parts.train + still)
    with clock("convert"):
        written = convert(moving + still, study.output)
        train = parts.train + still
        fw.write(train, study.output / "train.extxyz")
    with clock("families"):
        comparison = fw.compare(
            {
                "data": {"train": str(study.output / "train.extxyz"), "test": str(study.output / "test.extxyz")},
                "common": study.common, "families": study.families, "output": str(study.output / "families"),
            },
            on_family=lambda name: console.print(f"  {name}"),
        )  # fmt: skip
        console.print(str(comparison), soft_wrap=True)
    with clock("equations of state"):
        states = equations_of_state(study, cells, list(comparison.summary["families"]))
    with clock("NVT dynamics"):
        nvt = run_nvt(study, cells)
    findings = Findings(
        study.physics, cells, sets, volumes, parts, train, comparison, states, nvt, clock.seconds, written
    )
    page = write_page(study.output, findings, path.read_text())
    console.print(f"written to {page}", soft_wrap=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", default=HERE / "study.yaml", help="what to do")
    parser.add_argument("--ship", action="store_true", help="write the frames of the demo beside this file")
    arguments = parser.parse_args()
    try:
        main(arguments.study, arguments.ship)
    except ForcewrightError as error:
        sys.exit(f"error: {error}")
