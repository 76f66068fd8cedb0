from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential

import forcewright as fw
from forcewright.data.closest_pairs import shortest_distances
from forcewright.features.ace.radial import zbl_repulsion
from forcewright.fitting.linear_fit import SquaredError
from forcewright.fitting.short_range import _Curve, _nearest
from forcewright.models.snap import SnapModel
from forcewright.potential import Potential
from forcewright.structure import Dataset, Structure

FAST: dict[str, Any] = {"search": {"starts": 1, "evaluations": 8}, "workers": 1, "validation": 3}


def copper_and_gold() -> Dataset:
    """Ordered crystals of two elements by a Morse potential: no pair of atoms stands alone among them."""
    rng = np.random.default_rng(3)
    frames = []
    for _ in range(10):
        atoms = bulk("CuAu", "cesiumchloride", a=3.1 + 0.1 * rng.random()) * (2, 2, 2)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = MorsePotential(epsilon=0.7, r0=2.7, rho0=4.0, rcut1=4.0, rcut2=4.6)
        atoms.get_potential_energy()
        atoms.get_forces()
        frames.append(atoms)
    return Dataset.from_ase(frames, "cu-au")


def pair_forces(potential: Potential, pair: str, distances: np.ndarray) -> np.ndarray:
    numbers = Atoms("".join(pair.split("-"))).numbers.tolist()
    predictions = potential.predict([Structure(numbers, [[0.0, 0.0, 0.0], [0.0, 0.0, r]]) for r in distances])
    return np.array([p.forces[1, 2] for p in predictions if p.forces is not None])


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "ace", "functions": 60, "rcut": 4.5, "radial": "ChebExpCos"},
        {"kind": "snap", "twojmax": 3, "quadratic": True, "rcut": 4.5},
    ],
    ids=["ace", "snap"],
)
def test_every_pair_repels_below_its_shortest_distance_at_no_cost(model: dict[str, Any]) -> None:
    data = copper_and_gold()
    test = data[np.arange(0, 10, 3)]
    plain_model = {**model, "zbl": None} if model["kind"] == "snap" else model
    fast = {**FAST, "prior": "free"}  # in units of the data, as today's prior leaves little to mend
    plain = fw.fit(data, model=plain_model, test=test, short_range="off", **fast)
    kept = fw.fit(data, model=model, test=test, **fast)
    attracted = False
    for pair, shortest in shortest_distances(data).items():
        distances = np.arange(0.4, shortest, 0.013)
        attracted |= bool(np.any(pair_forces(plain.potential, pair, distances) < 0))
        assert np.all(pair_forces(kept.potential, pair, distances) > 0), pair
        near = pair_forces(kept.potential, pair, np.array([0.4]))[0]
        numbers = Atoms("".join(pair.split("-"))).numbers
        assert near == pytest.approx(-zbl_repulsion(*numbers, np.array([0.4]))[1][0], rel=0.1)  # bare nuclei
    assert attracted  # otherwise there is nothing to mend
    assert kept.test is not None and plain.test is not None
    assert kept.test.overall.force_rmse_eV_per_A < 1.05 * plain.test.overall.force_rmse_eV_per_A + 1e-3
    assert kept.summary["short_range"]["changed"] and not kept.summary["short_range"]["attracting"]
    assert plain.summary["short_range"] is None


def test_the_change_is_the_smallest_in_the_metric_of_the_posterior() -> None:
    """One active constraint has a closed form: the projection c₀ + Σ g (h - g c₀) / (g Σ g)."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    covariance = root @ root.T
    rows = rng.normal(size=(2, 5))
    change, _ = _nearest(rows, covariance, np.array([0.7, -100.0]), lambda change: 0.0)
    spread = covariance @ rows[0]
    np.testing.assert_allclose(change, spread * 0.7 / (rows[0] @ spread), rtol=1e-4)


def test_what_the_data_determine_is_not_given_up() -> None:
    """Where the wish contradicts the data it is missed, and the error grows no more than allowed."""
    rows, missing = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([100.0, 1.0])
    covariance = np.diag([1e-4, 100.0])  # the first coefficient is known, the second is not
    change, growth = _nearest(rows, covariance, missing, lambda change: float(change**2 @ (1e-3 / np.diag(covariance))))
    assert growth <= 0.02 and change[0] < 1.0 and change[1] == pytest.approx(1.0, rel=0.05)


def test_explicit_settings_win() -> None:
    data = copper_and_gold()
    for content in ({"zbl": None}, {"zbl": {"inner": 1.0, "outer": 2.0}}):
        assert SnapModel.with_data(content, data) == content
    settled = SnapModel.with_data({}, data)["zbl"]
    assert isinstance(settled, dict) and settled["outer"] == shortest_distances(data)


def test_repulsion_is_to_grow_inwards_and_no_bond_is_too_strong() -> None:
    """Of forces 1/r² the growth inwards is their difference, and the energy beyond is 1/r, but for the cutoff."""
    distances = np.concatenate([np.linspace(0.4, 1.5, 56), np.arange(1.6, 5.05, 0.1)])
    empty = Structure([1], [[0.0, 0.0, 0.0]])
    count = 2 * 56 - 1 + len(distances) - 56
    curve = _Curve("H-H", empty, distances, 56, np.zeros((len(distances), 0)), np.zeros(count))
    wishes = curve.wishes(distances**-2.0)
    assert len(wishes) == count and np.all(wishes[curve.growing] > 0) and curve.growing.sum() == 55
    np.testing.assert_allclose(wishes[:56], distances[:56] ** -2)
    assert np.all(curve.wishes(np.where(distances < 0.6, 1.0, distances**-2.0))[curve.growing][:9] == 0)  # flat
    np.testing.assert_allclose(wishes[111:], 1 / distances[55:-1] - 1 / distances[-1], rtol=5e-3, atol=1e-4)
    assert np.all(curve.limits[:111] == 0) and np.all(curve.limits[111:] < -11.1)  # CO's bond in eV


def test_the_growth_of_few_energies_does_not_drown_in_that_of_many_forces() -> None:
    """One coefficient, fitted at 0: an energy of weight 1 and error 0.1, and a hundred forces of error 1."""
    packed = {"energy": np.array([1.0, 0.0, 0.01]), "forces": np.array([1e-3, 0.0, 100.0])}  # XᵀX, Xᵀy, yᵀy
    error = SquaredError(packed, {"energy": 1, "forces": 100}, np.zeros(1), np.ones(1), None)
    assert error.value == pytest.approx(100.01)
    assert error.growth(np.array([0.1])) == pytest.approx((0.01 + 1e-5) / 100.01)
    assert error.largest_growth(np.array([0.1])) == pytest.approx(1.0)
