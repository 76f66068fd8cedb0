"""What it costs to run trials elsewhere: the Mo study of README by processes, a Dask cluster and jobs of Slurm.

    python benchmarks/executors.py [--trials 8] [--slurm PARTITION]

For each executor: seconds until the first task has run, milliseconds of an empty task, wall time of the study, and
whether its trials and its potential are, byte for byte, those of processes. Slurm only where a partition is named.
"""

from __future__ import annotations

import argparse
import operator
import tempfile
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import forcewright as fw
from forcewright.execution.cluster import close_clusters
from forcewright.execution.pools import close_pool, open_pool
from forcewright.execution.settings import executor_from

DATA = Path(__file__).parents[2] / "shared" / "data" / "zuo2020"
WORKERS = 2
EMPTY = 200  # tasks


def overhead(executor: Any) -> tuple[float, float]:
    """Return seconds until a first task has run, and milliseconds per empty task after that."""
    begun = time.perf_counter()
    pool = open_pool(executor, WORKERS)
    pool.submit(operator.add, 1, 1).result()
    first = time.perf_counter() - begun
    wait([pool.submit(operator.add, 1, 1) for _ in range(20)])
    begun = time.perf_counter()
    wait([pool.submit(operator.add, 1, i) for i in range(EMPTY)])
    each = 1e3 * (time.perf_counter() - begun) / EMPTY
    close_pool(pool, kill=True)
    return first, each


def study(executor: Any, trials: int, folder: Path) -> tuple[float, list[Any], dict[str, bytes]]:
    """Return the wall time of the study, its trials, and the files of its potential."""
    begun = time.perf_counter()
    result = fw.tune(
        [DATA / "Mo_train.extxyz"], model={"kind": "ace", "functions": {"low": 100, "high": 500}}, workers=WORKERS,
        study={"trials": trials, "initial": 4, "batch": 2}, stability="off", output=folder, executor=executor,
    )  # fmt: skip
    files = {path.name: path.read_bytes() for path in sorted((folder / "potential").iterdir())}
    return time.perf_counter() - begun, [(t.params, t.loss) for t in result.trials], files


def main() -> None:
    """Measure, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--trials", type=int, default=8)
    arguments.add_argument("--slurm", metavar="PARTITION")
    parsed = arguments.parse_args()
    if not DATA.is_dir():
        raise SystemExit("needs zuo2020 of ../shared")
    executors: dict[str, Any] = {"local": "local", "dask": executor_from("dask")}
    if parsed.slurm:
        executors["slurm"] = executor_from({"slurm": {"jobs": WORKERS, "partition": parsed.slurm, "memory_GB": 1.9}})
    table = Table(
        "executor", "first task (s)", "empty task (ms)", "study (s)", "per trial (s)", "same trials", "same potential"
    )
    reference: Any = None
    with tempfile.TemporaryDirectory() as temporary:
        for name, executor in executors.items():
            first, each = overhead(executor)
            seconds, trials, files = study(executor, parsed.trials, Path(temporary) / name)
            reference = reference or (trials, files)
            same = ["yes" if a == b else "NO" for a, b in zip((trials, files), reference, strict=True)]
            per_trial = seconds / parsed.trials
            table.add_row(name, f"{first:.1f}", f"{each:.1f}", f"{seconds:.0f}", f"{per_trial:.1f}", *same)
    close_clusters()
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
