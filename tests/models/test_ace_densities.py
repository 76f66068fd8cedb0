from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from ase.build import bulk

from forcewright.features.ace.embedding import embed
from forcewright.features.ace.radial import radial_functions
from forcewright.models.ace import AceModel, AcePotential, NonlinearSettings
from forcewright.models.ace.densities import NonlinearFit, Surroundings, radial_roughness
from forcewright.models.refinement import Coefficients, LinearStart, RowWeights
from forcewright.structure import Dataset, Frame, Labels, Structure

ENERGIES = {6: -9.1, 14: -5.2}
WEIGHTS = RowWeights(30.0, 1.0, 5.0)


def carbide(seed: int, amount: float = 0.12, repeat: int = 1) -> Structure:
    rng = np.random.default_rng(seed)
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True) * (repeat, 1, 1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.rattle(amount, rng=rng)
    if seed % 4 == 3:  # a few clusters: no cell, no stress
        atoms.pbc, atoms.cell = False, None
    return Structure.from_ase(atoms)


def model_of(**changes: Any) -> AceModel:
    small = {"functions": 12, "rcut": 3.2, "nradmax": (3, 2, 1), "lmax": (0, 2, 1), "densities": 2}
    return AceModel(**{**small, **changes})


def label(potential: AcePotential, structures: list[Structure], noise: float = 0.0) -> Dataset:
    rng = np.random.default_rng(0)
    frames = []
    for structure, found in zip(structures, potential.predict(structures), strict=True):
        forces = found.forces + noise * rng.normal(size=found.forces.shape)
        frames.append(Frame(structure, Labels(energy=found.energy, forces=forces, stress=found.stress)))
    return Dataset(tuple(frames))


def made_fit(**settings: Any) -> tuple[NonlinearFit, Coefficients]:
    """A fit of three densities with the core on, to labels that it does not meet."""
    model = model_of(densities=3, exponents=(1.0, 0.5, 2.0), prefactors=(0.7, -0.5, 0.3),
                     repulsion={"inner": {"Si-C": 1.8}, "width": 0.4})  # fmt: skip
    basis, rng = model.basis((6, 14)), np.random.default_rng(1)
    coefficients = 0.2 * rng.normal(size=(basis.size, 3))
    truth = model.potential(basis, coefficients, ENERGIES)
    data = label(truth, [carbide(seed) for seed in range(4)])
    data = Dataset((*data.frames, Frame(data[0].structure, Labels(energy=-50.0)),
                    Frame(data[1].structure, Labels(forces=data[1].labels.forces))))  # fmt: skip
    frames = [Surroundings(basis, frame, ENERGIES) for frame in data]
    assert any(((f.pairs.scale > 0) & (f.pairs.scale < 1)).any() for f in frames)
    weights = [replace(WEIGHTS, force=1.0 + 0.1 * k) for k in range(len(frames))]
    x = Coefficients(coefficients + 0.1 * rng.normal(size=coefficients.shape), rng.normal(size=2))
    return NonlinearFit(frames, weights, model.full_embedding, NonlinearSettings(**settings)), x


def test_predictions_are_those_of_the_potential() -> None:
    fit, x = made_fit()
    energies = {z: ENERGIES[z] + float(k) for z, k in zip((6, 14), x.k, strict=True)}
    potential = AcePotential(fit.basis.expansion(x.c, energies, fit.embedding))
    for frame, found in zip(fit.frames, fit.predict(x), strict=True):
        expected = potential.predict([frame.frame.structure])[0]
        assert found.energy == pytest.approx(expected.energy, abs=1e-6)
        np.testing.assert_allclose(found.forces, expected.forces, atol=2e-5)
        if expected.stress is None:
            assert found.stress is None
        else:
            np.testing.assert_allclose(found.stress, expected.stress, atol=1e-6)


@pytest.mark.parametrize("factor", [1.0, 3.0])
@pytest.mark.parametrize("l1", [0.0, 0.4])
def test_gradient_of_the_loss_is_that_of_finite_differences(factor: float, l1: float) -> None:
    fit, x = made_fit(l1=l1, upfit=factor)
    rng = np.random.default_rng(2)
    penalty = rng.uniform(0.1, 1.0, size=x.c.shape)
    _, gradient = fit.loss(x, penalty, factor)
    for _ in range(8):
        dc, dk = rng.normal(size=x.c.shape), rng.normal(size=2)
        step = 1e-4
        at = [
            fit.loss(Coefficients(x.c + k * step * dc, x.k + k * step * dk), penalty, factor)[0] for k in (-2, -1, 1, 2)
        ]
        found = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)
        told = np.sum(gradient.c * dc) + gradient.k @ dk
        assert told == pytest.approx(found, rel=1e-6)
    # energies count with the square of the factor, coefficients by L1, and the penalty by its squares
    plain = fit.loss(x, 0 * penalty, factor)[0]
    assert fit.loss(x, penalty, factor)[0] - plain == pytest.approx(np.sum(penalty * x.c**2), rel=1e-6)
    without = replace(fit, settings=NonlinearSettings()).loss(x, 0 * penalty, factor)[0]
    assert plain - without == pytest.approx(l1 * np.abs(x.c).sum(), rel=1e-3, abs=1e-6 * plain)


