"""Surface energies of slabs by Miller index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import surface

from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.protocols.relaxation import relax, relaxed_atoms
from forcewright.protocols.system import (
    AnyStructure,
    CalculatorSource,
    new_crystal,
    potential_energy,
    require_positive,
    with_calculator,
)
from forcewright.structure import FloatArray, IntArray

_J_PER_M2 = 1e20 / units.J  # 1 eV/Å² in J/m²


@dataclass(frozen=True, eq=False)
class SurfaceEnergies(Result):
    """Energies of surfaces (S,) by Miller index (S, 3), relaxed and as cut.

    ``relaxed_*`` are NaN where the slabs were not relaxed. ``atoms``, ``areas_A2`` and ``thicknesses_A`` (S,) describe
    the slabs; the area is that of one side.
    """

    miller: IntArray
    unrelaxed_eV_per_A2: FloatArray
    relaxed_eV_per_A2: FloatArray
    unrelaxed_J_per_m2: FloatArray
    relaxed_J_per_m2: FloatArray
    areas_A2: FloatArray
    thicknesses_A: FloatArray
    atoms: IntArray

    @property
    def labels(self) -> list[str]:
        """Names of the surfaces, such as (111)."""
        return [miller_label(indices) for indices in self.miller]

    def _draw(self, ax: Axes) -> None:
        rows = np.arange(len(self.miller))
        ax.bar(rows - 0.2, self.unrelaxed_J_per_m2, width=0.4, label="as cut", alpha=0.5)
        ax.bar(rows + 0.2, self.relaxed_J_per_m2, width=0.4, label="relaxed")
        ax.set(xticks=rows, xticklabels=self.labels, ylabel="surface energy (J/m²)")
        ax.legend()


def surface_energies(
    calculator: CalculatorSource, structure: AnyStructure, *,
    miller: Sequence[Sequence[int]] = ((1, 0, 0), (1, 1, 0), (1, 1, 1)), thickness_A: float = 15.0,
    vacuum_A: float = 15.0, relaxed: bool = True, relax_cell: bool = True, fmax: float = 0.01,
) -> SurfaceEnergies:  # fmt: skip
    """Compute γ = (E_slab - N E_crystal / N_crystal) / (2 A), the mean of both sides of a slab.

    The crystal is cut through the middle of the widest gap between its layers. Surfaces are not reconstructed, beyond
    what the relaxation reaches in the smallest surface cell.

    Parameters
    ----------
    structure
        The conventional unit cell, to which the Miller indices refer.
    miller
        Miller indices of the surfaces.
    thickness_A
        Minimum thickness of the slab.
    vacuum_A
        Vacuum between slabs.
    relaxed
        Relax the atoms of the slabs too.
    relax_cell
        Relax cell and positions of the crystal first.
    fmax
        Largest force in eV/Å at which a relaxation ends.

    Raises
    ------
    InputError
        If an argument is invalid.
    ForcewrightError
        If a relaxation fails.
    """
    require_positive(thickness_A=thickness_A, vacuum_A=vacuum_A)
    crystal = new_crystal(calculator, structure)
    if relax_cell:
        crystal = relaxed_atoms(crystal, cell="full")
    energy_per_atom = potential_energy(crystal) / len(crystal)
    rows = [_surface(crystal, indices, energy_per_atom, thickness_A, vacuum_A, relaxed, fmax) for indices in miller]
    unrelaxed, ends, areas, thicknesses, atoms = np.array(rows).reshape(-1, 5).T
    return SurfaceEnergies(
        miller=np.array(miller, dtype=np.int64), unrelaxed_eV_per_A2=unrelaxed, relaxed_eV_per_A2=ends,
        unrelaxed_J_per_m2=unrelaxed * _J_PER_M2, relaxed_J_per_m2=ends * _J_PER_M2,
        areas_A2=areas, thicknesses_A=thicknesses, atoms=atoms.astype(np.int64),
    )  # fmt: skip


def _surface(
    crystal: Atoms, miller: Sequence[int], energy_per_atom: float, thickness: float, vacuum: float, relaxed: bool,
    fmax: float,
) -> tuple[float, float, float, float, float]:  # fmt: skip
    """Return unrelaxed and relaxed energy in eV/Å², area, thickness and number of atoms of one slab."""
    atoms = with_calculator(crystal.calc, slab(crystal, miller, thickness_A=thickness, vacuum_A=vacuum))
    area = float(np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1])))

    def excess(energy: float) -> float:
        return (energy - len(atoms) * energy_per_atom) / (2 * area)

    cut = excess(potential_energy(atoms))
    end = excess(relax(crystal.calc, atoms, fmax=fmax).energy_eV) if relaxed else float("nan")
    return cut, end, area, float(np.ptp(atoms.positions[:, 2])), float(len(atoms))


def slab(structure: Atoms, miller: Sequence[int], *, thickness_A: float, vacuum_A: float) -> Any:
    """Return a slab of whole surface cells, normal to z, cut through the widest gap between layers.

    InputError if ``miller`` is not three whole numbers, or all are zero.
    """
    whole = all(isinstance(index, int | np.integer) for index in miller)
    if len(miller) != 3 or not whole or not any(miller):
        raise InputError(f"holds {list(miller)}; give three whole numbers, not all zero", field="miller")
    cut_out: Any = surface
    indices = tuple(int(i) for i in miller)
    height = cut_out(structure, indices, 1, periodic=True).cell[2, 2]
    atoms: Any = cut_out(structure, indices, max(1, int(np.ceil(thickness_A / height - 1e-6))), periodic=True)
    atoms.set_constraint()
    height = atoms.cell[2, 2]
    z = np.sort(atoms.positions[:, 2] % height)
    gaps = np.diff(np.append(z, z[0] + height))
    cut = z[np.argmax(gaps > gaps.max() - 1e-6)] + gaps.max() / 2
    atoms.positions -= (cut / height) * atoms.cell[2]
    atoms.wrap(eps=1e-9)
    atoms.center(vacuum=vacuum_A / 2, axis=2)
    return atoms


def miller_label(indices: Sequence[int]) -> str:
    """Return Miller indices in round brackets, negative ones with a minus sign."""
    return f"({''.join(str(int(i)) for i in indices)})"
