from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from toy_family import HOME, ToyModel

from forcewright.accuracy.errors import evaluate
from forcewright.data import read, write
from forcewright.errors import InputError
from forcewright.models import FAMILIES
from forcewright.recipes.learning_curve import learning_curve, power_law, subsets


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "toy", HOME)


@pytest.fixture
def curve(copper: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "data": {"train": str(copper / "train.extxyz"), "test": str(copper / "test.extxyz")},
        "families": {"toy": {"model": {"kind": "toy", "cutoff": 5.0, "functions": 6}}},
        "common": {"validation": {"external": str(copper / "test.extxyz")}, "workers": 1},
        "sizes": [5, 40], "repeats": 2, "seed": 3, "output": str(tmp_path / "curve"),
    }  # fmt: skip


@pytest.mark.drawn
def test_errors_of_nested_subsets(curve: dict[str, Any]) -> None:
    found = learning_curve(curve)
    told = json.loads((found.folder / "result.json").read_text())
    assert told == found.summary
    points = told["families"]["toy"]["points"]
    assert [(p["frames"], p["repeat"]) for p in points] == [(5, 0), (5, 1), (40, 0)]  # all frames are fitted once
    train, test = read(curve["data"]["train"]), read(curve["data"]["test"])
    for point, (_, chosen) in zip(points, subsets(40, [5, 40], 2, 3), strict=True):
        fitted = ToyModel(cutoff=5.0).fit(train[chosen], rng=np.random.default_rng(0))
        expected = evaluate(fitted, test).overall
        assert point["force_rmse_eV_per_A"] == pytest.approx(expected.force_rmse_eV_per_A, rel=1e-5)
    assert told["families"]["toy"]["fits"]["force_rmse_eV_per_A"]["slope"] < 0
    assert "<svg" in (found.folder / "report.html").read_text() and "toy" in str(found)
    assert len((found.folder / "learning_curve.csv").read_text().splitlines()) == 4
    assert learning_curve(curve).summary["families"] == told["families"]  # from disk, times included


def test_subsets_are_nested_random_and_decided_by_the_seed() -> None:
    found = subsets(50, [4, 10, 50], 3, 7)
    assert [(repeat, len(chosen)) for repeat, chosen in found] == [
        (0, 4),
        (1, 4),
        (2, 4),
        (0, 10),
        (1, 10),
        (2, 10),
        (0, 50),
    ]
    by = {(repeat, len(chosen)): set(chosen) for repeat, chosen in found}
    assert all(by[repeat, 4] < by[repeat, 10] for repeat in range(3))
    assert by[0, 10] != by[1, 10]
    assert found == subsets(50, [4, 10, 50], 3, 7) != subsets(50, [4, 10, 50], 3, 8)


def test_power_law_against_scipy() -> None:
    exact = power_law(np.array([10.0, 20.0, 80.0]), 3.0 * np.array([10.0, 20.0, 80.0]) ** -0.5)
    assert exact["slope"] == pytest.approx(-0.5) and exact["prefactor"] == pytest.approx(3.0)
    rng = np.random.default_rng(0)
    frames = np.repeat([10.0, 30.0, 90.0, 270.0], 3)
    errors = frames**-0.7 * np.exp(0.1 * rng.normal(size=12))
    found, peer = power_law(frames, errors), scipy.stats.linregress(np.log(frames), np.log(errors))
    assert found["slope"] == pytest.approx(peer.slope)
    assert found["slope_standard_error"] == pytest.approx(peer.stderr)
    assert found["prefactor"] == pytest.approx(np.exp(peer.intercept))


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"sizes": [5, 400]}, "sizes", "has 400; allowed are 2 to 40"),
        (
            {"families": {"a": {"model": {"kind": "toy", "cutoff": {"low": 3, "high": 5}}}}},
            "families.a.model.cutoff", "is a range; give a number",
        ),
        ({"repeats": 0}, "repeats", "greater than or equal to 1"),
        ({"families": {"a": {"weights": {}}}}, "families.a.model", "is missing"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_fitted(
    curve: dict[str, Any], change: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        learning_curve({**curve, **change})
    assert caught.value.field == field
    assert not Path(curve["output"]).exists()


def test_failed_fits_are_listed(curve: dict[str, Any]) -> None:
    curve["families"]["broken"] = {"model": {"kind": "toy", "fails_above": 1.0}}
    curve |= {"sizes": [8], "repeats": 1}
    found = learning_curve(curve).summary["families"]
    assert list(found["broken"]["failed"]) == ["8-0"] and "toys go no further" in found["broken"]["failed"]["8-0"]
    assert len(found["toy"]["points"]) == 1 and found["toy"]["fits"] == {}


def test_a_model_may_be_common_and_other_validation_frames_are_another_curve(
    curve: dict[str, Any], copper: Path, tmp_path: Path
) -> None:
    external = tmp_path / "external.extxyz"
    external.write_text((copper / "test.extxyz").read_text())
    model = {"kind": "snap", "twojmax": 2, "rcut": 4.0}
    common = {"model": model, "validation": {"external": str(external)}, "search": {"starts": 1, "evaluations": 5}}
    curve |= {"families": {"a": {}}, "common": common, "sizes": [10, 20], "repeats": 1}
    fitted: list[str] = []
    first = learning_curve(curve, on_fit=fitted.append)
    assert learning_curve(curve, on_fit=fitted.append).summary["families"] == first.summary["families"]
    assert len(fitted) == 2
    write(read(external)[:4], external)
    learning_curve(curve, on_fit=fitted.append)
    assert len(fitted) == 4
