"""Properties that turn with a structure - dipoles, polarizabilities, shieldings - linear in covariant functions.

Each irrep λ of a property has a ridge regression of its own, whose 2λ + 1 components share their coefficients:

    y_i^λm = Σ_f c^λ_(z_i)f φ_f^λm(i)  (+ c_(z_i) for 0e),    Y^λm = Σ_i y_i^λm  for a property per structure.

What is predicted turns exactly as the property does (Grisafi, Wilkins, Csányi and Ceriotti, Phys. Rev. Lett. 120,
036002 (2018)). Coefficients of the products of k factors at centers of one element are damped by the mean square of
all these functions together, so that the smallest ones, which are the least smooth, get the smallest coefficients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import scipy.linalg
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols
from numpy.typing import ArrayLike
from pydantic import Field

from forcewright.configs import StrictModel, validate
from forcewright.data.properties import PropertySet, Target
from forcewright.data.property_units import unit_factor
from forcewright.errors import InputError
from forcewright.features.ace.expansion import RadialFamily
from forcewright.features.equivariant.basis import EquivariantBasis
from forcewright.features.equivariant.spherical import Irrep, cartesian_basis
from forcewright.linalg.many_targets import FoldEquations, predicted_bytes
from forcewright.models.storage import PotentialFolder, species_of, write_potential
from forcewright.structure import FloatArray, IntArray, Structure, atomic_number, require_known_species

KIND = "tensor-property"
_ARRAYS = "coefficients.npz"
_ROWS_AT_ONCE = 4096
_MOST_BYTES = 8e9  # of normal equations
_RIDGES = tuple((10.0 ** np.arange(-12.0, 1.0)).tolist())


class TensorSettings(StrictModel):
    """The functions of a model, and how it is damped."""

    cutoff: float = Field(default=5.0, gt=0, le=20)
    """Reach in Å."""
    degrees: tuple[float, ...] = Field(default=(8.0, 9.0), min_length=1, max_length=4)
    """Largest degree Σ (n + l_weight l) of products of 1, 2, ... factors, n from 0: how many bodies, and how finely."""
    nmax: int = Field(default=8, ge=1, le=40)
    """Radial functions of a factor."""
    lmax: int = Field(default=6, ge=0, le=12)
    """Largest l of a factor."""
    l_weight: float = Field(default=1.0, gt=0)
    """What l counts in a degree beside n."""
    radial: RadialFamily = "ChebExpCos"
    """Radial functions."""
    decay: float = Field(default=2.0, gt=0)
    """Their λ."""
    groups: tuple[tuple[str, ...], ...] | None = None
    """Elements that are not told apart as neighbors, group by group; all are told apart by default."""
    scaling: float = Field(default=0.0, ge=0, le=1)
    """0 damps functions by their size, 1 all alike, whatever their size."""
    rank_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    """How large products of 1, 2, ... factors may become beside each other."""

    def basis(self, species: Sequence[int], irreps: Sequence[Irrep]) -> EquivariantBasis:
        """Return the covariant functions for elements (atomic numbers) and irreps."""
        groups = None
        if self.groups is not None:
            groups = tuple(tuple(atomic_number(symbol) for symbol in group) for group in self.groups)
            groups = tuple(kept for group in groups if (kept := tuple(z for z in group if z in species)))
        return EquivariantBasis(
            tuple(sorted(species)), tuple(irreps), self.cutoff, self.degrees, self.nmax, self.lmax, self.l_weight,
            groups, self.radial, self.decay,
        )  # fmt: skip


def irreps_of(target: Target) -> tuple[Irrep, ...]:
    """Return the irreps of a target; `InputError` if it is a function of energy."""
    if target.irreps is None:
        raise InputError("is a property on a grid, which has no irreps", field="target")
    return tuple(Irrep(order, 1 if target.parity == "e" else -1) for order in target.orders)


def rank_of(target: Target) -> int:
    """Return how many Cartesian indices a target has: 0, 1 or 2."""
    return {1: 0, 3: 1, 9: 2}[target.components]


class _Part(NamedTuple):
    """One regression: an irrep, and the elements whose centers it is about."""

    irrep: Irrep
    elements: tuple[int, ...]


def _parts(target: Target, elements: Sequence[int]) -> list[_Part]:
    """Return the regressions: elements together where only sums are known, each alone where atoms have values."""
    sets = [tuple(elements)] if target.per == "structure" else [(z,) for z in elements]
    return [_Part(irrep, part) for part in sets for irrep in irreps_of(target)]


def _design(
    basis: EquivariantBasis, target: Target, structure: Structure, parts: Sequence[_Part], atoms: IntArray | None = None
) -> Iterator[tuple[_Part, IntArray, FloatArray]]:
    """Yield for each part the atoms it is about, and its rows (atoms or 1, 2l + 1, columns); constants of 0e last."""
    atoms = np.arange(len(structure)) if atoms is None else atoms
    functions = basis.evaluate(structure, atoms)
    numbers = structure.numbers[atoms]
    for part in parts:
        values = functions[part.irrep]
        constant = part.irrep == Irrep(0, 1)
        if target.per == "atom":
            chosen = np.flatnonzero(numbers == part.elements[0])
            rows = values[chosen].transpose(0, 2, 1)
            rows = np.concatenate([rows, np.ones((*rows.shape[:2], 1))], axis=2) if constant else rows
            yield part, atoms[chosen], rows
            continue
        blocks = [values[numbers == z].sum(axis=0).T for z in part.elements]
        if constant:
            blocks.append(np.array([[np.sum(numbers == z) for z in part.elements]], dtype=np.float64))
        rows = np.concatenate(blocks, axis=1)[None]
        yield part, np.zeros(1, dtype=np.int64), rows / len(structure) if target.reduce == "mean" else rows


@dataclass(frozen=True, eq=False)
class TensorModel:
    """A property as a linear function of covariant functions.

    Attributes
    ----------
    target
        What is predicted, in its unit.
    settings
        The functions.
    species
        Atomic numbers of the training data.
    elements
        Those whose atoms have values or contribute.
    coefficients
        For each irrep and set of elements the coefficients (columns,), constants last.
    inverses
        (G + λD)⁻¹ (columns, columns) times the variance of the residuals, for standard errors; may be empty.
    about
        What the model remembers of its fit, as plain data.
    """

    target: Target
    settings: TensorSettings
    species: tuple[int, ...]
    elements: tuple[int, ...]
    coefficients: Mapping[_Part, FloatArray]
    inverses: Mapping[_Part, FloatArray] = field(default_factory=dict, repr=False)
    about: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "basis", self.settings.basis(self.species, irreps_of(self.target)))

    def __repr__(self) -> str:
        symbols = ", ".join(chemical_symbols[z] for z in self.elements)
        count = sum(len(c) for c in self.coefficients.values())
        return f"TensorModel({self.target.name!r}, {self.target.irreps}, {symbols}, {count} coefficients)"

    @property
    def cutoff(self) -> float:
        """Reach in Å."""
        return self.settings.cutoff

    def predict(self, structure: Structure) -> FloatArray:
        """Return the property, Cartesian as on file: (components,), or (N, components), NaN at elements without values.

        Raises `InputError` if the structure holds an element that the training data did not.
        """
        return self._evaluate(structure)[0]

    def predict_with_errors(self, structure: Structure) -> tuple[FloatArray, FloatArray]:
        """Return the property and its standard errors, shaped alike; `InputError` if the model has none."""
        if not self.inverses:
            raise InputError("was saved without what standard errors need", field="model")
        return self._evaluate(structure, errors=True)

    def _evaluate(self, structure: Structure, *, errors: bool = False) -> tuple[FloatArray, FloatArray]:
        basis: EquivariantBasis = self.basis  # type: ignore[attr-defined]
        require_known_species(structure, self.species, knower="the model")
        count = len(structure) if self.target.per == "atom" else 1
        result = np.zeros((count, self.target.components))
        squares = np.zeros_like(result)
        known = np.zeros(count, dtype=bool) if self.target.per == "atom" else np.ones(1, dtype=bool)
        for part, atoms, rows in _design(basis, self.target, structure, list(self.coefficients)):
            back = cartesian_basis(rank_of(self.target), _usual(part.irrep, self.target))
            result[atoms] += rows @ self.coefficients[part] @ back
            known[atoms] = True
            if errors:
                spread = np.einsum("amp,pq,anq->amn", rows, self.inverses[part], rows, optimize=True)
                squares[atoms] += np.einsum("amn,mc,nc->ac", spread, back, back)
        result[~known] = squares[~known] = np.nan
        deviation = np.sqrt(np.maximum(squares, 0.0))
        return (result, deviation) if self.target.per == "atom" else (result[0], deviation[0])

    def calculator(self) -> PropertyCalculator:
        """Return an ASE calculator of this property."""
        return PropertyCalculator([self])

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder and return it."""
        arrays = {_name(part): values for part, values in self.coefficients.items()}
        arrays |= {f"inverse_{_name(part)}": v.astype(np.float32) for part, v in self.inverses.items()}
        content = {
            "target": self.target.model_dump(mode="json", exclude_none=True), "about": dict(self.about),
            "settings": self.settings.model_dump(mode="json"),
            "species": [chemical_symbols[z] for z in self.species],
            "elements": [chemical_symbols[z] for z in self.elements],
        }  # fmt: skip
        return write_potential(folder, KIND, content, arrays={_ARRAYS: arrays})

    @classmethod
    def load(cls, folder: str | Path) -> TensorModel:
        """Read a model that `save` wrote; `InputError` if a file is missing or damaged."""
        with PotentialFolder(folder, KIND) as saved:
            target = validate(Target, saved.content["target"], saved.file)
            settings = validate(TensorSettings, saved.content["settings"], saved.file)
            elements = species_of(saved.content["elements"])
            held = saved.arrays(_ARRAYS)
            parts = _parts(target, elements)
            coefficients = {part: np.asarray(held[_name(part)], dtype=np.float64) for part in parts}
            inverses = {p: np.asarray(held[f"inverse_{_name(p)}"], np.float64) for p in parts
                        if f"inverse_{_name(p)}" in held}  # fmt: skip
            model = cls(target, settings, saved.species, elements, coefficients, inverses, saved.content["about"])
            for part, columns in _columns(model.basis, parts).items():  # type: ignore[attr-defined]
                if coefficients[part].shape != (columns,):
                    raise ValueError(f"{_name(part)} has shape {coefficients[part].shape}, expected {(columns,)}")
        return model


