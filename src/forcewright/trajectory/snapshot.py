"""Snapshot: what is known of a system at one moment of a simulation.

=============  =======  ===============================================================
quantity       unit     convention
=============  =======  ===============================================================
positions      Å        as the engine moved them: atoms that left the cell are not folded back
velocities     Å/fs     (N, 3), None where unknown
energy         eV       potential energy of the whole cell
forces         eV/Å     (N, 3)
stress         eV/Å³    (3, 3), tension positive, without the kinetic part
time           fs       since the start of the simulation
=============  =======  ===============================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units
from ase.data import atomic_masses
from numpy.typing import NDArray

from forcewright.structure import FloatArray, Structure

_EV_FS2_PER_U_A2 = 1.0 / units.fs**2  # ASE's time unit is Å sqrt(u/eV): u (Å/fs)² = this many eV


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One moment of a simulation; see the table at the top of this module.

    ``conserved`` is the quantity in eV that the equations of motion conserve (with thermostat and barostat), None where
    there is none. ``masses`` are in u, those of the elements unless given. ``fixed`` (N, 3) tells which coordinates of
    which atoms a constraint holds, None where there is none.
    """

    structure: Structure
    step: int | None = None
    time: float | None = None
    velocities: FloatArray | None = None
    energy: float | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None
    conserved: float | None = None
    masses: FloatArray = None  # type: ignore[assignment]  # filled below
    fixed: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.masses is None:
            object.__setattr__(self, "masses", atomic_masses[self.structure.numbers])

    def __len__(self) -> int:
        return len(self.structure)

    @property
    def kinetic_energy(self) -> float | None:
        """Kinetic energy in eV, None where velocities are unknown."""
        if self.velocities is None:
            return None
        return float(0.5 * _EV_FS2_PER_U_A2 * np.sum(self.masses[:, None] * self.velocities**2))

    @property
    def temperature(self) -> float | None:
        """Kinetic temperature in K over 3N - 3 degrees of freedom (3 for a single atom): momentum is conserved.

        Where atoms are held fixed it is not, and the degrees of freedom are those that move.
        """
        kinetic = self.kinetic_energy
        freedom = 3 * len(self) - 3 if len(self) > 1 else 3
        if self.fixed is not None:
            freedom = max(int((~self.fixed).sum()), 1)
        return None if kinetic is None else 2.0 * kinetic / (freedom * units.kB)

    @property
    def pressure(self) -> float | None:
        """Pressure in eV/Å³, compression positive, with the kinetic part; None without stress or velocities."""
        if self.stress is None or self.velocities is None or not self.structure.volume:
            return None
        kinetic = 2.0 * float(self.kinetic_energy or 0.0) / (3.0 * self.structure.volume)
        return kinetic - float(np.trace(self.stress)) / 3.0