def test_a_ridge_on_combinations_is_that_of_their_amplitudes() -> None:
    """Sharing between elements: the ridge Σ_k λ_k a_k² with c = M a, in the loss, its gradient and the curvature."""
    fit, x = made_fit(damping=3.0)
    rng, size = np.random.default_rng(3), fit.basis.size
    mixing = scipy.sparse.csr_array(np.eye(size) + 0.2 * rng.normal(size=(size, size)) / np.sqrt(size))
    start = LinearStart(rng.uniform(1e3, 2e3, size=size), np.zeros(size), mixing)
    penalty, ridge = fit._penalty(start), fit._ridge(start)
    assert not penalty.any()
    amplitudes = np.linalg.solve(mixing.toarray(), x.c)
    expected = np.sum(start.penalty[:, None] * amplitudes**2 * [1.0, 3.0, 3.0])
    assert fit.loss(x, penalty, 1.0, ridge)[0] - fit.loss(x, penalty)[0] == pytest.approx(expected, rel=1e-9)
    dc = rng.normal(size=x.c.shape)
    low, high = (fit.loss(Coefficients(x.c + s * dc, x.k), penalty, 1.0, ridge)[0] for s in (-1e-5, 1e-5))
    assert np.sum(fit.loss(x, penalty, 1.0, ridge)[1].c * dc) == pytest.approx((high - low) / 2e-5, rel=1e-5)
    plain, damped = (fit._tangent_matrix(x, 0, penalty, 1.0, r)[:size, :size] for r in (None, ridge))
    assert amplitudes[:, 0] @ (start.penalty * amplitudes[:, 0]) == pytest.approx(
        x.c[:, 0] @ (damped - plain) @ x.c[:, 0], rel=1e-9
    )


def test_loss_is_the_formula() -> None:
    fit, x = made_fit()
    total = 0.0
    for frame, weights, found in zip(fit.frames, fit.weights, fit.predict(x), strict=True):
        structure, labels, _ = frame.frame
        if labels.energy is not None:
            total += (weights.energy * (found.energy - labels.energy) / len(structure)) ** 2
        if labels.forces is not None:
            total += weights.force**2 * np.sum((found.forces - labels.forces) ** 2)
        if labels.stress is not None:
            upper = np.triu_indices(3)
            virial = ((found.stress - labels.stress) * structure.volume / len(structure))[upper]
            total += weights.stress**2 * np.sum(virial**2)
    assert fit.loss(x, np.zeros_like(x.c))[0] == pytest.approx(total, rel=1e-9)


def test_threads_change_nothing() -> None:
    fit, x = made_fit()
    one, other = fit.loss(x, np.ones_like(x.c)), replace(fit, threads=3).loss(x, np.ones_like(x.c))
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1].c, other[1].c)
    paths = [
        part.search(linear_fit(part), np.random.default_rng(0), stages=(3,)) for part in (fit, replace(fit, threads=3))
    ]
    for a, b in zip(*(path[0] for path in paths), strict=True):
        np.testing.assert_array_equal(a.c, b.c)


def test_ridge_of_every_coefficient() -> None:
    """L2 and the roughness of the radial functions come on top of the linear fit's ridge; damping is for further ones."""
    fit, _ = made_fit(l2=0.3, damping=2.0, radial=(0.0, 1.0, 0.0))
    penalty = np.random.default_rng(0).uniform(1, 2, size=fit.basis.size)
    rough = radial_roughness(fit.basis, (0.0, 1.0, 0.0))
    found = fit._penalty(LinearStart(penalty, np.zeros(fit.basis.size + 2)))
    np.testing.assert_allclose(found, penalty[:, None] * [1.0, 2.0, 2.0] + 0.3 + rough[:, None])


@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.2, 0.3, 0.5)])
def test_roughness_is_the_integral_of_equation_2_39(weights: tuple[float, float, float]) -> None:
    basis = model_of().basis((6, 14))
    found = radial_roughness(basis, weights)
    bond = basis.bonds[0, 0]
    r = np.linspace(1e-3, bond.cutoff, 20001)
    value, slope = radial_functions(bond, r, basis.core_mode)
    parts = [value, slope, np.gradient(slope, r, axis=1)]
    expected = sum(
        w * np.trapezoid(r**2 * np.abs(part), r, axis=1) / bond.cutoff**2
        for w, part in zip(weights, parts, strict=True)
    )
    for f, own in zip(basis.columns, found, strict=True):
        assert own == pytest.approx(np.mean([expected[n - 1] for n in f.ns]), rel=0.01)
    assert not radial_roughness(basis, (0.0, 0.0, 0.0)).any()


