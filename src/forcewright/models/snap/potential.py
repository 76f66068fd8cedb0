"""A fitted SNAP potential, evaluated by LAMMPS, and its files.

`SnapPotential.predict` runs LAMMPS ``pair_style snap``; fits run ``compute snap`` (features/bispectrum.py). That the
two agree is tested, not assumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.features.bispectrum import Bispectrum, Zbl
from forcewright.files import atomic_write
from forcewright.lammps_session import PairStyle
from forcewright.models.active_sets import active_sets, atomic_grades
from forcewright.models.lammps_input import runnable_input
from forcewright.models.storage import PotentialFolder, write_potential
from forcewright.plain_data import flag, number, real_array, whole
from forcewright.potential import PotentialBase, Prediction, posterior_errors
from forcewright.structure import FloatArray, Frame, Structure, as_structure
from forcewright.trajectory.reading import StructuresOrFile, structures_of

MAX_TWOJMAX = 16


@dataclass(frozen=True, eq=False, repr=False)
class SnapPotential(PotentialBase):
    """A SNAP potential.

    Parameters
    ----------
    basis
        Its descriptors.
    coefficients
        One per column of the basis (p,).
    reference_energies
        Energy in eV of an isolated atom of each species, fitted constants included.
    covariance
        Posterior covariance, if known: of the coefficients (p, p), or of the fitted constants of the species and the
        coefficients (S + p, S + p).
    active
        By species, what grades its atoms (k, k) with k columns per species; empty where grades are not known.
    """

    basis: Bispectrum
    coefficients: FloatArray
    reference_energies: Mapping[int, float]
    covariance: FloatArray | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    active: Mapping[int, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.coefficients.shape != (self.basis.size,):
            raise InputError(f"{self.basis.size} coefficients are needed, not {self.coefficients.shape}")
        if not np.isfinite(self.coefficients).all():
            raise InputError("a coefficient is not a finite number")
        sizes = (self.basis.size, self.basis.size + len(self.species))
        if self.covariance is not None and self.covariance.shape not in [(size, size) for size in sizes]:
            raise InputError(f"a covariance of {self.covariance.shape} is not that of {sizes[0]} coefficients")
        width = self.basis.columns_per_species
        for z, inverse in self.active.items():
            if inverse.shape != (width, width):
                symbol = chemical_symbols[z]
                raise InputError(f"the active set {inverse.shape} of {symbol} is not that of {width} descriptors")

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows, ascending."""
        return self.basis.species

    @property
    def cutoff(self) -> float:
        """Interaction range in Å."""
        return self.basis.cutoff

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements."""
        return self.pair_style.predict(structures, forces, stress)

    def atomic_energies(self, structure: Atoms | Frame | Structure) -> FloatArray:
        """Return the energy of each atom (N,) in eV, reference energies included."""
        energies = self.predict(structure, forces=False, stress=False)[0].energies
        assert energies is not None
        return energies

    def describe_size(self) -> str:
        """Return the number of coefficients in words."""
        return f"{len(self.coefficients)} coefficients"

    def energy_standard_error(self, structures: StructuresOrFile) -> FloatArray:
        """Return the standard error of each predicted energy in eV from the posterior of the coefficients.

        Raises
        ------
        InputError
            If the potential carries no covariance (read from LAMMPS files, say).
        """
        if self.covariance is None:
            raise InputError("this potential was saved without its posterior covariance; refit to get standard errors")
        structures = structures_of(structures)
        rows = [self.basis.rows(structure).energy for structure in structures]
        return posterior_errors(rows, self.covariance, structures, self.species)

    @property
    def design(self) -> Bispectrum:
        """The basis of its coefficients."""
        return self.basis

    @property
    def posterior(self) -> FloatArray | None:
        """Posterior covariance of the coefficients, if known."""
        return self.covariance

    def with_coefficients(self, coefficients: FloatArray, energies: Mapping[int, float]) -> SnapPotential:
        """Return the potential of other coefficients (p,) and energies in eV of isolated atoms."""
        return SnapPotential(self.basis, coefficients, dict(energies))

    @property
    def knows_grades(self) -> bool:
        """Whether it has an active set: it was fitted here, and not read from LAMMPS's files."""
        return bool(self.active)

    def environments(self, structure: Structure) -> dict[int, FloatArray]:
        """Return the descriptors (n, k) of the atoms of each species, in the order of the atoms."""
        values = self.basis.environments(structure)
        return {int(z): values[structure.numbers == z] for z in np.unique(structure.numbers)}

    def with_active(self, active: Mapping[int, FloatArray]) -> SnapPotential:
        """Return the potential with what grades the atoms of each species."""
        return replace(self, active=active)

    def with_active_set(self, structures: StructuresOrFile) -> SnapPotential:
        """Return the potential with the active sets of the atoms of training structures, species by species."""
        sets = active_sets(map(self.environments, structures_of(structures)))
        return self.with_active({z: known.inverse for z, known in sets.items()})

    def extrapolation_grades(self, structure: Atoms | Frame | Structure) -> FloatArray:
        """Return the extrapolation grade γ of each atom (N,): how far it lies outside the training data.

        Raises
        ------
        InputError
            If the potential has no active set, or the structure an element that it does not know.
        """
        if not self.active:
            raise InputError("this potential has no active set; fit it here to get extrapolation grades")
        structure = as_structure(structure)
        return atomic_grades(structure.numbers, self.environments(structure), self.active)

    @cached_property
    def pair_style(self) -> PairStyle:
        """The LAMMPS pair style that computes it."""
        return PairStyle(self.species, self._write_and_name, self.cutoff, per_atom=True)

    def _write_and_name(self, folder: Path) -> list[str]:
        self._write_snap_files(folder)
        return self._pair_commands(folder)

    def save(self, folder: str | Path) -> Path:
        """Write ``potential.json``, the posterior, LAMMPS files and a runnable LAMMPS input to a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.to_lammps(folder)
        content = {
            "species": [chemical_symbols[z] for z in self.species], **self.basis.describe(), "bzero": self.basis.bzero,
            "zbl": [self.basis.zbl.inner, self.basis.zbl.outer] if self.basis.zbl else None,
            "reference_energies_eV": {chemical_symbols[z]: e for z, e in self.reference_energies.items()},
            "coefficients": self.coefficients.tolist(), "provenance": dict(self.provenance),
        }  # fmt: skip
        active = {f"active_{chemical_symbols[z]}": inverse for z, inverse in self.active.items()}
        arrays = {"posterior.npy": self.covariance, "active.npz": active or None}
        return write_potential(folder, "snap", content, arrays=arrays)

    @classmethod
    def load(cls, folder: Path) -> SnapPotential:
        """Read a folder written by `save`."""
        with PotentialFolder(folder, "snap") as saved:
            content, species = saved.content, saved.species
            symbols = [chemical_symbols[z] for z in species]
            basis = checked_bispectrum(
                species, content["twojmax"], content["rcut"], content["rfac0"], content["rmin0"], content["quadratic"],
                [content["radii"][s] for s in symbols], [content["weights"][s] for s in symbols], content["bzero"],
                None if content["zbl"] is None else _zbl(content["zbl"], len(species)),
            )  # fmt: skip
            coefficients = real_array(content["coefficients"], "coefficients")
            energies = saved.energies("reference_energies_eV")
            arrays = saved.arrays("active.npz") if (folder / "active.npz").exists() else {}
            active = {z: arrays[name] for z in species if (name := f"active_{chemical_symbols[z]}") in arrays}
            return cls(basis, coefficients, energies, saved.array("posterior.npy"), saved.provenance, active)

    def to_lammps(self, folder: str | Path) -> Path:
        """Write ``model.snapcoeff``, ``model.snapparam`` and ``in.lammps``, which runs 1 ps from ``structure.data``."""
        folder = Path(folder)
        self._write_snap_files(folder)
        commands = [command.replace(f"{folder}/", "") for command in self._pair_commands(folder)]
        return atomic_write(folder / "in.lammps", runnable_input("ML-SNAP", commands))

    def _pair_commands(self, folder: Path) -> list[str]:
        names = " ".join(chemical_symbols[z] for z in self.species)
        files = f"{folder}/model.snapcoeff {folder}/model.snapparam {names}"
        if self.basis.zbl is None:
            return ["pair_style snap", f"pair_coeff * * {files}"]
        styles, coefficients = self.basis.zbl.commands(self.species)
        return [f"pair_style hybrid/overlay snap {styles}", f"pair_coeff * * snap {files}", *coefficients]

    def _write_snap_files(self, folder: Path) -> None:
        basis = self.basis
        columns = self.coefficients.reshape(len(self.species), -1)
        lines = ["# SNAP coefficients written by Forcewright", f"{len(self.species)} {basis.columns_per_species + 1}"]
        for z, radius, weight, of_species in zip(self.species, basis.radii, basis.weights, columns, strict=True):
            lines.append(f"{chemical_symbols[z]} {radius:.17g} {weight:.17g}")
            lines += [f"{value:.17g}" for value in (self.reference_energies.get(z, 0.0), *of_species)]
        atomic_write(folder / "model.snapcoeff", "\n".join(lines) + "\n")
        parameters = {
            "rcutfac": f"{basis.rcut:.17g}", "twojmax": basis.twojmax, "rfac0": f"{basis.rfac0:.17g}",
            "rmin0": f"{basis.rmin0:.17g}", "bzeroflag": int(basis.bzero), "quadraticflag": int(basis.quadratic),
        }  # fmt: skip
        lines = ["# SNAP parameters written by Forcewright", *(f"{key} {value}" for key, value in parameters.items())]
        atomic_write(folder / "model.snapparam", "\n".join(lines) + "\n")


def _zbl(radii: Sequence[Any], count: int) -> Zbl:
    """Return the repulsion of a file: two radii, or two tables (S, S) of them."""
    inner, outer = radii
    if not isinstance(inner, list):
        return Zbl(number(inner, "zbl", above=0), number(outer, "zbl", above=0))
    tables = [tuple(tuple(number(r, "zbl", above=0) for r in row) for row in table) for table in (inner, outer)]
    if any(len(row) != count for table in tables for row in (table, *table)):
        raise ValueError(f"zbl is no table of {count} by {count} radii")
    return Zbl(*tables)


def checked_bispectrum(
    species: tuple[int, ...], twojmax: object, rcut: object, rfac0: object, rmin0: object, quadratic: object,
    radii: Sequence[object], weights: Sequence[object], bzero: object, zbl: Zbl | None = None,
) -> Bispectrum:  # fmt: skip
    """Return the descriptors that a file describes; ValueError if a number is out of the hyperparameters' bounds."""
    if not species or sorted(set(species)) != list(species):
        raise ValueError(f"species {list(species)} are not ascending atomic numbers")
    return Bispectrum(
        species, whole(twojmax, "twojmax", 0, MAX_TWOJMAX), number(rcut, "rcut", above=0),
        number(rfac0, "rfac0", above=0), number(rmin0, "rmin0", low=0), flag(quadratic, "quadratic"),
        tuple(number(radius, "a radius", above=0) for radius in radii),
        tuple(number(weight, "a weight") for weight in weights), flag(bzero, "bzero"), zbl,
    )  # fmt: skip
