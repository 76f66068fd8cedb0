"""sGDML: symmetric gradient-domain machine learning of molecules or whole cells (extra ``sgdml``).

A kernel is that of one cell, the same atoms in the same order: its descriptor is the list of all inverse distances, and
it has 3N rows for every structure. A training set of several cells makes a kernel of each, which knows nothing of the
others. Forces are fitted; without ``energy_constraints`` the energy follows from them by integration, up to a constant
that is the mean difference to the energies of the training set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field

from forcewright.errors import InputError
from forcewright.models.sgdml_kernel import KernelModel
from forcewright.models.storage import read_arrays, read_json, write_potential
from forcewright.potential import PotentialCalculator, Prediction
from forcewright.structure import Dataset, Structure


class SgdmlModel(BaseModel):
    """Hyperparameters of sGDML, as they stand in the config."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    takes_isolated_atoms: ClassVar[bool] = False  # a kernel is one of distances, of which an atom has none

    kind: Literal["sgdml"] = "sgdml"
    n_train: int | None = Field(default=None, ge=2)
    """Structures in the kernel of each cell, drawn by chance; all where not given. Memory grows with the square, time
    with the cube."""
    sigmas: tuple[float, ...] = Field(default=(3.0, 10.0, 30.0, 100.0), min_length=1)
    """Lengths of the kernel to choose from, by the force error on frames held back from the training set."""
    regularization: float = Field(default=1e-10, gt=0)
    """What is added to the diagonal of the kernel."""
    symmetries: bool = False
    """Find permutations of equal atoms between the frames and build them into the kernel (the s of sGDML)."""
    energy_constraints: bool = True
    """Fit energies too, not only forces; needed where the lattice varies, since forces say nothing of strain."""
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training set that tells which sigma is best; the last fit uses it too."""
    max_memory_GB: float | None = Field(default=None, gt=0)
    """Memory the fit may take; what is free where not given."""

    def fit(self, train: Dataset, *, rng: np.random.Generator) -> SgdmlPotential:
        """Fit to energies and forces.

        Parameters
        ----------
        train
            Frames of one cell or several, at least 2 of each and all with energies and forces. Frames of one cell
            have the same atoms in the same order; lattices may differ.
        rng
            Decides which structures are drawn, and which are held back.

        Raises
        ------
        MissingExtraError
            If sgdml is not installed.
        InputError
            If frames lack labels, a cell comes with its atoms in two orders, or a kernel does not fit into memory; then
            it says how many structures would.
        """
        from forcewright.models.sgdml_fitting import fit

        return fit(self, train, rng=rng)


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


@dataclass(frozen=True, eq=False)
class SgdmlPotential:
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

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        """Predict every structure; the stress is the exact strain derivative, None for structures without a cell.

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

    def calculator(self) -> Calculator:
        """Return an ASE calculator."""
        return PotentialCalculator(self)

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
        file = folder / "potential.json"
        content = read_json(file, "sgdml")
        try:
            cells = tuple(_read_cell(one, folder / f"kernel-{k}.npz") for k, one in enumerate(content["cells"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"is damaged: {error!r}; save the potential again", file=file) from None
        return cls(cells, content.get("provenance", {}))


def _read_cell(content: Mapping[str, Any], kernel: Path) -> CellKernel:
    numbers = tuple(chemical_symbols.index(s) for s in content["atoms"])
    x, y, z = (bool(periodic) for periodic in content["pbc"])
    model = KernelModel.from_arrays(read_arrays(kernel))
    if model.descriptors.shape[1] != len(numbers) * (len(numbers) - 1) // 2:
        raise ValueError("a kernel of another number of atoms")
    return CellKernel(numbers, (x, y, z), model)
