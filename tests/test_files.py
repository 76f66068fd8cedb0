from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forcewright.errors import InputError
from forcewright.files import _here, atomic_path, atomic_write, sweep, write_arrays


def test_text_and_bytes_are_written_whole(tmp_path: Path) -> None:
    path = atomic_write(tmp_path / "a.txt", "größer\n")
    assert path.read_text(encoding="utf-8") == "größer\n"
    assert atomic_write(path, b"\x00\xff").read_bytes() == b"\x00\xff"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_an_ordinary_file_has_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    assert atomic_write(tmp_path / "a", "").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_when_the_writer_fails_the_old_file_stays_and_nothing_else(tmp_path: Path) -> None:
    path = atomic_write(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".txt"
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_written_without_pickle(tmp_path: Path, compressed: bool) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "name": np.array("größer")}
    path = write_arrays(tmp_path / "a.npz", arrays, compressed=compressed)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(path, {"a": np.array([{}], dtype=object)}, compressed=compressed)
    with np.load(path, allow_pickle=False) as found:  # the old file
        assert dict(found).keys() == arrays.keys() and str(found["name"]) == "größer"
        np.testing.assert_array_equal(found["a"], arrays["a"])
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        atomic_write(tmp_path, "")
    with pytest.raises(InputError, match="does not exist; create it"):
        atomic_write(tmp_path / "none" / "a.txt", "")


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    """A process that writes is killed; the next one that writes there, or takes a scratch folder, clears up."""
    program = (
        "import os, signal; from pathlib import Path; from forcewright.files import atomic_path, scratch_folder\n"
        "with atomic_path(Path('c.db')) as path, scratch_folder('fit') as folder:\n"
        "    (folder / 'x').touch(); path.with_name(f'{path.name}-journal').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
    (tmp_path / "scratch").mkdir()
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=False)
    assert len([*tmp_path.glob(".forcewright-c-*")]) == 2 and len([*tmp_path.glob("scratch/.forcewright-fit-*")]) == 1
    ours = tmp_path / f".forcewright-c-{_here()}-{os.getpid()}-abcdefgh.db"
    others = [tmp_path / ".forcewright-notes", tmp_path / ".forcewright-c-00000000-1-abcdefgh.db", tmp_path / "c.db-x"]
    for path in (ours, *others):
        path.touch()
    atomic_write(tmp_path / "d.txt", "d")
    sweep(tmp_path / "scratch")
    kept = {path.name for path in (ours, *others, tmp_path / "d.txt", tmp_path / "scratch")}
    assert {path.name for path in tmp_path.iterdir()} == kept and not [*(tmp_path / "scratch").iterdir()]


def test_names_may_be_as_long_as_any(tmp_path: Path) -> None:
    assert atomic_write(tmp_path / f"{'å' * 120}.txt", "x").read_text() == "x"
