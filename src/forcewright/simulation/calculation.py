"""A calculator for integrators that evaluates the force field once per configuration."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError

from forcewright.potential import PotentialCalculator
from forcewright.structure import FloatArray, Structure, to_voigt


class Calculation:
    """Caches a calculator for ASE's integrators, for one set of atoms of which only positions and cell change.

    ASE's own cache compares and copies whole Atoms several times per step, which takes longer than the forces of a
    small system.
    """

    def __init__(self, calculator: Calculator) -> None:
        self._calculator: Any = calculator
        self._positions: Any = None  # of the results
        self._cell: Any = None
        self._results: dict[str, Any] = {}

    def get_property(self, name: str, atoms: Atoms, allow_calculation: bool = True) -> Any:
        """Return a property of the atoms in their current state; None for an unavailable stress."""
        positions, cell = atoms.positions, atoms.cell.array
        if not (np.array_equal(self._positions, positions) and np.array_equal(self._cell, cell)):
            self._positions, self._cell = positions.copy(), cell.copy()
            self._results = {}
        if name not in self._results:
            self._calculate(name, atoms)
        return self._results[name]

    def _calculate(self, name: str, atoms: Atoms) -> None:
        if isinstance(self._calculator, PotentialCalculator):
            prediction = self._calculator.evaluate(Structure.from_ase(atoms))
            stress = None if prediction.stress is None else to_voigt(prediction.stress)
            self._results = {"energy": prediction.energy, "forces": prediction.forces, "stress": stress}
            return
        try:
            self._results[name] = self._calculator.get_property(name, atoms)
        except PropertyNotImplementedError:
            if name != "stress":
                raise
            self._results[name] = None

    def get_potential_energy(self, atoms: Atoms, force_consistent: bool = False) -> float:
        """Return the energy in eV."""
        return float(self.get_property("energy", atoms))

    def get_forces(self, atoms: Atoms) -> FloatArray:
        """Return forces (N, 3) in eV/Å."""
        return np.array(self.get_property("forces", atoms))

    def get_stress(self, atoms: Atoms) -> FloatArray:
        """Return the stress (6,) in eV/Å³, in Voigt order."""
        stress = self.get_property("stress", atoms)
        if stress is None:
            raise PropertyNotImplementedError("the force field gives no stress")
        return np.array(stress)
