"""Van Hove functions of walks, of two atoms in known places, and at lag 0, where the distinct part is g(r)."""

from __future__ import annotations

import numpy as np
import pytest

from forcewright import analyze
from forcewright.errors import InputError
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

CELL = np.array([[11.0, 0, 0], [3.0, 12.0, 0], [-2.0, 2.5, 10.0]])


def frames_of(positions: np.ndarray, numbers: list[int], cells: np.ndarray = CELL, fold: bool = True) -> list[Snapshot]:
    cells = np.broadcast_to(cells, (len(positions), 3, 3))
    frames = []
    for k, (x, cell) in enumerate(zip(positions, cells, strict=True)):
        fractions = x @ np.linalg.inv(cell)
        inside = (fractions - np.floor(fractions)) @ cell if fold else x
        frames.append(Snapshot(Structure(numbers, inside, cell, (True,) * 3), time=2.0 * k))
    return frames


def test_self_part_of_a_random_walk_is_gaussian() -> None:
    rng = np.random.default_rng(0)
    path = rng.uniform(0, 10, (400, 3)) + np.cumsum(rng.normal(0, 0.3, (300, 400, 3)), axis=0)
    found = analyze.van_hove(frames_of(path, [3] * 400), [2.0, 20.0], bins=40, r_max=4.0, distinct=False)
    shells = 4 / 3 * np.pi * np.diff(np.linspace(0, 4, 41) ** 3)
    for row, variance in enumerate((0.09, 0.9)):
        expected = np.exp(-(found.r**2) / (2 * variance)) / (2 * np.pi * variance) ** 1.5
        assert np.sum(np.abs(found.self_part["Li"][row] - expected) * shells) < 0.03
    assert np.sum(found.self_part["Li"][0] * shells) == pytest.approx(1.0, abs=1e-6)


def test_two_atoms_in_known_places() -> None:
    """One stays, one moves by 0.5317 Å a frame along x: all distances are known, across the boundary too."""
    steps = np.arange(40)
    path = np.zeros((40, 2, 3))
    path[:, 0] = [1.0, 1.0, 1.0]
    path[:, 1] = np.array([2.234, 1.0, 1.0]) + 0.5317 * steps[:, None] * [1.0, 0.0, 0.0]
    frames = frames_of(path, [3, 16], np.eye(3) * 12)
    found = analyze.van_hove(frames, [8.0], bins=60, r_max=6.0, remove_drift=False)
    shells = 4 / 3 * np.pi * np.diff(np.linspace(0, 6, 61) ** 3)
    counted = found.self_part["S"][0] * shells
    assert counted[21] == pytest.approx(1.0)  # four frames: 2.127 Å
    assert found.self_part["Li"][0][0] * shells[0] == pytest.approx(1.0)
    # From Li to S four frames later, and from S to Li, which stays; modulo the cell of 12 Å.
    gaps = np.concatenate([1.234 + 0.5317 * (steps[:36] + 4), 1.234 + 0.5317 * steps[:36]])
    gaps = np.abs(gaps - 12 * np.rint(gaps / 12))
    expected = np.histogram(gaps, bins=np.linspace(0, 6, 61))[0] / 36
    counted = found.distinct["Li", "S"][0] * shells * 2 / 12**3
    np.testing.assert_allclose(counted, expected, atol=1e-9)
    assert found.distinct["Li", "Li"].max() == 0.0


def test_ideal_gas_is_even() -> None:
    rng = np.random.default_rng(1)
    path = rng.uniform(0, 1, (60, 150, 3)) @ CELL
    frames = [Snapshot(Structure([3] * 150, x, CELL, (True,) * 3), time=2.0 * k) for k, x in enumerate(path)]
    found = analyze.van_hove(frames, [4.0], bins=10, r_max=5.0, remove_drift=False)
    np.testing.assert_allclose(found.distinct["total"][0][3:], 149 / 150, atol=0.03)


def test_lag_zero_is_the_radial_distribution_also_where_the_cell_changes() -> None:
    rng = np.random.default_rng(2)
    cells = CELL * (1 + 0.02 * rng.normal(size=(30, 1, 1)))
    fractions = rng.uniform(0, 1, (40, 3)) + np.cumsum(rng.normal(0, 0.02, (30, 40, 3)), axis=0)
    frames = frames_of(np.einsum("tai,tij->taj", fractions, cells), [3] * 15 + [16] * 25, cells)
    found = analyze.van_hove(frames, [0.0], bins=20, r_max=4.5)
    g = analyze.rdf(frames, r_max=4.5, bins=20)
    for pair in (("Li", "Li"), ("Li", "S"), ("S", "S")):
        np.testing.assert_allclose(found.distinct[pair][0], g.partial[pair], rtol=1e-9, atol=1e-12)


def test_crystal_keeps_its_shells() -> None:
    points = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * 3.0
    frames = frames_of(np.tile(points, (12, 1, 1)), [3] * 64, np.eye(3) * 12)
    found = analyze.van_hove(frames, [2.0], bins=50, r_max=5.0)
    shells = 4 / 3 * np.pi * np.diff(np.linspace(0, 5, 51) ** 3)
    around = found.distinct["total"][0] * shells * 64 / 12**3
    assert around[29:31].sum() == pytest.approx(6) and around[42] == pytest.approx(12)
    assert found.self_part["total"][0][0] * shells[0] == pytest.approx(1.0)


def test_mistakes_get_a_sentence() -> None:
    frames = frames_of(np.zeros((10, 2, 3)) + [[0, 0, 0], [2, 0, 0]], [3, 3])
    with pytest.raises(InputError, match="between 0 and 18 fs"):
        analyze.van_hove(frames, [50.0])
    with pytest.raises(InputError, match="bins"):
        analyze.van_hove(frames, bins=0)
    open_frames = [Snapshot(Structure([3, 3], [[0, 0, 0], [1, 0, 0]]), time=2.0 * k) for k in range(5)]
    with pytest.raises(InputError, match="open directions"):
        analyze.van_hove(open_frames)
    found = analyze.van_hove(open_frames, [2.0], r_max=2.0, distinct=False)
    assert found.distinct == {} and len(found.plot().get_lines()) == 1
