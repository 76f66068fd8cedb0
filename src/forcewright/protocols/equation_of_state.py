"""Equation of state: energy over volume, and the Birch-Murnaghan form through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from ase import Atoms
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike

from forcewright.analyze.result import Axes, Result
from forcewright.errors import ForcewrightError, InputError
from forcewright.protocols.relaxation import Cell, relax, relaxed_atoms
from forcewright.protocols.system import AnyStructure, CalculatorSource, new_crystal, potential_energy, with_calculator
from forcewright.structure import FloatArray
from forcewright.units import GPA


class BirchMurnaghan(NamedTuple):
    """Third-order Birch-Murnaghan form: V0 and E0 per atom in Å³ and eV, B0 in eV/Å³, B0' (Birch 1947)."""

    volume: float
    energy: float
    bulk_modulus: float
    derivative: float

    def energies(self, volumes: ArrayLike) -> FloatArray:
        """Return E(V) in eV: E0 + 9 V0 B0 / 16 [(y - 1)³ B0' + (y - 1)² (6 - 4 y)] with y = (V0 / V)^(2/3)."""
        y = (self.volume / np.asarray(volumes, dtype=float)) ** (2 / 3)
        bracket = (y - 1) ** 3 * self.derivative + (y - 1) ** 2 * (6 - 4 * y)
        return self.energy + 9 / 16 * self.volume * self.bulk_modulus * bracket

    def pressures(self, volumes: ArrayLike) -> FloatArray:
        """Return p(V) = -dE/dV in eV/Å³."""
        y = (self.volume / np.asarray(volumes, dtype=float)) ** (2 / 3)
        cubic = 1 + 0.75 * (self.derivative - 4) * (y - 1)
        return 1.5 * self.bulk_modulus * (y**3.5 - y**2.5) * cubic


@dataclass(frozen=True, eq=False)
class EquationOfState(Result):
    """Energies over volumes and the fit through them; energies and volumes per atom.

    ``a0_A`` is the lattice constant a of the Bravais lattice of the cell. ``fit_rms_eV`` is the root mean square
    residual of the fit.
    """

    volumes_A3: FloatArray
    energies_eV: FloatArray
    pressures_GPa: FloatArray
    a0_A: float
    volume_A3: float
    energy_eV: float
    bulk_modulus_GPa: float
    bulk_modulus_derivative: float
    fit_rms_eV: float

    @property
    def form(self) -> BirchMurnaghan:
        """The fitted form."""
        bulk_modulus = self.bulk_modulus_GPa * GPA
        return BirchMurnaghan(self.volume_A3, self.energy_eV, bulk_modulus, self.bulk_modulus_derivative)

    def _draw(self, ax: Axes) -> None:
        volumes = np.linspace(self.volumes_A3.min(), self.volumes_A3.max(), 200)
        rise = 1e3 * (self.form.energies(volumes) - self.energy_eV)
        ax.plot(volumes, rise, label=f"B = {self.bulk_modulus_GPa:.1f} GPa")
        ax.plot(self.volumes_A3, 1e3 * (self.energies_eV - self.energy_eV), "o", markersize=4)
        ax.set(xlabel="volume (Å³/atom)", ylabel="energy above the minimum (meV/atom)")
        ax.legend()


def equation_of_state(
    calculator: CalculatorSource, structure: AnyStructure, *, volume_range: float = 0.06, points: int = 9,
    relaxed: Literal["none", "ions", "shape"] = "ions", center: bool = True, keep_symmetry: bool = False,
    fmax: float = 1e-3,
) -> EquationOfState:  # fmt: skip
    """Compute the energy at volumes around the minimum and fit the third-order Birch-Murnaghan form.

    Parameters
    ----------
    volume_range
        Volumes run from V (1 - range) to V (1 + range).
    points
        Number of volumes.
    relaxed
        What is relaxed at each volume: nothing (none), the positions (ions), or these and the shape of the cell.
    center
        Relax the structure first, so that its minimum lies in the middle of the volumes.
    keep_symmetry
        Keep the space group during relaxations, even if it is unstable.
    fmax
        Largest force in eV/Å at which a relaxation ends.

    Raises
    ------
    InputError
        If the structure is not a crystal, or an argument is invalid.
    ForcewrightError
        If the energy has no minimum among the volumes, or a relaxation fails.
    """
    if not 0 < volume_range < 0.5:
        raise InputError(f"is {volume_range}; give a share between 0 and 0.5", field="volume_range")
    if points < 5:
        raise InputError(f"is {points}; four parameters need at least 5 points", field="points")
    if relaxed not in ("none", "ions", "shape"):
        raise InputError(f"is {relaxed!r}; allowed are none, ions and shape", field="relaxed")
    atoms = new_crystal(calculator, structure)
    if center:
        cell: Cell = "full" if relaxed == "shape" else "isotropic"
        atoms = relax(atoms.calc, atoms, cell=cell, fmax=fmax, keep_symmetry=keep_symmetry).structure.to_ase()
    volumes = atoms.cell.volume * np.linspace(1 - volume_range, 1 + volume_range, points)
    energies = energies_over_volumes(
        calculator, atoms, volumes, relaxed=relaxed, keep_symmetry=keep_symmetry, fmax=fmax
    )
    return _result(atoms, volumes / len(atoms), energies / len(atoms))


