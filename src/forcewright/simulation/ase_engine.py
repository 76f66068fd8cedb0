"""The engine that moves atoms with ASE's integrators."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import numpy as np
from ase import units
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS
from threadpoolctl import threadpool_limits

from forcewright.force_field import ForceField
from forcewright.plain_data import parse_json
from forcewright.simulation.ase_integrators import integrator_of
from forcewright.simulation.calculation import Calculation
from forcewright.simulation.stages import Stage
from forcewright.simulation.starting import check_species, check_stage, draw_momenta, starting_atoms
from forcewright.structure import Structure, from_voigt
from forcewright.trajectory import Snapshot


class AseEngine:
    """An `Engine` over ASE's integrators (`ase_integrators`).

    The center of mass is at rest: its motion is removed from initial velocities. Missing velocities are drawn at the
    starting temperature of the stage (`draw_momenta`). InputError if the force field does not know a species.
    """

    def __init__(self, force_field: ForceField, start: Snapshot, seed: int) -> None:
        check_species(force_field, start.structure)
        self._force_field, self._masses, self._fixed = force_field, start.masses, start.fixed
        self._rng = np.random.default_rng(seed)
        self._atoms = starting_atoms(start)
        self._atoms.calc = Calculation(force_field.calculator())
        self._step, self._stage_step, self._stage_time = 0, 0, 0.0
        self._stage: Stage | None = None
        self._dynamics: Any = None

    def begin(self, stage: Stage) -> None:
        """Start a stage; see `Engine`."""
        check_stage(stage, self._force_field, self._atoms, self._atoms.has("momenta"), self._atoms.calc)
        self._stage_time, self._stage_step, self._stage = self._time, 0, stage
        if stage.temperature_K is not None and not self._atoms.get_momenta().any():
            draw_momenta(self._atoms, stage.temperature_K[0], self._rng)
        self._make_dynamics()

    def _make_dynamics(self) -> None:
        """Make the integrator of the stage at the current step, thermostat at rest."""
        assert self._stage is not None
        self._dynamics = None
        if self._stage.ensemble != "relax":
            self._integrator = integrator_of(self._stage)
            self._dynamics = self._integrator.make(self._atoms, self._stage, *self._targets(), self._rng)

    def _targets(self) -> tuple[float, float]:
        """Return temperature (K) and pressure (eV/Å³) targets at the current step."""
        assert self._stage is not None
        pressure = self._stage.pressure_at(self._stage_step) or 0.0
        return self._stage.temperature_at(self._stage_step) or 0.0, pressure * units.GPa

    def advance(self, steps: int) -> None:
        """Move the atoms; the last step of a ramp is done at its end."""
        assert self._stage is not None
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # monitors see the result
            if self._stage.ensemble == "relax":
                self._relax(steps)
                return
            ramp = not self._stage.constant
            for _ in range(steps):
                self._stage_step += 1
                if ramp:
                    self._integrator.aim(self._dynamics, *self._targets())
                self._dynamics.step()
        self._step += steps

    def _relax(self, steps: int) -> None:
        """Relax with L-BFGS; with a pressure also the cell, in the logarithm of its deformation."""
        assert self._stage is not None
        relaxed: Any = self._atoms
        if self._stage.pressure_GPa is not None:
            pressure = self._stage.pressure_GPa[1] * units.GPa
            isotropic = self._stage.cell == "isotropic"
            cell_filter: Any = FrechetCellFilter
            relaxed = cell_filter(self._atoms, hydrostatic_strain=isotropic, scalar_pressure=pressure)
        optimizer: Any = LBFGS(relaxed, logfile=None)  # type: ignore[arg-type]
        # BLAS threads only wait for one another at 3 x 3 matrices; the logarithm is accurate to 1e-12, but warns.
        with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "logm result may be inaccurate", RuntimeWarning)
            optimizer.run(self._stage.fmax_eV_per_A, steps)
        self._atoms.set_momenta(np.zeros((len(self._atoms), 3)))

    def snapshot(self) -> Snapshot:
        """Return the current state as a snapshot."""
        atoms = self._atoms
        energy = atoms.get_potential_energy()
        velocities = atoms.get_momenta() / self._masses[:, None] * units.fs if atoms.has("momenta") else None
        stress = atoms.calc.get_property("stress", atoms) if atoms.pbc.all() else None
        return Snapshot(
            Structure.from_ase(atoms), self._step, self._time, velocities, energy,
            atoms.get_forces(apply_constraint=False), None if stress is None else from_voigt(stress),
            self._conserved(energy), self._masses, self._fixed,
        )  # fmt: skip

    def _conserved(self, potential: float) -> float | None:
        if self._dynamics is None or self._integrator.conserved is None:
            return None
        if self._integrator.conserved_on_ramps or (self._stage and self._stage.constant):
            return self._integrator.conserved(self._dynamics, potential + self._atoms.get_kinetic_energy())
        return None

    @property
    def _time(self) -> float:
        """Time in fs, the same sum however often the run was interrupted."""
        passed = 0.0 if self._stage is None else self._stage_step * self._stage.timestep_fs
        return self._stage_time + passed

    def state(self) -> Mapping[str, Any]:
        """Return everything that determines how the run continues, and restart from it with a new calculator."""
        assert self._stage is not None
        state: dict[str, Any] = {
            "cell": self._atoms.cell.array.copy(), "positions": self._atoms.positions.copy(),
            "rng": json.dumps(self._rng.bit_generator.state), "step": self._step, "stage_step": self._stage_step,
            "stage_time": self._stage_time,
        }  # fmt: skip
        if self._atoms.has("momenta"):
            state["momenta"] = self._atoms.get_momenta()
        if self._dynamics is not None:
            for name in self._integrator.state:
                value = attrgetter(name)(self._dynamics)
                state[name] = np.array(value) if isinstance(value, np.ndarray) else float(value)
        self.restore(self._stage, state)
        return state

    def restore(self, stage: Stage, state: Mapping[str, Any]) -> None:
        """Continue a stage from where ``state`` was taken."""
        self._stage = stage
        self._step, self._stage_step = int(state["step"]), int(state["stage_step"])
        self._stage_time = float(state["stage_time"])
        self._atoms.calc = Calculation(self._force_field.calculator())
        self._atoms.set_cell(state["cell"])
        self._atoms.positions[:] = state["positions"]
        if "momenta" in state:
            self._atoms.set_momenta(state["momenta"])
        self._make_dynamics()
        if self._dynamics is not None:
            for name in self._integrator.state:
                owner, _, attribute = name.rpartition(".")
                value = state[name]
                target = attrgetter(owner)(self._dynamics) if owner else self._dynamics
                setattr(target, attribute, np.array(value) if isinstance(value, np.ndarray) else float(value))
        # Last of all, because making an integrator may draw random numbers.
        self._rng.bit_generator.state = parse_json(str(state["rng"]))

    def close(self) -> None:
        """Release nothing: ASE holds no files."""
