"""Relaxation of positions and cell to a minimum of energy or enthalpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE, LBFGS
from threadpoolctl import threadpool_limits

from forcewright.analyze.result import Axes, Result
from forcewright.errors import ForcewrightError, InputError, MissingExtraError
from forcewright.protocols.system import (
    AnyStructure,
    CalculatorSource,
    explained,
    forces,
    potential_energy,
    require_crystal,
    require_positive,
    stress,
    with_calculator,
)
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.units import GPA

Cell = Literal["none", "isotropic", "shape", "full"]

_DIAGONAL = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
_VOLUME_FACTOR = 3.0  # by which a cell may grow or shrink before the relaxation counts as exploded


@dataclass(frozen=True, eq=False)
class Relaxation(Result):
    """A relaxed structure, its energy, and the steps that led there.

    ``stress_GPa`` (6,) is NaN where the cell was kept; ``energies_eV`` (steps + 1,) holds the energy (the enthalpy
    under pressure) of every step.
    """

    numbers: IntArray
    positions_A: FloatArray
    cell_A: FloatArray
    pbc: Any
    energy_eV: float
    max_force_eV_per_A: float
    stress_GPa: FloatArray
    energies_eV: FloatArray
    steps: int

    @property
    def structure(self) -> Structure:
        """The relaxed structure."""
        return Structure(self.numbers, self.positions_A, self.cell_A, self.pbc)

    def _draw(self, ax: Axes) -> None:
        ax.plot((self.energies_eV - self.energies_eV[-1]) / len(self.numbers) * 1e3, marker=".")
        ax.set(xlabel="step", ylabel="energy above the last step (meV per atom)")


def relax(
    calculator: CalculatorSource, structure: AnyStructure, *, cell: Cell = "none", fmax: float = 1e-3,
    smax_GPa: float = 0.01, pressure_GPa: float = 0.0, keep_symmetry: bool = False, max_steps: int = 1000,
) -> Relaxation:  # fmt: skip
    """Relax a structure until forces and stress are small.

    Parameters
    ----------
    cell
        What of the cell may change: nothing, its volume, its shape at constant volume, or everything.
    fmax
        Largest force on an atom at the end, in eV/Å.
    smax_GPa
        Largest deviation of a relaxed stress component from the pressure at the end.
    keep_symmetry
        Keep the space group of the start, even if it is unstable.

    Raises
    ------
    InputError
        If an argument is invalid.
    ForcewrightError
        If forces or stress are still too large after ``max_steps``, or the structure explodes.
    """
    require_positive(fmax=fmax, smax_GPa=smax_GPa, max_steps=max_steps)
    if cell not in ("none", "isotropic", "shape", "full"):
        raise InputError(f"is {cell!r}; allowed are none, isotropic, shape and full", field="cell")
    atoms = with_calculator(calculator, structure)
    if cell != "none":
        require_crystal(atoms)
    elif pressure_GPa:
        raise InputError("acts only on a cell that may change; choose cell isotropic or full", field="pressure_GPa")
    if keep_symmetry:
        try:
            from ase.constraints import FixSymmetry

            fix: Any = FixSymmetry
            atoms.set_constraint(fix(atoms))
        except ImportError:
            raise MissingExtraError("spglib", "phonons", "a relaxation that keeps the symmetry") from None
    energies = _minimize(atoms, cell, fmax, smax_GPa * GPA, pressure_GPa * GPA, max_steps)
    return Relaxation(
        numbers=atoms.numbers.copy(), positions_A=atoms.positions.copy(), cell_A=atoms.cell.array.copy(),
        pbc=atoms.pbc.copy(), energy_eV=potential_energy(atoms), max_force_eV_per_A=_max_force(atoms),
        stress_GPa=stress(atoms) / GPA if cell != "none" else np.full(6, np.nan),
        energies_eV=np.array(energies), steps=len(energies) - 1,
    )  # fmt: skip


def relaxed_atoms(atoms: Any, **options: Any) -> Any:
    """Return the relaxed structure of atoms with their calculator; the options are those of `relax`."""
    return with_calculator(atoms.calc, relax(atoms.calc, atoms, **options).structure)


def _minimize(atoms: Atoms, cell: Cell, fmax: float, smax: float, pressure: float, max_steps: int) -> list[float]:
    """Relax positions and logarithmic strain; return the enthalpy of every step.

    LBFGS needs the fewest steps where the energy is smooth. Where forces bend sharply, as at the cutoff of Tersoff's
    potential, it may oscillate forever, while FIRE comes to rest: it gets the second half of the steps.
    """
    start_volume = atoms.cell.volume
    enthalpies: list[float] = []
    variables: Any = atoms
    if cell != "none":
        kept = {"hydrostatic_strain": cell == "isotropic", "constant_volume": cell == "shape"}
        cell_filter: Any = FrechetCellFilter
        variables = cell_filter(atoms, scalar_pressure=pressure, **kept)
    first = (max_steps + 1) // 2
    attempts: list[tuple[Any, Any, int]] = [(LBFGS, {"maxstep": 0.1}, first), (FIRE, {}, max_steps - first)]
    for method, options, steps in attempts:
        optimizer = method(variables, logfile=None, **options)
        with explained(atoms), threadpool_limits(limits=1, user_api="blas"):  # threads only wait for 3 x 3 matrices
            for _ in optimizer.irun(fmax=0.0, steps=steps):
                _check_volume(atoms, start_volume, len(enthalpies))
                enthalpies.append(potential_energy(atoms) + pressure * atoms.cell.volume)
                force, excess = _max_force(atoms), _excess_stress(atoms, cell, pressure)
                if force <= fmax and excess <= smax:
                    return enthalpies
    formula = atoms.symbols.get_chemical_formula()
    problem = f"the relaxation of {formula} is not converged after {max_steps} steps: "
    problem += f"the largest force is {force:.3g} eV/Å (wanted {fmax:g})"
    problem += f", the stress is {excess / GPA:.3g} GPa off (wanted {smax / GPA:g})" if cell != "none" else ""
    raise ForcewrightError(problem + "; allow more steps or larger remains")


def _max_force(atoms: Atoms) -> float:
    return float(np.linalg.norm(forces(atoms), axis=1).max())


def _excess_stress(atoms: Atoms, cell: Cell, pressure: float) -> float:
    """Return the largest deviation (eV/Å³) from the applied pressure among the components that may relax."""
    if cell == "none":
        return 0.0
    excess = stress(atoms) + pressure * _DIAGONAL
    mean = float(excess[:3].mean())
    if cell == "isotropic":
        return abs(mean)
    return float(np.abs(excess - mean * _DIAGONAL if cell == "shape" else excess).max())


def _check_volume(atoms: Atoms, start: float, step: int) -> None:
    volume = atoms.cell.volume
    if start > 0 and not 1 / _VOLUME_FACTOR < volume / start < _VOLUME_FACTOR:
        raise ForcewrightError(f"the relaxation of {atoms.symbols.get_chemical_formula()} exploded: after {step} steps "
                               f"its volume went from {start:.4g} to {volume:.4g} Å³; the potential has no minimum "
                               "near this structure")  # fmt: skip
