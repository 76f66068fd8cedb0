"""Distances from the center of mass of motions that are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from forcewright import analyze
from forcewright.errors import InputError
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot


def test_a_rigid_molecule_keeps_its_distances_wherever_it_goes() -> None:
    water = molecule("H2O")
    frames = []
    for step in range(5):
        moved = water.copy()
        moved.rotate(30 * step, "x")
        moved.positions += [7.0 * step, -3.0, step**2]
        frames.append(moved)
    result = analyze.distance_from_center(frames)
    expected = np.linalg.norm(water.positions - water.get_center_of_mass(), axis=1)
    assert result.distance == pytest.approx(np.tile(expected, (5, 1)))
    assert result.deviation == pytest.approx(np.zeros(3), abs=1e-12)
    assert result.center[3] == pytest.approx(frames[3].get_center_of_mass())
    assert not result.timed and result.time.tolist() == [0, 1, 2, 3, 4]


def test_an_atom_that_leaves_is_told_from_the_others() -> None:
    crystal = bulk("C", cubic=True) * 2
    frames = []
    for step in range(4):
        positions = crystal.positions.copy()
        positions[5, 0] += 10.0 * step  # through the cell's faces, not folded back
        structure = Structure(crystal.numbers, positions, crystal.cell.array, crystal.pbc)
        frames.append(Snapshot(structure, time=2.0 * step))
    result = analyze.distance_from_center(frames, atoms=[5, 6])
    assert result.time.tolist() == [0, 2, 4, 6] and result.timed
    start = crystal.positions[5] - crystal.positions.mean(axis=0)
    for step in range(4):
        # the center follows by 1/64 of the way
        expected = np.linalg.norm(start + [10.0 * step * 63 / 64, 0, 0])
        assert result.distance[step, 0] == pytest.approx(expected)
    assert result.deviation[0] > 10 * result.deviation[1]
    assert result.symbols == ("C", "C")


def test_bad_input_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="from 0 to 2"):
        analyze.distance_from_center([molecule("H2O")], atoms=[3])
    with pytest.raises(InputError, match="another order"):
        analyze.distance_from_center([Atoms("CO"), Atoms("OC")])
    with pytest.raises(InputError, match="holds no frame"):
        analyze.distance_from_center([])


def test_figure_can_be_drawn() -> None:
    assert analyze.distance_from_center([molecule("H2O")] * 3).plot().get_xlabel() == "frame"
