"""Properties that turn with a structure: every one of `PROPERTIES` keeps the contract of its irreps.

Labels are sums over pairs and triples written with vectors, apart from anything the models are made of.
"""

from functools import cache

import numpy as np
import pytest
import scipy.linalg
from ase import Atoms
from scipy.spatial.transform import Rotation

from forcewright.data.properties import Target
from forcewright.data.property_reading import read_property
from forcewright.descriptors.descriptor import unit_rows
from forcewright.errors import InputError
from forcewright.features.equivariant.spherical import Irrep
from forcewright.properties import tensor_model
from forcewright.properties.kernel_basis import KernelSettings
from forcewright.properties.tensor_errors import errors_of, tensor_errors
from forcewright.properties.tensor_model import TensorModel, TensorSettings, fit_tensors
from forcewright.properties.tensor_regression import whitened
from forcewright.structure import Structure

SETTINGS = TensorSettings(cutoff=4.0, degrees=(4, 4), nmax=5, lmax=2)
CHARGE = {1: 0.4, 8: -0.8}


def _fields(atoms):
    """Return two vectors of each atom, of short and of long reach, and a tensor."""
    near, far, tensor = np.zeros((len(atoms), 3)), np.zeros((len(atoms), 3)), np.zeros((len(atoms), 3, 3))
    for i in range(len(atoms)):
        for j in range(len(atoms)):
            r = atoms.positions[j] - atoms.positions[i]
            d = np.linalg.norm(r)
            if 0 < d < 4.0:
                fade = (1 - d / 4.0) ** 2 * CHARGE[atoms.numbers[j]]
                near[i] += fade * np.exp(-d) * r
                far[i] += fade * r
                tensor[i] += fade * np.outer(r, r)
    return near, far, tensor


def _vector(atoms):
    return _fields(atoms)[1]


def _symmetric(atoms):
    return _fields(atoms)[2].reshape(-1, 9)


def _traceless(atoms):
    tensor = _fields(atoms)[2]
    return (tensor - np.trace(tensor, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)).reshape(-1, 9)


def _any_tensor(atoms):
    near, far, tensor = _fields(atoms)
    return (tensor + np.einsum("ia,ib->iab", near, far) * 5 + 2 * np.eye(3)).reshape(-1, 9)


def _axial(atoms):
    near, far, _ = _fields(atoms)
    return np.cross(near, far)


def _scalar(atoms):
    return 0.3 + np.trace(_fields(atoms)[2], axis1=1, axis2=2)[:, None]


#: What is predicted, and the labels of all atoms; a new property joins by a line.
PROPERTIES = {
    "dipole": ({"name": "dipole", "unit": "e*Å"}, _vector),
    "polarizability": ({"name": "polarizability", "unit": "Å^3"}, _symmetric),
    "quadrupole": ({"name": "quadrupole"}, _traceless),
    "mean scalar": ({"name": "gap", "irreps": "0e", "reduce": "mean"}, _scalar),
    "shielding": ({"name": "shielding", "mask": "known"}, _any_tensor),
    "charges": ({"name": "charges"}, _scalar),
    "moment": ({"name": "moment", "irreps": "1e", "per": "atom"}, _axial),
    "scalar by a kernel": ({"name": "gap", "irreps": "0e", "reduce": "sum"}, _scalar),
    "charges by a kernel": ({"name": "charges"}, _scalar),
}
#: Settings other than `SETTINGS`.
OTHERS = dict.fromkeys(
    ("scalar by a kernel", "charges by a kernel"), KernelSettings(descriptor="ace", cutoff=4.0, representatives=60)
)


def _frames(count, seed):
    rng = np.random.default_rng(seed)
    water = np.array([[0.0, 0, 0], [0.8, 0.5, 0], [-0.8, 0.5, 0]])
    for _ in range(count):
        second = water @ Rotation.random(random_state=rng).as_matrix().T + [2.4, 0.5 * rng.normal(), 0.3]
        positions = np.vstack([water, second]) + rng.normal(scale=0.1, size=(6, 3))
        yield Atoms("OHHOHH", positions @ Rotation.random(random_state=rng).as_matrix().T)


def _labeled(name, count, seed):
    """Return frames with the labels of a property, and its target."""
    content, labels = PROPERTIES[name]
    target = Target(**content)
    frames = []
    for atoms in _frames(count, seed):
        values = labels(atoms)
        if target.per == "atom":
            atoms.arrays[target.where] = values if target.components > 1 else values[:, 0]
            atoms.arrays["known"] = atoms.numbers == 8
        else:
            atoms.info[target.where] = values.mean(axis=0) if target.reduce == "mean" else values.sum(axis=0)
        frames.append(atoms)
    return target, read_property(frames, target)


