"""Energy and force of two atoms over their distance, and whether they repel each other at short distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.protocols.system import CalculatorSource, forces, new_calculator, potential_energy
from forcewright.structure import FloatArray, atomic_number

_BOX = 20.0  # Å of empty space around the pair, for calculators that need a cell
_SHORTEST_BOND = 0.7  # shortest distance of a minimum that counts as bond, in sums of covalent radii


@dataclass(frozen=True, eq=False)
class DimerCurve(Result):
    """Energy of a pair of atoms, free atoms being zero, and the repulsive force between them, over their distance.

    ``bond_A`` and ``well_depth_eV`` are those of the deepest minimum, NaN where there is none. ``wall_monotonic``
    says whether the energy rises all the way inwards from there; ``hole_A`` is the distance below which it does not
    (the top of the wall), NaN where there is no hole.
    """

    species: tuple[str, str]
    distances_A: FloatArray
    energies_eV: FloatArray
    forces_eV_per_A: FloatArray
    bond_A: float
    well_depth_eV: float
    wall_monotonic: bool
    hole_A: float

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.distances_A, self.energies_eV, label="–".join(self.species))
        if np.isfinite(self.hole_A):
            ax.axvline(self.hole_A, linestyle="--", label=f"hole below {self.hole_A:.2f} Å")
        top = float(np.clip(5 * abs(self.well_depth_eV), 5, 50)) if np.isfinite(self.well_depth_eV) else 10.0
        ax.set(xlabel="distance (Å)", ylabel="energy (eV)", ylim=(min(-1.0, 1.2 * self.energies_eV.min()), top))
        ax.axhline(0, linewidth=0.5, color="gray")
        ax.legend()


def dimer_curve(
    calculator: CalculatorSource, species: tuple[str, str], *, r_min_A: float | None = None, r_max_A: float = 6.0,
    points: int = 200,
) -> DimerCurve:  # fmt: skip
    """Compute the energy of two atoms in empty space over their distance.

    Parameters
    ----------
    r_min_A
        Shortest distance; half the sum of the covalent radii by default.
    r_max_A
        Longest distance.
    points
        Number of distances.

    Raises
    ------
    InputError
        If an element is unknown or the distances are invalid.
    ForcewrightError
        If the calculator fails on a pair or on a single atom.
    """
    if len(species) != 2:
        raise InputError(f"is {list(species)}; give two chemical symbols", field="species")
    bond = sum(covalent_radii[atomic_number(symbol, "species")] for symbol in species)
    r_min = 0.5 * bond if r_min_A is None else r_min_A
    if not 0 < r_min < r_max_A or points < 10:
        raise InputError(f"{r_min:g} to {r_max_A:g} Å in {points} points is an invalid range", field="r_min_A")
    calculator = new_calculator(calculator)
    distances = np.linspace(r_min, r_max_A, points)
    free = sum(potential_energy(_in_box([symbol], np.zeros((1, 3)), calculator)) for symbol in species)
    curve = np.array([_pair(calculator, species, r) for r in distances])
    energies, outward = curve[:, 0] - free, curve[:, 1]
    return _analyzed(species, distances, energies, outward, _SHORTEST_BOND * bond)


def _in_box(symbols: list[str], positions: FloatArray, calculator: Any) -> Any:
    extent = float(np.ptp(positions, axis=0).max()) + _BOX
    atoms: Any = Atoms(symbols, positions=positions, cell=[extent] * 3, pbc=False, calculator=calculator)
    atoms.center()
    return atoms


def _pair(calculator: Any, species: tuple[str, str], distance: float) -> tuple[float, float]:
    """Return energy and the force -dE/dr."""
    atoms = _in_box(list(species), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]]), calculator)
    return potential_energy(atoms), float(forces(atoms)[1, 2])


def _analyzed(
    species: tuple[str, str], distances: FloatArray, energies: FloatArray, outward: FloatArray, shortest_bond: float
) -> DimerCurve:
    """Find the bond, where the force turns from repulsive to attractive, and the wall inside it."""
    turns = np.flatnonzero((outward[:-1] > 0) & (outward[1:] <= 0))
    turns = turns[distances[turns] >= shortest_bond]
    bond, depth, inside = float("nan"), float("nan"), len(distances)
    if len(turns):
        k = turns[np.argmin(np.minimum(energies[turns], energies[turns + 1]))]
        bond = _zero(distances[k : k + 2], outward[k : k + 2])
        depth, inside = -_energy_at(bond, distances[k : k + 2], energies[k : k + 2], outward[k : k + 2]), int(k + 1)
    pulling = np.flatnonzero(outward[:inside] < 0) if len(turns) else np.array([], dtype=int)
    hole = float("nan")
    if len(pulling):
        k = pulling[-1]
        hole = _zero(distances[k : k + 2], outward[k : k + 2])
    return DimerCurve(
        species=(species[0], species[1]), distances_A=distances, energies_eV=energies, forces_eV_per_A=outward,
        bond_A=bond, well_depth_eV=depth, wall_monotonic=not len(pulling), hole_A=hole,
    )  # fmt: skip


def _zero(r: FloatArray, force: FloatArray) -> float:
    return float(r[0] - force[0] * (r[1] - r[0]) / (force[1] - force[0]))


def _energy_at(r: float, ends: FloatArray, energies: FloatArray, outward: FloatArray) -> float:
    """Interpolate the energy by the cubic Hermite polynomial through energies and forces."""
    h = ends[1] - ends[0]
    t = (r - ends[0]) / h
    values = (2 * t**3 - 3 * t**2 + 1) * energies[0] + (3 * t**2 - 2 * t**3) * energies[1]
    slopes = (t**3 - 2 * t**2 + t) * -outward[0] + (t**3 - t**2) * -outward[1]
    return float(values + h * slopes)
