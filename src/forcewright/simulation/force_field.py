"""The source of forces of a simulation: a potential, a LAMMPS pair style, or any ASE calculator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ase.calculators.calculator import Calculator

from forcewright.lammps_session import PairStyle
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
        SHA-256 of everything that determines its numbers: a run is only resumed with the same one.
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
