from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from pydantic import ValidationError

from forcewright.data.closest_pairs import shortest_distances
from forcewright.errors import InputError
from forcewright.linalg.pruning import prune_groups
from forcewright.models import load
from forcewright.models.ace import AceModel, AcePotential, RepulsionSettings
from forcewright.neighbors import find_neighbors
from forcewright.structure import Dataset, Structure

ENERGIES = {6: -9.1, 14: -5.2}
SMALL = {"functions": 25, "rcut": 4.0, "nradmax": (4, 3, 2), "lmax": (0, 2, 1)}
CORE = RepulsionSettings(inner={"Si-C": 1.75, "C-C": 1.3}, width=0.3)


def carbide(seed: int = 0, amount: float = 0.1) -> Structure:
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
    atoms.set_cell(atoms.cell.array @ [[1.0, 0.03, 0.0], [0.0, 0.97, 0.05], [0.02, 0.0, 1.04]], scale_atoms=True)
    atoms.rattle(amount, seed=seed)
    return Structure.from_ase(atoms)


def make(constants: bool = False, **changes: Any) -> AcePotential:
    """A potential with random coefficients, and a posterior if it has one density."""
    model = AceModel(**{**SMALL, "repulsion": CORE, **changes})
    basis, rng = model.basis((6, 14)), np.random.default_rng(7)
    source = {"made": "in a test"}
    if model.densities > 1:
        coefficients = 0.05 * rng.normal(size=(basis.size, model.densities))
        return model.potential(basis, coefficients, ENERGIES, provenance=source)
    size = basis.size + 2 * constants
    root = 1e-3 * rng.normal(size=(size, size))
    return model.potential(basis, 0.05 * rng.normal(size=basis.size), ENERGIES, root @ root.T, source)


def assert_same(one: AcePotential, other: AcePotential, structure: Structure) -> None:
    before, after = one.predict([structure])[0], other.predict([structure])[0]
    assert after.energy == before.energy
    np.testing.assert_array_equal(after.forces, before.forces)
    np.testing.assert_array_equal(after.stress, before.stress)


@pytest.mark.parametrize("densities", [1, 3])
def test_everything_is_saved_and_travels_to_other_processes(tmp_path: Path, densities: int) -> None:
    potential = make(densities=densities, rcut_pairs={"C-C": 3.5}).with_active_set([carbide(k) for k in range(4)])
    loaded = load(potential.save(tmp_path / "potential"))
    sent = pickle.loads(pickle.dumps(potential))
    structure = carbide(5, 0.2)
    for other in (loaded, sent):
        assert_same(potential, other, structure)
        assert other.provenance == potential.provenance and other.species == (6, 14)
        assert repr(other.fitted.basis) == repr(potential.fitted.basis)
        np.testing.assert_array_equal(other.coefficients, potential.coefficients)
        np.testing.assert_array_equal(other.extrapolation_grades(structure), potential.extrapolation_grades(structure))
        if densities == 1:
            np.testing.assert_array_equal(other.fitted.covariance, potential.fitted.covariance)
        else:
            assert other.fitted.covariance is None
    again = load(loaded.save(tmp_path / "again"))
    assert_same(potential, again, structure)
    assert (tmp_path / "again/model.yace").read_text() == (tmp_path / "potential/model.yace").read_text()


def test_a_bare_file_predicts_the_same_and_says_what_it_does_not_know(tmp_path: Path) -> None:
    potential = make(densities=2)
    path = potential.save(tmp_path / "bare.yace")
    bare = load(path)
    assert path.is_file() and bare.fitted is None and bare.species == (6, 14)
    assert_same(potential, bare, carbide(3, 0.2))
    assert len(bare.coefficients) > 0
    for ask in (bare.extrapolation_grades, lambda s: bare.energy_standard_error([s])):
        with pytest.raises(InputError, match="fit"):
            ask(carbide())
    with pytest.raises(InputError, match="does not know its invariant functions"):
        bare.with_active_set([carbide()])
    folder = bare.save(tmp_path / "folder")
    assert load(folder).fitted is None
    assert_same(potential, load(folder), carbide(3, 0.2))
    potential.save(folder)
    assert load(folder).fitted is not None
    bare.save(folder)  # nothing of the other potential may stay behind
    assert load(folder).fitted is None and not (folder / "fit.npz").exists()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _edited(key: str, value: Any) -> Any:
    def edit(folder: Path) -> None:
        content = json.loads((folder / "potential.json").read_text())
        content["basis"][key] = value
        (folder / "potential.json").write_text(json.dumps(content))

    return edit


