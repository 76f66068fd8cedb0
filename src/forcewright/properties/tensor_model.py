"""Properties that turn with a structure - dipoles, polarizabilities, shieldings - linear in covariant functions.

Each irrep λ of a property has a ridge regression of its own, whose 2λ + 1 components share their coefficients:

    y_i^λm = Σ_f c^λ_(z_i)f φ_f^λm(i)  (+ c_(z_i) for 0e),    Y^λm = Σ_i y_i^λm  for a property per structure.

What is predicted turns exactly as the property does (Grisafi, Wilkins, Csányi and Ceriotti, Phys. Rev. Lett. 120,
036002 (2018)). Coefficients of the products of k factors at centers of one element are damped by the mean square of
all these functions together, so that the smallest ones, which are the least smooth, get the smallest coefficients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

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
from forcewright.properties.kernel_basis import KernelBasis, KernelSettings
from forcewright.properties.tensor_regression import Chosen, KeptRows, Normal, choose, choose_robustly, whitened
from forcewright.structure import FloatArray, IntArray, Structure, atomic_number, require_known_species

KIND = "tensor-property"
_ARRAYS = "coefficients.npz"
_ROWS_AT_ONCE = 4096
_MOST_BYTES = 8e9  # of normal equations
_LOWERED_BYTES = 1e9  # of those of degrees that nobody asked for, where the usual ones need more than that


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
    spread: int = Field(default=1, ge=1, le=8)
    """Channels of a group of several elements: with more than one they are told apart by degrees, by their places in
    the periodic table."""
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
            groups, self.radial, self.decay, self.spread,
        )  # fmt: skip

    def basis_for(
        self, species: Sequence[int], irreps: Sequence[Irrep], structures: Sequence[Structure]
    ) -> EquivariantBasis:
        """Return the functions; they do not depend on structures."""
        del structures
        return self.basis(species, irreps)

    def basis_from(
        self, species: Sequence[int], irreps: Sequence[Irrep], arrays: Mapping[str, FloatArray]
    ) -> EquivariantBasis:
        """Return the functions; they do not depend on arrays."""
        del arrays
        return self.basis(species, irreps)


Settings: TypeAlias = TensorSettings | KernelSettings
"""What a model of a property is made of."""
Basis: TypeAlias = EquivariantBasis | KernelBasis
"""Its functions."""


def settings_class(content: Any) -> type[TensorSettings] | type[KernelSettings]:
    """Return which settings plain data are: those with ``kind: kernel``, or others."""
    return KernelSettings if isinstance(content, Mapping) and content.get("kind") == "kernel" else TensorSettings


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
    basis: Basis,
    target: Target,
    structure: Structure,
    parts: Sequence[_Part],
    atoms: IntArray | None = None,
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
    basis
        The functions as they are evaluated; those of the settings by default.
    """

    target: Target
    settings: Settings
    species: tuple[int, ...]
    elements: tuple[int, ...]
    coefficients: Mapping[_Part, FloatArray]
    inverses: Mapping[_Part, FloatArray] = field(default_factory=dict, repr=False)
    about: Mapping[str, Any] = field(default_factory=dict, repr=False)
    basis: Basis | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.basis is None:
            made = self.settings.basis_from(self.species, irreps_of(self.target), {})
            object.__setattr__(self, "basis", made)

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
        basis = cast(Basis, self.basis)
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
        if not np.isfinite(result).all():
            raise InputError(
                "predicts a number that is not finite; it is damaged, or atoms are too near", field="model"
            )
        result[~known] = squares[~known] = np.nan
        deviation = np.sqrt(np.maximum(squares, 0.0))
        return (result, deviation) if self.target.per == "atom" else (result[0], deviation[0])

    def gradients(self, structure: Structure) -> FloatArray:
        """Return the derivatives of the property with the position of every atom, per Å.

        Returns
        -------
        (components, N, 3), or (N, components, N, 3) of a property of atoms, NaN at elements without values; an atom
        moves with all its periodic images.

        Raises
        ------
        InputError
            If the structure holds an element that the training data did not, or the model is a kernel.
        """
        if not isinstance(self.basis, EquivariantBasis):
            raise InputError("a kernel has no gradients; use differences of predictions", field="model")
        per_atom, count = self.target.per == "atom", len(structure)
        result = np.zeros((count if per_atom else 1, self.target.components, count, 3))
        for part, values in self.coefficients.items():
            functions = len(self.basis.ranks(part.irrep))
            coefficients = np.zeros((count, functions))
            for block, z in enumerate(part.elements):
                coefficients[structure.numbers == z] = values[block * functions : (block + 1) * functions]
            slopes = self.basis.gradients(structure, part.irrep, coefficients, per_atom=per_atom)
            back = cartesian_basis(rank_of(self.target), _usual(part.irrep, self.target))
            result += np.einsum("...mia,mc->...cia", slopes, back)
        if self.target.per == "structure":
            return np.asarray(result[0] / count if self.target.reduce == "mean" else result[0])
        result[~np.isin(structure.numbers, self.elements)] = np.nan
        return result

    def calculator(self) -> PropertyCalculator:
        """Return an ASE calculator of this property."""
        return PropertyCalculator([self])

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder and return it."""
        arrays = {_name(part): values for part, values in self.coefficients.items()}
        arrays |= {f"inverse_{_name(part)}": v.astype(np.float32) for part, v in self.inverses.items()}
        if isinstance(self.basis, KernelBasis):
            arrays |= self.basis.arrays()
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
            settings: Settings = validate(
                settings_class(saved.content["settings"]), saved.content["settings"], saved.file
            )
            elements = species_of(saved.content["elements"])
            held = saved.arrays(_ARRAYS)
            parts = _parts(target, elements)
            coefficients = {part: np.asarray(held[_name(part)], dtype=np.float64) for part in parts}
            inverses = {p: np.asarray(held[f"inverse_{_name(p)}"], np.float64) for p in parts
                        if f"inverse_{_name(p)}" in held}  # fmt: skip
            basis = settings.basis_from(saved.species, irreps_of(target), held)
            model = cls(
                target, settings, saved.species, elements, coefficients, inverses, saved.content["about"], basis
            )
            for part, columns in _columns(basis, parts).items():
                if coefficients[part].shape != (columns,):
                    raise ValueError(f"{_name(part)} has shape {coefficients[part].shape}, expected {(columns,)}")
                inverse = inverses.get(part)
                if inverses and (inverse is None or inverse.shape != (columns, columns)):
                    raise ValueError(f"inverse_{_name(part)} is no matrix of {columns} columns")
            if not isinstance(model.about, Mapping):
                raise ValueError("about is no mapping")
        return model


def _usual(irrep: Irrep, target: Target) -> Irrep:
    """Return the irrep that has the same components: parity changes nothing in how a tensor consists of its parts."""
    return Irrep(irrep.l, -1 if rank_of(target) == 1 else 1)


def _name(part: _Part) -> str:
    return f"{part.irrep}_{'-'.join(chemical_symbols[z] for z in part.elements)}"


def _columns(basis: Basis, parts: Iterable[_Part]) -> dict[_Part, int]:
    """Return the number of columns of each part, constants included."""
    return {part: len(part.elements) * (len(basis.ranks(part.irrep)) + (part.irrep == Irrep(0, 1))) for part in parts}


# ------------------------------------------------------------------------------------------------- fitting


@dataclass(frozen=True, eq=False)
class _Equations:
    """The normal equations of every part by fold, over one basis, or the rows themselves.

    ``squares`` is the sum of squares of each column over all rows, as they are before they are whitened.
    """

    settings: Settings
    basis: Basis
    equations: Mapping[_Part, FoldEquations]
    kept: Mapping[_Part, KeptRows]
    squares: Mapping[_Part, FloatArray]

    @classmethod
    def of(
        cls, data: PropertySet, settings: Settings, folds: IntArray, frame_error: float = 0.0, *,
        keep: bool = False,
    ) -> _Equations:  # fmt: skip
        """Accumulate the rows of all frames, some thousands at a time, or keep them."""
        target, species = data.target, data.dataset.species
        basis = settings.basis_for(species, irreps_of(target), data.structures)
        parts = _parts(target, elements_of(data))
        number = int(folds.max()) + 1
        columns = _columns(basis, parts)
        needed = _needed_bytes(columns, data, number, keep)
        if needed > _MOST_BYTES:
            lower = _affordable(settings, data, folds, keep) if isinstance(settings, TensorSettings) else settings
            degrees = f" ({list(lower.degrees)} would do)" if isinstance(lower, TensorSettings) else ""
            raise InputError(
                f"makes {max(columns.values()):,} columns, whose equations need {needed / 1e9:.1f} GB; take smaller "
                f"degrees{degrees}, or groups of elements that are not told apart as neighbors, as in groups: "
                "[[O], [Na, K]], perhaps with spread: 2", field="model.degrees",
            )  # fmt: skip
        equations = {part: FoldEquations(count, 1, number) for part, count in columns.items()}
        squares = {part: np.zeros(count) for part, count in columns.items()}
        waiting: dict[_Part, list[tuple[FloatArray, FloatArray, IntArray]]] = {part: [] for part in parts}

        def flush(part: _Part) -> None:
            if waiting[part]:
                rows, values, frames = (np.concatenate(x) for x in zip(*waiting[part], strict=True))
                flat = rows.reshape(-1, rows.shape[2])
                equations[part].add(flat, values.ravel(), np.repeat(folds[frames], rows.shape[1]))
                waiting[part].clear()

        for frame, (structure, values, mask) in enumerate(zip(data.structures, data.values, data.mask, strict=True)):
            atoms = np.flatnonzero(mask) if target.per == "atom" else None
            for part, atoms_of, rows in _design(basis, target, structure, parts, atoms):
                if not len(atoms_of):
                    continue
                back = cartesian_basis(rank_of(target), _usual(part.irrep, target)).T
                wanted = np.atleast_2d(values)[atoms_of] @ back
                squares[part] += np.einsum("amp,amp->p", rows, rows)
                if frame_error > 0 and target.per == "atom" and part.irrep == Irrep(0, 1):
                    rows, wanted = whitened(rows, wanted, frame_error)  # noqa: PLW2901
                waiting[part].append((rows, wanted, np.full(len(rows), frame)))
                if not keep and sum(x[1].size for x in waiting[part]) >= _ROWS_AT_ONCE:
                    flush(part)
        kept = {}
        for part in parts:
            if keep:
                ratio = frame_error if target.per == "atom" and part.irrep == Irrep(0, 1) else 0.0
                rows, values, frames = (np.concatenate(x) for x in zip(*waiting[part], strict=True))
                kept[part] = KeptRows(rows, values, frames, folds[frames], ratio)
                waiting[part].clear()
                equations[part] = kept[part].plain
            else:
                flush(part)
        return cls(settings, basis, equations, kept, squares)

    def damping(self, part: _Part) -> FloatArray:
        """Return d of every column: the mean square of all functions of its rank and center; 0 for constants."""
        held = self.equations[part]
        squares = self.squares[part] / max(int(held.counts.sum()), 1)
        ranks = self.basis.ranks(part.irrep)
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

    def choose(self, part: _Part) -> Chosen:
        """Choose the ridges of a part."""
        if self.kept:
            return choose_robustly(self.kept[part], self.damping(part))
        return choose(self.equations[part], self.damping(part))


class _Choice(NamedTuple):
    """What one fold's fit is made with, and how it did in the folds it was chosen by."""

    score: float
    candidate: int
    ridge: float


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


