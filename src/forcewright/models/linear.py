"""Linear models from normal equations: fold a basis over a dataset, search weights and ridge, solve.

A training *term* is one property of one group; its rows, and the rows of the validation *measures*, are

=========  ==========================  =====================================
property   training row                validation row (thesis equation 3.4)
=========  ==========================  =====================================
energy     energy / N                  energy / √N
force      force component             force component, counted per atom
stress     virial component / N        virial component / √N
=========  ==========================  =====================================

with the offset of the basis and the atoms' reference energies taken off the targets first. Where no isolated atoms
tell the reference energies, each species gets a *constant*: one more column in front, the number of its atoms in energy
rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcewright.errors import InputError
from forcewright.linalg.gram import (
    FloatArray,
    RowAccumulator,
    RowReducer,
    pack,
    pack_product,
    packed_size,
    triangle_of,
    unpack,
)
from forcewright.linalg.ridge import (
    CholeskySolver,
    FactorBlocks,
    GramBlocks,
    Measure,
    OrthogonalSolver,
    Solver,
    WeightedRidge,
    column_scale,
    packed_scale,
)
from forcewright.potential import DesignRows, Prediction
from forcewright.structure import Dataset, Frame, Structure, count_species, from_voigt, to_voigt

PROPERTIES = ("energy", "force", "stress")

RowSource = Callable[[int], DesignRows]  # frame index -> its rows, computed or from a cache


@dataclass(frozen=True)
class Term:
    """One property of one group, with its number of rows."""

    group: str
    property: str
    rows: int


@dataclass(frozen=True)
class LossWeights:
    """Coefficients of the validation loss: α on the energy, 1 - α on the forces, and one on the stress."""

    energy: float
    force: float
    stress: float = 0.0

    def of(self, name: str) -> float:
        """Return the coefficient of a property."""
        return {"energy": self.energy, "force": self.force, "stress": self.stress}[name]


#: property -> field of Labels that it needs
LABEL_OF = {"energy": "energy", "force": "forces", "stress": "stress"}


def labelled_rows(
    frame: Frame,
    rows: DesignRows,
    energies: Mapping[int, float],
    properties: Sequence[str] = PROPERTIES,
    constants: Sequence[int] = (),
) -> dict[str, FloatArray]:
    """Return rows [C | A | b] of each labelled property: energy (1, ·), force (3N, ·), stress (6, ·).

    Energies and virials are those of the whole cell, in eV; targets have the basis offset and reference energies off;
    C holds the columns of the ``constants``, species (S,).
    """
    structure, labels, _ = frame
    count, result = len(structure), {}
    if labels.energy is not None and "energy" in properties:
        target = labels.energy - rows.offset[0] - sum(energies[int(z)] for z in structure.numbers)
        result["energy"] = np.concatenate([count_species(structure, constants), rows.energy, [target]])[None, :]
    if labels.forces is not None and "force" in properties:
        target = labels.forces.ravel() - rows.offset[1 : 1 + 3 * count]
        result["force"] = np.column_stack([np.zeros((3 * count, len(constants))), rows.forces, target])
    if labels.stress is not None and "stress" in properties and structure.volume > 0:
        target = to_voigt(-labels.stress * structure.volume) - rows.offset[1 + 3 * count :]
        result["stress"] = np.column_stack([np.zeros((6, len(constants))), rows.virial, target])
    return result


def training_row(name: str, rows: FloatArray, atoms: int) -> FloatArray:
    """Scale rows as they are fitted: energies and virials per atom."""
    return rows if name == "force" else rows / atoms


def validation_row(rows: FloatArray, atoms: int) -> FloatArray:
    """Scale rows of energies and virials as they are judged: per √N."""
    return np.asarray(rows / np.sqrt(atoms))


@dataclass(frozen=True, eq=False)
class FoldedData:
    """A dataset folded over one setting of the descriptors, per split, group and property.

    ``training[f][t]`` and ``validation[f][q]`` are packed normal equations (P,) of [A | b] or, when ``factored``,
    factors R of it; ``counts`` (F, Q) are the numbers squared errors are divided by (frames, atoms, 6 × frames).
    Columns of A, constants first, are multiplied by ``scale`` (p,).
    """

    terms: tuple[Term, ...]
    properties: tuple[str, ...]
    training: Sequence[Sequence[FloatArray]] | FloatArray
    validation: Sequence[Sequence[FloatArray]]
    counts: FloatArray
    scale: FloatArray
    factored: bool

    @property
    def columns(self) -> int:
        """Number of columns p."""
        return len(self.scale)

    def total(self, squared_weights: FloatArray) -> FloatArray:
        """Return the packed normal equations of everything at given squared row weights (T,)."""
        result = np.zeros(packed_size(self.columns + 1))
        for parts in self.training:
            for weight, part in zip(squared_weights, parts, strict=True):
                result += weight * (pack(part.T @ part) if self.factored else part)
        return result

    def select(self, columns: Sequence[int] | NDArray[np.int64]) -> FoldedData:
        """Return a copy with only these columns of A, in this order; the constants are among them only if named."""
        chosen = np.append(np.asarray(columns, dtype=np.int64), self.columns)  # b stays the last
        if self.factored:

            def part(block: FloatArray) -> FloatArray:
                left = block[:, chosen]
                return triangle_of(left) if len(left) > len(chosen) else left

        else:
            rows, others = np.tril_indices(len(chosen))
            high, low = np.maximum(chosen[rows], chosen[others]), np.minimum(chosen[rows], chosen[others])
            positions = high * (high + 1) // 2 + low

            def part(block: FloatArray) -> FloatArray:
                return np.asarray(block[positions])

        training: Any = [[part(block) for block in split] for split in self.training]
        validation = [[part(block) for block in split] for split in self.validation]
        return replace(
            self,
            training=training if self.factored else np.array(training),
            validation=validation,
            scale=self.scale[chosen[:-1]],
        )

    def multiply_columns(self, scale: FloatArray) -> FoldedData:
        """Multiply the columns by ``scale`` (p,) in place, to save the memory of a copy; use what is returned."""
        factor = np.append(scale, 1.0) if self.factored else packed_scale(scale)
        for split in (*self.training, *self.validation):
            for part in split:
                part *= factor
        return replace(self, scale=self.scale * scale)


def fold_dataset(
    dataset: Dataset,
    source: RowSource,
    columns: int,
    energies: Mapping[int, float],
    splits: Sequence[int] | NDArray[np.int64],
    properties: Sequence[str] = ("energy", "force"),
    *,
    constants: Sequence[int] = (),
    groups: Sequence[str] | None = None,
    factored: bool = False,
) -> FoldedData:
    """Fold every frame once; memory is p² per split and term, never rows × p.

    Parameters
    ----------
    source
        Gives the design rows of a frame by its index.
    columns
        Number of columns of the design rows.
    energies
        Reference energy in eV of each species.
    splits
        The split each frame belongs to, 0 … F - 1.
    constants
        Species that get a constant.
    groups
        The group each frame has its weights from, where it is not its own: time and memory grow with their number.
    factored
        Keep factors R instead of normal equations: slower, for designs too ill-conditioned to square.

    Raises
    ------
    InputError
        If no frame carries any of the asked properties.
    """
    splits, group_of = np.asarray(splits), np.asarray(dataset.groups if groups is None else groups)
    number = int(splits.max()) + 1
    labelled = {group: dataset[group_of == group].count_labels() for group in np.unique(group_of)}
    names = [n for n in PROPERTIES if n in properties and any(count[LABEL_OF[n]] for count in labelled.values())]
    if not names:
        raise InputError(f"no frame of {dataset.name or 'the data'} carries any of {', '.join(properties)}")
    keys = [(str(group), name) for group, count in labelled.items() for name in names if count[LABEL_OF[name]]]
    accumulator = RowReducer if factored else RowAccumulator
    columns += len(constants)
    training: Any = [[np.zeros(0)] * len(keys) for _ in range(number)]
    if not factored:
        training = np.zeros((number, len(keys), packed_size(columns + 1)))
    validation = []
    counts = np.zeros((number, len(names)))
    rows_of: Counter[tuple[str, str]] = Counter()
    for split in range(number):
        # forces are judged as they are fitted, so their rows need not be folded twice
        judged = {name: accumulator(columns + 1) for name in names if name != "force"}
        for group in labelled:
            fitted = {name: accumulator(columns + 1) for name in names}
            for index in np.flatnonzero((splits == split) & (group_of == group)):
                frame = dataset[int(index)]
                atoms = len(frame.structure)
                for name, rows in labelled_rows(frame, source(int(index)), energies, names, constants).items():
                    fitted[name].add(training_row(name, rows, atoms))
                    if name in judged:
                        judged[name].add(validation_row(rows, atoms))
                    counts[split, names.index(name)] += atoms if name == "force" else len(rows)
            for name in names:
                if (str(group), name) in keys:
                    training[split][keys.index((str(group), name))] = fitted[name].result()
                    rows_of[str(group), name] += fitted[name].count
        forces = [training[split][position] for position, key in enumerate(keys) if key[1] == "force"]
        validation.append([judged[name].result() if name in judged else _sum(forces, factored) for name in names])
    terms = tuple(Term(group, name, rows_of[group, name]) for group, name in keys)
    return FoldedData(terms, tuple(names), training, validation, counts, np.ones(columns), factored)


def _sum(parts: Sequence[FloatArray], factored: bool) -> FloatArray:
    """Return the normal equations, or the factor, of several blocks together."""
    if not factored:
        return np.asarray(np.sum(parts, axis=0))
    reducer = RowReducer(parts[0].shape[1])
    for part in parts:
        reducer.add(part)
    return reducer.result()


def predicted_memory(columns: int, terms: int, splits: int, properties: int) -> int:
    """Return the bytes that folding and searching one descriptor setting will need."""
    packed = packed_size(columns + 1)
    full = (columns + 1) ** 2
    held = splits * (terms + properties) * packed + splits * properties * full
    # factors and their inputs, the accumulators of one group, and rows waiting in them
    working = (3 * splits + 4 + 2 * properties) * full + 2 * properties * 2048 * (columns + 1)
    return 8 * (held + working)


def measures_of(folded: FoldedData, loss: LossWeights) -> list[Measure]:
    """Return the loss's measures from the counts pooled over the splits."""
    totals = folded.counts.sum(axis=0)
    return [Measure(loss.of(name), int(total)) for name, total in zip(folded.properties, totals, strict=True)]


