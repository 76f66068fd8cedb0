"""Radial functions that are fitted: of every pair of species and l, combinations of the functions of a family.

With c the linear coefficients and W those of the combinations, the loss is

    L(W) = min_c Σ_frames [ w_E² (ΔE/N)² + w_F² |ΔF|² + w_S² |ΔV/N|² ] + cᵀ π c,

weights and ridge π being those of the linear fit. At the minimum its gradient in W is the one at fixed c (variable
projection: Golub and Pereyra, SIAM J. Numer. Anal. 10, 413, 1973), and needs no derivative of the design rows. With the
residuals as a direction d of all pair vectors (see `forcewright.models.ace.densities`) it is that of

    Σ_i [ α s_i E_i - D(s_i E_i) ],   α = 2 w_E² ΔE/N²,

by the reverse sweep of `forcewright.features.ace.basis.AceBasis.pull_radial`. Searched is in coordinates V in which
combinations with functions of high k, which are rough, count for less: W_nlk = V_nlk / (1 + (k/k0)²), each R_nl with
|V_nl| = 1, as its size is the coefficients' business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import scipy.linalg
import scipy.optimize
from pydantic import Field

from forcewright.configs import StrictModel
from forcewright.features.ace.basis import AceBasis, Pairs
from forcewright.features.ace.contraction import Contraction
from forcewright.models.refinement import LinearStart, RowWeights
from forcewright.potential import Basis
from forcewright.structure import VOIGT, Dataset, FloatArray, Frame, to_voigt

Result = TypeVar("Result")

_ROUGH = 6.0  # k0
_STEP = 0.02  # first step in V, whose rows have length 1
_CONVERGED = 1e-3  # relative decrease of the loss in an iteration, below which the search ends


class LearnRadialSettings(StrictModel):
    """How radial functions are fitted, with fewer functions than the model has, which then takes them over."""

    functions: int = Field(default=200, ge=10, le=5000)
    """Invariant functions per element with which they are fitted."""
    primitives: int = Field(default=16, ge=2, le=64)
    """Functions of the family that each is a combination of."""
    iterations: int = Field(default=25, ge=1, le=1000)
    """Iterations of L-BFGS at most."""
    atoms: int = Field(default=10_000, ge=100)
    """Atoms in the training frames they are fitted to, at most, about: frames spread evenly over the groups."""


@dataclass(frozen=True)
class RadialLearning:
    """The fit of radial functions, as `forcewright.models.refinement.BasisLearning`."""

    settings: LearnRadialSettings

    def start(self, basis: Basis) -> AceBasis:
        """Return the first functions of a basis, with the radial functions of its family."""
        assert isinstance(basis, AceBasis)
        functions = tuple(block[: self.settings.functions] for block in basis.functions)
        return replace(basis, functions=functions, contraction=self._identity(basis))

    def _identity(self, basis: AceBasis) -> Contraction:
        """Return the family's functions for the whole of a basis, as a contraction."""
        columns = basis.columns
        coupled = [n for f in columns for n in f.ns if f.rank > 1]
        single = max((f.ns[0] for f in columns if f.rank == 1), default=1)
        largest, momenta = max(coupled, default=1), 1 + max((max(f.ls) for f in columns), default=0)
        primitives = max(self.settings.primitives, largest, single)
        return Contraction.identity(len(basis.species), largest, momenta, primitives)

    def select(self, dataset: Dataset) -> list[int]:
        """Return frames that hold no more atoms than the settings say, spread evenly over the groups."""
        order = np.argsort(np.array(dataset.groups), kind="stable")
        atoms = sum(map(len, dataset.structures))
        count = max(1, int(len(dataset) * min(1.0, self.settings.atoms / atoms)))
        return sorted(set(order[np.linspace(0, len(order) - 1, count).round().astype(int)].tolist()))

    def learn(
        self, basis: Basis, dataset: Dataset, energies: Mapping[int, float], weights: Sequence[RowWeights],
        linear: LinearStart, threads: int,
    ) -> AceBasis:  # fmt: skip
        """Return the basis with its radial functions fitted to frames with their weights."""
        assert isinstance(basis, AceBasis) and basis.contraction is not None
        frames = [_Surroundings(basis, frame, w, energies) for frame, w in zip(dataset, weights, strict=True)]
        search = _Search(basis, frames, linear, threads)
        blocks = search.go(self.settings.iterations)
        return replace(basis, contraction=replace(basis.contraction, blocks=blocks))

    def carry(self, learned: Basis, basis: Basis) -> AceBasis:
        """Return a larger basis with these radial functions."""
        assert isinstance(learned, AceBasis) and isinstance(basis, AceBasis)
        return replace(basis, contraction=learned.contraction)


