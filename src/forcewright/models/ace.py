"""ACE, the atomic cluster expansion: hyperparameters, potential, and its files.

The energy of an atom is a function of one or more densities, each linear in the invariant functions of its surroundings
(features/ace). With one density of exponent 1 the model is linear and is fitted like SNAP; more densities are fitted
from there (models/ace_nonlinear.py).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols, covalent_radii
from pydantic import BaseModel, ConfigDict, Field, model_validator

from forcewright.errors import InputError
from forcewright.features.ace.basis import AceBasis, Core, RadialSettings
from forcewright.features.ace.basis_functions import basis_function, generate_functions
from forcewright.features.ace.evaluator import AceEvaluator
from forcewright.features.ace.expansion import Embedding, EmbeddingKind, Expansion, RadialFamily
from forcewright.features.ace.yace import read_yace, write_yace
from forcewright.files import atomic_write, write_arrays
from forcewright.linalg.max_volume import max_volume
from forcewright.models.lammps_input import runnable_input
from forcewright.models.storage import read_json, write_potential
from forcewright.neighbors import NeighborCache, find_neighbors
from forcewright.potential import PotentialCalculator, Prediction
from forcewright.structure import Dataset, FloatArray, Structure, count_species

_INSIDE = 0.9  # where the core begins, of the smallest distance in the data
_SHORT = 4.0  # Å within which the closest pairs of the data are looked for
_GRADE = 1.1  # largest extrapolation grade of a training atom: an exact maximum would take twice the time
_SKIN = 0.5  # Å by which neighbor lists of a simulation reach beyond the cutoff
#: what reading a folder can raise whose files were changed or cut off
_DAMAGED = (
    AttributeError, KeyError, TypeError, ValueError, IndexError, EOFError, OSError, InputError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


class RepulsionSettings(BaseModel):
    """A ZBL core that takes over from the expansion at short range, as pacemaker writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    inner: float | dict[str, float] = Field()
    """Distance in Å below which the core starts to take over: for all pairs, or per pair such as {Si-C: 1.5}."""
    width: float = Field(default=0.2, gt=0)
    """Width in Å of the region in which it takes over, ending at inner."""


