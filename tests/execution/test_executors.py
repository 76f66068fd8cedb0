"""Tasks on workers of a Dask cluster of this machine, against processes: same results, whatever dies."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import wait
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cloudpickle
import numpy as np
import optimize_objectives
import pytest
from optimize_objectives import SETTINGS, SPACE, dying, essence

from forcewright.configs import validate
from forcewright.errors import InputError
from forcewright.execution.cluster import TaskDiedError, close_clusters
from forcewright.execution.pools import close_pool, open_pool, workers_of
from forcewright.execution.settings import ClusterSettings, executor_from
from forcewright.fitting.settings import FitSettings
from forcewright.optimize.study import Study
from forcewright.reference import label_all, reference_from
from forcewright.structure import Labels, Structure

# workers cannot import what tests import
for module in (optimize_objectives, sys.modules[__name__]):
    cloudpickle.register_pickle_by_value(module)

pytestmark = pytest.mark.skipif(find_spec("distributed") is None, reason="the package distributed is not installed")

DASK = ClusterSettings.model_validate({"dask": {}})


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    yield
    close_clusters()


def remember(word: str) -> None:
    os.environ["REMEMBERED"] = word


def recall(number: int) -> tuple[int, str | None]:
    return number, os.environ.get("REMEMBERED")


def kill_once(mark: Path, *, worker: bool) -> str:
    if not mark.exists():
        mark.touch()
        os.kill(os.getppid() if worker else os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return "done"


def die(number: int) -> None:
    os._exit(number)


def test_every_worker_is_set_up_once_for_each_pool() -> None:
    for word in ("first", "second"):
        pool = open_pool(DASK, 2, remember, (word,))
        assert [pool.submit(recall, i).result() for i in range(3)] == [(i, word) for i in range(3)]
        close_pool(pool, kill=False)


def test_a_task_whose_process_or_worker_dies_is_done_again_and_one_that_kills_two_fails(tmp_path: Path) -> None:
    pool = open_pool(DASK, 2, remember, ("kept",))
    killing = [pool.submit(kill_once, tmp_path / str(worker), worker=worker) for worker in (False, True)]
    fatal, others = pool.submit(die, 9), [pool.submit(recall, i) for i in range(4)]
    wait([*killing, fatal, *others])
    assert [task.result() for task in killing] == ["done", "done"]
    assert isinstance(fatal.exception(), TaskDiedError)
    assert [task.result() for task in others] == [(i, "kept") for i in range(4)]  # new workers are set up too
    close_pool(pool, kill=True)


def test_a_study_has_the_same_trials_as_in_processes() -> None:
    runs = []
    for executor in ("local", DASK):
        with Study(SPACE, None, SETTINGS.model_copy(update={"trials": 10})) as study:
            runs.append(essence(study.run(dying, partial(open_pool, executor, 2), in_flight=2)))
    assert runs[0] == runs[1]


def test_labels_are_those_of_processes(tmp_path: Path) -> None:
    lennard_jones = {"pair_style": "lj/cut 6.0", "pair_coeff": ["* * 0.01 3.4"], "species": ["Ar"]}
    reference = reference_from({"lammps": lennard_jones}, tmp_path)
    cell, pbc = 20.0 * np.eye(3), np.ones(3, dtype=bool)
    structures = [
        Structure(np.array([18, 18]), np.array([[0, 0, 0], [0, 0, 3.5 + 0.1 * i]]), cell, pbc) for i in range(5)
    ]
    local = label_all(reference, structures, workers=0)
    remote = label_all(reference, structures, workers=2, executor=DASK, cache=tmp_path / "cache")
    for a, b in zip(local.results, remote.results, strict=True):
        assert isinstance(a, Labels) and isinstance(b, Labels)
        assert a.energy == b.energy


def test_what_the_config_may_say() -> None:
    def executor(value: object) -> object:
        return validate(FitSettings, {"model": {"kind": "ace"}, "executor": value}).executor

    assert executor("local") == "local"
    assert executor("dask") == executor({"dask": None}) == DASK
    slurm = executor({"slurm": {"jobs": 3, "cores": 2, "partition": "short"}})
    assert workers_of(slurm, 1) == 6  # type: ignore[arg-type]
    assert executor_from("slurm=short") == executor({"slurm": {"partition": "short"}})
    for wrong in ("mpi", {"dask": "node1"}, {"slurm": {"walltime": "soon"}}, {"dask": {}, "slurm": {}}, {},
                  {"slurm": {"options": ["--wrap=ls"]}}, {"slurm": {"options": ["-p short; ls"]}}):  # fmt: skip
        with pytest.raises(InputError):
            executor(wrong)
    for wrong in ("dask=", "mpi=4"):
        with pytest.raises(InputError, match="give local"):
            executor_from(wrong)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forcewright.execution.cluster._PATIENCE_S", 1)
    settings = ClusterSettings.model_validate({"dask": {"address": "tcp://127.0.0.1:9"}})
    with pytest.raises(InputError, match="127.0.0.1:9, where no Dask scheduler answers"):
        open_pool(settings, 1)