@dataclass(frozen=True, eq=False)
class FitProblem:
    """A weight search ready to run, on data whose columns are scaled, and the way from there to coefficients."""

    ridge: WeightedRidge
    folded: FoldedData

    @property
    def terms(self) -> tuple[Term, ...]:
        """The training terms, in the order of the weights."""
        return self.folded.terms

    def fold_coefficients(self, theta: FloatArray) -> list[FloatArray]:
        """Return, for every split, coefficients (p,) of the fit that has not seen it."""
        return [solution * self.folded.scale for solution in self.ridge.solutions(theta)]

    def fit_everything(self, theta: FloatArray) -> tuple[FloatArray, Solver]:
        """Return coefficients (p,) fitted to all splits together, and the solved system in scaled columns."""
        folded = self.folded
        squared, ridge, prior = self.ridge.unpack(theta)
        solver: Solver
        if folded.factored:
            parts = [part for split in folded.training for part in split]
            weights = np.tile(np.exp(theta[: len(squared)]), len(folded.training))
            solver = OrthogonalSolver(parts, weights, folded.columns, ridge * prior)
        else:
            solver = CholeskySolver(folded.total(squared), folded.columns, ridge * prior)
        return solver.solution() * folded.scale, solver

    def normal_equations(self, theta: FloatArray, without: int | None = None) -> tuple[FloatArray, FloatArray]:
        """Return M (p, p) and h (p,) in scaled columns, of all splits or of all but one; not for factored data."""
        squared, ridge, prior = self.ridge.unpack(theta)
        packed = self.folded.total(squared)
        if without is not None:
            packed = packed - np.asarray(squared @ np.asarray(self.folded.training[without]))
        full = unpack(packed, self.folded.columns + 1)
        matrix = full[:-1, :-1]
        matrix[np.diag_indices(len(matrix))] += ridge * prior
        return matrix, full[-1, :-1]

    def covariance(self, theta: FloatArray, coefficients: FloatArray, system: Solver) -> FloatArray:
        """Return σ² M⁻¹ of the coefficients (p, p), σ² being the weighted residual variance of the fit.

        Bayesian ridge regression (Bishop, Pattern Recognition and Machine Learning, 2006, eq. 3.53-3.54).
        """
        folded = self.folded
        z = np.append(coefficients / folded.scale, -1.0)
        residual = float(folded.total(self.ridge.unpack(theta)[0]) @ pack_product(z, z))
        variance = max(residual, 0.0) / max(sum(term.rows for term in folded.terms) - folded.columns, 1)
        inverse = system.solve(np.eye(folded.columns))
        return np.asarray(variance * (folded.scale[:, None] * inverse * folded.scale))


