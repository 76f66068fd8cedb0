"""Combinations of ACE's functions by how far they tell elements apart."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.data import covalent_radii

from forcewright.features.ace.basis import AceBasis, RadialSettings
from forcewright.features.ace.basis_functions import generate_functions
from forcewright.features.ace.sharing import share_between_species
from forcewright.features.bispectrum import Bispectrum
from forcewright.features.element_similarity import element_directions, valence_electrons
from forcewright.structure import Structure

LIMITS = {"nradmax": (4, 3, 2, 2, 2), "lmax": (0, 2, 2, 1, 1)}


def basis_of(species: tuple[int, ...], count: int | None = None) -> AceBasis:
    cutoffs = tuple((5.0,) * len(species) for _ in species)
    return AceBasis(species, RadialSettings(), cutoffs, generate_functions(len(species), count=count, **LIMITS))


@pytest.mark.parametrize(("species", "count"), [((29, 42), None), ((13, 28, 42), 90)])
def test_parts_of_order_zero_do_not_know_elements(species: tuple[int, ...], count: int | None) -> None:
    """Their energy is that of one element in the place of all, whose functions are as many."""
    basis = basis_of(species, count)
    sharing = basis.sharing()
    blind = np.flatnonzero(np.all(sharing.orders < 1e-9, axis=1))
    if count is None:
        assert len(blind) == basis_of((29,)).size
    rng = np.random.default_rng(1)
    atoms = Atoms(numbers=[species[0]] * 10, positions=rng.uniform(0, 6, (10, 3)), cell=[6.5] * 3, pbc=True)
    energies = []
    for numbers in ([species[0]] * 10, rng.choice(species, 10), rng.choice(species, 10)):
        atoms.numbers = numbers
        energies.append(basis.rows(Structure.from_ase(atoms)).energy @ sharing.mixing)
    np.testing.assert_allclose(np.array(energies)[:, blind], np.tile(energies[0][blind], (3, 1)), atol=1e-10)
    assert np.abs(energies[0] - energies[1]).max() > 1e-2


def kernel(species: tuple[int, ...], power: float) -> np.ndarray:
    """Return the covariance between elements, of which the mean of all has unit variance."""
    directions, precisions = element_directions(species)
    return directions.T @ np.diag(np.exp(-power * precisions)) @ directions


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_covariance_of_pairs_of_neighbors_is_that_of_symmetric_tensors(power: float) -> None:
    """Sum over all ways to name the neighbors of a product of two factors, one by one."""
    species = (13, 28, 42)
    functions = generate_functions(3, nradmax=(0, 2), lmax=(0, 1))
    sharing = share_between_species(functions, species)
    mixing = sharing.mixing.toarray()
    covariance = mixing @ np.diag(np.exp(-power * sharing.orders.sum(axis=1))) @ mixing.T
    columns = [f for block in functions for f in block]
    kappa = kernel(species, power)

    def tensor_entries(f) -> list[tuple[int, int]]:  # which X[z1, z2] of a label add up to the coefficient
        first, second = zip(f.ns, f.ls, strict=True)
        pair = sorted(zip(zip(f.ns, f.ls, strict=True), f.species, strict=True))
        straight = tuple(z for _, z in pair)
        return sorted({straight, straight[::-1]}) if first == second else [straight]

    for a, b in product(range(len(columns)), repeat=2):
        f, g = columns[a], columns[b]
        same = sorted(zip(f.ns, f.ls, strict=True)) == sorted(zip(g.ns, g.ls, strict=True))
        expected = (
            same
            * kappa[f.center, g.center]
            * sum(kappa[x[0], y[0]] * kappa[x[1], y[1]] for x in tensor_entries(f) for y in tensor_entries(g))
        )
        assert covariance[a, b] == pytest.approx(expected, abs=1e-10)


def test_a_truncated_or_selected_basis_keeps_all_its_functions() -> None:
    basis = basis_of((29, 42), 75)
    for some in (basis, basis.select([*range(0, 75, 2), *range(75, 140)])):
        sharing = some.sharing()
        assert np.linalg.matrix_rank(sharing.mixing.toarray()) == some.size
        assert sharing.orders.min() >= 0


def test_snap_shares_between_centers() -> None:
    basis = Bispectrum((41, 42, 73), twojmax=2)
    sharing = basis.sharing()
    mixing, each = sharing.mixing.toarray(), basis.columns_per_species
    covariance = mixing @ np.diag(np.exp(-sharing.orders[:, 0])) @ mixing.T
    np.testing.assert_allclose(covariance, np.kron(kernel((41, 42, 73), 1.0), np.eye(each)), atol=1e-12)


def test_like_elements_differ_least() -> None:
    """Niobium and tantalum, molybdenum and tungsten are chemically alike (Pauling, General Chemistry, chapter 20)."""
    kappa = kernel((41, 42, 73, 74), 1.0)
    assert kappa[0, 2] > 3 * abs(kappa[0, 1] - kappa[0, 3]) and kappa[0, 2] > kappa[0, 1] and kappa[1, 3] > kappa[1, 0]
    assert [valence_electrons(z) for z in (1, 2, 6, 11, 18, 21, 29, 30, 31, 57, 72, 79, 82)] == [
        1, 2, 4, 1, 8, 3, 11, 2, 3, 3, 4, 11, 4,
    ]  # fmt: skip
    assert covalent_radii[41] > covalent_radii[42]
    np.testing.assert_array_equal(element_directions((14,))[0], [[1.0]])