class _Surroundings:
    """What of a frame does not depend on the radial functions."""

    def __init__(self, basis: AceBasis, frame: Frame, weights: RowWeights, energies: Mapping[int, float]) -> None:
        structure, labels, _ = frame
        assert basis.contraction is not None
        self.pairs, self.weights = basis.pairs(structure), weights
        primitives = basis.contraction.primitives
        self.pairs = replace(self.pairs, g=self.pairs.g[:, :primitives].copy(), dg=self.pairs.dg[:, :primitives].copy())
        core, core_forces, core_virial = basis.core_part(self.pairs, structure)
        count = self.count = len(structure)
        self.composition = np.bincount(self.pairs.species, minlength=len(basis.species)) / count
        self.energy = self.forces = self.virial = None
        if labels.energy is not None and weights.energy > 0:
            self.energy = (labels.energy - core - sum(energies[int(z)] for z in structure.numbers)) / count
        if labels.forces is not None and weights.force > 0:
            self.forces = labels.forces - core_forces
        if labels.stress is not None and weights.stress > 0:
            self.virial = (-to_voigt(labels.stress) * structure.volume - core_virial) / count
        self.centers = np.repeat(np.arange(count), self.pairs.segments[:, -1] - self.pairs.segments[:, 0])
        number = len(basis.species)
        neighbors = np.repeat(np.tile(np.arange(number), count), np.diff(self.pairs.segments, axis=1).ravel())
        self.kinds = self.pairs.species[self.centers] * number + neighbors

    def contracted(self, contraction: Contraction) -> Pairs:
        """Return the pairs with all radial functions."""
        number = len(contraction.block_of)
        parts = [np.zeros((len(self.kinds), contraction.columns)) for _ in range(2)]
        for part, raw in zip(parts, (self.pairs.g, self.pairs.dg), strict=True):
            part[:, : contraction.primitives] = raw
            for kind in np.unique(self.kinds):
                chosen, combined = self.kinds == kind, contraction.of(*divmod(int(kind), number))
                part[chosen, contraction.primitives :] = raw[chosen] @ combined.reshape(-1, contraction.primitives).T
        return replace(self.pairs, g=parts[0], dg=parts[1])

    def rows(self, basis: AceBasis, pairs: Pairs, constants: int) -> tuple[FloatArray, FloatArray]:
        """Return weighted rows (rows, constants + p) and labels (rows,); constants are those of the first species."""
        energy, forces, virial = basis.rows_of_pairs(pairs)
        rows, labels = [np.zeros((0, constants + basis.size))], [np.zeros(0)]
        if self.energy is not None:
            row = np.concatenate([self.composition[:constants], energy / self.count])
            rows.append(self.weights.energy * row[None])
            labels.append(np.array([self.weights.energy * self.energy]))
        for label, part, weight in (
            (self.forces, forces, self.weights.force), (self.virial, virial / self.count, self.weights.stress)
        ):  # fmt: skip
            if label is not None:
                rows.append(weight * np.hstack([np.zeros((part.shape[1], constants)), part.T]))
                labels.append(weight * label.ravel())
        return np.vstack(rows), np.concatenate(labels)

    def gradient(self, basis: AceBasis, pairs: Pairs, k: FloatArray, c: FloatArray) -> FloatArray:
        """Return the gradient of this frame's loss in the coefficients of the contraction, at fixed k and c."""
        count, weights = self.count, self.weights
        straight, u, turn = np.zeros(count), np.zeros((count, 3)), np.zeros((3, 3))
        values = basis.values(pairs) @ c
        forces, virial = basis.pull(pairs, pairs.scale[:, None] * c[None, :])
        for i in np.flatnonzero(pairs.closest >= 0):
            closest = pairs.closest[i]
            along = pairs.vectors[closest] / pairs.distances[closest] * pairs.slope[i] * values[i]
            forces[i] += along
            forces[pairs.indices[closest]] -= along
            virial -= to_voigt(np.outer(pairs.vectors[closest], along))
        if self.energy is not None:
            error = float(pairs.scale @ values) / count + float(self.composition[: len(k)] @ k) - self.energy
            straight += 2 * weights.energy**2 * error / count * pairs.scale
        if self.forces is not None:
            u = 2 * weights.force**2 * (forces - self.forces)
        if self.virial is not None:
            strain = 2 * weights.stress**2 * (virial / count - self.virial) / count
            for value, (a, b) in zip(strain, VOIGT, strict=True):
                turn[b, a] = value
        change = u[pairs.indices] - u[self.centers] + pairs.vectors @ turn.T
        for i in np.flatnonzero(pairs.closest >= 0):  # D(s E) = s DE + E Ds
            closest = pairs.closest[i]
            straight[i] -= pairs.slope[i] * (pairs.vectors[closest] / pairs.distances[closest]) @ change[closest]
        return basis.pull_radial(pairs, c, straight, pairs.scale, change)


