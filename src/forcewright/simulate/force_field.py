"""Where the forces of a simulation come from: a potential of ours, a LAMMPS pair style, or any ASE calculator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ase.calculators.calculator import Calculator

from forcewright.potential import Potential


@dataclass(frozen=True)
class PairCommands:
    """LAMMPS commands of a pair style.

    ``pair_coeff`` arguments that name a file hold its absolute path. ``species`` are the atomic numbers of the LAMMPS
    types, in order; ``cutoff`` in Å is the largest range of the style.
    """

    pair_style: str
    pair_coeff: tuple[str, ...]
    species: tuple[int, ...]
    cutoff: float
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class ForceField:
    """A source of energies and forces that any engine can use.

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
    pair_commands
        Commands with which LAMMPS computes the same forces itself, where there are any.
    """

    name: str
    calculator: Callable[[], Calculator]
    content_hash: str
    species: tuple[int, ...] | None = None
    potential: Potential | None = None
    pair_commands: PairCommands | None = None
