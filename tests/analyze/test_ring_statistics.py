"""Rings of networks whose rings are known, and of small ones against a search of every cycle."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from scipy.sparse.csgraph import shortest_path

from forcewright import analyze
from forcewright.errors import InputError


def cristobalite() -> Atoms:
    """Silicon's diamond lattice with an oxygen atom on every bond."""
    silicon = bulk("Si", "diamond", 7.2, cubic=True)
    middles = []
    for first in silicon.positions:
        for second in silicon.positions:
            vector = second - first
            vector -= 7.2 * np.rint(vector / 7.2)
            if 1.0 < np.linalg.norm(vector) < 3.2:
                middles.append(tuple(np.round((first + vector / 2) % 7.2, 6) % 7.2))
    unique = sorted(set(middles))
    return silicon + Atoms(f"O{len(unique)}", positions=unique)


def rings_by_brute_force(atoms: Atoms, cutoff: float, max_size: int) -> dict[int, int]:
    """Walk every simple cycle of an open cluster and keep those without a shortcut."""
    apart = atoms.get_all_distances()
    graph = (apart < cutoff) & (apart > 0)
    steps = shortest_path(graph, unweighted=True)
    counts = dict.fromkeys(range(3, max_size + 1), 0)

    def walk(path: list[int]) -> None:
        if len(path) > 2 and graph[path[-1], path[0]] and path[1] < path[-1]:
            n = len(path)
            along = [[min(abs(i - j), n - abs(i - j)) for j in range(n)] for i in range(n)]
            counts[n] += bool((steps[np.ix_(path, path)] == along).all())
        if len(path) < max_size:
            for node in np.flatnonzero(graph[path[-1]]):
                if node > path[0] and node not in path:
                    walk([*path, int(node)])

    for root in range(len(atoms)):
        walk([root])
    return counts


@pytest.mark.parametrize(
    ("atoms", "cutoff", "expected"),
    [
        # Rings per atom. Diamond: each of 6 pairs of bonds of an atom lies in 2 six-membered rings, 12 / 6 = 2.
        (bulk("C", "diamond", 3.57), 1.7, {6: 2.0}),
        (bulk("C", "diamond", 3.57, cubic=True) * (2, 1, 3), 1.7, {6: 2.0}),
        (graphene("C2", a=2.46, vacuum=5.0), 1.6, {6: 0.5}),
        # A cube has six squares, each shared by two, and four hexagons without a shortcut.
        (bulk("Po", "sc", 3.35), 3.5, {4: 3.0, 6: 4.0}),
        (bulk("Cu", "fcc", 3.6), 2.8, {3: 8.0, 4: 3.0}),
        (cristobalite(), {("Si", "O"): 1.7}, {12: 2.0 / 3.0}),  # diamond's, twice as long, over three times the atoms
    ],
    ids=["diamond", "diamond-supercell", "graphene", "simple-cubic", "fcc", "cristobalite"],
)
def test_known_networks(atoms: Atoms, cutoff, expected: dict[int, float]) -> None:
    result = analyze.rings([atoms], cutoff=cutoff)
    found = {int(n): value for n, value in zip(result.size, result.rings_per_atom, strict=True) if value}
    assert found == pytest.approx(expected)
    assert all(result.atoms_in_rings[n - 3] == 1.0 for n in expected)


def test_fullerene_has_12_pentagons_and_20_hexagons() -> None:
    result = analyze.rings([molecule("C60")], cutoff=1.6, max_size=8)
    assert (60 * result.rings_per_atom).tolist() == pytest.approx([0, 0, 12, 20, 0, 0])
    assert result.atoms_in_rings.tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("seed", range(6))
def test_random_clusters_against_every_cycle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    atoms = Atoms("C26", positions=rng.random((26, 3)) * [5.0, 5.0, 3.0])
    result = analyze.rings([atoms], cutoff=1.75, max_size=9)
    expected = rings_by_brute_force(atoms, 1.75, 9)
    assert sum(expected.values()) > 5
    assert (26 * result.rings_per_atom).tolist() == pytest.approx(list(expected.values()))


def test_small_periodic_network_equals_its_supercell() -> None:
    rng = np.random.default_rng(2)
    atoms = Atoms("C16", cell=[[6.0, 0, 0], [1.0, 5.5, 0], [-1.0, 0.5, 5.0]], pbc=True)
    atoms.set_scaled_positions(rng.random((16, 3)))
    reference = analyze.rings([atoms], cutoff=2.6, max_size=8)
    assert np.count_nonzero(reference.rings_per_atom) >= 4
    wrapped = atoms.copy()
    wrapped.positions += rng.integers(-3, 4, (16, 3)) @ atoms.cell.array
    for other in (atoms.repeat((2, 1, 2)), atoms.repeat((4, 4, 4)), wrapped):
        result = analyze.rings([other], cutoff=2.6, max_size=8)
        assert result.rings_per_atom == pytest.approx(reference.rings_per_atom)
        assert result.atoms_in_rings == pytest.approx(reference.atoms_in_rings)


def test_averages_over_frames() -> None:
    diamond, stretched = bulk("C", "diamond", 3.57), bulk("C", "diamond", 4.5)
    result = analyze.rings([diamond, stretched], cutoff=1.7, max_size=6)
    assert result.rings_per_atom[-1] == pytest.approx(1.0)
    assert result.deviation[-1] == pytest.approx(1.0)
    assert result.frames == 2


def test_bad_input_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="at least 3"):
        analyze.rings([bulk("Si")], max_size=2)
    with pytest.raises(InputError, match="holds no frame"):
        analyze.rings([])


def test_figure_can_be_drawn() -> None:
    assert analyze.rings([bulk("Si")]).plot().get_ylabel() == "rings per atom"
