"""Whatever an ASE calculator computes as a potential: it can be saved, subtracted from labels, and taken for a teacher.

What is saved is how the calculator is made, and never what it is made of.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ase.calculators.calculator import BaseCalculator, Calculator
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.models.ase_calculator import calculator_factory
from forcewright.models.family import PotentialKind
from forcewright.models.storage import PotentialFolder, write_potential
from forcewright.open_cell import closed_cell
from forcewright.potential import PotentialBase, Prediction
from forcewright.structure import Structure, from_voigt

_ALL = tuple(range(1, len(chemical_symbols)))


class CalculatorPotential(PotentialBase):
    """A potential that an ASE calculator computes; subclasses say which, and how it is saved.

    Attributes
    ----------
    gap
        Gap in Å that structures with open directions get, for a calculator that needs a cell; None for none.
    """

    gap: float | None = None

    @abstractmethod
    def calculator(self, *, grades: bool = False) -> Calculator:
        """Return a new calculator; no calculator knows ``grades``."""

    @cached_property
    def _calculator(self) -> Calculator:
        return self.calculator()

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements."""
        return [self._predicted(structure, forces, stress) for structure in structures]

    def _predicted(self, structure: Structure, forces: bool, stress: bool) -> Prediction:
        atoms = structure.to_ase() if self.gap is None else closed_cell(structure, self.gap).to_ase()
        if self.gap is not None:
            atoms.pbc = True
        calculator = self._calculator
        if isinstance(calculator, BaseCalculator):
            calculator.reset()  # type: ignore[no-untyped-call]  # the same structure is computed again, as by any other potential
        atoms.calc = calculator
        consistent = "free_energy" in calculator.implemented_properties
        energy = float(atoms.get_potential_energy(force_consistent=consistent))  # type: ignore[no-untyped-call]
        of_atoms = atoms.get_forces() if forces else None  # type: ignore[no-untyped-call]
        tension = None
        if stress and structure.pbc.all() and structure.volume > 0 and "stress" in calculator.implemented_properties:
            tension = from_voigt(atoms.get_stress())  # type: ignore[no-untyped-call]
        return Prediction(energy, of_atoms, tension)


@dataclass(frozen=True, eq=False, repr=False)
class NamedCalculator(CalculatorPotential):
    """An ASE calculator by the name of what makes it, such as ``tblite.ase:TBLite``.

    Parameters
    ----------
    home
        Module and name.
    kwargs
        Arguments for it, plain data.
    """

    home: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows: all, as nobody says which."""
        return _ALL

    @property
    def cutoff(self) -> float:
        """Not known."""
        return 0.0

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.home.partition(":")[2]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.home})"

    def calculator(self, *, grades: bool = False) -> Calculator:
        """Return a new calculator; InputError if it cannot be made, or may not without consent."""
        del grades
        try:
            factory = calculator_factory(self.home, field="ase")
            made: Calculator = factory(**self.kwargs)
        except InputError:
            raise
        except Exception as error:  # anything may go wrong in somebody else's code
            raise InputError(
                f"{self.home} does not work with kwargs {dict(self.kwargs)}: {error}", field="ase"
            ) from error
        return made

    def save(self, folder: str | Path) -> Path:
        """Write how it is made."""
        return write_potential(folder, ASE_KIND.kind, {"ase": self.home, "kwargs": dict(self.kwargs)})

    @classmethod
    def load(cls, folder: str | Path) -> NamedCalculator:
        """Read what `save` wrote; a calculator that could do more than compute needs consent when it is made."""
        with PotentialFolder(folder, ASE_KIND.kind) as saved:
            home, kwargs = saved.content["ase"], saved.content["kwargs"]
            if not isinstance(home, str) or ":" not in home or not isinstance(kwargs, dict):
                raise InputError("does not name an ASE calculator and its arguments")
        made = cls(home, kwargs)
        calculator_factory(home, field="ase")  # consent, before hours of other work
        return made


ASE_KIND = PotentialKind(kind="ase", load=NamedCalculator.load)