def energies_over_volumes(
    calculator: CalculatorSource, structure: AnyStructure, volumes_A3: ArrayLike, *,
    relaxed: Literal["none", "ions", "shape"] = "ions", keep_symmetry: bool = False, fmax: float = 1e-3,
) -> FloatArray:  # fmt: skip
    """Return the energy (eV) of the cell at each volume (Å³), in their order; see `equation_of_state`.

    Away from the volume of the structure, each relaxation starts where the last one ended, so that all volumes belong
    to one phase.
    """
    atoms = with_calculator(calculator, structure)
    volumes = np.asarray(volumes_A3, dtype=np.float64)
    energies = np.empty(len(volumes))
    outward = np.argsort(np.abs(volumes - atoms.cell.volume), kind="stable")
    for side in (volumes[outward] <= atoms.cell.volume, volumes[outward] > atoms.cell.volume):
        last = atoms
        for k in outward[side]:
            last = with_calculator(atoms.calc, last)
            last.set_cell(last.cell.array * (volumes[k] / last.cell.volume) ** (1 / 3), scale_atoms=True)
            if relaxed != "none":
                cell: Cell = "shape" if relaxed == "shape" else "none"
                last = relaxed_atoms(last, cell=cell, fmax=fmax, keep_symmetry=keep_symmetry)
            energies[k] = potential_energy(last)
    return energies


def fit_birch_murnaghan(volumes_A3: ArrayLike, energies_eV: ArrayLike) -> BirchMurnaghan:
    """Fit the third-order form, a cubic polynomial in V^(-2/3), by linear least squares (Lejaeghere et al. 2014).

    Raises
    ------
    ForcewrightError
        If the energies have no minimum between the smallest and the largest volume.
    """
    volumes, energies = np.asarray(volumes_A3, dtype=float), np.asarray(energies_eV, dtype=float)
    middle = float(volumes.mean())
    x = (middle / volumes) ** (2 / 3)
    curve = Polynomial.fit(x, energies, 3).convert()
    slope, bend = curve.deriv(1), curve.deriv(2)
    minima = [float(r.real) for r in slope.roots() if abs(r.imag) < 1e-12 and bend(r.real) > 0]
    minima = [r for r in minima if x.min() <= r <= x.max()]
    if not minima:
        raise ForcewrightError(f"the energy has no minimum between {volumes.min():.4g} and {volumes.max():.4g} Å³ per "
                               "atom; widen volume_range or start closer to equilibrium")  # fmt: skip
    root = minima[0]
    volume = middle * root**-1.5
    modulus = 4 / (9 * volume) * bend(root) * root**2  # derivatives by y = x / root
    derivative = 4 + 8 * curve.deriv(3)(root) * root**3 / (27 * volume * modulus)
    return BirchMurnaghan(volume, float(curve(root)), float(modulus), float(derivative))


def _result(atoms: Atoms, volumes: FloatArray, energies: FloatArray) -> EquationOfState:
    form = fit_birch_murnaghan(volumes, energies)
    scale = (form.volume * len(atoms) / atoms.cell.volume) ** (1 / 3)
    return EquationOfState(
        volumes_A3=volumes, energies_eV=energies, pressures_GPa=form.pressures(volumes) / GPA,
        a0_A=lattice_constant(atoms) * scale, volume_A3=form.volume, energy_eV=form.energy,
        bulk_modulus_GPa=form.bulk_modulus / GPA, bulk_modulus_derivative=form.derivative,
        fit_rms_eV=float(np.sqrt(np.mean((form.energies(volumes) - energies) ** 2))),
    )  # fmt: skip


def lattice_constant(atoms: Atoms) -> float:
    """Return the lattice constant a (Å) of the Bravais lattice, such as 5.43 for either cell of silicon."""
    try:
        return float(atoms.cell.get_bravais_lattice(eps=1e-3).vars()["a"])
    except (RuntimeError, KeyError):
        return float(atoms.cell.lengths()[0])
