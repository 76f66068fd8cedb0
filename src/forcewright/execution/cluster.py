"""Tasks on the workers of a Dask scheduler: one that runs already, one on this machine, or jobs of Slurm.

Of the engines for Slurm, Dask's goes on after a job was canceled or ran out of time: what ran there is done again
elsewhere, and another job takes its place. Traffic of a scheduler that is started here is encrypted, and only its own
workers may connect.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from forcewright.errors import ForcewrightError, InputError, MissingExtraError
from forcewright.execution.processes import WORKER_DIED, process_pool
from forcewright.execution.settings import ClusterSettings, SlurmSettings

log = logging.getLogger("forcewright")

_TRIES = 2  # a task that has killed so many processes is not tried again
_LOST_WORKERS = 5  # nodes that may vanish under one task, for whatever reason
_PATIENCE_S = 30  # for workers that run here or should run already
_LOGS = Path.home() / ".cache" / "forcewright" / "slurm"  # of jobs; all nodes see it


class TaskDiedError(ForcewrightError):
    """A task has killed its worker each time it was tried."""


class ClusterLostError(BrokenExecutor):
    """The scheduler is gone, and with it all that was submitted."""


class _Cluster:
    """A connected scheduler with its workers."""

    def __init__(self, settings: ClusterSettings, workers: int) -> None:
        self.slurm = settings.slurm
        self._cluster: Any = None
        # what a scheduler that starts here is told; a running one has its own settings
        import dask
        from distributed import Client

        dask.config.set({
            "distributed.scheduler.allowed-failures": _LOST_WORKERS, "distributed.scheduler.worker-saturation": 1.0,
            "distributed.logging.distributed": "error", "distributed.worker.daemon": False,  # they start processes
        })  # fmt: skip
        logging.getLogger("distributed").setLevel(logging.ERROR)
        if settings.dask is not None and settings.dask.address is not None:
            self.client: Any = _connected(settings.dask.address)
            self.workers: int = sum(self.client.nthreads().values())
        else:
            self._cluster = _local(workers) if self.slurm is None else _of_slurm(self.slurm)
            self.client = Client(self._cluster)
            self.workers = workers if self.slurm is None else self.slurm.jobs * self.slurm.cores
        self.is_lost = False

    def have(self, workers: int) -> None:
        """Start more workers where this machine has fewer than are asked for."""
        if self.slurm is None and self._cluster is not None and workers > self.workers:
            self._cluster.adapt(minimum=workers, maximum=workers)
            self.workers = workers

    @property
    def where_logs_are(self) -> str:
        """Say where jobs have left their output."""
        return f"; see the output of its jobs in {_LOGS}" if self.slurm is not None else ""

    def close(self) -> None:
        """Disconnect, and end the workers that were started for it."""
        with suppress(Exception):
            self.client.close(timeout=5)
        if self._cluster is not None:
            with suppress(Exception):
                self._cluster.close(timeout=10)
            for name, file in vars(self._cluster).items():
                if name.startswith("_job_") and hasattr(file, "close"):
                    file.close()  # which removes the key that jobs have read


def _local(workers: int) -> Any:
    from distributed import LocalCluster

    cluster: Any = LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, security=True, protocol="tls://", memory_limit=0,
        dashboard_address=None, silence_logs=logging.CRITICAL,
    )  # fmt: skip
    cluster.adapt(minimum=workers, maximum=workers)  # a worker that does not come back after a crash is replaced
    return cluster


def _of_slurm(settings: SlurmSettings) -> Any:
    if shutil.which("sbatch") is None:
        raise InputError("is slurm, and there is no sbatch on this machine; start it on a login node", field="executor")
    from dask_jobqueue import SLURMCluster
    from distributed import Security

    _LOGS.mkdir(parents=True, exist_ok=True, mode=0o700)
    cluster: Any = SLURMCluster(
        cores=settings.cores, processes=settings.cores, memory=f"{settings.memory_GB} GB", queue=settings.partition,
        account=settings.account, walltime=settings.walltime, interface=settings.interface, job_name="forcewright",
        job_extra_directives=list(settings.options), log_directory=str(_LOGS), local_directory=None,
        security=Security.temporary(), shared_temp_directory=str(_LOGS),
        scheduler_options={"dashboard": False, "dashboard_address": ":0"},
        job_script_prologue=["export DASK_DISTRIBUTED__WORKER__DAEMON=False"],
        worker_extra_args=["--memory-limit", "0"],  # Slurm sees to that
        silence_logs="critical",
    )  # fmt: skip
    try:
        _require_acceptance(cluster.job_script())
    except BaseException:
        cluster.close()
        raise
    cluster.adapt(minimum_jobs=settings.jobs, maximum_jobs=settings.jobs)  # keeps that many, whatever happens to them
    log.info("submitted %d jobs to Slurm; their output is in %s", settings.jobs, _LOGS)
    return cluster


def _require_acceptance(script: str) -> None:
    """Refuse a job that Slurm would not take, which otherwise never starts."""
    asked = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        reason = " ".join(asked.stderr.split()) or f"exit code {asked.returncode}"
        raise InputError(f"describes jobs that Slurm refuses: {reason}", field="executor.slurm")


def _connected(address: str) -> Any:
    from distributed import Client

    try:
        client: Any = Client(address, timeout=_PATIENCE_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"names {address}, where no Dask scheduler answers ({error})", field="executor.dask") from None
    if not client.nthreads():
        client.close()
        raise InputError(f"names {address}, whose scheduler has no workers; start some", field="executor.dask")
    try:
        versions = set(client.run(_version_here).values())
    except Exception as error:  # whatever a worker without forcewright raises
        raise InputError(
            f"names {address}, whose workers cannot run forcewright ({error})", field="executor.dask"
        ) from None
    if versions != {_version_here()}:
        client.close()
        raise InputError(
            f"names {address}, whose workers have forcewright {', '.join(sorted(versions))}, not {_version_here()}; "
            "start them in this environment",
            field="executor.dask",
        )
    return client


def _version_here() -> str:
    return version("forcewright")


_CLUSTERS: dict[ClusterSettings, _Cluster] = {}


def _cluster_of(settings: ClusterSettings, workers: int) -> _Cluster:
    """Return the cluster of these settings, which all pools of this process share until it ends."""
    if settings in _CLUSTERS and _CLUSTERS[settings].is_lost:
        _CLUSTERS.pop(settings).close()
    if settings not in _CLUSTERS:
        if not _CLUSTERS:
            atexit.register(close_clusters)
        _CLUSTERS[settings] = _Cluster(settings, workers)
    _CLUSTERS[settings].have(workers)
    return _CLUSTERS[settings]


def cluster_workers(settings: ClusterSettings, workers: int) -> int:
    """Return how many workers a cluster has, of ``workers`` that are asked for where that is not settled."""
    if settings.slurm is not None:
        return settings.slurm.jobs * settings.slurm.cores
    return _cluster_of(settings, workers).workers


def close_clusters() -> None:
    """End all clusters that this process has started."""
    while _CLUSTERS:
        _CLUSTERS.popitem()[1].close()


def require_packages(settings: ClusterSettings) -> None:
    """Refuse what is not installed, before any work is done; raises `MissingExtraError`."""
    extra = "dask" if settings.slurm is None else "slurm"
    for package in ("distributed", "cryptography", *(("dask_jobqueue",) if settings.slurm else ())):
        if find_spec(package) is None:
            raise MissingExtraError(package, extra, f"the executor {extra}")


class ClusterPool(Executor):
    """Tasks on the workers of a cluster, which stay there for further pools.

    Each worker runs tasks in a process of its own: a task that kills it is tried once more, and fails with
    `TaskDiedError`. Tasks of a worker that is lost are done again on another one. Where the scheduler itself is lost,
    all tasks fail with `ClusterLostError`, and another pool starts another one.

    Parameters
    ----------
    workers
        Processes of a cluster on this machine; other clusters have their own number.
    initializer, initargs
        Called once in each worker before its first task.
    """

    def __init__(
        self, settings: ClusterSettings, workers: int, initializer: Callable[..., None] | None = None,
        initargs: Sequence[Any] = (),
    ) -> None:  # fmt: skip
        require_packages(settings)
        self._cluster = _cluster_of(settings, workers)
        self._tasks: dict[Future[Any], Any] = {}
        self._name = f"forcewright-{os.getpid()}-{uuid4().hex}"
        # the scheduler hands it to every worker, those that come later too
        self._cluster.client.register_plugin(_plugin(self._name, initializer, tuple(initargs)), name=self._name)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a call to whichever worker is free; it counts as running at once."""
        if self._cluster.is_lost:
            raise ClusterLostError("the scheduler is gone")
        task: Future[Any] = Future()
        task.set_running_or_notify_cancel()
        remote = self._cluster.client.submit(_call, self._name, fn, args, kwargs, pure=False)
        self._tasks[task] = remote
        remote.add_done_callback(lambda remote: self._settle(task, remote))
        return task

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Forget the tasks once they are done, or at once."""
        if wait and not cancel_futures:
            wait_for(list(self._tasks))
        remotes = list(self._tasks.values())
        self._tasks.clear()
        with suppress(Exception):
            self._cluster.client.cancel(remotes, force=True)
            self._cluster.client.unregister_worker_plugin(self._name)

    def _settle(self, task: Future[Any], remote: Any) -> None:
        """Hand over what came of a task."""
        if self._tasks.pop(task, None) is None:
            return
        if remote.status == "finished":
            try:
                task.set_result(remote.result())
            except Exception as unreadable:  # what came back
                task.set_exception(unreadable)
            return
        error = remote.exception() if remote.status == "error" else None
        if error is None:
            self._cluster.is_lost = True
            task.set_exception(ClusterLostError("the scheduler is gone"))
        elif type(error).__name__ == "KilledWorker":
            lost = f"its worker was lost {_LOST_WORKERS + 1} times: time limit, too little memory, or canceled"
            task.set_exception(TaskDiedError(f"{lost}{self._cluster.where_logs_are}"))
        else:
            task.set_exception(error)


_Setup = tuple[Callable[..., None] | None, tuple[Any, ...]]
_SETUPS: dict[str, _Setup] = {}  # of a worker: what its process calls before the first task of each pool
_PROCESSES: dict[str, Executor] = {}  # of a worker: the one that runs the tasks of a pool


def _take_setup(name: str, setup: _Setup | None) -> None:
    """Keep or forget the setup of a pool in a worker, whose state is that of this module there."""
    if setup is not None:
        _SETUPS[name] = setup
        return
    _SETUPS.pop(name, None)
    if (process := _PROCESSES.pop(name, None)) is not None:
        process.shutdown(wait=False)


def _plugin(name: str, initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> Any:
    """Return what tells a worker how to set itself up."""
    from distributed import WorkerPlugin

    class Setup(WorkerPlugin):  # type: ignore[misc]  # untyped
        def setup(self, worker: Any) -> None:
            _take_setup(name, (initializer, initargs))

        def teardown(self, worker: Any) -> None:
            _take_setup(name, None)

    return Setup()


def _call(name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a task in the process of a worker: if it dies, it was this task."""
    for _ in range(_TRIES):
        process = _PROCESSES.get(name)
        if process is None:
            process = _PROCESSES[name] = process_pool(1, *_SETUPS[name])
        try:
            return process.submit(fn, *args, **kwargs).result()
        except BrokenExecutor:
            _PROCESSES.pop(name).shutdown(wait=False)
    raise TaskDiedError(WORKER_DIED)
