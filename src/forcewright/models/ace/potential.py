"""A fitted ACE potential and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.features.ace.b_basis_writing import active_set_file, b_basis_text
from forcewright.features.ace.basis import AceBasis, Core, RadialSettings
from forcewright.features.ace.basis_functions import basis_function
from forcewright.features.ace.evaluator import AceEvaluator
from forcewright.features.ace.expansion import RADIAL_FAMILIES, BasisFunction, Embedding, Expansion
from forcewright.features.ace.yace import read_yace, write_yace
from forcewright.files import atomic_write
from forcewright.models.active_sets import active_sets, atomic_grades
from forcewright.models.lammps_input import pace_input, watched_pace_input
from forcewright.models.storage import PotentialFolder, write_potential
from forcewright.neighbors import NeighborCache
from forcewright.plain_data import number, numbers, whole
from forcewright.potential import PotentialBase, Prediction, posterior_errors
from forcewright.structure import FloatArray, Frame, Structure, as_structure, require_known_species
from forcewright.trajectory.reading import StructuresOrFile, structures_of
from forcewright.uncertainty import calibration_of

_STOP = 10.0  # multiple of the calibrated limit at which LAMMPS stops, as simulations here do
_SKIN = 0.5  # Å by which neighbor lists of a simulation reach beyond the cutoff


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


@dataclass(frozen=True, eq=False, repr=False)
class AcePotential(PotentialBase):
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
        parts = [f.coefficients.ravel() for block in self.expansion.functions for f in block]
        return np.concatenate([np.zeros(0), *parts])

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements."""
        return [self._prediction(structure, forces, stress) for structure in structures]

    def evaluator(self) -> Callable[[Structure], Prediction]:
        """Return what predicts a structure with a neighbor list that it keeps while atoms move little."""
        return _Simulated(self, NeighborCache(self.cutoff, _SKIN, len(self.expansion.elements)))

    def describe_size(self) -> str:
        """Return how many functions or products there are, and densities if several."""
        densities = max(embedding.densities for embedding in self.expansion.embeddings)
        if self.fitted is None:
            size = f"{sum(len(block) for block in self.expansion.functions)} products of a .yace file"
        else:
            size = f"{self.fitted.basis.size} functions"
        return size if densities == 1 else f"{size}, {densities} densities"

    def _prediction(
        self, structure: Structure, forces: bool, stress: bool, cache: NeighborCache | None = None
    ) -> Prediction:
        with_stress = stress and structure.volume > 0
        evaluator = self._evaluator
        neighbors = None if cache is None else cache.neighbors(structure, evaluator.species(structure.numbers))
        energies, force, virial = evaluator.evaluate(structure, forces=forces or with_stress, neighbors=neighbors)
        tensor = virial / structure.volume if with_stress else None
        return Prediction(float(energies.sum()), force if forces else None, tensor, energies)

    def atomic_energies(self, structure: Atoms | Frame | Structure) -> FloatArray:
        """Return the energy of each atom (N,) in eV, reference energies included."""
        energies: FloatArray = self._evaluator.evaluate(as_structure(structure), forces=False)[0]
        return energies

    def force_parts(self, structure: Structure) -> dict[str, FloatArray]:
        """Return the forces (N, 3) of each order of interaction, and of the core, by name; their sum is the force.

        Several densities act together, so all orders are then one part.
        """
        core = self._of_rank(structure, 0)
        parts = {"all orders": np.asarray(self._evaluator.evaluate(structure)[1]) - core}
        if all(embedding.densities == 1 for embedding in self.expansion.embeddings):
            ranks = sorted({f.rank for block in self.expansion.functions for f in block})
            parts = {f"{rank + 1}-body": self._of_rank(structure, rank) - core for rank in ranks}
        has_core = any(bond.core_prefactor for bond in self.expansion.bonds.values())
        return {**parts, "core": core} if has_core else parts

    def _of_rank(self, structure: Structure, rank: int) -> FloatArray:
        """Return the forces (N, 3) of the functions of one rank, and of the core; of the core alone for rank 0."""
        if rank not in self._of_ranks:
            functions = tuple(tuple(f for f in block if f.rank == rank) for block in self.expansion.functions)
            self._of_ranks[rank] = AceEvaluator(replace(self.expansion, functions=functions))
        return np.asarray(self._of_ranks[rank].evaluate(structure)[1])

    @cached_property
    def _of_ranks(self) -> dict[int, AceEvaluator]:
        """What evaluates the functions of one rank and the core alone, as far as it was needed."""
        return {}

    def energy_standard_error(self, structures: StructuresOrFile) -> FloatArray:
        """Return the standard error of each predicted energy in eV from the posterior of the coefficients.

        Raises
        ------
        InputError
            If the potential carries no covariance: read from a `.yace` file, or of several densities.
        """
        if self.fitted is None or self.fitted.covariance is None:
            raise InputError("this potential has no posterior covariance; fit one density here to get standard errors")
        basis, structures = self.fitted.basis, structures_of(structures)
        rows = [pairs.scale @ basis.values(pairs) for pairs in map(basis.pairs, structures)]
        return posterior_errors(rows, self.fitted.covariance, structures, self.species)

    @property
    def design(self) -> AceBasis | None:
        """The basis of its coefficients; None for one from a bare file, or of several densities."""
        return None if self.fitted is None or self.fitted.coefficients.shape[1] != 1 else self.fitted.basis

    @property
    def posterior(self) -> FloatArray | None:
        """Posterior covariance of the coefficients, if known."""
        return None if self.fitted is None else self.fitted.covariance

    def with_coefficients(self, coefficients: FloatArray, energies: Mapping[int, float]) -> AcePotential:
        """Return the potential of other coefficients (p,) and energies in eV of isolated atoms, with one density."""
        basis, embedding = self._fitted.basis, Embedding()
        table = coefficients.reshape(basis.size, 1)
        return AcePotential(basis.expansion(table, energies, embedding), FittedBasis(basis, table, embedding))

    @property
    def knows_grades(self) -> bool:
        """Whether it has an active set: it was fitted here, and not read from a bare file."""
        return self.fitted is not None and bool(self.fitted.active)

    def extrapolation_grades(self, structure: Atoms | Frame | Structure) -> FloatArray:
        """Return the extrapolation grade γ of each atom (N,): how far it lies outside the training data.

        γ = max |B A⁻¹| with A the active set of the atom's species (Lysogorskiy et al., Phys. Rev. Mater. 7, 043801
        (2023), eq. 5).

        Raises
        ------
        InputError
            If the potential was saved without an active set.
        """
        if self.fitted is None or not self.fitted.active:
            raise InputError("this potential has no active set; fit it here to get extrapolation grades")
        structure = as_structure(structure)
        return atomic_grades(structure.numbers, self.environments(structure), self.fitted.active)

    def environments(self, structure: Structure) -> dict[int, FloatArray]:
        """Return the functions (n, p) of the atoms of each species, in the order of the atoms.

        Raises
        ------
        InputError
            If the potential was read from a bare `.yace` file.
        """
        basis = self._fitted.basis
        values, present = basis.project(structure), set(structure.numbers.tolist())
        return {
            z: values[structure.numbers == z, start : start + len(functions)]
            for z, (functions, start) in zip(basis.species, basis.blocks(), strict=True)
            if z in present
        }

    def with_active(self, active: Mapping[int, FloatArray]) -> AcePotential:
        """Return the potential with what grades the atoms of each species."""
        return replace(self, fitted=replace(self._fitted, active=active))

    def with_active_set(self, structures: StructuresOrFile) -> AcePotential:
        """Return the potential with the active sets of the atoms of training structures, species by species.

        Raises
        ------
        InputError
            If the potential was read from a bare `.yace` file.
        """
        sets = active_sets(map(self.environments, structures_of(structures)))
        return self.with_active({z: known.inverse for z, known in sets.items()})

    @property
    def _fitted(self) -> FittedBasis:
        if self.fitted is None:
            raise InputError("a potential read from a .yace file does not know its invariant functions")
        return self.fitted

    @cached_property
    def _evaluator(self) -> AceEvaluator:
        return AceEvaluator(self.expansion)

    def save(self, folder: str | Path) -> Path:
        """Write a folder with `.yace`, LAMMPS input and all that is known; or only the file if the name ends so."""
        folder = Path(folder)
        if folder.suffix == ".yace":
            return write_yace(folder, self.expansion)
        folder.mkdir(parents=True, exist_ok=True)
        self.to_lammps(folder)
        arrays: dict[str, FloatArray] | None = None
        if self.fitted is not None:
            arrays = {f"active_{chemical_symbols[z]}": inverse for z, inverse in self.fitted.active.items()}
            arrays["coefficients"] = self.fitted.coefficients
            if self.fitted.covariance is not None:
                arrays["covariance"] = self.fitted.covariance
        content = {**self._describe(), "provenance": dict(self.provenance)}
        return write_potential(folder, "ace", content, arrays={"fit.npz": arrays}, compressed=True)

    def _describe(self) -> dict[str, Any]:
        content: dict[str, Any] = {"species": [chemical_symbols[z] for z in self.species], "basis": None}
        if self.fitted is None:
            return content
        basis = self.fitted.basis
        content["basis"] = {
            "radial": [basis.radial.family, basis.radial.decay, basis.radial.cutoff_width], "cutoffs": basis.cutoffs,
            "core": None if basis.core is None else [basis.core.inner, basis.core.width],
            "functions": [[[f.species, f.ns, f.ls, f.intermediate] for f in block] for block in basis.functions],
        }  # fmt: skip
        return content

    @classmethod
    def load(cls, folder: Path) -> AcePotential:
        """Read a folder written by `save`."""
        with PotentialFolder(folder, "ace") as saved:
            expansion = read_yace(folder / "model.yace")
            species, described = saved.species, saved.content["basis"]
            if described is None:
                return cls(expansion, None, saved.provenance)
            basis = _described_basis(species, described, expansion)
            arrays = saved.arrays("fit.npz")
            active = {z: arrays[name] for z in species if (name := f"active_{chemical_symbols[z]}") in arrays}
            covariance = arrays.get("covariance")
            fitted = FittedBasis(basis, arrays["coefficients"], expansion.embeddings[0], covariance, active)
            _check_sizes(fitted, expansion)
            return cls(expansion, fitted, saved.provenance)

    @classmethod
    def from_yace(cls, path: str | Path) -> AcePotential:
        """Read a bare ``.yace`` file; it does not tell the invariant functions."""
        return cls(read_yace(path))

    def to_lammps(self, folder: str | Path) -> Path:
        """Write ``model.yace`` and ``in.lammps``, which runs 1 ps from ``structure.data`` with pair style pace.

        Where grades are known, ``model.yaml``, ``model.asi`` and ``in.extrapolation.lammps`` run the same with pair
        style pace/extrapolation, which computes them.
        """
        folder = Path(folder)
        write_yace(folder / "model.yace", self.expansion)
        names = " ".join(chemical_symbols[z] for z in self.species)
        self._write_active_set(folder, names)
        commands = ["pair_style      pace", f"pair_coeff      * * model.yace {names}"]
        return atomic_write(folder / "in.lammps", pace_input(commands))

    def _write_active_set(self, folder: Path, names: str) -> None:
        files = (folder / "model.yaml", folder / "model.asi", folder / "in.extrapolation.lammps")
        fitted = self.fitted
        if fitted is None or set(fitted.active) != set(fitted.basis.species):
            for file in files:
                file.unlink(missing_ok=True)
            return
        text = b_basis_text(fitted.basis, fitted.coefficients, fitted.embedding, self.expansion.spline_bin)
        atomic_write(files[0], text)
        atomic_write(files[1], active_set_file(fitted.basis, fitted.active))
        known = calibration_of(self)
        commands = ["pair_style      pace/extrapolation", f"pair_coeff      * * model.yaml model.asi {names}"]
        limit = None if known is None else known.limit
        atomic_write(files[2], watched_pace_input(commands, limit, _STOP, files[2].name))


