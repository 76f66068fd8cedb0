"""Crystal growth: argon below its melting point grows into its melt, above it melts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.build
import numpy as np
import pytest

from forcewright.errors import InputError
from forcewright.neighbors import find_neighbors
from forcewright.protocols.growth import follow_growth, stack_on_melt
from forcewright.recipes.simulate import simulate
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _argon(repeat: int, a: float = 5.4) -> Structure:
    return Structure.from_ase(ase.build.bulk("Ar", "fcc", a=a, cubic=True) * (repeat, repeat, repeat))


def _disordered(crystal: Structure, rng: np.random.Generator) -> Snapshot:
    positions = crystal.positions + rng.normal(0, 0.8, crystal.positions.shape)
    return Snapshot(Structure(crystal.numbers, positions, crystal.cell, crystal.pbc))


def test_a_stack_keeps_its_halves_apart(rng: np.random.Generator) -> None:
    crystal = _argon(3)
    melt = _disordered(crystal, rng)
    stack = stack_on_melt(crystal, melt, axis=1, closest=0.9).structure
    count = len(crystal)
    assert len(stack) == 2 * count and stack.cell[1, 1] > 2 * crystal.cell[1, 1]
    np.testing.assert_array_equal(stack.cell[[0, 2]], crystal.cell[[0, 2]])
    np.testing.assert_array_equal(stack.positions[:count], crystal.positions)
    pairs = find_neighbors(stack, 6.0)
    across = (pairs.centers < count) != (pairs.indices < count)
    assert pairs.distances[across].min() >= 0.9 * 5.4 / 2**0.5


def test_the_crystalline_half_is_told_from_the_other(rng: np.random.Generator) -> None:
    crystal = _argon(4)
    stack = stack_on_melt(crystal, _disordered(crystal, rng))
    whole = _argon(4)
    found = follow_growth([stack, Snapshot(Structure.from_ase(whole.to_ase() * (1, 1, 2)))], len(crystal))
    assert found.crystalline_share[0] == pytest.approx(0.5, abs=0.12)
    assert found.crystalline_share[1] == 1.0
    assert found.order_of_template == pytest.approx(0.575, abs=0.01)  # q6 of fcc: 0.57452 (Steinhardt 1983)
    low, high = np.array_split(found.profile[0], 2)
    assert np.nanmean(low[2:-2]) > 0.9 and np.nanmean(high[2:-2]) < 0.2


def test_cells_that_differ_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="different cells"):
        stack_on_melt(_argon(3), _disordered(_argon(3, a=5.5), rng))


@pytest.mark.slow
@pytest.mark.parametrize(("kelvin", "grows"), [(60.0, True), (130.0, False)])
def test_argon_grows_below_its_melting_point(kelvin: float, grows: bool, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "potential": {"lammps": {"pair_style": "lj/cut 8.5", "pair_coeff": "* * 0.0104 3.4", "species": ["Ar"]}},
        "structure": {"bulk": "Ar", "crystalstructure": "fcc", "a_A": 5.4, "cubic": True, "repeat": 4},
        "protocol": {
            "kind": "growth",
            "temperature_K": kelvin,
            "melt_K": 300,
            "time_ps": 30,
            "timestep_fs": 4,
            "pressure_GPa": 0.05,
        },
        "trajectory": {"every_fs": 1000},
        "output": str(tmp_path / "run"),
    }
    result = simulate(config)
    assert result.completed
    page = (tmp_path / "run" / "growth" / "report.html").read_text()
    assert "crystal-like atoms" in page
    grown = follow_growth(result.trajectory, 256)
    assert grown.grew > 0.3 if grows else grown.grew < -0.2