def fit_problem(
    folded: FoldedData,
    nominal: FloatArray,
    loss: LossWeights,
    external: FoldedData | None = None,
    *,
    features: FloatArray | None = None,
) -> FitProblem:
    """Return the validation problem by leaving each split out in turn, or on an external set.

    The folded data are taken over: their columns are scaled in place.

    Parameters
    ----------
    nominal
        Log weights (T,) at which the scaled normal equations have a unit diagonal.
    external
        Validation data folded with the same basis, or ``folded`` itself to be judged by what is fitted; without it
        the splits of ``folded`` are left out in turn.
    features
        Features of the columns (p, K) for the prior, zero for the constants; none where not given.
    """
    features = np.zeros((folded.columns, 0)) if features is None else features
    scale = column_scale(folded.total(np.exp(2.0 * nominal)), folded.columns)
    scaled = folded.multiply_columns(scale)
    if external is not None:
        external = scaled if external is folded else external.multiply_columns(scale)
    make = _factor_problem if folded.factored else _gram_problem
    return FitProblem(make(scaled, external, loss, features), scaled)


def _gram_problem(
    folded: FoldedData, external: FoldedData | None, loss: LossWeights, features: FloatArray
) -> WeightedRidge:
    order = folded.columns + 1
    parts = np.asarray(folded.training)
    judged: Sequence[Sequence[FloatArray]] = folded.validation
    if external is not None:
        parts = parts.sum(axis=0, keepdims=True)
        judged = [[_sum(column, False) for column in zip(*external.validation, strict=True)]]
    matrices = [[unpack(packed, order) for packed in split] for split in judged]
    blocks = GramBlocks(parts, folded.columns, leave_out=external is None)
    return WeightedRidge(blocks, matrices, measures_of(external or folded, loss), features)


