"""Nothing that a command has made, or a user owns, is lost or mixed with what another command makes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_family import HOME

import forcewright as fw
from forcewright.errors import InputError
from forcewright.models import FAMILIES
from forcewright.recipes.compare import read_comparison
from forcewright.recipes.provenance import file_hashes
from forcewright.recipes.run_folder import RunFolder


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "toy", HOME)


@pytest.fixture
def toy(config: dict[str, Any]) -> dict[str, Any]:
    """The small study on copper, with toys in place of SNAP."""
    model = {"kind": "toy", "cutoff": 4.0, "functions": 3}
    return {**{key: value for key, value in config.items() if key != "search"}, "model": model}


def test_data_may_go_while_a_study_runs(toy: dict[str, Any], tmp_path: Path) -> None:
    moved = Path(shutil.copy(toy["data"]["train"], tmp_path / "moved.extxyz"))
    toy["data"]["train"] = str(moved)
    expected = file_hashes([moved])

    def remove(record: Any, wanted: int) -> None:
        moved.unlink(missing_ok=True)

    result = fw.fit(toy, on_trial=remove)
    assert result.summary["data_hashes"].items() >= expected.items() and not moved.exists()
    with pytest.raises(InputError, match="moved.extxyz"):
        fw.fit(toy)


def test_a_potential_that_was_swapped_is_not_that_of_the_study(toy: dict[str, Any], tmp_path: Path) -> None:
    first = fw.fit(toy)
    saved = (first.folder / "potential" / "potential.json").read_bytes()
    other = fw.fit({**toy, "model": {**toy["model"], "functions": 2}, "output": str(tmp_path / "other")})
    shutil.rmtree(first.folder / "potential")
    shutil.copytree(other.folder / "potential", first.folder / "potential")
    assert len(fw.fit(toy).potential.coefficients) == len(first.potential.coefficients)
    assert (first.folder / "potential" / "potential.json").read_bytes() == saved
    # a result of an earlier version, which does not know the hash, is taken as it is
    result = json.loads((first.folder / "result.json").read_text())
    del result["potential_hash"]
    (first.folder / "result.json").write_text(json.dumps(result))
    assert fw.fit(toy).summary == result


def test_folders_of_the_user_stay(toy: dict[str, Any]) -> None:
    output = Path(toy["output"])
    for name in ("cache", "predictions", "committee", "structures"):
        (output / name).mkdir(parents=True)
        (output / name / "mine.txt").write_text("mine")
    for fresh in (False, True):
        fw.fit(toy, fresh=fresh)
    fw.fit({**toy, "model": {"kind": "snap", "twojmax": 2, "rcut": 4.0}}, fresh=True)
    assert all((output / name / "mine.txt").read_text() == "mine" for name in ("cache", "predictions", "committee"))
    assert not (output / "design_rows").exists()


@pytest.mark.parametrize(
    ("file", "text", "by"),
    [
        ("journal.log", '{"op_code": 0}\n', "tune"), ("checkpoint.npz", "", "simulate"),
        ("run-3/result.json", "{}", "simulate"), ("studies/ace/journal.log", "", "compare"),
        ("fits/ace/10-0/point.json", "{}", "learning-curve"),
    ],
)  # fmt: skip
def test_no_command_takes_the_unfinished_folder_of_another(tmp_path: Path, file: str, text: str, by: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    for command in {"tune", "simulate", "compare", "learning-curve", "validate", "statistics", "analyze"} - {by}:
        refused = pytest.raises(InputError, match=f"holds the unfinished work of `forcewright {by}`")
        with refused, RunFolder(tmp_path, command):
            pass
    with RunFolder(tmp_path, "fit" if by == "tune" else by):
        assert (tmp_path / file).read_text() == text


def test_a_command_that_fails_at_once_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError), RunFolder(tmp_path / "new", "tune"):
        raise InputError("is wrong")
    with (
        pytest.raises(InputError, match="new: cannot be written or read: No space left"),
        RunFolder(tmp_path / "new", "tune"),
    ):
        raise OSError(28, "No space left on device")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("verb", ["compare", "learning_curve"])
def test_files_of_families_are_taken_from_the_folder_of_the_config(
    verb: str, copper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("train.extxyz", "test.extxyz"):
        shutil.copy(copper / name, tmp_path / name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = {
        "data": {"train": "train.extxyz", "test": "test.extxyz"}, "output": "out",
        "common": {"workers": 1}, "families": {
            "toy": {"model": {"kind": "toy", "cutoff": 4.0, "functions": 3}, "validation": {"external": "test.extxyz"}},
        },
    }  # fmt: skip
    settings |= {"sizes": [5], "repeats": 1} if verb == "learning_curve" else {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    found = getattr(fw, verb)("../config.yaml")
    assert found.folder == tmp_path / "out" and not found.summary.get("failed")
    assert "data_hashes" in found.summary


def test_a_potential_to_start_from_is_taken_from_the_folder_of_the_config(copper: Path, tmp_path: Path) -> None:
    settings = {
        "data": {"train": str(copper / "train.extxyz"), "test": str(copper / "test.extxyz")}, "output": "out",
        "families": {"graph": {"model": {"kind": "graph", "architecture": "mace", "start_from": "old/potential"}}},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    read = read_comparison(tmp_path / "config.yaml")
    assert read.families["graph"]["model"]["start_from"] == str(tmp_path / "old" / "potential")
