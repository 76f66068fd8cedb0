"""Everything of the expansion against python-ace, the reference implementation of pacemaker's potentials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations_with_replacement, cycle, product
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from scipy.special import sph_harm_y

from forcewright.features.ace.basis_functions import Order, basis_function, generate_functions
from forcewright.features.ace.conversion import to_products
from forcewright.features.ace.evaluator import AceEvaluator
from forcewright.features.ace.expansion import (
    EMBEDDINGS,
    BasisFunction,
    Bond,
    CoreMode,
    Embedding,
    Expansion,
    RadialFamily,
)
from forcewright.features.ace.radial import radial_functions
from forcewright.features.ace.yace import read_yace, write_yace
from forcewright.structure import Structure

pyace = pytest.importorskip("pyace", reason="python-ace, the reference that these tests compare with, is not installed")
multispecies = pytest.importorskip("pyace.multispecies_basisextension")

PACEMAKER = Path(__file__).parents[4] / "shared" / "data" / "yace" / "synth"
B_FILES = sorted(PACEMAKER.glob("*.yaml"))
needs_files = pytest.mark.skipif(not B_FILES, reason="the pacemaker potentials of ../shared/data/yace are not here")
Label = tuple[tuple[int, ...], ...]
SYMBOLS = ["Al", "Cu", "Ni"]

LIMITS: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    "one element, rank 6": (1, (5, 3, 2, 2, 2, 1), (0, 4, 3, 2, 2, 2)),
    "one element, wide": (1, (12, 8, 4, 2), (0, 8, 6, 3)),
    "one element, rank 5, l = 3": (1, (2, 2, 1, 1, 2), (0, 3, 3, 2, 3)),
    "two elements, rank 5": (2, (4, 3, 2, 1, 1), (0, 3, 2, 2, 2)),
    "two elements, limits that rise": (2, (1, 2, 3), (0, 1, 3)),
    "three elements, rank 4": (3, (3, 2, 1, 1), (0, 2, 2, 1)),
}


def pacemaker_basis(species: int, nradmax: Sequence[int], lmax: Sequence[int], count: int | None = None) -> Any:
    """Pacemaker's basis configuration with one density and simplified Bessel functions."""
    functions: dict[str, Any] = {"ALL": {"nradmax_by_orders": list(nradmax), "lmax_by_orders": list(lmax)}}
    if count is not None:
        functions["number_of_functions_per_element"] = count
    bond = {"radbase": "SBessel", "radparameters": [5.25], "rcut": 5.0, "dcut": 0.01, "core-repulsion": [0.0, 1.0]}
    embedding = {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1], "ndensity": 1}
    return multispecies.create_multispecies_basis_config(
        {
            "deltaSplineBins": 0.001,
            "elements": SYMBOLS[:species],
            "embeddings": {"ALL": {**embedding, "rho_core_cut": 1e5, "drho_core_cut": 250}},
            "bonds": {"ALL": {**bond, "NameOfCutoffFunction": "cos"}},
            "functions": functions,
        }
    )


def pacemaker_labels(configuration: Any, center: int) -> list[Label]:
    index = {symbol: position for position, symbol in enumerate(SYMBOLS)}
    return [
        (tuple(index[symbol] for symbol in function.elements[1:]), tuple(function.ns), tuple(function.ls),
         tuple(function.LS))
        for block in configuration.funcspecs_blocks
        for function in block.funcspecs
        if index[function.elements[0]] == center
    ]  # fmt: skip


def label(function: BasisFunction) -> Label:
    return function.species, function.ns, function.ls, function.intermediate


@pytest.mark.parametrize("order", ["degree", "pacemaker"])
@pytest.mark.parametrize("name", LIMITS)
def test_the_same_functions_are_generated(name: str, order: Order) -> None:
    species, nradmax, lmax = LIMITS[name]
    configuration = pacemaker_basis(species, nradmax, lmax)
    ours = generate_functions(SYMBOLS[:species], nradmax=nradmax, lmax=lmax, order=order)
    for center, functions in enumerate(ours):
        theirs = pacemaker_labels(configuration, center)
        assert len(functions) == len(theirs)
        assert {label(function) for function in functions} == set(theirs)


