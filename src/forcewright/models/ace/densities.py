"""ACE with several densities, fitted to energies, forces and stresses by L-BFGS with exact gradients.

    E_i = s_i Σ_p w_p f(ρ_pi; m_p) + core_i + E0,   ρ_pi = Σ_f c_fp B_fi

(du Toit 2025, equations 2.34-2.36; s_i fades the expansion where the core takes over). The loss is

    L = Σ_frames [ w_E² (ΔE/N)² + w_F² |ΔF|² + w_S² |ΔV/N|² ] + Σ_fp (π_f + L2) c_fp² + L1 Σ_fp |c_fp|

with the weights and the ridge π of the linear fit. Its gradient in c needs no stored derivative of B: with the
residuals as a direction d of all pair vectors, d_ij = u_j - u_i + ε r_ij, and D the derivative along it,

    ∂L/∂c_fp = Σ_i [ α s f' B_f - D(s f') B_f - s f' DB_f ],   D(s f') = s f'' Dρ + f' Ds,

α = 2 w_E² ΔE/N², u = 2 w_F² ΔF, ε from 2 w_S² ΔV/N² (forces and virials are derivatives of -E). One reverse sweep gives
the forces, one directional derivative the gradient.

=========  ============  ============================================================
symbol     shape         meaning
=========  ============  ============================================================
c          (p, P)        coefficients
k          (S,)          constants of the species, zero and fixed where they are given
B, DB      (N, p)        functions of each atom, and their derivative along d
=========  ============  ============================================================

The search runs in coordinates in which the problem, linearized, is a sphere: y = U (c - c0) with UᵀU the Gauss-Newton
matrix at c0, made anew every few iterations. So it converges in tens of iterations, not thousands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
import scipy.linalg
import scipy.optimize
from pydantic import Field, model_validator

from forcewright.configs import StrictModel
from forcewright.features.ace.basis import AceBasis, Pairs
from forcewright.features.ace.embedding import embed
from forcewright.features.ace.expansion import Embedding
from forcewright.features.ace.radial import radial_functions
from forcewright.models.refinement import Coefficients, LinearStart, RowWeights
from forcewright.potential import Basis, Prediction
from forcewright.structure import VOIGT, Dataset, FloatArray, Frame, IntArray, from_voigt, to_voigt

Item = TypeVar("Item")
Result = TypeVar("Result")

_SOFT = 1e-4  # |c| counts as √(c² + this²), so that L1 has a gradient
_RENEW = 8  # iterations after which the search changes its coordinates
_BATCH = 16  # frames whose rows are held at once


class NonlinearSettings(StrictModel):
    """How more than one density is fitted, starting from the linear fit."""

    iterations: int = Field(default=32, ge=1)
    """L-BFGS iterations at most."""
    patience: int = Field(default=8, ge=1)
    """Iterations without a lower validation loss after which a fit stops."""
    steps: tuple[float, ...] = (1.0,)
    """Ladder: shares of the functions that are free in each step; the last must be 1."""
    amplitude: float = Field(default=0.3, gt=0)
    """Spread of the further densities over the atoms at the start."""
    damping: float = Field(default=1.0, gt=0)
    """Ridge of the further densities in units of the first's."""
    kappa: float | None = Field(default=None, ge=0, le=1)
    """Share of the forces in the loss (equation 2.37); the weights of the linear fit where not given."""
    l1: float = Field(default=0.0, ge=0)
    """Coefficient of the absolute values of the coefficients (equation 2.38)."""
    l2: float = Field(default=0.0, ge=0)
    """Coefficient of their squares (equation 2.38), beside the ridge of the linear fit."""
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Coefficients w0, w1, w2 of the smoothness of the radial functions a coefficient brings in (equation 2.39)."""
    upfit: float = Field(default=1.0, ge=1)
    """Factor on the energy weights in a second stage; 1 for none."""
    upfit_iterations: int = Field(default=20, ge=1)
    """L-BFGS iterations of the second stage at most."""

    @model_validator(mode="after")
    def _ladder(self) -> Self:
        if not self.steps or self.steps[-1] != 1.0 or list(self.steps) != sorted(self.steps) or self.steps[0] <= 0:
            raise ValueError(f"steps {list(self.steps)} must rise from above 0 to 1")
        return self


class Surroundings:
    """Everything about one frame that does not depend on the coefficients."""

    def __init__(self, basis: AceBasis, frame: Frame, energies: Mapping[int, float]) -> None:
        structure, labels, _ = frame
        self.basis, self.frame = basis, frame
        self.pairs: Pairs = basis.pairs(structure)
        self.values = basis.values(self.pairs)
        offset, self.forces, self.virial = basis.core_part(self.pairs, structure)
        self.energy = offset + sum(energies[int(z)] for z in structure.numbers)
        self.counts = np.bincount(self.pairs.species, minlength=len(basis.species)).astype(np.float64)
        self.volume = structure.volume

    @cached_property
    def centers(self) -> IntArray:
        """The center of each pair (M,)."""
        return np.repeat(np.arange(len(self.values)), self.pairs.segments[:, -1] - self.pairs.segments[:, 0])

    def predict(self, x: Coefficients, embedding: Embedding) -> tuple[float, FloatArray, FloatArray, _Densities]:
        """Return energy, forces (N, 3) and virial (6,), -dE/dε, and what a gradient goes on from."""
        pairs = self.pairs
        state = _Densities(*embed(embedding, self.values @ x.c))
        forces, virial = self.basis.pull(pairs, (pairs.scale[:, None] * state.slope) @ x.c.T)
        for i in np.flatnonzero(pairs.closest >= 0):
            gradient = self._along_closest(i) * (pairs.slope[i] * state.energy[i])
            vector = pairs.vectors[pairs.closest[i]]
            forces[i] += gradient
            forces[pairs.indices[pairs.closest[i]]] -= gradient
            virial -= to_voigt(np.outer(vector, gradient))
        energy = float(pairs.scale @ state.energy + self.counts @ x.k) + self.energy
        return energy, forces + self.forces, virial + self.virial, state

    def gradient(
        self, x: Coefficients, state: _Densities, alpha: float, u: FloatArray, strain: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return ∂L/∂c (p, P) and ∂L/∂k (S,) from the derivatives of L: α (energy), u (forces), strain (virial)."""
        pairs = self.pairs
        turn = np.zeros((3, 3))  # change = turn @ r adds Σ_v strain_v r_a g_b of the virial's components
        for value, (a, b) in zip(strain, VOIGT, strict=True):
            turn[b, a] = value
        change = u[pairs.indices] - u[self.centers] + pairs.vectors @ turn.T
        moved = self.basis.differentiate(pairs, change)
        scale, scale_change = pairs.scale[:, None], np.zeros((len(self.values), 1))
        for i in np.flatnonzero(pairs.closest >= 0):
            scale_change[i] = pairs.slope[i] * (self._along_closest(i) @ change[pairs.closest[i]])
        on_values = alpha * scale * state.slope - scale * state.curvature * (moved @ x.c) - state.slope * scale_change
        return self.values.T @ on_values - moved.T @ (scale * state.slope), alpha * self.counts

    def _along_closest(self, i: int | np.integer[Any]) -> FloatArray:
        closest = self.pairs.closest[i]
        return np.asarray(self.pairs.vectors[closest] / self.pairs.distances[closest])


