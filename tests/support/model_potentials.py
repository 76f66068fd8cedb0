"""Small potentials for tests of simulations, fast enough for many thousand steps, and importable by other processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator

from forcewright.neighbors import NeighborCache
from forcewright.potential import PotentialCalculator, Prediction
from forcewright.simulation import ForceField
from forcewright.structure import Structure


class _Model:
    species: tuple[int, ...] = (18,)
    cutoff: float = 8.0

    def save(self, folder: str | Path) -> Path:
        return Path(folder)

    def calculator(self) -> Calculator:
        return PotentialCalculator(self)


@dataclass
class LennardJones(_Model):
    """Argon (ε = 0.0104 eV, σ = 3.4 Å), cut off and shifted at 8 Å, with a neighbor list that is kept."""

    species: tuple[int, ...] = (18,)
    cutoff: float = 8.0
    cache: NeighborCache = field(default_factory=lambda: NeighborCache(8.0, 0.6))

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        return [self._one(structure) for structure in structures]

    def _one(self, structure: Structure) -> Prediction:
        pairs = self.cache.neighbors(structure)
        squares = np.einsum("ij,ij->i", pairs.vectors, pairs.vectors)
        near = squares < self.cutoff**2
        vectors, squares = pairs.vectors[near], squares[near]
        centers = pairs.centers[near]
        sixth = (3.4**2 / squares) ** 3
        shift = (3.4 / self.cutoff) ** 12 - (3.4 / self.cutoff) ** 6
        energy = 0.5 * 4 * 0.0104 * float(np.sum(sixth**2 - sixth - shift))
        slope = -24 * 0.0104 * (2 * sixth**2 - sixth) / squares  # dE/dr / r
        pulls = slope[:, None] * vectors
        total = np.stack([np.bincount(centers, pulls[:, d], len(structure)) for d in range(3)], axis=1)
        volume = structure.volume or 1.0
        return Prediction(energy, total, 0.5 * np.einsum("ni,nj->ij", pulls, vectors) / volume)


@dataclass
class Springs(_Model):
    """Atoms tied to each other in their order by harmonic springs (eV/Å²) around where they stand at first."""

    sites: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    stiffness: float = 2.0

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        results = []
        for structure in structures:
            moved = structure.positions - self.sites
            stretch = np.roll(moved, -1, axis=0) - moved
            pull = self.stiffness * (stretch - np.roll(stretch, 1, axis=0))
            results.append(Prediction(0.5 * self.stiffness * float(np.sum(stretch**2)), pull, None))
        return results


class IdealGas(_Model):
    """Atoms that do not see each other."""

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        return [Prediction(0.0, np.zeros((len(one), 3)), np.zeros((3, 3))) for one in structures]


@dataclass
class Broken(_Model):
    """Lennard-Jones until an evaluation, then forces, energies or an error of one's choice."""

    after: int = 10
    force: float = np.nan
    energy: float = 0.0
    error: str = ""
    count: int = 0
    model: LennardJones = field(default_factory=LennardJones)

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        self.count += 1
        [good] = self.model.predict(structures)
        if self.count < self.after:
            return [good]
        if self.error:
            raise ValueError(self.error)
        bad = np.array(good.forces)
        bad[3] += self.force
        return [Prediction(good.energy + self.energy, bad, good.stress)]


def lennard_jones_calculator() -> Calculator:
    return LennardJones().calculator()


def lennard_jones() -> ForceField:
    return ForceField("Lennard-Jones", lennard_jones_calculator, "lennard-jones argon", (18,))
