"""Normal equations of a linear model, accumulated per fold, group and property.

A training *term* is one property of one group; its rows, and the rows of the validation *measures*, are

=========  ==========================  =========================================
property   training row                validation row (du Toit 2025, eq. 3.4)
=========  ==========================  =========================================
energy     energy / N                  energy / √N
force      force component             force component, counted per atom
stress     virial component / N        virial component / √N
=========  ==========================  =========================================

with the offset of the basis and the atoms' reference energies subtracted from the targets. Where no isolated atoms in
the data give the reference energies, those of the *free species* are fitted: one more column each, before the others,
with the number of atoms of the species in energy rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from forcewright.errors import InputError
from forcewright.linalg.gram import (
    FloatArray,
    RowAccumulator,
    RowReducer,
    pack,
    packed_scale,
    packed_size,
    triangle_of,
    unpack,
)
from forcewright.potential import DesignRows
from forcewright.structure import Dataset, Frame, IntArray, count_species, to_voigt

PROPERTIES = ("energy", "force", "stress")

#: property -> field of Labels that it needs
LABEL_OF = {"energy": "energy", "force": "forces", "stress": "stress"}

RowSource = Callable[[int], DesignRows]  # frame index -> its rows, computed or from a cache


@dataclass(frozen=True)
class Term:
    """One property of one group, with its number of rows."""

    group: str
    property: str
    rows: int


def labelled_rows(
    frame: Frame, rows: DesignRows, energies: Mapping[int, float], properties: Sequence[str] = PROPERTIES,
    free_species: Sequence[int] = (),
) -> dict[str, FloatArray]:  # fmt: skip
    """Return rows [C | A | b] of each labelled property: energy (1, ·), force (3N, ·), stress (6, ·).

    Energies and virials are those of the whole cell, in eV; the offset of the basis and the reference energies are
    subtracted from the targets b; C holds the columns of the free species (S,).
    """
    structure, labels, _ = frame
    count, result = len(structure), {}
    if labels.energy is not None and "energy" in properties:
        target = labels.energy - rows.offset[0] - sum(energies[int(z)] for z in structure.numbers)
        result["energy"] = np.concatenate([count_species(structure, free_species), rows.energy, [target]])[None, :]
    if labels.forces is not None and "force" in properties:
        target = labels.forces.ravel() - rows.offset[1 : 1 + 3 * count]
        result["force"] = np.column_stack([np.zeros((3 * count, len(free_species))), rows.forces, target])
    if labels.stress is not None and "stress" in properties and structure.volume > 0:
        target = to_voigt(-labels.stress * structure.volume) - rows.offset[1 + 3 * count :]
        result["stress"] = np.column_stack([np.zeros((6, len(free_species))), rows.virial, target])
    return result


def training_row(name: str, rows: FloatArray, atoms: int) -> FloatArray:
    """Scale rows as they are fitted: energies and virials per atom."""
    return rows if name == "force" else rows / atoms


def validation_row(rows: FloatArray, atoms: int) -> FloatArray:
    """Scale rows of energies and virials as the loss counts them: per √N."""
    return np.asarray(rows / np.sqrt(atoms))


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Normal equations of a dataset over one basis, per fold (or finer block of frames), group and property.

    ``training[f][t]`` and ``validation[f][q]`` are packed normal equations (P,) of [A | b] or, when ``factored``,
    factors R of it; ``counts`` (F, Q) are the numbers squared errors are divided by (frames, atoms, 6 × frames).
    Columns of A, those of free species first, are combined by ``mixing`` (p, p), where there is one, and then
    multiplied by ``scale`` (p,).
    """

    terms: tuple[Term, ...]
    properties: tuple[str, ...]
    training: Sequence[Sequence[FloatArray]] | FloatArray
    validation: Sequence[Sequence[FloatArray]]
    counts: FloatArray
    scale: FloatArray
    factored: bool
    mixing: Any = None

    @property
    def columns(self) -> int:
        """Number of columns p."""
        return len(self.scale)

    def total(self, squared_weights: FloatArray) -> FloatArray:
        """Return the packed normal equations of everything at given squared row weights (T,)."""
        result = np.zeros(packed_size(self.columns + 1))
        for parts in self.training:
            for weight, part in zip(squared_weights, parts, strict=True):
                if weight:
                    result += weight * (pack(part.T @ part) if self.factored else part)
        return result

    def merge(self, fold_of: IntArray) -> NormalEquations:
        """Return the sums over blocks that belong to the same fold.

        Parameters
        ----------
        fold_of
            Fold of each block (B,), 0 … F - 1; blocks with -1 are left out.
        """
        members = [np.flatnonzero(fold_of == fold) for fold in range(int(fold_of.max()) + 1)]

        def merged(blocks: Sequence[Sequence[FloatArray]] | FloatArray, count: int) -> list[list[FloatArray]]:
            return [
                [add_equations([blocks[int(b)][k] for b in fold], self.factored) for k in range(count)]
                for fold in members
            ]

        training, validation = merged(self.training, len(self.terms)), merged(self.validation, len(self.properties))
        counts = np.array([self.counts[fold].sum(axis=0) for fold in members])
        return replace(
            self, training=training if self.factored else np.array(training), validation=validation, counts=counts
        )

    def select(self, columns: Sequence[int] | IntArray) -> NormalEquations:
        """Return a copy with only these columns of A, in this order; free species are among them only if named."""
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

        training = [[part(block) for block in fold] for fold in self.training]
        validation = [[part(block) for block in fold] for fold in self.validation]
        return replace(
            self, training=training if self.factored else np.array(training), validation=validation,
            scale=self.scale[chosen[:-1]],
        )  # fmt: skip

    def multiply_columns(self, scale: FloatArray) -> NormalEquations:
        """Multiply the columns by ``scale`` (p,) in place, to save the memory of a copy; use what is returned."""
        factor = np.append(scale, 1.0) if self.factored else packed_scale(scale)
        for fold in (*self.training, *self.validation):
            for part in fold:
                part *= factor
        return replace(self, scale=self.scale * scale)

    def combine_columns(self, mixing: Any) -> NormalEquations:
        """Multiply A, not yet scaled, by a sparse ``mixing`` (p, p) in place; use what is returned."""
        full = scipy.sparse.block_diag([mixing, [[1.0]]], format="csc").T.tocsr()
        for fold in (*self.training, *self.validation):
            for part in fold:
                if self.factored:
                    part[...] = (full @ part.T).T
                else:
                    half = full @ unpack(part, self.columns + 1)
                    part[...] = pack(full @ half.T)
        return replace(self, mixing=mixing)

    def coefficients(self, solution: FloatArray) -> FloatArray:
        """Return the coefficients of the columns of A as they were, from those (p, …) of the columns here."""
        scaled = solution * self.scale.reshape(-1, *[1] * (solution.ndim - 1))
        return scaled if self.mixing is None else np.asarray(self.mixing @ scaled)


