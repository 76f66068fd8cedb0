"""From normal equations to coefficients: the validation loss as a function of weights and ridge, and the fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from forcewright.fitting.normal_equations import NormalEquations, Term, add_equations
from forcewright.linalg.gram import (
    CholeskySolver,
    FactorBlocks,
    FloatArray,
    GramBlocks,
    OrthogonalSolver,
    Solver,
    column_scale,
    pack_product,
    unpack,
)  # fmt: skip
from forcewright.linalg.ridge import Measure, WeightedRidge
from forcewright.potential import DesignRows, Prediction
from forcewright.structure import Structure, from_voigt

_INTERPOLATED = 1e-6  # of the mean squared error: a property with less is interpolated, which says little of it


@dataclass(frozen=True)
class LossWeights:
    """Coefficients of the validation loss: α on the energy, 1 - α on the forces, and one on the stress."""

    energy: float
    force: float
    stress: float = 0.0

    def of(self, name: str) -> float:
        """Return the coefficient of a property."""
        return {"energy": self.energy, "force": self.force, "stress": self.stress}[name]


@dataclass(frozen=True, eq=False)
class Prior:
    """Gaussian prior of the columns of a design, those of free species first.

    Attributes
    ----------
    features
        Features of the columns (p, K); see `forcewright.linalg.ridge`.
    exponents
        Fixed exponent of each feature (K,), NaN where it is searched.
    bounds
        Between which exponents are searched.
    offset
        What is settled of the log precisions (p,); None for a ridge in units of the data.
    mixing
        Combinations of the columns (p, p) that the prior is diagonal in; None for the columns themselves.
    sharing
        How many of the features, the last ones, are about elements that are alike.
    """

    features: FloatArray
    exponents: FloatArray
    bounds: tuple[float, float] = (0.0, 3.0)
    offset: FloatArray | None = None
    mixing: Any = None
    sharing: int = 0

    def in_words_of_the_config(self, exponents: FloatArray) -> dict[str, Any]:
        """Return the config's `prior` with the exponents (K,) that were used."""
        values = exponents.tolist()
        if self.offset is None:
            return {"scale": "data", "smoothness": values or "none"}
        smooth = len(values) - self.sharing
        return {"scale": "basis", "smoothness": values[:smooth] or "none", "sharing": values[smooth:] or "none"}


@dataclass(frozen=True, eq=False)
class SquaredError:
    """The weighted squared error of a fit, as a function of its coefficients.

    Attributes
    ----------
    packed
        Normal equations of all data in scaled, combined columns (P,), by property.
    rows
        Number of rows of each.
    solution
        The fit in these columns (p,).
    scale, mixing
        See `NormalEquations`.
    """

    packed: Mapping[str, FloatArray]
    rows: Mapping[str, int]
    solution: FloatArray
    scale: FloatArray
    mixing: Any

    def growth(self, change: FloatArray) -> float:
        """Return by how much it grows, relative to what it is, where ``change`` (p,) is added to the coefficients."""
        before, after = self._before_and_after(change)
        return (sum(after.values()) - sum(before.values())) / max(sum(before.values()), np.finfo(float).tiny)

    def largest_growth(self, change: FloatArray) -> float:
        """Return the growth of the property that grows most: few energies hardly count in a sum over many forces."""
        before, after = self._before_and_after(change)
        mean = sum(before.values()) / sum(self.rows.values())
        floors = {name: max(_INTERPOLATED * mean * self.rows[name], np.finfo(float).tiny) for name in before}
        return max((after[name] - before[name]) / max(before[name], floors[name]) for name in before)

    def _before_and_after(self, change: FloatArray) -> tuple[dict[str, float], dict[str, float]]:
        change = change if self.mixing is None else scipy.sparse.linalg.spsolve(self.mixing.tocsc(), change)
        return self._of(self.solution), self._of(self.solution + change / self.scale)

    @property
    def value(self) -> float:
        """What it is at the fit."""
        return sum(self._of(self.solution).values())

    def _of(self, solution: FloatArray) -> dict[str, float]:
        z = np.append(solution, -1.0)
        return {name: float(packed @ pack_product(z, z)) for name, packed in self.packed.items()}


