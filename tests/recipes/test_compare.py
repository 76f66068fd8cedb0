from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_family import HOME

import forcewright as fw
from forcewright import metrics
from forcewright.data import read
from forcewright.errors import InputError
from forcewright.models import FAMILIES
from forcewright.recipes.compare import compare, read_comparison

KEYS = {
    "energy_mae_meV_per_atom", "energy_rmse_meV_per_atom", "force_norm_mae_eV_per_A", "r2_energy", "r2_force_norm",
    "fit_s", "cost_us_per_atom", "peak_memory_bytes", "energy_used_kWh",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "toy", HOME)


@pytest.fixture
def comparison(copper: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "data": {
            "train": str(copper / "train.extxyz"),
            "test": {"apart": str(copper / "test.extxyz"), "seen": str(copper / "train.extxyz")},
        },
        "common": {
            "validation": {"kfold": 3},
            "workers": 1,
            "search": {"starts": 1, "evaluations": 8},
            "reference_energies": "least_squares",  # of linear families; toys settle their own
        },
        "families": {
            "SNAP": {"model": {"kind": "snap", "twojmax": 2, "rcut": 4.0}},
            "toy": {"model": {"kind": "toy", "cutoff": 4.5}},
            "broken": {"model": {"kind": "toy", "cutoff": 4.5, "fails_above": 4.0}},
        },
        "output": str(tmp_path / "side-by-side"),
        "power_W_per_core": 20.0,
    }


@pytest.mark.drawn
def test_families_side_by_side(comparison: dict[str, Any], tmp_path: Path) -> None:
    found = compare(comparison)
    told = json.loads((found.folder / "result.json").read_text())
    assert told == found.summary
    assert set(told["families"]) == {"SNAP", "toy"} and "toys go no further" in told["failed"]["broken"]
    for row in told["families"].values():
        assert all(row[key] is not None for key in KEYS)
        assert row["energy_used_kWh"] == pytest.approx(row["cpu_s"] / 3600 * 20.0 / 1000)
        assert set(row["sets"]) == {"apart", "seen"}
    assert len(list(csv.DictReader((found.folder / "comparison.csv").read_text().splitlines()))) == 4
    page = (found.folder / "report.html").read_text()
    assert page.count("<svg") >= 3 and "broken failed" in page
    assert "SNAP" in str(found) and "broken failed" in str(found)

    # by the equations of the thesis, from the saved potential alone
    data = read(comparison["data"]["test"]["apart"])
    predicted = fw.load(found.folder / "studies" / "toy" / "potential").predict(data.structures)
    atoms = np.array([len(structure) for structure in data.structures])
    energy = np.array([[labels.energy, p.energy] for labels, p in zip(data.labels, predicted, strict=True)]).T / atoms
    norm = np.array(
        [
            [np.sqrt((f**2).sum()) for f in (labels.forces, p.forces)]
            for labels, p in zip(data.labels, predicted, strict=True)
        ]
    ).T
    row = told["families"]["toy"]
    assert row["energy_mae_meV_per_atom"] == pytest.approx(1000 * np.abs(energy[1] - energy[0]).mean())
    assert row["force_norm_mae_eV_per_A"] == pytest.approx(np.abs(norm[1] - norm[0]).mean())
    for key, (y, y_hat) in (("r2_energy", energy), ("r2_force_norm", norm)):
        assert row[key] == pytest.approx(1 - ((y - y_hat) ** 2).sum() / ((y - y.mean()) ** 2).sum())
        assert row[key] == pytest.approx(metrics.r2(y, y_hat))

    # finished studies are taken as they are; folders and potentials can be given
    before = (found.folder / "studies" / "SNAP" / "result.json").read_text()
    studies = found.folder / "studies"
    comparison["families"] = {
        "SNAP": comparison["families"]["SNAP"], "study": str(studies / "toy"),
        "potential": str(studies / "toy" / "potential"),
        "lj": {"lammps": {"pair_style": "lj/cut 5.0", "pair_coeff": "1 1 0.4 2.3", "species": ["Cu"]}},
        "emt": {"ase": "ase.calculators.emt:EMT"},
    }  # fmt: skip
    again = compare(comparison).summary["families"]
    assert (studies / "SNAP" / "result.json").read_text() == before
    assert again["SNAP"]["origin"] == "fitted before" and again["study"]["fit_s"] == row["fit_s"]
    assert again["potential"]["energy_mae_meV_per_atom"] == row["energy_mae_meV_per_atom"]
    assert again["potential"]["fit_s"] is None and again["lj"]["force_norm_mae_eV_per_A"] > 0
    assert again["emt"]["force_norm_mae_eV_per_A"] == pytest.approx(0, abs=1e-6)  # which gave the labels

    listed = read_comparison({**comparison, "families": [str(studies / "toy"), str(studies / "SNAP")]})
    assert list(listed.families) == ["toy", "SNAP"]


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"families": {"a": {"model": {"kind": "toy", "cutof": 4}}}}, "families.a.model.cutof", "is not known"),
        ({"families": {"a": {"model": {"kind": "toy"}, "ridge": 1e-9}}}, "families.a.ridge", "linear families"),
        ({"families": {"a": {"model": {"kind": "toy"}, "output": "x"}}}, "families.a.output", "same for all"),
        ({"families": {"a": {"potential": "x"}}}, "families", "needs model, a path"),
        ({"families": {}}, "families", "at least 1"),
        ({"power_W_per_core": 0}, "power_W_per_core", "greater than 0"),
    ],
)
def test_mistakes_are_told_before_anything_is_fitted(
    comparison: dict[str, Any], change: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        compare({**comparison, **change})
    assert caught.value.field == field
    assert not Path(comparison["output"]).exists()


@pytest.mark.whole
def test_when_every_family_fails_the_first_reason_is_told(comparison: dict[str, Any]) -> None:
    comparison["families"] = {"broken": comparison["families"]["broken"], "absent": "nowhere"}
    with pytest.raises(InputError, match="every family failed; broken: .*toys go no further"):
        compare(comparison)


def test_a_potential_of_another_kind_is_not_that_of_the_study(comparison: dict[str, Any]) -> None:
    comparison["families"].pop("broken")
    studies = Path(compare(comparison).folder) / "studies"
    shutil.rmtree(studies / "SNAP" / "potential")
    shutil.copytree(studies / "toy" / "potential", studies / "SNAP" / "potential")
    again = compare(comparison).summary
    assert "is of kind 'toy', expected 'snap'" in again["failed"]["SNAP"] and list(again["families"]) == ["toy"]
