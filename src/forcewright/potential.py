"""The contracts: what a Potential, a Fitter, a Reference and a Basis are, and the ASE calculator over a Potential.

Everything beyond the one required method is a separate small protocol (`Exportable`, `Linear`, `Uncertain`),
never a method that raises NotImplementedError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from forcewright.structure import Dataset, FloatArray, IntArray, Labels, Structure, to_voigt


@dataclass(frozen=True, eq=False)
class Prediction:
    """Energy (eV), forces (N, 3) in eV/Å and stress (3, 3) in eV/Å³; None where not asked for or without a cell."""

    energy: float
    forces: FloatArray | None = None
    stress: FloatArray | None = None

    def __repr__(self) -> str:
        known = [name for name in ("forces", "stress") if getattr(self, name) is not None]
        return f"Prediction({', '.join([f'{self.energy:.6g} eV', *known])})"


class DesignRows(NamedTuple):
    """Rows of the linear model for one structure: prediction = rows @ coefficients + offset.

    ``energy`` (p,), ``forces`` (3N, p) atom by atom, ``virial`` (6, p) in Voigt order xx yy zz yz xz xy, with
    virial = -dE/dε in eV. ``offset`` is the part of the prediction that is not fitted, a vector of 1 + 3N + 6
    numbers in the same order (isolated atoms, a ZBL repulsion).
    """

    energy: FloatArray
    forces: FloatArray
    virial: FloatArray
    offset: FloatArray


@runtime_checkable
class Potential(Protocol):
    """Predicts energy, forces and stress of structures, and can be saved."""

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows, ascending."""
        ...

    @property
    def cutoff(self) -> float:
        """Interaction range in Å."""
        ...

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        """Predict every structure, in order."""
        ...

    def save(self, folder: str | Path) -> Path:
        """Write everything `forcewright.load` needs to ``folder`` and return it."""
        ...

    def calculator(self) -> Calculator:
        """Return an ASE calculator over this potential."""
        ...


class Fitter(Protocol):
    """Frozen hyperparameters; fitting returns a new Potential and changes nothing."""

    def fit(self, train: Dataset, *, rng: np.random.Generator) -> Potential:
        """Fit to the labels of ``train``."""
        ...


@dataclass(frozen=True)
class Failure:
    """Why a reference has no labels for a structure.

    Attributes
    ----------
    reason
        What went wrong, as a sentence.
    repeatable
        Whether it would go wrong in the same way again, so that trying again is of no use.
    pending
        Whether nothing went wrong: another program has yet to compute the labels.
    """

    reason: str
    repeatable: bool = False
    pending: bool = False


class Reference(Protocol):
    """Labels structures; one failing structure never loses the others."""

    @property
    def name(self) -> str:
        """How reports call it, such as GFN1-xTB."""
        ...

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that decides its labels: method, settings, versions of programs."""
        ...

    def label(self, structures: Sequence[Structure]) -> list[Labels | Failure]:
        """Label every structure, in order; where that is not possible, tell why."""
        ...


class Basis(Protocol):
    """Descriptors whose linear combination is the energy."""

    @property
    def size(self) -> int:
        """Number of columns p."""
        ...

    def rows(self, structure: Structure) -> DesignRows:
        """Return the design rows of one structure."""
        ...


@runtime_checkable
class Smooth(Protocol):
    """A basis that knows how rough its columns are, so that a fit may damp rougher ones harder."""

    def prior_features(self) -> FloatArray:
        """Return features of the columns (p, K); column j is damped by exp(Σ_k features[j, k] η_k)."""
        ...


@runtime_checkable
class Prunable(Protocol):
    """A basis from which columns may be left out, in groups that cost something to evaluate."""

    def pruning_groups(self) -> tuple[IntArray, FloatArray]:
        """Return the group of each column (p,), -1 for columns that stay, and the cost of each group (G,)."""
        ...

    def select(self, columns: Sequence[int]) -> Basis:
        """Return the basis of these columns alone, in their order here."""
        ...


@runtime_checkable
class Exportable(Protocol):
    """Can be written as LAMMPS input."""

    def to_lammps(self, folder: str | Path) -> Path:
        """Write potential files and a runnable input; return the input's path."""
        ...


@runtime_checkable
class Linear(Protocol):
    """Energy is linear in its coefficients."""

    @property
    def coefficients(self) -> FloatArray:
        """The fitted coefficients (p,)."""
        ...


@runtime_checkable
class Uncertain(Protocol):
    """Knows how sure it is of an energy."""

    def energy_standard_error(self, structures: Sequence[Structure]) -> FloatArray:
        """Standard error of each predicted energy in eV."""
        ...


@runtime_checkable
class Graded(Protocol):
    """Knows how far a structure lies outside the data it was fitted to."""

    def with_active_set(self, structures: Sequence[Structure]) -> Potential:
        """Return the potential with the active set of these training structures."""
        ...

    def extrapolation_grades(self, structure: Structure) -> FloatArray:
        """Return the extrapolation grade of each atom (N,), above 1 outside the data."""
        ...


class PotentialCalculator(Calculator):
    """ASE calculator over any `Potential`."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, potential: Potential) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.potential = potential

    def calculate(
        self, atoms: Atoms | None = None, properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:  # fmt: skip
        """Fill ``results`` with everything at once: forces and stress come at no further cost."""
        super().calculate(atoms, list(properties), list(system_changes))  # type: ignore[no-untyped-call]
        prediction = self.potential.predict([Structure.from_ase(cast(Atoms, self.atoms))])[0]
        results: dict[str, Any] = {"energy": prediction.energy, "free_energy": prediction.energy}
        results["forces"] = prediction.forces
        if prediction.stress is not None:
            results["stress"] = to_voigt(prediction.stress)
        self.results = results
