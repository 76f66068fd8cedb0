"""What a broken run makes one ask its potential: whether there is a wall, where it pushes, if the step is too long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import units

from forcewright.diagnosis.run_record import virial_pressure_GPa
from forcewright.errors import ForcewrightError
from forcewright.potential import Failure, Prediction, Reference
from forcewright.structure import FloatArray, Structure
from forcewright.trajectory import Snapshot

Predict = Callable[[Structure], Prediction]

#: Volumes over that of equilibrium at which the pressure is asked for.
VOLUMES = (0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0)
_SHARES = (1.15, 1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
_FALL = 0.15  # eV by which the energy of a pair may fall where its atoms come closer
_TORN, _PUSH = 1.5, 0.25  # volume over that of equilibrium, and share of what motion adds to the pressure
_STEPS = 25  # of the run whose energy is watched: a step too long shows within a vibration, a hole comes later
_FINER = 4  # times as many steps in the same time
_DRIFT = (3e-3, 0.05)  # eV/atom, and share of the kinetic energy, by which a total energy may change
_TIMES = 5.0  # as much as with steps of a quarter


@dataclass(frozen=True, eq=False)
class Squeeze:
    """Energies of a structure in which two atoms are pushed together, and nothing else moves.

    ``distances`` (n,) in Å, falling; ``shortest`` is that of the pair in the training data; energies (n,) in eV, less
    those of the first; ``reference`` is nan where it was not asked or knows none.
    """

    pair: str
    atoms: tuple[int, int]
    shortest: float
    distances: FloatArray
    energies: FloatArray
    reference: FloatArray

    @property
    def falls_in(self) -> bool:
        """Whether the energy falls somewhere below the shortest distance, though that of the reference does not."""
        inside = self.distances <= self.shortest + 1e-9
        return bool(_fall(self.energies[inside]) > _FALL and not _fall(self.reference[inside]) > _FALL)

    @property
    def has_wall(self) -> bool:
        """Whether the energy ends above all that it was before: whatever falls in is held somewhere."""
        known = self.energies[np.isfinite(self.energies)]
        return bool(len(known) > 1 and np.isfinite(self.energies[-1]) and known[-1] >= known[:-1].max())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "pair": self.pair, "atoms": list(self.atoms), "shortest_A": self.shortest,
            "distances_A": self.distances.tolist(), "energies_eV": self.energies.tolist(),
            "reference_eV": self.reference.tolist(), "falls_in": self.falls_in, "has_wall": self.has_wall,
        }  # fmt: skip


def _fall(energies: FloatArray) -> float:
    """Return by how much energies fall from their highest so far."""
    known = energies[np.isfinite(energies)]
    return float(np.max(np.maximum.accumulate(known) - known)) if len(known) else 0.0


def squeeze(
    predict: Predict, structure: Structure, atoms: tuple[int, int], pair: str, shortest: float,
    reference: Reference | None,
) -> Squeeze | None:  # fmt: skip
    """Push two atoms of a structure together along the line between them; None for an atom and its own image."""
    i, j = atoms
    vector: FloatArray = structure.to_ase().get_distance(i, j, mic=True, vector=True)  # type: ignore[no-untyped-call]
    length = float(np.linalg.norm(vector))
    if i == j or length == 0:
        return None
    distances = shortest * np.array(_SHARES)
    structures = []
    for distance in distances.tolist():
        positions = np.array(structure.positions)
        middle = positions[i] + 0.5 * vector
        positions[i] = middle - 0.5 * distance * vector / length
        positions[j] = middle + 0.5 * distance * vector / length
        structures.append(Structure(structure.numbers, positions, structure.cell, structure.pbc))
    energies = np.array([_energy(predict, s) for s in structures])
    known = np.full(len(energies), np.nan)
    if reference is not None:
        labels = reference.label(structures)
        known = np.array([np.nan if isinstance(x, Failure) or x.energy is None else x.energy for x in labels])
    return Squeeze(pair, atoms, shortest, distances, energies - energies[0], known - known[0])


def _energy(predict: Predict, structure: Structure) -> float:
    try:
        return float(predict(structure).energy)
    except (ForcewrightError, ValueError, ArithmeticError):
        return np.nan


@dataclass(frozen=True, eq=False)
class ScaledPressures:
    """Pressures of atoms at rest of a structure whose cell and positions are scaled together, in GPa.

    ``ratios`` (n,) are volumes over that of equilibrium; ``reference`` is nan where it was not asked.
    """

    ratios: FloatArray
    pressures: FloatArray
    reference: FloatArray
    thermal: float

    @property
    def pushes_outward(self) -> bool:
        """Whether the potential pushes outward, against the reference, where the structure is torn apart."""
        wide = self.ratios >= _TORN
        pressures, known = self.pressures[wide], self.reference[wide]
        limits = np.maximum(_PUSH * self.thermal / self.ratios[wide], 0.01)
        more = pressures - np.where(np.isfinite(known), known, 0.0)
        return bool(np.any((pressures > limits) & (more > limits)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "volume_ratios": self.ratios.tolist(), "pressures_GPa": self.pressures.tolist(),
            "reference_GPa": self.reference.tolist(), "thermal_GPa": self.thermal,
            "pushes_outward": self.pushes_outward,
        }  # fmt: skip


def scaled_pressures(
    predict: Predict, structures: Sequence[Structure], thermal: float, reference: Reference | None
) -> ScaledPressures:
    """Return the mean pressures of structures over their volume.

    ``thermal`` is what motion adds to the pressure at the volume of equilibrium, in GPa.
    """
    ratios = np.array(VOLUMES)
    pressures, known = np.empty((len(structures), len(ratios))), np.full((len(structures), len(ratios)), np.nan)
    for row, structure in enumerate(structures):
        scaled = [
            Structure(structure.numbers, structure.positions * r ** (1 / 3), structure.cell * r ** (1 / 3),
                      structure.pbc) for r in ratios.tolist()
        ]  # fmt: skip
        pressures[row] = [_pressure(predict, s) for s in scaled]
        if reference is not None:
            labels = reference.label(scaled)
            known[row] = [np.nan if isinstance(x, Failure) else virial_pressure_GPa(x.stress) for x in labels]
    return ScaledPressures(ratios, pressures.mean(axis=0), known.mean(axis=0), thermal)


def _pressure(predict: Predict, structure: Structure) -> float:
    try:
        return virial_pressure_GPa(predict(structure).stress)
    except (ForcewrightError, ValueError, ArithmeticError):
        return np.nan


@dataclass(frozen=True)
class StepTest:
    """By how much the total energy changes at constant energy, in eV/atom, with the run's time step and a quarter.

    It is the median over the steps: what happens to a pair in the end does not count. ``kinetic`` is the kinetic energy
    at the start, in eV/atom.
    """

    timestep_fs: float
    change: float
    finer_change: float
    kinetic: float

    @property
    def is_too_long(self) -> bool:
        """Whether the energy is lost to the length of the step."""
        limit = max(_DRIFT[0], _DRIFT[1] * self.kinetic)
        return self.change > limit and self.change > _TIMES * self.finer_change

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "timestep_fs": self.timestep_fs, "change_eV_per_atom": self.change,
            "change_with_a_quarter_eV_per_atom": self.finer_change, "is_too_long": self.is_too_long,
        }  # fmt: skip


def step_test(predict: Predict, start: Snapshot, timestep_fs: float) -> StepTest | None:
    """Move atoms at constant energy with a time step and a quarter of it; None where velocities are not known."""
    if start.velocities is None or start.fixed is not None:
        return None
    changes = [_change(predict, start, timestep_fs / n, n * _STEPS) for n in (1, _FINER)]
    coarse, fine = changes
    return StepTest(timestep_fs, coarse, fine, (start.kinetic_energy or 0.0) / len(start))


def _change(predict: Predict, start: Snapshot, timestep_fs: float, steps: int) -> float:
    """Return the median change of the total energy in eV/atom over some steps of velocity Verlet."""
    step, masses = timestep_fs * units.fs, start.masses[:, None]
    assert start.velocities is not None
    positions, velocities = np.array(start.structure.positions), np.array(start.velocities) / units.fs
    numbers, cell, pbc = start.structure.numbers, start.structure.cell, start.structure.pbc
    forces, first, changes = None, None, np.full(steps + 1, np.inf)
    for k in range(steps + 1):
        try:
            with np.errstate(all="ignore"):
                predicted = predict(Structure(numbers, positions, cell, pbc))
        except (ForcewrightError, ValueError, ArithmeticError):
            break
        assert predicted.forces is not None
        if forces is not None:
            velocities += 0.5 * step * (forces + predicted.forces) / masses
        forces = predicted.forces
        total = predicted.energy + 0.5 * float(np.sum(masses * velocities**2))
        first = total if first is None else first
        if not np.isfinite(total):
            break
        changes[k] = abs(total - first) / len(numbers)
        positions = positions + step * velocities + 0.5 * step**2 * forces / masses
    return float(np.median(changes))
