"""Closed cells against ASE's distances between images."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from forcewright.open_cell import closed_cell, complement
from forcewright.structure import Structure

SKEWED = np.array([[4.0, 0.3, 0.0], [-1.5, 5.0, 0.4], [1.0, 2.0, 3.7]])


@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("cell", [SKEWED, SKEWED[[1, 0, 2]], "open vectors missing"])
def test_images_are_as_far_apart_as_asked(pbc: tuple[bool, bool, bool], cell: np.ndarray | str) -> None:
    periodic = np.array(pbc)
    cell = np.where(periodic[:, None], SKEWED, 0.0) if isinstance(cell, str) else cell
    positions = np.random.default_rng(0).uniform(-4, 4, (6, 3))
    closed = closed_cell(Structure(np.full(6, 14), positions, cell, pbc), 5.0, 1.0)
    np.testing.assert_array_equal(closed.cell[periodic], cell[periodic])
    np.testing.assert_array_equal(closed.positions, positions)
    assert closed.pbc.tolist() == list(pbc)
    if not periodic.all():
        assert np.linalg.det(closed.cell) > 0
    atoms = Atoms("Si6", positions, cell=closed.cell, pbc=True)
    shifts = neighbor_list("S", atoms, 5.999)
    assert not shifts[:, ~periodic].any()
    if not periodic.all():
        across = neighbor_list("S", atoms, 6.001 + np.linalg.norm(np.ptp(positions, axis=0)))
        assert across[:, ~periodic].any()


@pytest.mark.parametrize("count", range(4))
def test_a_complement_stands_at_right_angles(count: int) -> None:
    vectors = np.random.default_rng(count).normal(size=(count, 3))
    rest = complement(vectors)
    assert rest.shape == (3 - count, 3)
    np.testing.assert_allclose(rest @ rest.T, np.eye(3 - count), atol=1e-14)
    np.testing.assert_allclose(rest @ vectors.T, 0.0, atol=1e-14)
