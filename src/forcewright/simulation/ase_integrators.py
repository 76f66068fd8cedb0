"""ASE's integrators as a table: how each is made, what its state is, and how its targets are set.

The momentum of the center of mass is zero and stays so, which leaves ``g = 3N - 3`` degrees of freedom. ASE's
integrators count 3N. For those of Nosé-Hoover type the number enters the equations of motion, and with a wrong one a
chain of thermostats does not sample the canonical ensemble (the first thermostat and the others would have different
target temperatures); so the number itself is corrected here, by passing N - 1 atoms. In the same way the cell of
`MTKNPT`, whose rate of strain is symmetric, has 6 degrees of freedom and not 9.

Along a ramp the masses of thermostats and barostats, all proportional to the temperature, follow it, and their
velocities (momentum / mass) stay as they are, so that their periods remain the requested ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import FOURTH_ORDER_COEFFS, MTKNPT, IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.nose_hoover_chain import NoseHooverChainThermostat as AseChain
from ase.md.verlet import VelocityVerlet

from forcewright.simulation.stages import Stage
from forcewright.simulation.starting import remove_drift
from forcewright.structure import FloatArray


@dataclass(frozen=True)
class Integrator:
    """One of ASE's integrators.

    ==================  ===============================================================================================
    make                makes it from atoms with momenta, a stage, temperature (K) and pressure (eV/Å³) targets, and
                        random numbers
    aim                 sets the targets, given the integrator, the temperature in K and the pressure in eV/Å³
    state               its attributes that change during a run or with the targets, besides the atoms
    conserved           returns the conserved quantity in eV, if there is one; called with the integrator and the total
                        energy
    conserved_on_ramps  whether it is also conserved while the targets change
    ==================  ===============================================================================================
    """

    make: Callable[[Atoms, Stage, float, float, np.random.Generator], MolecularDynamics]
    aim: Callable[[Any, float, float], None]
    state: tuple[str, ...] = ()
    conserved: Callable[[Any, float], float] | None = None
    conserved_on_ramps: bool = False


def integrator_of(stage: Stage) -> Integrator:
    """Return the integrator of a stage that is not a relaxation."""
    if stage.ensemble == "nvt":
        return INTEGRATORS[stage.thermostat]
    return INTEGRATORS[f"npt {stage.cell}" if stage.ensemble == "npt" else stage.ensemble]


class _Chain(AseChain):
    """ASE's thermostat, with the forces on its variables from the kinetic energy alone.

    All momenta are scaled by one factor, so the loops over the chain need no arrays: the same numbers, and some hundred
    microseconds saved per step.
    """

    def integrate_nhc(self, p: FloatArray, delta: float) -> FloatArray:
        """Integrate exp(i L_NHC delta) and return the scaled momenta."""
        twice_kinetic = float(np.sum(p * p / self._masses))
        eta, p_eta, masses = self._eta.tolist(), self._p_eta.tolist(), self._Q.tolist()
        target = 3 * self._num_atoms_global * self._kT
        scale = 1.0
        for coefficient in FOURTH_ORDER_COEFFS:
            step = coefficient * delta
            for j in reversed(range(self._tchain)):
                _kick(p_eta, masses, j, twice_kinetic * scale**2 - target, self._kT, step)
            for j in range(self._tchain):
                eta[j] += step * p_eta[j] / masses[j]
            scale *= math.exp(-step * p_eta[0] / masses[0])
            for j in range(self._tchain):
                _kick(p_eta, masses, j, twice_kinetic * scale**2 - target, self._kT, step)
        self._eta[:], self._p_eta[:] = eta, p_eta
        return p * scale


def _kick(p_eta: list[float], masses: list[float], j: int, first_force: float, kT: float, step: float) -> None:
    """Advance the momentum of thermostat ``j`` by half a step, under the drag of the next one."""
    force = first_force if j == 0 else p_eta[j - 1] ** 2 / masses[j - 1] - kT
    drag = math.exp(-step / 4 * p_eta[j + 1] / masses[j + 1]) if j + 1 < len(p_eta) else 1.0
    p_eta[j] = (p_eta[j] * drag + step / 2 * force) * drag


class _StillLangevin(LangevinBAOAB):
    """BAOAB whose random momenta leave the center of mass at rest.

    The projection commutes with the friction, which is the same for all atoms, so that the remaining 3N - 3 momenta
    undergo an exact Ornstein-Uhlenbeck process.
    """

    def _BAOAB_OU(self, drag_gamma_mod: float = 0.0) -> None:
        super()._BAOAB_OU(drag_gamma_mod)  # type: ignore[no-untyped-call]
        if len(self.atoms) > 1:
            remove_drift(self.atoms)


def _free_atoms(atoms: Atoms) -> int:
    """Return a third of the degrees of freedom; where atoms are held fixed, no momentum is conserved."""
    if atoms.constraints:
        return max(len(atoms) - sum(len(constraint.index) for constraint in atoms.constraints), 1)
    return max(len(atoms) - 1, 1)


def _make_langevin(atoms: Atoms, stage: Stage, kelvin: float, pressure: float, rng: np.random.Generator) -> Any:
    # Without a barostat "hydrostatic" only means that friction is a number, which saves a matrix exponential per step.
    return _StillLangevin(  # type: ignore[no-untyped-call]
        atoms, stage.timestep_fs * units.fs, temperature_K=kelvin, T_tau=stage.thermostat_time_fs * units.fs,
        hydrostatic=True, rng=rng,
    )  # fmt: skip


def _make_bussi(atoms: Atoms, stage: Stage, kelvin: float, pressure: float, rng: np.random.Generator) -> Any:
    kind: Any = Bussi
    made = kind(atoms, stage.timestep_fs * units.fs, kelvin, stage.thermostat_time_fs * units.fs, rng=rng)
    made.ndof = 3 * _free_atoms(atoms)
    _aim_bussi(made, kelvin, pressure)
    return made


def _make_chain(atoms: Atoms, kelvin: float, stage: Stage) -> _Chain:
    masses = atoms.get_masses()[:, None]
    return _Chain(_free_atoms(atoms), masses, kelvin, stage.thermostat_time_fs * units.fs)


class _NoseHoover(NoseHooverChainNVT):
    """ASE's integrator, which keeps momenta of its own that constraints do not reach: their forces must vanish."""

    def _get_forces(self) -> FloatArray:
        forces: FloatArray = super()._get_forces()
        for constraint in self.atoms.constraints:
            constraint.adjust_forces(self.atoms, forces)
        return forces