def _arrays(**changes: np.ndarray) -> Any:
    def edit(folder: Path) -> None:
        with np.load(folder / "fit.npz") as arrays:
            kept = {**dict(arrays), **changes}
        np.savez(folder / "fit.npz", **kept)

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "fit.npz").unlink(),
        lambda folder: _cut(folder / "fit.npz"),
        lambda folder: (folder / "fit.npz").write_bytes(b"PK\x03\x04 no archive"),
        lambda folder: (folder / "model.yace").unlink(),
        lambda folder: _cut(folder / "model.yace"),
        lambda folder: (folder / "potential.json").unlink(),
        lambda folder: _cut(folder / "potential.json"),
        _edited("functions", [[[[0], [1], [0], []]], []]),
        _edited("functions", [[[[0, 0], [1, 1], [1, 2], [0]]], []]),
        _edited("functions", 3),
        _edited("core", [1.0]),
        _edited("cutoffs", None),
        _arrays(coefficients=np.zeros((3, 1))),
        _arrays(covariance=np.zeros((3, 3))),
        _arrays(active_C=np.zeros((3, 3))),
    ],
)
def test_damaged_folders_are_refused_in_a_sentence(tmp_path: Path, damage: Any) -> None:
    folder = make().with_active_set([carbide()]).save(tmp_path / "potential")
    damage(folder)
    with pytest.raises(InputError) as refused:
        load(folder)
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("constants", [False, True])
def test_standard_errors_follow_from_the_posterior_with_the_core_on(constants: bool) -> None:
    potential = make(constants)
    structures = [carbide(0, 0.2), carbide(1, 0.02)]
    basis, covariance = potential.fitted.basis, potential.fitted.covariance
    assert basis.pairs(structures[0]).scale.min() < 1
    for structure, found in zip(structures, potential.energy_standard_error(structures), strict=True):
        row = basis.rows(structure).energy
        if constants:
            row = np.concatenate([[np.sum(structure.numbers == z) for z in (6, 14)], row])
        assert found == pytest.approx(np.sqrt(row @ covariance @ row), rel=1e-10)
    assert potential.energy_standard_error([]).shape == (0,)
    with pytest.raises(InputError, match="no posterior covariance"):
        make(densities=2).energy_standard_error(structures)


def test_grades_tell_what_lies_outside_the_data() -> None:
    train = [carbide(seed) for seed in range(12)]
    potential = make().with_active_set(train)
    grades = np.concatenate([potential.extrapolation_grades(structure) for structure in train])
    assert grades.max() <= 1.1 + 1e-6 and grades.min() > 0
    squeezed = carbide(20)
    squeezed = Structure(squeezed.numbers, 0.8 * squeezed.positions, 0.8 * squeezed.cell, squeezed.pbc)
    assert potential.extrapolation_grades(squeezed).min() > 3
    # a change of scale of the functions changes nothing: grades belong to the space they span
    active = potential.fitted.active[6]
    rows = potential.fitted.basis.project(train[0])[train[0].numbers == 6][:, : active.shape[0]]
    assert np.abs(rows @ active).max() <= 1.1 + 1e-6
    # a species that was in no training structure is outside, whatever its surroundings
    alone = make().with_active_set([Structure.from_ase(bulk("Si"))])
    found = alone.extrapolation_grades(carbide())
    assert np.isinf(found[carbide().numbers == 6]).all()
    with pytest.raises(InputError, match="has no active set"):
        make().extrapolation_grades(carbide())


