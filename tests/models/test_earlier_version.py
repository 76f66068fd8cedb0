"""Potentials that the version before has saved (tests/recipes/earlier_version): read and predicted to the last digit."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import forcewright as fw
from forcewright.data import read

MADE = Path(__file__).parents[1] / "recipes" / "earlier_version" / "made"
EXPECTED = json.loads((MADE / "predictions.json").read_text())
NEEDS = {"command": "quippy", "gap": "quippy", "graph": "graph_pes"}


def test_all_samples_are_tested() -> None:
    assert set(EXPECTED) == {path.name for path in (MADE / "potentials").iterdir()} and len(EXPECTED) == 7


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_saved_potential_predicts_as_it_did(name: str, tmp_path: Path) -> None:
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"the package {NEEDS[name]} is not installed")
    potential = fw.load(MADE / "potentials" / name, allow_commands=True)
    dataset = read(MADE / ("cells.extxyz" if name == "sgdml" else "test.extxyz"))[:2]
    again = fw.load(potential.save(tmp_path / "again"), allow_commands=True)
    for model in (potential, again):
        for prediction, (energy, forces, stress) in zip(model.predict(dataset), EXPECTED[name], strict=True):
            # torch adds up in another order in a process with another number of threads
            tolerance = {"rtol": 1e-10, "atol": 1e-13} if name == "graph" else {"rtol": 0, "atol": 0}
            np.testing.assert_allclose(prediction.energy, energy, **tolerance)
            np.testing.assert_allclose(prediction.forces, forces, **tolerance)
            np.testing.assert_allclose(prediction.stress, stress, **tolerance)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_is_saved_has_not_changed(name: str, tmp_path: Path) -> None:
    """Whoever reads the folders of today with the version before gets what was written then."""
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"the package {NEEDS[name]} is not installed")
    before = MADE / "potentials" / name
    after = fw.load(before, allow_commands=True).save(tmp_path / "again")
    for path in before.rglob("*"):
        if path.is_file() and path.suffix != ".npz":
            assert (after / path.relative_to(before)).read_bytes() == path.read_bytes(), path.name
    for path in before.glob("*.npz"):
        with np.load(path) as old, np.load(after / path.name) as new:
            assert set(old) == set(new)
            for key in old:
                np.testing.assert_array_equal(old[key], new[key])
                assert old[key].dtype == new[key].dtype
    shutil.rmtree(after)
