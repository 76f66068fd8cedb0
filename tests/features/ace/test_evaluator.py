"""The fast ACE evaluator against golden values of python-ace, a plain evaluator, finite differences and identities."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scalar_evaluator
from ase import Atoms
from golden import SETS, read_golden
from numba import njit

from forcewright.errors import InputError
from forcewright.features.ace.evaluator import AceEvaluator, _announced_compilation
from forcewright.features.ace.expansion import (
    CORE_MODES,
    RADIAL_FAMILIES,
    Bond,
    Embedding,
    Expansion,
    ProductFunction,
)
from forcewright.features.ace.product_graph import build_graph
from forcewright.features.ace.yace import read_yace
from forcewright.neighbors import NeighborCache, find_neighbors
from forcewright.structure import Structure

ELEMENTS = ("Al", "Cu", "Ni")


def assert_close(got: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Elementwise, relative to the larger of 1 and the expected value."""
    assert (np.abs(got - expected) <= tolerance * np.maximum(1, np.abs(expected))).all()


@pytest.mark.parametrize("potential", SETS)
def test_golden_values(shared_data: Path, potential: str) -> None:
    evaluator = AceEvaluator(read_yace(shared_data / "yace" / potential))
    golden = read_golden(shared_data, potential)
    assert len(golden) > 40
    for atoms, energy, energies, forces, stress in golden:
        got = evaluator.evaluate(Structure.from_ase(atoms), threads=1)
        assert_close(got.energies, energies, 1e-9)
        assert_close(got.energies.sum(), np.array(energy), 1e-9)
        assert_close(got.forces, forces, 1e-7)
        if stress is not None:
            assert_close(got.virial / atoms.get_volume(), stress, 1e-7)


def random_functions(rng: np.random.Generator, species: int, densities: int, ranks: range) -> list[ProductFunction]:
    """Products with Σ m = 0 (rotation invariance is not needed here), among them some with repeated factors."""
    functions = []
    for rank in ranks:
        for _ in range(4 if rank < 5 else 2):
            mus = np.sort(rng.integers(species, size=rank))
            ls = rng.integers(0, 4 if rank < 5 else 2, size=rank) if rank > 1 else np.zeros(1, dtype=int)
            ns = rng.integers(1, 5, size=rank)
            if rank > 2 and rng.random() < 0.5:
                mus[1], ls[1], ns[1] = mus[0], ls[0], ns[0]
            rows = [m for m in (rng.integers(-ls, ls + 1) for _ in range(40)) if m.sum() == 0][:5]
            ms = np.array(rows or [np.zeros(rank, dtype=int)]).reshape(-1, rank)
            coefficients = 0.2 * rng.normal(size=(len(ms), densities))
            factors = tuple(tuple(int(v) for v in values) for values in (mus, ns, ls))
            functions.append(ProductFunction(*factors, ms, coefficients))
    return functions


def random_expansion(seed: int, species: int, mode: str, ranks: range = range(1, 8)) -> Expansion:
    """Bonds of different sizes, families and cutoffs, and another number of densities for each species."""
    rng = np.random.default_rng(seed)
    bonds = {}
    for i in range(species):
        for j in range(species):
            shape = (rng.integers(2, 5), rng.integers(1, 4) + 1, rng.integers(3, 6))
            bonds[i, j] = Bond(
                RADIAL_FAMILIES[rng.integers(3)], rng.uniform(3.5, 4.5), rng.normal(size=shape), 2.5, 0.5,
                1.0 if mode == "zbl" else 20.0, 0.7, 1.9, 0.6,
            )  # fmt: skip
    embeddings = []
    for i in range(species):
        count = 1 + (seed + i) % 3
        kind = ("FinnisSinclair", "FinnisSinclairShiftedScaled")[(seed + i) % 2]
        embeddings.append(Embedding(kind, (1.0, 0.7, -0.4)[:count], (1.0, 0.5, 1.7)[:count], 9.0, 7.0))  # type: ignore[arg-type]
    functions = tuple(tuple(random_functions(rng, species, e.densities, ranks)) for e in embeddings)
    energies = rng.normal(size=species)
    return Expansion(ELEMENTS[:species], energies, bonds, tuple(embeddings), functions, mode, 0.001)  # type: ignore[arg-type]


