"""What computes energies and forces: a potential of ours, a LAMMPS pair style, or any ASE calculator.

One record serves simulations, properties and references (`forcewright.reference`), so that all know it by one hash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from ase.calculators.calculator import Calculator

from forcewright.lammps_session import LammpsNative, PairStyle
from forcewright.potential import Potential


@dataclass(frozen=True, eq=False)
class ForceField:
    """A source of energies and forces that any engine can use.

    An engine that computes in another process sends it there, so ``calculator`` must be picklable, such as a function
    or class that can be imported by name: not a lambda or a nested function.

    Attributes
    ----------
    name
        Its name in reports.
    calculator
        Returns a new ASE calculator without memory of earlier structures.
    content_hash
        SHA-256 of everything that decides its numbers: runs are resumed, and labels found again, with the same alone.
    species
        Atomic numbers it supports; None if unknown.
    potential
        The potential, if there is one.
    pair_style
        The pair style with which LAMMPS computes the same forces itself, if there is one.
    """

    name: str
    calculator: Callable[[], Calculator]
    content_hash: str
    species: tuple[int, ...] | None = None
    potential: Potential | None = None
    pair_style: PairStyle | None = None

    @classmethod
    def of_potential(cls, potential: Potential, name: str, content_hash: str) -> Self:
        """Return the record of a potential."""
        native = potential.pair_style if isinstance(potential, LammpsNative) else None
        return cls(name, potential.calculator, content_hash, potential.species, potential, native)
