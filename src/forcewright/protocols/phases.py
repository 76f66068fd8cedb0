"""Phases of an element: their structures by name, and their relative energies over volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from forcewright.analyze.result import Axes, Result
from forcewright.errors import ForcewrightError, InputError
from forcewright.protocols.equation_of_state import EquationOfState, equation_of_state
from forcewright.protocols.system import AnyStructure, CalculatorSource, new_crystal, potential_energy, with_calculator
from forcewright.structure import FloatArray


def _lonsdaleite(symbol: str) -> Any:
    cell = [1.0, 1.0, np.sqrt(8 / 3), 90, 90, 120]
    return crystal(symbol, [(1 / 3, 2 / 3, 1 / 16)], spacegroup=194, cellpar=cell)


def _beta_tin(symbol: str) -> Any:
    c = 0.552
    cell = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, c / 2]]
    return Atoms([symbol] * 2, positions=[(0, -0.25, -c / 8), (0, 0.25, c / 8)], cell=cell, pbc=True)


def _bc8(symbol: str) -> Any:
    sites, cell = [(0.1003, 0.1003, 0.1003)], [1.0, 1.0, 1.0, 90, 90, 90]
    return crystal(symbol, sites, spacegroup=206, cellpar=cell, primitive_cell=True)


def _st12(symbol: str) -> Any:
    sites, cell = [(0.0912, 0.0912, 0.0), (0.1730, 0.3784, 0.2486)], [1.0, 1.0, 1.177, 90, 90, 90]
    return crystal([symbol] * 2, sites, spacegroup=96, cellpar=cell)


#: Structures by name, with any lattice constant. Internal coordinates of BC8 and ST12 are those of Si and Ge
#: (Kasper and Richards 1964), of β-tin and simple hexagonal those of Si under pressure (McMahon and Nelmes 1993).
PHASES: dict[str, Callable[[str], Any]] = {
    "diamond": lambda symbol: bulk(symbol, "diamond", a=1.0),
    "hexagonal_diamond": _lonsdaleite,
    "fcc": lambda symbol: bulk(symbol, "fcc", a=1.0),
    "bcc": lambda symbol: bulk(symbol, "bcc", a=1.0),
    "hcp": lambda symbol: bulk(symbol, "hcp", a=1.0, c=np.sqrt(8 / 3)),
    "simple_cubic": lambda symbol: bulk(symbol, "sc", a=1.0),
    "simple_hexagonal": lambda symbol: Atoms(symbol, cell=[1.0, 1.0, 0.94, 90, 90, 120], pbc=True),
    "beta_tin": _beta_tin,
    "bc8": _bc8,
    "st12": _st12,
}


@dataclass(frozen=True, eq=False)
class PhaseEnergies(Result):
    """Energies (eV) and volumes (Å³) per atom of phases at their minima, by name.

    Energies are relative to the given crystal, which comes first. ``failures`` says why phases are missing.
    """

    energies_eV: dict[str, float]
    volumes_A3: dict[str, float]
    bulk_moduli_GPa: dict[str, float]
    curve_volumes_A3: dict[str, FloatArray]
    curve_energies_eV: dict[str, FloatArray]
    failures: dict[str, str]

    def _draw(self, ax: Axes) -> None:
        for name, volumes in self.curve_volumes_A3.items():
            ax.plot(volumes, self.curve_energies_eV[name], marker=".", label=name)
        ax.set(xlabel="volume (Å³ per atom)", ylabel="energy above the given crystal (eV per atom)")
        ax.legend(fontsize=8)


def phase(symbol: str, name: str, volume_A3: float) -> Any:
    """Return the primitive cell of a phase of an element at a volume per atom; InputError if the phase is unknown."""
    if name not in PHASES:
        close = get_close_matches(name, PHASES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"allowed are {', '.join(PHASES)}"
        raise InputError(f"unknown phase {name!r}; {hint}", field="phases")
    made = PHASES[name](symbol)
    atoms: Any = Atoms(made.symbols, scaled_positions=made.get_scaled_positions(), cell=made.cell, pbc=True)
    atoms.set_cell(atoms.cell.array * (volume_A3 * len(atoms) / atoms.cell.volume) ** (1 / 3), scale_atoms=True)
    return atoms


def _at_minimum(calculator: CalculatorSource, symbol: str, name: str, volume: float) -> Any:
    """Return a phase of fixed shape near the deepest minimum over volumes around that of the given crystal."""
    volumes = volume * np.linspace(0.5, 1.3, 17)
    energies = [potential_energy(with_calculator(calculator, phase(symbol, name, v))) for v in volumes]
    inner = [k for k in range(1, 16) if energies[k] <= min(energies[k - 1], energies[k + 1])]
    if not inner:
        low, high = volumes[0], volumes[-1]
        raise ForcewrightError(f"{name} has no minimum of the energy between {low:.4g} and {high:.4g} Å³ per atom")
    return phase(symbol, name, volumes[min(inner, key=lambda k: energies[k])])


def phase_energies(
    calculator: CalculatorSource, structure: AnyStructure, *, phases: Sequence[str] = ("fcc", "bcc", "hcp"),
    volume_range: float = 0.06, points: int = 7, fmax: float = 1e-3,
) -> PhaseEnergies:  # fmt: skip
    """Compute equations of state of phases of an element, with fixed symmetry, against that of a given crystal.

    Parameters
    ----------
    phases
        Names of phases: diamond, hexagonal_diamond, fcc, bcc, hcp, simple_cubic, simple_hexagonal, beta_tin, bc8,
        st12.
    volume_range
        Volumes run from V (1 - range) to V (1 + range).
    points
        Number of volumes.
    fmax
        Largest force in eV/Å at which a relaxation ends.

    Raises
    ------
    InputError
        If the structure is not a crystal of one element, or a phase is unknown.
    ForcewrightError
        If the equation of state of the given crystal fails.
    """
    atoms = new_crystal(calculator, structure)
    symbols = set(atoms.get_chemical_symbols())
    if len(symbols) > 1:
        raise InputError(f"holds {', '.join(sorted(symbols))}; phases are those of one element", field="structure")
    volume, symbol = atoms.cell.volume / len(atoms), symbols.pop()
    for name in phases:
        phase(symbol, name, volume)  # unknown names are reported before anything is computed

    def curve(start: Any) -> EquationOfState:
        return equation_of_state(
            atoms.calc, start, relaxed="shape", keep_symmetry=True, volume_range=volume_range, points=points, fmax=fmax
        )

    curves, failures = {"given": curve(atoms)}, {}
    for name in phases:
        try:
            curves[name] = curve(_at_minimum(atoms.calc, symbol, name, volume))
        except ForcewrightError as error:
            failures[name] = str(error)
    zero = curves["given"].energy_eV
    return PhaseEnergies(
        energies_eV={name: eos.energy_eV - zero for name, eos in curves.items()},
        volumes_A3={name: eos.volume_A3 for name, eos in curves.items()},
        bulk_moduli_GPa={name: eos.bulk_modulus_GPa for name, eos in curves.items()},
        curve_volumes_A3={name: eos.volumes_A3 for name, eos in curves.items()},
        curve_energies_eV={name: eos.energies_eV - zero for name, eos in curves.items()},
        failures=failures,
    )
