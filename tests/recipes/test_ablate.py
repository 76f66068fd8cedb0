from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_family import HOME

import forcewright as fw
from forcewright.accuracy.differences import paired_differences
from forcewright.accuracy.errors import compare
from forcewright.data import read
from forcewright.errors import InputError
from forcewright.models import FAMILIES
from forcewright.potential import Prediction
from forcewright.recipes.ablate import ablate, merge, read_ablation

RMSE = "force_rmse_eV_per_A"


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "toy", HOME)


@pytest.fixture
def config(copper: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "data": {
            "train": str(copper / "train.extxyz"),
            "test": {"apart": str(copper / "test.extxyz"), "seen": str(copper / "train.extxyz")},
        },
        "base": {
            "model": {"kind": "snap", "twojmax": 2, "rcut": 4.0}, "validation": {"kfold": 3}, "workers": 1,
            "weights": {"force": 10.0}, "search": {"starts": 1, "evaluations": 4}, "stability": "off",
        },
        "changes": {
            "shorter cutoff": {"model": {"rcut": 3.0}},
            "energies heavier": {"weights": {"energy": 1000.0}},
            "broken": {"model": {"kind": "toy", "cutoff": 4.5, "fails_above": 4.0}},
        },
        "output": str(tmp_path / "ablated"),
    }  # fmt: skip


@pytest.mark.drawn
def test_every_change_is_told_with_its_difference(config: dict[str, Any], tmp_path: Path) -> None:
    found = ablate(config)
    told = json.loads((found.folder / "result.json").read_text())
    assert told == found.summary
    assert list(told["variants"]) == ["base", "shorter cutoff", "energies heavier"]
    assert "toys go no further" in told["failed"]["broken"]
    base, shorter = (told["variants"][name] for name in ("base", "shorter cutoff"))
    assert shorter["settings"]["model"]["rcut"] == 3.0 and base["settings"]["model"]["rcut"] == 4.0
    assert {**shorter["settings"]["model"], "rcut": 4.0} == base["settings"]["model"]
    weights = told["variants"]["energies heavier"]["settings"]["weights"]
    assert {group: values["energy"] for group, values in weights.items()} == pytest.approx(
        {"bulk": 1000.0, "surface": 1000.0}
    )

    # the difference, from the saved potentials alone
    data = read(config["data"]["test"]["apart"])
    reference = np.concatenate([labels.forces.ravel() for labels in data.labels])
    errors = []
    for name in ("base", "shorter cutoff"):
        predicted = fw.load(found.folder / "variants" / name / "potential").predict(data.structures)
        errors.append(np.concatenate([p.forces.ravel() for p in predicted]) - reference)
    rmse = [float(np.sqrt(np.mean(error**2))) for error in errors]
    difference = shorter["differences"]["apart"][RMSE]
    assert difference["value"] == pytest.approx(rmse[1] - rmse[0], rel=1e-6)
    assert difference["low"] < difference["value"] < difference["high"]
    assert base["differences"] == {} and base["survival"] is None

    rows = list(csv.DictReader((found.folder / "ablation.csv").read_text().splitlines()))
    assert len(rows) == 6 and float(rows[2][f"{RMSE}_difference"]) == pytest.approx(difference["value"])
    page = (found.folder / "report.html").read_text()
    assert "shorter cutoff" in page and "<svg" in page and "broken failed" in page
    assert "shorter cutoff" in str(found) and len(found.to_rows()) == 6
    assert "snap" in fw.cite(found.folder).lower()

    # finished studies are taken as they are
    before = (found.folder / "variants" / "base" / "result.json").stat().st_mtime_ns
    config["changes"].pop("broken")
    again = ablate(config)
    assert (found.folder / "variants" / "base" / "result.json").stat().st_mtime_ns == before
    assert {row["origin"] for row in again.summary["variants"].values()} == {"fitted before"}
    assert (tmp_path / "ablated" / "result.json").is_file()


def test_groups_and_files_are_left_out(config: dict[str, Any], copper: Path) -> None:
    train = read(config["data"]["train"])
    groups = list(train.group_sizes)
    assert len(groups) > 1, groups
    config["base"]["weights"]["groups"] = {groups[0]: {"force": 3.0}}
    config["changes"] = {"less": {"without": [groups[0]]}, "other": {"without": ["nothing"]}}
    found = ablate(config)
    sizes = {
        name: json.loads((found.folder / "variants" / name / "result.json").read_text())["validation"]["frames"]
        for name in ("base", "less")
    }
    assert sizes == {"base": len(train), "less": len(train) - train.group_sizes[groups[0]]}

    assert "names nothing; the groups are" in found.summary["failed"]["other"]

    two = [config["data"]["train"], str(copper / "test.extxyz")]
    config["data"]["train"], config["changes"] = two, {"one file": {"without": "test.extxyz"}}
    assert read_ablation(config).changes["one file"] == {"without": "test.extxyz"}


def test_a_change_stands_over_the_base() -> None:
    base = {"model": {"kind": "ace", "rcut": {"low": 3, "high": 5}, "nested": {"a": 1, "b": 2}}, "ridge": 1e-6}
    assert merge(base, {"model": {"rcut": 4.0}})["model"] == {"kind": "ace", "rcut": 4.0, "nested": {"a": 1, "b": 2}}
    assert merge(base, {"model": {"nested": {"b": 3}}})["model"]["nested"] == {"a": 1, "b": 3}
    assert merge(base, {"model": {"rcut": {"choices": [3, 4]}}})["model"]["rcut"] == {"choices": [3, 4]}
    assert merge(base, {"model": {"kind": "snap"}})["model"] == {"kind": "snap"}
    assert merge(base, {"ridge": None}) == {**base, "ridge": None}


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"changes": {"a": {"model": {"rcutt": 4}}}}, "changes.a.model.rcutt", "is not known"),
        ({"changes": {"a": {"data": {}}}}, "changes.a.data", "same for all"),
        ({"changes": {"a": {"without": 3}}}, "changes.a.without", "list of names"),
        ({"changes": {"a": {"without": ["train.extxyz"]}}}, "changes.a.without", "no training file"),
        ({"changes": {"base": {}}}, "changes", "choose another name"),
        ({"changes": {}}, "changes", "at least 1"),
        ({"base": {"model": {"kind": "snap", "rcut": -1}}}, "base.model.rcut", "greater than 0"),
    ],
)
def test_mistakes_are_told_before_anything_is_fitted(
    config: dict[str, Any], change: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ablate({**config, **change})
    assert caught.value.field == field
    assert not Path(config["output"]).exists()


def test_paired_differences_are_those_of_resampled_frames(copper: Path) -> None:
    data = read(copper / "test.extxyz")
    rng = np.random.default_rng(3)

    def table(size: float, frames: Any = data) -> Any:
        predictions = [Prediction(labels.energy, labels.forces + size, None) for labels in frames.labels]
        return compare(frames, predictions)

    worse, better = table(0.2), table(0.1)
    found = paired_differences(worse, better, (RMSE,), rng=rng)[RMSE]
    assert found.value == pytest.approx(0.1) and found.is_clear
    assert found.standard_error == pytest.approx(0.0, abs=1e-12)  # every frame is as much better
    same = paired_differences(better, better, (RMSE,), rng=rng)[RMSE]
    assert same.value == 0.0 and not same.is_clear
    with pytest.raises(InputError, match="different frames"):
        paired_differences(worse, table(0.1, data[:2]), (RMSE,), rng=rng)
