"""Atoms that a structure holds fixed stay where they are, and the others have the right temperature."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixScaled

import forcewright as fw
from forcewright.errors import InputError
from forcewright.force_field import ForceField
from forcewright.simulation import run
from forcewright.simulation.stages import Stage
from forcewright.trajectory import read_thermo, snapshots

HELD = np.arange(32) % 2 == 0


@pytest.fixture
def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.set_constraint(FixAtoms(mask=HELD))
    return atoms


@pytest.mark.parametrize("name", ["POSCAR", "a.extxyz", "a.traj"])
def test_constraints_are_read_from_files(name: str, crystal: Atoms, tmp_path: Path) -> None:
    ase.io.write(tmp_path / name, crystal)
    (snapshot,) = snapshots(tmp_path / name)
    assert snapshot.fixed is not None
    np.testing.assert_array_equal(snapshot.fixed.all(axis=1).sum(), 16)
    np.testing.assert_array_equal(snapshot.fixed.any(axis=1), snapshot.fixed.all(axis=1))


@pytest.mark.parametrize("thermostat", ["langevin", "nose-hoover", "bussi", None])
def test_they_are_held_and_the_others_move(thermostat: str | None, crystal: Atoms, tmp_path: Path) -> None:
    stage = {"ensemble": "nvt", "temperature_K": 300, "time_ps": 1.2, "timestep_fs": 5, "thermostat_time_fs": 30}
    stages = [Stage(**stage, thermostat=thermostat)] if thermostat else [Stage(ensemble="relax")]
    start = crystal.copy()
    if thermostat is None:
        start.set_constraint()
        start.rattle(0.05, seed=1)
        start.set_constraint(crystal.constraints)
    result = run(ForceField("EMT", EMT, "emt"), start, stages, tmp_path / "run")
    frames = list(snapshots(tmp_path / "run/trajectory.extxyz"))
    moved = np.abs(frames[-1].structure.positions - start.positions).max(axis=1)
    assert (moved[HELD] < 1e-12).all()
    assert (moved[~HELD] > 1e-3).all()
    assert frames[-1].fixed is not None  # whoever goes on from there holds them as well
    if thermostat is None:
        assert not any("did not converge" in note for note in result.notes)
    else:
        later = read_thermo(tmp_path / "run/thermo.csv")["temperature_K"][50:]
        assert np.mean(later) == pytest.approx(300, abs=60)  # of 48 degrees of freedom, which spread by 61 K


@pytest.mark.parametrize(("stage", "engine", "words"), [
    ({"ensemble": "npt", "temperature_K": 300, "time_ps": 0.1, "pressure_GPa": 0}, "ase", "16 atoms are fixed"),
    ({"ensemble": "nvt", "temperature_K": 300, "time_ps": 0.1}, "lammps", "16 atoms are fixed"),
])  # fmt: skip
def test_what_would_not_hold_them_is_refused(
    stage: dict[str, object], engine: str, words: str, crystal: Atoms, tmp_path: Path
) -> None:
    config = {"potential": {"ase": "ase.calculators.emt:EMT"}, "structure": crystal, "engine": engine,
              "stages": [stage], "output": str(tmp_path / "run")}  # fmt: skip
    with pytest.raises(InputError, match=words):
        fw.simulate(config)
    crystal.set_constraint(FixScaled([0], [True, False, False]))
    with pytest.raises(InputError, match="some directions only"):
        fw.simulate({**config, "engine": "ase"})
