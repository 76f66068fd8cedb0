"""Design rows against finite differences, against the evaluator, and against one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from forcewright.errors import InputError
from forcewright.features.ace.basis import AceBasis, Core, RadialSettings
from forcewright.features.ace.basis_functions import generate_functions
from forcewright.features.ace.design import recursion, spherical_harmonics
from forcewright.features.ace.embedding import embed
from forcewright.features.ace.evaluator import AceEvaluator
from forcewright.features.ace.expansion import RADIAL_FAMILIES, Embedding, RadialFamily
from forcewright.structure import VOIGT, Structure, to_voigt

STEP = 1e-4
CASES = {
    "one species, open": ((14,), False, False),
    "one species, periodic": ((14,), True, False),
    "two species, open, core": ((6, 14), False, True),
    "two species, periodic, core": ((6, 14), True, True),
}
CASE = pytest.mark.parametrize("case", CASES)


def basis_of(case: str, family: RadialFamily = "SBessel") -> AceBasis:
    species, _, with_core = CASES[case]
    functions = generate_functions(len(species), nradmax=(4, 3, 2, 1), lmax=(0, 3, 2, 1), count=40)
    cutoffs = ((3.2, 3.6), (3.6, 4.0)) if len(species) == 2 else ((4.0,),)
    core = Core(((1.5, 1.8), (1.8, 0.5)), 0.4) if with_core else None
    return AceBasis(species, RadialSettings(family, 3.0, 0.1), cutoffs, functions, core)


def structure_of(case: str, seed: int = 0) -> Structure:
    """Eleven atoms at least 1.2 Å apart, but for one pair inside the core, and in its transition others."""
    species, periodic, with_core = CASES[case]
    rng = np.random.default_rng(seed)
    cell = np.array([[5.0, 0.3, 0.0], [0.0, 5.5, 0.0], [0.4, 0.0, 6.0]]) if periodic else np.zeros((3, 3))
    places = [np.zeros(3), np.array([1.55, 0.1, 0.0])]  # carbon and silicon
    if with_core:
        places += [np.array([0.0, 3.0, 0.2]), np.array([0.0, 3.9, 1.0])]  # 1.2 Å: the core alone
    while len(places) < 11:
        place = rng.uniform(0, 1, size=3) @ (cell if periodic else np.diag([5.0, 5.0, 5.0]))
        images = [place - other + np.array(n) @ cell for other in places for n in np.ndindex(3, 3, 3)]
        images += [place - other - np.array(n) @ cell for other in places for n in np.ndindex(3, 3, 3)]
        if min(np.linalg.norm(vector) for vector in images) > 1.3:
            places.append(place)
    return Structure([species[k % len(species)] for k in range(11)], np.array(places), cell, [periodic] * 3)


def moved(structure: Structure, shift: np.ndarray, strain: np.ndarray | None = None) -> Structure:
    """Return positions r (1 + ε) + shift."""
    deformed = np.eye(3) + (np.zeros((3, 3)) if strain is None else strain)
    return Structure(
        structure.numbers, structure.positions @ deformed + shift, structure.cell @ deformed, structure.pbc
    )


def slope(function: Callable[[Structure], np.ndarray], structure: Structure, shift: np.ndarray, strain: np.ndarray):
    """Return the derivative along a change of positions and strain, by differences of fourth order."""
    at = [function(moved(structure, k * STEP * shift, k * STEP * strain)) for k in (-2, -1, 1, 2)]
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * STEP)


def moves(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return unit displacements of all atoms, then the strains in Voigt order."""
    found = [(unit.reshape(count, 3), np.zeros((3, 3))) for unit in np.eye(3 * count)]
    for i, j in VOIGT:
        strain = np.zeros((3, 3))
        strain[i, j] += 0.5
        strain[j, i] += 0.5
        found.append((np.zeros((count, 3)), strain))
    return found


def test_harmonics_are_orthonormal_and_their_gradients_are_right() -> None:
    table = recursion(4)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    total = np.zeros((15, 15), dtype=complex)
    values, gradients, more = np.zeros((5, 5, 2)), np.zeros((5, 5, 2, 3)), np.zeros((5, 5, 2))
    places = [(l, m) for l in range(5) for m in range(l + 1)]  # noqa: E741
    for z, weight in zip(nodes, weights, strict=True):
        for angle in 2 * np.pi * np.arange(12) / 12:
            ring = np.sqrt(1 - z * z)
            spherical_harmonics(ring * np.cos(angle), ring * np.sin(angle), z, table, values, gradients)
            y = np.array([complex(*values[place]) for place in places])
            total += weight / 24 * np.outer(y.conj(), y)  # the mean over the sphere
    np.testing.assert_allclose(total, np.eye(15), atol=1e-13)
    vector = np.array([0.3, -1.1, 0.7])
    length = np.linalg.norm(vector)
    spherical_harmonics(*(vector / length), table, values, gradients)
    for axis in range(3):
        parts = []
        for sign in (1, -1):
            other = vector + sign * 1e-5 * np.eye(3)[axis]
            spherical_harmonics(*(other / np.linalg.norm(other)), table, more, np.zeros_like(gradients))
            parts.append(more.copy())
        np.testing.assert_allclose(gradients[..., axis] / length, (parts[0] - parts[1]) / 2e-5, atol=1e-8)