def test_core_begins_below_the_shortest_distances_of_the_data() -> None:
    train = Dataset.from_ase([carbide(seed).to_ase() for seed in range(3)])
    found = shortest_distances(train)
    assert set(found) == {"C-C", "C-Si", "Si-Si"}
    expected: dict[tuple[int, ...], float] = {}
    for structure in train.structures:
        pairs = find_neighbors(structure, 4.0)
        for i, j, d in zip(pairs.centers, pairs.indices, pairs.distances, strict=True):
            key = tuple(sorted((int(structure.numbers[i]), int(structure.numbers[j]))))
            expected[key] = min(expected.get(key, np.inf), d)
    for key, name in (((6, 6), "C-C"), ((6, 14), "C-Si"), ((14, 14), "Si-Si")):
        assert found[name] == pytest.approx(expected[key], rel=1e-12)
    filled = AceModel.with_data({"kind": "ace", **SMALL}, train)
    model = AceModel(**filled)
    basis = model.basis((6, 14))
    for structure in train.structures:
        assert basis.pairs(structure).scale.min() == 1 and not basis.rows(structure).offset.any()
    closer = carbide(0)
    closer = Structure(closer.numbers, 0.8 * closer.positions, 0.8 * closer.cell, closer.pbc)
    assert basis.rows(closer).offset[0] > 0
    for given in (None, {"inner": 1.0}):
        assert AceModel.with_data({"kind": "ace", "repulsion": given}, train)["repulsion"] == given
    # pairs that never meet
    lone = Dataset.from_ase([bulk("Si"), bulk("C", "diamond", a=3.57)])
    assert 0.5 < shortest_distances(lone)["C-Si"] < 1.8


def test_simulation_with_a_kept_neighbor_list_gives_fresh_forces() -> None:
    potential = make(functions=15)
    atoms = (carbide(0, 0.05).to_ase()) * (2, 1, 1)
    atoms.calc = potential.calculator()
    kick = np.random.default_rng(1).normal(size=(len(atoms), 3))
    atoms.set_momenta(kick * np.sqrt(units.kB * 3000 * atoms.get_masses())[:, None])
    run = VelocityVerlet(atoms, 1.0 * units.fs)
    for step in range(40):
        run.run(1)
        if step == 25:  # another cell, another number of atoms
            atoms.set_cell(atoms.cell.array * 1.01, scale_atoms=True)
        fresh = potential.predict([Structure.from_ase(atoms)])[0]
        np.testing.assert_allclose(atoms.get_forces(), fresh.forces, atol=1e-10)
        assert atoms.get_potential_energy() == pytest.approx(fresh.energy, abs=1e-10)
    cache = atoms.calc.evaluate.cache
    assert 2 <= cache.rebuilds < 40
    del atoms[3]
    fresh = potential.predict([Structure.from_ase(atoms)])[0]
    np.testing.assert_allclose(atoms.get_forces(), fresh.forces, atol=1e-10)


def _energy(potential: AcePotential, structure: Structure) -> tuple[int, float]:
    return os.getpid(), potential.predict([structure])[0].energy


def test_workers_receive_potentials() -> None:
    from loky import ProcessPoolExecutor

    potential, structure = make(), carbide()
    expected = potential.predict([structure])[0].energy  # compiled tables are there by now
    with ProcessPoolExecutor(1) as pool:
        process, found = pool.submit(_energy, potential, structure).result()
    assert found == expected and process != os.getpid()


