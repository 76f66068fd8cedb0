"""Neighbors against ASE's list: every kind of boundary, small and skewed cells, groups, and the cache with a skin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list

from forcewright.errors import InputError
from forcewright.neighbors import NeighborCache, Neighbors, NeighborSearch, find_neighbors
from forcewright.structure import Structure


def table(centers: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Pairs as rows in an order that depends on nothing but the pairs."""
    rows = np.column_stack([centers, indices, np.round(vectors, 8) + 0.0])
    return rows[np.lexsort(rows.T[::-1])]


def assert_equals_ase(atoms: Atoms, cutoff: float) -> Neighbors:
    found = find_neighbors(Structure.from_ase(atoms), cutoff)
    i, j, vectors = neighbor_list("ijD", atoms, cutoff, self_interaction=False)
    assert len(found.indices) == len(i)
    assert found.starts[-1] == len(i)
    np.testing.assert_allclose(table(found.centers, found.indices, found.vectors), table(i, j, vectors), atol=2e-8)
    return found


@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("cutoff", [1.5, 3.1, 6.5])
def test_mixed_boundaries_in_a_skewed_cell(pbc: tuple[bool, bool, bool], cutoff: float) -> None:
    rng = np.random.default_rng(3)
    cell = np.array([[4.0, 0.3, 0.0], [-1.5, 5.0, 0.4], [1.0, 2.0, 3.7]])
    # Far outside the cell as well: molecular dynamics does not wrap.
    atoms = Atoms("Si12", positions=rng.uniform(-9, 9, (12, 3)), cell=cell, pbc=pbc)
    assert_equals_ase(atoms, cutoff)


def test_tiny_cell_with_many_images() -> None:
    found = assert_equals_ase(bulk("Cu"), 9.0)
    assert (found.distances < 9.0).all()
    assert len(found.indices) > 200


@pytest.mark.parametrize("name", ["C6H6", "H2O"])
def test_molecule_without_cell(name: str) -> None:
    assert_equals_ase(molecule(name), 2.0)


def test_slab_with_a_missing_cell_vector() -> None:
    atoms = fcc111("Cu", (2, 2, 3))
    assert not atoms.cell[2].any()
    assert_equals_ase(atoms, 5.0)


def test_wire_with_two_missing_cell_vectors() -> None:
    assert_equals_ase(Atoms("H3", [[0, 0, 0], [1, 0.2, 0], [2, 0, 0.3]], cell=[3, 0, 0], pbc=[True, False, False]), 4.0)


@pytest.mark.parametrize("pbc", [(False, False, False), (True, False, True), (False, True, False)])
def test_cell_vectors_of_open_directions_mean_nothing(pbc: tuple[bool, bool, bool]) -> None:
    rng = np.random.default_rng(4)
    cell = np.array([[4.0, 0.0, 0.0], [4.0, 0.0, 2.0], [0.0, 0.0, 3.0]])  # in a plane
    positions = rng.uniform(-3, 3, (8, 3))
    whole = np.where(np.array(pbc)[:, None], cell, [[0, 9.0, 0], [0, 9.0, 0], [9.0, 9.0, 0]])
    found = find_neighbors(Structure(np.full(8, 14), positions, cell, pbc), 3.5)
    i, j, vectors = neighbor_list("ijD", Atoms("Si8", positions, cell=whole * (1 if any(pbc) else 0), pbc=pbc), 3.5)
    np.testing.assert_allclose(table(found.centers, found.indices, found.vectors), table(i, j, vectors), atol=2e-8)


def test_lonely_atoms_have_no_neighbors() -> None:
    structure = Structure(np.full(3, 18), np.array([[0, 0, 0], [1e7, 0, 0], [0, -1e8, 3.0]]))
    found = find_neighbors(structure, 5.0)
    assert found.starts.tolist() == [0, 0, 0, 0]
    assert found.vectors.shape == (0, 3)


def test_coincident_atoms_are_neighbors() -> None:
    found = find_neighbors(Structure(np.full(2, 1), np.zeros((2, 3))), 1.0)
    assert found.indices.tolist() == [1, 0]


