"""What an sGDML force field computes: inverse distances of all pairs, and a Matérn kernel between them.

Chmiela et al., Nat. Commun. 9, 3887 (2018). The formulas are those of ``sgdml.predict``, evaluated here for whole cells
with lattices of their own, and with stresses; tests hold the two against each other.

A pair is taken at its nearest image, so energies have a kink where two images of a neighbor are equally near: where a
cell is small, pairs half a lattice vector apart cross it all the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forcewright.structure import FloatArray, IntArray, Structure

SQRT5 = float(np.sqrt(5.0))


def descriptors(structure: Structure) -> tuple[FloatArray, FloatArray]:
    """Return 1/r of each pair i > j (D,) in 1/Å and (r_i - r_j)/r³ (D, 3), at the nearest image.

    As in sgdml, an image is found by rounding fractional coordinates, which in very skewed cells is not the nearest.
    """
    rows, columns = np.tril_indices(len(structure), k=-1)
    between = structure.positions[rows] - structure.positions[columns]
    if structure.pbc.any():
        fractions = between @ np.linalg.inv(structure.cell)
        between = between - np.where(structure.pbc, np.rint(fractions), 0.0) @ structure.cell
    lengths = np.linalg.norm(between, axis=1)
    return 1.0 / lengths, between / lengths[:, None] ** 3


@dataclass(frozen=True, eq=False)
class KernelModel:
    """A trained model as plain arrays; the names are those of sgdml's model files.

    Attributes
    ----------
    descriptors
        ``R_desc`` of the training structures (n, D) in 1/Å.
    jacobian_alphas
        ``R_d_desc_alpha`` (n, D): the coefficients of the forces carried to the descriptors.
    energy_alphas
        ``alphas_E`` (n,), empty where energies were not part of the kernel.
    permutations
        ``tril_perms`` (P, D): what each symmetry does to the descriptors.
    sigma, std, constant
        Length of the kernel, unit of energy in eV, and integration constant in eV.
    """

    descriptors: FloatArray
    jacobian_alphas: FloatArray
    energy_alphas: FloatArray
    permutations: IntArray
    sigma: float
    std: float
    constant: float

    @cached_property
    def _copies(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Training points under all symmetries."""
        points = np.concatenate([self.descriptors[:, p] for p in self.permutations])
        alphas = np.concatenate([self.jacobian_alphas[:, p] for p in self.permutations])
        return points, alphas, np.tile(self.energy_alphas, len(self.permutations))

    def evaluate(self, descriptor: FloatArray) -> tuple[float, FloatArray]:
        """Return the energy in eV and the pull ∂E/∂(1/r)·(-1) of each pair (D,) in eV Å."""
        points, alphas, energy_alphas = self._copies
        differences = descriptor - points
        lengths = SQRT5 * np.linalg.norm(differences, axis=1)
        decay = np.exp(-lengths / self.sigma)
        base = 5.0 / (3.0 * self.sigma**3) * decay
        projected = np.einsum("nd,nd->n", differences, alphas)
        damped = base * (lengths + self.sigma)
        pull = (projected * base) @ differences * (5.0 / self.sigma) - damped @ alphas
        energy = projected @ damped
        if len(energy_alphas):
            pull += (energy_alphas * damped) @ differences
            values = (1 + lengths / self.sigma * (1 + lengths / (3 * self.sigma))) * decay
            energy += values @ energy_alphas
        return float(energy * self.std + self.constant), pull * self.std

    def predict(self, structure: Structure) -> tuple[float, FloatArray, FloatArray]:
        """Return energy (eV), forces (N, 3) in eV/Å and strain derivative dE/dε (3, 3) in eV."""
        descriptor, jacobian = descriptors(structure)
        energy, pull = self.evaluate(descriptor)
        pair_forces = jacobian * pull[:, None]
        rows, columns = np.tril_indices(len(structure), k=-1)
        forces = np.zeros((len(structure), 3))
        np.add.at(forces, columns, pair_forces)
        np.add.at(forces, rows, -pair_forces)
        between = jacobian / descriptor[:, None] ** 3
        return energy, forces, between.T @ pair_forces

    def arrays(self) -> dict[str, FloatArray | IntArray]:
        """Return everything as arrays that can be saved without pickling."""
        numbers = np.array([self.sigma, self.std, self.constant])
        return {
            "descriptors": self.descriptors, "jacobian_alphas": self.jacobian_alphas,
            "energy_alphas": self.energy_alphas, "permutations": self.permutations, "numbers": numbers,
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> KernelModel:
        """Rebuild from what `arrays` returns; KeyError if something is missing, ValueError if shapes do not fit."""
        points, alphas = arrays["descriptors"], arrays["jacobian_alphas"]
        energy_alphas, permutations = arrays["energy_alphas"], arrays["permutations"]
        sigma, std, constant = (float(x) for x in arrays["numbers"])
        for name in ("descriptors", "jacobian_alphas", "energy_alphas"):
            if arrays[name].dtype.kind != "f":
                raise ValueError(f"{name} are of type {arrays[name].dtype}")
        if not (1e-6 < sigma < 1e6 and len(points) and (points > 0).all()):
            raise ValueError("sigma is out of bounds, or an inverse distance not above 0")
        if not len(permutations) or permutations.dtype.kind not in "iu" or energy_alphas.ndim != 1:
            raise ValueError(f"symmetries {permutations.shape} of type {permutations.dtype}")
        if points.ndim != 2 or alphas.shape != points.shape or len(energy_alphas) not in (0, len(points)):
            raise ValueError(f"coefficients {alphas.shape} for descriptors {points.shape}")
        if permutations.shape[1:] != points.shape[1:] or (np.sort(permutations) != np.arange(points.shape[1])).any():
            raise ValueError("symmetries that are no permutations of the descriptors")
        return cls(points, alphas, energy_alphas, permutations, sigma, std, constant)
