"""The driver: files, intervals, results, and protocols that make no sense."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from model_potentials import lennard_jones
from pydantic import ValidationError

from forcewright.errors import InputError
from forcewright.simulation import Progress, RunSettings, Stage, TrajectorySettings, run
from forcewright.trajectory import snapshots

ARGON = bulk("Ar", "fcc", a=5.3, cubic=True) * 2
NPT = Stage(name="heat, slowly", ensemble="npt", temperature_K=(40, 60), pressure_GPa=(0, 0.1), time_ps=0.1,
            timestep_fs=4)  # fmt: skip
SETTINGS = RunSettings(trajectory=TrajectorySettings(every_fs=41, forces=True), thermo_every_fs=20)


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "thermo.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_of_a_run(tmp_path: Path) -> None:
    stages = [NPT, Stage(ensemble="nve", time_ps=0.05, timestep_fs=5), Stage(ensemble="relax")]
    seen: list[Progress] = []
    result = run(lennard_jones(), ARGON, stages, tmp_path, settings=SETTINGS, on_progress=seen.append)
    table = rows(tmp_path)
    steps = [int(row["step"]) for row in table]
    assert steps == [0, 5, 10, 15, 20, 25, 29, 33, 35, 35]  # each 20 fs of a stage, and its end
    assert [float(row["time_ps"]) for row in table[-3:]] == [0.14, 0.15, 0.15]
    assert [row["stage"] for row in table[5:7]] == ["heat  slowly", "2 nve"]
    assert [float(row["target_temperature_K"]) for row in table[:6]] == [40, 44, 48, 52, 56, 60]
    assert float(table[5]["target_pressure_GPa"]) == 0.1 and table[6]["target_pressure_GPa"] == ""
    assert table[0]["conserved_eV"] == "" and float(table[6]["conserved_eV"]) == float(table[6]["total_eV"])
    frames = list(snapshots(tmp_path / "trajectory.extxyz"))
    assert [frame.step for frame in frames] == [0, 10, 20, 29, 35]  # 41 fs are 10 steps of 4 fs and 8 of 5 fs
    assert [frame.time for frame in frames] == [0.0, 40.0, 80.0, 120.0, 150.0]  # equally spaced, then the relaxed one
    by_step = {int(row["step"]): row for row in table}
    for frame in frames[:4]:
        row = by_step[frame.step or 0]
        assert frame.temperature == pytest.approx(float(row["temperature_K"]), rel=1e-9)
        assert frame.energy == pytest.approx(float(row["potential_eV"]), rel=1e-9)
        assert frame.pressure == pytest.approx(float(row["pressure_GPa"]) * 0.0062415091, rel=1e-6)
        assert float(row["max_force_eV_per_A"]) == pytest.approx(np.linalg.norm(frame.forces, axis=1).max())
        volume = frame.structure.volume
        assert float(row["density_g_cm3"]) == pytest.approx(32 * 39.948 / 0.602214076 / volume, rel=1e-6)
    assert result.completed and result.steps == 35 and result.time_ps == 0.15
    content = json.loads((tmp_path / "result.json").read_text())
    assert [stage["done"] for stage in content["stages"]] == [25, 10, 0]
    assert content["reason"] == "all stages done" and content["steps_per_s"] > 0 and content["alarm"] is None
    assert (seen[-1].step, seen[-1].steps) == (35, 35)
    assert seen[-1].seconds_left == 0.0


def test_the_final_structure_starts_another_run(tmp_path: Path) -> None:
    first = run(lennard_jones(), ARGON, [NPT], tmp_path / "a")
    again = ase.io.read(tmp_path / "a/final.extxyz")
    assert again.get_kinetic_energy() == pytest.approx(first.final.kinetic_energy, rel=1e-12)
    stage = Stage(ensemble="nve", time_ps=0.1, timestep_fs=4)
    second = run(lennard_jones(), again, [stage], tmp_path / "b", settings=SETTINGS)
    assert float(rows(tmp_path / "b")[0]["temperature_K"]) == pytest.approx(first.final.temperature, rel=1e-9)
    assert second.completed


def test_h5_holds_what_extxyz_holds(tmp_path: Path) -> None:
    for kind in ("extxyz", "h5"):
        settings = RunSettings(trajectory=TrajectorySettings(every_fs=20, format=kind, forces=True))
        run(lennard_jones(), ARGON, [NPT], tmp_path / kind, settings=settings)
    pairs = zip(snapshots(tmp_path / "extxyz/trajectory.extxyz"), snapshots(tmp_path / "h5/trajectory.h5"), strict=True)
    for one, other in pairs:
        assert (one.step, one.time, one.energy) == (other.step, other.time, other.energy)
        np.testing.assert_array_equal(one.structure.positions, other.structure.positions)
        np.testing.assert_allclose(one.velocities, other.velocities, rtol=1e-14)
        np.testing.assert_array_equal(one.stress, other.stress)
    assert (tmp_path / "extxyz/thermo.csv").read_bytes() == (tmp_path / "h5/thermo.csv").read_bytes()


def test_the_same_seed_gives_the_same_run_and_another_one_another(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(lennard_jones(), ARGON, [NPT], tmp_path / name, seed=seed)
    first, second, third = ((tmp_path / name / "thermo.csv").read_bytes() for name in "abc")
    assert first == second != third


def test_a_relaxation_that_does_not_converge_is_noted(tmp_path: Path) -> None:
    start = ARGON.copy()
    start.rattle(0.3, seed=0)
    result = run(lennard_jones(), start, [Stage(ensemble="relax", max_steps=2)], tmp_path)
    assert result.completed
    assert "stage '1 relax' did not converge in 2 steps" in result.notes[0]


NVT = {"ensemble": "nvt", "temperature_K": 40, "time_ps": 1}
CLUSTER = Atoms("Ar2", positions=[[0, 0, 0], [4, 0, 0]])


@pytest.mark.parametrize(
    ("start", "stages", "settings", "message"),
    [
        (ARGON, [], {}, "there is nothing to do; give at least one stage"),
        (CLUSTER, [{**NVT, "ensemble": "npt"}], {}, r"stages\[0\]'?: npt at a pressure needs .* periodic in all"),
        (CLUSTER, [{"ensemble": "relax", "pressure_GPa": 0}], {}, "relax at a pressure needs"),
        (ARGON, [{"ensemble": "nve", "time_ps": 1}], {}, "there are no velocities; put an nvt stage before it"),
        (ARGON, [NVT, {"ensemble": "relax"}, {"ensemble": "nve", "time_ps": 1}], {}, r"stages\[2\]"),
        (ARGON, [NVT], {"trajectory": {"every_fs": 2000}}, "is 2000, but the whole run lasts 1000 fs"),
        (ARGON, [{**NVT, "thermostat_time_fs": 1}], {}, "thermostat_time_fs is 1, hardly more than a step"),
        (Atoms("H2", positions=[[0, 0, 0], [0.7, 0, 0]]), [{**NVT, "timestep_fs": 5}], {}, "too long for atoms of 1.01 u"),
        (Atoms("Ar", cell=[1, 20, 20], pbc=True), [NVT], {}, "has a cell only 1 Å thin"),
        (Atoms("Ar", cell=[1, 1, 0], pbc=True), [NVT], {}, "its cell has no volume"),
        (Atoms("Ar", positions=[[np.nan, 0, 0]]), [NVT], {}, "positions or a cell that are not finite"),
        (Atoms("ArXe", positions=np.eye(3)[:2] * 4), [NVT], {}, "holds Xe, but Lennard-Jones knows only Ar"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_a_sentence(
    start: Atoms, stages: list[dict[str, Any]], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        run(lennard_jones(), start, [Stage(**stage) for stage in stages], tmp_path / "run",
            settings=RunSettings(**settings))  # fmt: skip
    left = list((tmp_path / "run").glob("[!.]*")) if (tmp_path / "run").exists() else []
    assert left == []


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown engine 'vasp'; allowed are ase, lammps"):
        run(lennard_jones(), ARGON, [NPT], tmp_path, engine="vasp")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({**NVT, "timestep_fs": 100}, "timestep_fs is 100, which no atom can follow"),
        ({**NVT, "temperature_K": -5}, "temperature_K is -5; it must be above 0 K"),
        ({**NVT, "temperature_K": (300, 0)}, "temperature_K is 0"),
        ({**NVT, "temperature_K": -5, "thermostat": "langevin"}, "temperature_K is -5"),
        ({**NVT, "time_ps": 0.0004}, "time_ps is 0.0004, less than one step of 1 fs"),
        ({"ensemble": "nvt", "time_ps": 1}, "an nvt stage needs temperature_K"),
        ({**NVT, "cell": "thin"}, "isotropic"),
    ],
)
def test_stages_that_make_no_sense_are_refused(stage: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Stage(**stage)