def _usual(irrep: Irrep, target: Target) -> Irrep:
    """Return the irrep that has the same components: parity changes nothing in how a tensor consists of its parts."""
    return Irrep(irrep.l, -1 if rank_of(target) == 1 else 1)


def _name(part: _Part) -> str:
    return f"{part.irrep}_{'-'.join(chemical_symbols[z] for z in part.elements)}"


def _columns(basis: EquivariantBasis, parts: Iterable[_Part]) -> dict[_Part, int]:
    """Return the number of columns of each part, constants included."""
    return {
        part: len(part.elements) * (len(basis.functions[part.irrep]) + (part.irrep == Irrep(0, 1))) for part in parts
    }


# ------------------------------------------------------------------------------------------------- fitting


@dataclass(frozen=True, eq=False)
class _Equations:
    """The normal equations of every part by fold, over one basis."""

    settings: TensorSettings
    basis: EquivariantBasis
    equations: Mapping[_Part, FoldEquations]

    @classmethod
    def of(cls, data: PropertySet, settings: TensorSettings, folds: IntArray) -> _Equations:
        """Accumulate the rows of all frames, some thousands at a time."""
        target, species = data.target, data.dataset.species
        basis = settings.basis(species, irreps_of(target))
        parts = _parts(target, elements_of(data))
        number = int(folds.max()) + 1
        columns = _columns(basis, parts)
        needed = sum(predicted_bytes(count, 1, number) for count in columns.values())
        if needed > _MOST_BYTES:
            raise InputError(
                f"makes {max(columns.values()):,} columns, whose equations need {needed / 1e9:.1f} GB; take smaller "
                "degrees, or fewer groups of elements", field="degrees",
            )  # fmt: skip
        equations = {part: FoldEquations(count, 1, number) for part, count in columns.items()}
        waiting: dict[_Part, list[tuple[FloatArray, FloatArray, IntArray]]] = {part: [] for part in parts}

        def flush(part: _Part) -> None:
            if waiting[part]:
                rows, values, fold = (np.concatenate(x) for x in zip(*waiting[part], strict=True))
                equations[part].add(rows, values, fold)
                waiting[part].clear()

        for frame, (structure, values, mask) in enumerate(zip(data.structures, data.values, data.mask, strict=True)):
            atoms = np.flatnonzero(mask) if target.per == "atom" else None
            for part, atoms_of, rows in _design(basis, target, structure, parts, atoms):
                wanted = (
                    np.atleast_2d(values)[atoms_of] @ cartesian_basis(rank_of(target), _usual(part.irrep, target)).T
                )
                flat = rows.reshape(-1, rows.shape[2])
                waiting[part].append((flat, wanted.ravel(), np.full(len(flat), folds[frame])))
                if sum(len(x[1]) for x in waiting[part]) >= _ROWS_AT_ONCE:
                    flush(part)
        for part in parts:
            flush(part)
        return cls(settings, basis, equations)

    def damping(self, part: _Part) -> FloatArray:
        """Return d of every column: the mean square of all functions of its rank and center; 0 for constants."""
        held = self.equations[part]
        squares = np.diagonal(held.gram.sum(axis=0)) / max(int(held.counts.sum()), 1)
        functions = self.basis.functions[part.irrep]
        ranks = np.array([len(f.factors) for f in functions], dtype=np.int64)
        result = np.zeros(len(squares))
        for block in range(len(part.elements)):
            columns = block * len(ranks) + np.arange(len(ranks))
            for rank in np.unique(ranks):
                alike = columns[ranks == rank]
                total = float(squares[alike].sum())
                weight = self.settings.rank_weights[min(rank, len(self.settings.rank_weights)) - 1] ** -2.0
                relative = np.maximum(squares[alike] * len(alike) / total, 1e-9) if total > 0 else np.ones(len(alike))
                result[alike] = max(total, 1e-300) * weight * relative**self.settings.scaling
        return result


