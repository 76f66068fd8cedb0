"""The contracts: what a Potential, a Reference and a Basis are, and the ASE calculator over a Potential.

Everything beyond the one required method is a separate small protocol (`Exportable`, `Linear`, `Uncertain`, `PerAtom`,
`Graded`, `Varying`), never a method that raises NotImplementedError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.structure import (
    FloatArray,
    Frame,
    IntArray,
    Labels,
    Structure,
    count_species,
    require_known_species,
    to_voigt,
)
from forcewright.trajectory.reading import StructuresOrFile, structures_of


@dataclass(frozen=True, eq=False)
class Prediction:
    """Energy (eV), forces (N, 3) in eV/Å and stress (3, 3) in eV/Å³; None where not asked for or without a cell.

    ``energies`` (N,) are those of the atoms in eV, where they come at no further cost; their sum is the energy.
    """

    energy: float
    forces: FloatArray | None = None
    stress: FloatArray | None = None
    energies: FloatArray | None = None

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

    @property
    def cutoff(self) -> float:
        """Interaction range in Å."""

    def predict(self, structures: StructuresOrFile, *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        """Predict every structure, in order; one or several, in any form that `structures_of` takes."""

    def save(self, folder: str | Path) -> Path:
        """Write everything `forcewright.load` needs to ``folder`` and return it."""

    def calculator(self) -> Calculator:
        """Return an ASE calculator over this potential."""


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

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that decides its labels: method, settings, versions of programs."""

    def label(self, structures: Sequence[Structure]) -> list[Labels | Failure]:
        """Label every structure, in order; where that is not possible, tell why."""


class Basis(Protocol):
    """Descriptors whose linear combination is the energy; rows are kept by its ``repr``, which tells all of it."""

    @property
    def size(self) -> int:
        """Number of columns p."""

    def rows(self, structure: Structure) -> DesignRows:
        """Return the design rows of one structure."""


@runtime_checkable
class Smooth(Protocol):
    """A basis that knows how rough its columns are, so that a fit may damp rougher ones harder."""

    def prior_features(self) -> FloatArray:
        """Return features of the columns (p, K); column j is damped by exp(Σ_k features[j, k] η_k)."""


@dataclass(frozen=True, eq=False)
class Sharing:
    """Combinations of the columns of a basis that a prior acts on, where elements may behave alike.

    Attributes
    ----------
    mixing
        Invertible matrix (p, p), sparse: coefficients are ``mixing @ a`` of amplitudes a (p,).
    orders
        How far each amplitude tells elements apart (p, K), from 0: of neighbors, of the center.
    labels
        Number (p,) of what an amplitude belongs to; those of the same one differ in nothing but elements.
    """

    mixing: Any
    orders: FloatArray
    labels: IntArray


@runtime_checkable
class Shared(Protocol):
    """A basis that knows which of its columns do the same for other elements."""

    def sharing(self) -> Sharing:
        """Return the combinations whose amplitudes a prior damps the harder, the more they tell elements apart."""


@runtime_checkable
class Prunable(Protocol):
    """A basis from which columns may be left out, in groups that cost something to evaluate."""

    def pruning_groups(self) -> tuple[IntArray, FloatArray]:
        """Return the group of each column (p,), -1 for columns that stay, and the cost of each group (G,)."""

    def select(self, columns: Sequence[int]) -> Basis:
        """Return the basis of these columns alone, in their order here."""


@runtime_checkable
class Exportable(Protocol):
    """Can be written as LAMMPS input."""

    def to_lammps(self, folder: str | Path) -> Path:
        """Write potential files and a runnable input; return the input's path."""


@runtime_checkable
class Linear(Protocol):
    """Energy is linear in its coefficients."""

    @property
    def coefficients(self) -> FloatArray:
        """The fitted coefficients (p,)."""


@runtime_checkable
class Uncertain(Protocol):
    """Knows how sure it is of an energy."""

    def energy_standard_error(self, structures: StructuresOrFile) -> FloatArray:
        """Standard error of each predicted energy in eV."""


