from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import killed_study
import psutil
import pytest
from optimize_objectives import SETTINGS, SPACE, essence, napping

from forcewright.optimize.journal import read_trials
from forcewright.optimize.study import Study


def start(folder: Path, trials: int) -> subprocess.Popen[str]:
    command = [sys.executable, killed_study.__file__, str(folder), str(trials)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def living_workers(folder: Path) -> list[int]:
    ids = [int(path.name.removeprefix("worker-")) for path in folder.glob("worker-*")]
    return [pid for pid in ids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def finished_lines(journal: Path) -> int:
    # lines, not occurrences: a trial's line holds the word more than once
    return sum(b'"index":' in line for line in journal.read_bytes().splitlines()) if journal.exists() else 0


def kill_once(folder: Path, trials: int, rng: random.Random) -> int:
    """Start the study, kill it at a random moment after it has opened the journal, and return how far it came."""
    before = finished_lines(folder / "journal.jsonl")
    process = start(folder, trials)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "begun\n", process.stderr.read()
    if rng.random() < 0.7:  # right around a write
        wanted = before + rng.randint(1, 2)
        while process.poll() is None and finished_lines(folder / "journal.jsonl") < wanted:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))
    else:
        time.sleep(rng.uniform(0, 0.8))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return finished_lines(folder / "journal.jsonl")


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_change_nothing(tmp_path: Path, kills: int) -> None:
    trials = 12 + kills + kills // 2
    with Study(SPACE, tmp_path / "whole.jsonl", SETTINGS.model_copy(update={"trials": trials})) as study:
        whole = essence(study.run(napping, lambda: ThreadPoolExecutor(4)))
    rng = random.Random(kills)
    progress = [kill_once(tmp_path, trials, rng) for _ in range(kills)]
    assert progress == sorted(progress)
    assert 0 < progress[-1] <= trials
    last = start(tmp_path, trials)
    output, errors = last.communicate(timeout=120)
    assert (output, errors) == ("begun\ndone\n", "")
    assert essence(read_trials(tmp_path / "journal.jsonl")) == whole
    deadline = time.monotonic() + 10
    while living_workers(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert living_workers(tmp_path) == []
    assert len(list(tmp_path.glob("worker-*"))) > kills / 2
