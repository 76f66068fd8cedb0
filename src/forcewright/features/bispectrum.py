"""SNAP and quadratic SNAP design rows through LAMMPS ``compute snap``.

=========  ==================================================================================================
symbol     meaning
=========  ==================================================================================================
K          number of bispectrum components B_k of one atom (Thompson et al., J. Comput. Phys. 285, 316 (2015))
S          number of species
p          number of columns: per species K linear and K(K+1)/2 quadratic ones
=========  ==================================================================================================

The energy of atom i of species s is Σ_k β_k^s B_k + ½ Σ_kl α_kl^s B_k B_l (quadratic SNAP: Wood and Thompson,
J. Chem. Phys. 148, 241721 (2018)); the quadratic columns are ½B_1², B_1B_2, …, so that α's upper triangle is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.features.element_similarity import element_directions
from forcewright.lammps_session import BAR_ANGSTROM3_PER_EV, LammpsSystem, to_lammps_box, type_of_species
from forcewright.potential import DesignRows, Sharing
from forcewright.structure import FloatArray, Structure


@dataclass(frozen=True)
class Zbl:
    """Screened nuclear repulsion that is part of the model but not fitted; switched off between the two radii (Å).

    A radius is one number for all pairs, or a symmetric table (S, S) by species.
    """

    inner: float | tuple[tuple[float, ...], ...]
    outer: float | tuple[tuple[float, ...], ...]

    def radii(self, i: int, j: int) -> tuple[float, float]:
        """Return both radii of a pair of species."""
        inner, outer = (r[i][j] if isinstance(r, tuple) else r for r in (self.inner, self.outer))
        return inner, outer

    def commands(self, species: tuple[int, ...]) -> tuple[str, list[str]]:
        """Return the styles that stand in LAMMPS's ``pair_style hybrid/overlay``, and their pair_coeff commands.

        Both radii are arguments of the style, so pairs that differ in them have a style of their own.
        """
        count = len(species)
        pairs = [(i, j) for i in range(count) for j in range(i, count)]
        styles = sorted({self.radii(i, j) for i, j in pairs})
        names = " ".join(f"zbl {inner} {outer}" for inner, outer in styles)
        lines = []
        for i, j in pairs:
            number = f" {styles.index(self.radii(i, j)) + 1}" if len(styles) > 1 else ""
            lines.append(f"pair_coeff {i + 1} {j + 1} zbl{number} {species[i]} {species[j]}")
        return names, lines


@dataclass(frozen=True)
class Bispectrum:
    """Hyperparameters of the SNAP descriptors; a `forcewright.potential.Basis`.

    Parameters
    ----------
    species
        Atomic numbers, ascending.
    twojmax
        Twice the largest angular momentum J.
    rcut
        Cutoff in Å between two atoms of radius 0.5.
    rfac0, rmin0
        Map of distance to the angle θ0 = rfac0·π·(r - rmin0)/(rcut - rmin0) on the 3-sphere.
    quadratic
        Add the products of two components.
    radii, weights
        Per species: the cutoff of a pair is rcut·(R_i + R_j); the weight of a neighbor in the density.
    bzero
        Take off the components of an isolated atom, so that all descriptors of an isolated atom vanish.
    zbl
        Repulsion added to every prediction.
    """

    species: tuple[int, ...]
    twojmax: int = 6
    rcut: float = 4.7
    rfac0: float = 0.99363
    rmin0: float = 0.0
    quadratic: bool = False
    radii: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    bzero: bool = True
    zbl: Zbl | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "radii", tuple(self.radii) or (0.5,) * len(self.species))
        object.__setattr__(self, "weights", tuple(self.weights) or (1.0,) * len(self.species))
        if not len(self.radii) == len(self.weights) == len(self.species):
            raise InputError(f"radii and weights need one number for each of {len(self.species)} species")
        if self.rmin0 >= self.rcut:
            raise InputError(f"rmin0 ({self.rmin0} Å) must be smaller than rcut ({self.rcut} Å)", field="model.rmin0")

    @property
    def components(self) -> int:
        """Number K of linear components per atom."""
        top = self.twojmax
        pairs = ((j1, j2) for j1 in range(top + 1) for j2 in range(j1 + 1))
        return sum(j >= j1 for j1, j2 in pairs for j in range(j1 - j2, min(top, j1 + j2) + 1, 2))

    @property
    def columns_per_species(self) -> int:
        """Number of columns of one species."""
        k = self.components
        return k + k * (k + 1) // 2 if self.quadratic else k

    @property
    def size(self) -> int:
        """Number of columns p."""
        return len(self.species) * self.columns_per_species

    @property
    def cutoff(self) -> float:
        """Interaction range in Å."""
        bispectrum = 2.0 * max(self.radii) * self.rcut
        if self.zbl is None:
            return bispectrum
        count = range(len(self.species))
        return max(bispectrum, *(self.zbl.radii(i, j)[1] for i in count for j in count))

    def rows(self, structure: Structure) -> DesignRows:
        """Return the design rows of one structure; the offset holds the ZBL repulsion."""
        box = to_lammps_box(structure, self.cutoff)
        types = type_of_species(structure, self.species)
        table = self._compute_snap(box, types)
        count = len(structure)
        forces = _rotate_rows(table[1 : 1 + 3 * count], box.rotation)
        virial = _rotate_virial_rows(table[1 + 3 * count :], box.rotation)
        # the reference column of the virial rows is a pressure in bar, the others are -dE/dε in eV
        virial[:, -1] *= np.linalg.det(box.cell) / BAR_ANGSTROM3_PER_EV
        full = np.vstack([table[:1], forces, virial])
        design, offset = full[:, :-1], full[:, -1].copy()
        return DesignRows(design[0], design[1 : 1 + 3 * count], design[1 + 3 * count :], offset)

    def sharing(self) -> Sharing:
        """Return the means of each component's coefficient over the center species, and the deviations from them."""
        each = self.columns_per_species
        directions, precisions = element_directions(self.species)
        mixing = scipy.sparse.kron(directions.T, scipy.sparse.eye_array(each), format="csr")
        orders = np.repeat(precisions, each)[:, None]
        return Sharing(mixing, orders, np.tile(np.arange(each), len(self.species)))

    def environments(self, structure: Structure) -> FloatArray:
        """Return the descriptors of each atom (N, columns per species), whose sums over atoms are the energy's row."""
        box = to_lammps_box(structure, self.cutoff)
        types, count = type_of_species(structure, self.species), len(structure)
        # no key: LAMMPS builds the neighbor list of sna/atom once per time step, and every run here is at the same
        lmp = _environment_system().run(box, types, self.species, None, self._atom_commands, "0.0 bin")
        values = np.empty((count, self.columns_per_species))
        ids = np.array(lmp.numpy.extract_atom("id", nelem=count)).ravel()
        values[ids - 1] = np.array(lmp.numpy.extract_compute("atoms", 1, 2))[:count].reshape(count, -1)
        return values

    def _compute_snap(self, box: Any, types: Any) -> FloatArray:
        """Return LAMMPS's (1 + 3N + 6, p + 1) array: energy row, forces atom by atom, virial xx yy zz yz xz xy."""
        # no key: compute snap adds a compute of its own in every run, so a system with it runs only once
        lmp = _row_system().run(box, types, self.species, None, self._commands, "1e-8 nsq")
        return np.array(lmp.numpy.extract_compute("snap", 0, 2))

    def _commands(self) -> list[str]:
        """Return the pair style behind the last column (`zero` keeps the ghost cutoff at our range) and the compute."""
        reach = f"zero {self.cutoff + 0.01:.17g}"
        pair = [f"pair_style {reach}", "pair_coeff * *"]
        if self.zbl is not None:
            styles, coefficients = self.zbl.commands(self.species)
            pair = [f"pair_style hybrid/overlay {reach} {styles}", "pair_coeff * * zero", *coefficients]
        return [*pair, f"compute snap all snap {self._arguments}"]

    def _atom_commands(self) -> list[str]:
        """Return the compute of single atoms; a sum asks for it, or LAMMPS would not compute it."""
        return [
            f"pair_style zero {self.cutoff + 0.01:.17g}", "pair_coeff * *",
            f"compute atoms all sna/atom {self._arguments}", "compute sum all reduce sum c_atoms[1]",
            "thermo_style custom step c_sum",
        ]  # fmt: skip

    @property
    def _arguments(self) -> str:
        radii = " ".join(f"{r:.17g}" for r in self.radii)
        weights = " ".join(f"{w:.17g}" for w in self.weights)
        return (
            f"{self.rcut:.17g} {self.rfac0:.17g} {self.twojmax} {radii} {weights} rmin0 {self.rmin0:.17g} "
            f"bzeroflag {int(self.bzero)} quadraticflag {int(self.quadratic)}"
        )

    def describe(self) -> Mapping[str, Any]:
        """Return the hyperparameters in words of the user's configuration."""
        symbols = [chemical_symbols[z] for z in self.species]
        return {
            "twojmax": self.twojmax, "quadratic": self.quadratic, "rcut": self.rcut, "rfac0": self.rfac0,
            "rmin0": self.rmin0, "radii": dict(zip(symbols, self.radii, strict=True)),
            "weights": dict(zip(symbols, self.weights, strict=True)),
        }  # fmt: skip


@lru_cache(maxsize=1)
def _row_system() -> LammpsSystem:
    """One LAMMPS instance per process."""
    return LammpsSystem()


@lru_cache(maxsize=1)
def _environment_system() -> LammpsSystem:
    """Another for descriptors of single atoms."""
    return LammpsSystem()


def _rotate_rows(rows: FloatArray, rotation: FloatArray) -> FloatArray:
    """Rotate force rows (3N, p), atom by atom, from LAMMPS's frame to the structure's."""
    vectors = rows.reshape(-1, 3, rows.shape[1])
    return np.ascontiguousarray(np.matmul(rotation, vectors)).reshape(rows.shape)


def _rotate_virial_rows(rows: FloatArray, rotation: FloatArray) -> FloatArray:
    """Rotate virial rows (6, p) in Voigt order xx yy zz yz xz xy from LAMMPS's frame to the structure's."""
    full = rows[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3, -1)
    turned = np.einsum("ai,ijp,bj->abp", rotation, full, rotation).reshape(9, -1)
    return np.asarray(turned[[0, 4, 8, 5, 2, 1]])
