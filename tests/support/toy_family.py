"""A pair potential fitted by least squares: the smallest family that fulfils the Fitter contract and nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field

from forcewright.errors import InputError
from forcewright.models.family import Family, FittedHyperparameters
from forcewright.models.storage import PotentialFolder, write_potential
from forcewright.neighbors import find_neighbors
from forcewright.potential import PotentialCalculator, Prediction
from forcewright.structure import Dataset, Structure

HOME = "toy_family:FAMILY"


def rows(structure: Structure, species: Sequence[int], cutoff: float, functions: int) -> np.ndarray:
    """Return (1 + 3N + 9, S + K): energy, forces and volume times stress of each column."""
    pairs = find_neighbors(structure, cutoff)
    r = pairs.distances
    middle = np.linspace(0.4, 1.0, functions) * cutoff
    width = 0.6 * cutoff / functions
    shape = np.exp(-(((r[:, None] - middle) / width) ** 2))
    switch = (1 - (r / cutoff) ** 2)[:, None]
    value = shape * switch**3
    slope = -2 * (r[:, None] - middle) / width**2 * value - 6 * r[:, None] / cutoff**2 * shape * switch**2
    pull = slope[:, None, :] * (pairs.vectors / r[:, None])[:, :, None]
    force = np.zeros((len(structure), 3, functions))
    np.add.at(force, pairs.centers, pull)
    stress = 0.5 * np.einsum("pa,pbk->abk", pairs.vectors, pull)
    counts = [np.count_nonzero(structure.numbers == z) for z in species]
    constants = np.zeros((1 + 3 * len(structure) + 9, len(species)))
    constants[0] = counts
    columns = np.vstack([0.5 * value.sum(0), force.reshape(-1, functions), stress.reshape(9, functions)])
    return np.hstack([constants, columns])


class ToyModel(FittedHyperparameters):
    kind: Literal["toy"] = "toy"
    cutoff: float = Field(default=5.0, gt=0)
    functions: int = Field(default=6, ge=1)
    noise: float = 0.0
    start_from: Path | None = None
    fails_above: float = 1e9
    crashes_above: float = 1e9

    def fit(self, train: Dataset, *, rng: np.random.Generator) -> ToyPotential:
        if self.cutoff > self.crashes_above:
            os._exit(7)
        if self.cutoff > self.fails_above:
            raise InputError(f"is {self.cutoff}; toys go no further than {self.fails_above}", field="model.cutoff")
        blocks, targets = [], []
        for structure, labels, _ in train:
            full = rows(structure, train.species, self.cutoff, self.functions)
            blocks.append(full[:1] * 10 / len(structure))
            targets.append([labels.energy * 10 / len(structure)])
            if labels.forces is not None:
                blocks.append(full[1 : 1 + 3 * len(structure)])
                targets.append(labels.forces.ravel())
        coefficients = np.linalg.lstsq(np.vstack(blocks), np.concatenate(targets), rcond=1e-10)[0]
        coefficients = coefficients + self.noise * rng.normal(size=len(coefficients))
        return ToyPotential(train.species, self.cutoff, self.functions, tuple(coefficients.tolist()))


@dataclass(frozen=True)
class ToyPotential:
    species: tuple[int, ...]
    cutoff: float
    functions: int
    coefficients: tuple[float, ...]

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        found = []
        for structure in structures:
            values = rows(structure, self.species, self.cutoff, self.functions) @ np.array(self.coefficients)
            n = len(structure)
            found.append(
                Prediction(
                    float(values[0]),
                    values[1 : 1 + 3 * n].reshape(n, 3) if forces else None,
                    values[1 + 3 * n :].reshape(3, 3) / structure.volume if stress and structure.volume else None,
                )
            )
        return found

    def save(self, folder: str | Path) -> Path:
        content = {
            "species": [chemical_symbols[z] for z in self.species], "cutoff": self.cutoff,
            "functions": self.functions, "coefficients": list(self.coefficients),
        }  # fmt: skip
        return write_potential(folder, "toy", content)

    @classmethod
    def load(cls, folder: Path) -> ToyPotential:
        with PotentialFolder(folder, "toy") as saved:
            content = saved.content
            return cls(saved.species, content["cutoff"], content["functions"], tuple(content["coefficients"]))

    def calculator(self) -> PotentialCalculator:
        return PotentialCalculator(self)


FAMILY = Family(kind="toy", hyperparameters=ToyModel, load=ToyPotential.load)