class PruneSettings(BaseModel):
    """Start from all the model's functions and keep those that are worth their cost."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    products: int = Field(default=10_000, ge=1)
    """Multiplications that are kept: the sum over the products of A of their ranks, which evaluation costs."""
    gamma: float = Field(default=0.5, ge=0)
    """Exponent of the cost that saliencies are divided by: 0 prunes for accuracy alone, 1 for accuracy per cost."""


class NonlinearSettings(BaseModel):
    """How more than one density is fitted, starting from the linear fit."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    iterations: int = Field(default=32, ge=1)
    """L-BFGS iterations at most."""
    patience: int = Field(default=8, ge=1)
    """Iterations without a lower validation loss after which a fit stops."""
    steps: tuple[float, ...] = (1.0,)
    """Ladder: shares of the functions that are free in each step; the last must be 1."""
    amplitude: float = Field(default=0.3, gt=0)
    """Spread of the further densities over the atoms at the start."""
    damping: float = Field(default=1.0, gt=0)
    """Ridge of the further densities in units of the first's."""
    kappa: float | None = Field(default=None, ge=0, le=1)
    """Share of the forces in the loss (equation 2.37); the weights of the linear fit where not given."""
    l1: float = Field(default=0.0, ge=0)
    """Coefficient of the absolute values of the coefficients (equation 2.38)."""
    l2: float = Field(default=0.0, ge=0)
    """Coefficient of their squares (equation 2.38), beside the ridge of the linear fit."""
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Coefficients w0, w1, w2 of the smoothness of the radial functions a coefficient brings in (equation 2.39)."""
    upfit: float = Field(default=1.0, ge=1)
    """Factor on the energy weights in a second stage; 1 for none."""
    upfit_iterations: int = Field(default=20, ge=1)
    """L-BFGS iterations of the second stage at most."""

    @model_validator(mode="after")
    def _ladder(self) -> Self:
        if not self.steps or self.steps[-1] != 1.0 or list(self.steps) != sorted(self.steps) or self.steps[0] <= 0:
            raise ValueError(f"steps {list(self.steps)} must rise from above 0 to 1")
        return self


class AceModel(BaseModel):
    """Hyperparameters of ACE, as they stand in the config; a range may stand in the place of every number."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["ace"] = "ace"
    functions: int = Field(default=300, ge=1)
    """Invariant functions per element, the first of a ladder in the order of their degree."""
    densities: int = Field(default=1, ge=1, le=8)
    """Densities P that each atom's energy is a function of; 1 is linear."""
    exponents: tuple[float, ...] | None = None
    """Exponent of each density; 1, then 0.5, where not given."""
    prefactors: tuple[float, ...] | None = None
    """Prefactor of each density; 1 where not given."""
    embedding: EmbeddingKind = "FinnisSinclairShiftedScaled"
    """Form of the function of a density."""
    rcut: float = Field(default=5.0, gt=0)
    """Cutoff in Å."""
    rcut_pairs: dict[str, float] = Field(default_factory=dict)
    """Cutoffs of single pairs that differ, such as {C-H: 3.5}."""
    radial: RadialFamily = "SBessel"
    """Family of the radial functions."""
    decay: float = Field(default=5.25, gt=0)
    """λ of ChebExpCos and ChebPow; SBessel has none."""
    dcut: float = Field(default=0.01, gt=0)
    """Width in Å of the outer switch of ChebExpCos."""
    nradmax: tuple[int, ...] = (15, 8, 8, 6, 4)
    """Largest radial index by rank, from rank 1 on; the number of entries is the largest rank, at most 6."""
    lmax: tuple[int, ...] = (0, 5, 5, 4, 2)
    """Largest angular momentum by rank."""
    order: Literal["degree", "pacemaker"] = "degree"
    """Order of the functions: by degree Σ(n - 1) + l_weight Σ l + rank_weight (rank - 1), or as pacemaker has it."""
    l_weight: float = Field(default=0.5, ge=0)
    """Weight of l in the degree."""
    rank_weight: float = Field(default=1.5, ge=0)
    """Weight of the rank in the degree."""
    repulsion: Literal["auto"] | RepulsionSettings | None = "auto"
    """Core at short range; auto: it takes over below 0.9 times each pair's smallest distance in the training data."""
    prune: PruneSettings | None = None
    """Keep only the functions that contribute most for what they cost."""
    nonlinear: NonlinearSettings = NonlinearSettings()
    """Settings of the fit with several densities."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("exponents", "prefactors"):
            given = getattr(self, name)
            if given is not None and len(given) != self.densities:
                raise ValueError(f"{name} has {len(given)} numbers for {self.densities} densities")
        if self.exponents is not None and (self.exponents[0] != 1.0 or min(self.exponents) <= 0):
            raise ValueError(
                f"exponents is {list(self.exponents)}; all must be above 0, and the first is 1: the linear fit that "
                "others start from"
            )
        if self.prefactors is not None and 0.0 in self.prefactors:
            raise ValueError(f"prefactors is {list(self.prefactors)}; none may be 0")
        if self.prefactors is not None and self.densities == 1 and self.prefactors[0] != 1.0:
            raise ValueError("prefactors of a single density is 1: its coefficients say the rest")
        try:  # whatever the elements are, what the limits allow begins like this
            generate_functions(1, nradmax=self.nradmax, lmax=self.lmax, count=1)
        except InputError as error:
            raise ValueError(f"{error.field} {error.problem}") from None
        return self

    @property
    def full_embedding(self) -> Embedding:
        """The function of the densities."""
        exponents = self.exponents or (1.0,) + (0.5,) * (self.densities - 1)
        return Embedding(self.embedding, self.prefactors or (1.0,) * self.densities, exponents)

    @classmethod
    def with_data(cls, content: Mapping[str, Any], train: Dataset) -> dict[str, Any]:
        """Return a model's config with the core placed below the smallest distances of ``train``.

        pacemaker places it at them, with a width of 0.1 Å. As the core takes over the whole energy of an atom, a frame
        in which any pair is but a little closer than in the training data then goes wrong altogether.
        """
        if content.get("repulsion", "auto") != "auto":
            return dict(content)
        inner = {pair: _INSIDE * distance for pair, distance in shortest_distances(train).items()}
        return {**content, "repulsion": {"inner": inner}}

    def basis(self, species: Sequence[int]) -> AceBasis:
        """Return the invariant functions for given species (atomic numbers), before pruning.

        Raises
        ------
        InputError
            If a pair names an element that is not among the species, or the limits allow no function.
        """
        species = tuple(sorted(species))
        symbols = [chemical_symbols[z] for z in species]
        functions = generate_functions(
            symbols, nradmax=self.nradmax, lmax=self.lmax, count=self.functions,
            order=self.order, l_weight=self.l_weight, rank_weight=self.rank_weight,
        )  # fmt: skip
        cutoffs = _pair_table(symbols, self.rcut_pairs, self.rcut, "model.rcut_pairs")
        core = None
        if isinstance(self.repulsion, RepulsionSettings):
            given = self.repulsion.inner
            default, pairs = (0.0, given) if isinstance(given, dict) else (given, {})
            core = Core(_pair_table(symbols, pairs, default, "model.repulsion.inner"), self.repulsion.width)
        return AceBasis(species, RadialSettings(self.radial, self.decay, self.dcut), cutoffs, functions, core)

    def potential(
        self, basis: AceBasis, coefficients: FloatArray, energies: Mapping[int, float],
        covariance: FloatArray | None = None, provenance: Mapping[str, Any] | None = None,
    ) -> AcePotential:  # fmt: skip
        """Return the potential of fitted coefficients (p,), or (p, P) of several densities."""
        linear = coefficients.ndim == 1
        embedding = Embedding() if linear else self.full_embedding
        table = coefficients.reshape(basis.size, -1)
        expansion = basis.expansion(table, energies, embedding)
        fitted = FittedBasis(basis, table, embedding, covariance if linear else None)
        return AcePotential(expansion, fitted, dict(provenance or {}))


def _pair_table(
    symbols: Sequence[str], pairs: Mapping[str, float], default: float, name: str
) -> tuple[tuple[float, ...], ...]:
    """Return a symmetric (S, S) table from values by pair such as "C-H"."""
    table = np.full((len(symbols), len(symbols)), default)
    for pair, value in pairs.items():
        ends = pair.split("-")
        if len(ends) != 2 or not set(ends) <= set(symbols) or value <= 0:
            raise InputError(
                f"has {pair}: {value}; expected pairs of {', '.join(symbols)} such as {symbols[0]}-{symbols[-1]} "
                "and a length above 0 Å", field=name,
            )  # fmt: skip
        i, j = (symbols.index(end) for end in ends)
        table[i, j] = table[j, i] = value
    return tuple(tuple(row) for row in table.tolist())


def shortest_distances(train: Dataset) -> dict[str, float]:
    """Return the smallest distance in Å of each pair of species in a dataset by "A-B".

    Pairs that never come closer than 4 Å get 0.6 times the sum of their covalent radii.
    """
    species = train.species
    shortest = np.full((len(species), len(species)), np.inf)
    for structure in train.structures:
        neighbors = find_neighbors(structure, _SHORT)
        kinds = np.searchsorted(species, structure.numbers)
        np.minimum.at(shortest, (kinds[neighbors.centers], kinds[neighbors.indices]), neighbors.distances)
    result = {}
    for i, a in enumerate(species):
        for j, b in enumerate(species[i:], start=i):
            fallback = 0.6 * float(covalent_radii[a] + covalent_radii[b])
            value = float(shortest[i, j])
            result[f"{chemical_symbols[a]}-{chemical_symbols[b]}"] = value if np.isfinite(value) else fallback
    return result


@dataclass(frozen=True, eq=False)
class FittedBasis:
    """What a fitted potential knows beyond its expansion.

    ``coefficients`` (p, P); ``covariance`` as in `SnapPotential`; ``active`` maps a species to the inverse
    (q, q) of its active set, from which extrapolation grades follow.
    """

    basis: AceBasis
    coefficients: FloatArray
    embedding: Embedding
    covariance: FloatArray | None = None
    active: Mapping[int, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class AcePotential:
    """An ACE potential; ``fitted`` is None for one read from a bare `.yace` file."""

    expansion: Expansion
    fitted: FittedBasis | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows, ascending."""
        return tuple(sorted(chemical_symbols.index(symbol) for symbol in self.expansion.elements))

    @property
    def cutoff(self) -> float:
        """Interaction range in Å."""
        return self.expansion.cutoff

    @property
    def coefficients(self) -> FloatArray:
        """The fitted coefficients (p·P,); those of the products where the potential comes from a bare file."""
        if self.fitted is not None:
            return self.fitted.coefficients.ravel()
        parts = [f.coefficients.ravel() for own in self.expansion.functions for f in own]
        return np.concatenate([np.zeros(0), *parts])

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        """Predict every structure; the stress is None for structures without a cell."""
        return [self._prediction(structure, forces, stress) for structure in structures]

    def _prediction(
        self, structure: Structure, forces: bool, stress: bool, cache: NeighborCache | None = None
    ) -> Prediction:
        with_stress = stress and structure.volume > 0
        evaluator = self._evaluator
        neighbors = None if cache is None else cache.neighbors(structure, evaluator.species(structure.numbers))
        energies, force, virial = evaluator.evaluate(structure, forces=forces or with_stress, neighbors=neighbors)
        tensor = virial / structure.volume if with_stress else None
        return Prediction(float(energies.sum()), force if forces else None, tensor)

    def atomic_energies(self, structure: Structure) -> FloatArray:
        """Return the energy of each atom (N,) in eV, reference energies included."""
        energies: FloatArray = self._evaluator.evaluate(structure, forces=False)[0]
        return energies

    def energy_standard_error(self, structures: Sequence[Structure]) -> FloatArray:
        """Return the standard error of each predicted energy in eV from the posterior of the coefficients.

        Raises
        ------
        InputError
            If the potential carries no covariance: read from a `.yace` file, or of several densities.
        """
        if self.fitted is None or self.fitted.covariance is None:
            raise InputError("this potential has no posterior covariance; fit one density here to get standard errors")
        covariance, basis = self.fitted.covariance, self.fitted.basis
        pairs = [basis.pairs(structure) for structure in structures]
        rows = np.array([one.scale @ basis.values(one) for one in pairs]).reshape(-1, basis.size)
        if len(covariance) > basis.size:
            counts = np.array([count_species(s, self.species) for s in structures])
            rows = np.hstack([counts.reshape(-1, len(self.species)), rows])
        return np.asarray(np.sqrt(np.maximum(np.sum((rows @ covariance) * rows, axis=1), 0.0)))

    def extrapolation_grades(self, structure: Structure) -> FloatArray:
        """Return the extrapolation grade γ of each atom (N,): above 1 its surroundings lie outside the training data.

        γ = max |B A⁻¹| with A the active set of the atom's species (Lysogorskiy et al., Phys. Rev. Mater. 7, 043801
        (2023), eq. 5).

        Raises
        ------
        InputError
            If the potential was saved without an active set.
        """
        if self.fitted is None or not self.fitted.active:
            raise InputError("this potential has no active set; fit it here to get extrapolation grades")
        basis = self.fitted.basis
        values, grades = basis.project(structure), np.zeros(len(structure))
        for z, (functions, start) in zip(basis.species, basis.blocks(), strict=True):
            atoms = np.flatnonzero(structure.numbers == z)
            if z not in self.fitted.active:  # nothing was learned of this species
                grades[atoms] = np.inf
            elif len(atoms):
                own = values[atoms, start : start + len(functions)] @ self.fitted.active[z]
                grades[atoms] = np.abs(own).max(axis=1, initial=0.0)
        return grades

    def with_active_set(self, structures: Sequence[Structure]) -> AcePotential:
        """Return the potential with the active sets of the atoms of training structures, species by species.

        Raises
        ------
        InputError
            If the potential was read from a bare `.yace` file.
        """
        if self.fitted is None:
            raise InputError("a potential read from a .yace file does not know its invariant functions")
        basis = self.fitted.basis
        values = [basis.project(structure) for structure in structures]
        numbers = np.concatenate([structure.numbers for structure in structures])
        active: dict[int, FloatArray] = {}
        for z, (functions, start) in zip(basis.species, basis.blocks(), strict=True):
            rows = np.concatenate(values)[numbers == z, start : start + len(functions)]
            if not functions:
                active[z] = np.zeros((0, 0))
            elif len(rows):
                active[z] = max_volume(rows, tolerance=_GRADE).inverse
        return replace(self, fitted=replace(self.fitted, active=active))

    def calculator(self) -> Calculator:
        """Return an ASE calculator that keeps its neighbor list while atoms move little."""
        groups = len(self.expansion.elements)
        return PotentialCalculator(_Simulated(self, NeighborCache(self.cutoff, _SKIN, groups)))

    @cached_property
    def _evaluator(self) -> AceEvaluator:
        return AceEvaluator(self.expansion)

    def __getstate__(self) -> dict[str, Any]:
        """Leave compiled tables behind when travelling to a worker process."""
        return {key: value for key, value in self.__dict__.items() if key != "_evaluator"}

    def save(self, folder: str | Path) -> Path:
        """Write a folder with `.yace`, LAMMPS input and all that is known; or only the file if the name ends so."""
        folder = Path(folder)
        if folder.suffix == ".yace":
            return write_yace(folder, self.expansion)
        folder.mkdir(parents=True, exist_ok=True)
        self.to_lammps(folder)
        if self.fitted is not None:
            arrays = {f"active_{chemical_symbols[z]}": inverse for z, inverse in self.fitted.active.items()}
            arrays["coefficients"] = self.fitted.coefficients
            if self.fitted.covariance is not None:
                arrays["covariance"] = self.fitted.covariance
            write_arrays(folder / "fit.npz", arrays, compressed=True)
        else:
            (folder / "fit.npz").unlink(missing_ok=True)
        return write_potential(folder, "ace", {**self._describe(), "provenance": dict(self.provenance)})

    def _describe(self) -> dict[str, Any]:
        content: dict[str, Any] = {"species": [chemical_symbols[z] for z in self.species], "basis": None}
        if self.fitted is None:
            return content
        basis = self.fitted.basis
        content["basis"] = {
            "radial": [basis.radial.family, basis.radial.decay, basis.radial.cutoff_width],
            "cutoffs": basis.cutoffs,
            "core": None if basis.core is None else [basis.core.inner, basis.core.width],
            "functions": [[[f.species, f.ns, f.ls, f.intermediate] for f in own] for own in basis.functions],
        }
        return content

    @classmethod
    def load(cls, folder: Path) -> AcePotential:
        """Read a folder written by `save`."""
        content = read_json(folder / "potential.json", "ace")
        expansion = read_yace(folder / "model.yace")
        try:
            if content["basis"] is None:
                return cls(expansion, None, content.get("provenance", {}))
            species = tuple(chemical_symbols.index(s) for s in content["species"])
            described = content["basis"]
            functions = tuple(
                tuple(basis_function(mu, *map(tuple, entry)) for entry in own)
                for mu, own in enumerate(described["functions"])
            )
            core = described["core"]
            basis = AceBasis(
                species, RadialSettings(*described["radial"]), tuple(map(tuple, described["cutoffs"])), functions,
                None if core is None else Core(tuple(map(tuple, core[0])), core[1]),
            )  # fmt: skip
            with open(folder / "fit.npz", "rb") as file, np.load(file, allow_pickle=False) as arrays:
                active = {z: arrays[name] for z in species if (name := f"active_{chemical_symbols[z]}") in arrays}
                covariance = arrays.get("covariance")
                fitted = FittedBasis(basis, arrays["coefficients"], expansion.embeddings[0], covariance, active)
            _check_sizes(fitted, expansion)
        except _DAMAGED as error:
            raise InputError(f"or fit.npz is damaged: {error}; save it again", file=folder / "potential.json") from None
        return cls(expansion, fitted, content.get("provenance", {}))

    def to_lammps(self, folder: str | Path) -> Path:
        """Write ``model.yace`` and ``in.lammps``, which runs 1 ps from ``structure.data`` with pair style pace."""
        folder = Path(folder)
        write_yace(folder / "model.yace", self.expansion)
        names = " ".join(chemical_symbols[z] for z in self.species)
        commands = ["pair_style      pace recursive", f"pair_coeff      * * model.yace {names}"]
        return atomic_write(folder / "in.lammps", runnable_input("ML-PACE", commands))