def test_groups_sort_the_pairs_of_each_center() -> None:
    atoms = bulk("NaCl", "rocksalt", 5.6, cubic=True)
    groups = (atoms.numbers == 17).astype(int)
    structure = Structure.from_ase(atoms)
    found = find_neighbors(structure, 4.5, group_of=groups, groups=3)
    assert len(found.starts) == 8 * 3 + 1
    for i, g in itertools.product(range(8), range(3)):
        part = slice(*found.starts[3 * i + g : 3 * i + g + 2])
        assert (groups[found.indices[part]] == g).all()
    plain = find_neighbors(structure, 4.5)
    np.testing.assert_allclose(
        table(found.centers, found.indices, found.vectors), table(plain.centers, plain.indices, plain.vectors)
    )


def test_search_of_some_centers_gives_their_pairs() -> None:
    structure = Structure.from_ase(bulk("Si", cubic=True).repeat(2))
    search, every = NeighborSearch(structure, 5.0), find_neighbors(structure, 5.0)
    some = np.array([7, 3, 60], dtype=np.int32)
    starts = np.empty(4, dtype=np.int64)
    indices, _ = search.of(some, starts, np.empty(1, dtype=np.int32), np.empty((1, 3)))
    for k, center in enumerate(some):
        expected = every.indices[every.starts[center] : every.starts[center + 1]]
        assert indices[starts[k] : starts[k + 1]].tolist() == expected.tolist()


def test_cache_reuses_until_an_atom_moves_half_the_skin() -> None:
    atoms = bulk("Si", cubic=True).repeat(2)
    cache = NeighborCache(4.0, skin=0.6)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(len(atoms), 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    start = atoms.positions.copy()
    for amount, rebuilds in ((0.0, 1), (0.1, 1), (0.299, 1), (0.301, 2), (0.5, 2), (0.0, 3)):
        atoms.positions = start + amount * direction
        found = cache.neighbors(Structure.from_ase(atoms))
        assert cache.rebuilds == rebuilds
        near = found.distances < 4.0
        i, j, vectors = neighbor_list("ijD", atoms, 4.0)
        got = table(found.centers[near], found.indices[near], found.vectors[near])
        np.testing.assert_allclose(got, table(i, j, vectors), atol=2e-8)


def test_cache_notices_a_new_cell_boundary_or_species() -> None:
    atoms = bulk("Si", cubic=True)
    cache = NeighborCache(4.0)
    cache.neighbors(Structure.from_ase(atoms))
    atoms.set_cell(atoms.cell.array * 1.001)
    cache.neighbors(Structure.from_ase(atoms))
    assert cache.rebuilds == 2
    atoms.pbc = [True, True, False]
    cache.neighbors(Structure.from_ase(atoms))
    assert cache.rebuilds == 3
    atoms.symbols[0] = "Ge"
    cache.neighbors(Structure.from_ase(atoms))
    assert cache.rebuilds == 4
    cache.neighbors(Structure.from_ase(atoms.repeat(2)))
    assert cache.rebuilds == 5


def test_errors_say_what_is_wrong() -> None:
    atom = Structure(np.array([1]), np.zeros((1, 3)))
    with pytest.raises(InputError, match="above 0"):
        find_neighbors(atom, 0.0)
    with pytest.raises(InputError, match="direction 2 is periodic"):
        find_neighbors(
            Structure(np.array([1]), np.zeros((1, 3)), np.diag([3.0, 3.0, 0.0]), np.ones(3, dtype=bool)), 2.0
        )
    with pytest.raises(InputError, match="lie in a plane"):
        find_neighbors(Structure(np.array([1]), np.zeros((1, 3)), np.ones((3, 3)), np.ones(3, dtype=bool)), 2.0)
    with pytest.raises(InputError, match="atom 0 stands at"):
        find_neighbors(Structure(np.array([1]), np.array([[0, np.nan, 0]])), 2.0)
