"""Coordination numbers and kinds of bonds of crystals and molecules."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from forcewright import analyze
from forcewright.errors import InputError


@pytest.mark.parametrize(
    ("atoms", "cutoff", "number"),
    [
        (bulk("Cu"), None, 12),
        (bulk("Si"), None, 4),
        (bulk("Fe"), 3.2, 14),
        (bulk("Fe"), None, 8),
        (bulk("NaCl", "rocksalt", 5.64), None, 6),
        (bulk("Po", "sc", 3.35), None, 6),
    ],
)
def test_crystals(atoms: Atoms, cutoff: float | None, number: int) -> None:
    result = analyze.coordination([atoms, atoms], cutoff=cutoff)
    assert result.mean_total == pytest.approx(number)
    assert result.distribution_total[number] == 1.0
    assert (result.last == number).all()
    assert all(spread == 0 for spread in result.deviation.values())


def test_species_apart() -> None:
    result = analyze.coordination([molecule("CH3OH")], cutoff=1.6)
    assert result.by_pair["C", "H"] == 3 and result.by_pair["O", "H"] == 1
    assert result.by_pair["H", "C"] == 0.75 and result.by_pair["C", "O"] == 1
    assert result.mean["C"] == 4 and result.mean["O"] == 2 and result.mean["H"] == 1
    assert result.mean_total == pytest.approx(10 / 6)
    assert result.distribution["H"].tolist() == [0, 1, 0, 0, 0]
    assert result.distribution_total == pytest.approx([0, 4 / 6, 1 / 6, 0, 1 / 6])


def test_running_coordination_of_g_agrees() -> None:
    atoms = bulk("NaCl", "rocksalt", 5.64) * 3
    atoms.rattle(0.1, seed=0)
    counted = analyze.coordination([atoms], cutoff=6.0)
    running = analyze.rdf([atoms], r_max=6.0, bins=60)
    assert all(running.coordination[pair][-1] == pytest.approx(counted.by_pair[pair]) for pair in counted.by_pair)


def test_bonds_of_an_ordered_and_a_swapped_alloy() -> None:
    ordered = bulk("GeTe", "rocksalt", 6.0, cubic=True) * 2
    assert analyze.bond_statistics([ordered]).share == {("Ge", "Ge"): 0, ("Ge", "Te"): 1, ("Te", "Te"): 0}
    assert analyze.bond_statistics([ordered]).per_atom["Ge", "Te"] == pytest.approx(3)
    swapped = ordered.copy()
    swapped.numbers[[0, 1]] = swapped.numbers[[1, 0]]  # neighbors: each has five wrong bonds then, and shares one right
    found = analyze.bond_statistics([ordered, swapped])
    assert found.homopolar == pytest.approx(0.5 * 10 / 192)
    assert found.homopolar_deviation == pytest.approx(0.5 * 10 / 192)
    assert found.wrong == found.homopolar
    assert sum(found.share.values()) == pytest.approx(1)


def test_wrong_bonds_of_groups() -> None:
    atoms = Atoms("GeSbTeTe", positions=[[0, 0, 0], [2.8, 0, 0], [5.6, 0, 0], [8.4, 0, 0]])
    found = analyze.bond_statistics([atoms], cutoff=3.0, alike=[("Ge", "Sb"), ("Te",)])
    assert found.wrong == pytest.approx(2 / 3)  # Ge-Sb and Te-Te
    assert found.homopolar == pytest.approx(1 / 3)


def test_same_whatever_the_cell() -> None:
    rng = np.random.default_rng(0)
    atoms = Atoms("Si6O12", cell=[[6, 0, 0], [1, 7, 0], [2, -1, 5]], pbc=True)
    atoms.set_scaled_positions(rng.random((18, 3)))
    reference = analyze.coordination([atoms], cutoff=2.5)
    skew = atoms.copy()
    skew.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ atoms.cell.array)
    for other in (skew, atoms.repeat((1, 2, 2))):
        found = analyze.coordination([other], cutoff=2.5)
        assert found.by_pair == pytest.approx(reference.by_pair)
        assert found.distribution_total == pytest.approx(reference.distribution_total)


def test_bad_input_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="has no bond"):
        analyze.bond_statistics([bulk("Si")], cutoff=1.0)
    with pytest.raises(InputError, match="names 'Te'"):
        analyze.bond_statistics([bulk("Si")], alike=[("Te",)])
    with pytest.raises(InputError, match="two lengths for"):
        analyze.coordination([bulk("NaCl", "rocksalt", 5.6)], cutoff={("Na", "Cl"): 3.0, ("Cl", "Na"): 2.0})
    with pytest.raises(InputError, match="holds no frame"):
        analyze.coordination([])


def test_figures_can_be_drawn() -> None:
    assert analyze.coordination([bulk("Si")]).plot().get_xlabel() == "neighbors"
    assert "homopolar" in analyze.bond_statistics([bulk("Si")]).plot().get_title()