class _Choice(NamedTuple):
    """What one fold's fit is made with, and how it did in the folds it was chosen by."""

    score: float
    candidate: int
    ridge: float


class _Normal:
    """The normal equations of some folds, columns scaled so that damped ones are damped alike."""

    def __init__(self, held: FoldEquations, damping: FloatArray, without: Sequence[int]) -> None:
        kept = [fold for fold in range(len(held.counts)) if fold not in without]
        gram = held.gram[kept].sum(axis=0)
        self.rows = int(held.counts[kept].sum())
        diagonal = np.where(damping > 0, damping, np.diagonal(gram) / max(self.rows, 1))
        self.scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        self.damped = np.where(damping > 0, float(self.rows), 0.0)
        # constants of elements are not to be told apart where all structures have the same composition
        self.floor = self.rows * np.where(damping > 0, 1e-13, 1e-9)
        self.gram = gram * np.outer(self.scale, self.scale)
        self.right = held.right[kept].sum(axis=0)[:, 0] * self.scale

    def factor(self, ridge: float) -> Any:
        """Return the Cholesky factor at a ridge relative to the number of rows."""
        matrix = self.gram.copy()
        matrix[np.diag_indices(len(matrix))] += ridge * self.damped + self.floor
        return scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)

    def solve(self, ridge: float) -> FloatArray:
        """Return the coefficients (p,) at a ridge."""
        return np.asarray(self.scale * scipy.linalg.cho_solve(self.factor(ridge), self.right, check_finite=False))

    def solutions(self) -> FloatArray:
        """Return the coefficients (p, L) at all ridges; those that rounding makes unsolvable are not finite."""
        result = np.full((len(self.right), len(_RIDGES)), np.nan)
        for k, ridge in enumerate(_RIDGES):
            with suppress(np.linalg.LinAlgError):
                result[:, k] = self.solve(ridge)
        return result


