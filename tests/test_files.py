from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forcewright.errors import InputError
from forcewright.files import atomic_path, atomic_write, write_arrays


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
