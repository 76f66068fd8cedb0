"""The two engines with the same potential: volume, g(r) and diffusion of liquid silicon (Stillinger-Weber).

Each engine melts 216 atoms and runs the liquid at 2,500 K and zero pressure with several seeds. Differences are in
standard errors of the means over seeds; the difference of g(r) stands beside that of two halves of the seeds of one
engine.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from forcewright import analyze
from forcewright.recipes.analyze import Selection
from forcewright.recipes.simulate import simulate
from forcewright.trajectory import count_frames

MELT_PS, SETTLE_PS = 3.0, 5.0
EVERY_FS = 20.0


def run(engine: str, seed: int, time_ps: float, folder: Path) -> dict[str, Any]:
    """Return volume (Å³/atom), g(r), diffusion coefficient (cm²/s) and steps per second of one run."""
    common = {"timestep_fs": 1.0, "thermostat_time_fs": 100.0}
    liquid = {"ensemble": "npt", "temperature_K": 2500, "pressure_GPa": 0, "barostat_time_fs": 500.0, **common}
    result = simulate(
        {
            "potential": {"lammps": {"pair_style": "sw", "pair_coeff": "* * Si.sw Si"}},
            "structure": {"bulk": "Si", "cubic": True, "repeat": 3},
            "stages": [
                {"ensemble": "nvt", "temperature_K": 4000, "time_ps": MELT_PS, **common},
                {"time_ps": SETTLE_PS, **liquid},
                {"time_ps": time_ps, **liquid},
            ],
            "trajectory": {"every_fs": EVERY_FS, "format": "h5"},
            "engine": engine,
            "seed": seed,
            "output": str(folder / f"{engine}-{seed}"),
        }
    )
    frames = count_frames(result.trajectory)
    last = Selection(result.trajectory, frames - round(1000 * time_ps / EVERY_FS))
    volume = float(np.mean([snapshot.structure.volume / len(snapshot) for snapshot in last]))
    diffusion = analyze.diffusion(last)
    return {
        "volume": volume, "g": analyze.rdf(last, r_max=8.0, bins=160).g, "D": diffusion.D["total"],
        "steps_per_s": result.steps_per_s,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--time-ps", type=float, default=20.0)
    arguments = parser.parse_args()
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as scratch:
        results = {
            engine: [
                run(engine, seed, arguments.time_ps, Path(scratch))
                for seed in track(range(arguments.seeds), description=engine, console=console)
            ]
            for engine in ("ase", "lammps")
        }
    table = Table(title="216 atoms of liquid silicon, Stillinger-Weber, 2,500 K, 0 GPa")
    for heading in ("", "ase", "lammps", "difference"):
        table.add_column(heading, justify="right")
    for name, title, scale in (("volume", "volume (Å³/atom)", 1.0), ("D", "D (1e-5 cm²/s)", 1e5)):
        values = {engine: scale * np.array([result[name] for result in runs]) for engine, runs in results.items()}
        errors = {engine: v.std(ddof=1) / len(v) ** 0.5 for engine, v in values.items()}
        apart = (values["ase"].mean() - values["lammps"].mean()) / np.hypot(*errors.values())
        table.add_row(
            title, *(f"{values[e].mean():.3f} ± {errors[e]:.3f}" for e in results), f"{apart:+.2f} standard errors"
        )
    g = {engine: np.array([result["g"] for result in runs]) for engine, runs in results.items()}
    apart = float(np.sqrt(np.mean((g["ase"].mean(axis=0) - g["lammps"].mean(axis=0)) ** 2)))
    halves = [float(np.sqrt(np.mean((v[::2].mean(axis=0) - v[1::2].mean(axis=0)) ** 2))) for v in g.values()]
    table.add_row("g(r), rms between halves", *(f"{half:.4f}" for half in halves), f"{apart:.4f} rms")
    speeds = [f"{np.median([result['steps_per_s'] for result in runs]):.0f}" for runs in results.values()]
    table.add_row("steps per second", *speeds, "")
    console.print(table)


if __name__ == "__main__":
    main()