@pytest.mark.parametrize("count", [9, 40, 121, 5000])
@pytest.mark.parametrize("name", LIMITS)
def test_the_same_functions_are_kept_of_a_number_per_element(name: str, count: int) -> None:
    species, nradmax, lmax = LIMITS[name]
    configuration = pacemaker_basis(species, nradmax, lmax, count)
    ours = generate_functions(species, nradmax=nradmax, lmax=lmax, count=count, order="pacemaker")
    for center, functions in enumerate(ours):
        assert {label(function) for function in functions} == set(pacemaker_labels(configuration, center))


@pytest.mark.parametrize("name", LIMITS)
def test_couplings_are_the_same(name: str) -> None:
    species, nradmax, lmax = LIMITS[name]
    basis = pyace.ACEBBasisSet(pacemaker_basis(species, nradmax, lmax))
    ours = generate_functions(species, nradmax=nradmax, lmax=lmax)
    for center, functions in enumerate(ours):
        expected = {label(function): folded(function, function.ms, function.coupling) for function in functions}
        for function in [*basis.basis_rank1[center], *basis.basis[center]]:
            key = (tuple(function.mus), tuple(function.ns), tuple(function.ls), tuple(function.LS))
            ms = np.reshape(function.ms_combs, (-1, function.rank))
            assert_same_rows(folded(function, ms, np.array(function.gen_cgs)), expected.pop(key))
        assert not expected


def folded(function: Any, ms: np.ndarray, coefficients: np.ndarray) -> dict[Any, np.ndarray]:
    """Sum rows that differ by the order of equal factors or by the sign of all m: their products have one real part."""
    species = getattr(function, "species", None) or function.mus
    factors = list(zip(species, function.ns, function.ls, strict=True))
    summed: dict[Any, np.ndarray] = {}
    for row, coefficient in zip(ms.tolist(), coefficients, strict=True):
        signed = ((sign * m for m in row) for sign in (1, -1))
        key = max(tuple(sorted(zip(factors, one, strict=True))) for one in signed)
        summed[key] = summed.get(key, 0.0) + coefficient
    return summed


def assert_same_rows(theirs: dict[Any, Any], ours: dict[Any, Any]) -> None:
    scale = max(np.abs(value).max() for value in theirs.values())
    for key in theirs.keys() | ours.keys():
        np.testing.assert_allclose(ours.get(key, 0.0), theirs.get(key, 0.0), rtol=1e-14, atol=1e-15 * max(scale, 1.0))


@pytest.mark.parametrize("name", ["one element, rank 6", "two elements, rank 5", "three elements, rank 4"])
def test_functions_have_the_same_values(name: str) -> None:
    """Projections of random clusters: what a linear model sees of an environment."""
    species, nradmax, lmax = LIMITS[name]
    basis = pyace.ACEBBasisSet(pacemaker_basis(species, nradmax, lmax))
    calculator = pyace.PyACECalculator(basis)
    labels = [
        [(tuple(one.mus), tuple(one.ns), tuple(one.ls), tuple(one.LS)) for one in [*rank1, *higher]]
        for rank1, higher in zip(basis.basis_rank1, basis.basis, strict=True)
    ]
    ours = generate_functions(species, nradmax=nradmax, lmax=lmax)
    for seed in range(2):
        atoms = cluster(9, species, seed)
        calculator.get_potential_energy(atoms)
        for atom, (symbol, projections) in enumerate(zip(atoms.symbols, calculator.ace.projections, strict=True)):
            center = SYMBOLS.index(symbol)
            base = atomic_base(atoms, atom, species, max(nradmax), max(lmax))
            values = {label(function): value_of(function, base) for function in ours[center]}
            expected = np.array([values[key] for key in labels[center]])
            np.testing.assert_allclose(projections, expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max())