def accumulate(
    dataset: Dataset, source: RowSource, columns: int, energies: Mapping[int, float], folds: Sequence[int] | IntArray,
    properties: Sequence[str] = ("energy", "force"), *, free_species: Sequence[int] = (),
    groups: Sequence[str] | None = None, factored: bool = False,
) -> NormalEquations:  # fmt: skip
    """Accumulate the normal equations of every frame; memory is p² per fold and term, never rows × p.

    Parameters
    ----------
    source
        Returns the design rows of a frame by its index.
    columns
        Number of columns of the design rows.
    energies
        Reference energy in eV of each species.
    folds
        The fold (or finer block) each frame belongs to, 0 … F - 1.
    free_species
        Species whose reference energy is fitted on top.
    groups
        The group each frame has its weights from, where it is not its own: time and memory grow with their number.
    factored
        Keep factors R instead of normal equations: slower, for designs too ill-conditioned to square.

    Raises
    ------
    InputError
        If no frame carries any of the properties.
    """
    folds, group_of = np.asarray(folds), np.asarray(dataset.groups if groups is None else groups)
    number = int(folds.max()) + 1
    names, keys = properties_and_terms(dataset, group_of, properties)
    accumulator = RowReducer if factored else RowAccumulator
    columns += len(free_species)
    factors = [[np.zeros(0)] * len(keys) for _ in range(number)]
    training = factors if factored else np.zeros((number, len(keys), packed_size(columns + 1)))
    validation = []
    counts = np.zeros((number, len(names)))
    rows_of: Counter[tuple[str, str]] = Counter()
    for fold in range(number):
        # forces count in the loss as they are fitted, so their rows need not be accumulated twice
        measured = {name: accumulator(columns + 1) for name in names if name != "force"}
        for group in np.unique(group_of).tolist():
            fitted = {name: accumulator(columns + 1) for name in names}
            for index in np.flatnonzero((folds == fold) & (group_of == group)):
                frame = dataset[int(index)]
                atoms = len(frame.structure)
                for name, rows in labelled_rows(frame, source(int(index)), energies, names, free_species).items():
                    fitted[name].add(training_row(name, rows, atoms))
                    if name in measured:
                        measured[name].add(validation_row(rows, atoms))
                    counts[fold, names.index(name)] += atoms if name == "force" else len(rows)
            for name in names:
                if (group, name) in keys:
                    training[fold][keys.index((group, name))] = fitted[name].result()
                    rows_of[group, name] += fitted[name].count
        forces = [training[fold][position] for position, key in enumerate(keys) if key[1] == "force"]
        validation.append(
            [measured[name].result() if name in measured else add_equations(forces, factored) for name in names]
        )
    terms = tuple(Term(group, name, rows_of[group, name]) for group, name in keys)
    return NormalEquations(terms, tuple(names), training, validation, counts, np.ones(columns), factored)


def properties_and_terms(
    dataset: Dataset, group_of: NDArray[np.str_], properties: Sequence[str]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the properties that some frame is labelled with, and for each group its own, as (group, property).

    Raises
    ------
    InputError
        If there are none.
    """
    labelled = {str(group): dataset[group_of == group].count_labels() for group in np.unique(group_of)}
    names = [n for n in PROPERTIES if n in properties and any(count[LABEL_OF[n]] for count in labelled.values())]
    if not names:
        raise InputError(f"no frame of {dataset.name or 'the data'} carries any of {', '.join(properties)}")
    return names, [(group, name) for group, count in labelled.items() for name in names if count[LABEL_OF[name]]]


def add_equations(parts: Sequence[FloatArray], factored: bool) -> FloatArray:
    """Return the packed normal equations, or the factor, of several blocks together."""
    if not factored:
        return np.asarray(np.sum(parts, axis=0))
    reducer = RowReducer(parts[0].shape[1])
    for part in parts:
        reducer.add(part)
    return reducer.result()


def predicted_memory(columns: int, terms: int, folds: int, properties: int) -> int:
    """Return the bytes that accumulating normal equations over one basis and searching weights will need."""
    packed = packed_size(columns + 1)
    full = (columns + 1) ** 2
    held = folds * (terms + properties) * packed + folds * properties * full
    # factors and their inputs, the accumulators of one group, and rows waiting in them
    working = (3 * folds + 4 + 2 * properties) * full + 2 * properties * 2048 * (columns + 1)
    return 8 * (held + working)
