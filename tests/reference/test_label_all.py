"""Many structures at once: the cache, failures, dying processes, resuming."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from reference_doubles import Odd

from forcewright.errors import InputError
from forcewright.potential import Failure
from forcewright.reference import LabelCache, label_all
from forcewright.structure import Dataset, Frame, Labels, Structure


def chain(count: int, shift: float = 0.0) -> Structure:
    return Structure(np.full(count, 18), np.arange(3.0 * count).reshape(count, 3) + shift)


def calls(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_never_loses_the_others(tmp_path: Path, workers: int) -> None:
    sizes = [1, 2, 6, 3, 7, 4, 1]
    progress = []
    odd = Odd(tmp_path / "log")
    found = label_all(
        odd, [chain(n) for n in sizes], cache=tmp_path / "cache", workers=workers, on_done=progress.append
    )
    assert [r.energy if isinstance(r, Labels) else None for r in found.results] == [
        1.0,
        None,
        6.0,
        None,
        7.0,
        None,
        1.0,
    ]
    assert {i: f.reason for i, f in found.failures.items()} == {
        1: "would fail again", 3: "the disk was full", 5: "RuntimeError: raised",
    }  # fmt: skip
    assert sorted(calls(odd.log)) == [1, 2, 3, 4, 6, 7]  # equal structures once
    assert [p.done for p in progress] == list(range(1, 8)) and {p.total for p in progress} == {7}
    assert {p.index for p in progress} == set(range(7)) and progress[-1].seconds_left == 0.0
    if workers:
        assert {r.info["threads"] for r in found.results if isinstance(r, Labels)} == {"1"}
    # again: only what may go better this time is tried
    odd.log.unlink()
    again = label_all(odd, [chain(n) for n in sizes], cache=tmp_path / "cache", workers=workers)
    assert sorted(calls(odd.log)) == [3, 4] and again.cached == 5
    odd.log.unlink()
    label_all(odd, [chain(2)], cache=tmp_path / "cache", workers=workers, retry_failures=True)
    assert calls(odd.log) == [2]


def test_a_structure_that_kills_its_process_is_a_failure(tmp_path: Path) -> None:
    odd = Odd(tmp_path / "log")
    structures = [chain(n) for n in (1, 6, 5, 7, 8, 9, 10)]
    found = label_all(odd, structures, cache=tmp_path / "cache", workers=2)
    assert list(found.failures) == [2] and "died" in found.failures[2].reason
    assert sum(isinstance(r, Labels) for r in found.results) == 6
    assert label_all(odd, structures[2:4], workers=1).failures.keys() == {0}  # without a cache, too


def test_the_cache_is_keyed_by_structure_and_reference(tmp_path: Path) -> None:
    odd, cache = Odd(tmp_path / "log"), tmp_path / "cache"
    label_all(odd, [chain(1)], cache=cache, workers=0)
    label_all(odd, [chain(1), chain(1, 1e-12)], cache=cache, workers=0)
    label_all(Odd(tmp_path / "log", content_hash="fedcba9876543210"), [chain(1)], cache=cache, workers=0)
    assert calls(odd.log) == [1, 1, 1]


def test_what_is_damaged_is_computed_again(tmp_path: Path) -> None:
    odd, structure = Odd(tmp_path / "log"), chain(1)
    cache = LabelCache.of(odd, tmp_path / "cache")
    cache.put(structure, Labels(1.5, np.ones((1, 3)), np.eye(3), info={"note": "å"}))
    kept = cache.get(structure)
    assert isinstance(kept, Labels) and kept.energy == 1.5 and kept.info == {"note": "å"}
    np.testing.assert_array_equal(kept.stress, np.eye(3))
    (file,) = cache.folder.glob("*/*.npz")
    whole = file.read_bytes()
    for damaged in (b"", whole[:50], whole[:-20], b"x" * len(whole)):
        file.write_bytes(damaged)
        assert cache.get(structure) is None
    np.savez(file, about=np.array([object()], dtype=object))
    assert cache.get(structure) is None  # nothing pickled is ever loaded
    assert label_all(odd, [structure], cache=tmp_path / "cache", workers=0).results[0].energy == 1.0
    cache.put(structure, Failure("again", repeatable=True))
    assert cache.get(structure) == Failure("again", repeatable=True)


def test_groups_and_origins_stay(tmp_path: Path) -> None:
    given = Dataset(
        tuple(Frame(chain(n), Labels(-99.0, group="g", info={"n": n}), f"file#{n}") for n in (1, 2, 6)), "given"
    )
    found = label_all(Odd(tmp_path / "log"), given, workers=0).dataset(given, "new")
    assert [(f.labels.energy, f.labels.group, f.labels.info["n"], f.origin) for f in found] == [
        (1.0, "g", 1, "file#1"), (6.0, "g", 6, "file#6"),
    ]  # fmt: skip


def test_bad_arguments(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be used as a cache"):
        label_all(Odd(tmp_path / "log"), [chain(1)], cache=tmp_path / "file", workers=0)
    with pytest.raises(InputError, match="give 0 or more"):
        label_all(Odd(tmp_path / "log"), [chain(1)], workers=-1)
    assert label_all(Odd(tmp_path / "log"), [], workers=2).results == ()


KILLED = """
import sys
from pathlib import Path
import numpy as np
from reference_doubles import Odd
from forcewright.reference import label_all
from forcewright.structure import Structure

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    structures = [Structure(np.full(n, 18), np.arange(3.0 * n).reshape(n, 3)) for n in range(6, 46)]
    label_all(Odd(folder / "log", seconds=0.1), structures, cache=folder / "cache", workers=2)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "killed.py"), str(tmp_path)], stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    log = tmp_path / "log"
    deadline = time.monotonic() + 60
    while len(calls(log)) < 12 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(2.0)  # until its workers have noticed
    before = calls(log)
    assert 12 <= len(before) < 40
    structures = [chain(n) for n in range(6, 46)]
    found = label_all(Odd(log), structures, cache=tmp_path / "cache", workers=0)
    assert [r.energy for r in found.results] == list(range(6, 46))
    assert found.cached >= len(before) - 2  # but for what two workers were at
    assert len(calls(log)) == len(before) + 40 - found.cached