@dataclass(frozen=True, eq=False)
class LinearFit:
    """A weight search ready to run, over scaled columns, and the way from there to coefficients.

    ``blocks`` are the same data in blocks finer than folds, where a committee needs them.
    """

    ridge: WeightedRidge
    equations: NormalEquations
    blocks: NormalEquations | None = field(default=None)

    @property
    def terms(self) -> tuple[Term, ...]:
        """The training terms, in the order of the weights."""
        return self.equations.terms

    def fold_coefficients(self, theta: FloatArray) -> list[FloatArray]:
        """Return, for every fold, coefficients (p,) of the fit that has not seen it."""
        return [self.equations.coefficients(solution) for solution in self.ridge.solutions(theta)]

    def fit_everything(self, theta: FloatArray) -> tuple[FloatArray, Solver]:
        """Return coefficients (p,) fitted to all folds together, and the solved system in scaled columns."""
        solver = _solver(self.ridge, self.equations, theta)
        return self.equations.coefficients(solver.solution()), solver

    def fit_weighted_blocks(self, theta: FloatArray, block_weights: FloatArray) -> FloatArray:
        """Return coefficients (p,) of the fit that counts the squared errors of block b ``block_weights[b]`` times."""
        blocks = self.blocks or self.equations
        return blocks.coefficients(_solver(self.ridge, blocks, theta, block_weights).solution())

    def normal_equations(self, theta: FloatArray, without: int | None = None) -> tuple[FloatArray, FloatArray]:
        """Return M (p, p) and h (p,) in scaled columns, of all folds or of all but one; not for factored data."""
        squared, ridge, prior = self.ridge.unpack(theta)
        packed = self.equations.total(squared)
        if without is not None:
            packed = packed - np.asarray(squared @ np.asarray(self.equations.training[without]))
        full = unpack(packed, self.equations.columns + 1)
        matrix = full[:-1, :-1]
        matrix[np.diag_indices(len(matrix))] += ridge * prior
        return matrix, full[-1, :-1]

    def covariance(self, error: SquaredError, system: Solver) -> FloatArray:
        """Return σ² M⁻¹ of the coefficients (p, p), σ² being the weighted residual variance of the fit.

        Bayesian ridge regression (Bishop, Pattern Recognition and Machine Learning, 2006, eq. 3.53-3.54).
        """
        equations = self.equations
        degrees = max(sum(term.rows for term in equations.terms) - equations.columns, 1)
        variance = max(error.value, np.finfo(float).tiny) / degrees
        half = equations.coefficients(system.solve(np.eye(equations.columns)))
        return variance * equations.coefficients(half.T)

    def squared_error(self, theta: FloatArray, system: Solver) -> SquaredError:
        """Return the squared error of the fit to everything, to be asked how it grows with the coefficients."""
        equations, squared = self.equations, self.ridge.unpack(theta)[0]
        packed, rows = {}, {}
        for name in dict.fromkeys(term.property for term in equations.terms):
            chosen = np.array([term.property == name for term in equations.terms])
            packed[name] = equations.total(np.where(chosen, squared, 0.0))
            rows[name] = sum(term.rows for term in equations.terms if term.property == name)
        return SquaredError(packed, rows, system.solution(), equations.scale, equations.mixing)


def _solver(
    ridge: WeightedRidge, equations: NormalEquations, theta: FloatArray, block_weights: FloatArray | None = None
) -> Solver:
    """Return the system of all blocks together, each counted as often as ``block_weights`` (B,) says."""
    squared, damping, prior = ridge.unpack(theta)
    if equations.factored:
        parts = [part for block in equations.training for part in block]
        counted = np.ones(len(equations.training)) if block_weights is None else np.sqrt(block_weights)
        weights = np.outer(counted, np.exp(theta[: len(squared)])).ravel()
        return OrthogonalSolver(parts, weights, equations.columns, damping * prior)
    if block_weights is None:
        return CholeskySolver(equations.total(squared), equations.columns, damping * prior)
    packed = np.einsum("b,t,btp->p", block_weights, squared, np.asarray(equations.training), optimize=True)
    return CholeskySolver(packed, equations.columns, damping * prior)


