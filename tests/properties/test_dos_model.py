"""Learned densities of states: symmetries, derivatives, references of energy, and electrons at a temperature."""

from dataclasses import replace

import numpy as np
import pytest
from aluminum_densities import GRID, SMALL, distorted, true_density
from ase.build import make_supercell
from ase.calculators.emt import EMT
from scipy.spatial.transform import Rotation

import forcewright
from forcewright.errors import InputError
from forcewright.potential import Prediction
from forcewright.properties.density_of_states import cumulative, shift
from forcewright.properties.dos_model import DosData, DosModel, DosSettings, cross_validate_dos, fit_dos
from forcewright.properties.hot_electrons import HotElectronPotential, describe
from forcewright.structure import Structure


@pytest.fixture(name="data", scope="module")
def _data():
    rng = np.random.default_rng(3)
    structures = [distorted(rng) for _ in range(30)]
    return DosData.of(structures, GRID, [true_density(s) for s in structures])


@pytest.fixture(name="model", scope="module", params=["linear", "gaussian"])
def _model(request, data):
    settings = DosSettings(environment={**SMALL, "kernel": request.param}, electrons={"Al": 3.0})
    return fit_dos(data, settings, rng=np.random.default_rng(0))


def test_atoms_add_up_and_cells_repeat(model, data):
    structure = data.structures[0]
    local, total = model.local(structure), model.density(structure)
    np.testing.assert_allclose(local.sum(axis=0), total, atol=1e-12)
    twice = Structure.from_ase(make_supercell(structure.to_ase(), np.diag([2, 1, 1])))
    np.testing.assert_allclose(model.density(twice), 2 * total, atol=1e-9)
    np.testing.assert_allclose(total / 4, data.densities[0], atol=0.03)


def test_rotation_translation_and_order_change_nothing(model, data):
    atoms = data.structures[1].to_ase()
    expected = model.local(data.structures[1])
    turn = Rotation.from_rotvec([0.3, -1.1, 0.6]).as_matrix()
    moved = atoms.copy()
    moved.set_cell(atoms.cell @ turn.T, scale_atoms=False)
    moved.positions = atoms.positions @ turn.T + [0.3, 5.0, -2.0]
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(model.local(Structure.from_ase(moved[order])), expected[order], atol=1e-9)


def test_derivatives_are_those_of_finite_differences(model, data):
    structure = data.structures[2]
    weights = np.random.default_rng(1).normal(size=GRID.count)
    values, forces, virial = model.functional(structure, weights)
    np.testing.assert_allclose(values, model.local(structure) @ weights, atol=1e-10)
    step = 1e-4

    def total(positions, cell):
        return float(model.density(replace(structure, positions=positions, cell=cell)) @ weights)

    for atom, axis in ((0, 0), (3, 2)):
        change = np.zeros((4, 3))
        change[atom, axis] = step
        difference = total(structure.positions + change, structure.cell) - total(
            structure.positions - change, structure.cell
        )
        assert forces[atom, axis] == pytest.approx(-difference / (2 * step), abs=1e-6)
    strain = np.eye(3)
    strain[0, 1] = strain[1, 0] = 0.5 * step
    back = 2 * np.eye(3) - strain
    difference = total(structure.positions @ strain, structure.cell @ strain) - total(
        structure.positions @ back, structure.cell @ back
    )
    assert virial[5] == pytest.approx(-difference / (2 * step), abs=1e-6)


def test_saved_model_predicts_the_same(model, data, tmp_path):
    read = DosModel.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(read.local(data.structures[0]), model.local(data.structures[0]))
    assert read.settings == model.settings
    file = tmp_path / "model" / "dos.npz"
    sound = dict(np.load(file))
    for name in set(sound) & {
        "centers",
        "label_mean",
        "spread_factor",
        "spread_precision",
        "spread_mean",
        "spread_usual",
    }:
        for wrong in (sound[name][:-1], sound[name].T[..., None], np.full_like(sound[name], np.nan)):
            np.savez(file, **{**sound, name: wrong})
            with pytest.raises(InputError, match="damaged"):
                DosModel.load(file.parent)
    np.savez(file, **{**sound, "weights": np.full_like(sound["weights"], 1e308)})
    with np.errstate(all="ignore"), pytest.raises(InputError, match="not finite"):
        DosModel.load(file.parent).local(data.structures[0])
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        DosModel.load(tmp_path / "model")


