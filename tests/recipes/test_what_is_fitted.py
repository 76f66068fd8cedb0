"""Energies, forces and stresses, each alone or in any combination: what has no weight has no say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_family import HOME

import forcewright as fw
from forcewright.data import write
from forcewright.errors import InputError
from forcewright.features.row_cache import RowMemory
from forcewright.fitting.problem import make_problem
from forcewright.fitting.settings import FitSettings
from forcewright.models import FAMILIES
from forcewright.models.gap.hyperparameters import GapModel

MODEL = {"kind": "snap", "twojmax": 2, "rcut": 4.0}
SETTINGS: dict[str, Any] = {
    "validation": {"kfold": 3}, "search": {"starts": 1, "evaluations": 8}, "stability": "off", "short_range": "off",
    "ridge": 1e-9,
}  # fmt: skip
PROPERTY = {"energy": "energy", "forces": "force", "stress": "stress"}


@pytest.fixture(scope="module")
def train(copper: Path) -> fw.Dataset:
    return fw.read(copper / "train.extxyz")[:20]


@pytest.mark.parametrize("labels", [("stress",), ("energy",), ("forces",), ("energy", "forces")])
def test_null_weights_are_as_good_as_no_labels(train: fw.Dataset, labels: tuple[str, ...]) -> None:
    missing = [name for name in PROPERTY if name not in labels]
    weights = {PROPERTY[name]: 10.0 if name in labels else None for name in PROPERTY}
    energies = {"reference_energies": {"Cu": 0.0}}  # so that no constant is fitted
    left_out = fw.fit(train, model=MODEL, weights=weights, **energies, **SETTINGS)
    bare = fw.fit(train.without_labels(missing), model=MODEL, weights=weights, **energies, **SETTINGS)
    found, expected = left_out.potential.coefficients, bare.potential.coefficients
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
    loss = left_out.summary["settings"]["loss"]
    assert (loss["alpha"] == 0.0) == ("energy" not in labels) and (loss["stress"] == 0.0) == ("stress" not in labels)
    assert left_out.validation.overall.energy_rmse_meV_per_atom is not None  # it is measured all the same
    assert len([text for text in left_out.summary["warnings"] if "leaves them aside" in text]) == len(missing)


def test_energies_without_a_weight_settle_their_zero(train: fw.Dataset) -> None:
    weights = {"energy": None, "force": 100.0, "stress": None}
    table = fw.fit(train, model=MODEL, weights=weights, **SETTINGS).validation.overall
    assert abs(table.energy_bias_meV_per_atom) < 0.05 * table.energy_rmse_meV_per_atom


def test_files_of_stresses_alone_say_that_there_are_no_energies(train: fw.Dataset, tmp_path: Path) -> None:
    write(train.without_labels(["energy", "forces"]), tmp_path / "stresses.extxyz")
    with pytest.raises(InputError, match="no frame has an energy.*'none'"):
        fw.read(tmp_path / "stresses.extxyz")
    read = fw.read(tmp_path / "stresses.extxyz", labels={"energy": "none"})
    assert read.count_labels() == {"energy": 0, "forces": 0, "stress": len(train)}
    with pytest.raises(InputError, match="nothing to fit"):
        fw.fit(read, model=MODEL, weights={"force": None, "stress": None}, **SETTINGS)


def test_families_with_a_fit_of_their_own_are_handed_what_is_fitted(
    train: fw.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "toy", HOME)
    settings = FitSettings(model={"kind": "toy"}, weights={"force": None}, validation={"holdout": 0.3})
    settings.refuse_what_does_not_apply()
    problem = make_problem(settings, train, rows=RowMemory(0), scratch=Path())
    assert problem.labels_to_fit(train).count_labels() == {"energy": 20, "forces": 0, "stress": 20}
    assert problem.loss.weights.force == 0.0 and problem.loss.weights.energy == 1.0
    with pytest.raises(InputError, match="weights.*null"):
        fw.fit(train, model={"kind": "toy"}, weights={"force": 3.0})


def test_a_gap_without_a_sigma_does_not_fit() -> None:
    model = {"kind": "gap", "sigma": {"energy": None, "force": None, "virial": 0.01}}
    assert GapModel.fitted_labels(model) == ("stress",)
    assert FitSettings(model=model, weights={"energy": None}).left_out == ("energy",)
    arguments = GapModel.model_validate(model).arguments("x", {11: 0.0}, {}, 1)
    assert "default_sigma={1.0 1.0 0.01 0.0}" in arguments
