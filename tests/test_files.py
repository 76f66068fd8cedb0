from __future__ import annotations

from pathlib import Path

import pytest

from forcewright.errors import InputError
from forcewright.files import atomic_path, atomic_write


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


def test_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        atomic_write(tmp_path, "")
    with pytest.raises(InputError, match="does not exist; create it"):
        atomic_write(tmp_path / "none" / "a.txt", "")
