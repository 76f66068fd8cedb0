"""The table of thermodynamic quantities of a run, row by row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase.cell import Cell

from forcewright import units
from forcewright.simulation.stages import Stage
from forcewright.structure import FloatArray
from forcewright.trajectory import Snapshot

_G_PER_CM3 = 1.66053904  # 1 u/Å³

COLUMNS = (
    "step", "time_ps", "stage", "temperature_K", "target_temperature_K", "potential_eV", "kinetic_eV", "total_eV",
    "conserved_eV", "pressure_GPa", "target_pressure_GPa", "volume_A3", "density_g_cm3", "a_A", "b_A", "c_A",
    "alpha_deg", "beta_deg", "gamma_deg", "max_force_eV_per_A",
)  # fmt: skip
HEADER = ",".join(COLUMNS) + "\n"


def row(snapshot: Snapshot, stage: Stage, stage_step: int, name: str) -> str:
    """Return the line of a snapshot; unknown values stay empty."""
    values = _values(snapshot, stage, stage_step)
    cells = ("" if value is None else f"{value:.12g}" for value in values)
    time_ps = (snapshot.time or 0.0) / 1000.0
    plain_name = name.replace(",", " ").replace('"', "").replace("\n", " ")
    return ",".join([str(snapshot.step), f"{time_ps:.12g}", plain_name, *cells]) + "\n"


def _values(snapshot: Snapshot, stage: Stage, stage_step: int) -> Iterator[float | None]:
    """Yield the columns after the name of the stage."""
    potential, kinetic = snapshot.energy, snapshot.kinetic_energy
    yield snapshot.temperature
    yield stage.temperature_at(stage_step)
    yield potential
    yield kinetic
    yield None if potential is None else potential + (kinetic or 0.0)
    yield snapshot.conserved
    yield pressure_GPa(snapshot)
    yield stage.pressure_at(stage_step)
    periodic = bool(snapshot.structure.pbc.all())
    yield snapshot.structure.volume if periodic else None
    yield _G_PER_CM3 * float(snapshot.masses.sum()) / snapshot.structure.volume if periodic else None
    yield from Cell(snapshot.structure.cell).cellpar() if snapshot.structure.volume else [None] * 6  # type: ignore[no-untyped-call]
    forces = snapshot.forces
    yield None if forces is None else float(np.linalg.norm(forces, axis=1).max())


def pressure_GPa(snapshot: Snapshot) -> float | None:
    """Return the pressure, that of atoms at rest if velocities are unknown."""
    if snapshot.velocities is not None:
        return None if snapshot.pressure is None else snapshot.pressure / units.GPA
    return None if snapshot.stress is None else -float(np.trace(snapshot.stress)) / 3.0 / units.GPA


def residual_force(forces: FloatArray, stress: FloatArray | None, volume: float, stage: Stage) -> float:
    """Return what is left of the forces (eV/Å) after a relaxation, those on the cell divided by the atoms included."""
    left = float(np.linalg.norm(forces, axis=1).max())
    if stage.pressure_GPa is None or stress is None:
        return left
    excess = stress + stage.pressure_GPa[1] * units.GPA * np.eye(3)
    if stage.cell == "isotropic":
        excess = np.eye(3) * np.trace(excess) / 3
    return max(left, float(np.linalg.norm(excess, axis=1).max()) * volume / len(forces))
