"""`make demo`: tune on the shipped frames, write the report, end with 5 ps of NVT dynamics of the winner."""

from __future__ import annotations

import csv
import io
import sys
import time
from pathlib import Path

import numpy as np
from ase import units
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

import forcewright as fw
from forcewright.files import atomic_write
from forcewright.optimize.journal import OtherStudyError
from forcewright.recipes.outputs import rebuild_report
from forcewright.report import Section

HERE = Path(__file__).resolve().parent
TEMPERATURE_K, TIME_PS, TIMESTEP_FS, FRICTION_PER_FS = 500.0, 5.0, 1.0, 0.01
TOO_CLOSE = 0.6  # Å; no bond of C and H is shorter
console = Console()


def run_dynamics(potential, atoms, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Run Langevin dynamics and return time (ps), temperature (K), energies (eV) and the shortest distance (Å)."""
    atoms.calc = potential.calculator()
    atoms.set_constraint(FixCom())
    thermalize_momenta(atoms, TEMPERATURE_K, rng=rng)
    dynamics = Langevin(
        atoms, TIMESTEP_FS * units.fs, temperature_K=TEMPERATURE_K, friction=FRICTION_PER_FS / units.fs,
        fixcm=False, rng=rng,
    )  # fmt: skip
    rows = []
    every, steps = 10, int(1000 * TIME_PS / TIMESTEP_FS)
    for done in track(range(0, steps, every), description="5 ps of NVT dynamics", console=console):
        dynamics.run(every)
        distances = atoms.get_all_distances(mic=True)[np.triu_indices(len(atoms), 1)]
        row = (
            (done + every) * TIMESTEP_FS / 1000,
            atoms.get_temperature(),
            atoms.get_potential_energy(),
            atoms.get_kinetic_energy(),
            distances.min(),
        )
        if not np.all(np.isfinite(row)) or row[-1] < TOO_CLOSE:
            sys.exit(f"the dynamics failed after {row[0]:.2f} ps: shortest distance {row[-1]:.2f} Å, {row[1]:.0f} K")
        rows.append(row)
    names = ("time_ps", "temperature_K", "potential_eV", "kinetic_eV", "shortest_distance_A")
    return dict(zip(names, np.array(rows).T, strict=True))


def draw(run: dict[str, np.ndarray]) -> Figure:
    """Draw temperature, energies and the shortest distance over time."""
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    top.plot(run["time_ps"], run["temperature_K"], color="#0072B2", lw=0.8)
    top.axhline(TEMPERATURE_K, color="0.4", lw=0.8, ls="--")
    top.set_ylabel("temperature (K)")
    for key, label, color in (("potential_eV", "potential", "#009E73"), ("kinetic_eV", "kinetic", "#D55E00")):
        middle.plot(run["time_ps"], run[key] - run[key][0], label=label, color=color, lw=0.8)
    middle.set_ylabel("energy change (eV)")
    middle.legend(frameon=False, ncols=2)
    bottom.plot(run["time_ps"], run["shortest_distance_A"], color="#CC79A7", lw=0.8)
    bottom.set_ylabel("shortest\ndistance (Å)")
    bottom.set_xlabel("time (ps)")
    return figure


def tune():
    """Tune or resume; what an earlier version of the demo left behind is started over."""

    def on_trial(trial, wanted: int) -> None:
        told = trial.error or f"loss {trial.loss:.4g}"
        console.print(f"setting {trial.index + 1}/{wanted}: {told}", highlight=False)

    try:
        return fw.tune(HERE / "tune.yaml", on_trial=on_trial)
    except OtherStudyError as error:
        console.print(f"starting over: {error}", highlight=False, markup=False)
        return fw.tune(HERE / "tune.yaml", on_trial=on_trial, fresh=True)


def main() -> None:
    """Tune, simulate, report."""
    if not (HERE / "train.extxyz").exists():
        sys.exit(f"{HERE / 'train.extxyz'} is missing; make it with study.py --ship")
    console.print("tuning SNAP for hydrogen in diamond; run it again to resume", highlight=False)
    result = tune()
    console.print(str(result.test), highlight=False, markup=False)
    start = next(frame for frame in fw.read(HERE / "test.extxyz") if frame.labels.group.startswith("hv_500K"))
    began = time.perf_counter()
    run = run_dynamics(result.potential, start.structure.to_ase(), np.random.default_rng(0))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(run)
    writer.writerows(np.column_stack(list(run.values())))
    atomic_write(result.folder / "nvt.csv", text.getvalue())
    half = len(run["time_ps"]) // 2
    section = Section(
        "Five picoseconds of dynamics",
        f"NVT (Langevin, {TEMPERATURE_K:.0f} K, {TIMESTEP_FS:.0f} fs, friction {FRICTION_PER_FS}/fs) of C62H from a "
        f"held-back frame with the tuned potential: mean temperature of the second half "
        f"{run['temperature_K'][half:].mean():.0f} K, shortest distance {run['shortest_distance_A'].min():.2f} Å, "
        f"{time.perf_counter() - began:.0f} s.",
        [draw(run)],
    )
    page = rebuild_report(result.folder, [section])
    console.print(f"open {page}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    try:
        main()
    except fw.ForcewrightError as error:
        sys.exit(f"error: {error}")
