"""Atoms closer than in the training data: warned of, stopped for, with the moments before; and exact after a kill."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from model_potentials import Broken, LennardJones

import forcewright as fw
from forcewright.errors import InputError
from forcewright.fitting.training_record import record_of
from forcewright.simulation import DenseSettings, ForceField, Monitors, RunSettings, Stage, TrajectorySettings, run
from forcewright.structure import Structure
from forcewright.training_record import TrainingRecord, training_record_of
from forcewright.trajectory import Snapshot, snapshots

FILES = ("trajectory.extxyz", "thermo.csv", "final.extxyz", "distances.csv", "first_close.extxyz")
HOT = [Stage(ensemble="nvt", temperature_K=400, time_ps=0.4, timestep_fs=4)]


@dataclass
class Remembering(LennardJones):
    """Lennard-Jones argon that remembers how close atoms came in the data it was fitted to."""

    provenance: dict[str, Any] = field(default_factory=dict)


def remembering(shortest: float) -> ForceField:
    record = TrainingRecord(10, 320, 8.0, {"Ar-Ar": shortest})
    model = Remembering(provenance={"training": record.to_dict()})
    return ForceField("remembering", lambda: Remembering().calculator(), f"remembering {shortest}", (18,), model)  # type: ignore[arg-type]


def argon(seed: int = 0) -> Snapshot:
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * 2
    rng = np.random.default_rng(seed)
    speeds = rng.normal(scale=np.sqrt(400 * 8.617e-5 / 39.948) * 0.0982, size=(32, 3))
    return Snapshot(Structure.from_ase(atoms), velocities=speeds - speeds.mean(axis=0))


def settings(**monitors: Any) -> RunSettings:
    return RunSettings(
        trajectory=TrajectorySettings(every_fs=8, forces=True), checkpoint_every_steps=7,
        monitors=Monitors(every_fs=8, **monitors), dense_frames=DenseSettings(every_fs=4, count=5),
    )  # fmt: skip


def test_the_shortest_distances_of_a_run_are_written_and_warned_of(tmp_path: Path) -> None:
    result = run(remembering(3.2), argon(), HOT, tmp_path, settings=settings(), seed=1)
    assert result.completed and result.dense is None and not (tmp_path / "dense.extxyz").exists()
    with (tmp_path / "distances.csv").open() as file:
        rows = list(csv.DictReader(file))
    frames = {snapshot.step: snapshot.structure.to_ase() for snapshot in snapshots(result.trajectory)}
    below = 0
    for row in rows:
        distances = frames[int(row["step"])].get_all_distances(mic=True)  # ASE is the oracle
        shortest = float(distances[np.triu_indices(32, 1)].min())
        below += shortest < 3.2
        if row["Ar-Ar"]:
            assert float(row["Ar-Ar"]) == pytest.approx(shortest, rel=1e-7)
        else:
            assert shortest > 1.2 * 3.2
    assert 0 < below < len(rows) == len(frames)
    assert f"in {below} of {len(rows)} structures looked at" in result.notes[0]
    first = next(snapshots(tmp_path / "first_close.extxyz"))
    assert first.step == next(int(row["step"]) for row in rows if row["Ar-Ar"] and float(row["Ar-Ar"]) < 3.2)


def test_it_stops_with_the_moments_before_and_can_be_switched_off(tmp_path: Path) -> None:
    result = run(remembering(3.5), argon(), HOT, tmp_path / "stopped", settings=settings(pair_distance=0.9), seed=1)
    assert result.alarm is not None and result.alarm.monitor == "pair_distance"
    assert result.alarm.limit == pytest.approx(0.9 * 3.5) and len(result.alarm.atoms) == 2
    distances = result.final.structure.to_ase().get_all_distances(mic=True)
    assert result.alarm.distance == pytest.approx(distances[result.alarm.atoms], rel=1e-9)
    assert "times the shortest Ar–Ar distance of 3.500 Å in the training data" in result.reason
    assert result.dense == tmp_path / "stopped/dense.extxyz"
    dense = list(snapshots(result.dense))
    assert [s.step for s in dense] == list(range(result.steps - 4, result.steps + 1))
    every_second = {s.step: s for s in snapshots(result.trajectory)}
    for s in dense:
        if s.step in every_second:
            np.testing.assert_array_equal(s.structure.positions, every_second[s.step].structure.positions)
            np.testing.assert_array_equal(s.forces, every_second[s.step].forces)
    for off in ("warn", "off"):
        done = run(remembering(3.5), argon(), HOT, tmp_path / off, settings=settings(pair_distance=off), seed=1)
        assert done.completed and bool(done.notes) == (off == "warn")


def test_the_moments_before_an_error_of_the_forces_are_kept(tmp_path: Path) -> None:
    model = Broken(after=40, error="no such thing")
    field = ForceField("broken", model.calculator, "broken", (18,))
    result = run(field, argon(), HOT, tmp_path, settings=settings())
    assert result.alarm is not None and result.alarm.monitor == "engine" and result.dense is not None
    assert [s.step for s in snapshots(result.dense)][-1] == result.final.step


def test_an_interrupted_run_leaves_the_same_tables_and_moments(tmp_path: Path) -> None:
    def stopped_at(folder: Path, call: int | None, **options: Any) -> Any:
        calls = 0

        def interrupt(progress: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == call:
                raise KeyboardInterrupt

        return run(remembering(3.5), argon(), HOT, folder, settings=settings(pair_distance=0.9), seed=1,
                   on_progress=interrupt, **options)  # fmt: skip

    whole = stopped_at(tmp_path / "whole", None)
    names = (*FILES, "dense.extxyz")
    expected = {name: (tmp_path / "whole" / name).read_bytes() for name in names}
    assert whole.steps > 16  # the interrupts below come before its end, and after checkpoints
    for call in (1, 8, 9, 15):
        folder = tmp_path / f"stopped-{call}"
        with pytest.raises(KeyboardInterrupt):
            stopped_at(folder, call)
        again = stopped_at(folder, None)
        assert again.restarts == 1 and again.notes == whole.notes
        assert {name: (folder / name).read_bytes() for name in names} == expected


def test_a_record_is_read_back_and_damage_is_named() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(3):
        atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
        atoms.rattle(0.1, rng=rng)
        frames.append(atoms)
    record = record_of(fw.Dataset.from_ase(frames), 4.5)
    assert set(record.shortest_A) == {"Na-Na", "Na-Cl", "Cl-Cl"}
    nearest = min(
        float(np.sort(a.get_all_distances(mic=True)[a.numbers == 11][:, a.numbers == 17].ravel())[0]) for a in frames
    )
    assert record.shortest_A["Na-Cl"] == pytest.approx(nearest, rel=1e-12)
    assert record.volume_per_atom_A3 == pytest.approx((5.6**3 / 8,) * 2)
    assert TrainingRecord.from_dict(record.to_dict()) == record
    assert record.pairs() == {(11, 11): record.shortest_A["Na-Na"], (11, 17): record.shortest_A["Na-Cl"],
                              (17, 17): record.shortest_A["Cl-Cl"]}  # fmt: skip
    damaged = Remembering(provenance={"training": {**record.to_dict(), "shortest_A": {"Na": 1.0}}})
    with pytest.raises(InputError, match="training data is damaged .*'Na' is not a pair"):
        training_record_of(damaged)  # type: ignore[arg-type]
    assert training_record_of(LennardJones()) is None  # type: ignore[arg-type]
