"""Real Slurm, two nodes on this machine: what jobs compute is what processes compute, whatever becomes of the jobs."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from slurm_here import SlurmDoesNotStartError, slurm_here

import forcewright as fw
from forcewright.errors import InputError
from forcewright.execution.cluster import close_clusters
from forcewright.execution.pools import close_pool, open_pool
from forcewright.execution.settings import ClusterSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="the package dask-jobqueue is not installed"),
]
WAIT_THE_FIRST_TIME = """
import pathlib, sys, time
mark = pathlib.Path(sys.argv[1])
if not mark.exists():
    mark.touch()
    time.sleep(600)
"""
SLURM = {"slurm": {"jobs": 2, "memory_GB": 1.5, "partition": "all"}}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch:
        try:
            with slurm_here(folder) as config:
                patch.setenv("SLURM_CONF", str(config))
                patch.setattr("forcewright.execution.cluster._LOGS", folder / "jobs")
                yield
                close_clusters()
        except SlurmDoesNotStartError as reason:
            pytest.skip(f"Slurm does not start here: {reason}")


def running_jobs() -> list[str]:
    command = ["squeue", "-h", "-t", "R", "-o", "%i"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def cancel_one_job() -> None:
    for _ in range(240):
        if len(jobs := running_jobs()) == 2:
            subprocess.run(["scancel", jobs[0]], check=True)
            return
        time.sleep(0.25)


def argon(count: int) -> list[Atoms]:
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(count):
        atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
        atoms.positions += 0.2 * rng.normal(size=(len(atoms), 3))
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.01, rc=5.0, smooth=True)
        atoms.get_potential_energy()
        frames.append(atoms)
    return frames


def test_a_study_goes_on_after_a_job_was_canceled(slurm: None, tmp_path: Path) -> None:
    model = {"kind": "ace", "functions": 40, "rcut": {"low": 4.5, "high": 6.0}}
    settings = {"study": {"trials": 4, "initial": 4}, "stability": "off", "validation": 3}
    here = fw.tune(argon(12), model=model, output=tmp_path / "here", **settings)
    canceling = threading.Thread(target=cancel_one_job)
    canceling.start()
    there = fw.tune(argon(12), model=model, output=tmp_path / "there", executor=SLURM, **settings)
    canceling.join()
    assert [(t.params, t.loss) for t in here.trials] == [(t.params, t.loss) for t in there.trials]
    for file in (tmp_path / "here" / "potential").iterdir():
        assert file.read_bytes() == (tmp_path / "there" / "potential" / file.name).read_bytes()


def test_labels_of_twenty_frames(slurm: None) -> None:
    pytest.importorskip("tblite", reason="the package tblite is not installed")
    rng = np.random.default_rng(3)
    water = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])
    frames = [Atoms("OH2", water + 0.05 * rng.normal(size=(3, 3))) for _ in range(20)]
    config = {"reference": {"xtb": "GFN1-xTB"}, "structures": frames}
    here, there = fw.label(config), fw.label({**config, "executor": SLURM})
    assert len(here.dataset) == 20
    assert [frame.labels.energy for frame in here.dataset] == [frame.labels.energy for frame in there.dataset]


def test_a_task_that_outlasts_its_job_is_done_again(slurm: None, tmp_path: Path) -> None:
    settings = ClusterSettings.model_validate({"slurm": {"jobs": 1, "memory_GB": 1.0, "walltime": "00:01:00"}})
    pool = open_pool(settings, 1)
    # jobs import what is installed, not what tests define
    task = pool.submit(subprocess.run, [sys.executable, "-c", WAIT_THE_FIRST_TIME, tmp_path / "mark"], check=True)
    wait([task], timeout=400)
    assert task.result(timeout=0).returncode == 0
    close_pool(pool, kill=True)


def test_jobs_that_slurm_refuses_are_refused_before_the_work(slurm: None) -> None:
    settings = ClusterSettings.model_validate({"slurm": {"partition": "nowhere"}})
    with pytest.raises(InputError, match="nvalid partition"):
        open_pool(settings, 1)
