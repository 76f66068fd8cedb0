"""Where the forces of a simulation come from: a potential of ours, a LAMMPS pair style, or any ASE calculator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ase.calculators.calculator import Calculator

from forcewright.lammps_session import PairStyle
from forcewright.potential import Potential


@dataclass(frozen=True, eq=False)
class ForceField:
    """A source of energies and forces that any engine can use.

    An engine that computes in another process sends it there, so ``calculator`` must be importable by name or be
    something else that can be pickled: no lambda and no function inside a function.

    Attributes
    ----------
    name
        How reports call it.
    calculator
        Returns a new ASE calculator without any memory of earlier structures.
    content_hash
        SHA-256 of everything that decides its numbers, so that a run is only resumed with the same one.
    species
        Atomic numbers it knows; None where it does not tell.
    potential
        The potential, where there is one.
    pair_style
        The pair style with which LAMMPS computes the same forces itself, where there is one.
    """

    name: str
    calculator: Callable[[], Calculator]
    content_hash: str
    species: tuple[int, ...] | None = None
    potential: Potential | None = None
    pair_style: PairStyle | None = None
