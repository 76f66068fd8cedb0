"""The prior of linear families: scale, sharing between elements, and leaving groups out."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forcewright as fw
from forcewright.data import group_folds
from forcewright.errors import ForcewrightError, InputError
from forcewright.features.packings import local_volume, random_packings
from forcewright.neighbors import find_neighbors

MODEL = {"kind": "ace", "functions": 40, "rcut": 4.0}
SEARCH = {"starts": 1, "evaluations": 8}
ALLOYS = Path(__file__).parents[3] / "shared" / "data" / "alloys"


@pytest.fixture(scope="module")
def train(copper: Path) -> fw.Dataset:
    return fw.read(copper / "train.extxyz")


def coefficients_of(result: Any) -> np.ndarray:
    return np.asarray(result.potential.coefficients)


def test_what_tune_found_typed_into_fit_gives_the_same_potential(train: fw.Dataset) -> None:
    """The ridge is in the same units beside ranges of weights and beside numbers."""
    searched = fw.fit(train, model=MODEL, search=SEARCH, validation=3, workers=1)
    settings = searched.summary["settings"]
    groups = {group: dict(weights) for group, weights in settings["weights"].items()}
    typed = fw.fit(
        train, model=settings["model"], weights={"groups": groups}, ridge=settings["ridge"], prior=settings["prior"],
        loss=settings["loss"], search=SEARCH, validation=3, workers=1,
    )  # fmt: skip
    np.testing.assert_allclose(coefficients_of(typed), coefficients_of(searched), rtol=2e-5, atol=1e-8)
    assert min(settings["prior"]["smoothness"]) >= 0.0


def test_the_weights_common_scale_does_not_matter(train: fw.Dataset) -> None:
    fits = [
        fw.fit(
            train, model=MODEL, weights={"energy": 100 * k, "force": 2 * k, "stress": None}, ridge=1e-7,
            prior={"smoothness": [1, 1, 1]}, validation=3, workers=1,
        )
        for k in (1, 7)
    ]  # fmt: skip
    np.testing.assert_allclose(coefficients_of(fits[1]), coefficients_of(fits[0]), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        ({"smoothness": [1, -0.5, 1]}, "negative exponents"), ({"smoothness": [1.0]}, "has 1 numbers; this basis takes 3"),
        ({"sharing": -1}, "greater than or equal to 0"), ({"scale": "data", "sharing": 1}, "needs scale: basis"),
    ],
)  # fmt: skip
def test_invalid_priors_are_refused(train: fw.Dataset, prior: dict[str, Any], words: str) -> None:
    with pytest.raises(ForcewrightError, match=words):
        fw.fit(train, model=MODEL, prior=prior, validation=3, workers=1)


def test_packings_keep_their_distances_and_their_density() -> None:
    packings = random_packings((14, 8), 15.0, np.random.default_rng(0), count=3)
    assert len(packings) == 3
    for packing in packings:
        assert packing.volume / len(packing) == pytest.approx(15.0)
        assert sorted(np.bincount(packing.numbers)[[8, 14]]) == [16, 16]
        assert find_neighbors(packing, 3.0).distances.min() > 1.0


def test_the_density_around_atoms_of_a_crystal_is_that_of_its_cell() -> None:
    from ase.build import bulk

    structures = [fw.Structure.from_ase(bulk("Cu", cubic=True))]
    assert local_volume(structures, 12.0) == pytest.approx(3.615**3 / 4, rel=0.06)


def test_groups_are_left_out_whole(train: fw.Dataset) -> None:
    rng = np.random.default_rng(0)
    groups = np.asarray(train.groups)
    folds = group_folds(train, {"surfaces": ["surface"]}, 3, rng=rng)
    assert set(folds[groups == "surface"]) == {0} and set(folds[groups == "bulk"]) == {1, 2, 3}
    each = group_folds(train, {"a": ["surface"], "b": ["bulk"]}, 3, rng=rng)
    assert set(each) == {0, 1}
    for sets, words in (
        ({"a": ["nothing"]}, "the groups are"), ({"a": []}, "names no group"),
        ({"a": ["bulk", "surface"]}, "leaves out all"), ({"a": ["bulk"], "b": ["bulk"]}, "in another set"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            group_folds(train, sets, 3, rng=rng)


def test_a_group_is_predicted_by_a_fit_that_has_not_seen_it(train: fw.Dataset) -> None:
    fixed: dict[str, Any] = {
        "weights": {"energy": 100, "force": 2, "stress": None}, "ridge": 1e-7, "prior": {"smoothness": "none"},
        "reference_energies": {"Cu": 0.1}, "workers": 1,
    }  # fmt: skip
    model = {**MODEL, "radial": "SBessel", "repulsion": {"inner": 1.5}}
    left_out = fw.fit(train, model=model, validation={"leave_out": "groups"}, **fixed)
    groups = np.asarray(train.groups)
    alone = fw.fit(train[groups == "bulk"], model=model, validation=3, test=train[groups == "surface"], **fixed)
    expected, got = alone.test.to_dict(), left_out.validation.to_dict()["groups"]["surface"]
    # but for the ridge, which is relative to all rows, and the density of the packings behind its scale
    assert got["force_rmse_eV_per_A"] == pytest.approx(expected["force_rmse_eV_per_A"], rel=0.1)
    seen = fw.fit(train, model=model, validation=3, **fixed).validation.to_dict()["groups"]["surface"]
    assert got["force_rmse_eV_per_A"] > 1.5 * seen["force_rmse_eV_per_A"]


def test_a_binary_that_training_lacks_is_predicted_from_its_elements_alike(tmp_path: Path) -> None:
    """Mo-Ta from elements and the other binaries: errors of those that training holds, where the data's scale fails."""
    if not ALLOYS.is_dir():
        pytest.skip("needs the alloys of ../shared")
    frames = []
    for name, step in (*((f"binaries_train_{i}", 24) for i in range(3)), ("elements_train", 16)):
        (tmp_path / f"{name}.extxyz").write_bytes(gzip.decompress((ALLOYS / f"NbMoTaW_{name}.extxyz.gz").read_bytes()))
        frames.append(fw.read(tmp_path / f"{name}.extxyz")[::step])
    data = sum(frames[1:], frames[0])
    groups = np.asarray(data.groups)
    fixed: dict[str, Any] = {
        "weights": {"energy": 100, "force": 1, "stress": None}, "workers": 1, "validation": 3,
        "model": {"kind": "ace", "functions": 60, "rcut": 4.5, "nradmax": (6, 3, 2), "lmax": (0, 2, 2)},
    }  # fmt: skip
    without, unseen = data[groups != "MoTa_SS"], data[groups == "MoTa_SS"]
    errors = {
        scale: fw.fit(without, test=unseen, **fixed, **settings).test.to_dict()
        for scale, settings in {
            "basis": {"ridge": 1e-9, "prior": {"smoothness": [1, 1, 1]}}, "data": {"ridge": 1e-9, "prior": "none"}
        }.items()
    }  # fmt: skip
    energy, force = "energy_rmse_meV_per_atom", "force_rmse_eV_per_A"
    assert errors["basis"][energy] < 60 and errors["data"][energy] > 5 * errors["basis"][energy]
    assert errors["basis"][force] < 0.1 and errors["data"][force] > 3 * errors["basis"][force]
