"""What every protocol starts from: a structure with a calculator whose results are checked.

Protocols take a calculator, or a function that makes one, and a `Structure` or ASE atoms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import BaseCalculator, Calculator, PropertyNotImplementedError

from forcewright.errors import ForcewrightError, InputError
from forcewright.structure import FloatArray, Structure, require_atoms

CalculatorSource = Calculator | Callable[[], Calculator]
AnyStructure = Structure | Atoms


def with_calculator(calculator: CalculatorSource, structure: AnyStructure) -> Any:
    """Return new ASE atoms with a calculator, or with what a function that makes one returns; InputError if none is."""
    atoms: Any
    if isinstance(structure, Structure):
        atoms = structure.to_ase()
    elif isinstance(structure, Atoms):
        atoms = structure.copy()  # type: ignore[no-untyped-call]
    else:
        raise InputError(f"is a {type(structure).__name__}; give a Structure or ASE Atoms", field="structure")
    atoms.calc = new_calculator(calculator)
    return atoms


def new_crystal(calculator: CalculatorSource, structure: AnyStructure) -> Any:
    """Return what `with_calculator` does; InputError if it is not periodic in all three directions."""
    atoms = with_calculator(calculator, structure)
    require_crystal(atoms)
    return atoms


def new_calculator(source: CalculatorSource) -> Any:
    """Return the calculator itself, or the one that the function makes."""
    known = (BaseCalculator, GetPropertiesMixin)
    made = source if isinstance(source, known) or not callable(source) else source()
    if not isinstance(made, known):
        problem = f"gives a {type(made).__name__}; give an ASE calculator or a function that returns one"
        raise InputError(problem, field="calculator")
    return made


@contextmanager
def explained(atoms: Atoms) -> Iterator[None]:
    """Turn any error of a calculator into a ForcewrightError of one sentence."""
    name = type(atoms.calc).__name__
    try:
        yield
    except ForcewrightError:
        raise
    except PropertyNotImplementedError as error:
        raise InputError(f"{name} does not compute what this protocol needs ({error})", field="calculator") from error
    except Exception as error:  # calculators raise anything
        formula = atoms.symbols.get_chemical_formula()
        raise ForcewrightError(f"{name} failed on {formula}: {error or type(error).__name__}") from error


def potential_energy(atoms: Any) -> float:
    """Return the energy in eV."""
    return float(_computed(atoms, atoms.get_potential_energy, "an energy"))


def forces(atoms: Any) -> FloatArray:
    """Return the forces (N, 3) in eV/Å."""
    return _computed(atoms, atoms.get_forces, "a force")


def stress(atoms: Any) -> FloatArray:
    """Return the stress (6,) in eV/Å³, Voigt order, tension positive."""
    return _computed(atoms, atoms.get_stress, "a stress")


def _computed(atoms: Atoms, compute: Callable[[], Any], name: str) -> FloatArray:
    with explained(atoms):
        values = np.asarray(compute(), dtype=np.float64)
    if not np.isfinite(values).all():
        formula = atoms.symbols.get_chemical_formula()
        raise ForcewrightError(f"{type(atoms.calc).__name__} gives {name} that is not finite for {formula}")
    return values


def supercell_repeats(atoms: Atoms, repeat: int | Sequence[int] | None, min_height: float) -> tuple[int, int, int]:
    """Return how often to repeat a cell: ``repeat``, or until opposite faces are ``min_height`` Å apart.

    InputError if ``repeat`` is not one or three positive whole numbers, or the structure is not periodic.
    """
    require_crystal(atoms)
    if repeat is None:
        heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
        counts = [max(1, int(np.ceil(min_height / height - 1e-6))) for height in heights]
    else:
        counts = [repeat] * 3 if isinstance(repeat, int) else list(repeat)
    if len(counts) != 3 or any(not isinstance(n, int | np.integer) or n < 1 for n in counts):
        raise InputError(f"is {repeat}; give one or three positive whole numbers", field="repeat")
    require_atoms(len(atoms) * math.prod(map(int, counts)), "repeat")
    return int(counts[0]), int(counts[1]), int(counts[2])


def require_crystal(atoms: Atoms) -> None:
    """Refuse a structure that is not periodic in all three directions."""
    if not atoms.pbc.all() or abs(atoms.cell.volume) < 1e-9:
        raise InputError("is not periodic in three directions; give a crystal with a cell", field="structure")


def require_positive(**values: float) -> None:
    """Refuse numbers that are not positive."""
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"is {value}; give a positive number", field=name)