def test_charges_add_up_to_nothing(model, data):
    charges = model.charges(data.structures[0])
    assert abs(charges.sum()) < 1e-12
    assert np.abs(charges).max() > 1e-4


def test_held_back_errors_fall_below_those_of_the_mean(data):
    settings = DosSettings(environment=SMALL, electrons={"Al": 3.0})
    result = cross_validate_dos(data, [settings], np.arange(30) % 5, rng=np.random.default_rng(0))
    assert result.errors.percent < 30
    assert set(result.derived_errors()) == {"fermi_eV", "band_energy_eV", "at_fermi"}
    leaked = np.abs(result.predicted - data.densities).max()
    assert leaked > 1e-6  # nobody has seen what it predicts


@pytest.mark.parametrize("reference", ["filling", "fermi", "fitted"])
def test_labels_of_any_zero_fit_where_energies_count_from_a_level(data, reference):
    rng = np.random.default_rng(8)
    moved = replace(data, densities=shift(GRID, data.densities, rng.normal(scale=0.15, size=len(data))))
    base = {"environment": {**SMALL, "kernel": "linear"}, "electrons": {"Al": 3.0}}
    folds = np.arange(30) % 5

    def percent(which, **kind):
        settings = DosSettings.model_validate({**base, **kind})
        return cross_validate_dos(which, [settings], folds, rng=np.random.default_rng(0)).errors.percent

    assert percent(moved, reference=reference) < 0.6 * percent(moved)


def test_components_leave_the_truncation_apart(data):
    from forcewright.properties.density_of_states import Components

    parts = Components.of(data.densities, 2)
    truncation = parts.truncation(GRID, data.densities, data.densities.mean(axis=0))
    assert 0 < truncation.percent < 30
    settings = DosSettings(environment=SMALL, target="components", components=2, electrons={"Al": 3.0})
    model = fit_dos(data, settings, rng=np.random.default_rng(0))
    rows = np.array([model.density(s) / 4 for s in data.structures])
    np.testing.assert_allclose(parts.densities(parts.amplitudes(rows)), rows, atol=1e-9)


def test_cumulative_target_fits_the_same_functions(data):
    settings = DosSettings(environment=SMALL, ridge=0.01, electrons={"Al": 3.0})
    values, sums = (
        fit_dos(data, settings.model_copy(update={"target": target}), rng=np.random.default_rng(0))
        for target in ("values", "cumulative")
    )
    np.testing.assert_allclose(values.density(data.structures[0]), sums.density(data.structures[0]), atol=1e-9)


def test_labels_without_states_are_refused_by_frame(data):
    densities = data.densities.copy()
    densities[7] = 0.0
    with pytest.raises(InputError, match="frame 7 is zero"):
        DosData.of(data.structures, GRID, densities)
    with pytest.raises(InputError, match="shape"):
        DosData.of(data.structures, GRID, densities[:5])


def test_gaps_are_named(data):
    gap = np.where(np.abs(GRID.points) < 0.5, 0.0, data.densities)
    (words,) = DosData.of(data.structures, GRID, gap).warnings()
    assert "30 of 30" in words
    assert "arbitrary" in words


def test_standard_errors_are_those_of_structures_held_back_and_grow_with_novelty(data):
    rng = np.random.default_rng(5)
    noisy = replace(data, densities=data.densities + rng.normal(scale=0.05, size=data.densities.shape))
    settings = DosSettings(environment={**SMALL, "kernel": "linear"}, electrons={"Al": 3.0})
    model = fit_dos(noisy, settings, rng=np.random.default_rng(0))
    here = np.eye(GRID.count)[30]
    errors = [model.standard_error(structure, here) for structure in data.structures]
    assert np.mean(errors) == pytest.approx(0.05, rel=0.5)
    far = distorted(rng, amount=0.6)
    assert model.standard_error(far, here) > np.max(errors)
    state = model.electronic_state(far, 3000.0)
    derived = model.derived_errors(far, state)
    assert all(value > 0 for value in derived.values())
    assert derived["fermi"] == pytest.approx(
        derived["fermi"] * model.electronic_state(far, 0.0).at_fermi / state.at_fermi
    )


# ------------------------------------------------------------------------------------- hot electrons


class _Ground:
    """Aluminum by ASE's EMT as a potential."""

    species, cutoff = (13,), 6.0

    def predict(self, structures, *, forces=True, stress=True):
        result = []
        for structure in structures:
            atoms = structure.to_ase()
            atoms.calc = EMT()
            result.append(Prediction(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)))
        return result


