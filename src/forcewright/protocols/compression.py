"""Static compression: the volume of a crystal under pressure, at zero temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.protocols.relaxation import relax
from forcewright.protocols.system import AnyStructure, CalculatorSource, new_crystal, with_calculator
from forcewright.structure import FloatArray
from forcewright.units import GPA


@dataclass(frozen=True, eq=False)
class Compression(Result):
    """Volumes, energies and enthalpies per atom over pressures (P,); ``cells_A`` (P, 3, 3) are the relaxed cells."""

    pressures_GPa: FloatArray
    volumes_A3: FloatArray
    energies_eV: FloatArray
    enthalpies_eV: FloatArray
    cells_A: FloatArray

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.pressures_GPa, self.volumes_A3, marker="o")
        ax.set(xlabel="pressure (GPa)", ylabel="volume (Å³ per atom)")


def compression(
    calculator: CalculatorSource, structure: AnyStructure, *, pressures_GPa: Sequence[float] = (0, 2, 4, 6, 8, 10),
    cell: Literal["isotropic", "full"] = "full", keep_symmetry: bool = False, fmax: float = 1e-3,
) -> Compression:  # fmt: skip
    """Relax a crystal under one pressure after another, each starting from the last relaxed structure.

    Parameters
    ----------
    pressures_GPa
        Pressures, one after another.
    cell
        What may change: the volume (isotropic), or the whole cell (full).
    keep_symmetry
        Keep the space group during relaxations, even if it is unstable.
    fmax
        Largest force in eV/Å at which a relaxation ends.

    Raises
    ------
    InputError
        If the structure is not a crystal, or an argument is invalid.
    ForcewrightError
        If a relaxation fails, for example because the crystal collapses.
    """
    if not len(pressures_GPa) or not np.isfinite(pressures_GPa).all():
        raise InputError(f"is {list(pressures_GPa)}; give at least one pressure", field="pressures_GPa")
    if cell not in ("isotropic", "full"):
        raise InputError(f"is {cell!r}; allowed are isotropic and full", field="cell")
    atoms = new_crystal(calculator, structure)
    cells, energies = [], []
    for pressure in pressures_GPa:
        end = relax(atoms.calc, atoms, cell=cell, pressure_GPa=pressure, keep_symmetry=keep_symmetry, fmax=fmax)
        atoms = with_calculator(atoms.calc, end.structure)
        cells.append(end.cell_A)
        energies.append(end.energy_eV / len(atoms))
    pressures, volumes = np.array(pressures_GPa, dtype=float), np.abs(np.linalg.det(cells)) / len(atoms)
    return Compression(
        pressures_GPa=pressures, volumes_A3=volumes, energies_eV=np.array(energies),
        enthalpies_eV=np.array(energies) + pressures * GPA * volumes, cells_A=np.array(cells),
    )  # fmt: skip