@CASE
def test_rows_are_derivatives_of_the_energy_row(case: str) -> None:
    basis, structure = basis_of(case), structure_of(case)
    rows, count = basis.rows(structure), len(structure)

    def energies(changed: Structure) -> np.ndarray:
        found = basis.rows(changed)
        return np.append(found.energy, found.offset[0])

    found = np.array([slope(energies, structure, *move) for move in moves(count)])
    scale = np.abs(rows.forces).max()
    np.testing.assert_allclose(rows.forces, -found[: 3 * count, :-1], atol=2e-7 * scale)
    np.testing.assert_allclose(rows.virial, -found[3 * count :, :-1], atol=2e-7 * scale)
    # the core is tabulated by the evaluator, in cubic splines
    np.testing.assert_allclose(rows.offset[1:], -found[:, -1], rtol=1e-5, atol=1e-5)
    pairs = basis.pairs(structure)
    if CASES[case][2]:  # no core, on the way and the core alone are all there
        assert pairs.scale.min() == 0 and ((pairs.scale > 0.05) & (pairs.scale < 0.95)).any() and pairs.scale.max() == 1
        assert np.abs(rows.offset[1:]).max() > 1
    np.testing.assert_allclose(rows.energy, pairs.scale @ basis.project(structure), rtol=1e-11, atol=1e-12)