@pytest.fixture(name="hot", scope="module")
def _hot(data):
    settings = DosSettings(environment=SMALL, electrons={"Al": 3.0})
    return HotElectronPotential(_Ground(), fit_dos(data, settings, rng=np.random.default_rng(0)), 7000.0)


def test_hot_forces_and_stress_are_derivatives_of_the_free_energy(hot, data):
    structure = data.structures[4]
    (predicted,) = hot.predict([structure])
    step = 1e-3

    def free_energy(positions, cell):
        return hot.predict([replace(structure, positions=positions, cell=cell)])[0].energy

    for atom, axis in ((0, 1), (2, 0)):
        change = np.zeros((4, 3))
        change[atom, axis] = step
        values = [
            free_energy(structure.positions + factor * change, structure.cell) for factor in (-2.0, -1.0, 1.0, 2.0)
        ]
        slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
        assert predicted.forces[atom, axis] == pytest.approx(-slope, abs=1e-6)
    values = [
        free_energy(structure.positions * factor, structure.cell * factor)
        for factor in (1 - 2 * step, 1 - step, 1 + step, 1 + 2 * step)
    ]
    slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    assert np.trace(predicted.stress) == pytest.approx(slope / structure.volume, abs=1e-6)
    cold = _Ground().predict([structure])[0]
    assert np.abs(predicted.forces - cold.forces).max() > 1e-3


def test_free_and_internal_energy_differ_by_the_entropy(hot, data):
    structure = data.structures[0]
    (state,) = hot.electronic_states([structure])
    free = hot.predict([structure])[0].energy
    assert hot.internal_energies([structure])[0] == pytest.approx(free + 7000.0 * state.entropy, abs=1e-9)
    assert state.entropy > 0 > state.free_energy_change
    assert describe(state)["electronic_temperature_K"] == 7000.0
    up = hot.at(7010.0).internal_energies([structure])[0]
    down = hot.at(6990.0).internal_energies([structure])[0]
    assert (up - down) / 20 == pytest.approx(state.heat_capacity, rel=1e-4)


def test_cold_electrons_leave_the_ground_potential(hot, data):
    cold = hot.at(0.0).predict([data.structures[0]])[0]
    ground = _Ground().predict([data.structures[0]])[0]
    assert cold.energy == ground.energy
    np.testing.assert_array_equal(cold.forces, ground.forces)


def test_grid_too_short_for_the_temperature_is_refused(hot, data):
    with pytest.raises(InputError, match="less than 10 k_BT"):
        hot.at(20000.0).predict([data.structures[0]])


def test_saved_hot_potential_is_loaded_like_any(hot, data, tmp_path):
    ground = forcewright.load(_pair_potential(tmp_path / "pair"))
    folder = HotElectronPotential(ground, hot.dos, 5000.0).save(tmp_path / "hot")
    read = forcewright.load(folder)
    assert isinstance(read, HotElectronPotential)
    assert read.temperature == 5000.0
    first, second = (p.predict([data.structures[0]])[0] for p in (read, HotElectronPotential(ground, hot.dos, 5000.0)))
    assert first.energy == pytest.approx(second.energy, abs=1e-12)
    atoms = data.structures[0].to_ase()
    atoms.calc = read.calculator()
    assert atoms.get_potential_energy() == pytest.approx(first.energy, abs=1e-9)
    (folder / "dos" / "dos.npz").write_bytes((folder / "dos" / "dos.npz").read_bytes() + b"x")
    with pytest.raises(InputError, match="not the one that was saved"):
        forcewright.load(folder)


def _pair_potential(folder):
    from forcewright.models.ace import AcePotential
    from forcewright.properties.environments import EnvironmentSettings

    basis = EnvironmentSettings(cutoff=4.5, nradmax=(3,), lmax=(0,), functions=3).basis((13,))
    return AcePotential(basis.expansion(np.array([0.1, -0.2, 0.05]), {13: 0.0})).save(folder)


def test_electrons_are_counted_where_a_gap_makes_them_sharp(data):
    gap = np.where(np.abs(GRID.points) < 1.0, 0.0, data.densities)
    held = cumulative(GRID, gap)[:, np.argmin(np.abs(GRID.points))]
    model = fit_dos(
        DosData.of(data.structures, GRID, gap), DosSettings(environment=SMALL), rng=np.random.default_rng(0)
    )
    assert model.electrons[0] == pytest.approx(held.mean(), rel=1e-6)