def test_pruning_keeps_rank_one_and_the_target() -> None:
    basis = AceModel(**{**SMALL, "functions": 60, "repulsion": None}).basis((6, 14))
    rows = np.vstack([basis.rows(carbide(seed)).forces for seed in range(4)])
    matrix = rows.T @ rows + 1e-8 * np.trace(rows.T @ rows) * np.eye(basis.size)
    right = rows.T @ np.random.default_rng(0).normal(size=len(rows))
    groups, costs = basis.pruning_groups()
    for target in (0.5 * costs.sum(), 0.1 * costs.sum(), 1.0):
        kept = prune_groups(matrix, right, groups, costs, target).columns
        small = basis.select(kept)
        assert [f for f in small.columns if f.rank == 1] == [f for f in basis.columns if f.rank == 1]
        assert small.pruning_groups()[1].sum() <= target
        potential = AceModel(**SMALL).potential(small, np.ones(small.size), ENERGIES)
        assert np.isfinite(potential.predict([carbide()])[0].energy)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rcut_pairs": {"Si-Ge": 3.0}}, "Si-Ge: 3.0; expected pairs of C, Si"),
        ({"rcut_pairs": {"SiC": 3.0}}, "expected pairs of C, Si such as C-Si"),
        ({"rcut_pairs": {"Si-C": -1.0}}, "length above 0"),
        ({"repulsion": {"inner": {"Mo-Mo": 1.0}}}, "model.repulsion.inner"),
    ],
)
def test_wrong_pairs_are_told(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        AceModel(**{**SMALL, **changes}).basis((6, 14))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"functions": 0}, "greater than or equal to 1"),
        ({"densities": 2, "exponents": (1.0,)}, "has 1 numbers for 2 densities"),
        ({"densities": 2, "exponents": (0.5, 1.0)}, "the first is 1"),
        ({"densities": 2, "exponents": (1.0, -1.0)}, "above 0"),
        ({"densities": 1, "exponents": (0.5,)}, "the first is 1"),
        ({"densities": 2, "prefactors": (1.0, 0.0)}, "none may be 0"),
        ({"prefactors": (2.0,)}, "of a single density is 1"),
        ({"nradmax": (4, 3), "lmax": (0, 2, 1)}, "nradmax has 2 numbers and lmax has 3"),
        ({"nradmax": (4,) * 7, "lmax": (0,) * 7}, "per rank, 1 to 6"),
        ({"nradmax": (4, 3), "lmax": (1, 2)}, "lmax is 1 for rank 1"),
        ({"nradmax": (0, 0), "lmax": (0, 0)}, "zero for every rank"),
        ({"nradmax": (-1, 2), "lmax": (0, 0)}, "zero or more"),
        ({"radial": "Sbessel"}, "'SBessel', 'ChebExpCos'"),
        ({"embedding": "EAM"}, "'FinnisSinclair'"),
        ({"decay": 0}, "greater than 0"),
        ({"rcut": 0}, "greater than 0"),
        ({"repulsion": {"inner": 1.0, "width": 0}}, "greater than 0"),
        ({"repulsion": "always"}, "'auto'"),
        ({"prune": {"products": 0}}, "greater than or equal to 1"),
        ({"nonlinear": {"steps": (0.5,)}}, "must rise from above 0 to 1"),
        ({"nonlinear": {"steps": (0.5, 0.2, 1.0)}}, "must rise from above 0 to 1"),
        ({"nonlinear": {"upfit": 0.5}}, "greater than or equal to 1"),
        ({"l_wieght": 0.5}, "not permitted"),
    ],
)
def test_options_are_checked(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        AceModel(**{**SMALL, **changes})


def test_defaults_make_sense() -> None:
    model = AceModel(densities=3)
    assert model.full_embedding.exponents == (1.0, 0.5, 0.5) and model.full_embedding.weights == (1.0,) * 3
    assert AceModel().basis((14,)).size == 300
    assert {f.rank for f in AceModel().basis((14,)).columns} == {1, 2, 3, 4, 5}
    basis = AceModel(**SMALL, rcut_pairs={"C-C": 3.0}).basis((14, 6))
    assert basis.species == (6, 14) and basis.cutoffs == ((3.0, 4.0), (4.0, 4.0)) and basis.core is None


def test_no_structures_and_no_functions(tmp_path: Path) -> None:
    assert make().predict([]) == []
    basis = AceModel(**SMALL).basis((6, 14))
    only_carbon = basis.select(range(len(basis.functions[0])))  # silicon has none, as a hard pruning may leave it
    potential = AceModel(**SMALL).potential(only_carbon, np.ones(only_carbon.size), ENERGIES)
    potential = potential.with_active_set([carbide(seed) for seed in range(3)])
    grades = potential.extrapolation_grades(carbide())
    assert (grades[carbide().numbers == 14] == 0).all() and np.isfinite(grades).all()
    assert_same(potential, load(potential.save(tmp_path / "potential")), carbide())
