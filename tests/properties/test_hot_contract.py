"""A potential with hot electrons does what every potential must do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from potential_contract import CHECKS, training_data

from forcewright.data.properties import Grid
from forcewright.models.snap import SnapModel
from forcewright.potential import Potential
from forcewright.properties.dos_model import DosData, DosSettings, fit_dos
from forcewright.properties.hot_electrons import HotElectronPotential


@pytest.fixture(name="potential", scope="module")
def _potential() -> Potential:
    rng, grid = np.random.default_rng(0), Grid.spanning(-8.0, 0.25, 73)
    structures = training_data().structures
    species = sorted({int(z) for structure in structures for z in structure.numbers})
    basis = SnapModel(twojmax=2).basis(species)
    ground = SnapModel(twojmax=2).potential(basis, 1e-3 * rng.normal(size=basis.size), dict.fromkeys(species, -1.0))
    widths = 1.5 + 0.4 * rng.random(len(structures))
    densities = [4.0 * np.exp(-0.5 * (grid.points / width) ** 2) / width for width in widths]
    environment = {"cutoff": 4.0, "nradmax": [3, 2], "lmax": [0, 1], "functions": 12, "environments": 40, "length": 5.0}
    settings = DosSettings(environment=environment, ridge=0.1)
    return HotElectronPotential(ground, fit_dos(DosData.of(structures, grid, densities), settings, rng=rng), 3000.0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_hot_electrons_keep_the_contract(
    potential: Potential, check: Callable[[Potential, Path], None], tmp_path: Path
) -> None:
    check(potential, tmp_path)