def _described_basis(species: tuple[int, ...], described: Mapping[str, Any], expansion: Expansion) -> AceBasis:
    """Return the basis that ``potential.json`` describes, within the limits of the expansion that lies beside it."""
    pairs = (len(species), len(species))
    family, decay, width = described["radial"]
    if family not in RADIAL_FAMILIES:
        raise ValueError(f"the radial family is {family!r}, expected one of {', '.join(RADIAL_FAMILIES)}")
    radial = RadialSettings(family, number(decay, "decay", above=0), number(width, "cutoff_width", above=0))
    bonds = expansion.bonds.values()
    n_limit = max(max(bond.nradmax, bond.nradbase) for bond in bonds)
    l_limit = max(bond.lmax for bond in bonds)

    def function(center: int, entry: Sequence[Sequence[object]]) -> BasisFunction:
        factors = [tuple(part) for part in entry]
        bounds = (("species", 0, len(species) - 1), ("n", 1, n_limit), ("l", 0, l_limit), ("L", 0, 6 * l_limit))
        return basis_function(
            center,
            *(
                tuple(whole(value, name, low, high) for value in part)
                for part, (name, low, high) in zip(factors, bounds, strict=True)
            ),
        )

    functions = tuple(
        tuple(function(mu, entry) for entry in entries) for mu, entries in enumerate(described["functions"])
    )
    core = None
    if described["core"] is not None:
        inner, core_width = described["core"]
        core = Core(_table(numbers(inner, "core", pairs)), number(core_width, "the width of the core", above=0))
    cutoffs = numbers(described["cutoffs"], "cutoffs", pairs)
    if cutoffs.min(initial=np.inf) <= 0:
        raise ValueError("a cutoff is not above 0")
    return AceBasis(species, radial, _table(cutoffs), functions, core)


def _table(values: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values.tolist()))


def _check_sizes(fitted: FittedBasis, expansion: Expansion) -> None:
    """Refuse parts of a folder that do not belong together."""
    basis, densities = fitted.basis, expansion.embeddings[0].densities
    sizes = {chemical_symbols[z]: len(block) for z, block in zip(basis.species, basis.functions, strict=True)}
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

    def __call__(self, structure: Structure) -> Prediction:
        require_known_species(structure, self.potential.species)
        return self.potential._prediction(structure, forces=True, stress=True, cache=self.cache)