@dataclass(frozen=True, eq=False)
class _Densities:
    """Embedded energies, and first and second derivatives in the densities (N, P)."""

    values: FloatArray
    slope: FloatArray
    curvature: FloatArray

    @property
    def energy(self) -> FloatArray:
        return np.asarray(self.values.sum(axis=1))


@dataclass(frozen=True, eq=False)
class NonlinearFit:
    """Frames with their weights, the form of the energy, and how to search."""

    frames: Sequence[Surroundings]
    weights: Sequence[RowWeights]
    embedding: Embedding
    settings: NonlinearSettings
    threads: int = 1

    @property
    def basis(self) -> AceBasis:
        """The functions."""
        return self.frames[0].basis

    def of(self, indices: Sequence[int] | IntArray) -> NonlinearFit:
        """Return the fit to some of the frames."""
        return replace(self, frames=[self.frames[i] for i in indices], weights=[self.weights[i] for i in indices])

    def predict(self, x: Coefficients) -> list[Prediction]:
        """Predict all frames."""

        def predicted(frame: Surroundings) -> Prediction:
            energy, forces, virial, _ = frame.predict(x, self.embedding)
            stress = -from_voigt(virial) / frame.volume if frame.volume > 0 else None
            return Prediction(energy, forces, stress)

        return self._map(predicted, list(self.frames))

    def loss(
        self, x: Coefficients, penalty: FloatArray, factor: float = 1.0, ridge: FloatArray | None = None
    ) -> tuple[float, Coefficients]:
        """Return the loss and its gradient, laid out as the coefficients.

        ``penalty`` is the ridge of every coefficient (p, P), ``ridge`` (P, p, p) that of their products where there is
        any; ``factor`` multiplies the energy weights.
        """
        pairs = list(zip(self.frames, self.weights, strict=True))
        parts = self._map(lambda pair: _frame_loss(*pair, x, self.embedding, factor), pairs)
        absolute = np.sqrt(x.c**2 + _SOFT**2)
        total = sum(part[0] for part in parts) + float(np.sum(penalty * x.c**2) + self.settings.l1 * absolute.sum())
        damped = penalty * x.c
        if ridge is not None:
            coupled = np.einsum("pij,jp->ip", ridge, x.c)
            total, damped = total + float(np.sum(coupled * x.c)), damped + coupled
        c = sum((part[1] for part in parts), 2 * damped + self.settings.l1 * x.c / absolute)
        return total, Coefficients(np.asarray(c), np.asarray(sum(part[2] for part in parts)))

    def _map(self, function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
        if self.threads == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(function, items))

    def search(
        self, linear: LinearStart, rng: np.random.Generator, *, stages: Sequence[int] | None = None,
        watch: Callable[[Coefficients], bool] = lambda x: True,
    ) -> list[list[Coefficients]]:  # fmt: skip
        """Search as `RefinedFit` says; stages are the steps of the ladder and the upfit, and end where converged."""
        x, settings = self.start(linear, rng), self.settings
        path = [[x]]
        watch(x)
        planned = [(share, 1.0, settings.iterations) for share in settings.steps]
        if settings.upfit > 1:
            planned.append((1.0, settings.upfit, settings.upfit_iterations))
        most = [count for _, _, count in planned] if stages is None else stages
        for number, ((share, factor, _), count) in enumerate(zip(planned, most, strict=False)):
            iterates = self._descend(x, linear, share, factor, count, watch)
            path = [[x, *iterates]] if number == 0 else [*path, iterates]
            x = iterates[-1] if iterates else x
        return path

    def start(self, linear: LinearStart, rng: np.random.Generator) -> Coefficients:
        """Return the linear fit with further densities of mean 1 that together change nothing to first order.

        The second follows the atoms' energies in the linear fit, others a random direction.
        """
        size, densities = self.basis.size, self.embedding.densities
        held = len(linear.coefficients) - size
        c = np.zeros((size, densities))
        k = np.zeros(len(self.basis.species))
        k[:held] = linear.coefficients[:held]
        c[:, 0] = linear.coefficients[held:] / self.embedding.weights[0]
        values = np.concatenate([frame.values for frame in self.frames])
        gram = self._overlap.copy()
        ridge = linear.ridge()
        ridge = np.diag(linear.penalty) if ridge is None else ridge
        gram += 1e-6 * np.diag(gram).mean() * np.eye(size) + ridge / max(float(np.diag(ridge).mean()), 1e-300)
        factor = scipy.linalg.cho_factor(gram)
        for p in range(1, densities):
            direction = c[:, 0] if p == 1 else rng.normal(size=size) / np.sqrt(np.diag(gram))
            spread = values @ direction
            target = 1.0 + self.settings.amplitude * (spread - spread.mean()) / max(float(spread.std()), 1e-12)
            c[:, p] = scipy.linalg.cho_solve(factor, values.T @ target)
        value, slope, _ = embed(self.embedding, np.ones((1, densities)))
        for p in range(1, densities):
            c[:, 0] -= slope[0, p] / slope[0, 0] * c[:, p]
            k[:held] -= value[0, p] - slope[0, p]
        return Coefficients(c, k)

    def _penalty(self, linear: LinearStart) -> FloatArray:
        """Return the ridge of each coefficient (p, P): the linear fit's, L2, and the radial functions' roughness."""
        extra = self.settings.l2 + radial_roughness(self.basis, self.settings.radial)
        of_fit = linear.penalty if linear.mixing is None else np.zeros_like(linear.penalty)
        return np.outer(of_fit, self._factors) + extra[:, None]

    def _ridge(self, linear: LinearStart) -> FloatArray | None:
        """Return the linear fit's ridge of products of coefficients (P, p, p); None where it has none."""
        ridge = linear.ridge()
        return None if ridge is None else self._factors[:, None, None] * ridge

    @property
    def _factors(self) -> FloatArray:
        """By how much each density (P,) is damped, relative to the linear fit."""
        return np.array([1.0] + [self.settings.damping] * (self.embedding.densities - 1))

    def _descend(
        self, x: Coefficients, linear: LinearStart, share: float, factor: float, iterations: int,
        watch: Callable[[Coefficients], bool],
    ) -> list[Coefficients]:  # fmt: skip
        """Return the coefficients after each L-BFGS iteration with the first ``share`` of the functions free.

        The first density is always free as a whole; what is not free stays as it is.
        """
        size, densities = x.c.shape
        held = len(linear.coefficients) - size
        penalty, ridge = self._penalty(linear), self._ridge(linear)
        steps = [start + np.arange(math.ceil(share * len(block))) for block, start in self.basis.blocks()]
        ladder = np.concatenate(steps).astype(np.int64)
        free = np.concatenate([np.arange(held + size), *(held + p * size + ladder for p in range(1, densities))])
        path: list[Coefficients] = []
        going = True

        def finished(x: Coefficients) -> None:
            nonlocal going
            path.append(x)
            going = watch(x)
            if not going:
                raise StopIteration  # how SciPy is told to end well

        while going and len(path) < iterations:
            matrix = self._tangent_matrix(x, held, penalty, factor, ridge)[np.ix_(free, free)]
            scale = 1.0 / np.sqrt(np.diag(matrix))
            triangle = _whitener(matrix * np.outer(scale, scale))

            def step(y: FloatArray, x: Coefficients = x, scale: FloatArray = scale, u: FloatArray = triangle) -> (
                Coefficients
            ):  # fmt: skip
                flat = np.zeros(held + size * densities)
                flat[free] = scale * scipy.linalg.solve_triangular(u, y, check_finite=False)
                k = x.k.copy()
                k[:held] += flat[:held]
                return Coefficients(x.c + flat[held:].reshape(densities, size).T, k)

            def objective(
                y: FloatArray, step: Any = step, scale: FloatArray = scale, u: FloatArray = triangle
            ) -> tuple[float, FloatArray]:
                value, gradient = self.loss(step(y), penalty, factor, ridge)
                flat = np.concatenate([gradient.k[:held], gradient.c.T.ravel()])[free]
                return value, scipy.linalg.solve_triangular(u, scale * flat, trans="T", check_finite=False)

            before = len(path)
            scipy.optimize.minimize(
                objective, np.zeros(len(free)), jac=True, method="L-BFGS-B",
                callback=lambda y, step=step: finished(step(y)),
                options={"maxiter": min(_RENEW, iterations - before), "maxcor": _RENEW, "ftol": 1e-9, "gtol": 0.0},
            )  # fmt: skip
            if len(path) - before < min(_RENEW, iterations - before):
                break  # converged, or stopped
            x = path[-1]
        return path

    def _tangent_matrix(
        self, x: Coefficients, held: int, penalty: FloatArray, factor: float, ridge: FloatArray | None = None
    ) -> FloatArray:
        """Return the Gauss-Newton matrix JᵀJ + ridge over constants and densities (held + P·p, held + P·p).

        Further densities are damped by what their change of one would change in the mean loss of an atom: beyond that
        the linearization does not hold (a trust region on the densities).
        """
        size, densities = x.c.shape
        order = held + size * densities
        matrix = np.zeros((order, order), order="F")

        def rows(pair: tuple[Surroundings, RowWeights]) -> FloatArray:
            return _tangent_rows(*pair, x, self.embedding, held, factor)

        pairs = list(zip(self.frames, self.weights, strict=True))
        for begin in range(0, len(pairs), _BATCH):
            for block in self._map(rows, pairs[begin : begin + _BATCH]):
                matrix = scipy.linalg.blas.dsyrk(1.0, block.T, beta=1.0, c=matrix, lower=0, overwrite_c=1)
        matrix = np.triu(matrix) + np.triu(matrix, 1).T
        matrix[np.diag_indices(order)] += np.concatenate([np.zeros(held), penalty.T.ravel()])
        atoms = sum(len(frame.values) for frame in self.frames)
        trust = self.loss(x, penalty, factor, ridge)[0] / atoms
        for p in range(densities):
            part = slice(held + p * size, held + (p + 1) * size)
            if p > 0:
                matrix[part, part] += trust * self._overlap
            if ridge is not None:
                matrix[part, part] += ridge[p]
        return matrix

    @cached_property
    def _overlap(self) -> FloatArray:
        """BᵀB over all atoms (p, p)."""
        values = np.concatenate([frame.values for frame in self.frames])
        return np.asarray(values.T @ values)