def linear_fit(
    equations: NormalEquations, nominal: FloatArray, loss: LossWeights, external: NormalEquations | None = None, *,
    prior: Prior, blocks: NormalEquations | None = None,
) -> LinearFit:  # fmt: skip
    """Return the validation problem by leaving each fold out in turn, or on an external set.

    The normal equations are taken over: their columns are scaled in place.

    Parameters
    ----------
    nominal
        Log weights (T,) at which the scaled normal equations have a unit diagonal.
    external
        Validation data over the same basis, or ``equations`` itself to validate on what is fitted; without it the
        folds of ``equations`` are left out in turn.
    prior
        How hard columns are damped.
    blocks
        What ``equations`` was merged from, for `LinearFit.fit_weighted_blocks`.
    """
    offset = prior.offset
    distinct = {id(part): part for part in (equations, external, blocks) if part is not None}
    if prior.mixing is not None:
        distinct = {key: part.combine_columns(prior.mixing) for key, part in distinct.items()}
    scale = column_scale(distinct[id(equations)].total(np.exp(2.0 * nominal)), equations.columns)
    if offset is not None:
        offset = offset + 2.0 * np.log(scale)
    done = {key: part.multiply_columns(scale) for key, part in distinct.items()}
    fitted = done[id(equations)]
    ridge = _ridge(fitted, None if external is None else done[id(external)], loss, replace(prior, offset=offset))
    return LinearFit(ridge, fitted, None if blocks is None else done[id(blocks)])


def _ridge(
    equations: NormalEquations, external: NormalEquations | None, loss: LossWeights, prior: Prior
) -> WeightedRidge:
    """Return the loss of the fits that leave each fold out, or of the one fit that an external set validates."""
    rows = None if prior.offset is None else np.array([term.rows for term in equations.terms], dtype=np.float64)
    judged, factored, columns = external or equations, equations.factored, equations.columns
    totals = judged.counts.sum(axis=0)  # pooled over the folds
    measures = [Measure(loss.of(name), int(n)) for name, n in zip(judged.properties, totals, strict=True)]
    measured = judged.validation
    if external is not None:
        measured = [[add_equations(column, factored) for column in zip(*measured, strict=True)]]
    if factored:
        folds = range(len(equations.training))
        factors = [
            [add_equations([equations.training[f][t] for f in folds if f != out], True)
             for t in range(len(equations.terms))]
            for out in (folds if external is None else [-1])
        ]  # fmt: skip
        return WeightedRidge(
            FactorBlocks(factors, columns), measured, measures, prior.features, True, prior.offset, rows
        )
    parts = np.asarray(equations.training)
    parts = parts if external is None else parts.sum(axis=0, keepdims=True)
    matrices = [[unpack(packed, columns + 1) for packed in fold] for fold in measured]
    return WeightedRidge(
        GramBlocks(parts, columns, leave_out=external is None),
        matrices,
        measures,
        prior.features,
        False,
        prior.offset,
        rows,
    )


def predict_rows(
    structure: Structure, rows: DesignRows, coefficients: FloatArray, energies: Mapping[int, float]
) -> Prediction:
    """Return the prediction of a linear model from its design rows, coefficients (p,) and reference energies."""
    count = len(structure)
    energy = rows.energy @ coefficients + rows.offset[0] + sum(energies[int(z)] for z in structure.numbers)
    forces = rows.forces @ coefficients + rows.offset[1 : 1 + 3 * count]
    virial = rows.virial @ coefficients + rows.offset[1 + 3 * count :]
    volume = structure.volume
    stress = -from_voigt(virial) / volume if volume > 0 else None
    return Prediction(float(energy), forces.reshape(-1, 3), stress)


def split_coefficients(
    coefficients: FloatArray, energies: Mapping[int, float], free_species: Sequence[int]
) -> tuple[FloatArray, dict[int, float]]:
    """Return the coefficients of the basis, and the reference energies with those fitted on top of them added."""
    fitted = dict(zip(free_species, coefficients[: len(free_species)].tolist(), strict=True))
    return coefficients[len(free_species) :], {z: energy + fitted.get(z, 0.0) for z, energy in energies.items()}