@cache
def _fit(name):
    _, data = _labeled(name, 40, 1)
    return fit_tensors(data, OTHERS.get(name, SETTINGS), np.arange(40) % 4)


@pytest.fixture(name="fit", params=list(PROPERTIES))
def _fitted(request):
    return _fit(request.param)


def test_it_learns_its_labels(fit):
    whole, *rest = errors_of(fit)
    few = whole["values"] * fit.data.target.components <= 40
    assert whole["percent"] < (40 if few else 12)
    assert {row["part"] for row in rest} >= set(fit.data.target.irreps.split("+"))


def test_it_turns_as_its_irreps_say(fit):
    target, structure = fit.data.target, fit.data.structures[0]
    rng = np.random.default_rng(2)
    turn, order = Rotation.random(random_state=rng).as_matrix(), rng.permutation(len(structure))
    before = fit.model.predict(structure)
    for sign in (1.0, -1.0):
        operation = sign * turn
        moved = Structure(structure.numbers[order], structure.positions[order] @ operation.T + [1.0, -2.0, 5.0])
        after = fit.model.predict(moved)
        expected = before[order] if target.per == "atom" else before
        if target.components == 9:
            shape = expected.shape
            expected = (operation @ expected.reshape(-1, 3, 3) @ operation.T).reshape(shape)
        elif target.components == 3:
            expected = expected @ (operation if target.parity == "o" else turn).T
        np.testing.assert_allclose(after, expected, atol=1e-9 * max(1.0, np.nanmax(np.abs(before))))


def test_it_is_smooth_in_the_positions(fit):
    structure, rng = fit.data.structures[1], np.random.default_rng(3)
    along = rng.normal(size=structure.positions.shape)

    def slope(step):
        up, down = (
            np.nan_to_num(fit.model.predict(Structure(structure.numbers, structure.positions + sign * step * along)))
            for sign in (1, -1)
        )
        return (up - down) / (2 * step)

    coarse, fine = slope(2e-3), slope(1e-3)
    best = (4 * fine - coarse) / 3  # what Richardson leaves is of fourth order
    np.testing.assert_allclose(fine, best, atol=3e-3 * max(np.abs(best).max(), 1e-3))


def test_gradients_are_finite_differences(fit):
    periodic = Structure([8, 1, 1, 8], np.random.default_rng(4).uniform(0, 3, (4, 3)), np.eye(3) * 3.1, [True] * 3)
    if isinstance(fit.model.settings, KernelSettings):
        with pytest.raises(InputError, match="no gradients"):
            fit.model.gradients(periodic)
        return
    for structure in (fit.data.structures[2], periodic):
        gradients = fit.model.gradients(structure)
        per_atom = fit.data.target.per == "atom"
        count = len(structure)
        assert gradients.shape == ((count,) if per_atom else ()) + (fit.data.target.components, count, 3)
        along = np.random.default_rng(5).normal(size=(count, 3))

        def at(step, structure=structure, along=along):
            moved = Structure(structure.numbers, structure.positions + step * along, structure.cell, structure.pbc)
            return fit.model.predict(moved)

        coarse, fine = ((at(h) - at(-h)) / (2 * h) for h in (2e-4, 1e-4))
        expected = (4 * fine - coarse) / 3
        slope = np.einsum("...cia,ia->...c", gradients, along)
        np.testing.assert_allclose(slope, expected, atol=1e-6 * max(1.0, np.nanmax(np.abs(expected))))


def test_a_saved_model_predicts_the_same(fit, tmp_path):
    model = TensorModel.load(fit.model.save(tmp_path / "model"))
    for structure in fit.data.structures[:3]:
        np.testing.assert_array_equal(model.predict(structure), fit.model.predict(structure))
    values, errors = model.predict_with_errors(fit.data.structures[0])
    assert values.shape == errors.shape
    assert np.nanmin(errors) >= 0
    file = tmp_path / "model" / "coefficients.npz"
    sound = dict(np.load(file))
    name = next(name for name in sound if name.startswith("inverse_"))
    for wrong in (sound[name][:-1], sound[name][..., None]):
        np.savez(file, **{**sound, name: wrong})
        with pytest.raises(InputError, match="damaged"):
            TensorModel.load(tmp_path / "model")
    np.savez(
        file, **{key: values if key.startswith("rep") else np.full_like(values, 3e38) for key, values in sound.items()}
    )
    with np.errstate(all="ignore"), pytest.raises(InputError, match=r"damaged|not finite"):
        huge = TensorModel.load(tmp_path / "model")
        for part in huge.coefficients.values():
            part *= 1e270
        huge.predict(fit.data.structures[0])
    file.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"coefficients\.npz.*damaged"):
        TensorModel.load(tmp_path / "model")


