"""Hydrogen bonds of ordered ice, of a dimer whose geometry is turned, and of what is no water."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from forcewright import analyze
from forcewright.errors import InputError

EDGE = 6.358  # Å, cubic ice: O-O 2.753 Å
DIRECTIONS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


def cubic_ice() -> Atoms:
    """Oxygen on diamond's lattice; one half donates along two bonds, the other along the other two."""
    atoms = bulk("O", "diamond", EDGE)
    hydrogen = [0.98 * DIRECTIONS[0], 0.98 * DIRECTIONS[1]]
    hydrogen += [atoms.positions[1] - 0.98 * DIRECTIONS[2], atoms.positions[1] - 0.98 * DIRECTIONS[3]]
    return atoms + Atoms("H4", positions=hydrogen)


def dimer(apart: float, turned: float) -> Atoms:
    """Two molecules: the first donates along x, turned away by an angle in degrees."""
    angle = np.radians(turned)
    first = [[0, 0, 0], [0.96 * np.cos(angle), 0.96 * np.sin(angle), 0], [-0.24, 0.0, 0.93]]
    second = [[apart, 0, 0], [apart + 0.6, 0.75, 0], [apart + 0.6, -0.75, 0]]
    return Atoms("OHHOHH", positions=first + second)


@pytest.mark.parametrize("repeat", [(1, 1, 1), (2, 1, 3)])
def test_all_of_ice_is_a2d2(repeat) -> None:
    ice = cubic_ice().repeat(repeat)
    ice.positions += np.random.default_rng(0).integers(-2, 3, (len(ice), 3)) @ ice.cell.array  # molecules torn apart
    result = analyze.hydrogen_bonds([ice])
    assert result.classes == {"A2D2": 1.0}
    assert result.per_atom == 4.0
    assert (result.accepted == 2).all() and (result.donated == 2).all()


def test_one_bond_of_a_dimer() -> None:
    result = analyze.hydrogen_bonds([dimer(2.9, 0.0)])
    assert result.accepted.tolist() == [0, 1] and result.donated.tolist() == [1, 0]
    assert result.classes == {"A0D1": 0.5, "A1D0": 0.5}


@pytest.mark.parametrize(("apart", "turned", "bonds"), [(2.9, 29.0, 1), (2.9, 31.0, 0), (3.45, 0.0, 1), (3.55, 0.0, 0)])
def test_limits_of_distance_and_angle(apart: float, turned: float, bonds: int) -> None:
    assert analyze.hydrogen_bonds([dimer(apart, turned)]).donated.sum() == bonds


def test_shares_are_means_over_frames() -> None:
    result = analyze.hydrogen_bonds([dimer(2.9, 0), dimer(6.0, 0)])
    assert result.classes == {"A0D0": 0.5, "A0D1": 0.25, "A1D0": 0.25}
    assert result.deviation == {"A0D0": 0.5, "A0D1": 0.25, "A1D0": 0.25}
    assert result.per_atom == 0.5
    assert result.frames == 2


def test_hydrogen_on_carbon_donates_nothing() -> None:
    methane = molecule("CH4")
    methane.positions += [0, 0, 3.0]
    result = analyze.hydrogen_bonds([molecule("H2O") + methane])
    assert result.elements == ("O",)
    assert result.classes == {"A0D0": 1.0}


def test_bad_input_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="'H', the frames hold Si"):
        analyze.hydrogen_bonds([bulk("Si")])
    with pytest.raises(InputError, match="none of N, O, F"):
        analyze.hydrogen_bonds([molecule("CH4")])
    with pytest.raises(InputError, match="between 0 and 180"):
        analyze.hydrogen_bonds([molecule("H2O")], angle=0)
    with pytest.raises(InputError, match="holds no frame"):
        analyze.hydrogen_bonds([])


def test_figure_can_be_drawn() -> None:
    assert analyze.hydrogen_bonds([dimer(2.9, 0), dimer(6.0, 0)]).plot().get_ylabel() == "share of molecules"
