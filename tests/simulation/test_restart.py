"""A run that was killed anywhere ends with the files of one that was not, to the last byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import restart_program
from ase.build import bulk
from model_potentials import lennard_jones

from forcewright.errors import InputError
from forcewright.simulation import RunSettings, Stage, TrajectorySettings, run
from forcewright.trajectory import snapshots

FILES = ("trajectory.extxyz", "thermo.csv", "final.extxyz")
SHORT = [
    Stage(ensemble="npt", temperature_K=(40, 60), time_ps=0.08, timestep_fs=4),
    Stage(ensemble="relax"),
    Stage(ensemble="nvt", thermostat="langevin", temperature_K=60, time_ps=0.04, timestep_fs=4),
]


class Killed(BaseException):
    """Stands for a kill within this process."""


def contents(folder: Path, files: tuple[str, ...] = FILES) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """The files of protocols that nobody disturbed, made in a process of their own."""
    made: dict[str, dict[str, bytes]] = {}

    def files(protocol: str) -> dict[str, bytes]:
        if protocol not in made:
            folder = tmp_path_factory.mktemp("undisturbed") / "run"
            subprocess.run([sys.executable, restart_program.__file__, str(folder), protocol], check=True)
            made[protocol] = contents(folder)
        return made[protocol]

    return files


def kill_at_random(folder: Path, protocol: str, rng: np.random.Generator) -> bool:
    """Start the program, kill it within a second of its work; whether it was killed before its end."""
    process = subprocess.Popen(
        [sys.executable, restart_program.__file__, str(folder), protocol], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(rng.uniform(0.0, 0.6))
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    return process.wait() == -signal.SIGKILL


def check_kills(protocol: str, kills: int, folder: Path, expected: dict[str, bytes], seed: int) -> None:
    rng, done, number = np.random.default_rng(seed), 0, 0
    while done < kills:
        current = folder / str(number)
        done += kill_at_random(current, protocol, rng)
        if (current / "result.json").exists():  # it ended between kills
            assert contents(current) == expected
            number += 1
    restart_program.main(folder / str(number), protocol)
    assert contents(folder / str(number)) == expected


@pytest.mark.parametrize("protocol", ["langevin", "ramp"])
def test_a_killed_run_ends_with_the_same_bytes(
    protocol: str, tmp_path: Path, undisturbed: Callable[[str], dict[str, bytes]]
) -> None:
    check_kills(protocol, 2, tmp_path, undisturbed(protocol), 1)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", list(restart_program.PROTOCOLS))
def test_five_kills_of_each_ensemble_leave_no_trace(
    protocol: str, tmp_path: Path, undisturbed: Callable[[str], dict[str, bytes]]
) -> None:
    check_kills(protocol, 5, tmp_path, undisturbed(protocol), 2)


@pytest.mark.slow
def test_kills_leave_no_trace_with_a_potential_of_ours(
    shared_data: Path, tmp_path: Path, undisturbed: Callable[[str], dict[str, bytes]]
) -> None:
    protocol = str(shared_data / "yace/XPOT-Si.yace")
    check_kills(protocol, 5, tmp_path, undisturbed(protocol), 3)


def short_run(folder: Path, **options: Any) -> Any:
    settings = RunSettings(
        trajectory=TrajectorySettings(every_fs=12, format=options.pop("format", "extxyz")),
        thermo_every_fs=8, checkpoint_every_steps=7,
    )  # fmt: skip
    start = bulk("Ar", "fcc", a=5.3, cubic=True) * 2
    return run(lennard_jones(), start, SHORT, folder, seed=5, settings=settings, **options)


@pytest.mark.parametrize("kind", ["extxyz", "h5"])
def test_no_moment_between_two_changes_on_disk_is_harmful(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop before the first, second ... change of a file on disk, until there is none left to stop at."""
    short_run(tmp_path / "whole", format=kind)
    expected = contents(tmp_path / "whole", FILES[1:])
    frames = [one.structure.content_hash for one in snapshots(tmp_path / f"whole/trajectory.{kind}")]
    left = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return change(*arguments, **options)

        return stand_in

    changes, stopped = 0, True
    while stopped:
        folder, left = tmp_path / f"stopped-{changes}", changes
        with monkeypatch.context() as patch:
            for owner, name in ((os, "fsync"), (os, "replace"), (Path, "unlink")):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            try:
                short_run(folder, format=kind)
                stopped = False
            except Killed:
                changes += 1
        short_run(folder, format=kind)
        assert contents(folder, FILES[1:]) == expected
        assert [one.structure.content_hash for one in snapshots(folder / f"trajectory.{kind}")] == frames
        assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == sorted(
            ["final.extxyz", "result.json", "thermo.csv", f"trajectory.{kind}"]
        )
    assert changes > 20


def test_an_interrupt_is_passed_on_and_the_run_goes_on(tmp_path: Path) -> None:
    short_run(tmp_path / "whole")
    calls = 0

    def interrupt(progress: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        short_run(tmp_path / "stopped", on_progress=interrupt)
    result = short_run(tmp_path / "stopped")
    assert result.restarts == 1
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_finished_run_is_returned_and_not_done_again(tmp_path: Path) -> None:
    first = short_run(tmp_path)
    stamp = (tmp_path / "thermo.csv").stat().st_mtime_ns
    again = short_run(tmp_path)
    assert (tmp_path / "thermo.csv").stat().st_mtime_ns == stamp
    assert (again.steps, again.reason, again.stages, again.wall_s) == (
        first.steps, first.reason, first.stages, first.wall_s
    )  # fmt: skip
    np.testing.assert_array_equal(again.final.structure.positions, first.final.structure.positions)


def test_another_run_in_the_folder_is_refused_by_name_and_removed_on_request(tmp_path: Path) -> None:
    short_run(tmp_path)
    start = bulk("Ar", "fcc", a=5.3, cubic=True) * 2
    other = [Stage(ensemble="nvt", temperature_K=50, time_ps=0.2, timestep_fs=4)]
    with pytest.raises(InputError, match="another run, which differs in stages, seed, settings of the run; .* --fresh"):
        run(lennard_jones(), start, other, tmp_path)
    assert run(lennard_jones(), start, other, tmp_path, fresh=True).completed


def test_foreign_files_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "trajectory.extxyz").write_text("years of work")
    with pytest.raises(InputError, match="holds trajectory.extxyz of something else"):
        short_run(tmp_path)
    assert (tmp_path / "trajectory.extxyz").read_text() == "years of work"


def test_two_processes_cannot_write_one_folder(tmp_path: Path) -> None:
    def start_a_second(progress: Any) -> None:
        with pytest.raises(InputError, match="in use by another process"):
            short_run(tmp_path)

    assert short_run(tmp_path, on_progress=start_a_second).completed


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(InputError, match="checkpoint.npz: is damaged"):
        short_run(tmp_path)
