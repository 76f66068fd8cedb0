"""Each monitor fires where it should, and not where it should not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from model_potentials import Broken, IdealGas, lennard_jones

from forcewright.errors import InputError
from forcewright.simulation import ForceField, Monitors, RunSettings, Stage, read_result, run
from forcewright.simulation.monitors import Watch
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot, snapshots

NVE = Stage(ensemble="nve", time_ps=1)
NVT = Stage(ensemble="nvt", temperature_K=300, time_ps=1)


def silicon(**changes: Any) -> Snapshot:
    """Silicon at 300 K, with everything a snapshot may have."""
    rng = np.random.default_rng(0)
    structure = Structure.from_ase(bulk("Si", cubic=True) * 2)
    velocities = rng.normal(scale=np.sqrt(300 * 8.617e-5 / 28.085) * 0.0982, size=(64, 3))
    forces = rng.normal(scale=1.0, size=(64, 3))
    return replace(Snapshot(structure, 100, 100.0, velocities, -300.0, forces, np.zeros((3, 3)), -298.0), **changes)


def moved(positions: dict[int, list[float]], cell: Any = None, pbc: Any = True) -> Snapshot:
    one = silicon().structure
    places = np.array(one.positions)
    for atom, place in positions.items():
        places[atom] = place
    flags = np.full(3, pbc)
    return silicon(structure=Structure(one.numbers, places, one.cell if cell is None else cell, flags))


def look(snapshot: Snapshot, stage: Stage = NVT, field: ForceField | None = None, **settings: Any) -> Any:
    watch = Watch(Monitors(**settings), field or lennard_jones())
    watch.begin(stage, silicon(step=0))
    return watch.look(stage, stage.temperature_at(1), snapshot)


CELL = silicon().structure.cell
SHEARED = CELL + np.outer([0, 3, 0], CELL[0])  # the same crystal
NAN_FORCES = np.where(np.arange(64)[:, None] == 7, np.nan, np.zeros((64, 3)))
CASES = [
    ("finite", moved({5: [np.nan, 0, 0]}), NVT, "the position of atom 5 (Si) is [nan, 0.0, 0.0] at step 100", (5,)),
    ("finite", silicon(forces=NAN_FORCES), NVT, "the force of atom 7 (Si) is [nan, nan, nan] at step 100", (7,)),
    ("finite", silicon(energy=np.inf), NVT, "the energy is inf", ()),
    ("force_eV_per_A", silicon(forces=np.eye(64, 3) * 150.0), NVT, "the force on atom 0 (Si) is 150 eV/Å, above 100", (0,)),
    ("temperature_factor", silicon(velocities=silicon().velocities * 4), NVT, "the temperature is", None),
    ("temperature_factor", silicon(velocities=silicon().velocities * 4), NVE, "the temperature is", None),
    ("closest_fraction", moved({1: [0.3, 0.4, 0.5]}), NVT,
     "atom 0 (Si) and atom 1 (Si) are 0.707 Å apart, closer than 1.110 Å at step 100 (0.1 ps)", (0, 1)),
    ("lost_A", moved({63: [40.0, 0, 0]}, pbc=False), NVT, "atom 63 (Si) has no other atom within 10 Å; it is lost", (63,)),
    ("volume_factor", moved({}, CELL * 1.2), NVT, "the volume is 1.728 times that at the start, above 1.5", ()),
    ("volume_factor", moved({}, CELL * 0.85), NVT, "the volume is 0.614 times that at the start, below 0.667", ()),
    ("thinning_factor", moved({}, SHEARED), NVT, "the cell is only 3.43 Å thin, where it was 10.9 Å", ()),
    ("energy_drift_eV_per_atom", silicon(conserved=-290.0), NVE, "the total energy has drifted by +0.125 eV/atom", ()),
]  # fmt: skip


@pytest.mark.parametrize(("monitor", "snapshot", "stage", "message", "atoms"), CASES)
def test_a_monitor_fires_says_what_it_saw_and_can_be_switched_off(
    monitor: str, snapshot: Snapshot, stage: Stage, message: str, atoms: tuple[int, ...] | None
) -> None:
    alarm = look(snapshot, stage)
    assert message in alarm.message
    assert monitor.startswith(alarm.monitor)
    assert alarm.step == 100 and alarm.time_ps == 0.1
    if atoms is not None:
        assert alarm.atoms == atoms
    off = {"closest_fraction": None, "finite": False}.get(monitor)
    everything = {name: None for name in ("force_eV_per_A", "temperature_factor", "lost_A", "volume_factor",
                                          "thinning_factor", "energy_drift_eV_per_atom")}  # fmt: skip
    kept = {name: value for name, value in everything.items() if name == monitor}
    if monitor == "volume_factor":
        kept["thinning_factor"] = None
    assert look(snapshot, stage, **kept, **({monitor: off} if monitor not in everything else {})) is None


@pytest.mark.parametrize("stage", [NVE, NVT])
def test_no_monitor_fires_in_a_usual_crystal(stage: Stage) -> None:
    assert look(silicon(), stage) is None
    assert look(moved({}, CELL * 1.1), stage) is None  # volume 1.33
    assert look(silicon(conserved=-296.0), stage) is None
    assert look(moved({}, pbc=False), stage) is None


def test_a_melt_at_5000_K_passes() -> None:
    hot = silicon(velocities=silicon().velocities * np.sqrt(5000 / 300) * 1.1)
    melt = Stage(ensemble="nvt", temperature_K=(300, 5000), time_ps=1)
    watch = Watch(Monitors(), lennard_jones())
    watch.begin(melt, silicon())
    assert watch.look(melt, 5000.0, hot) is None


def test_two_atoms_may_fluctuate_and_a_sudden_quench_is_no_spike() -> None:
    pair = Structure(np.full(2, 18), np.array([[0.0, 0, 0], [3.9, 0, 0]]))
    rng = np.random.default_rng(0)
    watch = Watch(Monitors(), lennard_jones())
    for _ in range(300):
        speeds = rng.normal(scale=np.sqrt(300 * 8.617e-5 / 39.948) * 0.0982, size=(2, 3))
        snapshot = Snapshot(pair, 1, 1.0, speeds - speeds.mean(axis=0))
        assert watch.look(NVT, 300.0, snapshot) is None
    hot = silicon(velocities=silicon().velocities * 4)
    watch.begin(NVT, hot)  # the stage before was at 5,000 K
    assert watch.look(NVT, 300.0, hot) is None


def test_distances_of_pairs_replace_the_fraction() -> None:
    assert look(silicon(), closest_A={"Si-Si": 2.3}) is None
    alarm = look(silicon(), closest_A={"Si-Si": 2.4})
    assert alarm.distance == pytest.approx(5.43 * np.sqrt(3) / 4)
    assert alarm.limit == pytest.approx(2.4)
    assert look(silicon(), closest_A={"O-H": 9.0}) is None
    with pytest.raises(InputError, match="'Si' is not a pair of elements such as Si-O"):
        look(silicon(), closest_A={"Si": 2.0})


class _Graded(IdealGas):
    knows_grades = True

    def with_active_set(self, structures: Any) -> Any:
        return self

    def extrapolation_grades(self, structure: Structure) -> np.ndarray:
        return np.where(np.arange(len(structure)) == 9, 6.5, 0.5)


def test_extrapolation_grades_are_watched_on_request() -> None:
    model = _Graded()
    graded = ForceField("graded", model.calculator, "graded", None, model)
    alarm = look(silicon(), field=graded, extrapolation_grade=5.0)
    assert alarm.message == "the extrapolation grade of atom 9 (Si) is 6.5, above 5 at step 100 (0.1 ps)"
    assert (alarm.atoms, alarm.value, alarm.limit) == ((9,), 6.5, 5.0)
    assert look(silicon(), field=graded, extrapolation_grade=10.0) is None
    assert look(silicon(), field=graded) is None
    with pytest.raises(InputError, match="Lennard-Jones has no extrapolation grades"):
        look(silicon(), extrapolation_grade=5.0)


@pytest.mark.parametrize(
    ("broken", "stage", "monitor"),
    [
        ({"force": np.nan}, {"ensemble": "nvt", "temperature_K": 40}, "finite"),
        ({"force": 500.0}, {"ensemble": "nvt", "temperature_K": 40}, "force_eV_per_A"),
        ({"force": 0.0, "energy": 5.0}, {"ensemble": "nve"}, "energy_drift_eV_per_atom"),
        ({"error": "no such thing"}, {"ensemble": "nvt", "temperature_K": 40}, "engine"),
    ],
)
def test_a_run_that_is_stopped_ends_in_order(
    broken: dict[str, Any], stage: dict[str, Any], monitor: str, tmp_path: Path
) -> None:
    model = Broken(after=42, **broken)
    field = ForceField("broken", model.calculator, "broken", (18,))
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * 2
    start = Snapshot(Structure.from_ase(atoms), velocities=np.zeros((32, 3)))
    stages = [Stage(**stage, time_ps=0.5, timestep_fs=2)]
    result = run(field, start, stages, tmp_path, settings=RunSettings(monitors=Monitors(every_fs=4)))
    assert not result.completed
    assert result.alarm is not None and result.alarm.monitor == monitor
    assert result.reason == result.alarm.message
    assert result.stages[0].done == result.alarm.step < result.stages[0].steps
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["alarm"]["monitor"] == monitor and not written["completed"]
    last = list(snapshots(tmp_path / "trajectory.extxyz"))[-1]
    assert last.step == result.alarm.step
    rows = (tmp_path / "thermo.csv").read_text().splitlines()
    assert rows[-1].startswith(f"{result.alarm.step},")
    again, _ = read_result(tmp_path)
    assert again.alarm is not None and again.alarm.message == result.alarm.message
