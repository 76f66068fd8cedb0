"""What every potential must do; a family is tested by being listed in `FAMILIES` and here with small hyperparameters."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.morse import MorsePotential

from forcewright.accuracy.errors import check_species
from forcewright.errors import InputError
from forcewright.models import FAMILIES, family_of, load
from forcewright.potential import Exportable, Linear, Potential, Uncertain
from forcewright.structure import VOIGT, Dataset, Structure, to_voigt

ACE = {
    "functions": 30, "rcut": 4.0, "rcut_pairs": {"C-C": 3.6}, "nradmax": (4, 3, 2, 1), "lmax": (0, 2, 1, 1),
    "repulsion": {"inner": {"Si-C": 1.75, "C-C": 1.3}, "width": 0.3},  # some rattled bonds are shorter
}  # fmt: skip
GRAPH = {"cutoff": 4.0, "channels": 4, "layers": 2, "radial_features": 6, "epochs": 4, "precision": "float64"}
SMALL = {
    "ace": ACE,
    "ace of two densities": {**ACE, "densities": 2, "prefactors": (1.0, 0.8)},
    "command": {
        "cutoff": 4.0,
        "labels": {"energy": "REF_energy", "forces": "REF_forces", "virial": "REF_virial"},
        "fit": [
            "gap_fit",
            "at_file=${train}",
            "gp_file=gp.xml",
            "rnd_seed=${seed}",
            "do_copy_at_file=F",
            "gap={soap cutoff=${cutoff} cutoff_transition_width=1.0 n_max=4 l_max=3 atom_sigma=0.5 zeta=4 n_sparse=20 "
            "delta=0.3 covariance_type=dot_product sparse_method=cur_points}",
            "e0={C:${e0_C}:Si:${e0_Si}}",
            "default_sigma={0.001 0.05 0.02 0.0}",
            "energy_parameter_name=REF_energy",
            "force_parameter_name=REF_forces",
            "virial_parameter_name=REF_virial",
        ],
        "outputs": ["gp.xml", "gp.xml.sparseX*"],
        "predict": {"ase": "quippy.potential:Potential", "kwargs": {"param_filename": "${potential}/gp.xml"}},
    },
    "gap": {
        "two_body": {"cutoff": 4.0, "n_sparse": 10, "delta": 0.2},
        "soap": {"cutoff": 4.0, "n_max": 4, "l_max": 3, "n_sparse": 20},
    },
    **{f"graph {name}": {**GRAPH, "architecture": name} for name in ("schnet", "painn", "tensornet", "nequip", "mace")},
    "snap": {"twojmax": 4, "quadratic": True, "rcut": 4.0, "element_weights": {"C": 0.7}},
}
NEEDS = {"command": "quippy", "gap": "quippy", "graph": "graph_pes"}  # package of a family that is an extra
WHOLE_CELL = {"sgdml"}  # a model of one cell knows no other: tests/models/test_sgdml.py
STEP = 1e-4


def cell(seed: int = 0, repeat: tuple[int, int, int] = (1, 1, 2)) -> Structure:
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
    atoms.rattle(0.15, seed=seed)
    return Structure.from_ase(atoms * repeat)


@cache
def fitted(name: str) -> Potential:
    """A family that is a program of others, fitted to a few cells of a Morse potential."""
    kind = name.split()[0]
    frames = [cell(seed, (1, 1, 1)).to_ase() for seed in range(10)]
    for atoms in frames:
        atoms.calc = MorsePotential(epsilon=2.0, r0=1.9, rho0=4.0, rcut1=3.0, rcut2=3.8)
        atoms.get_forces(), atoms.get_stress()
    return (
        family_of(kind)
        .hyperparameters(kind=kind, **SMALL[name])
        .fit(Dataset.from_ase(frames), rng=np.random.default_rng(0))
    )


@pytest.fixture(params=sorted(SMALL))
def potential(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Potential:
    monkeypatch.setenv("FORCEWRIGHT_ALLOW_COMMANDS", "1")  # or the family `command` is not read back
    kind = request.param.split()[0]
    if kind in NEEDS and find_spec(NEEDS[kind]) is None:
        pytest.skip(f"the package {NEEDS[kind]} is not installed")
    family = family_of(kind)
    if not family.is_linear:
        return fitted(request.param)
    model = family.hyperparameters(kind=kind, **SMALL[request.param])
    basis, refinement = model.basis((6, 14)), model.refinement()
    densities = 1 if refinement is None else refinement.densities
    coefficients = 1e-3 * np.random.default_rng(0).normal(size=(basis.size, densities))
    if densities > 1:  # such a model is not linear: its coefficients have no posterior
        return model.potential(basis, coefficients, {6: -9.0, 14: -5.0})
    return model.potential(basis, coefficients[:, 0], {6: -9.0, 14: -5.0}, covariance=1e-6 * np.eye(basis.size))


def test_every_family_is_tested() -> None:
    assert {name.split()[0] for name in SMALL} | WHOLE_CELL == set(FAMILIES)


def moved(structure: Structure, positions: np.ndarray, cell: np.ndarray | None = None) -> Structure:
    return Structure(structure.numbers, positions, structure.cell if cell is None else cell, structure.pbc)


def standard_error(potential: Uncertain) -> np.ndarray | str:
    """The standard error of an energy, or the sentence in which a potential says that it knows none."""
    try:
        return potential.energy_standard_error([cell()])
    except InputError as error:
        return str(error)


def energy(potential: Potential, structure: Structure) -> float:
    return potential.predict([structure], forces=False, stress=False)[0].energy


def test_forces_are_minus_the_gradient(potential: Potential) -> None:
    structure = cell()
    forces = potential.predict([structure])[0].forces
    for atom, axis in [(0, 0), (5, 1), (9, 2)]:
        shift = np.zeros((len(structure), 3))
        shift[atom, axis] = STEP
        up, down = (energy(potential, moved(structure, structure.positions + s * shift)) for s in (1, -1))
        assert forces[atom, axis] == pytest.approx(-(up - down) / (2 * STEP), rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-8)


def test_stress_is_the_strain_derivative_per_volume(potential: Potential) -> None:
    structure = cell()
    stress = to_voigt(potential.predict([structure])[0].stress)
    for component, (i, j) in enumerate(VOIGT):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * STEP / 2
            strain[j, i] += sign * STEP / 2
            energies.append(energy(potential, moved(structure, structure.positions @ strain, structure.cell @ strain)))
        derivative = (energies[0] - energies[1]) / (2 * STEP * structure.volume)
        assert stress[component] == pytest.approx(derivative, rel=1e-5, abs=1e-7)


def test_symmetries(potential: Potential) -> None:
    structure = cell()
    reference = potential.predict([structure])[0]
    rng = np.random.default_rng(1)
    order = rng.permutation(len(structure))
    permuted = Structure(structure.numbers[order], structure.positions[order], structure.cell, structure.pbc)
    found = potential.predict([permuted])[0]
    assert found.energy == pytest.approx(reference.energy, abs=1e-9)
    np.testing.assert_allclose(found.forces, reference.forces[order], atol=1e-9)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = moved(structure, (structure.positions + [1.0, 20.0, -7.0]) @ turn, structure.cell @ turn)
    found = potential.predict([turned])[0]
    assert found.energy == pytest.approx(reference.energy, abs=1e-8)
    np.testing.assert_allclose(found.forces, reference.forces @ turn, atol=1e-8)
    np.testing.assert_allclose(found.stress, turn.T @ reference.stress @ turn, atol=1e-9)


def test_extensivity(potential: Potential) -> None:
    single = potential.predict([cell()])[0]
    double = potential.predict([cell(repeat=(2, 1, 2))])[0]
    assert double.energy == pytest.approx(2 * single.energy, abs=1e-8)
    np.testing.assert_allclose(double.stress, single.stress, atol=1e-10)


def test_batch_equals_single_and_input_is_unchanged(potential: Potential) -> None:
    structures = [cell(0), cell(1, (1, 1, 1)), cell(0)]
    hashes = [s.content_hash for s in structures]
    batch = potential.predict(structures)
    for structure, together in zip(structures, batch, strict=True):
        assert energy(potential, structure) == pytest.approx(together.energy, abs=1e-10)
    assert hashes == [s.content_hash for s in structures]


def test_energy_is_smooth_at_the_cutoff_and_constant_beyond(potential: Potential) -> None:
    reach = potential.cutoff
    beyond, at, near, far = (
        energy(potential, Structure([14, 14], [[0, 0, 0], [d, 0, 0]]))
        for d in reach + np.array([1.0, 0.0, -1e-4, -1e-3])
    )
    assert at == pytest.approx(beyond, abs=1e-9) and near == pytest.approx(beyond, abs=1e-6)
    assert abs(near - beyond) < max(0.02 * abs(far - beyond), 1e-8)  # at least as the square of the distance


def test_isolated_atom_and_open_boundaries(potential: Potential) -> None:
    atom = Structure([6], [[0.0, 0.0, 0.0]])
    prediction = potential.predict([atom])[0]
    assert np.isfinite(prediction.energy) and prediction.stress is None
    np.testing.assert_allclose(prediction.forces, 0.0, atol=1e-10)
    far = Structure([6, 6], [[0.0, 0.0, 0.0], [0.0, 0.0, 50.0]])
    assert energy(potential, far) == pytest.approx(2 * prediction.energy, abs=1e-9)


def test_saving_and_loading_changes_nothing(potential: Potential, tmp_path: Path) -> None:
    loaded = load(potential.save(tmp_path / "saved"))
    first, second = potential.predict([cell()])[0], loaded.predict([cell()])[0]
    assert first.energy == second.energy
    np.testing.assert_array_equal(first.forces, second.forces)
    assert loaded.species == potential.species and loaded.cutoff == potential.cutoff
    if isinstance(potential, Linear):
        np.testing.assert_array_equal(potential.coefficients, loaded.coefficients)
    if isinstance(potential, Uncertain):
        np.testing.assert_array_equal(standard_error(potential), standard_error(loaded))
    if isinstance(potential, Exportable):
        assert potential.to_lammps(tmp_path).is_file()


def test_calculator_gives_what_predict_gives(potential: Potential) -> None:
    structure = cell()
    atoms = structure.to_ase()
    atoms.calc = potential.calculator()
    expected = potential.predict([structure])[0]
    assert atoms.get_potential_energy() == pytest.approx(expected.energy)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), expected.stress)
    cluster = Structure([14, 6], [[0, 0, 0], [0, 0, 1.8]]).to_ase()
    cluster.calc = potential.calculator()
    assert np.isfinite(cluster.get_forces()).all()


def test_unknown_species_is_told(potential: Potential) -> None:
    with pytest.raises(InputError, match="numbers"):
        potential.predict([Structure.from_ase(bulk("Mo"))])
    with pytest.raises(InputError, match="Mo"):
        check_species(potential, Dataset.from_ase([bulk("Mo")]))
