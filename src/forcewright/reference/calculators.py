"""Any ASE calculator as a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ase import Atoms
from ase.calculators.calculator import (
    CalculationFailed,
    Calculator,
    PropertyNotImplementedError,
    PropertyNotPresent,
    SCFError,
)

from forcewright.errors import InputError
from forcewright.force_field import ForceField
from forcewright.potential import Failure
from forcewright.reference.checks import Scope, checked_labels, failure_of, has_stress, sentence, unknown_elements
from forcewright.reference.identity import hash_settings
from forcewright.reference.properties import measure, require_offered
from forcewright.structure import Labels, Structure


@dataclass(frozen=True, eq=False)
class CalculatorReference(ForceField):
    """A reference that an ASE calculator computes.

    The energy is the calculator's free energy where it has one, because the forces are its derivative. The stress is
    asked for where a structure is periodic in all directions, and left out where the calculator has none.

    Parameters
    ----------
    reuse
        Use one calculator for all structures. Faster where making one is slow; what it remembers of one structure may
        then change the last digits of the next.
    scope
        Which systems it computes.
    properties
        What else labels hold in their ``info``, by the names of `forcewright.reference.properties`.
    """

    reuse: bool = False
    scope: Scope = Scope()
    properties: tuple[str, ...] = ()

    def label(self, structures: Sequence[Structure]) -> list[Labels | Failure]:
        """Label every structure, in order."""
        return [unknown_elements(structure, self.species) or self._labelled(structure) for structure in structures]

    def _labelled(self, structure: Structure) -> Labels | Failure:
        if self.reuse:
            return _labels(structure, self._kept, self.properties)
        calculator = self.calculator()
        try:
            return _labels(structure, calculator, self.properties)
        finally:
            close(calculator)

    def with_properties(self, names: Sequence[str]) -> CalculatorReference:
        """Return the reference that gives these properties, too; the hash of one without any stays as it is.

        Raises
        ------
        InputError
            If the calculator does not give one.
        """
        if not names:
            return self
        calculator = self.calculator()
        try:
            require_offered(calculator, names)
        finally:
            close(calculator)
        identity = hash_settings("properties", {"reference": self.content_hash, "names": sorted(names)})
        return replace(self, properties=tuple(names), content_hash=identity)

    @cached_property
    def _kept(self) -> Calculator:
        return self.calculator()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the calculator in use behind when travelling to a worker process."""
        return {key: value for key, value in self.__dict__.items() if key != "_kept"}


def _labels(structure: Structure, calculator: Calculator, names: Sequence[str]) -> Labels | Failure:
    atoms = structure.to_ase()
    atoms.calc = calculator
    try:
        energy = _energy(atoms, calculator)
        forces = atoms.get_forces()  # type: ignore[no-untyped-call]
        stress = _stress(atoms, calculator) if has_stress(structure) else None
        info = measure(atoms, calculator, names)
    except (SCFError, CalculationFailed) as error:
        return Failure(sentence(error), repeatable=True)
    except Exception as error:  # anything may go wrong in somebody else's code
        return failure_of(error, known=InputError)
    return checked_labels(structure, energy, forces, stress, info)


def _energy(atoms: Atoms, calculator: Calculator) -> float:
    consistent = "free_energy" in calculator.implemented_properties
    return float(atoms.get_potential_energy(force_consistent=consistent))  # type: ignore[no-untyped-call]


def _stress(atoms: Atoms, calculator: Calculator) -> Any:
    if "stress" not in calculator.implemented_properties:
        return None
    try:
        return atoms.get_stress()  # type: ignore[no-untyped-call]
    except (PropertyNotImplementedError, PropertyNotPresent):  # not with these settings, or not for this system
        return None


def close(calculator: Any) -> None:
    """End the program behind a calculator, where it has one."""
    if hasattr(calculator, "close"):
        calculator.close()