def test_a_sum_grows_with_the_structure_and_a_mean_does_not():
    for name in ("polarizability", "mean scalar"):
        model, structure = _fit(name).model, _fit(name).data.structures[0]
        far = structure.positions + [50.0, 0, 0]
        twice = Structure(np.tile(structure.numbers, 2), np.vstack([structure.positions, far]))
        factor = 2 if name == "polarizability" else 1
        np.testing.assert_allclose(model.predict(twice), factor * model.predict(structure), rtol=1e-9)


def test_atoms_without_values_have_none():
    fit = _fit("shielding")
    values = fit.model.predict(fit.data.structures[0])
    hydrogen = fit.data.structures[0].numbers == 1
    assert np.isnan(values[hydrogen]).all()
    assert np.isfinite(values[~hydrogen]).all()
    assert fit.model.elements == (8,)


def test_ase_knows_dipoles_and_charges():
    atoms = next(_frames(1, 9))
    atoms.calc = _fit("dipole").model.calculator()
    np.testing.assert_allclose(atoms.get_dipole_moment(), _fit("dipole").model.predict(Structure.from_ase(atoms)))
    atoms.calc = _fit("charges").model.calculator()
    assert atoms.get_charges().shape == (6,)
    atoms.calc = _fit("shielding").model.calculator()
    assert atoms.calc.get_property("shielding", atoms).shape == (6, 3, 3)


def test_held_back_frames_are_predicted_by_a_fit_without_them():
    target, data = _labeled("dipole", 40, 1)
    fit = _fit("dipole")
    kept = np.flatnonzero(fit.folds != 0)
    ridge, _ = fit.choices["1o_H-O"][0]
    # the same fit by least squares over explicit rows, as a textbook has it
    model = fit.model
    prepared = tensor_model._Equations.of(data, SETTINGS, fit.folds)
    ((part, held),) = prepared.equations.items()
    rows = np.concatenate([
        next(tensor_model._design(prepared.basis, target, data.structures[i], [part]))[2].reshape(3, -1) for i in kept
    ])  # fmt: skip
    labels = np.concatenate([data.values[i][[1, 2, 0]] for i in kept])
    damped = np.sqrt(ridge * len(rows) * prepared.damping(part))
    solution = np.linalg.lstsq(np.vstack([rows, np.diag(damped)]), np.append(labels, np.zeros(len(damped))), rcond=None)
    for i in np.flatnonzero(fit.folds == 0)[:4]:
        own = next(tensor_model._design(prepared.basis, target, data.structures[i], [part]))[2][0]
        np.testing.assert_allclose((own @ solution[0])[[2, 0, 1]], fit.predicted[i], atol=1e-5)
    assert model.coefficients[part].shape == (held.gram.shape[1],)


def test_standard_errors_are_as_large_as_errors():
    rng = np.random.default_rng(5)
    target, clean = _labeled("dipole", 150, 4)
    noise = 0.05
    frames = [
        Atoms(s.numbers, s.positions, info={"dipole": v + noise * rng.normal(size=3)})
        for s, v in zip(clean.structures, clean.values, strict=True)
    ]
    fit = fit_tensors(read_property(frames[:75], target), SETTINGS, np.arange(75) % 5)
    predicted = [fit.model.predict_with_errors(s) for s in clean.structures[75:]]
    ratios = [(values - truth) / errors for (values, errors), truth in zip(predicted, clean.values[75:], strict=True)]
    assert 0.5 < np.sqrt(np.mean(np.square(ratios))) < 2.0


def test_the_better_candidate_is_chosen():
    _, data = _labeled("polarizability", 40, 6)
    poor = SETTINGS.model_copy(update={"cutoff": 1.2})
    fit = fit_tensors(data, [poor, SETTINGS], np.arange(40) % 4, standard_errors=False)
    assert fit.model.settings == SETTINGS
    assert {candidate for of in fit.choices.values() for _, candidate in of} == {1}
    with pytest.raises(InputError, match="standard errors"):
        fit.model.predict_with_errors(data.structures[0])


def test_errors_of_parts():
    labels = np.eye(3).ravel() * np.array([[1.0], [3.0]])
    predicted = labels + np.array([0, 0.3, 0, -0.3, 0, 0, 0, 0, 0])  # antisymmetric
    rows = {row["part"]: row for row in tensor_errors(labels, predicted, Target(name="shielding"))}
    assert [rows[part]["mae"] for part in ("0e", "2e", "isotropic")] == pytest.approx([0, 0, 0], abs=1e-12)
    assert rows["1e"]["rmse"] == pytest.approx(0.3 * np.sqrt(2 / 3))
    assert rows["all"]["mae"] == pytest.approx(0.6 / 9)