def linear_fit(fit: NonlinearFit, constants: bool = True, ridge: float = 1e-8) -> LinearStart:
    """Least squares on the rows of one density."""
    size, blocks = fit.basis.size, []
    held = 2 * constants
    for frame, weights in zip(fit.frames, fit.weights, strict=True):
        structure, labels, _ = frame.frame
        rows, count = fit.basis.rows(structure), len(structure)
        if labels.energy is not None:
            target = labels.energy - rows.offset[0] - sum(ENERGIES[int(z)] for z in structure.numbers)
            row = np.concatenate([frame.counts[:held], rows.energy, [target]])
            blocks.append(weights.energy / count * row[None])
        if labels.forces is not None:
            target = labels.forces.ravel() - rows.offset[1 : 1 + 3 * count]
            blocks.append(weights.force * np.column_stack([np.zeros((3 * count, held)), rows.forces, target]))
    stacked = np.vstack(blocks)
    matrix, right = stacked[:, :-1].T @ stacked[:, :-1], stacked[:, :-1].T @ stacked[:, -1]
    penalty = ridge * np.diag(matrix)[held:]
    matrix[held:, held:] += np.diag(penalty)
    return LinearStart(penalty, np.linalg.solve(matrix + 1e-12 * np.eye(len(matrix)), right)[: held + size])


def errors(fit: NonlinearFit, x: Coefficients) -> np.ndarray:
    """RMSE of energy per atom and force components."""
    energy, force = [], []
    for frame, found in zip(fit.frames, fit.predict(x), strict=True):
        energy.append((found.energy - frame.frame.labels.energy) / len(found.forces))
        force.append((found.forces - frame.frame.labels.forces).ravel())
    return np.array([np.sqrt(np.mean(np.square(energy))), np.sqrt(np.mean(np.square(np.concatenate(force))))])


def known(constants: bool, functions: int = 6, seed: int = 1, **settings: Any) -> NonlinearFit:
    """A fit to data that are labelled by a potential of the same two densities.

    Such a fit is not convex. It has one minimum worth the name where the second density is positive at all atoms, as
    electron densities are; where it changes sign searches end in other minima, as those of other programs do.
    """
    model = model_of(functions=functions)
    basis, rng = model.basis((6, 14)), np.random.default_rng(seed)
    structures = [carbide(k) for k in range(32) if k % 4 != 3]
    values = np.vstack([basis.project(structure) for structure in structures])
    c = 0.1 * rng.normal(size=(basis.size, 2)) / np.std(values, axis=0)[:, None]
    c[:, 1] += np.linalg.lstsq(values, np.ones(len(values)), rcond=1e-3)[0]
    shift = 0.3 if constants else 0.0
    truth = model.potential(basis, c, {z: energy + shift for z, energy in ENERGIES.items()})
    data = label(truth, structures)
    return NonlinearFit(
        [Surroundings(basis, frame, ENERGIES) for frame in data], [replace(WEIGHTS, stress=0.0)] * len(data), model.full_embedding,
        NonlinearSettings(**{"iterations": 200, **settings}),
    )  # fmt: skip


@pytest.mark.parametrize("constants", [True, False])
def test_a_known_potential_of_two_densities_is_found(constants: bool) -> None:
    fit = known(constants)
    linear = linear_fit(fit, constants, 1e-12)
    held = 2 * constants
    k = np.zeros(2)
    k[:held] = linear.coefficients[:held]
    one = replace(fit, embedding=AceModel().full_embedding)
    before = errors(one, Coefficients(linear.coefficients[held:, None], k))
    assert before[0] > 1e-3 and before[1] > 0.03  # eV/atom, eV/Å: no line fits
    after = errors(fit, fit.search(linear, np.random.default_rng(0))[-1][-1])
    assert (after < before / 1000).all()


def test_the_start_is_the_linear_fit_to_first_order_in_the_densities() -> None:
    fit = known(True)
    fit = replace(fit, embedding=AceModel(densities=3, prefactors=(1.5, 1.0, -0.7)).full_embedding)
    linear = linear_fit(fit)
    x = fit.start(linear, np.random.default_rng(0))
    one = replace(fit, embedding=AceModel().full_embedding)
    plain = one.predict(Coefficients(linear.coefficients[2:, None], linear.coefficients[:2]))
    at_one, slope, _ = embed(fit.embedding, np.ones((1, 3)))
    for frame, found, before in zip(fit.frames, fit.predict(x), plain, strict=True):
        densities = frame.values @ x.c
        curved = embed(fit.embedding, densities)[0] - at_one - slope * (densities - 1)
        assert found.energy - before.energy == pytest.approx(curved[:, 1:].sum(), abs=1e-9)
    densities = np.concatenate([frame.values for frame in fit.frames]) @ x.c
    np.testing.assert_allclose(densities[:, 1:].mean(axis=0), 1.0, atol=0.1)
    assert (densities[:, 1:].std(axis=0) < 2 * fit.settings.amplitude).all()


