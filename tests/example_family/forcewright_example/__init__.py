"""Lennard-Jones potentials whose depth is fitted, and springs that label structures: both found by their entry points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field

from forcewright.models.family import Family, FittedHyperparameters
from forcewright.models.storage import PotentialFolder, write_potential
from forcewright.neighbors import find_neighbors
from forcewright.plain_data import number
from forcewright.potential import Failure, PotentialBase, Prediction
from forcewright.structure import Dataset, Labels, Structure, count_species


class LennardJones(FittedHyperparameters):
    """Hyperparameters of a Lennard-Jones potential that is alike for all elements."""

    kind: Literal["lennard_jones"] = "lennard_jones"
    sigma: float = Field(default=2.0, gt=0)
    """Distance in Å at which the energy of a pair crosses zero."""
    cutoff: float = Field(default=5.0, gt=0)
    """Distance in Å from which on it is zero."""

    def fit(self, train: Dataset, *, rng: np.random.Generator) -> LennardJonesPotential:
        """Fit the depth and the energies of the isolated atoms to the energies."""
        del rng
        frames = [frame for frame in train if frame.labels.energy is not None]
        pairs = [_of_unit_depth(frame.structure, self.sigma, self.cutoff).energy for frame in frames]
        counts = [count_species(frame.structure, train.species) for frame in frames]
        energies = [frame.labels.energy for frame in frames]
        depth, *isolated = np.linalg.lstsq(np.column_stack([pairs, counts]), energies, rcond=1e-10)[0].tolist()
        constants = dict(zip(train.species, isolated, strict=True))
        return LennardJonesPotential(self.sigma, self.cutoff, depth, constants)

    def citations(self, *, graded: bool = False) -> dict[str, str]:
        """Return what to cite."""
        del graded
        return {"lennard-jones": "J. E. Jones, Proc. R. Soc. Lond. A 106, 463 (1924): the potential."}


@dataclass(frozen=True, eq=False, repr=False)
class LennardJonesPotential(PotentialBase):
    """A fitted Lennard-Jones potential."""

    sigma: float
    cutoff: float
    depth: float
    energies: Mapping[int, float]
    provenance: Mapping[str, object] = field(default_factory=dict)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows, ascending."""
        return tuple(sorted(self.energies))

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements."""
        return [self._predicted(structure, forces, stress) for structure in structures]

    def _predicted(self, structure: Structure, forces: bool, stress: bool) -> Prediction:
        pairs = _of_unit_depth(structure, self.sigma, self.cutoff)
        isolated = sum(self.energies[int(z)] for z in structure.numbers)
        return Prediction(
            self.depth * pairs.energy + isolated,
            self.depth * pairs.forces if forces else None,
            self.depth * pairs.stress if stress and pairs.stress is not None else None,
        )

    def save(self, folder: str | Path) -> Path:
        """Write it to a folder."""
        content = {
            "sigma": self.sigma, "cutoff": self.cutoff, "depth": self.depth,
            "energies": {chemical_symbols[z]: energy for z, energy in self.energies.items()},
        }  # fmt: skip
        return write_potential(folder, "lennard_jones", content)

    @classmethod
    def load(cls, folder: Path) -> LennardJonesPotential:
        """Read what `save` wrote."""
        with PotentialFolder(folder, "lennard_jones") as saved:
            sigma, cutoff = (number(saved.content[name], name, above=0) for name in ("sigma", "cutoff"))
            return cls(sigma, cutoff, number(saved.content["depth"], "depth"), saved.energies("energies"))


def _of_unit_depth(structure: Structure, sigma: float, cutoff: float) -> Prediction:
    """Return what pairs give, smooth to the third power of the distance to the cutoff."""
    pairs = find_neighbors(structure, cutoff)
    r = pairs.distances
    sixth = (sigma / r) ** 6
    inside = 1 - (r / cutoff) ** 2
    value = 4 * (sixth**2 - sixth) * inside**3
    slope = 4 * (6 * sixth - 12 * sixth**2) / r * inside**3 - 24 * (sixth**2 - sixth) * inside**2 * r / cutoff**2
    pull = (slope / r)[:, None] * pairs.vectors
    forces = np.zeros((len(structure), 3))
    np.add.at(forces, pairs.centers, pull)
    stress = 0.5 * pairs.vectors.T @ pull / structure.volume if structure.volume else None
    return Prediction(0.5 * float(value.sum()), forces, stress)


FAMILY = Family(kind="lennard_jones", hyperparameters=LennardJones, load=LennardJonesPotential.load)


class Springs(BaseModel):
    """What stands under ``reference: {springs: ...}``: every atom is held at the origin by a spring."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    constant: float = Field(default=1.0, gt=0)
    """In eV/Å²."""

    def reference(self, base: Path) -> SpringReference:
        """Return the reference; ``base`` is the folder that paths would be relative to."""
        del base
        return SpringReference(self.constant)


@dataclass(frozen=True)
class SpringReference:
    """Labels structures by springs."""

    constant: float

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"springs of {self.constant:g} eV/Å²"

    @property
    def content_hash(self) -> str:
        """All that decides its labels."""
        return f"springs-{self.constant!r}"

    def label(self, structures: Sequence[Structure]) -> list[Labels | Failure]:
        """Label every structure, in order."""
        return [
            Labels(energy=0.5 * self.constant * float(np.sum(s.positions**2)), forces=-self.constant * s.positions)
            for s in structures
        ]