def test_what_cannot_be_fitted_is_refused(monkeypatch):
    _, data = _labeled("dipole", 10, 7)
    with pytest.raises(InputError, match="two folds"):
        fit_tensors(data, SETTINGS, np.zeros(10, dtype=int))
    monkeypatch.setattr(tensor_model, "_MOST_BYTES", 1e3)
    with pytest.raises(InputError, match="GB"):
        fit_tensors(data, SETTINGS, np.arange(10) % 2)
    with pytest.raises(InputError, match="Si"):
        _fit("dipole").model.predict(Structure([14], [[0, 0, 0]]))


def test_a_robust_fit_survives_wrong_frames_and_errors_in_common():
    rng = np.random.default_rng(8)
    target, clean = _labeled("shielding", 60, 8)
    frames = []
    for number, (structure, values, mask) in enumerate(zip(clean.structures, clean.values, clean.mask, strict=True)):
        shift = rng.normal(scale=0.3) * np.eye(3).ravel()
        gross = 5.0 * rng.normal(size=9) if number % 10 == 0 else 0.0
        arrays = {"numbers": structure.numbers, "positions": structure.positions}
        atoms = Atoms(**arrays)
        atoms.arrays["ms"] = np.nan_to_num(values) + shift + gross
        atoms.arrays["known"] = mask
        frames.append(atoms)
    target = Target(**{**PROPERTIES["shielding"][0], "key": "ms"})
    data, folds = read_property(frames, target), np.arange(60) % 5
    plain = fit_tensors(data, SETTINGS, folds)
    robust = fit_tensors(data, SETTINGS, folds, robust=True, frame_error=10.0)
    wrong = [
        np.mean([np.nanmean(np.abs(p - v)) for p, v in zip(fit.predicted, clean.values, strict=True)])
        for fit in (plain, robust)
    ]
    assert wrong[1] < 0.5 * wrong[0]
    structure, mask = data.structures[0], data.mask[0]
    _, errors = robust.model.predict_with_errors(structure)
    assert np.nanmax(errors) < 1.0
    with pytest.raises(InputError, match="three folds"):
        fit_tensors(data, SETTINGS, folds % 2, robust=True)


def test_rows_without_their_common_error_give_generalized_least_squares():
    rng = np.random.default_rng(9)
    counts, ratio = [1, 3, 4], 2.5
    parts = [(rng.normal(size=(n, 1, 3)), rng.normal(size=(n, 1))) for n in counts]
    rows, values = (np.concatenate(x)[:, 0] for x in zip(*parts, strict=True))
    covariance = scipy.linalg.block_diag(*[np.eye(n) + ratio for n in counts])
    left = rows.T @ np.linalg.solve(covariance, rows)
    expected = np.linalg.solve(left, rows.T @ np.linalg.solve(covariance, values))
    white = [whitened(*part, ratio) for part in parts]
    rows, values = (np.concatenate(x)[:, 0] for x in zip(*white, strict=True))
    np.testing.assert_allclose(np.linalg.lstsq(rows, values)[0], expected)


def test_a_kernel_with_all_atoms_is_kernel_ridge_regression():
    fit, ridge = _fit("scalar by a kernel"), 1e-6
    settings = OTHERS["scalar by a kernel"].model_copy(update={"representatives": 10_000})
    structures = fit.data.structures[:8]
    basis = settings.basis_for((1, 8), (Irrep(0, 1),), structures)
    rows = [unit_rows(basis.descriptor.rows(structure)) for structure in structures]

    def kernel(i, j):
        same = structures[i].numbers[:, None] == structures[j].numbers
        return np.sum((rows[i] @ rows[j].T) ** 2 * same)

    exact = np.array([[kernel(i, j) for j in range(8)] for i in range(8)])
    functions = [basis.evaluate(structure)[Irrep(0, 1)][:, :, 0] for structure in structures]
    sums = np.array([
        np.concatenate([values[s.numbers == z].sum(axis=0) for z in (1, 8)])
        for s, values in zip(structures, functions, strict=True)
    ])  # fmt: skip
    np.testing.assert_allclose(sums @ sums.T, exact, rtol=1e-5)
    labels = np.array(fit.data.values[:8])[:, 0]
    dual = exact @ np.linalg.solve(exact + ridge * np.eye(8), labels)
    primal = sums @ np.linalg.solve(sums.T @ sums + ridge * np.eye(sums.shape[1]), sums.T @ labels)
    np.testing.assert_allclose(primal, dual, rtol=1e-4)
    with pytest.raises(InputError, match="no rotation changes"):
        fit_tensors(_labeled("dipole", 8, 1)[1], settings, np.arange(8) % 2)
