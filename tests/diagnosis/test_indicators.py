"""When a run broke and what spoke before: of runs that were made up, so that both are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from model_potentials import LennardJones

import forcewright as fw
from forcewright.diagnosis.frame_errors import frame_errors, pressure_table
from forcewright.diagnosis.indicators import Indicator, find_break, first_anomaly, indicators
from forcewright.diagnosis.novelty import TrainingEnvironments
from forcewright.diagnosis.run_record import RunRecord, evenly
from forcewright.force_field import ForceField
from forcewright.potential import Failure
from forcewright.simulation import Alarm, Monitors, Stage
from forcewright.structure import Labels, Structure
from forcewright.training_record import TrainingRecord
from forcewright.trajectory import Snapshot
from forcewright.units import GPA

NPT = Stage(ensemble="npt", temperature_K=40, time_ps=2, timestep_fs=2)
TIMES = np.arange(0, 2.0, 0.01)


def snapshot(time_ps: float, ratio: float = 1.0, closest: float | None = None) -> Snapshot:
    atoms = bulk("Ar", "fcc", a=5.3 * ratio ** (1 / 3), cubic=True) * 2
    rng = np.random.default_rng(int(1000 * time_ps))
    positions = atoms.positions + rng.normal(scale=0.02, size=(32, 3))
    if closest is not None:
        direction = positions[1] - positions[0]
        positions[1] = positions[0] + closest * direction / np.linalg.norm(direction)
    speeds = rng.normal(scale=1e-3, size=(32, 3))
    structure = Structure(atoms.numbers, positions, atoms.cell.array, atoms.pbc)
    return Snapshot(structure, round(500 * time_ps), 1000 * time_ps, speeds)


def record(volumes: np.ndarray[Any, Any], frames: list[Snapshot], alarm: Alarm | None = None) -> RunRecord:
    model: Any = LennardJones()
    model.provenance = {"training": TrainingRecord(10, 320, 6.0, {"Ar-Ar": 3.3}, (36.0, 38.0)).to_dict()}
    field = ForceField("model", model.calculator, "model", (18,), model)
    return RunRecord(
        Path("run"), field, (NPT,), ("1 npt",), tuple(frames), np.zeros(len(frames), dtype=np.int64),
        {"time_ps": TIMES[: len(volumes)], "volume_A3": volumes}, alarm,
    )  # fmt: skip


def usual(count: int = 200) -> np.ndarray[Any, Any]:
    return 32 * 37.2 * (1 + 0.03 * np.sin(np.arange(count) / 3.0))


def test_the_break_is_where_the_volume_leaves_that_of_equilibrium_by_half() -> None:
    volumes = usual()
    volumes[120:] *= 1 + 0.02 * np.arange(80)  # the start, which is what the monitor compares with, is beside the mean
    volumes[0] *= 1.2
    broke = find_break(record(volumes, [snapshot(0.0)]))
    assert broke is not None and broke.volume_A3 == pytest.approx(32 * 37.2, rel=0.01)
    beyond = np.flatnonzero(volumes > 1.5 * broke.volume_A3)[0]
    assert broke.time_ps == pytest.approx(TIMES[beyond]) and "times its mean in equilibrium" in broke.reason
    assert find_break(record(usual(), [snapshot(0.0)])) is None


def test_any_monitor_breaks_a_run_too_and_one_that_watched_nothing_is_looked_at_afterwards() -> None:
    alarm = Alarm("force_eV_per_A", "a large force", 500, 1.0, (3,))
    broke = find_break(record(usual(), [snapshot(0.0)], alarm))
    assert broke is not None and (broke.time_ps, broke.reason, broke.atoms) == (1.0, "a large force", (3,))
    unseen = find_break(record(usual(), [snapshot(0.0), snapshot(0.5), snapshot(0.7, closest=0.4)]))
    assert unseen is not None and unseen.time_ps == pytest.approx(0.7) and set(unseen.atoms) == {0, 1}


@pytest.mark.parametrize(
    ("monitor", "asked", "head"),
    [
        ("force_eV_per_A", {}, "the run broke at 1 ps"),
        ("force_eV_per_A", {"force_eV_per_A": 5}, "a monitor stopped the run at 1 ps"),
        ("force_eV_per_A", {"force_eV_per_A": 500}, "the run broke at 1 ps"),
        ("closest", {}, "the run broke at 1 ps"),
        ("closest", {"closest_A": {"Ar-Ar": 3.4}}, "a monitor stopped the run at 1 ps"),
        ("extrapolation_factor", {}, "a monitor stopped the run at 1 ps"),
        ("pair_distance", {}, "a monitor stopped the run at 1 ps"),
        ("engine", {}, "the run broke at 1 ps"),
    ],
)
def test_a_monitor_that_stops_a_run_on_request_breaks_nothing(monitor: str, asked: dict[str, Any], head: str) -> None:
    run = record(usual(), [snapshot(0.0)], Alarm(monitor, "it says so", 500, 1.0))
    broke = find_break(replace(run, monitors=Monitors(**asked)))
    assert str(broke) == f"{head}: it says so" and broke is not None
    assert broke.noun == ("stop" if "stopped" in head else "break")


def test_a_run_that_came_to_its_end_is_said_to_have() -> None:
    volumes = usual()
    volumes[150:] *= 1.6
    assert str(find_break(record(volumes, [snapshot(0.0)]))).startswith("the run came to its end, but broke at 1.5 ps")
    squeezed = replace(record(volumes, [snapshot(0.0)]), stages=(NPT.model_copy(update={"pressure_GPa": (0.0, 9.0)}),))
    assert find_break(squeezed) is None  # its volume was to change


def test_first_anomalies_are_timed_against_the_break() -> None:
    frames = [snapshot(t, closest=3.1 if t >= 1.0 else None) for t in np.arange(0, 1.6, 0.1).tolist()]
    volumes = usual()
    volumes[100:] *= 1.1
    run = record(volumes, frames, Alarm("finite", "it broke", 750, 1.5))
    by_name = {x.name: first_anomaly(x, 1.5, True) for x in indicators(run, None)}
    close = by_name["Ar–Ar distance"]
    assert close.time_ps == pytest.approx(1.0) and close.lead_ps == pytest.approx(0.5)
    assert close.value == pytest.approx(3.1 / 3.3) and close.atoms == (0, 1)
    for name in ("volume", "volume against training"):  # the mean grows by a tenth at 1 ps
        assert by_name[name].time_ps == pytest.approx(1.0, abs=0.08)
    assert by_name["mean force"].time_ps == pytest.approx(1.0)


def test_a_limit_that_usual_values_exceed_now_and_then_takes_several() -> None:
    values = np.full(50, 0.5)
    values[10] = 1.2  # once, as 1 % do
    values[30:] = 1.5
    times = np.arange(50) / 10
    once = Indicator("novelty", "", times, values, None, 1.0)
    several = Indicator("novelty", "", times, values, None, 1.0, looks=4)
    assert first_anomaly(once, 5.0, True).time_ps == pytest.approx(1.0)
    assert first_anomaly(several, 5.0, True).time_ps == pytest.approx(3.0)
    assert first_anomaly(several, 2.5, True).time_ps is None


def test_errors_by_atom_and_over_time_and_the_three_pressures() -> None:
    frames = [snapshot(t) for t in np.arange(0, 1.0, 0.05).tolist()]
    run = record(usual(), frames)
    labels: list[Labels | Failure] = []
    for k, predicted in enumerate(run.predictions):
        assert predicted.forces is not None and predicted.stress is not None
        forces = np.array(predicted.forces)
        forces[7, 1] -= 0.1 * k  # the potential's force on atom 7 is too large by that
        labels.append(Labels(predicted.energy - 0.32, forces, predicted.stress + 0.2 * GPA * np.eye(3)))
    labels[4] = Failure("no luck")
    training = fw.Dataset(tuple(fw.Frame(frames[0].structure, Labels(stress=np.eye(3) * 0.3 * GPA)) for _ in range(9)))
    run = RunRecord(run.folder, run.force_field, run.stages, run.names, run.frames, run.frame_stages, run.thermo,
                    training=training)  # fmt: skip
    errors = frame_errors(run, range(20), labels)
    assert errors.failures == {4: "no luck"} and 4 not in errors.frames
    np.testing.assert_allclose(errors.energy, 0.01)
    assert errors.largest[-1] == pytest.approx(1.9) and errors.worst_atom[-1] == 7
    worst = max(errors.atom_rows(frames[0].structure.numbers), key=lambda row: row["force_rmse_eV_per_A"])
    assert (worst["atom"], worst["element"]) == (7, "Ar") and worst["at_ps"] == pytest.approx(0.95)
    np.testing.assert_allclose(errors.pressure, 0.2)  # a stress that is larger by 0.2 GPa is a pressure that is smaller
    table = pressure_table(run, errors)
    assert table.bias is not None and table.bias.value == pytest.approx(0.2) and table.bias.error < 1e-9
    assert table.run is not None and table.rerun is not None and table.run.value > table.rerun.value
    kelvin = np.mean([frame.temperature for k, frame in enumerate(frames) if k != 4])
    expected = 32 * 8.617330337217213e-05 * kelvin / frames[0].structure.volume / GPA - 0.3
    assert table.train is not None and table.train.value == pytest.approx(expected)


def test_the_nearest_training_environment_is_found_with_file_and_frame() -> None:
    frames = [fw.Frame(snapshot(t).structure, Labels(), f"train.extxyz#{k}") for k, t in enumerate((0.1, 0.2, 0.3))]
    known = TrainingEnvironments(fw.Dataset(tuple(frames)))
    near = known.nearest(frames[2].structure, 11)
    assert near is not None and (near.file, near.frame, near.atom) == ("train.extxyz", 2, 11)
    assert near.distance < 1e-6
    novelty = known.novelty(snapshot(0.4, closest=2.5).structure)
    assert set(np.argsort(novelty)[-2:]) == {0, 1} and novelty.max() > 5 > np.median(novelty)
    mixed = Structure(np.array([2, 18]), np.array([[0.0, 0, 0], [3.8, 0, 0]]))
    assert known.nearest(mixed, 0) is None and np.isinf(known.novelty(mixed)[0])


def test_frames_are_spread_evenly() -> None:
    assert evenly(range(5), 9) == [0, 1, 2, 3, 4]
    assert evenly(range(101), 5) == [0, 25, 50, 75, 100]
