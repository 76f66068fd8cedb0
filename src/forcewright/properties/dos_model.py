"""Densities of states as sums over atoms: D(A, ε) = Σ_i L(A_i, ε), with L linear in features of the environment.

Densities on the way are per atom, on the grid of the labels. All energies of the grid are fitted at once
(`forcewright.linalg.kernel_ridge`), so that a fit costs one decomposition whatever the grid.

What energies count from (``reference``) matters more than most settings: a Fermi level belongs to a whole cell and is
rounded in many files, so that local densities do not add up in it. Densities may be moved to a level of their own
before the fit: where they hold a certain part of the electrons (``filling``), or where the fit itself would like them
(``fitted``: weights and shifts in turn, each shift from the prediction of a fit without that structure). The Fermi
level then follows from the predicted density and the number of electrons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from ase.data import chemical_symbols
from numpy.typing import ArrayLike
from pydantic import Field
from scipy.interpolate import make_interp_spline

from forcewright.configs import StrictModel, validate
from forcewright.data.properties import Grid, PropertySet, Target
from forcewright.errors import InputError
from forcewright.files import atomic_write, read_arrays, write_arrays
from forcewright.linalg.kernel_ridge import KernelFit, cross_validate_kernel
from forcewright.plain_data import read_json
from forcewright.properties.density_of_states import (
    Components,
    DosErrors,
    band_edges,
    cumulative,
    dos_errors,
    find_empty,
    gapped,
    level,
    shift,
)
from forcewright.properties.electrons import ElectronicState, FermiWeights, electronic_state
from forcewright.properties.environments import (
    Environments,
    EnvironmentSettings,
    chosen_atoms,
    invariants_of,
    predicted_bytes,
)
from forcewright.structure import FloatArray, IntArray, Structure, count_species, require_known_species

FORMAT, VERSION = "forcewright-dos", 1
RIDGES = tuple(float(ridge) for ridge in 10.0 ** np.arange(-5.0, 0.75, 0.5))  # of the mean eigenvalue of the kernel
_MOST_MEMORY = 0.8  # of what is free
_ROUNDS = 6  # of weights and shifts in turn
_FARTHEST = 0.5  # eV that a fitted shift reaches
_SPREAD = 40  # directions in which errors of a density are known
_SHARP = 5  # gapped structures that tell the number of electrons alone


class DosSettings(StrictModel):
    """How densities of states are fitted."""

    environment: EnvironmentSettings = Field(default_factory=EnvironmentSettings)
    """What describes the environment of an atom."""
    ridge: float | None = Field(default=None, ge=0)
    """Ridge in units of the mean eigenvalue of the kernel; of `RIDGES` the one of the smallest cross-validated error
    where not given."""
    target: Literal["values", "components", "cumulative"] = "values"
    """What is fitted and judged: values on the grid, amplitudes of principal components, each with a ridge of its own,
    or the cumulative distribution (the fit at a given ridge is that of the values, the ridge that is best another)."""
    components: int = Field(default=10, ge=1)
    """Number of principal components."""
    reference: Literal["labels", "fermi", "filling", "band_edge", "fitted"] = "labels"
    """What energies count from: as the labels have it; or each density is moved before the fit, so that its Fermi
    level, its level of a certain filling, or its band edge lies where it lies on average; or a shift that is fitted."""
    filling: float = Field(default=0.5, gt=0, le=1)
    """Part of the electrons below the level of the reference ``filling``."""
    electrons: dict[str, float] | None = None
    """Electrons of each element that the grid holds up to the Fermi level; from the labels where not given."""


@dataclass(frozen=True, eq=False)
class DosData:
    """Structures and their densities of states.

    Attributes
    ----------
    densities
        States/eV per atom (n, m) on the grid.
    fermi
        Fermi levels (n,) in eV on the grid; 0 where the labels count from it.
    weights
        Of the structures in a fit (n,).
    """

    structures: tuple[Structure, ...]
    grid: Grid
    densities: FloatArray
    fermi: FloatArray
    weights: FloatArray

    @classmethod
    def of(
        cls, structures: Sequence[Structure], grid: Grid | ArrayLike, densities: ArrayLike,
        fermi: ArrayLike = 0.0, weights: ArrayLike = 1.0,
    ) -> DosData:  # fmt: skip
        """Check and take data; energies of the grid may be given as an array.

        Raises
        ------
        InputError
            If shapes do not fit, a number is not finite, or a density holds no state (a label that is missing).
        """
        energies = grid if isinstance(grid, Grid) else Grid.of(np.asarray(grid, dtype=np.float64))
        values = np.asarray(densities, dtype=np.float64)
        if values.shape != (len(structures), energies.count):
            raise InputError(
                f"{len(structures)} structures and {energies.count} energies need densities of that shape, not "
                f"{values.shape}", field="densities",
            )  # fmt: skip
        if not np.isfinite(values).all():
            raise InputError(f"of frame {int(np.argwhere(~np.isfinite(values))[0, 0])} is not finite", field="density")
        if empty := find_empty(values):
            raise InputError(
                f"of frame {', '.join(map(str, empty[:10]))} is zero at all energies: the label is missing; leave the "
                "frame out", field="density",
            )  # fmt: skip
        levels, factors = (np.broadcast_to(np.asarray(x, dtype=np.float64), (len(values),)).copy()
                           for x in (fermi, weights))  # fmt: skip
        if not (np.isfinite(factors).all() and (factors > 0).all()):
            raise InputError("of structures must be numbers above 0", field="weights")
        return cls(tuple(structures), energies, values, levels, factors)

    @classmethod
    def of_properties(cls, properties: PropertySet) -> DosData:
        """Take densities that `forcewright.data.read_property` has read for a target with a grid.

        Raises
        ------
        InputError
            If the target has no grid, is per atom, or a density holds no state.

        Fermi levels that no file tells are not a number where energies are absolute.
        """
        target = properties.target
        if target.grid is None or target.per != "structure":
            raise InputError(f"{target.name} is no density of states of structures: it needs a grid", field="target")
        structures = properties.structures
        atoms = np.array([len(structure) for structure in structures])
        values = properties.stacked() / (atoms[:, None] if target.reduce == "sum" else 1.0)
        levels = np.zeros(len(properties))
        if target.grid.zero == "absolute":
            known = [None if part is None else part.fermi for part in properties.eigenvalues]
            levels = np.array([np.nan if fermi is None else fermi for fermi in known], dtype=np.float64)
        return cls.of(structures, target.grid, values, levels)

    def __len__(self) -> int:
        return len(self.structures)

    def __getitem__(self, chosen: ArrayLike) -> DosData:
        """Return some of the structures, by indices or a mask."""
        indices = np.arange(len(self))[np.asarray(chosen)]
        return replace(
            self, structures=tuple(self.structures[i] for i in indices), densities=self.densities[indices],
            fermi=self.fermi[indices], weights=self.weights[indices],
        )  # fmt: skip

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers, ascending."""
        return tuple(sorted({int(z) for structure in self.structures for z in structure.numbers}))

    def warnings(self) -> list[str]:
        """Return in words what limits what the data can tell."""
        rows = gapped(self.grid, self.densities, self.fermi)
        if not rows:
            return []
        return [
            f"{len(rows)} of {len(self)} structures have next to no states at the Fermi level (frame {rows[0]} is the "
            "first): in a gap that level is arbitrary, and densities that count from it do not compare; a reference of "
            "filling: 0.5 or a band edge does not depend on it"
        ]


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Invariants of all atoms of a data set, computed once for all fits to parts of it."""

    data: DosData
    settings: EnvironmentSettings
    environments: Any
    rows: FloatArray
    species: IntArray
    starts: IntArray

    @classmethod
    def of(cls, data: DosData, settings: EnvironmentSettings) -> _Prepared:
        basis = settings.basis(data.species)
        atoms = sum(map(len, data.structures))
        needed, free = predicted_bytes(settings, basis.size, atoms, len(data)), psutil.virtual_memory().available
        if needed > _MOST_MEMORY * free:
            raise InputError(
                f"a fit to {len(data)} structures of {atoms} atoms with {basis.size} functions needs "
                f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; take fewer structures or functions",
                field="environment",
            )  # fmt: skip
        return cls(data, settings, basis, *invariants_of(basis, data.structures))


@dataclass(frozen=True, eq=False)
class Spread:
    """How far densities per atom lie from labels: the covariance of errors on held-back structures, by novelty.

    An error has the covariance Σ of the errors in folds held back, times (1 + ℓ)/(1 + ℓ₀), with ℓ the variance of the
    Gaussian process at the structure in units of its noise and ℓ₀ the mean of it at those structures.

    Attributes
    ----------
    factor
        Leading part of Σ = F Fᵀ (m, k).
    precision
        S (M, M), with ℓ = (φ - φ̄)ᵀ S (φ - φ̄).
    mean
        Mean features of the training structures φ̄ (M,).
    usual
        ℓ₀ (1,).
    """

    factor: FloatArray
    precision: FloatArray
    mean: FloatArray
    usual: FloatArray

    def error(self, features: FloatArray, weights: FloatArray) -> float:
        """Return the standard error of w·D of a structure with mean features φ (M,)."""
        apart = features - self.mean
        novelty = float(apart @ self.precision @ apart)
        variance = float(np.sum((weights @ self.factor) ** 2))
        return float(np.sqrt(variance * (1.0 + max(novelty, 0.0)) / (1.0 + float(self.usual[0]))))

    def errors(self, features: FloatArray) -> FloatArray:
        """Return the standard errors (m,) of D at every energy of the grid, of a structure with mean features φ."""
        apart = features - self.mean
        novelty = max(float(apart @ self.precision @ apart), 0.0)
        factor = (1.0 + novelty) / (1.0 + float(self.usual[0]))
        return np.asarray(np.sqrt(np.square(self.factor).sum(axis=1) * factor))

    def arrays(self) -> dict[str, FloatArray]:
        """Return its arrays by name."""
        return {name: getattr(self, name) for name in ("factor", "precision", "mean", "usual")}

    @classmethod
    def read(cls, arrays: Mapping[str, FloatArray]) -> Spread | None:
        """Return what `arrays` of a saved model hold; None where they hold none."""
        if "spread_factor" not in arrays:
            return None
        return cls(*(arrays[f"spread_{name}"] for name in ("factor", "precision", "mean", "usual")))

    @classmethod
    def of(
        cls, kernel: FloatArray, design: FloatArray, root: FloatArray | None, features: FloatArray, wrong: FloatArray,
        ridge: float,
    ) -> Spread:  # fmt: skip
        """Return the spread of held-back errors (n, m) of a fit with a ridge in units of the mean eigenvalue."""
        _, sizes, vectors = np.linalg.svd(wrong / np.sqrt(len(wrong)), full_matrices=False)
        fit = KernelFit.of(kernel, wrong)
        damping = max(ridge, RIDGES[0]) * float(fit.values.mean())
        centered = design - design.mean(axis=0)
        hat = np.einsum("nk,k,nk->n", fit.vectors, fit.values / (fit.values + damping), fit.vectors)
        # (ΦᵀΦ + λ)⁻¹ λ = 1 - Φᵀ (K + λ)⁻¹ Φ, in units of the noise
        inner = (fit.vectors / (fit.values + damping)) @ fit.vectors.T
        posterior = (np.eye(design.shape[1]) - centered.T @ inner @ centered) / damping
        precision = posterior if root is None else root @ posterior @ root.T
        usual = np.array([float(np.mean(hat / np.maximum(1.0 - hat, 1e-6)))])
        return cls((vectors[:_SPREAD].T * sizes[:_SPREAD]), precision, features.mean(axis=0), usual)


@dataclass(frozen=True, eq=False)
class DosModel:
    """A fitted model of densities of states; `fit_dos` makes one.

    Attributes
    ----------
    species
        Atomic numbers it knows.
    grid
        Energies of the density, in eV; they count from what ``settings.reference`` says.
    environments
        Features of atoms.
    weights
        L of an atom is ``constants[species] + features @ weights`` (M, m).
    constants
        Of every species (S, m), in states/eV.
    electrons
        Electrons of every species (S,).
    zero_weights, zero_constants
        Of the energy (M,), (S,) at which the labels have their zero, on the grid, as a mean over atoms; 0 where the
        reference is that of the labels.
    training_mean
        Mean of the training data per atom (m,).
    ridge
        In units of the mean eigenvalue of the kernel; the mean of those of several components.
    spread
        What `standard_error` needs; None for a model of a cross-validation.
    about
        Errors on held-back structures and other plain data.
    center
        Level in eV on the grid that the densities of the training data were moved to; 0 where ``settings.reference``
        is that of the labels or a fitted shift.
    label_mean
        Mean of the training data per atom (m,) as the labels have it; None for models of earlier versions.
    target
        What the labels are, and where they stand in files; None where that is not known.
    """

    settings: DosSettings
    species: tuple[int, ...]
    grid: Grid
    environments: Environments
    weights: FloatArray
    constants: FloatArray
    electrons: FloatArray
    zero_weights: FloatArray
    zero_constants: FloatArray
    training_mean: FloatArray
    ridge: float
    about: Mapping[str, Any]
    spread: Spread | None = None
    center: float = 0.0
    label_mean: FloatArray | None = None
    target: Target | None = None

    def __repr__(self) -> str:
        symbols = "-".join(chemical_symbols[z] for z in self.species)
        return (
            f"DosModel({symbols}, {self.environments.size} features, {self.grid.count} energies from "
            f"{self.grid.low:g} to {self.grid.high:g} eV, cutoff {self.environments.basis.cutoff:g} Å)"
        )

    @property
    def cutoff(self) -> float:
        """Reach of an environment in Å."""
        return self.environments.basis.cutoff

    def local(self, structure: Structure) -> FloatArray:
        """Return L of every atom (N, m) in states/eV; their sum is the density of the structure.

        Raises
        ------
        InputError
            If the structure holds an element that the model does not know, or its density is not finite.
        """
        require_known_species(structure, self.species)
        kinds = np.searchsorted(np.array(self.species), structure.numbers)
        local = self.environments.apply(structure, self.weights) + self.constants[kinds]
        if not np.isfinite(local).all():
            raise InputError(
                "predicts a density that is not finite; it is damaged, or atoms are too near", field="model"
            )
        return local

    def density(self, structure: Structure) -> FloatArray:
        """Return the density of states of the structure (m,) in states/eV."""
        return np.asarray(self.local(structure).sum(axis=0))

    def labels_zero(self, structure: Structure) -> float:
        """Return where on the grid (eV) the labels would have the zero of their energies: a guess as good as they are.

        A level of the whole cell, learned as a mean over atoms; with labels that count from the Fermi level it is that
        level, which `electronic_state` knows from the density itself where there is no gap.
        """
        kinds = np.searchsorted(np.array(self.species), structure.numbers)
        values = self.environments.apply(structure, self.zero_weights[:, None])[:, 0] + self.zero_constants[kinds]
        return float(values.mean())

    def electrons_of(self, structure: Structure) -> float:
        """Return the number of electrons of a structure."""
        return float(count_species(structure, self.species) @ self.electrons)

    def electronic_state(
        self, structure: Structure, temperature: float, electrons: float | None = None
    ) -> ElectronicState:
        """Return Fermi level, band energy, entropy, free energy and so on of a structure at a temperature in K.

        Raises
        ------
        InputError
            As `forcewright.properties.electrons.chemical_potential`.
        """
        count = self.electrons_of(structure) if electrons is None else electrons
        return electronic_state(self.grid, self.density(structure), count, temperature)

    def standard_error(self, structure: Structure, weights: FloatArray) -> float:
        """Return the standard error of Σ_k w_k D_k of a structure, D per atom, against a label: see `Spread`.

        Raises
        ------
        InputError
            If the model does not know it.
        """
        if self.spread is None:
            raise InputError("this model does not know its errors; fit it to all data with fit_dos", field="spread")
        return self.spread.error(self.environments.mean_of(structure), weights)

    def derived_errors(
        self, structure: Structure, state: ElectronicState, features: FloatArray | None = None
    ) -> dict[str, float]:  # fmt: skip
        """Return standard errors of what follows from a density, per atom but for the level; see `standard_error`.

        ``fermi`` in eV (infinite where there are no states), ``band_energy`` and ``free_energy_change`` in eV/atom,
        ``at_fermi`` in states/eV and atom. First order in the error of the density, at a fixed number of electrons.
        ``features`` are the mean ones (M,), where they are there already.
        """
        if self.spread is None:
            raise InputError("this model does not know its errors; fit it to all data with fit_dos", field="spread")
        features = self.environments.mean_of(structure) if features is None else features
        cold, warm = (FermiWeights.of(self.grid, *at) for at in ((state.fermi, 0.0), (state.mu, state.temperature)))
        points = self.grid.points
        there = np.clip(1.0 - np.abs(points - state.fermi) / self.grid.step, 0.0, None)
        density = state.at_fermi / len(structure)
        counted = self.spread.error(features, cold.number)
        return {
            "fermi": counted / density if density > 1e-9 else float("inf"),
            "at_fermi": self.spread.error(features, there),
            "band_energy": self.spread.error(features, warm.excess),
            "free_energy_change": self.spread.error(features, state.gradient),
        }

    def charges(self, structure: Structure, local: FloatArray | None = None) -> FloatArray:
        """Return by how much each atom's electrons (N,) up to the Fermi level exceed those it brings; the sum is 0.

        ``local`` is what the method of that name returns, where it is there already.
        """
        local = self.local(structure) if local is None else local
        state = electronic_state(self.grid, local.sum(axis=0), self.electrons_of(structure), 0.0)
        held = np.array([np.interp(state.fermi, self.grid.points, row) for row in cumulative(self.grid, local)])
        kinds = np.searchsorted(np.array(self.species), structure.numbers)
        excess = held - self.electrons[kinds]
        return np.asarray(excess - excess.mean())

    def shifts_of(self, data: DosData, predicted: FloatArray) -> FloatArray:
        """Return how far labels are moved to count energies as the model does (n,)."""
        if self.settings.reference == "labels":
            return np.zeros(len(data))
        if self.settings.reference == "fitted":
            return _best_shifts(data.grid, data.densities, predicted)
        electrons = _composition(data.structures, self.species) @ self.electrons
        return self.center - _levels(self.settings, data, electrons)

    def functional(self, structure: Structure, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return Σ_k w_k L_k of every atom (N,), and minus the derivatives of their sum: (N, 3), and (6,) with strain.

        ``weights`` (m,) are those of the grid points, such as integral weights; ∂D/∂R is the case of one grid point.
        """
        require_known_species(structure, self.species)
        kinds = np.searchsorted(np.array(self.species), structure.numbers)
        values, forces, virial = self.environments.pull(structure, self.weights @ weights)
        return values + self.constants[kinds] @ weights, forces, virial

    def save(self, folder: str | Path) -> Path:
        """Write the model to a folder and return it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "mean": self.environments.mean, "scale": self.environments.scale, "weights": self.weights,
            "constants": self.constants, "electrons": self.electrons, "training_mean": self.training_mean,
            "zero_weights": self.zero_weights, "zero_constants": self.zero_constants,
        }  # fmt: skip
        if self.environments.centers is not None:
            arrays["centers"] = self.environments.centers
        if self.label_mean is not None:
            arrays["label_mean"] = self.label_mean
        if self.spread is not None:
            arrays |= {f"spread_{name}": held for name, held in self.spread.arrays().items()}
        write_arrays(folder / "dos.npz", arrays)
        grid = self.grid
        content = {
            "format": FORMAT, "version": VERSION, "species": [chemical_symbols[z] for z in self.species],
            "grid": {"low": grid.low, "step": grid.step, "count": grid.count, "zero": grid.zero},
            "settings": self.settings.model_dump(mode="json"), "ridge": self.ridge, "center": self.center,
            "about": dict(self.about),
        }  # fmt: skip
        if self.target is not None:
            content["target"] = self.target.model_dump(mode="json", exclude_none=True)
        atomic_write(folder / "dos.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> DosModel:
        """Read what `save` wrote, or the model in the folder of a study.

        Raises
        ------
        InputError
            If a file is missing, damaged, or of a newer version.
        """
        folder = Path(folder)
        if not (folder / "dos.json").is_file() and (folder / "model" / "dos.json").is_file():
            folder = folder / "model"
        file = folder / "dos.json"
        if folder.is_dir() and not file.is_file():
            raise InputError("holds no model of densities of states; forcewright tune fits one to a target with a grid",
                             file=folder)  # fmt: skip
        content = read_json(file)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError("is not a model of densities of states saved by Forcewright", file=file)
        if content.get("version") != VERSION:
            raise InputError(f"has version {content.get('version')}, this Forcewright reads {VERSION}", file=file)
        try:
            settings = validate(DosSettings, content["settings"])
            species = tuple(chemical_symbols.index(symbol) for symbol in content["species"])
            grid = Grid.spanning(**content["grid"])
            arrays = {
                name: np.asarray(held, dtype=np.float64) for name, held in read_arrays(folder / "dos.npz").items()
            }
            basis = settings.environment.basis(species)
            model = cls(
                settings, species, grid,
                Environments(settings.environment, basis, arrays["mean"], arrays["scale"], arrays.get("centers")),
                arrays["weights"], arrays["constants"], arrays["electrons"], arrays["zero_weights"],
                arrays["zero_constants"], arrays["training_mean"],
                float(content["ridge"]), content["about"], Spread.read(arrays),
                label_mean=arrays.get("label_mean"),
                target=validate(Target, content["target"]) if "target" in content else None,
            )  # fmt: skip
            model._check()
            model = replace(model, center=float(content["center"]) if "center" in content else model._usual_level())
        except InputError as error:
            raise InputError(f"is damaged: it {error.problem}; save the model again", file=file) from None
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise InputError(f"is damaged ({error}); save the model again", file=file) from None
        return model

    def _usual_level(self) -> float:
        """Return the center of a model of an earlier version, which did not keep it: the level of its mean density."""
        part = {"fermi": 1.0, "filling": self.settings.filling, "band_edge": 1.0}.get(self.settings.reference)
        return 0.0 if part is None else level(self.grid, self.training_mean, part * float(self.electrons.mean()))

    def _check(self) -> None:
        size, count, kinds = self.environments.size, self.grid.count, len(self.species)
        columns = self.environments.basis.size
        expected = {
            "weights": (size, count), "constants": (kinds, count), "electrons": (kinds,), "training_mean": (count,),
            "zero_weights": (size,), "zero_constants": (kinds,),
        }  # fmt: skip
        for name, shape in expected.items():
            held = getattr(self, name)
            if held.shape != shape or not np.isfinite(held).all():
                raise ValueError(f"{name} is not an array of {shape} finite numbers")
        for held in (self.environments.mean, self.environments.scale):
            if held.shape != (columns,) or not np.isfinite(held).all():
                raise ValueError(f"the basis has {columns} functions, and there are scales for {held.shape}")
        further: dict[str, tuple[FloatArray | None, tuple[int, ...]]] = {
            "centers": (self.environments.centers, (size, columns)), "label_mean": (self.label_mean, (count,)),
        }  # fmt: skip
        if self.spread is not None:
            shapes = {"factor": (count, *self.spread.factor.shape[1:2]), "precision": (size, size), "mean": (size,),
                      "usual": (1,)}  # fmt: skip
            further |= {f"spread_{name}": (array, shapes[name]) for name, array in self.spread.arrays().items()}
        for name, (array, shape) in further.items():
            if array is not None and (array.shape != shape or not np.isfinite(array).all()):
                raise ValueError(f"{name} is not an array of {shape} finite numbers")
        if self.spread is not None and self.spread.usual[0] < 0:
            raise ValueError("spread_usual is negative")
        if (self.environments.centers is None) != (self.settings.environment.kernel == "linear"):
            raise ValueError("environments of the kernel are there for a linear model, or missing for another one")
        if not self.species or list(self.species) != sorted(set(self.species)):
            raise ValueError("species do not stand in the order of their numbers")
        if not isinstance(self.about, Mapping) or not np.isfinite(self.ridge):
            raise ValueError("about is no mapping, or ridge not finite")


# --------------------------------------------------------------------------------------------- fitting


def fit_dos(
    data: DosData,
    settings: DosSettings | None = None,
    *,
    rng: np.random.Generator,
    about: Mapping[str, Any] | None = None,
    folds: ArrayLike | None = None,
) -> DosModel:
    """Fit a model to all data; the ridge, where it is open, is that of the smallest error in folds.

    Parameters
    ----------
    folds
        Fold of each structure (n,); five that are drawn where not given.

    Raises
    ------
    InputError
        If there are fewer than five structures, the labels do not hold the electrons that a reference needs, or the
        number of electrons is not known.
    """
    settings = settings or DosSettings()
    numbers = None if folds is None else np.asarray(folds, dtype=np.int64)
    prepared = _Prepared.of(data, settings.environment)
    return _fit(prepared, np.arange(len(data)), settings, rng, about or {}, numbers, final=True).model


@dataclass(frozen=True, eq=False)
class HeldBack:
    """Predictions of structures by fits without them.

    Attributes
    ----------
    predicted
        Densities per atom (n, m) as the model sees energies.
    reference
        Labels per atom (n, m), moved to where the reference of energies has them.
    relabeled
        Predictions moved to where the labels count from, as far as that can be learned (n, m); they compare with the
        labels as they are. The same as ``predicted`` where the reference is that of the labels.
    training_mean
        Mean of the training data of each structure's fold (n, m), and as the labels have it.
    fermi
        Fermi level of the labels in ``reference`` (n,).
    folds
        Fold of each structure.
    settings
        Those of each fold.
    """

    data: DosData
    predicted: FloatArray
    reference: FloatArray
    relabeled: FloatArray
    training_mean: FloatArray
    label_mean: FloatArray
    fermi: FloatArray
    folds: IntArray
    settings: tuple[DosSettings, ...]
    electrons: FloatArray

    @property
    def errors(self) -> DosErrors:
        """Errors with energies as the model counts them."""
        return dos_errors(self.data.grid, self.reference, self.predicted, self.training_mean, self.fermi)

    @property
    def target_percent(self) -> float:
        """Error (%) in what is fitted: of the cumulative distribution where that is the target, else of the density."""
        if self.settings[0].target != "cumulative":
            return self.errors.percent
        grid = self.data.grid
        wrong, spread = (cumulative(grid, self.reference - other) for other in (self.predicted, self.training_mean))
        return 100.0 * float(np.sqrt(np.square(wrong).sum() / max(float(np.square(spread).sum()), 1e-300)))

    def some(self, rows: Sequence[int]) -> HeldBack:
        """Return some of the structures."""
        chosen = np.asarray(rows, dtype=np.int64)
        names = ("data", "predicted", "reference", "relabeled", "training_mean", "label_mean", "fermi", "folds",
                 "electrons")  # fmt: skip
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    @property
    def label_errors(self) -> DosErrors:
        """Errors with energies as the labels count them."""
        return dos_errors(self.data.grid, self.data.densities, self.relabeled, self.label_mean, self.data.fermi)

    def derived(self) -> dict[str, FloatArray]:
        """Return Fermi level and band energy (eV), and D(E_F) (states/eV), per atom: of labels and predictions (n, 2).

        Levels are those of labeled and predicted density in the frame of the model, at the label's number of electrons.
        Not a number where a density on the grid does not hold them.
        """
        rows = []
        for pair, electrons in zip(zip(self.reference, self.predicted, strict=True), self.electrons, strict=True):
            states = [_state(self.data.grid, density, electrons) for density in pair]
            rows.append([[s.fermi, s.band_energy, s.at_fermi] if s else [np.nan] * 3 for s in states])
        values = np.array(rows)  # (n, 2, 3)
        return {name: values[:, :, k] for k, name in enumerate(("fermi_eV", "band_energy_eV", "at_fermi"))}

    def derived_errors(self) -> dict[str, float]:
        """Return root mean square errors of what `derived` returns, over the structures that have both."""
        result = {}
        for name, values in self.derived().items():
            wrong = np.diff(values[np.isfinite(values).all(axis=1)], axis=1)
            result[name] = float(np.sqrt(np.mean(np.square(wrong)))) if len(wrong) else float("nan")
        return result

    def free_energy_errors(self, temperature: float) -> tuple[float, float]:
        """Return the root mean square and the largest error of A(T) - E(0) in eV per atom.

        Against the same integrals of the labeled density, which is the error of the model alone; that of the
        approximation of a fixed density of states comes on top.
        """
        wrong = []
        for reference, predicted, electrons in zip(self.reference, self.predicted, self.electrons, strict=True):
            true, ours = (
                electronic_state(self.data.grid, density, electrons, temperature).free_energy_change
                for density in (reference, predicted)
            )
            wrong.append(ours - true)
        return float(np.sqrt(np.mean(np.square(wrong)))), float(np.max(np.abs(wrong)))


def cross_validate_dos(
    data: DosData, candidates: Sequence[DosSettings], folds: ArrayLike, *, rng: np.random.Generator
) -> HeldBack:
    """Predict every structure by a fit without its fold, whose settings are chosen by folds of its training data alone.

    Parameters
    ----------
    candidates
        Settings to choose from; with one there is no choice but the ridge.
    folds
        Fold of each structure (n,).

    Raises
    ------
    InputError
        As `fit_dos`.
    """
    validation = DosValidation(data, folds, seed=int(rng.integers(2**31)))
    judged = [[validation.fit(settings, fold).score for settings in candidates] for fold in validation.folds]
    return validation.held_back([candidates[int(np.argmin(scores))] for scores in judged])


class DosValidation:
    """Data cut into folds, and fits without each of them, whose ridges are chosen by the other folds.

    Parameters
    ----------
    folds
        Fold of each structure (n,). A fit is judged, and its ridge chosen, by the folds that it has seen; by five that
        are drawn where these are fewer than two.
    seed
        Of what is drawn: the same for all settings.
    """

    def __init__(self, data: DosData, folds: ArrayLike, *, seed: int) -> None:
        self.data, self.seed = data, seed
        self.numbers = np.asarray(folds, dtype=np.int64)
        if self.numbers.shape != (len(data),) or len(np.unique(self.numbers)) < 2:
            raise InputError(f"needs a fold for each of {len(data)} structures, and two or more", field="folds")
        self._prepared: tuple[str, _Prepared] | None = None

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds."""
        return [int(fold) for fold in np.unique(self.numbers)]

    def fit(self, settings: DosSettings, fold: int) -> _Fitted:
        """Return the fit without a fold."""
        kept = np.flatnonzero(self.numbers != fold)
        inner = self.numbers[kept] if len(self.folds) > 2 else None
        return _fit(self._inputs(settings), kept, settings, np.random.default_rng([self.seed, fold]), {}, inner)

    def fit_all(self, settings: DosSettings, target: Target | None = None) -> DosModel:
        """Return the fit to all data."""
        kept, rng = np.arange(len(self.data)), np.random.default_rng([self.seed, len(self.folds)])
        model = _fit(self._inputs(settings), kept, settings, rng, {}, self.numbers, final=True).model
        return replace(model, target=target)

    def judge(self, settings: DosSettings) -> tuple[HeldBack, list[float]]:
        """Return what the fits without each fold predict, and the errors (%) in the folds that they have seen."""
        fits = [self.fit(settings, fold) for fold in self.folds]
        return self._collect(fits), [fit.score for fit in fits]

    def held_back(self, chosen: Sequence[DosSettings]) -> HeldBack:
        """Return what fits without each fold predict, by settings for each fold."""
        return self._collect([self.fit(settings, fold) for settings, fold in zip(chosen, self.folds, strict=True)])

    def _inputs(self, settings: DosSettings) -> _Prepared:
        key = repr(settings.environment.basis(self.data.species))
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = key, _Prepared.of(self.data, settings.environment)
        return replace(self._prepared[1], settings=settings.environment)

    def _collect(self, fits: Sequence[_Fitted]) -> HeldBack:
        data = self.data
        empty = np.empty_like(data.densities)
        result = HeldBack(
            data, empty, empty.copy(), empty.copy(), empty.copy(), empty.copy(), np.empty(len(data)), self.numbers,
            tuple(fit.model.settings for fit in fits), np.empty(len(data)),
        )  # fmt: skip
        for fit, fold in zip(fits, self.folds, strict=True):
            held = np.flatnonzero(self.numbers == fold)
            part = _compare(fit.model, data[held], fit.predict(held), fit.zeros(held))
            for name in ("predicted", "reference", "relabeled", "training_mean", "label_mean", "fermi", "electrons"):
                getattr(result, name)[held] = getattr(part, name)
        return result