def _make_nose_hoover(atoms: Atoms, stage: Stage, kelvin: float, pressure: float, rng: np.random.Generator) -> Any:
    made = _NoseHoover(atoms, stage.timestep_fs * units.fs, kelvin, stage.thermostat_time_fs * units.fs)
    made._thermostat = _make_chain(atoms, kelvin, stage)
    return made


def _make_npt(atoms: Atoms, stage: Stage, kelvin: float, pressure: float, rng: np.random.Generator) -> Any:
    kind = IsotropicMTKNPT if stage.cell == "isotropic" else MTKNPT
    times = (stage.thermostat_time_fs * units.fs, stage.barostat_time_fs * units.fs)
    made: Any = kind(atoms, stage.timestep_fs * units.fs, kelvin, pressure, *times)
    made._thermostat = _make_chain(atoms, kelvin, stage)
    made._num_atoms_global = _free_atoms(atoms)
    if stage.cell == "full":
        made._barostat._cell_dof = 6
        made._barostat._R[0] *= 6 / 9
    return made


def _aim_bussi(made: Any, kelvin: float, pressure: float) -> None:
    made.temp = units.kB * kelvin
    made.target_kinetic_energy = 0.5 * made.temp * made.ndof


def _aim_nose_hoover(made: Any, kelvin: float, pressure: float) -> None:
    chain = made._thermostat
    ratio = units.kB * kelvin / chain._kT
    chain._kT = units.kB * kelvin
    chain._Q *= ratio
    chain._p_eta *= ratio


def _aim_npt(made: Any, kelvin: float, pressure: float) -> None:
    _aim_nose_hoover(made, kelvin, pressure)
    barostat = made._barostat
    ratio = units.kB * kelvin / barostat._kT
    barostat._kT = units.kB * kelvin
    barostat._R *= ratio
    barostat._p_xi *= ratio
    barostat._W *= ratio
    if isinstance(made, IsotropicMTKNPT):
        made._p_eps *= ratio
    else:
        made._p_g *= ratio
    made._pressure_au = pressure


def _nose_hoover_energy(made: Any, total: float) -> float:
    return float(total + made._thermostat.get_thermostat_energy())


def _npt_energy(made: Any, total: float) -> float:
    strain_rate = made._p_eps if isinstance(made, IsotropicMTKNPT) else made._p_g
    cell_energy = float(np.sum(strain_rate**2)) / (2 * made._barostat.W) + made._pressure_au * made._get_volume()
    return float(_nose_hoover_energy(made, total) + made._barostat.get_barostat_energy() + cell_energy)


_CHAIN = ("_thermostat._eta", "_thermostat._p_eta", "_thermostat._Q", "_thermostat._kT")
_BAROSTAT = ("_barostat._xi", "_barostat._p_xi", "_barostat._R", "_barostat._W", "_barostat._kT", "_pressure_au")

INTEGRATORS: dict[str, Integrator] = {
    "nve": Integrator(lambda atoms, stage, *_: VelocityVerlet(atoms, stage.timestep_fs * units.fs),
                      lambda made, kelvin, pressure: None, (), lambda made, total: total, True),
    "langevin": Integrator(_make_langevin, lambda made, kelvin, pressure: made.set_temperature(kelvin)),
    # Conserved is the effective energy of Bussi et al., J. Chem. Phys. 126, 014101 (2007), eq. 15.
    "bussi": Integrator(_make_bussi, _aim_bussi, ("transferred_energy",),
                        lambda made, total: float(total - made.transferred_energy), True),
    "nose-hoover": Integrator(_make_nose_hoover, _aim_nose_hoover, _CHAIN, _nose_hoover_energy),
    "npt isotropic": Integrator(
        _make_npt, _aim_npt, (*_CHAIN, *_BAROSTAT, "_eps", "_p_eps", "_volume0", "_cell0"), _npt_energy
    ),
    "npt full": Integrator(_make_npt, _aim_npt, (*_CHAIN, *_BAROSTAT, "_p_g"), _npt_energy),
}  # fmt: skip
