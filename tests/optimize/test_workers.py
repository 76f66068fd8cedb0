from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from forcewright.execution.processes import process_pool
from forcewright.optimize.workers import plain

ORPHANS = """
import os, sys, time
from forcewright.execution.processes import process_pool
pool = process_pool(2)
print(pool.submit(os.getpid).result(), flush=True)
if sys.argv[1] == "busy":
    pool.submit(time.sleep, 60), pool.submit(time.sleep, 60)
time.sleep(0.2)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_workers_exit_when_their_parent_is_killed(state: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", ORPHANS, state], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = psutil.Process(int(process.stdout.readline()))
    assert process.wait(timeout=30) == -signal.SIGKILL
    process.stdout.close()
    deadline = time.monotonic() + 10
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker lives on"
        time.sleep(0.05)


def test_workers_have_one_thread_their_initializer_and_no_ctrl_c(tmp_path: Path) -> None:
    with process_pool(1, os.chdir, (tmp_path,)) as pool:
        names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
        assert list(pool.map(os.getenv, names)) == ["1", "1", "1"]
        assert pool.submit(os.getcwd).result() == str(tmp_path)
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    assert os.getcwd() != str(tmp_path)


def test_plain() -> None:
    given = {"a": np.float64(1.5), 2: (np.int64(3), np.array([1.0, np.inf])), "c": [True, None, "text"]}
    assert plain(given) == {"a": 1.5, "2": [3, [1.0, None]], "c": [True, None, "text"]}
    with pytest.raises(TypeError, match="is a set"):
        plain({"a": {1}})