def compare_dos(model: DosModel, data: DosData) -> HeldBack:
    """Return predictions of other structures beside their labels.

    Raises
    ------
    InputError
        If the grid is another than that of the model.
    """
    if data.grid.count != model.grid.count or not np.allclose(data.grid.points, model.grid.points):
        raise InputError(
            f"the labels stand on {data.grid.count} energies from {data.grid.low:g} to {data.grid.high:g} eV, and the "
            f"model was fitted to {model.grid.count} from {model.grid.low:g} to {model.grid.high:g} eV", field="grid",
        )  # fmt: skip
    predicted = np.array([model.density(structure) / len(structure) for structure in data.structures])
    return _compare(model, data, predicted, np.array([model.labels_zero(structure) for structure in data.structures]))


def _compare(model: DosModel, data: DosData, predicted: FloatArray, zeros: FloatArray) -> HeldBack:
    moved = model.shifts_of(data, predicted)
    label_mean = model.training_mean if model.label_mean is None else model.label_mean
    electrons = _composition(data.structures, model.species) @ model.electrons
    return HeldBack(
        data, predicted, shift(data.grid, data.densities, moved), shift(data.grid, predicted, -zeros),
        np.broadcast_to(model.training_mean, predicted.shape), np.broadcast_to(label_mean, predicted.shape),
        _known_levels(data, electrons) + moved, np.zeros(len(data), dtype=np.int64), (model.settings,), electrons,
    )  # fmt: skip


