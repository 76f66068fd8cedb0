from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator
from pydantic import ValidationError

from forcewright.errors import InputError, MissingExtraError
from forcewright.models import load
from forcewright.models.sgdml import SgdmlModel, SgdmlPotential
from forcewright.models.sgdml import fitting as sgdml_fitting
from forcewright.models.sgdml.kernel import descriptors
from forcewright.structure import VOIGT, Dataset, Structure, to_voigt

SIGMA = (1.0,)
STEP = 1e-3


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    if find_spec("sgdml") is None:
        pytest.skip("the package sgdml is not installed")


def frames(count: int, seed: int = 0, strain: float = 0.0, periodic: bool = True) -> Dataset:
    """A silicon atom and its four neighbors, alone or in a box, where no pair has two images that are equally near."""
    rng = np.random.default_rng(seed)
    cells = []
    for _ in range(count):
        atoms = bulk("Si", cubic=True)[[0, 1, 2, 4, 6]]
        atoms.set_cell(np.diag([10.0, 11.0, 12.0]) if periodic else np.zeros((3, 3)))
        atoms.pbc = periodic
        atoms.rattle(0.05, rng=rng)
        if strain:
            atoms.set_cell(atoms.cell * rng.uniform(1 - strain, 1 + strain), scale_atoms=True)
        atoms.calc = MorsePotential(epsilon=1.0, r0=2.35, rho0=3.0, rcut1=1.7, rcut2=2.0)  # in units of r0
        results = {"energy": atoms.get_potential_energy() - 50, "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        cells.append(atoms)
    return Dataset.from_ase(cells)


def errors(potential: SgdmlPotential, data: Dataset) -> tuple[float, float]:
    """Root mean square errors of energies and forces."""
    found = potential.predict(data.structures)
    energies = [p.energy - labels.energy for p, labels in zip(found, data.labels, strict=True)]
    forces = [p.forces - labels.forces for p, labels in zip(found, data.labels, strict=True)]
    return float(np.sqrt(np.mean(np.square(energies)))), float(np.sqrt(np.mean(np.square(forces))))


@pytest.fixture(scope="module")
def trained() -> SgdmlPotential:
    return SgdmlModel(sigmas=SIGMA).fit(frames(30, strain=0.02), rng=np.random.default_rng(0))


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("energies", [True, False])
@pytest.mark.parametrize("symmetries", [True, False])
def test_agrees_with_the_package_where_the_lattice_is_fixed(periodic: bool, energies: bool, symmetries: bool) -> None:
    data, test = frames(12, periodic=periodic), frames(3, seed=4, periodic=periodic)
    model = SgdmlModel(sigmas=SIGMA, energy_constraints=energies, symmetries=symmetries)
    ours = model.fit(data, rng=np.random.default_rng(0))
    from sgdml.predict import GDMLPredict

    positions = np.array([s.positions for s in data.structures])
    given = {
        "R": positions, "z": data[0].structure.numbers, "F": np.array([labels.forces for labels in data.labels]),
        "E": np.array([labels.energy for labels in data.labels]), "name": np.array("x"), "theory": np.array("y"),
    }  # fmt: skip
    if periodic:
        given["lattice"] = data[0].structure.cell.T
    trainer = sgdml_fitting._trainer()
    task = trainer.create_task(
        given, len(data), given, 0, sig=1.0, lam=model.regularization, use_sym=symmetries, use_E_cstr=energies
    )
    theirs = GDMLPredict(trainer.train(task), max_processes=1)
    energy, forces = theirs.predict(np.array([s.positions.ravel() for s in test.structures]))
    found = ours.predict(test.structures)
    assert (ours.provenance["cells"][0]["symmetries"] > 1) == (symmetries and len(task["perms"]) > 1)
    np.testing.assert_allclose([p.energy for p in found], energy, atol=1e-6)
    np.testing.assert_allclose([p.forces.ravel() for p in found], forces, atol=1e-6)


def test_symmetries_are_built_in() -> None:
    data = frames(12, periodic=False)
    potential = SgdmlModel(sigmas=SIGMA, symmetries=True).fit(data, rng=np.random.default_rng(0))
    assert potential.provenance["cells"][0]["symmetries"] > 1
    structure = frames(1, seed=4, periodic=False).structures[0]
    for order in sgdml_fitting._permutations(data):
        permuted = Structure(structure.numbers, structure.positions[order])
        assert potential.predict([permuted])[0].energy == pytest.approx(potential.predict([structure])[0].energy)


def test_more_data_predict_better(trained: SgdmlPotential) -> None:
    test = frames(6, seed=9, strain=0.02)
    few = SgdmlModel(sigmas=SIGMA, n_train=5).fit(frames(30, strain=0.02), rng=np.random.default_rng(0))
    assert errors(trained, test)[1] < errors(few, test)[1]
    forces = np.concatenate([labels.forces.ravel() for labels in test.labels])
    energies = [labels.energy for labels in test.labels]
    assert errors(trained, test)[1] < 0.5 * np.sqrt(np.mean(forces**2))
    assert errors(trained, test)[0] < 0.5 * np.std(energies)


def test_forces_and_stress_are_derivatives(trained: SgdmlPotential) -> None:
    structure = frames(1, seed=3).structures[0]

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        moved = Structure(structure.numbers, positions, cell, structure.pbc)
        return trained.predict([moved], forces=False, stress=False)[0].energy

    found = trained.predict([structure])[0]
    for atom, axis in [(0, 0), (3, 1)]:
        shift = np.zeros((5, 3))
        shift[atom, axis] = STEP
        up, down = (energy(structure.positions + s * shift, structure.cell) for s in (1, -1))
        assert found.forces[atom, axis] == pytest.approx(-(up - down) / (2 * STEP), rel=1e-4, abs=1e-6)
    stress = to_voigt(found.stress)
    for component, (i, j) in enumerate(VOIGT):
        values = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * STEP / 2
            strain[j, i] += sign * STEP / 2
            values.append(energy(structure.positions @ strain, structure.cell @ strain))
        expected = (values[0] - values[1]) / (2 * STEP * structure.volume)
        assert stress[component] == pytest.approx(expected, rel=1e-4, abs=1e-8)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = Structure(structure.numbers, structure.positions @ turn, structure.cell @ turn, structure.pbc)
    np.testing.assert_allclose(trained.predict([turned])[0].forces, found.forces @ turn, atol=1e-8)


def test_descriptors_are_inverse_distances_at_the_nearest_image() -> None:
    structure = frames(1, strain=0.05).structures[0]
    expected = structure.to_ase().get_all_distances(mic=True)[np.tril_indices(5, k=-1)]
    np.testing.assert_allclose(descriptors(structure)[0], 1 / expected)


def test_energy_constant_is_the_mean_of_the_training_set() -> None:
    data = frames(8)
    model = SgdmlModel(sigmas=SIGMA, energy_constraints=False)
    potential = model.fit(data, rng=np.random.default_rng(0))
    found = [p.energy for p in potential.predict(data.structures)]
    assert np.mean(found) == pytest.approx(np.mean([labels.energy for labels in data.labels]), abs=1e-9)


def test_sigma_is_chosen_on_frames_held_back() -> None:
    model = SgdmlModel(sigmas=(0.001, 1.0), validation_share=0.3)
    potential = model.fit(frames(10), rng=np.random.default_rng(0))
    assert potential.cells[0].model.sigma == 1.0
    assert set(potential.provenance["cells"][0]["validation_force_rmse_eV_per_A"]) == {"0.001", "1"}


def test_saved_and_loaded_are_equal_to_the_bit(trained: SgdmlPotential, tmp_path: Path) -> None:
    again = load(trained.save(tmp_path / "saved"))
    structure = frames(1, seed=5).structures[0]
    first, second = trained.predict([structure])[0], again.predict([structure])[0]
    assert first.energy == second.energy and again.cutoff == trained.cutoff
    np.testing.assert_array_equal(first.forces, second.forces)
    kernel = tmp_path / "saved" / "kernel-0.npz"
    np.load(kernel, allow_pickle=False)["descriptors"]
    whole = kernel.read_bytes()
    for damaged in (b"nothing", b"", whole[: len(whole) // 2]):
        kernel.write_bytes(damaged)
        with pytest.raises(InputError, match="kernel-0.npz: is damaged"):
            load(tmp_path / "saved")


def test_same_seed_same_potential_and_calculator(trained: SgdmlPotential) -> None:
    model = SgdmlModel(sigmas=SIGMA, n_train=6)
    first, second = (model.fit(frames(12), rng=np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(first.cells[0].model.jacobian_alphas, second.cells[0].model.jacobian_alphas)
    structure = frames(1, seed=5).structures[0]
    atoms = structure.to_ase()
    atoms.calc = trained.calculator()
    np.testing.assert_allclose(atoms.get_forces(), trained.predict([structure])[0].forces)


def test_too_much_memory_is_refused_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sgdml_fitting, "train_kernel", lambda *a: pytest.fail("started"))
    data = frames(20)
    with pytest.raises(InputError, match=r"20 structures of 5 atoms .* set n_train to \d+ or less") as told:
        SgdmlModel(max_memory_GB=0.001).fit(data, rng=np.random.default_rng(0))
    count = int(str(told.value).split("n_train to ")[1].split()[0])
    assert sgdml_fitting.predicted_memory(count, 5) <= 1e6 < sgdml_fitting.predicted_memory(count + 1, 5)
    with pytest.raises(InputError, match="use another family"):
        SgdmlModel(max_memory_GB=1e-5).fit(data, rng=np.random.default_rng(0))


def test_predicted_memory_is_that_of_the_kernel() -> None:
    rows = 100 * 3 * 64
    assert sgdml_fitting.predicted_memory(100, 64, energies=False) == pytest.approx(3 * 8 * rows**2, rel=0.01)


def with_carbon(data: Dataset, atom: int = 0) -> Dataset:
    """The frames with one of the silicon atoms called carbon."""
    numbers = data[0].structure.numbers.copy()
    numbers[atom] = 6
    return Dataset(
        tuple(f._replace(structure=Structure(numbers, f.structure.positions, f.structure.cell, [1] * 3)) for f in data)
    )


def test_several_cells_have_kernels_of_their_own(tmp_path: Path) -> None:
    pure, mixed = frames(12, strain=0.02), with_carbon(frames(10, seed=1))
    together = SgdmlModel(sigmas=SIGMA).fit(pure + mixed, rng=np.random.default_rng(0))
    for part in (pure, mixed):
        alone = SgdmlModel(sigmas=SIGMA).fit(part, rng=np.random.default_rng(0))
        structure = part[0].structure
        for potential in (together, load(together.save(tmp_path / "both"))):
            one, other = (p.predict([structure])[0] for p in (potential, alone))
            assert one.energy == other.energy
            np.testing.assert_array_equal(one.forces, other.forces)
    assert together.species == (6, 14)
    assert [cell["frames"] for cell in together.provenance["cells"]] == [12, 10]


def test_other_cells_are_refused(trained: SgdmlPotential) -> None:
    data = frames(3)
    other = with_carbon(data[:1])
    with pytest.raises(InputError, match="is the only one of CSi4; sGDML needs at least 2 frames of each cell"):
        SgdmlModel().fit(data + other, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="holds CSi4 with its atoms in another order, or other pbc, than frame 0"):
        SgdmlModel().fit(with_carbon(data) + with_carbon(data, 1), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="holds C, but the potential knows only Si"):
        trained.predict([other[0].structure])
    with pytest.raises(InputError, match="holds Si2; sGDML is a model of whole cells, here of Si5"):
        trained.predict(bulk("Si"))
    unlabelled = Dataset(tuple(f._replace(labels=type(f.labels)(energy=1.0)) for f in data))
    with pytest.raises(InputError, match="0 forces"):
        SgdmlModel().fit(unlabelled, rng=np.random.default_rng(0))


def test_loggers_stay_ordinary_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    SgdmlModel(sigmas=SIGMA, symmetries=True).fit(frames(4), rng=np.random.default_rng(0))
    assert logging.getLoggerClass().__module__ == "logging"
    assert capfd.readouterr() == ("", "")


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sgdml.train", None)
    with pytest.raises(MissingExtraError, match=r'pip install "forcewright\[sgdml\]"'):
        SgdmlModel(sigmas=SIGMA).fit(frames(3), rng=np.random.default_rng(0))
    with pytest.raises(ValidationError):
        SgdmlModel(sigmas=())