def _errors(x: FloatArray, held: FoldEquations, fold: int) -> FloatArray:
    """Return the sum of squared errors (L,) of solutions (p, L) in one fold; infinite for what is no solution."""
    squares = np.einsum("pl,pl->l", x, held.gram[fold] @ x - 2 * held.right[fold]) + held.squares[fold, 0]
    return np.where(np.isfinite(squares), np.maximum(squares, 0.0), np.inf)


def _choose(held: FoldEquations, damping: FloatArray) -> tuple[FloatArray, FloatArray, list[FloatArray]]:
    """Return errors at all relative ridges for each fold: of two of the other folds, and of itself; and the solutions.

    Fold f is judged by fits without it and one neighboring fold in turn, which that neighbor judges: what chooses the
    ridge of a fold has not seen the fold.
    """
    number = len(held.counts)
    inner, outer, solutions = np.zeros((number, len(_RIDGES))), np.zeros((number, len(_RIDGES))), []
    pairs = {tuple(sorted((f, (f + 1) % number))) for f in range(number)} if number > 2 else set()
    for first, second in sorted(pairs):
        x = _Normal(held, damping, (first, second)).solutions()
        inner[first] += _errors(x, held, second)
        inner[second] += _errors(x, held, first)
    for fold in range(number):
        x = _Normal(held, damping, (fold,)).solutions()
        outer[fold] = _errors(x, held, fold)
        solutions.append(x)
    return inner, outer, solutions


