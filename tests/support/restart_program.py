"""The program that is killed: python restart_program.py FOLDER PROTOCOL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ase.build import bulk
from model_potentials import lennard_jones

from forcewright.models import load
from forcewright.simulation import ForceField, RunSettings, SimulationResult, Stage, TrajectorySettings, run

HOLD = {"time_ps": 2.4, "timestep_fs": 4.0}
PROTOCOLS = {
    "nve": [Stage(ensemble="nvt", temperature_K=40, **HOLD), Stage(ensemble="nve", **HOLD)],
    "langevin": [Stage(ensemble="nvt", thermostat="langevin", temperature_K=40, **HOLD)],
    "nose-hoover": [Stage(ensemble="nvt", thermostat="nose-hoover", temperature_K=40, **HOLD)],
    "isotropic": [Stage(ensemble="npt", temperature_K=40, **HOLD)],
    "full": [Stage(ensemble="npt", cell="full", temperature_K=40, **HOLD)],
    "ramp": [
        Stage(ensemble="npt", temperature_K=(40, 160), pressure_GPa=(0, 0.1), **HOLD),
        Stage(ensemble="nvt", thermostat="bussi", temperature_K=(160, 20), **HOLD),
        Stage(ensemble="relax", pressure_GPa=0.1),
    ],
}


def main(folder: str | Path, protocol: str, **options: Any) -> SimulationResult:
    settings = RunSettings(
        trajectory=TrajectorySettings(every_fs=40, forces=True), thermo_every_fs=20, checkpoint_every_steps=47
    )
    if protocol.endswith(".yace"):  # a potential of ours, on silicon
        stages = [Stage(ensemble="npt", cell="full", temperature_K=(300, 600), time_ps=0.4)]
        return run(published(protocol), bulk("Si", cubic=True), stages, folder, seed=3, settings=settings, **options)
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * 2
    return run(lennard_jones(), atoms, PROTOCOLS[protocol], folder, seed=3, settings=settings, **options)


def published(path: str) -> ForceField:
    potential = load(path)
    return ForceField("published", potential.calculator, path, potential.species, potential)


if __name__ == "__main__":
    print("started", flush=True)
    main(sys.argv[1], sys.argv[2])
