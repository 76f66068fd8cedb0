"""Covariant functions against identities: characters, textbook decompositions, and the invariants of ACE."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from forcewright.errors import InputError
from forcewright.features.ace.basis import AceBasis, RadialSettings
from forcewright.features.ace.basis_functions import generate_functions
from forcewright.features.equivariant.basis import EquivariantBasis, element_weights
from forcewright.features.equivariant.couplings import independent_chains
from forcewright.features.equivariant.spherical import (
    Irrep,
    cartesian_basis,
    harmonics_of,
    real_coupling,
    rotation_matrix,
    to_cartesian,
    to_spherical,
)
from forcewright.structure import Structure

TENSOR = (Irrep(0, 1), Irrep(1, 1), Irrep(2, 1))


def test_harmonics_are_those_of_scipy():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 3))
    polar = np.arccos(vectors[:, 2] / np.linalg.norm(vectors, axis=1))
    around = np.arctan2(vectors[:, 1], vectors[:, 0])
    ours = harmonics_of(vectors, 4)
    for l in range(5):  # noqa: E741
        for m in range(1, l + 1):
            expected = np.sqrt(4 * np.pi) * np.sqrt(2) * (-1) ** m * sph_harm_y(l, m, polar, around)
            np.testing.assert_allclose(ours[:, l * l + l + m], expected.real, atol=1e-12)
            np.testing.assert_allclose(ours[:, l * l + l - m], expected.imag, atol=1e-12)
    unit = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    np.testing.assert_allclose(ours[:, 1:4], np.sqrt(3) * unit[:, [1, 2, 0]])


@pytest.mark.parametrize("l", range(5))
def test_rotations_have_the_characters_of_their_degree(l):  # noqa: E741
    first, second = Rotation.random(2, random_state=l)
    angle = first.magnitude()
    matrix = rotation_matrix(l, first.as_matrix())
    assert np.trace(matrix) == pytest.approx(np.sin((l + 0.5) * angle) / np.sin(0.5 * angle), abs=1e-10)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(2 * l + 1), atol=1e-10)
    together = rotation_matrix(l, (first * second).as_matrix())
    np.testing.assert_allclose(matrix @ rotation_matrix(l, second.as_matrix()), together, atol=1e-10)


@pytest.mark.parametrize(("l1", "l2"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_couplings_are_orthogonal_and_turn(l1, l2):
    turn = Rotation.random(random_state=1).as_matrix()
    left, right = rotation_matrix(l1, turn), rotation_matrix(l2, turn)
    rows = []
    for l3 in range(abs(l1 - l2), l1 + l2 + 1):
        tensor = real_coupling(l1, l2, l3)
        turned = np.einsum("abc,ai,bj->ijc", tensor, left, right)
        np.testing.assert_allclose(turned, tensor @ rotation_matrix(l3, turn).T, atol=1e-10)
        rows.append(tensor.reshape(-1, 2 * l3 + 1))
    whole = np.concatenate(rows, axis=1)
    np.testing.assert_allclose(whole.T @ whole, np.eye(len(whole)), atol=1e-12)


def test_cartesian_tensors_and_their_parts():
    rng = np.random.default_rng(2)
    tensor = rng.normal(size=(3, 3))
    parts = to_spherical(tensor.ravel()[None], TENSOR, 2)
    assert parts[TENSOR[0]].item() == pytest.approx(np.trace(tensor) / np.sqrt(3))
    y, z, x = parts[TENSOR[1]][0]
    vector = np.array([tensor[1, 2] - tensor[2, 1], tensor[2, 0] - tensor[0, 2], tensor[0, 1] - tensor[1, 0]])
    np.testing.assert_allclose(np.abs([x, y, z]), np.abs(vector) / np.sqrt(2))
    assert abs(np.dot([x, y, z], vector)) == pytest.approx(vector @ vector / np.sqrt(2))  # parallel
    assert sum(np.sum(v**2) for v in parts.values()) == pytest.approx(np.sum(tensor**2))
    np.testing.assert_allclose(to_cartesian(parts, 2)[0], tensor.ravel(), atol=1e-12)
    turn = Rotation.random(random_state=3).as_matrix()
    turned = to_spherical((turn @ tensor @ turn.T).ravel()[None], TENSOR, 2)
    for irrep, values in parts.items():
        np.testing.assert_allclose(turned[irrep], values @ rotation_matrix(irrep.l, turn).T, atol=1e-10)
    with pytest.raises(InputError, match="has no part 1o"):
        cartesian_basis(2, Irrep(1, -1))


@pytest.mark.parametrize(
    ("ls", "groups", "degrees"),
    [
        ((2, 2), (0, 0), [0, 2, 4]),  # two equal bosons: even L alone
        ((1, 1, 1), (0, 0, 0), [1, 3]),
        ((2, 2, 2), (0, 0, 0), [0, 2, 3, 4, 6]),  # three d bosons, as in the interacting boson model
        ((1, 1, 1), (0, 1, 2), [0, 1, 1, 1, 2, 2, 3]),
    ],
)
def test_equal_factors_leave_the_symmetric_couplings(ls, groups, degrees):
    parity = (-1) ** sum(ls)
    counts = [len(independent_chains(ls, groups, Irrep(l, parity))) for l in range(sum(ls) + 1)]  # noqa: E741
    assert [l for l, count in enumerate(counts) for _ in range(count)] == degrees  # noqa: E741
    assert not independent_chains(ls, groups, Irrep(1, -parity))


def _cluster(rng, count=7):
    return Structure(np.resize([1, 8], count), rng.normal(size=(count, 3)))


def test_functions_turn_with_the_structure():
    rng = np.random.default_rng(4)
    irreps = tuple(Irrep(l, parity) for l in range(3) for parity in (1, -1))  # noqa: E741
    basis = EquivariantBasis((1, 8), irreps, 4.0, (6, 5, 4, 3), nmax=4, lmax=3)
    structure, turn = _cluster(rng), Rotation.random(random_state=5).as_matrix()
    order = rng.permutation(len(structure))
    moved = Structure(structure.numbers[order], -structure.positions[order] @ turn.T + 3.0)
    before, after = basis.evaluate(structure), basis.evaluate(moved)
    for irrep, values in before.items():
        assert np.abs(values).max() > 1e-4
        expected = irrep.parity * values[order] @ rotation_matrix(irrep.l, turn).T
        np.testing.assert_allclose(after[irrep], expected, atol=1e-10 * np.abs(values).max())
    some = basis.evaluate(structure, np.array([2, 0]))
    np.testing.assert_array_equal(some[irreps[3]], before[irreps[3]][[2, 0]])


def test_invariants_span_those_of_ace():
    rng = np.random.default_rng(6)
    functions = generate_functions(1, nradmax=(3, 2, 2), lmax=(0, 2, 2))
    ace = AceBasis((14,), RadialSettings(), ((4.0,),), functions)
    ours = EquivariantBasis((14,), (Irrep(0, 1),), 4.0, (2, 6, 9), nmax=3, lmax=2)
    structures = [Structure(np.full(6, 14), rng.normal(size=(6, 3)) * 1.5) for _ in range(120)]
    wanted = np.concatenate([ace.project(s) for s in structures])
    rows = np.concatenate([ours.evaluate(s)[Irrep(0, 1)][:, :, 0] for s in structures])
    rows /= np.linalg.norm(rows, axis=0)
    solution = np.linalg.lstsq(rows, wanted, rcond=1e-12)[0]
    assert rows.shape[1] < len(rows) / 2
    np.testing.assert_allclose(rows @ solution, wanted, atol=1e-6 * np.abs(wanted).max())


def test_groups_of_elements_and_their_mistakes():
    structure = _cluster(np.random.default_rng(7))
    apart = EquivariantBasis((1, 8), (Irrep(1, -1),), 4.0, (3, 3), 3, 2)
    together = EquivariantBasis((1, 8), (Irrep(1, -1),), 4.0, (3, 3), 3, 2, groups=((1, 8),))
    assert len(together.functions[Irrep(1, -1)]) < len(apart.functions[Irrep(1, -1)])
    swapped = Structure(np.where(structure.numbers == 1, 8, 1), structure.positions)
    left, right = (together.evaluate(s)[Irrep(1, -1)] for s in (structure, swapped))
    np.testing.assert_allclose(left, right, atol=1e-12)
    for groups, problem in ((((1,),), "leaves out O;"), (((1, 8), (8,)), "twice")):
        with pytest.raises(InputError, match=problem):
            EquivariantBasis((1, 8), (Irrep(1, -1),), 4.0, (3, 3), 3, 2, groups=groups).evaluate(structure)
    with pytest.raises(InputError, match="more than"):
        _ = EquivariantBasis((1, 8), (Irrep(0, 1),), 4.0, (90, 90, 90), 30, 0).functions


def test_elements_of_a_group_are_told_apart_by_degrees():
    alkali = (3, 11, 19, 4)  # Li, Na, K and Be
    every = element_weights(alkali, 4)
    table = np.array([[1, 1], [2, 1], [3, 1], [1, 2]])  # row and column
    distances = ((table[:, None] - table) ** 2).sum(axis=2)
    similarity = np.exp(-distances / (2 * 1.6**2))
    kernel = every @ every.T
    np.testing.assert_allclose(kernel / kernel[0, 0], similarity, atol=1e-12)
    few = element_weights(alkali, 2)
    np.testing.assert_allclose(few, every[:, :2])
    np.testing.assert_array_equal(element_weights((8,), 3), [[1.0]])
    basis = EquivariantBasis((1, 3, 11), (Irrep(1, -1),), 4.0, (3, 3), 3, 2, groups=((1,), (3, 4, 11)), spread=2)
    assert basis.weights.shape == (3, 3)
    np.testing.assert_array_equal(basis.weights[0], [1, 0, 0])
    np.testing.assert_allclose(basis.weights[1:, 1:], element_weights((3, 4, 11), 2)[[0, 2]])
