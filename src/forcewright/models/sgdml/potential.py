"""A trained sGDML force field and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.models.sgdml.kernel import KernelModel
from forcewright.models.storage import PotentialFolder, species_of, write_potential
from forcewright.potential import PotentialBase, Prediction
from forcewright.structure import Structure


@dataclass(frozen=True, eq=False)
class CellKernel:
    """The kernel of one cell.

    Parameters
    ----------
    numbers
        Atomic numbers of the atoms, in the order every structure must have.
    pbc
        Directions in which it was trained as periodic.
    model
        The kernel model.
    """

    numbers: tuple[int, ...]
    pbc: tuple[bool, bool, bool]
    model: KernelModel

    @property
    def formula(self) -> str:
        """Formula of the cell."""
        return Structure(np.array(self.numbers), np.zeros((len(self.numbers), 3))).formula


@dataclass(frozen=True, eq=False, repr=False)
class SgdmlPotential(PotentialBase):
    """A trained sGDML force field of one cell or several, each with a kernel of its own."""

    cells: tuple[CellKernel, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows, ascending."""
        return tuple(sorted({number for cell in self.cells for number in cell.numbers}))

    @cached_property
    def cutoff(self) -> float:
        """Largest distance in Å of two atoms in the training set: every pair of a cell interacts."""
        return float(max(1.0 / cell.model.descriptors.min() for cell in self.cells))

    def describe_size(self) -> str:
        """Return which cells it knows, and how many structures it was trained on."""
        return ", ".join(f"{cell.formula} by {len(cell.model.descriptors)} structures" for cell in self.cells)

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements; the stress is the exact strain derivative.

        Raises
        ------
        InputError
            If a structure has other atoms than those it was trained on, or another order of them.
        """
        results = []
        for index, structure in enumerate(structures):
            energy, force, strain = self._cell_of(structure, index).model.predict(structure)
            with_stress = stress and structure.volume > 0
            results.append(
                Prediction(energy, force if forces else None, strain / structure.volume if with_stress else None)
            )
        return results

    def _cell_of(self, structure: Structure, index: int) -> CellKernel:
        numbers, pbc = tuple(structure.numbers.tolist()), tuple(structure.pbc.tolist())
        alike = [cell for cell in self.cells if cell.numbers == numbers]
        if not alike:
            known = [cell.formula for cell in self.cells]
            order = " in another order" if structure.formula in known else ""
            raise InputError(
                f"holds {structure.formula}{order}; sGDML is a model of whole cells, here of {' and '.join(known)} "
                "in the order of its training set",
                frame=index, field="numbers",
            )  # fmt: skip
        for cell in alike:
            if cell.pbc == pbc:
                return cell
        raise InputError(f"is {list(pbc)}, the model was trained with {list(alike[0].pbc)}", frame=index, field="pbc")

    def save(self, folder: str | Path) -> Path:
        """Write ``potential.json`` and, for every cell, ``kernel-0.npz`` …, which hold plain arrays, to a folder."""
        cells = [
            {"atoms": [chemical_symbols[z] for z in cell.numbers], "pbc": list(cell.pbc), "sigma": cell.model.sigma}
            for cell in self.cells
        ]
        kernels = {f"kernel-{index}.npz": cell.model.arrays() for index, cell in enumerate(self.cells)}
        content = {"cells": cells, "provenance": dict(self.provenance)}
        return write_potential(folder, "sgdml", content, arrays=kernels)

    @classmethod
    def load(cls, folder: Path) -> SgdmlPotential:
        """Read a folder written by `save`."""
        with PotentialFolder(folder, "sgdml") as saved:
            cells = tuple(
                _cell(content, saved.arrays(f"kernel-{index}.npz"))
                for index, content in enumerate(saved.content["cells"])
            )
            return cls(cells, saved.provenance)


def _cell(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> CellKernel:
    numbers = species_of(content["atoms"])
    x, y, z = (bool(periodic) for periodic in content["pbc"])
    model = KernelModel.from_arrays(arrays)
    if model.descriptors.shape[1] != len(numbers) * (len(numbers) - 1) // 2:
        raise ValueError("a kernel of another number of atoms")
    return CellKernel(numbers, (x, y, z), model)
