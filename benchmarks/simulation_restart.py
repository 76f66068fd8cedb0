"""What a simulation costs beyond its forces, what it conserves, and what checkpoints cost.

For silicon with a published ACE potential: time per step of each ensemble beside the bare evaluator on the same
structures; drift of the energy in NVE, by a straight line, with its standard error over blocks; time of a checkpoint.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import ase.build
import numpy as np
from rich.console import Console
from rich.table import Table

from forcewright.features.ace.evaluator import AceEvaluator
from forcewright.features.ace.yace import read_yace
from forcewright.models import load
from forcewright.neighbors import NeighborCache
from forcewright.simulation import ForceField, RunSettings, Stage, run
from forcewright.simulation.ase_engine import AseEngine
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

ENSEMBLES = {
    "nve": {"ensemble": "nve"},
    "langevin": {"ensemble": "nvt", "thermostat": "langevin"},
    "bussi": {"ensemble": "nvt", "thermostat": "bussi"},
    "nose-hoover": {"ensemble": "nvt", "thermostat": "nose-hoover"},
    "npt isotropic": {"ensemble": "npt", "cell": "isotropic"},
    "npt full": {"ensemble": "npt", "cell": "full"},
}


def field_of(path: Path) -> ForceField:
    potential = load(path)
    return ForceField(path.stem, potential.calculator, path.stem, potential.species, potential)


def stage_of(name: str, kelvin: float, **more: float) -> Stage:
    temperature = {} if name == "nve" else {"temperature_K": kelvin}
    return Stage(**ENSEMBLES[name], **temperature, **{"time_ps": 1000.0, **more})  # type: ignore[arg-type]


def moving(field: ForceField, repeat: int, kelvin: float, equilibrate: int) -> Snapshot:
    """Silicon at a temperature; the first steps of a crystal turn half its kinetic energy into potential energy."""
    start = Snapshot(Structure.from_ase(ase.build.bulk("Si", cubic=True) * (repeat, repeat, repeat)))
    engine = AseEngine(field, start, 0)
    engine.begin(stage_of("langevin", kelvin))
    engine.advance(equilibrate)
    return engine.snapshot()


def bare(path: Path, engine: AseEngine, steps: int) -> float:
    """Return seconds per evaluation of structures along a path, by the evaluator with its neighbor list alone."""
    evaluator = AceEvaluator(read_yace(path))
    cache = NeighborCache(evaluator.cutoff, 0.5, evaluator.groups)
    seconds = 0.0
    for _ in range(steps):
        engine.advance(1)
        structure = engine.snapshot().structure
        begin = time.perf_counter()
        evaluator.evaluate(structure, neighbors=cache.neighbors(structure, evaluator.species(structure.numbers)))
        seconds += time.perf_counter() - begin
    return seconds / steps


def overheads(path: Path, console: Console, repeats: int = 3, steps: int = 40) -> None:
    field = field_of(path)
    table = Table(title=f"{path.stem}: time per step (µs), medians of {repeats} paired runs")
    for heading in ("atoms", "ensemble", "bare forces", "engine", "beyond forces", "ratio"):
        table.add_column(heading, justify="right")
    for repeat in (1, 2, 3):
        start = moving(field, repeat, 300.0, 20)
        for name in ENSEMBLES:
            alone, whole = [], []
            for _ in range(repeats):
                engine = AseEngine(field, start, 0)
                engine.begin(stage_of(name, 300.0))
                engine.advance(5)
                alone.append(bare(path, engine, steps))
                begin = time.perf_counter()
                engine.advance(steps)
                whole.append((time.perf_counter() - begin) / steps)
            forces, total = (1e6 * statistics.median(times) for times in (alone, whole))
            row = (f"{forces:.0f}", f"{total:.0f}", f"{total - forces:.0f}", f"{total / forces:.2f}")
            table.add_row(str(len(start)), name, *row)
    console.print(table)


def drifts(paths: list[Path], console: Console, ps: float) -> None:
    table = Table(title=f"NVE, 64 atoms, {ps:g} ps: slope of the total energy; 1e-5 eV/atom/ps is the limit")
    for heading in ("potential", "T (K)", "timestep (fs)", "drift (eV/atom/ps)", "error", "fluctuation (eV/atom)"):
        table.add_column(heading, justify="right")
    for path in paths:
        field = field_of(path)
        for kelvin, timestep in ((300.0, 1.0), (300.0, 2.0), (1000.0, 1.0)):
            engine = AseEngine(field, moving(field, 2, kelvin, 500), 0)
            engine.begin(stage_of("nve", kelvin, timestep_fs=timestep))
            energies = []
            for _ in range(round(1000 * ps / timestep / 5)):
                engine.advance(5)
                energies.append((engine.snapshot().conserved or 0.0) / 64)
            times = np.arange(len(energies)) * 5 * timestep / 1000
            slope, line = np.polyfit(times, energies, 1)
            blocks = [
                np.polyfit(t, e, 1)[0] for t, e in zip(np.split(times, 5), np.split(np.array(energies), 5), strict=True)
            ]
            spread = np.std(blocks, ddof=1) / 5**1.5  # a slope over five times the time has a 5^(3/2) smaller error
            rest = np.std(np.array(energies) - slope * times - line)
            table.add_row(path.stem, f"{kelvin:g}", f"{timestep:g}", f"{slope:+.1e}", f"{spread:.0e}", f"{rest:.1e}")
    console.print(table)


def checkpoints(path: Path, console: Console) -> None:
    field, start = field_of(path), moving(field_of(path), 2, 300.0, 20)
    seconds = {}
    for every in (1000, 10):
        with tempfile.TemporaryDirectory() as folder:
            stages = [stage_of("npt full", 300.0, time_ps=1.0)]
            result = run(field, start, stages, folder, settings=RunSettings(checkpoint_every_steps=every))
            seconds[every] = result.wall_s
    console.print(f"a checkpoint of 64 atoms takes {1000 * (seconds[10] - seconds[1000]) / 99:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--ps", type=float, default=10.0, help="length of each NVE run")
    arguments = parser.parse_args()
    console = Console(width=120)
    silicon = arguments.data / "yace/XPOT-Si.yace"
    overheads(silicon, console)
    checkpoints(silicon, console)
    drifts([silicon], console, arguments.ps)


if __name__ == "__main__":
    main()