def random_structure(seed: int, species: int, count: int = 9, pbc: bool | tuple[bool, ...] = True) -> Structure:
    """Atoms at least 1.5 Å apart in a skewed cell of about 5 Å, smaller than twice the cutoff."""
    rng = np.random.default_rng(seed)
    cell = np.diag([5.0, 4.6, 5.3]) + 0.4 * rng.normal(size=(3, 3))
    atoms = Atoms(cell=cell, pbc=pbc)
    while len(atoms) < count:
        trial = atoms + Atoms(ELEMENTS[rng.integers(species)], positions=[rng.uniform(size=3) @ cell])
        distances = trial.get_all_distances(mic=bool(np.all(pbc)))[-1, :-1]
        atoms = trial if (distances > 1.5).all() else atoms
    return Structure.from_ase(atoms)


@pytest.mark.parametrize("mode", CORE_MODES)
@pytest.mark.parametrize("species", [1, 2, 3])
def test_equals_the_plain_evaluator(species: int, mode: str) -> None:
    for seed in range(3):
        expansion = random_expansion(10 * seed + species, species, mode)
        structure = random_structure(seed, species, pbc=(True, True, seed % 2 == 0))
        got = AceEvaluator(expansion).evaluate(structure, threads=1)
        assert_close(got.energies, scalar_evaluator.energies(expansion, structure), 1e-11)


@pytest.mark.parametrize("mode", CORE_MODES)
def test_forces_are_minus_the_gradient(mode: str) -> None:
    evaluator = AceEvaluator(random_expansion(5, 3, mode))
    structure = random_structure(2, 3, pbc=(True, False, True))
    rng = np.random.default_rng(0)

    def energy(step: float) -> float:
        moved = replace(structure, positions=structure.positions + step * direction)
        return float(evaluator.evaluate(moved, forces=False, threads=1).energies.sum())

    forces = evaluator.evaluate(structure, threads=1).forces
    for _ in range(4):
        direction = rng.normal(size=forces.shape)
        h = 1e-4
        slope = (8 * (energy(h) - energy(-h)) - energy(2 * h) + energy(-2 * h)) / (12 * h)
        assert -np.vdot(forces, direction) == pytest.approx(slope, rel=2e-7, abs=2e-7)
    assert np.abs(forces.sum(axis=0)).max() < 1e-9


def test_virial_is_the_strain_derivative(shared_data: Path) -> None:
    evaluator = AceEvaluator(read_yace(shared_data / "yace/synth/sbessel-fsss-zbl.yace"))
    atoms = read_golden(shared_data, "synth/sbessel-fsss-zbl.yace")[3].atoms
    virial = evaluator.evaluate(Structure.from_ase(atoms), threads=1).virial
    strain = np.array([[0.3, 0.2, -0.5], [0.2, -0.7, 0.1], [-0.5, 0.1, 0.4]])

    def energy(step: float) -> float:
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + step * strain), scale_atoms=True)
        return float(evaluator.evaluate(Structure.from_ase(strained), forces=False).energies.sum())

    h = 1e-4
    slope = (8 * (energy(h) - energy(-h)) - energy(2 * h) + energy(-2 * h)) / (12 * h)
    assert np.vdot(virial, strain) == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_lonely_atoms_and_no_functions_at_all() -> None:
    expansion = random_expansion(1, 2, "distance")
    apart = Structure(np.array([13, 29]), np.array([[0.0, 0, 0], [50.0, 0, 0]]))
    got = AceEvaluator(expansion).evaluate(apart)
    np.testing.assert_allclose(got.energies, expansion.reference_energies, atol=1e-14)
    assert not got.forces.any() and not got.virial.any()
    bare = replace(expansion, functions=((), expansion.functions[1]))
    structure = random_structure(4, 2)
    assert_close(AceEvaluator(bare).evaluate(structure).energies, scalar_evaluator.energies(bare, structure), 1e-12)


