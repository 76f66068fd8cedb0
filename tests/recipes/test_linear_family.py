"""A third linear family, registered as CONTRIBUTING says, is a family like the others: tests/support/toy_linear_family.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_linear_family import HOME, GaussianPairPotential

import forcewright as fw
from forcewright.data import read
from forcewright.errors import InputError
from forcewright.models import FAMILIES


@pytest.fixture
def study(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The small study on copper with Gaussians in place of SNAP, and trials in a process of their own."""
    monkeypatch.setitem(FAMILIES, "gaussian_pairs", HOME)
    return {**config, "model": {"kind": "gaussian_pairs", "reach": {"low": 3.5, "high": 5.0}, "gaussians": 6}}


def test_it_tunes_saves_loads_and_is_in_the_report(study: dict[str, Any]) -> None:
    result = fw.tune(study)
    assert [trial.error for trial in result.trials] == [None] * 3
    assert min(trial.loss for trial in result.trials) == result.summary["loss"]
    page = (result.folder / "report.html").read_text()
    assert "gaussian_pairs" in page and "Theoria motus" in page and "Thompson" not in page
    loaded = fw.load(result.folder / "potential")
    assert isinstance(loaded, GaussianPairPotential) and loaded.species == (29,)
    test = read(study["data"]["test"])
    errors = fw.evaluate(loaded, test).overall
    assert errors.force_rmse_eV_per_A == pytest.approx(result.summary["test"]["force_rmse_eV_per_A"], rel=1e-9)
    assert errors.force_rmse_eV_per_A < np.sqrt(np.mean(np.concatenate([frame.labels.forces for frame in test]) ** 2))
    assert fw.tune(study).summary == result.summary


def test_short_memory_is_told_in_its_own_words(study: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"need .* GB .* are free; lower gaussians"):
        fw.fit({**study, "model": {"kind": "gaussian_pairs", "gaussians": 10**6}})


def test_a_reach_that_is_too_short_is_told_by_its_own_name(study: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"model\.reach.*without a neighbor"):
        fw.fit({**study, "model": {"kind": "gaussian_pairs", "reach": 1.0}})


def test_unknown_families_and_architectures_are_told() -> None:
    with pytest.raises(InputError, match="model.kind.*'snpa' is not known; did you mean snap"):
        fw.models.family_of("snpa")
    for name in ("mace", "SchNet", "painn", "nequip", "tensornet"):
        with pytest.raises(InputError, match=f"use kind: graph and architecture: {name.lower()}"):
            fw.models.family_of(name)
    with pytest.raises(InputError, match="'pair_style', whose potentials are read and not fitted"):
        fw.models.family_of("pair_style")


def test_a_family_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for home, words in {
        "nothing_of_this_name:FAMILY": "cannot be imported: No module", "math:FAMILY": "cannot be imported",
        "math:pi": "math:pi is not a Family",
    }.items():  # fmt: skip
        monkeypatch.setitem(FAMILIES, "broken", home)
        with pytest.raises(InputError, match=words):
            fw.models.family_of("broken")


def test_it_fits_in_memory(study: dict[str, Any]) -> None:
    frames = read(study["data"]["train"])
    model = {"kind": "gaussian_pairs", "gaussians": 5}
    result = fw.fit(frames, model=model, validation={"kfold": 3})
    assert isinstance(result.potential, GaussianPairPotential)