def test_rows_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    case = "two species, periodic, core"
    basis, structure = basis_of(case), Structure.from_ase(structure_of(case).to_ase().repeat(2))  # 88 atoms
    found = []
    for threads in ("1", "2", "3", "16"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(basis.rows(structure))
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("family", RADIAL_FAMILIES)
@CASE
def test_rows_predict_what_the_evaluator_predicts(case: str, family: RadialFamily) -> None:
    """Two programs: rows sum over functions of one center, the evaluator sweeps over shared products of tables."""
    basis, structure = basis_of(case, family), structure_of(case)
    coefficients = np.random.default_rng(1).normal(size=basis.size) / np.sqrt(basis.size)
    rows = basis.rows(structure)
    coefficients /= max(np.abs(rows.forces @ coefficients).max(), 1.0)
    energies = dict.fromkeys(basis.species, -3.0)
    found = AceEvaluator(basis.expansion(coefficients, energies)).evaluate(structure)
    told = rows.energy @ coefficients + rows.offset[0] - 3.0 * len(structure)
    assert found.energies.sum() == pytest.approx(told, abs=1e-7)
    count = len(structure)
    forces = rows.forces @ coefficients + rows.offset[1 : 1 + 3 * count]
    virial = rows.virial @ coefficients + rows.offset[1 + 3 * count :]
    np.testing.assert_allclose(found.forces.ravel(), forces, atol=1e-5)
    np.testing.assert_allclose(-to_voigt(found.virial), virial, atol=1e-5)


@CASE
def test_pull_and_differentiate_are_the_rows_contracted(case: str) -> None:
    basis, structure = replace(basis_of(case), core=None), structure_of(case)
    rows, pairs = basis.rows(structure), basis.pairs(structure)
    rng = np.random.default_rng(2)
    coefficients = rng.normal(size=basis.size)
    forces, virial = basis.pull(pairs, np.repeat(coefficients[None], len(structure), axis=0))
    scale = np.abs(rows.forces @ coefficients).max()
    np.testing.assert_allclose(forces.ravel(), rows.forces @ coefficients, atol=1e-11 * scale)
    np.testing.assert_allclose(virial, rows.virial @ coefficients, atol=1e-11 * scale)

    shift, strain = rng.normal(size=(len(structure), 3)), rng.normal(size=(3, 3))
    change = shift[pairs.indices] - np.repeat(shift, np.diff(pairs.segments[:, [0, -1]]).ravel(), axis=0)
    found = basis.differentiate(pairs, change + pairs.vectors @ strain)
    by_differences = slope(basis.project, structure, shift, strain)
    np.testing.assert_allclose(found, by_differences, atol=2e-7 * np.abs(found).max())

    adjoint = rng.normal(size=found.shape)  # of every atom by itself
    forces, virial = basis.pull(pairs, adjoint)
    symmetric = (strain + strain.T) / 2
    virial_along = virial @ (to_voigt(symmetric) * [1, 1, 1, 2, 2, 2])
    along = slope(basis.project, structure, shift, symmetric)
    assert -np.sum(forces * shift) - virial_along == pytest.approx(np.sum(adjoint * along), rel=1e-6)


@CASE
def test_tangent_rows_are_derivatives_in_the_coefficients(case: str) -> None:
    basis, structure = basis_of(case), structure_of(case)
    pairs, values = basis.pairs(structure), basis.project(structure)
    embedding = Embedding(weights=(1.0, -0.6, 0.8), exponents=(1.0, 0.5, 2.0))
    rng = np.random.default_rng(3)
    coefficients = rng.normal(size=(basis.size, 3)) / np.abs(values).max() / np.sqrt(basis.size)

    def predict(c: np.ndarray) -> np.ndarray:
        """Energy, forces and virial by the chain rule: B and its gradients, by differences in the structure."""
        inner, first, _ = embed(embedding, values @ c)
        forces, virial = basis.pull(pairs, pairs.scale[:, None] * (first @ c.T))
        for i in np.flatnonzero(pairs.closest >= 0):
            vector = pairs.vectors[pairs.closest[i]]
            gradient = pairs.slope[i] * inner[i].sum() * vector / np.linalg.norm(vector)
            forces[i] += gradient
            forces[pairs.indices[pairs.closest[i]]] -= gradient
            virial -= to_voigt(np.outer(vector, gradient))
        return np.concatenate([[pairs.scale @ inner.sum(axis=1)], forces.ravel(), virial])

    # the prediction by the chain rule is that of the evaluator
    expansion = basis.expansion(coefficients, {}, embedding)
    whole = AceEvaluator(expansion).evaluate(structure)
    core, core_forces, core_virial = basis.core_part(pairs, structure)
    told = predict(coefficients) + np.concatenate([[core], core_forces.ravel(), core_virial])
    expected = np.concatenate([[whole.energies.sum()], whole.forces.ravel(), -to_voigt(whole.virial)])
    np.testing.assert_allclose(told, expected, atol=1e-5 * np.abs(expected).max())

    _, first, second = embed(embedding, values @ coefficients)
    energy, forces, virial = basis.tangent_rows(pairs, coefficients, first, second)
    rows = np.vstack([energy, forces, virial])
    for column in rng.choice(rows.shape[1], 40, replace=False):
        p, f = divmod(int(column), basis.size)
        step = np.zeros_like(coefficients)
        step[f, p] = 1e-5 * np.abs(coefficients).max()
        found = (predict(coefficients + step) - predict(coefficients - step)) / (2 * step[f, p])
        np.testing.assert_allclose(rows[:, column], found, atol=1e-6 * np.abs(rows).max())
    # of one density of exponent 1 they are the design rows
    one = np.ones((len(structure), 1))
    energy, forces, virial = basis.tangent_rows(pairs, coefficients[:, :1], one, 0 * one)
    plain = basis.rows(structure)
    for tangent, row in zip((energy, forces, virial), plain, strict=False):
        np.testing.assert_allclose(tangent, row, rtol=1e-10, atol=1e-10)


def test_selected_columns_are_the_rows_of_those_functions_alone() -> None:
    case = "two species, periodic, core"
    basis, structure = basis_of(case), structure_of(case)
    chosen = np.sort(np.random.default_rng(4).choice(basis.size, 25, replace=False))
    some, rows = basis.select(chosen), basis.rows(structure)
    for part, whole in zip(some.rows(structure)[:3], rows, strict=False):
        np.testing.assert_allclose(part, whole[..., chosen], rtol=1e-10, atol=1e-11)
    assert some.columns == tuple(basis.columns[c] for c in chosen)
    np.testing.assert_array_equal(some.prior_features(), basis.prior_features()[chosen])
    only_silicon = basis.select([k for k, f in enumerate(basis.columns) if f.center == 1])
    assert only_silicon.rows(structure).energy.shape == (len(basis.functions[1]),)
    nothing = basis.select([])
    assert nothing.size == 0 and nothing.rows(structure).forces.shape == (33, 0)


def test_groups_of_pruning_are_products_and_their_rows() -> None:
    basis = basis_of("two species, open, core")
    groups, costs = basis.pruning_groups()
    for k, function in enumerate(basis.columns):
        assert (groups[k] == -1) == (function.rank == 1)
        for j, other in enumerate(basis.columns[:k]):
            same = (function.center, function.species, function.ns, function.ls) == (
                other.center, other.species, other.ns, other.ls,
            )  # fmt: skip
            assert function.rank == 1 or (groups[k] == groups[j]) == same
        if function.rank == 2:  # l + 1 products of two factors
            assert costs[groups[k]] == 2 * (function.ls[0] + 1)
    assert sorted(set(groups) - {-1}) == list(range(len(costs)))


def test_roughness_of_columns() -> None:
    basis = basis_of("one species, open")
    for (n, l, rank), f in zip(basis.prior_features(), basis.columns, strict=True):  # noqa: E741
        assert np.exp(n) - 1 == pytest.approx(sum(one - 1 for one in f.ns)) and rank == len(f.ns) - 1
        assert np.exp(l) - 1 == pytest.approx(sum(f.ls))


def test_isolated_atoms_and_unknown_species() -> None:
    basis = basis_of("two species, open, core")
    rows = basis.rows(Structure([6], [[0, 0, 0]]))
    assert not rows.energy.any() and not rows.forces.any() and not rows.virial.any() and not rows.offset.any()
    far = basis.rows(Structure([6, 14], [[0, 0, 0], [0, 0, 3.6]]))
    assert not far.energy.any()
    with pytest.raises(InputError, match="holds Mo"):
        basis.rows(Structure([42], [[0, 0, 0]]))
