"""The potentials of examples/liquid-argon: sums over images, and the published depth and minimum of exp-6."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk

from forcewright.recipes.force_fields import force_field
from forcewright.structure import Structure

EXAMPLE = Path(__file__).parents[2] / "examples" / "liquid-argon"


def potential(name: str):
    return force_field(yaml.safe_load((EXAMPLE / f"{name}.yaml").read_text())["potential"], EXAMPLE).potential


def test_lennard_jones_counts_images_beyond_the_nearest() -> None:
    atoms = bulk("Ar", cubic=True, a=5.680667) * 3
    assert len(atoms) == 108 and atoms.cell[0, 0] == pytest.approx(17.042, abs=1e-4)
    atoms.rattle(0.2, seed=0)
    energy = 0.0
    for shift in product((-1, 0, 1), repeat=3):
        r = np.linalg.norm(atoms.positions[:, None] - atoms.positions - np.array(shift) @ atoms.cell.array, axis=2)
        r = r[(r > 0) & (r < 13.0)]
        energy += 0.5 * float((4 * 0.010325 * ((3.405 / r) ** 12 - (3.405 / r) ** 6)).sum())
    predicted = potential("lennard-jones").predict([Structure.from_ase(atoms)])[0]
    assert predicted.energy == pytest.approx(energy, abs=1e-6)


def test_exp_6_has_its_published_minimum() -> None:
    distances = np.linspace(3.80, 3.93, 27)
    pairs = [Structure.from_ase(Atoms("Ar2", [[0, 0, 0], [r, 0, 0]])) for r in distances]
    energies = np.array([p.energy for p in potential("exp-6").predict(pairs)])
    assert distances[energies.argmin()] == pytest.approx(3.866, abs=0.005)
    assert energies.min() == pytest.approx(-123.2 * 8.617333e-5, rel=1e-4)
