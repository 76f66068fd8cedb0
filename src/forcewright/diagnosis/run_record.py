"""What a finished run left behind, read into memory for a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcewright.force_field import ForceField
from forcewright.potential import Prediction
from forcewright.simulation import Alarm, Monitors, Stage
from forcewright.structure import Dataset, FloatArray, Structure, from_voigt
from forcewright.training_record import TrainingRecord, training_record_of
from forcewright.trajectory import Snapshot
from forcewright.units import GPA

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A run, broken or not, with the potential that moved it.

    Attributes
    ----------
    folder
        Where it lies.
    force_field
        What moved the atoms.
    stages, names
        What was done, and what tables call it.
    frames
        Snapshots by step: those of the trajectory, and the dense ones before it broke.
    frame_stages
        Stage (T,) of each frame.
    thermo
        Columns of thermo.csv.
    alarm
        What stopped it.
    distances, uncertainties
        Columns of distances.csv and extrapolation.csv; empty where the run wrote none.
    training
        What the potential was fitted to, where it is at hand.
    monitors
        What watched it.
    """

    folder: Path
    force_field: ForceField
    stages: tuple[Stage, ...]
    names: tuple[str, ...]
    frames: tuple[Snapshot, ...]
    frame_stages: NDArray[np.int64]
    thermo: Columns
    alarm: Alarm | None = None
    distances: Columns = field(default_factory=dict)
    uncertainties: Columns = field(default_factory=dict)
    training: Dataset | None = None
    monitors: Monitors = field(default_factory=Monitors)

    @cached_property
    def record(self) -> TrainingRecord | None:
        """What the potential remembers of its training data."""
        return training_record_of(self.force_field.potential)

    @cached_property
    def times_ps(self) -> FloatArray:
        """Times (T,) of the frames."""
        return np.array([(snapshot.time or 0.0) / 1000.0 for snapshot in self.frames])

    @cached_property
    def predict(self) -> Callable[[Structure], Prediction]:
        """What the run's force field says of a structure."""
        return predictor(self.force_field)

    @cached_property
    def predictions(self) -> tuple[Prediction, ...]:
        """What the run's force field says of the frames; those whose positions are not finite are left as nan."""
        return tuple(self._predicted(snapshot) for snapshot in self.frames)

    def _predicted(self, snapshot: Snapshot) -> Prediction:
        structure = snapshot.structure
        if not (np.isfinite(structure.positions).all() and np.isfinite(structure.cell).all()):
            return Prediction(np.nan, np.full((len(structure), 3), np.nan), np.full((3, 3), np.nan))
        stress_known = snapshot.stress is not None or not structure.pbc.all()
        if snapshot.forces is not None and snapshot.energy is not None and stress_known:
            return Prediction(snapshot.energy, snapshot.forces, snapshot.stress)
        return self.predict(structure)


def predictor(force_field: ForceField) -> Callable[[Structure], Prediction]:
    """Return what predicts energy, forces and, of cells, stress of a structure by a force field."""
    if force_field.potential is not None:
        potential = force_field.potential
        return lambda structure: potential.predict([structure])[0]
    calculator: Any = force_field.calculator()

    def predict(structure: Structure) -> Prediction:
        atoms: Any = structure.to_ase()
        atoms.calc = calculator
        stress = from_voigt(atoms.get_stress()) if structure.pbc.all() else None
        return Prediction(float(atoms.get_potential_energy()), np.array(atoms.get_forces()), stress)

    return predict


def virial_pressure_GPa(stress: FloatArray | None) -> float:
    """Return the pressure in GPa of atoms at rest with a stress in eV/Å³; nan without one."""
    return np.nan if stress is None else -float(np.trace(stress)) / 3.0 / GPA


def kinetic_pressure_GPa(snapshot: Snapshot) -> float:
    """Return what motion adds to the pressure in GPa; nan where velocities or a cell are not known."""
    kinetic, volume = snapshot.kinetic_energy, snapshot.structure.volume
    return np.nan if kinetic is None or not volume else 2.0 * kinetic / (3.0 * volume) / GPA


def evenly(indices: Sequence[int], count: int) -> list[int]:
    """Return at most ``count`` of the indices, spread evenly, the first and the last among them."""
    if len(indices) <= count:
        return list(indices)
    chosen = np.unique(np.linspace(0, len(indices) - 1, count).round().astype(int))
    return [indices[k] for k in chosen.tolist()]