@runtime_checkable
class Parametric(Protocol):
    """Linear in the coefficients of a basis that it knows, so that other coefficients make another potential."""

    @property
    def design(self) -> Basis | None:
        """The basis of its coefficients; None where it is not known, or the energy is not linear in them."""

    @property
    def posterior(self) -> FloatArray | None:
        """Covariance of the coefficients (p, p), or of the species' constants as well (S + p, S + p), if known."""

    def with_coefficients(self, coefficients: FloatArray, energies: Mapping[int, float]) -> Potential:
        """Return the potential of other coefficients (p,) and energies in eV of isolated atoms."""


@runtime_checkable
class PerAtom(Protocol):
    """Its energy is a sum over atoms, each of which is known."""

    def atomic_energies(self, structure: Atoms | Frame | Structure) -> FloatArray:
        """Return the energy of each atom (N,) in eV; their sum is the energy."""


@runtime_checkable
class Graded(Protocol):
    """Knows how far a structure lies outside the data it was fitted to."""

    @property
    def knows_grades(self) -> bool:
        """Whether it has an active set, without which there are no grades."""

    def with_active_set(self, structures: StructuresOrFile) -> Potential:
        """Return the potential with the active set of these training structures."""

    def extrapolation_grades(self, structure: Atoms | Frame | Structure) -> FloatArray:
        """Return the extrapolation grade of each atom (N,), the larger the further outside the data."""


@runtime_checkable
class Environmental(Graded, Protocol):
    """Grades atoms by descriptors of their environments, so that active sets of any frames can be made for it."""

    def environments(self, structure: Structure) -> dict[int, FloatArray]:
        """Return the descriptors (n, p) of the atoms of each species, in the order of the atoms."""

    def with_active(self, active: Mapping[int, FloatArray]) -> Potential:
        """Return the potential with what grades the atoms of each species (`forcewright.linalg.max_volume.Grading`)."""


@runtime_checkable
class Varying(Protocol):
    """Knows how sure it is of the energy of each atom."""

    def atomic_standard_deviations(self, structure: Atoms | Frame | Structure) -> FloatArray:
        """Return the standard deviation of each atom's energy (N,) in eV."""


@runtime_checkable
class Divisible(Protocol):
    """Predicts sums of parts that mean something by themselves, such as orders of interaction, a core or a baseline."""

    def force_parts(self, structure: Structure) -> dict[str, FloatArray]:
        """Return the forces (N, 3) in eV/Å of each part by its name; their sum is the force."""