def _check_sizes(fitted: FittedBasis, expansion: Expansion) -> None:
    """Refuse parts of a folder that do not belong together."""
    basis, densities = fitted.basis, expansion.embeddings[0].densities
    sizes = {chemical_symbols[z]: len(own) for z, own in zip(basis.species, basis.functions, strict=True)}
    if tuple(sizes) != expansion.elements or fitted.coefficients.shape != (basis.size, densities):
        elements = ", ".join(expansion.elements)
        raise ValueError(f"coefficients {fitted.coefficients.shape} and elements {elements} are not those of {sizes}")
    if fitted.covariance is not None and fitted.covariance.shape[0] not in (basis.size, basis.size + len(sizes)):
        raise ValueError(f"the covariance {fitted.covariance.shape} is not that of {basis.size} coefficients")
    for z, inverse in fitted.active.items():
        if inverse.shape != (size := sizes[chemical_symbols[z]],) * 2:
            raise ValueError(f"the active set {inverse.shape} of {chemical_symbols[z]} is not that of {size} functions")


@dataclass(frozen=True, eq=False)
class _Simulated:
    """A potential whose neighbor list is kept from call to call, for the atoms of one simulation."""

    potential: AcePotential
    cache: NeighborCache

    @property
    def species(self) -> tuple[int, ...]:
        return self.potential.species

    @property
    def cutoff(self) -> float:
        return self.potential.cutoff

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        return [self.potential._prediction(s, forces, stress, self.cache) for s in structures]

    def save(self, folder: str | Path) -> Path:
        return self.potential.save(folder)

    def calculator(self) -> Calculator:
        return self.potential.calculator()