def test_results_do_not_depend_on_threads_or_neighbor_lists() -> None:
    evaluator = AceEvaluator(random_expansion(3, 2, "zbl", range(1, 4)))
    small = random_structure(6, 2).to_ase()
    structure = Structure.from_ase(small.repeat(4))
    one = evaluator.evaluate(structure, threads=1)
    for threads in (2, 3, None):
        other = evaluator.evaluate(structure, threads=threads)
        assert (other.energies == one.energies).all()
        assert (other.forces == one.forces).all()
        assert (other.virial == one.virial).all()
    assert_close(one.energies, np.tile(evaluator.evaluate(Structure.from_ase(small)).energies, 64), 1e-11)
    species = evaluator.species(structure.numbers)
    cache = NeighborCache(evaluator.cutoff, 0.4, evaluator.groups)
    lists = (
        find_neighbors(structure, evaluator.cutoff),
        find_neighbors(structure, evaluator.cutoff + 1.0, group_of=species, groups=evaluator.groups),
        cache.neighbors(structure, species),
    )
    for neighbors in lists:
        other = evaluator.evaluate(structure, neighbors=neighbors)
        assert_close(other.energies, one.energies, 1e-12)
        assert_close(other.forces, one.forces, 1e-11)


def test_energies_alone_are_the_same() -> None:
    evaluator = AceEvaluator(random_expansion(8, 3, "density"))
    structure = random_structure(1, 3)
    alone = evaluator.evaluate(structure, forces=False)
    assert alone.forces is None
    assert (alone.energies == evaluator.evaluate(structure).energies).all()


def test_pickles_as_its_expansion() -> None:
    evaluator = AceEvaluator(random_expansion(2, 1, "distance"))
    structure = random_structure(0, 1)
    again = pickle.loads(pickle.dumps(evaluator))
    assert (again.evaluate(structure).energies == evaluator.evaluate(structure).energies).all()


def test_graph_sums_the_same_densities_as_the_products(shared_data: Path) -> None:
    for name in ("XPOT-Sb2Te3.yace", "synth/chebpow-fsss-distance.yace"):
        expansion = read_yace(shared_data / "yace" / name)
        functions, densities = expansion.functions[0], expansion.embeddings[0].densities
        graph = build_graph(functions, densities)
        products = sum(len(function.ms) for function in functions if function.rank > 1)
        assert len(graph.row_y) < 0.7 * products  # coupled
        rng = np.random.default_rng(0)
        leaves = rng.normal(size=(2, len(graph.leaves), 3)) / 2
        values = leaves[0] + 1j * np.where(graph.leaves[:, 3, None] > 0, leaves[1], 0.0)
        number = {tuple(leaf): k for k, leaf in enumerate(graph.leaves.tolist())}
        expected = np.zeros((densities, 3))
        for f in functions:
            if f.rank == 1:
                continue
            for ms, c in zip(f.ms, f.coefficients, strict=True):
                product = np.ones(3, dtype=complex)
                for *leaf, m in zip(f.species, f.ns, f.ls, ms, strict=True):
                    value = values[number[(*leaf, abs(m))]]
                    product *= value if m >= 0 else (-1.0) ** m * value.conj()
                expected += c[:, None] * product.real
        densities_of_graph = scalar_evaluator.graph_densities(graph, values)
        np.testing.assert_allclose(densities_of_graph, expected, rtol=1e-11, atol=1e-11 * np.abs(expected).max())


def test_errors_are_sentences() -> None:
    evaluator = AceEvaluator(random_expansion(2, 2, "distance", range(1, 3)))
    with pytest.raises(InputError, match="holds Si, but the potential knows only Al, Cu"):
        evaluator.evaluate(Structure(np.array([14, 13]), np.eye(3)[:2] * 3))
    close = np.array([[0, 0, 0], [3.0, 0, 0], [3.0004, 0, 0]])
    with pytest.raises(InputError, match="atoms 1 and 2 are 0.0004 Å apart"):
        evaluator.evaluate(Structure(np.array([13, 29, 29]), close))
    with pytest.raises(InputError, match="atoms 0 and 1 are 0 Å apart"):
        evaluator.evaluate(Structure(np.array([13, 29]), np.zeros((2, 3))))
    structure = random_structure(0, 2)
    other = find_neighbors(random_structure(0, 2, count=5), 3.0)
    with pytest.raises(InputError, match="of 5 atoms, the structure has 9"):
        evaluator.evaluate(structure, neighbors=other)


def test_compilation_is_announced_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="forcewright"), _announced_compilation():
        njit(lambda x: x + 1)(1)
        njit(lambda x: x + 2)(1)
    assert len([record for record in caplog.records if "compiling" in record.message]) == 1