def cluster(size: int, species: int, seed: int) -> Atoms:
    """Atoms at least 1.4 Å apart."""
    rng = np.random.default_rng(seed)
    positions: list[np.ndarray] = []
    while len(positions) < size:
        place = rng.uniform(0, 4.5, size=3)
        if all(np.linalg.norm(place - other) > 1.4 for other in positions):
            positions.append(place)
    return Atoms([SYMBOLS[index % species] for index in range(size)], positions=np.array(positions))


def atomic_base(atoms: Atoms, center: int, species: int, nmax: int, lmax: int) -> dict[tuple[int, ...], complex]:
    """A_μnlm with R_nl = g_n, so that rank 1 has its place under l = m = 0."""
    others = np.array([index for index in range(len(atoms)) if index != center])
    vectors = atoms.positions[others] - atoms.positions[center]
    distances = np.linalg.norm(vectors, axis=1)
    kinds = np.array([SYMBOLS.index(atoms.symbols[index]) for index in others])
    bond = Bond("SBessel", 5.0, np.zeros((nmax, 1, nmax)))
    radial = radial_functions(bond, distances, "distance")[0]
    polar, azimuth = np.arccos(vectors[:, 2] / distances), np.arctan2(vectors[:, 1], vectors[:, 0])
    base = {}
    for mu, n, l in product(range(species), range(1, nmax + 1), range(lmax + 1)):  # noqa: E741
        for m in range(-l, l + 1):
            harmonics = sph_harm_y(l, m, polar, azimuth) * sqrt(4 * np.pi)
            base[mu, n, l, m] = complex((radial[n - 1] * harmonics)[kinds == mu].sum())
    return base


def value_of(function: BasisFunction, base: dict[tuple[int, ...], complex]) -> float:
    total = 0.0
    for ms, coefficient in zip(function.ms.tolist(), function.coupling.tolist(), strict=True):
        term = 1.0 + 0.0j
        for factor in zip(function.species, function.ns, function.ls, ms, strict=True):
            term *= base[factor]
        total += coefficient * term.real
    return total


@needs_files
@pytest.mark.parametrize("file", B_FILES, ids=lambda path: path.stem)
def test_conversion_is_that_of_pacemaker(file: Path) -> None:
    """The `.yace` beside a file of B coefficients was converted from it by pacemaker."""
    expansion = read_yace(file.with_suffix(".yace"))
    configuration = pyace.BBasisConfiguration(str(file))
    index = {symbol: position for position, symbol in enumerate(expansion.elements)}
    for center, theirs in enumerate(expansion.functions):
        functions, coefficients = [], []
        for specification in [one for block in configuration.funcspecs_blocks for one in block.funcspecs]:
            species = tuple(index[symbol] for symbol in specification.elements)
            if species[0] == center:
                factors = (species[1:], tuple(specification.ns), tuple(specification.ls), tuple(specification.LS))
                functions.append(basis_function(center, *factors))
                coefficients.append(specification.coeffs)
        ours = {(one.species, one.ns, one.ls): one for one in to_products(functions, coefficients)}
        assert len(ours) == len(theirs)
        for one in theirs:
            mine = ours[one.species, one.ns, one.ls]
            assert_same_rows(folded(one, one.ms, one.coefficients), folded(mine, mine.ms, mine.coefficients))


#: Every family that pacemaker fits; ChebLinear does not vanish at the cutoff and is read only.
FAMILIES: tuple[RadialFamily, ...] = ("SBessel", "ChebExpCos", "ChebPow")
ROUND_TRIPS = [
    (species, family, densities, mode)
    for (species, family, densities), mode in zip(
        product((1, 2, 3), FAMILIES, (1, 2, 4)), cycle(("zbl", "distance", "zbl", "density", "distance")), strict=False
    )
]


@pytest.mark.parametrize(("species", "family", "densities", "mode"), ROUND_TRIPS)
def test_written_potentials_are_evaluated_alike(
    species: int, family: RadialFamily, densities: int, mode: CoreMode, tmp_path: Path
) -> None:
    expansion = random_expansion(species, family, [densities] * species, mode)
    file = write_yace(tmp_path / "written.yace", expansion)
    assert_evaluated_alike(expansion, pyace.PyACECalculator(str(file)))


