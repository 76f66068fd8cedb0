"""The start of a simulation: supported species, center of mass at rest, and random velocities."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import units
from ase.constraints import FixAtoms

from forcewright.errors import InputError
from forcewright.force_field import ForceField
from forcewright.simulation.calculation import Calculation
from forcewright.simulation.stages import Stage
from forcewright.structure import Structure, require_known_species
from forcewright.trajectory import Snapshot


def check_species(force_field: ForceField, structure: Structure) -> None:
    """Raise InputError if the force field does not know a species of the structure, or its charges cannot be summed."""
    if force_field.species:
        require_known_species(structure, force_field.species, knower=force_field.name, field="structure")
    if force_field.pair_style is not None:
        force_field.pair_style.require_computable(structure, field="structure")


def check_stage(
    stage: Stage, force_field: ForceField, atoms: Any, moves: bool, calculation: Calculation | None
) -> None:
    """Raise InputError if a stage needs velocities, a cell or a stress that are missing.

    Without a ``calculation`` it is known that there is a stress.
    """
    if stage.ensemble == "nve" and not moves:
        raise InputError("an nve stage conserves the initial energy, but there are no velocities; begin with nvt")
    if stage.pressure_GPa is None and stage.ensemble != "npt":
        return
    if not atoms.pbc.all():
        raise InputError("a pressure needs a structure that is periodic in all directions; use nvt", field="pbc")
    if calculation is not None and calculation.get_property("stress", atoms) is None:
        raise InputError(f"{force_field.name} gives no stress, which a stage with a pressure needs; use nvt")


def starting_atoms(start: Snapshot) -> Any:
    """Return ASE atoms with masses and, if there are velocities, momenta; center of mass at rest."""
    atoms: Any = start.structure.to_ase()
    atoms.set_masses(start.masses)
    if start.fixed is not None:
        fixed: Any = FixAtoms
        atoms.set_constraint(fixed(mask=start.fixed.all(axis=1)))
    if start.velocities is None:
        return atoms
    momenta = start.masses[:, None] * start.velocities / units.fs
    atoms.set_momenta(momenta)
    # Drift within rounding stays, so that a start written by another run keeps its digits.
    if len(atoms) > 1 and np.abs(momenta.sum(axis=0)).max() > 1e-12 * np.abs(momenta).sum():
        remove_drift(atoms)
    return atoms


def draw_momenta(atoms: Any, kelvin: float, rng: np.random.Generator) -> None:
    """Draw momenta from the Maxwell-Boltzmann distribution, center of mass at rest.

    They are not scaled to the temperature exactly: energies of independent runs are distributed as in the ensemble.
    """
    from ase.md.velocitydistribution import thermalize_momenta  # loads all of ASE's dynamics and half of SciPy

    thermalize_momenta(atoms, temperature_K=kelvin, rng=rng)
    if atoms.constraints:
        atoms.set_momenta(atoms.get_momenta())  # those of atoms that are held fixed vanish only now
    if len(atoms) > 1:
        remove_drift(atoms)


def remove_drift(atoms: Any) -> None:
    """Bring the center of mass to rest, unless atoms that are held fixed keep the others from drifting."""
    if atoms.constraints:
        return
    masses, momenta = atoms.get_masses(), atoms.get_momenta()
    atoms.set_momenta(momenta - masses[:, None] * (momenta.sum(axis=0) / masses.sum()))