def _tangent_rows(
    frame: Surroundings, weights: RowWeights, x: Coefficients, embedding: Embedding, held: int, factor: float
) -> FloatArray:
    """Return the weighted rows (m, held + P·p) of one frame's labels: derivatives of its residuals."""
    labels, atoms = frame.frame.labels, len(frame.values)
    _, slope, curvature = embed(embedding, frame.values @ x.c)
    energy, forces, virial = frame.basis.tangent_rows(frame.pairs, x.c, slope, curvature)
    blocks = [np.zeros((0, held + len(energy)))]
    if labels.energy is not None:
        blocks.append(factor * weights.energy / atoms * np.concatenate([frame.counts[:held], energy])[None])
    if labels.forces is not None:
        blocks.append(weights.force * np.hstack([np.zeros((3 * atoms, held)), forces]))
    if labels.stress is not None and frame.volume > 0 and weights.stress > 0:
        blocks.append(weights.stress / atoms * np.hstack([np.zeros((6, held)), virial]))
    return np.vstack(blocks)


def _whitener(matrix: FloatArray) -> FloatArray:
    """Return the upper triangle U with UᵀU = ``matrix``, made a little more definite where rounding demands it."""
    jitter = 0.0
    while True:
        try:
            damped = matrix + jitter * np.diag(np.diag(matrix))
            return np.asarray(scipy.linalg.cholesky(damped, check_finite=False))
        except scipy.linalg.LinAlgError:
            jitter = max(10 * jitter, 1e-14)