@pytest.mark.parametrize("recursive", [False, True])
def test_unequal_numbers_of_densities_are_evaluated_alike(recursive: bool, tmp_path: Path) -> None:
    """LAMMPS uses the recursive evaluator by default."""
    expansion = random_expansion(3, "SBessel", [2, 1, 4], "distance")
    file = write_yace(tmp_path / "written.yace", expansion)
    assert_evaluated_alike(expansion, pyace.PyACECalculator(str(file), recursive_evaluator=True, recursive=recursive))


def test_a_species_without_functions_is_evaluated_alike(tmp_path: Path) -> None:
    whole = random_expansion(2, "ChebExpCos", [1, 1], "zbl")
    expansion = replace(whole, functions=(whole.functions[0], ()))
    file = write_yace(tmp_path / "written.yace", expansion)
    assert_evaluated_alike(expansion, pyace.PyACECalculator(str(file)))


def random_expansion(species: int, family: RadialFamily, densities: list[int], mode: CoreMode) -> Expansion:
    """Sixty functions up to rank 5; cores and inner switches reach to where the atoms of `crystal` are."""
    rng = np.random.default_rng([species, *densities])
    functions = generate_functions(species, nradmax=(5, 3, 2, 1, 1), lmax=(0, 3, 2, 2, 1), count=60)
    bonds = {}
    for i, j in combinations_with_replacement(range(species), 2):
        bonds[i, j] = bonds[j, i] = Bond(
            family=family,
            cutoff=4.0 + 0.3 * i + 0.2 * j,
            coefficients=rng.normal(size=(3, 4, 5)) / {"SBessel": 2, "ChebExpCos": 1, "ChebPow": 8}[family],
            decay=2.0 + 0.3 * j,
            cutoff_width=0.4,
            core_prefactor=1.0 if mode == "zbl" else 20.0,
            core_decay=0.7,
            inner=2.3,
            inner_width=0.5,
        )
    exponents = (1.0, 0.5, 0.9, 1.3)
    embeddings = tuple(
        Embedding(EMBEDDINGS[(center + p) % 2], tuple(rng.uniform(0.5, 1.5, size=p)), exponents[:p], 8.0, 7.0)
        for center, p in enumerate(densities)
    )
    products = tuple(
        to_products(of_center, 0.2 * rng.normal(size=(len(of_center), p)))
        for of_center, p in zip(functions, densities, strict=True)
    )
    return Expansion(tuple(SYMBOLS[:species]), rng.normal(size=species), bonds, embeddings, products, mode)


def crystal(species: int, seed: int, *, periodic: bool) -> Atoms:
    """A simple cubic crystal or cluster so distorted that some distances are below 2 Å."""
    rng = np.random.default_rng(seed)
    grid = 2.6 * np.array(list(product(range(2), repeat=3))) + rng.uniform(-0.4, 0.4, size=(8, 3))
    cell = 5.2 * np.eye(3) + 0.2 * rng.normal(size=(3, 3)) if periodic else None
    return Atoms([SYMBOLS[index % species] for index in range(8)], positions=grid, cell=cell, pbc=periodic)


def assert_evaluated_alike(expansion: Expansion, calculator: Any) -> None:
    evaluator = AceEvaluator(expansion)
    for seed, periodic in enumerate((True, False)):
        atoms = crystal(len(expansion.elements), seed, periodic=periodic)
        atoms.calc = calculator
        energies, forces, virial = evaluator.evaluate(Structure.from_ase(atoms))
        np.testing.assert_allclose(energies, atoms.get_potential_energies(), rtol=0, atol=1e-10)
        scale = max(1.0, np.abs(forces).max())
        np.testing.assert_allclose(forces, atoms.get_forces(), rtol=0, atol=1e-8 * scale)
        if periodic:
            stress = virial / atoms.get_volume()
            np.testing.assert_allclose(stress, atoms.get_stress(voigt=False), rtol=0, atol=1e-8 * scale)