class PotentialBase:
    """Gives a class with ``species``, ``cutoff``, ``save`` and `predict_structures` the rest of a `Potential`.

    It is a convenience: whatever fulfils the protocol is a potential.
    """

    if TYPE_CHECKING:

        @property
        def species(self) -> tuple[int, ...]: ...  # noqa: D102

        @property
        def cutoff(self) -> float: ...  # noqa: D102

        def save(self, folder: str | Path) -> Path: ...  # noqa: D102

        def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
            """Predict structures of known elements."""

    def predict(self, structures: StructuresOrFile, *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        """Predict every structure, in order; the stress is None for structures without a cell.

        Parameters
        ----------
        structures
            One or several of ASE atoms, structures and frames, such as a dataset; or the name of their file.
        forces, stress
            Whether they are of interest; None stands where they are not.

        Raises
        ------
        InputError
            If a structure holds an element that the potential does not know.
        """
        listed = structures_of(structures)
        for index, structure in enumerate(listed):
            require_known_species(structure, self.species, index if len(listed) > 1 else None)
        return self.predict_structures(listed, forces, stress)

    def calculator(self, *, grades: bool = False) -> Calculator:
        """Return an ASE calculator; with ``grades`` its results hold extrapolation grades (see `PotentialCalculator`).

        Raises
        ------
        InputError
            If grades are asked for and not known.
        """
        return PotentialCalculator(self, evaluate=self.evaluator(), grades=grades)

    def evaluator(self) -> Callable[[Structure], Prediction]:
        """Return what a calculator calls for its atoms again and again; it may keep things from call to call."""
        return partial(_prediction_of, self)

    def describe_size(self) -> str:
        """Return how large the potential is, such as "495 coefficients"."""
        return ""

    def __getstate__(self) -> Any:
        """Leave what is made at its first use (programs, compiled tables) behind when travelling to another process."""
        state: Any = super().__getstate__()
        if not isinstance(state, dict):
            return state
        made = {name for name in state if isinstance(getattr(type(self), name, None), cached_property)}
        return {name: value for name, value in state.items() if name not in made}

    def __repr__(self) -> str:
        symbols = "-".join(chemical_symbols[z] for z in self.species)
        parts = [symbols, self.describe_size(), f"cutoff {self.cutoff:.4g} Å"]
        return f"{type(self).__name__}({', '.join(part for part in parts if part)})"


def posterior_errors(
    rows: Sequence[FloatArray], covariance: FloatArray, structures: Sequence[Structure], species: Sequence[int]
) -> FloatArray:
    """Return the standard errors (M,) in eV of energies linear in coefficients, from their posterior covariance.

    ``rows`` are the (p,) of each structure; the covariance is that of p coefficients, or of the constants of the S
    species and the coefficients (S + p, S + p).
    """
    if not len(structures):
        return np.zeros(0)
    full = np.array(rows)
    if len(covariance) > full.shape[1]:
        full = np.hstack([[count_species(structure, species) for structure in structures], full])
    return np.asarray(np.sqrt(np.maximum(np.sum((full @ covariance) * full, axis=1), 0.0)))


def _prediction_of(potential: Potential, structure: Structure) -> Prediction:
    return potential.predict([structure])[0]


#: what `PotentialCalculator` adds to ASE's properties where the potential is `Graded`
_GRADES = ("extrapolation_grade", "extrapolation_grades")


class PotentialCalculator(Calculator):
    """ASE calculator over any `Potential`.

    Beside energy, forces and stress it knows the energies of single atoms (``atoms.get_potential_energies()``) where
    the potential is `PerAtom`, and extrapolation grades where it is `Graded`: ``extrapolation_grades`` (N,) of all
    atoms and the largest of them, ``extrapolation_grade``. Grades take much longer than forces, so they are computed
    where one asks for them, ``calc.get_property("extrapolation_grade", atoms)``, or with every energy by ``grades``.

    Parameters
    ----------
    potential
        The potential.
    evaluate
        Predicts a structure; by default ``potential.predict``.
    grades
        Whether ``results`` always hold extrapolation grades.

    Raises
    ------
    InputError
        If grades are asked for of a potential that does not know them.
    """

    def __init__(
        self, potential: Potential, *, evaluate: Callable[[Structure], Prediction] | None = None, grades: bool = False
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.potential, self.evaluate = potential, evaluate or partial(_prediction_of, potential)
        known = isinstance(potential, Graded) and potential.knows_grades
        if grades and not known:
            raise InputError("this potential knows no extrapolation grades; ACE and SNAP potentials fitted here do")
        self._always = _GRADES if grades else ()
        self.implemented_properties = [
            "energy", "free_energy", "forces", "stress", *(["energies"] if isinstance(potential, PerAtom) else []),
            *(_GRADES if known else ()),
        ]  # fmt: skip

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.potential!r})"

    def calculate(
        self, atoms: Atoms | None = None, properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:  # fmt: skip
        """Fill ``results``: energy, forces and stress at once, and what else is asked for."""
        super().calculate(atoms, list(properties), list(system_changes))  # type: ignore[no-untyped-call]
        structure = Structure.from_ase(cast(Atoms, self.atoms))
        if system_changes or "energy" not in self.results:
            self.results = self._evaluated(structure)
        asked = {*properties, *self._always}
        if "energies" in asked and "energies" not in self.results and isinstance(self.potential, PerAtom):
            self.results["energies"] = self.potential.atomic_energies(structure)
        if asked & set(_GRADES) and isinstance(self.potential, Graded):
            grades = self.potential.extrapolation_grades(structure)
            self.results |= {"extrapolation_grade": float(grades.max()), "extrapolation_grades": grades}

    def _evaluated(self, structure: Structure) -> dict[str, Any]:
        prediction = self.evaluate(structure)
        results: dict[str, Any] = {"energy": prediction.energy, "free_energy": prediction.energy}
        results["forces"] = prediction.forces
        if prediction.stress is not None:
            results["stress"] = to_voigt(prediction.stress)
        if prediction.energies is not None:
            results["energies"] = prediction.energies
        return results
