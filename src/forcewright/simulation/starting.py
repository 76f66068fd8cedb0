"""How a simulation starts: which species it may hold, the center of mass at rest, and velocities that are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import units
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.simulation.force_field import ForceField
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot


def check_species(force_field: ForceField, structure: Structure) -> None:
    """Raise InputError if the force field does not know a species of the structure."""
    unknown = sorted(set(structure.numbers.tolist()) - set(force_field.species or structure.numbers.tolist()))
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        known = ", ".join(chemical_symbols[z] for z in force_field.species or ())
        raise InputError(f"the structure holds {names}; {force_field.name} knows only {known}", field="structure")


def starting_atoms(start: Snapshot) -> Any:
    """Return ASE atoms with masses and, where there are velocities, momenta; center of mass at rest."""
    atoms: Any = start.structure.to_ase()
    atoms.set_masses(start.masses)
    if start.velocities is None:
        return atoms
    momenta = start.masses[:, None] * start.velocities / units.fs
    atoms.set_momenta(momenta)
    # Not where it moves by rounding alone: a start written by another run keeps its digits.
    if len(atoms) > 1 and np.abs(momenta.sum(axis=0)).max() > 1e-12 * np.abs(momenta).sum():
        remove_drift(atoms)
    return atoms


def draw_momenta(atoms: Any, kelvin: float, rng: np.random.Generator) -> None:
    """Draw momenta from the Maxwell-Boltzmann distribution, center of mass at rest.

    They are not scaled to the temperature exactly: energies of independent runs are spread as those of an ensemble.
    """
    from ase.md.velocitydistribution import thermalize_momenta  # loads all of ASE's dynamics and half of SciPy

    thermalize_momenta(atoms, temperature_K=kelvin, rng=rng)
    if len(atoms) > 1:
        remove_drift(atoms)


def remove_drift(atoms: Any) -> None:
    """Bring the center of mass to rest."""
    masses, momenta = atoms.get_masses(), atoms.get_momenta()
    atoms.set_momenta(momenta - masses[:, None] * (momenta.sum(axis=0) / masses.sum()))
