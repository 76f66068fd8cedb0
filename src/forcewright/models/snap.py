"""SNAP and quadratic SNAP: hyperparameters, potential, LAMMPS files in and out.

`SnapPotential.predict` runs LAMMPS ``pair_style snap``; fits run ``compute snap`` (features/bispectrum.py). That the
two agree is tested, not assumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field

from forcewright.errors import InputError
from forcewright.features.bispectrum import Bispectrum, Zbl, zbl_pair_coeff
from forcewright.files import atomic_write
from forcewright.lammps_session import PairStyle
from forcewright.models.lammps_input import runnable_input
from forcewright.models.storage import read_json, write_potential
from forcewright.potential import PotentialCalculator, Prediction
from forcewright.structure import Dataset, FloatArray, Structure, count_species


class ZblSettings(BaseModel):
    """A ZBL repulsion that is part of the model and not fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    inner: float = Field(gt=0)
    """Distance in Å at which the repulsion starts to be switched off."""
    outer: float = Field(gt=0)
    """Distance in Å beyond which it is zero."""


class SnapModel(BaseModel):
    """Hyperparameters of SNAP, as they stand in the config; a range may stand in the place of every number."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["snap"] = "snap"
    twojmax: int = Field(default=6, ge=0, le=16)
    """Twice the largest angular momentum J; cost and accuracy grow with it."""
    quadratic: bool = False
    """Add products of two bispectrum components."""
    rcut: float = Field(default=4.7, gt=0)
    """Cutoff in Å between two atoms of radius 0.5."""
    rfac0: float = Field(default=0.99363, gt=0)
    """Share of the 3-sphere that distances are mapped to."""
    rmin0: float = Field(default=0.0, ge=0)
    """Distance in Å that is mapped to the pole."""
    radii: dict[str, float] = Field(default_factory=dict)
    """Radius of each element; the cutoff of a pair is rcut·(R_i + R_j); 0.5 where not given."""
    element_weights: dict[str, float] = Field(default_factory=dict)
    """Weight of each element in its neighbors' densities; 1 where not given."""
    zbl: ZblSettings | None = None
    """Repulsion at short range."""

    @classmethod
    def with_data(cls, content: Mapping[str, Any], train: Dataset) -> dict[str, Any]:
        """Return a model's config as it is: nothing in it is taken from the data."""
        return dict(content)

    def basis(self, species: Sequence[int]) -> Bispectrum:
        """Return the descriptors for given species (atomic numbers).

        Raises
        ------
        InputError
            If radii or element_weights name an element that is not among the species.
        """
        symbols = [chemical_symbols[z] for z in sorted(species)]
        for name, given in (("radii", self.radii), ("element_weights", self.element_weights)):
            if unknown := sorted(set(given) - set(symbols)):
                raise InputError(
                    f"names {', '.join(unknown)}; the data hold {', '.join(symbols)}", field=f"model.{name}"
                )
        return Bispectrum(
            tuple(sorted(species)), self.twojmax, self.rcut, self.rfac0, self.rmin0, self.quadratic,
            tuple(self.radii.get(s, 0.5) for s in symbols), tuple(self.element_weights.get(s, 1.0) for s in symbols),
            zbl=Zbl(self.zbl.inner, self.zbl.outer) if self.zbl else None,
        )  # fmt: skip

    def potential(
        self, basis: Bispectrum, coefficients: FloatArray, energies: Mapping[int, float],
        covariance: FloatArray | None = None, provenance: Mapping[str, Any] | None = None,
    ) -> SnapPotential:  # fmt: skip
        """Return the potential of fitted coefficients."""
        return SnapPotential(basis, coefficients, dict(energies), covariance, dict(provenance or {}))


