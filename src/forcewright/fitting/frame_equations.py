"""Normal equations of every frame by itself: those of any part of the data, with any folds, are sums of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from forcewright.fitting.normal_equations import (
    NormalEquations,
    RowSource,
    Term,
    labelled_rows,
    properties_and_terms,
    training_row,
    validation_row,
)  # fmt: skip
from forcewright.linalg.gram import FloatArray, RowAccumulator, packed_size
from forcewright.potential import Basis
from forcewright.structure import Dataset, Frame, IntArray, count_species


@dataclass(frozen=True, eq=False)
class FrameEquations:
    """Normal equations of each frame over one basis.

    Forces are kept as packed normal equations (P,) of [A | b]; energies and stresses, of which a frame has few, as
    rows, whose targets have no reference energies subtracted.

    Attributes
    ----------
    frames
        The frames by the identity of their structure and labels.
    rows
        Energy (1, p + 1) and stress (6, p + 1) rows [A | b] of each frame, by property.
    forces
        Packed normal equations of each frame's force rows; empty without forces.
    """

    basis: Basis
    columns: int
    frames: Mapping[tuple[int, int], int]
    dataset: Dataset
    rows: Sequence[Mapping[str, FloatArray]]
    forces: Sequence[FloatArray]

    def holds(self, dataset: Dataset, basis: Basis) -> bool:
        """Tell whether every frame of a dataset is among these, over the same basis."""
        return repr(basis) == repr(self.basis) and all(_identity(frame) in self.frames for frame in dataset)

    def add(
        self, dataset: Dataset, folds: Sequence[int] | IntArray, groups: Sequence[str], energies: Mapping[int, float],
        properties: Sequence[str], free_species: Sequence[int],
    ) -> NormalEquations:  # fmt: skip
        """Return the normal equations of a part of the data, as `accumulate` does (see there)."""
        folds, group_of = np.asarray(folds), np.asarray(groups)
        names, keys = properties_and_terms(dataset, group_of, properties)
        free = len(free_species)
        columns, number = self.columns + free, int(folds.max()) + 1
        inside = _embedded(self.columns + 1, free)
        training = np.zeros((number, len(keys), packed_size(columns + 1)))
        validation: list[list[FloatArray]] = []
        counts, rows_of = np.zeros((number, len(names))), dict.fromkeys(keys, 0)
        for fold in range(number):
            measured = {name: RowAccumulator(columns + 1) for name in names if name != "force"}
            fitted = {key: RowAccumulator(columns + 1) for key in keys if key[1] != "force"}
            forces = np.zeros(packed_size(columns + 1))
            for index in np.flatnonzero(folds == fold):
                frame, group = dataset[int(index)], str(group_of[index])
                position, atoms = self.frames[_identity(frame)], len(frame.structure)
                if "force" in names and len(self.forces[position]):
                    training[fold, keys.index((group, "force")), inside] += self.forces[position]
                    forces[inside] += self.forces[position]
                    counts[fold, names.index("force")] += atoms
                    rows_of[group, "force"] += 3 * atoms
                for name, rows in self.rows[position].items():
                    if name in measured:
                        full = _with_species(frame, rows, name, energies, free_species)
                        fitted[group, name].add(training_row(name, full, atoms))
                        measured[name].add(validation_row(full, atoms))
                        counts[fold, names.index(name)] += len(rows)
                        rows_of[group, name] += len(rows)
            for key, folder in fitted.items():
                training[fold, keys.index(key)] = folder.result()
            validation.append([forces if name == "force" else measured[name].result() for name in names])
        terms = tuple(Term(group, name, rows_of[group, name]) for group, name in keys)
        return NormalEquations(terms, tuple(names), training, validation, counts, np.ones(columns), False)


def accumulate_frames(
    dataset: Dataset, basis: Basis, source: RowSource, properties: Sequence[str]
) -> FrameEquations | None:
    """Return the normal equations of every frame; None where half of the free memory does not hold them.

    Parameters
    ----------
    source
        Returns the design rows of a frame by its index.
    """
    columns = basis.size
    needed = 8 * len(dataset) * (packed_size(columns + 1) + 7 * (columns + 1))
    if needed > psutil.virtual_memory().available / 2:
        return None
    nothing = dict.fromkeys(dataset.species, 0.0)
    rows: list[dict[str, FloatArray]] = []
    forces: list[FloatArray] = []
    for index, frame in enumerate(dataset):
        labelled = labelled_rows(frame, source(index), nothing, properties)
        folder = RowAccumulator(columns + 1)
        if (force_rows := labelled.pop("force", None)) is not None:
            folder.add(force_rows)
        forces.append(np.zeros(0) if force_rows is None else folder.result())
        rows.append(labelled)
    frames = {_identity(frame): index for index, frame in enumerate(dataset)}
    return FrameEquations(basis, columns, frames, dataset, rows, forces)


def _identity(frame: Frame) -> tuple[int, int]:
    return id(frame.structure), id(frame.labels)


def _with_species(
    frame: Frame, rows: FloatArray, name: str, energies: Mapping[int, float], free_species: Sequence[int]
) -> FloatArray:
    """Return rows [C | A | b] of rows [A | b], with the reference energies subtracted from the target."""
    species = np.zeros((len(rows), len(free_species)))
    full = np.hstack([species, rows])
    if name == "energy":
        full[0, : len(free_species)] = count_species(frame.structure, free_species)
        full[0, -1] -= sum(energies[int(z)] for z in frame.structure.numbers)
    return full


def _embedded(order: int, shift: int) -> IntArray:
    """Return where the packed elements of a matrix stand in that of one with ``shift`` more rows before the first."""
    rows, columns = np.tril_indices(order)
    rows, columns = rows + shift, columns + shift
    return np.asarray(rows * (rows + 1) // 2 + columns)
