"""Features of atomic environments in which a property of atoms is linear: scaled ACE invariants, or a kernel of them.

Invariants x of an atom (columns of the functions of its own species) become z = (x - x̄) s, with s_j ∝ std_j^{-γ} scaled
so that the variances of z add up to 1. The features are z itself, or Gaussian kernels with M environments of the
training data,

    k_m(z) = exp(-‖z - z_m‖²/2ℓ²),    φ(z) = K_MM^{-1/2} k(z),

in which ridge regression is Gaussian process regression restricted to these environments (Quiñonero-Candela and
Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005)).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from pydantic import Field

from forcewright.configs import StrictModel
from forcewright.errors import InputError
from forcewright.features.ace.basis import AceBasis, Pairs, RadialSettings
from forcewright.features.ace.basis_functions import generate_functions
from forcewright.features.ace.expansion import RadialFamily
from forcewright.structure import FloatArray, IntArray, Structure

_ATOMS_AT_ONCE = 256  # whose kernels with all environments are held at a time
_JITTER = 1e-10  # of the kernel between environments


class EnvironmentSettings(StrictModel):
    """What describes the environment of an atom."""

    cutoff: float = Field(default=6.0, gt=0)
    """Reach in Å."""
    nradmax: tuple[int, ...] = (12, 6, 4, 2)
    """Radial functions by rank: of two-, three-, four- and five-body functions."""
    lmax: tuple[int, ...] = (0, 5, 3, 2)
    """Largest l by rank."""
    functions: int = Field(default=1000, ge=1)
    """Invariant functions per center element, at most."""
    radial: RadialFamily = "SBessel"
    """Radial functions."""
    decay: float = 5.25
    """Their λ."""
    scaling: float = Field(default=0.7, ge=0, le=1)
    """γ: 0 leaves the functions as they are, 1 scales all to the same variance."""
    kernel: Literal["linear", "gaussian"] = "gaussian"
    """Whether a property is linear in the functions, or in Gaussian kernels of them."""
    length: float = Field(default=1.0, gt=0)
    """Width ℓ of the kernel, in standard deviations of all functions together."""
    environments: int = Field(default=1000, ge=1)
    """Environments of the training data M that kernels are taken with."""

    def basis(self, species: Sequence[int]) -> AceBasis:
        """Return the ACE basis for elements (atomic numbers)."""
        numbers = tuple(sorted(set(species)))
        functions = generate_functions(
            len(numbers), nradmax=self.nradmax, lmax=self.lmax, count=self.functions
        )  # fmt: skip
        cutoffs = ((self.cutoff,) * len(numbers),) * len(numbers)
        return AceBasis(numbers, RadialSettings(self.radial, self.decay), cutoffs, functions)


@dataclass(frozen=True, eq=False)
class Environments:
    """Features of atoms, with what the training data settle.

    Attributes
    ----------
    mean, scale
        x̄ and s of every column of the basis (p,).
    centers
        Scaled invariants z_m of the environments (M, p) that kernels are taken with; None for linear features.
    """

    settings: EnvironmentSettings
    basis: AceBasis
    mean: FloatArray
    scale: FloatArray
    centers: FloatArray | None = None

    @classmethod
    def of(
        cls, settings: EnvironmentSettings, basis: AceBasis, rows: FloatArray, species: IntArray,
        rng: np.random.Generator,
    ) -> Environments:  # fmt: skip
        """Settle scales and environments from the invariants (N, p) and species (N,) of training atoms."""
        mean, scale = np.zeros(basis.size), np.zeros(basis.size)
        for number, columns in _blocks(basis):
            part = rows[species == number][:, columns]
            if not len(part):
                raise InputError("an element of the basis does not occur in the training data", field="species")
            mean[columns] = part.mean(axis=0)
            spread = part.std(axis=0)
            kept = spread > 1e-12 * max(float(spread.max()), 1e-300)
            factor = np.where(kept, np.where(kept, spread, 1.0) ** -settings.scaling, 0.0)
            total = float(((spread * factor) ** 2).sum())
            scale[columns] = factor / np.sqrt(total) if total > 0 else 0.0
        linear = cls(settings, basis, mean, scale)
        if settings.kernel == "linear":
            return linear
        z = linear.scaled(rows, species)
        if len(z) > settings.environments:
            z = z[np.sort(rng.choice(len(z), settings.environments, replace=False))]
        return replace(linear, centers=np.ascontiguousarray(z))

    @property
    def size(self) -> int:
        """Number of features."""
        return self.basis.size if self.centers is None else len(self.centers)

    def scaled(self, rows: FloatArray, species: IntArray) -> FloatArray:
        """Return z (N, p) of invariants (N, p); zero in the columns of other species."""
        result = np.zeros_like(rows)
        for number, columns in _blocks(self.basis):
            atoms = np.flatnonzero(species == number)
            result[atoms, columns] = (rows[atoms, columns] - self.mean[columns]) * self.scale[columns]
        return result

    def features(self, z: FloatArray) -> FloatArray:
        """Return z itself, or its kernels with all environments (N, M)."""
        if self.centers is None:
            return z
        squares = np.einsum("np,np->n", z, z)[:, None] + np.einsum("mp,mp->m", self.centers, self.centers)
        apart = np.maximum(squares - 2.0 * z @ self.centers.T, 0.0)
        return np.asarray(np.exp(-0.5 * apart / self.settings.length**2))

    def root(self) -> FloatArray | None:
        """Return K_MM^{-1/2} (M, r), or None for linear features."""
        if self.centers is None:
            return None
        values, vectors = scipy.linalg.eigh(self.features(self.centers))
        kept = values > _JITTER * values.max()
        return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))

    def mean_of(self, structure: Structure) -> FloatArray:
        """Return the mean features (M,) of the atoms of a structure."""
        pairs = self.basis.pairs(structure)
        z = self.scaled(self.basis.values(pairs), pairs.species)
        return np.asarray(self.mean_features(z, np.array([0, len(z)]))[0])

    def mean_features(self, z: FloatArray, starts: IntArray) -> FloatArray:
        """Return the mean features (n, M) of structures whose atoms are rows ``starts[i]:starts[i + 1]`` of z."""
        result = np.empty((len(starts) - 1, self.size))
        for row, (start, end) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
            total = np.zeros(self.size)
            for part in _parts(start, end):
                total += self.features(z[part]).sum(axis=0)
            result[row] = total / (end - start)
        return result

    def apply(self, structure: Structure, weights: FloatArray) -> FloatArray:
        """Return features @ weights of every atom (N, k), a few atoms at a time."""
        pairs = self.basis.pairs(structure)
        z = self.scaled(self.basis.values(pairs), pairs.species)
        return np.concatenate([self.features(z[part]) @ weights for part in _parts(0, len(z))])

    def pull(self, structure: Structure, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return Σ_i features_i·weights by atom (N,), and minus its gradient (N, 3) and strain derivative (6,).

        ``weights`` (M,) are those of one number, such as an integral over the density of states.
        """
        pairs = self.basis.pairs(structure)
        z = self.scaled(self.basis.values(pairs), pairs.species)
        values, adjoint = np.empty(len(z)), np.empty_like(z)
        for part in _parts(0, len(z)):
            values[part], adjoint[part] = self._with_slope(z[part], weights)
        forces, virial = self.basis.pull(pairs, self._without_others(adjoint * self.scale, pairs))
        return values, forces, virial

    def _with_slope(self, z: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        if self.centers is None:
            return z @ weights, np.broadcast_to(weights, z.shape)
        kernel = self.features(z) * weights
        total = kernel.sum(axis=1)
        return total, (kernel @ self.centers - total[:, None] * z) / self.settings.length**2

    def _without_others(self, adjoint: FloatArray, pairs: Pairs) -> FloatArray:
        """Leave out columns of other center species."""
        for number, columns in _blocks(self.basis):
            other = np.flatnonzero(pairs.species != number)
            adjoint[other, columns] = 0.0
        return adjoint


def invariants_of(basis: AceBasis, structures: Iterable[Structure]) -> tuple[FloatArray, IntArray, IntArray]:
    """Return invariants (N, p) and species (N,) of all atoms, and where each structure begins (n + 1,)."""
    rows: list[FloatArray] = []
    species: list[IntArray] = []
    for structure in structures:
        pairs = basis.pairs(structure)
        rows.append(basis.values(pairs))
        species.append(pairs.species)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in rows])])
    return np.concatenate(rows), np.concatenate(species), starts


def predicted_bytes(settings: EnvironmentSettings, columns: int, atoms: int, structures: int) -> int:
    """Return how much memory in bytes a fit needs beside its targets: invariants twice, kernels, one decomposition."""
    features = settings.environments if settings.kernel == "gaussian" else columns
    return 8 * (2 * atoms * columns + features * (columns + 3 * features + 2 * structures) + 3 * structures**2)


def _blocks(basis: AceBasis) -> Iterator[tuple[int, slice]]:
    for number, (block, start) in enumerate(basis.blocks()):
        yield number, slice(start, start + len(block))


def _parts(start: int, end: int) -> Iterator[slice]:
    for first in range(start, end, _ATOMS_AT_ONCE):
        yield slice(first, min(first + _ATOMS_AT_ONCE, end))


def chosen_atoms(starts: IntArray, structures: Sequence[int] | NDArray[np.int64]) -> tuple[IntArray, IntArray]:
    """Return the rows of the atoms of some structures, and where each begins among them."""
    rows = [np.arange(starts[index], starts[index + 1]) for index in structures]
    return np.concatenate(rows), np.concatenate([[0], np.cumsum([len(part) for part in rows])])