def _frame_loss(
    frame: Surroundings, weights: RowWeights, x: Coefficients, embedding: Embedding, factor: float
) -> tuple[float, FloatArray, FloatArray]:
    """Return one frame's part of the loss and of its gradient in c and k."""
    labels, atoms = frame.frame.labels, len(frame.values)
    energy, forces, virial, state = frame.predict(x, embedding)
    total, alpha, u, strain = 0.0, 0.0, np.zeros((atoms, 3)), np.zeros(6)
    if labels.energy is not None:
        squared = (factor * weights.energy) ** 2
        residual = (energy - labels.energy) / atoms
        total += squared * residual**2
        alpha = 2 * squared * residual / atoms
    if labels.forces is not None:
        residuals = forces - labels.forces
        total += weights.force**2 * float(np.sum(residuals**2))
        u = 2 * weights.force**2 * residuals
    if labels.stress is not None and frame.volume > 0 and weights.stress > 0:
        residuals = (virial + to_voigt(labels.stress) * frame.volume) / atoms
        total += weights.stress**2 * float(residuals @ residuals)
        strain = 2 * weights.stress**2 * residuals / atoms
    return total, *frame.gradient(x, state, alpha, u, strain)


def radial_roughness(basis: AceBasis, weights: tuple[float, float, float]) -> FloatArray:
    """Return, for every column (p,), the mean over its factors of w0 ∫r²|R| + w1 ∫r²|R'| + w2 ∫r²|R''| over r_cut².

    Equation 2.39 penalizes radial functions that are optimized; here they are fixed and the coefficients choose among
    them, so that each coefficient carries the roughness of the functions it brings in.
    """
    if not any(weights):
        return np.zeros(basis.size)
    rough: dict[tuple[int, int], FloatArray] = {}
    for pair, bond in basis.bonds.items():
        r = np.linspace(0.05 * bond.cutoff, bond.cutoff, 400)
        value, slope = radial_functions(bond, r, basis.core_mode)
        orders = (value, slope, np.gradient(slope, r, axis=1))
        integrals = [np.trapezoid(r**2 * np.abs(order), r, axis=1) / bond.cutoff**2 for order in orders]
        rough[pair] = np.asarray(weights) @ np.array(integrals)
    return np.array(
        [np.mean([rough[f.center, mu][n - 1] for mu, n in zip(f.species, f.ns, strict=True)]) for f in basis.columns]
    )


@dataclass(frozen=True)
class DensityRefinement:
    """The fit of several densities, as `forcewright.models.refinement.Refinement`."""

    embedding: Embedding
    settings: NonlinearSettings

    @property
    def densities(self) -> int:
        """Number of densities that the energy of an atom is a function of."""
        return self.embedding.densities

    @property
    def exponents(self) -> tuple[float, ...]:
        """Exponent of each density."""
        return tuple(self.embedding.exponents)

    @property
    def patience(self) -> int:
        """Iterations without a lower validation loss after which a stage stops."""
        return self.settings.patience

    @property
    def kappa(self) -> float | None:
        """Share of the forces in the loss (du Toit 2025, equation 2.37); None for the weights of the linear fit."""
        return self.settings.kappa

    def prepare(
        self, basis: Basis, dataset: Dataset, energies: Mapping[int, float], weights: Sequence[RowWeights],
        threads: int,
    ) -> NonlinearFit:  # fmt: skip
        """Return the fit to frames with their weights; frames that are only predicted need none."""
        assert isinstance(basis, AceBasis)
        frames = [Surroundings(basis, frame, energies) for frame in dataset]
        return NonlinearFit(frames, weights, self.embedding, self.settings, threads)