def _needed_bytes(columns: Mapping[_Part, int], data: PropertySet, folds: int, keep: bool) -> int:
    """Return the bytes of the normal equations, and where rows are kept of those and a weighted copy of them."""
    needed = sum(predicted_bytes(count, 1, folds) for count in columns.values())
    return needed + sum(16 * data.count * part.irrep.size * count for part, count in columns.items() if keep)


def _affordable(settings: TensorSettings, data: PropertySet, folds: IntArray, keep: bool) -> TensorSettings:
    """Return settings whose equations are small, lower in degrees than those given."""
    parts, number = _parts(data.target, elements_of(data)), int(folds.max()) + 1
    degrees = settings.degrees
    while min(degrees) > 1:
        degrees = tuple(degree - 1 for degree in degrees)
        lower = settings.model_copy(update={"degrees": degrees})
        columns = _columns(lower.basis(data.dataset.species, irreps_of(data.target)), parts)
        if _needed_bytes(columns, data, number, keep) <= _LOWERED_BYTES:
            return lower
    return settings


def affordable(settings: Settings, data: PropertySet, folds: ArrayLike, *, robust: bool = False) -> Settings:
    """Return settings with lower degrees where none were asked for and those of the default need too much memory."""
    if not isinstance(settings, TensorSettings) or "degrees" in settings.model_fields_set:
        return settings
    numbers = _checked(folds, data, robust)
    columns = _columns(
        settings.basis(data.dataset.species, irreps_of(data.target)), _parts(data.target, elements_of(data))
    )
    if _needed_bytes(columns, data, int(numbers.max()) + 1, robust) <= _MOST_BYTES:
        return settings
    return _affordable(settings, data, numbers, robust)