@dataclass(frozen=True, eq=False)
class TensorFit:
    """A model, and what fits without each fold predict.

    Attributes
    ----------
    model
        The fit to everything.
    data
        What it was fitted to.
    predicted
        For each frame the values that the fit without its fold predicts, shaped as those of the data.
    folds
        Fold of each frame.
    choices
        For each part the relative ridge and the number of the candidate, fold by fold, and of the whole last.
    """

    model: TensorModel
    data: PropertySet
    predicted: tuple[FloatArray, ...]
    folds: IntArray
    choices: Mapping[str, list[tuple[float, int]]]

    def stacked(self) -> tuple[FloatArray, FloatArray]:
        """Return labels and held-back predictions (count, components) of all atoms with values, or structures."""
        if self.data.target.per == "structure":
            return self.data.stacked(), np.array(self.predicted)
        rows = [values[mask] for values, mask in zip(self.predicted, self.data.mask, strict=True)]
        return self.data.stacked(), np.concatenate(rows)


def elements_of(data: PropertySet) -> tuple[int, ...]:
    """Return the atomic numbers of atoms with values; all where structures have them."""
    if data.target.per == "structure":
        return data.dataset.species
    held = {int(z) for s, mask in zip(data.structures, data.mask, strict=True) for z in s.numbers[mask]}
    return tuple(sorted(held))


def fit_tensors(
    data: PropertySet, candidates: TensorSettings | Sequence[TensorSettings], folds: ArrayLike, *,
    standard_errors: bool = True,
) -> TensorFit:  # fmt: skip
    """Fit a property that turns with a structure, and predict every frame by a fit without its fold.

    Ridges and candidates are chosen for each irrep, and for every fold by what the other folds say of each other:
    held-back errors are those of a choice that has not seen them. The final model takes the candidate that is best for
    all irreps together.

    Parameters
    ----------
    data
        Frames with values.
    candidates
        Settings, or several to choose from.
    folds
        Fold of each frame, from 0; frames of one fold are held back together.
    standard_errors
        Whether the model keeps what standard errors need.

    Raises
    ------
    InputError
        If there are fewer than two folds, the target is on a grid, or the equations would not fit into memory.
    """
    several = [candidates] if isinstance(candidates, TensorSettings) else list(candidates)
    numbers = np.asarray(folds, dtype=np.int64)
    if numbers.shape != (len(data),) or len(np.unique(numbers)) < 2:
        raise InputError(f"needs a fold for each of {len(data)} frames, and two folds or more", field="folds")
    parts = _parts(data.target, elements_of(data))
    count = int(numbers.max()) + 1
    best: dict[_Part, list[_Choice]] = {part: [_Choice(np.inf, 0, 1.0)] * (count + 1) for part in parts}
    solutions: dict[tuple[_Part, int], FloatArray] = {}
    every: list[tuple[_Equations, dict[_Part, float], float]] = []
    for number, settings in enumerate(several):
        prepared = _Equations.of(data, settings, numbers)
        whole: dict[_Part, float] = {}
        total = 0.0
        for part in parts:
            held, damping = prepared.equations[part], prepared.damping(part)
            inner, outer, fitted = _choose(held, damping)
            judged = inner if count > 2 else outer
            for fold in range(count):
                k = int(np.argmin(judged[fold]))
                if judged[fold, k] < best[part][fold].score:
                    best[part][fold] = _Choice(float(judged[fold, k]), number, _RIDGES[k])
                    solutions[part, fold] = fitted[fold][:, k].copy()
            k = int(np.argmin(outer.sum(axis=0)))
            whole[part] = _RIDGES[k]
            total += float(outer.sum(axis=0)[k]) / max(float(held.squares.sum()), 1e-300)
        if not every or total < every[0][2]:
            every = [(prepared, whole, total)]
            chosen = number
    prepared, whole, _ = every[0]
    coefficients, inverses = {}, {}
    for part in parts:
        held, damping = prepared.equations[part], prepared.damping(part)
        normal, ridge = _Normal(held, damping, ()), whole[part]
        factor = normal.factor(ridge)
        z = scipy.linalg.cho_solve(factor, normal.right)
        coefficients[part] = normal.scale * z
        best[part][count] = _Choice(0.0, chosen, ridge)
        if standard_errors:
            inverse = scipy.linalg.cho_solve(factor, np.eye(len(z)))
            squares = max(float(z @ (normal.gram @ z - 2 * normal.right)) + float(held.squares.sum()), 0.0)
            freedom = len(z) - ridge * float(normal.damped @ np.diagonal(inverse))
            noise = squares / max(normal.rows - freedom, 1.0)
            inverses[part] = noise * inverse * np.outer(normal.scale, normal.scale)
    choices = {_name(part): [(c.ridge, c.candidate) for c in best[part]] for part in parts}
    about = {"frames": len(data), "values": data.count, "ridges": {_name(p): whole[p] for p in parts}}
    model = TensorModel(
        data.target, several[chosen], data.dataset.species, elements_of(data), coefficients, inverses, about
    )
    predicted = _held_back(data, several, numbers, best, solutions)
    return TensorFit(model, data, predicted, numbers, choices)