@dataclass(frozen=True, eq=False)
class SnapPotential:
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
    """

    basis: Bispectrum
    coefficients: FloatArray
    reference_energies: Mapping[int, float]
    covariance: FloatArray | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.coefficients.shape != (self.basis.size,):
            raise InputError(f"{self.basis.size} coefficients are needed, {self.coefficients.shape} were given")

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows, ascending."""
        return self.basis.species

    @property
    def cutoff(self) -> float:
        """Interaction range in Å."""
        return self.basis.cutoff

    def predict(self, structures: Sequence[Structure], *, forces: bool = True, stress: bool = True) -> list[Prediction]:
        """Predict every structure; the stress is None for structures without a cell."""
        return self.pair_style.predict(structures, forces, stress)

    def energy_standard_error(self, structures: Sequence[Structure]) -> FloatArray:
        """Return the standard error of each predicted energy in eV from the posterior of the coefficients.

        Raises
        ------
        InputError
            If the potential carries no covariance (read from LAMMPS files, say).
        """
        if self.covariance is None:
            raise InputError("this potential was saved without its posterior covariance; refit to get standard errors")
        rows = np.array([self.basis.rows(structure).energy for structure in structures])
        if len(self.covariance) > self.basis.size:
            rows = np.hstack([[count_species(s, self.species) for s in structures], rows])
        variances = np.sum((rows @ self.covariance) * rows, axis=1)
        return np.asarray(np.sqrt(np.maximum(variances, 0.0)))

    def calculator(self) -> Calculator:
        """Return an ASE calculator."""
        return PotentialCalculator(self)

    @cached_property
    def pair_style(self) -> PairStyle:
        """The LAMMPS pair style that computes it."""
        return PairStyle(self.species, self._write_and_name, self.cutoff)

    def _write_and_name(self, folder: Path) -> list[str]:
        self._write_snap_files(folder)
        return self._pair_commands(folder)

    def __getstate__(self) -> dict[str, Any]:
        """Leave LAMMPS behind when travelling to a worker process."""
        return {key: value for key, value in self.__dict__.items() if key != "pair_style"}

    def save(self, folder: str | Path) -> Path:
        """Write ``potential.json``, the posterior, LAMMPS files and a runnable LAMMPS input to a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.to_lammps(folder)
        if self.covariance is not None:
            _save_covariance(folder / "posterior.npy", self.covariance)
        else:
            (folder / "posterior.npy").unlink(missing_ok=True)
        content = {
            "species": [chemical_symbols[z] for z in self.species], **self.basis.describe(), "bzero": self.basis.bzero,
            "zbl": [self.basis.zbl.inner, self.basis.zbl.outer] if self.basis.zbl else None,
            "reference_energies_eV": {chemical_symbols[z]: e for z, e in self.reference_energies.items()},
            "coefficients": self.coefficients.tolist(), "provenance": dict(self.provenance),
        }  # fmt: skip
        return write_potential(folder, "snap", content)

    @classmethod
    def load(cls, folder: Path) -> SnapPotential:
        """Read a folder written by `save`."""
        content = read_json(folder / "potential.json", "snap")
        try:
            symbols = content["species"]
            basis = Bispectrum(
                tuple(chemical_symbols.index(s) for s in symbols), content["twojmax"], content["rcut"],
                content["rfac0"], content["rmin0"], content["quadratic"], tuple(content["radii"][s] for s in symbols),
                tuple(content["weights"][s] for s in symbols), content["bzero"],
                Zbl(*content["zbl"]) if content["zbl"] else None,
            )  # fmt: skip
            energies = {chemical_symbols.index(s): float(e) for s, e in content["reference_energies_eV"].items()}
            coefficients = np.array(content["coefficients"], dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"is damaged: {error!r}; save the potential again", file=folder / "potential.json"
            ) from None
        posterior = folder / "posterior.npy"
        covariance = np.load(posterior, allow_pickle=False) if posterior.exists() else None
        return cls(basis, coefficients, energies, covariance, content.get("provenance", {}))

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
        style = f"pair_style hybrid/overlay snap zbl {self.basis.zbl.inner} {self.basis.zbl.outer}"
        return [style, f"pair_coeff * * snap {files}", *zbl_pair_coeff(self.species)]

    def _write_snap_files(self, folder: Path) -> None:
        basis = self.basis
        per_species = basis.columns_per_species
        columns = self.coefficients.reshape(len(self.species), per_species)
        lines = ["# SNAP coefficients written by Forcewright", f"{len(self.species)} {per_species + 1}"]
        for index, z in enumerate(self.species):
            lines.append(f"{chemical_symbols[z]} {basis.radii[index]:.17g} {basis.weights[index]:.17g}")
            lines.append(f"{self.reference_energies.get(z, 0.0):.17g}")
            lines.extend(f"{value:.17g}" for value in columns[index])
        atomic_write(folder / "model.snapcoeff", "\n".join(lines) + "\n")
        parameters = {
            "rcutfac": f"{basis.rcut:.17g}", "twojmax": basis.twojmax, "rfac0": f"{basis.rfac0:.17g}",
            "rmin0": f"{basis.rmin0:.17g}", "bzeroflag": int(basis.bzero), "quadraticflag": int(basis.quadratic),
        }  # fmt: skip
        header = "# SNAP parameters written by Forcewright\n"
        atomic_write(
            folder / "model.snapparam", header + "".join(f"{key} {value}\n" for key, value in parameters.items())
        )


def _save_covariance(path: Path, covariance: FloatArray) -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, covariance, allow_pickle=False)
    atomic_write(path, buffer.getvalue())