def test_a_ladder_frees_the_first_functions_first() -> None:
    fit = known(True, functions=10, steps=(0.4, 1.0), iterations=5)
    linear = linear_fit(fit)
    first, second = fit.search(linear, np.random.default_rng(0))
    assert len(first) == 6 and len(second) == 5
    later = np.concatenate([start + np.arange(4, 10) for _, start in fit.basis.blocks()])
    for x in first[1:]:
        np.testing.assert_array_equal(x.c[later, 1], first[0].c[later, 1])
        assert (x.c[later, 0] != first[0].c[later, 0]).all()
        assert (np.delete(x.c, later, axis=0) != np.delete(first[0].c, later, axis=0)).all()
        assert (x.k != first[0].k).all()
    assert (second[-1].c[later] != first[0].c[later]).all()
    values = [fit.loss(x, fit._penalty(linear))[0] for x in (*first, *second)]
    assert (np.diff(values) < 0).all()


def test_constants_that_are_given_stay() -> None:
    fit = known(False, iterations=3)
    for x in fit.search(linear_fit(fit, constants=False), np.random.default_rng(0))[0]:
        np.testing.assert_array_equal(x.k, 0.0)


def test_upfitting_trades_forces_for_energies() -> None:
    fit = known(True, functions=10, seed=0, iterations=15, upfit=30.0, upfit_iterations=12)
    path = fit.search(linear_fit(fit), np.random.default_rng(0))
    assert [len(stage) for stage in path] == [16, 12]
    before, after = errors(fit, path[0][-1]), errors(fit, path[1][-1])
    assert after[0] < before[0] / 2
    penalty = fit._penalty(linear_fit(fit))
    assert (np.diff([fit.loss(x, penalty, 30.0)[0] for x in (path[0][-1], *path[1])]) < 0).all()


def test_searches_repeat_and_end_where_they_are_told() -> None:
    fit = known(True, functions=8, steps=(0.5, 1.0), iterations=6, upfit=3.0, upfit_iterations=4)
    fit = replace(fit, embedding=AceModel(densities=3).full_embedding)
    linear = linear_fit(fit)
    whole, again = (fit.search(linear, np.random.default_rng(3)) for _ in range(2))
    other = fit.search(linear, np.random.default_rng(4))
    assert [len(stage) for stage in whole] == [7, 6, 4]
    for a, b, c in zip(whole[1], again[1], other[1], strict=True):
        np.testing.assert_array_equal(a.c, b.c)
        assert (a.c[:, 2] != c.c[:, 2]).any()
    for stages in ((), (0,), (4,), (6, 3), (6, 6, 4)):
        found = fit.search(linear, np.random.default_rng(3), stages=stages)
        assert [len(stage) for stage in found] == ([1 + stages[0], *stages[1:]] if stages else [1])
        for stage, expected in zip(found, whole, strict=False):
            for a, b in zip(stage, expected, strict=False):
                np.testing.assert_array_equal(a.c, b.c)
    seen: list[Coefficients] = []

    def watch(x: Coefficients) -> bool:
        seen.append(x)
        return len(seen) not in (3, 5)  # ends the first stage after two iterations, the second after two more

    found = fit.search(linear, np.random.default_rng(3), watch=watch)
    assert [len(stage) for stage in found] == [3, 2, 4]
    assert all(a is b for a, b in zip(seen, (x for stage in found for x in stage), strict=True))


def test_data_without_some_labels_are_fitted() -> None:
    model = model_of(functions=4)
    basis = model.basis((6, 14))
    truth = model.potential(basis, np.full((basis.size, 2), 0.1), ENERGIES)
    data = label(truth, [carbide(seed) for seed in range(6)])
    for drop in ({"energy": None}, {"forces": None}, {"stress": None, "energy": None}):
        some = Dataset(tuple(Frame(f.structure, replace(f.labels, **drop)) for f in data))
        fit = NonlinearFit(
            [Surroundings(basis, frame, ENERGIES) for frame in some],
            [WEIGHTS] * len(some),
            model.full_embedding,
            NonlinearSettings(iterations=4),
        )
        path = fit.search(LinearStart(np.full(basis.size, 1e-6), np.full(basis.size, 0.1)), np.random.default_rng(0))[0]
        losses = [fit.loss(x, np.zeros_like(x.c))[0] for x in path]
        assert losses[-1] < losses[0] and np.isfinite(losses).all()
