"""The one way to get workers: `open_pool`, whatever the `executor` of a config says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from forcewright.execution.cluster import ClusterPool, cluster_workers, require_packages
from forcewright.execution.processes import process_pool
from forcewright.execution.settings import ClusterSettings, ExecutorSettings


def open_pool(
    executor: ExecutorSettings, workers: int, initializer: Callable[..., None] | None = None,
    initargs: Sequence[Any] = (),
) -> Executor:  # fmt: skip
    """Return an executor whose workers have called ``initializer(*initargs)`` before their first task.

    Results do not depend on it: a task is a function and its arguments, and knows nothing of the others.

    Parameters
    ----------
    executor
        "local" for processes of this machine, or a cluster.
    workers
        Number of processes; jobs of Slurm and a running scheduler have their own number.

    Raises
    ------
    InputError
        If the cluster does not answer.
    MissingExtraError
        If the package that talks to it is not installed.
    """
    if isinstance(executor, ClusterSettings):
        return ClusterPool(executor, workers, initializer, initargs)
    return process_pool(workers, initializer, initargs)


def require_executor(executor: ExecutorSettings) -> None:
    """Refuse an executor whose package is not installed, before any work is done; raises `MissingExtraError`."""
    if isinstance(executor, ClusterSettings):
        require_packages(executor)


def workers_of(executor: ExecutorSettings, workers: int) -> int:
    """Return how many tasks run at the same time."""
    return cluster_workers(executor, workers) if isinstance(executor, ClusterSettings) else workers


def close_pool(pool: Any, *, kill: bool) -> None:
    """Close an executor; ``kill`` ends what is running instead of waiting for it."""
    if not kill:
        pool.shutdown(wait=True)
    elif type(pool).__module__.startswith("loky"):
        pool.shutdown(wait=True, kill_workers=True)
    else:
        pool.shutdown(wait=False, cancel_futures=True)