def _held_back(
    data: PropertySet, several: Sequence[TensorSettings], folds: IntArray, best: Mapping[_Part, Sequence[_Choice]],
    solutions: Mapping[tuple[_Part, int], FloatArray],
) -> tuple[FloatArray, ...]:  # fmt: skip
    """Return the values of every frame by the fits without its fold."""
    target = data.target
    result = [np.full(values.shape, np.nan) for values in data.values]
    for number, settings in enumerate(several):
        if not any(choice.candidate == number for of in best.values() for choice in of[:-1]):
            continue
        basis = settings.basis(data.dataset.species, irreps_of(target))
        for frame, (structure, mask) in enumerate(zip(data.structures, data.mask, strict=True)):
            fold = int(folds[frame])
            parts = [part for part, of in best.items() if of[fold].candidate == number]
            if not parts:
                continue
            atoms = np.flatnonzero(mask) if target.per == "atom" else None
            held = result[frame] if target.per == "atom" else result[frame][None]
            for part, atoms_of, rows in _design(basis, target, structure, parts, atoms):
                back = cartesian_basis(rank_of(target), _usual(part.irrep, target))
                held[atoms_of] = np.nan_to_num(held[atoms_of], nan=0.0) + rows @ solutions[part, fold] @ back
    return tuple(result)


# ----------------------------------------------------------------------------------------------------- ASE


_ASE_NAMES = {"dipole": ("dipole", "e*Å"), "charges": ("charges", "e"), "polarizability": ("polarizability", "Å^3"),
              "born_charges": ("born_effective_charges", "e")}  # fmt: skip


class PropertyCalculator(Calculator):
    """An ASE calculator of properties beside the energy.

    ``atoms.get_dipole_moment()`` (e Å) and ``atoms.get_charges()`` work where models of dipole and charges are
    there; every property has its own name as well, as in ``atoms.calc.get_property("shielding", atoms)``.

    Parameters
    ----------
    models
        One model for each property.
    """

    def __init__(self, models: Sequence[TensorModel]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.models = list(models)
        self.implemented_properties = [_ASE_NAMES.get(m.target.name, (m.target.name,))[0] for m in self.models]

    def calculate(
        self, atoms: Any = None, properties: Sequence[str] = (), system_changes: Sequence[str] = tuple(all_changes)
    ) -> None:
        """Compute all properties."""
        super().calculate(atoms, list(properties), list(system_changes))  # type: ignore[no-untyped-call]
        structure = Structure.from_ase(cast(Atoms, self.atoms))
        for name, model in zip(self.implemented_properties, self.models, strict=True):
            values = model.predict(structure)
            known = _ASE_NAMES.get(model.target.name)
            if known is not None and model.target.unit is not None:
                values = values * unit_factor(model.target.unit, known[1])
            if model.target.components == 9:
                values = values.reshape(*values.shape[:-1], 3, 3)
            elif model.target.components == 1:
                values = values[..., 0]
            self.results[name] = values