def fit_tensors(
    data: PropertySet, candidates: Settings | Sequence[Settings], folds: ArrayLike, *,
    standard_errors: bool = True, robust: bool = False, frame_error: float = 0.0,
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
    robust
        Choose by absolute errors, and let frames count less the worse fits without them predict them.
    frame_error
        Variance of an error that the invariant values of a frame's atoms have in common, relative to that of each
        atom's own error; 0 if they have none.

    Raises
    ------
    InputError
        If there are fewer than two folds, or three for a robust fit, the target is on a grid, or the equations would
        not fit into memory.
    """
    several = [candidates] if isinstance(candidates, TensorSettings | KernelSettings) else list(candidates)
    numbers = _checked(folds, data, robust)
    parts = _parts(data.target, elements_of(data))
    count = int(numbers.max()) + 1
    best: dict[_Part, list[_Choice]] = {part: [_Choice(np.inf, 0, 1.0)] * (count + 1) for part in parts}
    solutions: dict[tuple[_Part, int], FloatArray] = {}
    bases: list[Basis] = []
    made: tuple[_Equations, dict[_Part, Chosen]] | None = None
    smallest, chosen = np.inf, 0
    for number, settings in enumerate(several):
        prepared = _Equations.of(data, settings, numbers, frame_error, keep=robust)
        bases.append(prepared.basis)
        tried = {part: prepared.choose(part) for part in parts}
        for part, of in tried.items():
            for fold, (score, ridge) in enumerate(zip(of.scores, of.ridges, strict=False)):
                if score < best[part][fold].score:
                    best[part][fold] = _Choice(score, number, ridge)
                    solutions[part, fold] = of.solutions[fold]
        total = sum(of.whole for of in tried.values())
        if made is None or total < smallest:
            made, smallest, chosen = (prepared, tried), total, number
    assert made is not None
    prepared, tried = made
    whole = {part: of.ridges[-1] for part, of in tried.items()}
    coefficients, inverses = {}, {}
    for part in parts:
        held, damping = tried[part].equations, prepared.damping(part)
        normal, ridge = Normal(held, damping, ()), whole[part]
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
        data.target,
        several[chosen],
        data.dataset.species,
        elements_of(data),
        coefficients,
        inverses,
        about,
        prepared.basis,
    )
    predicted = _held_back(data, bases, numbers, best, solutions)
    return TensorFit(model, data, predicted, numbers, choices)


def judge_tensors(
    data: PropertySet, settings: Settings, folds: ArrayLike, *, robust: bool = False, frame_error: float = 0.0
) -> dict[str, tuple[list[float], float]]:
    """Return for each part of a property how well settings do: for every fold, by the other folds, and for the whole.

    `fit_tensors` chooses among candidates by the same numbers; parameters and errors are its own.
    """
    prepared = _Equations.of(data, settings, _checked(folds, data, robust), frame_error, keep=robust)
    judged = {part: prepared.choose(part) for part in _parts(data.target, elements_of(data))}
    return {_name(part): (of.scores, of.whole) for part, of in judged.items()}


def _checked(folds: ArrayLike, data: PropertySet, robust: bool) -> IntArray:
    numbers = np.asarray(folds, dtype=np.int64)
    if numbers.shape != (len(data),) or len(np.unique(numbers)) < 2:
        raise InputError(f"needs a fold for each of {len(data)} frames, and two folds or more", field="folds")
    if robust and int(numbers.max()) < 2:
        raise InputError("a robust fit needs three folds or more", field="folds")
    return numbers


def _held_back(
    data: PropertySet, bases: Sequence[Basis], folds: IntArray, best: Mapping[_Part, Sequence[_Choice]],
    solutions: Mapping[tuple[_Part, int], FloatArray],
) -> tuple[FloatArray, ...]:  # fmt: skip
    """Return the values of every frame by the fits without its fold."""
    target = data.target
    result = [np.full(values.shape, np.nan) for values in data.values]
    for number, basis in enumerate(bases):
        if not any(choice.candidate == number for of in best.values() for choice in of[:-1]):
            continue
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
