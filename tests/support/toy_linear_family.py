"""A linear family that is as small as one can be: Gaussians of the distance, registered as CONTRIBUTING says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field
from toy_family import rows as pair_rows

from forcewright.models.family import Family, LinearHyperparameters
from forcewright.models.storage import PotentialFolder, write_potential
from forcewright.plain_data import number, whole
from forcewright.potential import Basis, DesignRows, PotentialBase, Prediction
from forcewright.structure import FloatArray, Structure, count_species, to_voigt

HOME = "toy_linear_family:FAMILY"


@dataclass(frozen=True)
class GaussianBasis:
    """Gaussians of the distance of two atoms, whatever their elements."""

    gaussians: int
    reach: float

    @property
    def size(self) -> int:
        return self.gaussians

    def rows(self, structure: Structure) -> DesignRows:
        columns = pair_rows(structure, (), self.reach, self.gaussians)
        atoms = len(structure)
        strain = [to_voigt(column.reshape(3, 3)) for column in columns[1 + 3 * atoms :].T]
        virial = -np.array(strain).T
        return DesignRows(columns[0], columns[1 : 1 + 3 * atoms], virial, np.zeros(1 + 3 * atoms + 6))


class GaussianPairs(LinearHyperparameters):
    kind: Literal["gaussian_pairs"] = "gaussian_pairs"
    gaussians: int = Field(default=6, ge=1)
    reach: float = Field(default=4.0, gt=0)

    def basis(self, species: Sequence[int]) -> GaussianBasis:
        return GaussianBasis(self.gaussians, self.reach)

    def potential(
        self, basis: Basis, coefficients: FloatArray, energies: Mapping[int, float],
        covariance: FloatArray | None = None, provenance: Mapping[str, object] | None = None,
    ) -> GaussianPairPotential:  # fmt: skip
        assert isinstance(basis, GaussianBasis)
        return GaussianPairPotential(basis, coefficients, dict(energies), dict(provenance or {}))

    def citations(self, *, graded: bool = False) -> dict[str, str]:
        return {"gauss": "C. F. Gauss, Theoria motus corporum coelestium, Perthes and Besser (1809): Gaussians."}


@dataclass(frozen=True, eq=False, repr=False)
class GaussianPairPotential(PotentialBase):
    basis: GaussianBasis
    coefficients: FloatArray
    energies: Mapping[int, float]
    provenance: Mapping[str, object] = field(default_factory=dict)

    @property
    def species(self) -> tuple[int, ...]:
        return tuple(sorted(self.energies))

    @property
    def cutoff(self) -> float:
        return self.basis.reach

    def describe_size(self) -> str:
        return f"{self.basis.size} Gaussians"

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        return [self._predicted(structure, forces, stress) for structure in structures]

    def _predicted(self, structure: Structure, forces: bool, stress: bool) -> Prediction:
        columns = pair_rows(structure, (), self.cutoff, self.basis.size)
        values, atoms = columns @ self.coefficients, len(structure)
        isolated = count_species(structure, self.species) @ [self.energies[z] for z in self.species]
        return Prediction(
            float(values[0] + isolated), values[1 : 1 + 3 * atoms].reshape(-1, 3) if forces else None,
            values[1 + 3 * atoms :].reshape(3, 3) / structure.volume if stress and structure.volume else None,
        )  # fmt: skip

    def save(self, folder: str | Path) -> Path:
        content = {
            "gaussians": self.basis.size, "reach": self.basis.reach,
            "energies": {chemical_symbols[z]: energy for z, energy in self.energies.items()},
            "provenance": dict(self.provenance),
        }  # fmt: skip
        return write_potential(folder, "gaussian_pairs", content, arrays={"coefficients.npy": self.coefficients})

    @classmethod
    def load(cls, folder: Path) -> GaussianPairPotential:
        with PotentialFolder(folder, "gaussian_pairs") as saved:
            basis = GaussianBasis(
                whole(saved.content["gaussians"], "gaussians", 1, 1000),
                number(saved.content["reach"], "reach", above=0),
            )
            coefficients = saved.array("coefficients.npy")
            if coefficients is None or coefficients.shape != (basis.size,):
                raise ValueError("coefficients.npy does not hold the coefficients")
            return cls(basis, coefficients, saved.energies("energies"), saved.provenance)


FAMILY = Family(
    kind="gaussian_pairs", hyperparameters=GaussianPairs, load=GaussianPairPotential.load,
    shrink="gaussians", reach="reach",
)  # fmt: skip