@dataclass(frozen=True, eq=False)
class _Search:
    """The search for the combinations that let the linear fit be best."""

    basis: AceBasis
    frames: Sequence[_Surroundings]
    linear: LinearStart
    threads: int

    def go(self, iterations: int) -> FloatArray:
        """Return the coefficients of the combinations."""
        contraction = self.basis.contraction
        assert contraction is not None
        shape = contraction.blocks.shape
        damping = 1.0 + (np.arange(1, shape[3] + 1) / _ROUGH) ** 2
        start = contraction.blocks * damping
        start /= np.linalg.norm(start, axis=-1, keepdims=True)
        losses: list[float] = []

        def loss(y: FloatArray) -> tuple[float, FloatArray]:
            v = start + _STEP * y.reshape(shape)
            length = np.linalg.norm(v, axis=-1, keepdims=True)
            unit = v / length
            value, gradient = self._loss(replace(contraction, blocks=unit / damping))
            gradient = gradient / damping
            gradient = (gradient - np.sum(gradient * unit, axis=-1, keepdims=True) * unit) / length
            return value, _STEP * gradient.ravel()

        def finished(intermediate_result: scipy.optimize.OptimizeResult) -> None:
            losses.append(float(intermediate_result.fun))
            if len(losses) > 1 and losses[-2] - losses[-1] < _CONVERGED * losses[-2]:
                raise StopIteration  # how SciPy is told to end well

        result = scipy.optimize.minimize(
            loss, np.zeros(start.size), jac=True, method="L-BFGS-B", callback=finished,
            options={"maxiter": iterations, "maxcor": 20},
        )  # fmt: skip
        best = start + _STEP * result.x.reshape(shape)
        return np.asarray(best / np.linalg.norm(best, axis=-1, keepdims=True) / damping)

    def _loss(self, contraction: Contraction) -> tuple[float, FloatArray]:
        """Return the loss at the best linear coefficients, and its gradient in the contraction's."""
        basis = replace(self.basis, contraction=contraction)
        size, constants = basis.size, len(self.linear.coefficients) - basis.size
        matrix, right, labels = np.zeros((constants + size,) * 2), np.zeros(constants + size), 0.0
        ridge = self.linear.ridge()
        matrix[constants:, constants:] = np.diag(self.linear.penalty) if ridge is None else ridge

        def rows(frame: _Surroundings) -> tuple[FloatArray, FloatArray, float]:
            x, y = frame.rows(basis, frame.contracted(contraction), constants)
            return x.T @ x, x.T @ y, float(y @ y)

        for gram, product, square in self._map(rows):
            matrix += gram
            right += product
            labels += square
        matrix[np.diag_indices(constants)] += 1e-12 * float(np.trace(matrix))
        solution = scipy.linalg.cho_solve(scipy.linalg.cho_factor(matrix), right)
        k, c = solution[:constants], solution[constants:]
        parts = self._map(lambda frame: frame.gradient(basis, frame.contracted(contraction), k, c))
        return labels - float(right @ solution), np.sum(list(parts), axis=0)

    def _map(self, function: Callable[[_Surroundings], Result]) -> list[Result]:
        if self.threads == 1:
            return [function(frame) for frame in self.frames]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(function, self.frames))
