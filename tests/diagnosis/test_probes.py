"""Static questions whose answers textbooks know: pair energies, virials by finite differences, the limit of Verlet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from model_potentials import LennardJones

from forcewright.diagnosis.probes import scaled_pressures, squeeze, step_test
from forcewright.potential import Failure, Prediction
from forcewright.structure import Labels, Structure
from forcewright.trajectory import Snapshot
from forcewright.units import GPA


class Labelling:
    """Any function of a structure as a reference."""

    name, content_hash = "a reference", "of a test"

    def __init__(self, predict: Any) -> None:
        self._predict = predict

    def label(self, structures: Any) -> list[Labels | Failure]:
        return [Labels(p.energy, p.forces, p.stress) for p in map(self._predict, structures)]


def pair_potential(kind: str) -> Any:
    """Argon, and the same with no core, or with a hole that has a bottom."""

    def energy(r: float) -> float:
        core = 4 * 0.0104 * ((3.4 / r) ** 12 - (3.4 / r) ** 6)
        if kind == "no core":
            return core - 50.0 * max(0.0, 3.0 - r) ** 3 * core / 0.1 if r < 3.0 else core
        if kind == "hole":
            return core - 3.0 * np.exp(-(((r - 2.8) / 0.15) ** 2))
        return core

    def predict(structure: Structure) -> Prediction:
        distance = float(structure.to_ase().get_distance(0, 1, mic=True))
        return Prediction(energy(distance), np.zeros((2, 3)), None)

    return predict


@pytest.mark.parametrize(
    ("kind", "falls_in", "has_wall"), [("argon", False, True), ("no core", True, False), ("hole", True, True)]
)
def test_a_pair_is_pushed_together_until_it_falls_in(kind: str, falls_in: bool, has_wall: bool) -> None:
    pair = Structure(np.full(2, 18), np.array([[0.0, 0, 0], [0.0, 3.0, 2.0]]), np.eye(3) * 20, np.ones(3, dtype=bool))
    pushed = squeeze(pair_potential(kind), pair, (0, 1), "Ar–Ar", 3.1, Labelling(pair_potential("argon")))  # type: ignore[arg-type]
    assert pushed is not None and (pushed.falls_in, pushed.has_wall) == (falls_in, has_wall)
    assert pushed.distances[0] == pytest.approx(1.15 * 3.1) and pushed.distances[-1] == pytest.approx(0.5 * 3.1)
    lj = 4 * 0.0104 * ((3.4 / pushed.distances) ** 12 - (3.4 / pushed.distances) ** 6)
    np.testing.assert_allclose(pushed.reference, lj - lj[0], rtol=1e-9)
    alike = squeeze(pair_potential(kind), pair, (0, 1), "Ar–Ar", 3.1, Labelling(pair_potential(kind)))  # type: ignore[arg-type]
    assert alike is not None and not alike.falls_in  # the reference does the same


def test_pressures_over_the_volume_are_derivatives_of_the_energy() -> None:
    model = LennardJones()
    atoms: Any = bulk("Ar", "fcc", a=5.3, cubic=True) * 2
    atoms.rattle(0.05, seed=1)
    structure = Structure.from_ase(atoms)

    def predict(s: Structure) -> Prediction:
        return LennardJones().predict([s])[0]

    made = scaled_pressures(predict, [structure], 0.1, Labelling(predict))  # type: ignore[arg-type]
    np.testing.assert_array_equal(made.pressures, made.reference)
    assert not made.pushes_outward
    for k in (1, 3, 7):
        volume, energies = made.ratios[k] * structure.volume, []
        for factor in (1 - 1e-5, 1 + 1e-5):
            scale = (made.ratios[k] * factor) ** (1 / 3)
            scaled = Structure(structure.numbers, structure.positions * scale, structure.cell * scale, structure.pbc)
            energies.append(model.predict([scaled])[0].energy)
        slope = -(energies[1] - energies[0]) / (2e-5 * volume) / GPA
        assert made.pressures[k] == pytest.approx(slope, rel=1e-4, abs=1e-6)

    def swollen(s: Structure) -> Prediction:
        known = predict(s)
        assert known.stress is not None
        return Prediction(known.energy, known.forces, known.stress - 0.5 * GPA * np.eye(3))

    assert scaled_pressures(swollen, [structure], 0.1, Labelling(predict)).pushes_outward  # type: ignore[arg-type]


def test_a_time_step_beyond_the_limit_of_verlet_is_too_long() -> None:
    """Velocity Verlet of a harmonic oscillator is stable below dt = 2/ω (Allen & Tildesley, section 3.2)."""
    mass, stiffness = 39.948, 10.0  # u, eV/Å²
    fs = 1 / 0.09822694788464063  # of ASE's unit of time

    def predict(structure: Structure) -> Prediction:
        moved = structure.positions
        return Prediction(0.5 * stiffness * float(np.sum(moved**2)), -stiffness * moved, None)

    start = Snapshot(
        Structure(np.array([18]), np.array([[0.1, 0.0, 0.0]])), 0, 0.0, np.array([[0.002, 0.001, 0.0]])
    )  # fmt: skip
    limit = 2 / np.sqrt(stiffness / mass) * fs
    beyond, well_below = step_test(predict, start, 1.02 * limit), step_test(predict, start, 0.02 * limit)
    assert beyond is not None and beyond.is_too_long and not beyond.finer_change > 0.1
    assert well_below is not None and not well_below.is_too_long
    # far below the limit the error of the energy falls with the square of the step
    assert well_below.change / well_below.finer_change == pytest.approx(16, rel=0.2)
    assert step_test(predict, Snapshot(start.structure), 1.0) is None
