"""The driver: runs the stages, writes the files, checks the monitors, and continues after a kill."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
from ase import Atoms

from forcewright.errors import ForcewrightError, InputError
from forcewright.files import only_writer, sweep
from forcewright.force_field import ForceField
from forcewright.simulation import thermo
from forcewright.simulation.checkpoint import Checkpoint, check_identity, identity
from forcewright.simulation.dense_frames import FILE as DENSE
from forcewright.simulation.dense_frames import DenseFrames
from forcewright.simulation.distance_watch import FIRST as FIRST_CLOSE
from forcewright.simulation.distance_watch import TABLE as DISTANCES
from forcewright.simulation.distance_watch import DistanceWatch, distance_watch
from forcewright.simulation.engine import Engine
from forcewright.simulation.extrapolation_watch import FIRST, SELDOM, TABLE, ExtrapolationWatch, extrapolation_watch
from forcewright.simulation.monitors import Alarm, References, Watch
from forcewright.simulation.protocol_checks import check_protocol
from forcewright.simulation.result import SimulationResult, StageRecord, read_result, write_result
from forcewright.simulation.settings import Intervals, RunSettings
from forcewright.simulation.stages import Stage
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot, Writer, open_writer, snapshots
from forcewright.trajectory.extxyz import open_at, sync
from forcewright.trajectory.writing import remove_remains
from forcewright.uncertainty import Uncertainty

#: Module and class of each engine; all are constructed from (force_field, start, seed).
ENGINES = {
    "ase": ("forcewright.simulation.ase_engine", "AseEngine"),
    "lammps": ("forcewright.simulation.lammps_engine", "LammpsEngine"),
}

#: Monitors whose alarms tell more than that atoms are closer than in the training data.
_CAUSES = ("finite", "closest")

#: What a force field or an integrator raises where the simulation has become unphysical.
_FAILURES = (ForcewrightError, ArithmeticError, ValueError, np.linalg.LinAlgError)

_FILES = ("result.json", "checkpoint.npz", "thermo.csv", "final.extxyz", "trajectory.extxyz", "trajectory.h5",
          "trajectory.h5.part", TABLE, FIRST, DISTANCES, FIRST_CLOSE, DENSE)  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """How far a run has come; ``seconds_left`` is None until it is known."""

    stage: str
    step: int
    steps: int
    temperature: float | None
    seconds_left: float | None


def run(
    force_field: ForceField, start: Snapshot | Structure | Atoms, stages: Sequence[Stage], folder: str | Path, *,
    engine: str = "ase", seed: int = 0, settings: RunSettings | None = None,
    on_progress: Callable[[Progress], None] | None = None, fresh: bool = False,
    uncertainty: Uncertainty | None = None,
) -> SimulationResult:  # fmt: skip
    """Run the stages one after another and write everything to ``folder``.

    The same call continues a run whose process was killed, and ends with the files of an uninterrupted run, to the last
    byte with the engine "ase"; a finished run is not repeated, its result is returned. A keyboard interrupt is raised,
    and the same call continues such a run, too.

    Parameters
    ----------
    start
        Its velocities are kept, without the motion of the center of mass.
    fresh
        Whether to remove an earlier run in ``folder``.
    uncertainty
        What tells how far structures are outside, in place of what the potential knows; with a calibration.

    Raises
    ------
    InputError
        If the protocol is invalid, the force field does not know an element, or the folder holds another run or is in
        use.
    """
    settings = settings or RunSettings()
    start = next(snapshots([start]))
    check_protocol(stages, start, settings, engine)
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}; allowed are {', '.join(ENGINES)}", field="engine")
    current = identity(force_field, start, stages, engine, seed, settings)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder):
        sweep(folder)
        if fresh:
            for name in _FILES:  # first the one that marks a run as finished
                (folder / name).unlink(missing_ok=True)
        if (folder / "result.json").exists():
            result, content = read_result(folder)
            check_identity(current, content.get("identity", {}), folder)
            _tidy(result)
            return result
        checkpoint = _checkpoint(folder, current)
        module, name = ENGINES[engine]
        moving: Engine = getattr(importlib.import_module(module), name)(force_field, start, seed)
        about = {
            "engine": engine, "seed": seed, "potential": force_field.name, "potential_hash": force_field.content_hash,
            "structure_hash": start.structure.content_hash, "identity": current,
        }  # fmt: skip
        try:
            return _Run(moving, force_field, start, stages, folder, settings, about, on_progress, uncertainty).go(
                checkpoint
            )
        finally:
            moving.close()


def _tidy(result: SimulationResult) -> None:
    """Remove what a finished run no longer needs."""
    remove_remains(result.trajectory)
    (result.folder / "checkpoint.npz").unlink(missing_ok=True)


def _checkpoint(folder: Path, current: dict[str, str]) -> Checkpoint | None:
    path = folder / "checkpoint.npz"
    if path.exists():
        checkpoint = Checkpoint.load(path)
        check_identity(current, checkpoint.identity, folder)
        return checkpoint
    present = [name for name in _FILES if (folder / name).exists()]
    if present:
        problem = f"holds {', '.join(present)} of something else; choose another output, or remove them with --fresh"
        raise InputError(problem, file=folder)
    return None


class _Run:
    """One run, from its start or a checkpoint to its end."""

    def __init__(
        self, engine: Engine, force_field: ForceField, start: Snapshot, stages: Sequence[Stage], folder: Path,
        settings: RunSettings, about: dict[str, Any], on_progress: Callable[[Progress], None] | None,
        uncertainty: Uncertainty | None,
    ) -> None:  # fmt: skip
        self.engine, self.stages, self.folder, self.settings, self.about = engine, stages, folder, settings, about
        self.names = [stage.name or f"{index + 1} {stage.ensemble}" for index, stage in enumerate(stages)]
        monitors = settings.monitors
        self.watch = Watch(monitors, force_field)
        self.distances = distance_watch(force_field, start.structure, monitors.pair_distance, folder)
        self.extrapolation = extrapolation_watch(
            force_field, monitors.extrapolation_factor, folder, uncertainty or monitors.uncertainty
        )
        self.tables: dict[str, IO[bytes]] = {}  # of the two above, by name
        self.dense = DenseFrames(settings.dense_frames.count, len(start))
        self.on_progress = on_progress
        self.notes: list[str] = []
        self.stage, self.stage_step = 0, 0
        self.earlier = (0.0, 0.0)  # wall and CPU time of earlier processes
        self.restarts = 0
        self.clock = _Clock()
        self.last: Snapshot | None = None
        self.trajectory_path = folder / f"trajectory.{settings.trajectory.format}"
        self.thermo_path = folder / "thermo.csv"
        self.trajectory: Writer | None = None
        self.thermo: IO[bytes] | None = None

    def go(self, checkpoint: Checkpoint | None) -> SimulationResult:
        """Run to the end, and close all files however it ends."""
        if checkpoint is None:
            self._begin(0)  # its checkpoint is written before any other file
        else:
            self._resume(checkpoint)
        lengths = (0, 0) if checkpoint is None else (checkpoint.trajectory_bytes, checkpoint.thermo_bytes)
        self.clock = _Clock()
        with ExitStack() as opened:
            self.thermo = opened.enter_context(open_at(self.thermo_path, lengths[1]))
            forces = self.settings.trajectory.forces
            self.trajectory = open_writer(self.trajectory_path, forces=forces, offset=lengths[0])
            opened.callback(self.trajectory.close)
            of_tables = {} if checkpoint is None else checkpoint.table_bytes
            for watch in self._watches():
                file = opened.enter_context(open_at(self.folder / watch.table, of_tables.get(watch.table, 0)))
                self.tables[watch.table] = file
                watch.open(file)
            try:
                if self.stage == 0 and self.stage_step == 0:
                    self.thermo.write(thermo.HEADER.encode())
                    self._record(row=True, frame=True, look=True, extrapolation=True)
                for index in range(self.stage, len(self.stages)):
                    if index > self.stage:
                        self._begin(index)
                    self._run_stage()
            except _Stopped as stopped:
                return self._finish(stopped.alarm)
            return self._finish(None)

    def _watches(self) -> list[DistanceWatch | ExtrapolationWatch]:
        return [watch for watch in (self.distances, self.extrapolation) if watch is not None]

    def _begin(self, index: int) -> None:
        stage = self.stages[index]
        self.engine.begin(stage)
        self.watch.begin(stage, self.engine.snapshot())
        self.stage, self.stage_step = index, 0
        self._save_checkpoint()

    def _resume(self, checkpoint: Checkpoint) -> None:
        self.stage, self.stage_step = checkpoint.stage, checkpoint.stage_step
        self.watch.references = References(**checkpoint.references)
        self.notes, self.restarts = list(checkpoint.notes), checkpoint.restarts + 1
        self.earlier = (checkpoint.wall_s, checkpoint.cpu_s)
        self.engine.restore(self.stages[self.stage], checkpoint.state)
        self.last = self.engine.snapshot()
        self.dense.restore(checkpoint.state, self.last)

    def _run_stage(self) -> None:
        stage = self.stages[self.stage]
        if stage.ensemble == "relax":
            self._relax(stage)
            return
        due = self._intervals()
        while self.stage_step < stage.steps:
            steps = min(due.until_next(self.stage_step), stage.steps - self.stage_step)
            with self._alarmed(steps):
                self.engine.advance(steps)
            self.stage_step += steps
            at, last = self.stage_step, self.stage_step == stage.steps
            self._record(
                at % due.thermo == 0 or last, due.frame_due(at), at % due.monitors == 0 or last,
                at % (SELDOM * due.monitors) == 0 or last, bool(due.dense and at % due.dense == 0),
            )  # fmt: skip
            if at % due.checkpoint == 0 and not last:
                self._save_checkpoint()
            self._report_progress()

    def _intervals(self) -> Intervals:
        """Return the intervals of the present stage."""
        return self.settings.intervals(self.stages[self.stage], *self.stages[: self.stage])

    def _relax(self, stage: Stage) -> None:
        """Relax in one go; after a kill it starts again."""
        with self._alarmed(stage.max_steps):
            self.engine.advance(stage.max_steps)
            end = self.engine.snapshot()
            forces = np.zeros((1, 3)) if end.forces is None else end.forces
            if end.fixed is not None:
                forces = np.where(end.fixed, 0.0, forces)
            left = thermo.residual_force(forces, end.stress, end.structure.volume, stage)
        if left > stage.fmax_eV_per_A:
            self.notes.append(
                f"stage {self.names[self.stage]!r} did not converge in {stage.max_steps} steps: {left:.3g} eV/Å are "
                f"left where {stage.fmax_eV_per_A:g} are allowed"
            )
        self._record(row=True, frame=True, look=True, extrapolation=True)

    @contextmanager
    def _alarmed(self, steps: int) -> Iterator[None]:
        """Turn errors of the force field or the integrator into an alarm."""
        try:
            yield
        except _FAILURES as error:
            step, time_ps = (self.last.step or 0, (self.last.time or 0.0) / 1000.0) if self.last else (0, 0.0)
            text = str(error) if isinstance(error, ForcewrightError) else f"{type(error).__name__}: {error}"
            message = f"the forces failed within {steps} steps after step {step} ({time_ps:g} ps): {text}"
            due, at = self._intervals(), self.stage_step
            if self.last is not None:  # the last good snapshot, unless it is written anyway
                self._write(self.last, at % due.thermo != 0, not due.frame_due(at))
                self.dense.add(self.last, self.names[self.stage])
            raise _Stopped(Alarm("engine", message, step, time_ps)) from None

    def _record(self, row: bool, frame: bool, look: bool, extrapolation: bool, dense: bool = True) -> None:
        """Write a row and a frame if they are due, and both if a monitor stops the run."""
        if not (row or frame or look or dense):
            return
        with self._alarmed(0):
            snapshot = self.engine.snapshot()
        self.last, stage = snapshot, self.stages[self.stage]
        alarm = self.watch.look(stage, stage.temperature_at(self.stage_step), snapshot) if look else None
        if self.distances is not None and look:
            close = self.distances.look(snapshot)
            alarm = close if alarm is None or (close and alarm.monitor not in _CAUSES) else alarm
        if self.extrapolation is not None and (extrapolation or alarm is not None):
            far = self.extrapolation.look(snapshot)
            alarm = far if alarm is None else alarm
        self._write(snapshot, row or alarm is not None, frame or alarm is not None)
        if self.settings.dense_frames.count and (dense or alarm is not None):
            self.dense.add(snapshot, self.names[self.stage])
        if alarm is not None:
            raise _Stopped(alarm)

    def _write(self, snapshot: Snapshot, row: bool, frame: bool) -> None:
        assert self.thermo is not None and self.trajectory is not None
        name = self.names[self.stage]
        if row:
            self.thermo.write(thermo.row(snapshot, self.stages[self.stage], self.stage_step, name).encode())
        if frame:
            self.trajectory.write(snapshot, name)

    def _save_checkpoint(self) -> None:
        """Sync files to disk, then write the checkpoint with their lengths."""
        lengths = (0, 0)
        if self.trajectory is not None and self.thermo is not None:
            lengths = (self.trajectory.sync(), sync(self.thermo))
        tables = {name: sync(file) for name, file in self.tables.items()}
        wall, cpu = self._times()
        Checkpoint(
            self.about["identity"], self.stage, self.stage_step, *lengths, asdict(self.watch.references), self.notes,
            wall, cpu, self.restarts, {**self.engine.state(), **self.dense.state()}, tables.get(TABLE, 0),
            tables.get(DISTANCES, 0),
        ).save(self.folder / "checkpoint.npz")  # fmt: skip
        self.last = self.engine.snapshot()

    def _times(self) -> tuple[float, float]:
        wall, cpu = self.clock.passed()
        return self.earlier[0] + wall, self.earlier[1] + cpu

    def _report_progress(self) -> None:
        if self.on_progress is None:
            return
        done = sum(stage.steps for stage in self.stages[: self.stage]) + self.stage_step
        steps = sum(stage.steps for stage in self.stages)
        left = self.clock.left(done, steps)
        temperature = None if self.last is None else self.last.temperature
        self.on_progress(Progress(self.names[self.stage], done, steps, temperature, left))

    def _finish(self, alarm: Alarm | None) -> SimulationResult:
        """Sync everything to disk; result.json last, which marks the run as finished."""
        assert self.thermo is not None and self.trajectory is not None and self.last is not None
        sync(self.thermo)
        self.trajectory.sync()
        for file in self.tables.values():
            sync(file)
        self.notes += [note for watch in self._watches() if (note := watch.note())]
        dense = None if alarm is None or not self.settings.dense_frames.count else self.dense.write(self.folder)
        trajectory, final = self.trajectory.finish(), self.last
        result = SimulationResult(
            self.folder, alarm is None, "all stages done" if alarm is None else alarm.message, alarm, tuple(self.notes),
            tuple(self._stage_records(alarm is None)), final.step or 0, (final.time or 0.0) / 1000.0, *self._times(),
            self.restarts, final, trajectory, self.thermo_path, dense,
        )  # fmt: skip
        write_result(result, self.about)
        _tidy(result)
        return result

    def _stage_records(self, completed: bool) -> Iterator[StageRecord]:
        for index, (name, stage) in enumerate(zip(self.names, self.stages, strict=True)):
            done = stage.steps if completed or index < self.stage else 0
            if not completed and index == self.stage:
                done = self.stage_step
            yield StageRecord(name, stage.ensemble, stage.steps, done)


class _Stopped(Exception):
    """The run ends before its last stage is done."""

    def __init__(self, alarm: Alarm) -> None:
        super().__init__(alarm.message)
        self.alarm = alarm


def _cpu_seconds() -> float:
    """Return the CPU time of this process and its children, running ones (LAMMPS) included."""
    running = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            running += sum(child.cpu_times()[:2])
    return sum(os.times()[:4]) + running


class _Clock:
    """Wall and CPU time since it was made, children included, and an estimate of the time left."""

    def __init__(self) -> None:
        self._start = (time.perf_counter(), _cpu_seconds())
        self._first: int | None = None

    def passed(self) -> tuple[float, float]:
        return time.perf_counter() - self._start[0], _cpu_seconds() - self._start[1]

    def left(self, done: int, steps: int) -> float | None:
        """Return the seconds left at the pace of this process."""
        if self._first is None:
            self._first, self._start_of_pace = done, time.perf_counter()
            return None
        made = done - self._first
        return (time.perf_counter() - self._start_of_pace) / made * (steps - done) if made else None
