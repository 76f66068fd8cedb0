"""A package of somebody else adds a family: installed, found in this process and in workers, and held to the contract."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from potential_contract import CHECKS, training_data

import forcewright as fw
from forcewright.errors import InputError
from forcewright.models import FAMILIES, families, family_of
from forcewright.potential import Potential
from forcewright.reference import ReferenceSettings, label_all, reference_from
from forcewright.structure import Structure

SOURCE = Path(__file__).parents[1] / "example_family"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip has installed the package into."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))  # building leaves things there
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", str(target), str(source)],
        check=True, timeout=300,
    )  # fmt: skip
    return target


@pytest.fixture(scope="module", autouse=True)
def _on_path(installed: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(installed))
        patch.setenv("PYTHONPATH", str(installed), prepend=":")
        yield
        sys.modules.pop("forcewright_example", None)


@pytest.fixture(scope="module")
def potential(_on_path: None) -> Potential:
    model = family_of("lennard_jones").hyperparameters(cutoff=4.0)
    return model.fit(training_data(), rng=np.random.default_rng(0))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_its_potential_keeps_the_contract(
    potential: Potential, check: Callable[[Potential, Path], None], tmp_path: Path
) -> None:
    check(potential, tmp_path)


def test_it_is_listed_beside_the_families_of_this_package(installed: Path) -> None:
    assert set(families()) == {*FAMILIES, "lennard_jones"} and "lennard_jones" not in FAMILIES
    assert str(installed) in str(sys.modules[family_of("lennard_jones").hyperparameters.__module__].__file__)


def test_workers_find_it(config: dict[str, Any]) -> None:
    model = {"kind": "lennard_jones", "sigma": {"low": 2.0, "high": 2.6}}
    settings = {key: value for key, value in config.items() if key != "search"}
    result = fw.tune({**settings, "model": model, "workers": 2})
    assert [trial.error for trial in result.trials] == [None] * 3
    assert fw.load(result.folder / "potential").sigma == result.potential.sigma
    assert "Proc. R. Soc. Lond. A 106, 463" in (result.folder / "report.html").read_text()


def test_its_reference_labels_structures(tmp_path: Path) -> None:
    settings = ReferenceSettings.model_validate({"springs": {"constant": 2.0}})
    assert settings.kinds == ["springs"] and ReferenceSettings(**settings.model_dump()) == settings
    reference = reference_from(settings, tmp_path)
    structures = [Structure([1], [[float(x), 0.0, 0.0]]) for x in range(3)]
    labels = label_all(reference, structures, workers=2).results
    assert [label.energy for label in labels] == [0.0, 1.0, 4.0]
    np.testing.assert_array_equal(labels[2].forces, [[-4.0, 0.0, 0.0]])
    with pytest.raises(InputError, match=r"reference.springs.constant'.*greater than 0"):
        reference_from({"springs": {"constant": -1.0}}, tmp_path)
    with pytest.raises(InputError, match="reference.other'.*offered by no installed package"):
        reference_from({"offered": {"other": {}}}, tmp_path)
    with pytest.raises(ValueError, match="has xtb and springs; give one of"):
        ReferenceSettings.model_validate({"springs": {}, "xtb": "GFN1-xTB"})
    with pytest.raises(ValueError, match="spring"):
        ReferenceSettings.model_validate({"spring": {}})
