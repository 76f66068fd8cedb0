"""What a force field predicted for frames of its run, against what a reference says of them: by atom and over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.units import kB
from numpy.typing import NDArray

from forcewright.analyze.block_average import Mean, block_mean
from forcewright.diagnosis.run_record import RunRecord, kinetic_pressure_GPa, virial_pressure_GPa
from forcewright.potential import Failure
from forcewright.structure import Dataset, FloatArray, Labels
from forcewright.units import GPA

_SAME_DENSITY = 0.02  # of the volume per atom within which training frames count as those of the run
_FEWEST = 8  # frames of which a mean is taken


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """Errors, predicted less reference, of L frames with N atoms.

    Attributes
    ----------
    frames
        Which frames of the run (L,), in their order.
    times_ps
        Their times (L,).
    energy
        Errors (L,) in eV/atom.
    forces
        Errors (L, N, 3) in eV/Å.
    pressure
        Errors (L,) of the pressure in GPa; nan where either has no stress.
    reference_forces
        What the reference says (L, N, 3).
    pressures
        Pressures (L, 2) in GPa with the part of the motion, as predicted and by the reference.
    failures
        Reasons of frames that the reference did not label, by frame.
    """

    frames: NDArray[np.int64]
    times_ps: FloatArray
    energy: FloatArray
    forces: FloatArray
    pressure: FloatArray
    reference_forces: FloatArray
    pressures: FloatArray
    failures: dict[int, str]

    @property
    def force_rmse(self) -> FloatArray:
        """Root mean square error (L,) of the force components of each frame in eV/Å."""
        return np.asarray(np.sqrt(np.mean(self.forces**2, axis=(1, 2))))

    @property
    def atoms(self) -> FloatArray:
        """Lengths (L, N) of the errors of the forces in eV/Å."""
        return np.asarray(np.linalg.norm(self.forces, axis=2))

    @property
    def largest(self) -> FloatArray:
        """Largest error (L,) of a force on an atom in eV/Å."""
        return np.asarray(self.atoms.max(axis=1))

    @property
    def worst_atom(self) -> NDArray[np.int64]:
        """Which atom (L,) that is."""
        return np.asarray(self.atoms.argmax(axis=1))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each frame."""
        columns = zip(self.frames.tolist(), self.times_ps.tolist(), self.energy.tolist(), self.force_rmse.tolist(),
                      self.largest.tolist(), self.worst_atom.tolist(), self.pressure.tolist(),
                      self.pressures.tolist(), strict=True)  # fmt: skip
        return [
            {
                "frame": frame, "time_ps": time, "energy_error_meV_per_atom": 1e3 * energy,
                "force_rmse_eV_per_A": rmse, "largest_force_error_eV_per_A": largest, "atom": atom,
                "pressure_error_GPa": pressure, "pressure_GPa": both[0], "reference_pressure_GPa": both[1],
            }
            for frame, time, energy, rmse, largest, atom, pressure, both in columns
        ]  # fmt: skip

    def atom_rows(self, numbers: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return a row for each atom: its error over all frames, and when it is largest."""
        errors = self.atoms
        when = errors.argmax(axis=0)
        rms = np.sqrt(np.mean(self.forces**2, axis=(0, 2)))
        return [
            {
                "atom": atom, "element": chemical_symbols[numbers[atom]], "force_rmse_eV_per_A": float(rms[atom]),
                "largest_force_error_eV_per_A": float(errors[when[atom], atom]),
                "at_ps": float(self.times_ps[when[atom]]),
            }
            for atom in range(errors.shape[1])
        ]  # fmt: skip


def frame_errors(run: RunRecord, frames: Sequence[int], results: Sequence[Labels | Failure]) -> FrameErrors:
    """Return the errors of some frames of a run from what a reference said of each."""
    failures = {k: result.reason for k, result in zip(frames, results, strict=True) if isinstance(result, Failure)}
    kept = [(k, result) for k, result in zip(frames, results, strict=True) if isinstance(result, Labels)]
    count = len(run.frames[0])
    energies, forces, true_forces, pressures = [], [], [], []
    for k, labels in kept:
        predicted, snapshot = run.predictions[k], run.frames[k]
        assert predicted.forces is not None
        known = np.full((count, 3), np.nan) if labels.forces is None else labels.forces
        energies.append((predicted.energy - (np.nan if labels.energy is None else labels.energy)) / count)
        forces.append(predicted.forces - known)
        true_forces.append(known)
        moving = kinetic_pressure_GPa(snapshot)
        moving = 0.0 if np.isnan(moving) else moving
        pressures.append([virial_pressure_GPa(predicted.stress) + moving, virial_pressure_GPa(labels.stress) + moving])
    both = np.array(pressures).reshape(-1, 2)
    return FrameErrors(
        np.array([k for k, _ in kept], dtype=np.int64), run.times_ps[[k for k, _ in kept]], np.array(energies),
        np.array(forces).reshape(-1, count, 3), both[:, 0] - both[:, 1], np.array(true_forces).reshape(-1, count, 3),
        both, failures,
    )  # fmt: skip


@dataclass(frozen=True)
class PressureTable:
    """The mean pressure of the training frames, of a run, and of its frames by the reference, with block errors.

    Train, run and rerun of tables 10.1 and 10.2 of the thesis this follows. In GPa, the motion of the atoms included;
    that of training frames is N k_B T / V at the mean temperature of the run. None where it is not known;
    ``remark`` says why. ``bias`` is that of the run against the reference, with an error from the differences frame by
    frame, which is smaller than that of either.
    """

    train: Mean | None
    run: Mean | None
    rerun: Mean | None
    bias: Mean | None
    remark: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        means = {"train": self.train, "run": self.run, "rerun": self.rerun, "bias": self.bias}
        table = {
            name: None if mean is None else {"mean_GPa": mean.value, "error_GPa": mean.error}
            for name, mean in means.items()
        }
        return {**table, "remark": self.remark}


def pressure_table(run: RunRecord, errors: FrameErrors, end_ps: float | None = None) -> PressureTable:
    """Return the mean pressures of frames before ``end_ps``."""
    before = np.isfinite(errors.pressures).all(axis=1)
    if end_ps is not None:
        before &= errors.times_ps < end_ps
    known = errors.pressures[before]
    if len(known) < _FEWEST:
        return PressureTable(None, None, None, None, f"only {len(known)} frames have pressures by both")
    frames = [run.frames[k] for k in errors.frames[before].tolist()]
    volumes = np.array([snapshot.structure.volume / len(snapshot) for snapshot in frames])
    kelvin = np.array([snapshot.temperature or 0.0 for snapshot in frames])
    train, remark = _of_training(run.training, float(volumes.mean()), float(kelvin.mean()))
    return PressureTable(
        train, block_mean(known[:, 0]), block_mean(known[:, 1]), block_mean(known[:, 0] - known[:, 1]), remark
    )


def _of_training(training: Dataset | None, volume: float, kelvin: float) -> tuple[Mean | None, str]:
    if training is None:
        return None, "the training data are not at hand (--train names them)"
    labelled = [(s, labels.stress) for s, labels, _ in training if labels.stress is not None and s.pbc.all()]
    if not labelled:
        return None, "no training frame has a stress"
    near = [(s, stress) for s, stress in labelled if abs(s.volume / len(s) / volume - 1.0) <= _SAME_DENSITY]
    if len(near) < _FEWEST:
        few = f"only {len(near)} training frames with a stress have" if near else "no training frame with a stress has"
        return None, f"{few} the run's volume, to within 2 %"
    values = [virial_pressure_GPa(stress) + len(s) * kB * kelvin / s.volume / GPA for s, stress in near]
    return block_mean(values), f"{len(near)} training frames have the run's volume, to within 2 %"