def _known_levels(data: DosData, electrons: FloatArray) -> FloatArray:
    """Return the Fermi levels of labels (n,): as they are known, or where the labels hold the electrons."""
    return np.array([
        fermi if np.isfinite(fermi) else state.fermi if (state := _state(data.grid, density, count)) else np.nan
        for fermi, density, count in zip(data.fermi, data.densities, electrons, strict=True)
    ])  # fmt: skip


def _state(grid: Grid, density: FloatArray, electrons: float) -> ElectronicState | None:
    """Return the electrons of a density at 0 K; None where it does not hold them."""
    try:
        return electronic_state(grid, density, electrons, 0.0)
    except InputError:
        return None


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A model, its error (%) in the folds that chose its ridge, and what it was fitted to."""

    model: DosModel
    score: float
    prepared: _Prepared

    def predict(self, indices: IntArray) -> FloatArray:
        """Return densities per atom of structures of the prepared data."""
        features, composition = self._described(indices)
        return np.asarray(features @ self.model.weights + composition @ self.model.constants)

    def zeros(self, indices: IntArray) -> FloatArray:
        """Return where the labels of structures would have their zero (`DosModel.labels_zero`)."""
        features, composition = self._described(indices)
        return np.asarray(features @ self.model.zero_weights + composition @ self.model.zero_constants)

    def _described(self, indices: IntArray) -> tuple[FloatArray, FloatArray]:
        inputs, model = self.prepared, self.model
        atoms, starts = chosen_atoms(inputs.starts, indices)
        z = model.environments.scaled(inputs.rows[atoms], inputs.species[atoms])
        structures = [inputs.data.structures[i] for i in indices]
        return model.environments.mean_features(z, starts), _composition(structures, model.species)


def _fit(
    prepared: _Prepared, kept: IntArray, settings: DosSettings, rng: np.random.Generator, about: Mapping[str, Any],
    folds: IntArray | None = None, *, final: bool = False,
) -> _Fitted:  # fmt: skip
    data = prepared.data[kept]
    if len(data) < 5:
        raise InputError(f"a fit needs at least 5 structures, not {len(data)}", field="densities")
    grid, basis = data.grid, prepared.environments
    composition = _composition(data.structures, basis.species)
    electrons = _electrons(settings, data, composition)
    atoms, starts = chosen_atoms(prepared.starts, kept)
    rows, species = prepared.rows[atoms], prepared.species[atoms]
    environments = Environments.of(settings.environment, basis, rows, species, rng)
    features = environments.mean_features(environments.scaled(rows, species), starts)
    root = environments.root()
    design = features if root is None else features @ root
    kernel = design @ design.T
    if folds is None:
        folds = rng.permutation(np.arange(len(data)) % 5)
    center, shifts = 0.0, np.zeros(len(data))
    if settings.reference == "fitted":
        shifts = _fitted_shifts(kernel, grid, data.densities, composition, data.weights, settings, folds)
    elif settings.reference != "labels":
        levels = _levels(settings, data, composition @ electrons)
        center = float(np.median(levels))
        shifts = center - levels
    densities = shift(grid, data.densities, shifts)
    ridges, score = _choose(kernel, grid, densities, composition, data.weights, settings, folds)
    back = None
    targets = densities
    if settings.target == "components":
        back = Components.of(densities, min(settings.components, *densities.shape)).vectors
        targets = densities @ back.T
    weights, constants = _solve(kernel, design, targets, composition, data.weights, ridges)
    if back is not None:
        mean = densities.mean(axis=0)
        weights, constants = weights @ back, constants @ back + (mean - (mean @ back.T) @ back)
    zero_weights, zero_constants = np.zeros((design.shape[1], 1)), np.zeros((len(basis.species), 1))
    if settings.reference != "labels":
        open_ridge = settings.model_copy(update={"ridge": None, "target": "values"})
        ridge, _ = _choose(kernel, grid, shifts[:, None], composition, data.weights, open_ridge, folds)
        zero_weights, zero_constants = _solve(
            kernel, design, shifts[:, None], composition, data.weights, ridge
        )  # fmt: skip
    if root is not None:
        weights, zero_weights = root @ weights, root @ zero_weights
    spread = None
    if final:
        ridge = float(np.mean(ridges))
        rest = densities - composition @ np.linalg.lstsq(composition, densities, rcond=None)[0]
        wrong = cross_validate_kernel(kernel, rest, folds, [ridge])[0] - rest
        spread = Spread.of(kernel, design, root, features, wrong, ridge)
    settled = settings if np.ndim(ridges) else settings.model_copy(update={"ridge": float(ridges)})
    model = DosModel(
        settled, basis.species, grid, environments, np.ascontiguousarray(weights), constants, electrons,
        zero_weights[:, 0], zero_constants[:, 0], densities.mean(axis=0), float(np.mean(ridges)), dict(about),
        spread, center, data.densities.mean(axis=0),
    )  # fmt: skip
    return _Fitted(model, score, prepared)


def _solve(
    kernel: FloatArray, design: FloatArray, targets: FloatArray, composition: FloatArray, factors: FloatArray,
    ridges: Any,
) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    """Return weights (r, k) of the design and constants (S, k) of the species for targets (n, k)."""
    constants = _constants(composition, targets, factors)
    fit = KernelFit.of(kernel, targets - composition @ constants, factors)
    dual = fit.dual(ridges * float(fit.values.mean()))
    middle = fit.weights @ design / len(design)  # the kernel is centered over the training structures
    weights = design.T @ dual - np.outer(middle, dual.sum(axis=0))
    return weights, constants + fit.mean - middle @ weights


def _constants(composition: FloatArray, targets: FloatArray, factors: FloatArray) -> FloatArray:
    """Return what each species brings (S, k) by weighted least squares."""
    root = np.sqrt(factors)[:, None]
    return np.asarray(np.linalg.lstsq(composition * root, targets * root, rcond=None)[0])


def _choose(
    kernel: FloatArray, grid: Grid, densities: FloatArray, composition: FloatArray, factors: FloatArray,
    settings: DosSettings, folds: IntArray,
) -> tuple[Any, float]:  # fmt: skip
    """Return the ridge, or that of every component, and the error in the folds it was chosen by.

    The error is in percent of what the mean density misses, of the cumulative distribution where that is the target;
    what components cut off is part of it.
    """
    candidates = np.array(RIDGES if settings.ridge is None else [settings.ridge])
    targets = densities - composition @ _constants(composition, densities, factors)
    spread, cut, parts = densities - densities.mean(axis=0), 0.0, None
    if settings.target == "components":
        parts = Components.of(densities, min(settings.components, *densities.shape))
        cut = float((factors @ np.square(spread - spread @ parts.vectors.T @ parts.vectors)).sum())
        targets = targets @ parts.vectors.T
    wrong = cross_validate_kernel(kernel, targets, folds, candidates, weights=factors) - targets
    if settings.target == "cumulative":
        wrong, spread = cumulative(grid, wrong), cumulative(grid, spread)
    squares = np.einsum("n,lnm->lm", factors, np.square(wrong))
    whole = max(float((factors @ np.square(spread)).sum()), 1e-300)
    if parts is not None:
        best = candidates[np.argmin(squares, axis=0)]
        return best, 100.0 * float(np.sqrt((squares.min(axis=0).sum() + cut) / whole))
    total = squares.sum(axis=1)
    number = int(np.argmin(total))
    return float(candidates[number]), 100.0 * float(np.sqrt(total[number] / whole))


def _fitted_shifts(
    kernel: FloatArray, grid: Grid, densities: FloatArray, composition: FloatArray, factors: FloatArray,
    settings: DosSettings, folds: IntArray,
) -> FloatArray:  # fmt: skip
    """Return the shift of every training structure (n,), from weights and shifts in turn; their mean is 0."""
    shifts = np.zeros(len(densities))
    for _ in range(_ROUNDS):
        moved = shift(grid, densities, shifts)
        of_values = settings.model_copy(update={"target": "values"})
        ridge, _ = _choose(kernel, grid, moved, composition, factors, of_values, folds)
        constants = _constants(composition, moved, factors)
        fit = KernelFit.of(kernel, moved - composition @ constants, factors)
        factor = fit.values / (fit.values + ridge * fit.values.mean())
        hat = np.einsum("nk,k,nk->n", fit.vectors, factor, fit.vectors) + fit.weights / len(moved)
        inside = (fit.vectors * factor) @ fit.turned / np.sqrt(fit.weights)[:, None]
        fitted = composition @ constants + fit.mean + inside
        alone = moved + (fitted - moved) / (1.0 - hat)[:, None]  # of the fit without the structure
        change = _best_shifts(grid, densities, alone)
        change -= change.mean()
        if np.abs(change - shifts).max() < 0.5 * _RESOLUTION:
            break
        shifts = change
    return shifts


_RESOLUTION = 0.01  # eV of fitted shifts


def _best_shifts(grid: Grid, densities: FloatArray, wanted: FloatArray) -> FloatArray:
    """Return the shift (n,) that brings every density closest to a wanted one (n, m)."""
    amounts = np.arange(-_FARTHEST, _FARTHEST + 0.5 * _RESOLUTION, _RESOLUTION)
    points, spline = grid.points, make_interp_spline(grid.points, densities.T, k=3)  # all at once: as `shift`
    squares = np.stack([
        np.square(spline(np.clip(points - amount, points[0], points[-1])) - wanted.T).sum(axis=0) for amount in amounts
    ])  # fmt: skip
    return np.asarray(amounts[np.argmin(squares, axis=0)])


def _levels(settings: DosSettings, data: DosData, electrons: FloatArray) -> FloatArray:
    """Return the level of every density (n,) that energies are to count from."""
    if settings.reference == "fermi":
        parts = electrons
    elif settings.reference == "filling":
        parts = electrons * settings.filling
    else:
        return np.array([
            band_edges(data.grid, density[None], count)[0]
            for density, count in zip(data.densities, electrons, strict=True)
        ])  # fmt: skip
    return np.array([level(data.grid, density, count) for density, count in zip(data.densities, parts, strict=True)])


def require_electrons(data: DosData) -> None:
    """Raise `InputError` if the labels do not say up to which energy they are filled."""
    if not np.isfinite(data.fermi).all():
        raise InputError(
            "are not given, and the labels do not say up to which Fermi level they are filled: give those of each "
            "element, as in model: {electrons: {Si: 4}}, or grid: {..., zero: fermi} where energies count from it",
            field="model.electrons",
        )


def _electrons(settings: DosSettings, data: DosData, composition: FloatArray) -> FloatArray:
    """Return the electrons of every species (S,): given, or what the labels hold up to the Fermi level."""
    if settings.electrons is not None:
        try:
            return np.array([settings.electrons[chemical_symbols[z]] for z in data.species])
        except KeyError as error:
            raise InputError(f"does not name {error.args[0]}", field="model.electrons") from None
    require_electrons(data)
    held = np.array([
        np.interp(energy, data.grid.points, row)
        for energy, row in zip(data.fermi, cumulative(data.grid, data.densities), strict=True)
    ])  # fmt: skip
    sharp = gapped(data.grid, data.densities, data.fermi)  # what a rounded Fermi level does not change
    enough = len(sharp) >= _SHARP and np.linalg.matrix_rank(composition[sharp]) == composition.shape[1]
    rows = np.array(sharp) if enough else np.arange(len(data))
    return np.asarray(np.linalg.lstsq(composition[rows], held[rows], rcond=None)[0])


def _composition(structures: Sequence[Structure], species: Sequence[int]) -> FloatArray:
    """Return which part of the atoms of every structure each species is (n, S)."""
    return np.array([count_species(structure, species) / len(structure) for structure in structures])


__all__ = ["DosData", "DosModel", "DosSettings", "HeldBack", "cross_validate_dos", "fit_dos", "require_electrons"]