def _factor_problem(
    folded: FoldedData, external: FoldedData | None, loss: LossWeights, features: FloatArray
) -> WeightedRidge:
    splits = range(len(folded.training))
    left_out = splits if external is None else [-1]
    factors = [
        [_sum([folded.training[s][t] for s in splits if s != out], True) for t in range(len(folded.terms))]
        for out in left_out
    ]
    judged: Sequence[Sequence[FloatArray]] = folded.validation
    if external is not None:
        judged = [[_sum(column, True) for column in zip(*external.validation, strict=True)]]
    blocks = FactorBlocks(factors, folded.columns)
    return WeightedRidge(blocks, judged, measures_of(external or folded, loss), features, factored=True)


def predict_rows(
    structure: Structure, rows: DesignRows, coefficients: FloatArray, energies: Mapping[int, float]
) -> Prediction:
    """Return the prediction of a linear model from its design rows, coefficients (p,) and reference energies."""
    count = len(structure)
    energy = rows.energy @ coefficients + rows.offset[0] + sum(energies[int(z)] for z in structure.numbers)
    forces = rows.forces @ coefficients + rows.offset[1 : 1 + 3 * count]
    virial = rows.virial @ coefficients + rows.offset[1 + 3 * count :]
    stress = -from_voigt(virial) / structure.volume if structure.volume > 0 else None
    return Prediction(float(energy), forces.reshape(-1, 3), stress)


def split_constants(
    coefficients: FloatArray, energies: Mapping[int, float], constants: Sequence[int]
) -> tuple[FloatArray, dict[int, float]]:
    """Return the coefficients of the basis, and the reference energies with the fitted constants added."""
    fitted = dict(zip(constants, coefficients[: len(constants)].tolist(), strict=True))
    return coefficients[len(constants) :], {z: energy + fitted.get(z, 0.0) for z, energy in energies.items()}
