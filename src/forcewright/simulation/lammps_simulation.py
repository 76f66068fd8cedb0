"""One simulation in one LAMMPS instance, units metal; runs in a separate process (`lammps_worker`).

Forces come from a pair style that LAMMPS knows, or else from the force field itself through ``fix external``. LAMMPS
counts 3N - 3 degrees of freedom, as everywhere here.
"""

from __future__ import annotations

import ctypes
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import units

from forcewright.errors import ForcewrightError, InputError
from forcewright.force_field import ForceField
from forcewright.lammps_session import (
    BAR_ANGSTROM3_PER_EV,
    atom_style,
    charge_commands,
    error_sentence,
    new_instance,
    type_of_species,
)
from forcewright.plain_data import parse_json
from forcewright.simulation.calculation import Calculation
from forcewright.simulation.lammps_frame import LammpsFrame, cell_of, images_of, to_lammps
from forcewright.simulation.stages import Stage
from forcewright.simulation.starting import check_species, check_stage, draw_momenta, starting_atoms
from forcewright.simulation.thermo import residual_force
from forcewright.structure import FloatArray, from_voigt
from forcewright.trajectory import Snapshot

_FS_PER_PS = 1000.0
_BAR_PER_GPA = 1e4
_ETAP = 8  # position of η of the barostat's first thermostat in the vector of fix npt iso: after 3 + 3 + 1 + 1 others
_ROUNDS = 20  # restarts of a minimizer that stopped too early


class LammpsSimulation:
    """The methods of an `Engine`, in the process where LAMMPS runs.

    Parameters
    ----------
    scratch
        Folder for temporary files of LAMMPS; nothing stays there.
    """

    def __init__(self, force_field: ForceField, start: Snapshot, seed: int, scratch: Path) -> None:
        check_species(force_field, start.structure)
        self._force_field, self._seed, self._scratch = force_field, seed, scratch
        self._rng = np.random.default_rng(seed)
        self._masses = start.masses
        atoms = starting_atoms(start)
        pair_style = force_field.pair_style
        self._species = tuple(np.unique(start.structure.numbers).tolist()) if pair_style is None else pair_style.species
        self._types = type_of_species(start.structure, self._species)
        self._stage: Stage | None = None
        self._stage_start, self._stage_time = 0, 0.0
        self._moves = atoms.has("momenta")
        self._failure: BaseException | None = None
        self._lmp: Any = new_instance()
        with self._explained():
            self._frame, positions, box = to_lammps(start.structure)
            self._build(positions, box)
            if self._moves:
                self._give_velocities(atoms)

    @property
    def _count(self) -> int:
        return len(self._masses)

    # building

    def _build(self, positions: FloatArray, box: list[str]) -> None:
        lmp = self._lmp
        charges = None if self._force_field.pair_style is None else self._force_field.pair_style.charges
        lmp.commands_list(
            [
                "clear", "units metal", atom_style(charges), "atom_modify map array sort 0 2.0", "box tilt large", *box,
                f"create_box {len(self._species)} box",
            ]
        )  # fmt: skip
        flat = np.ascontiguousarray(positions).ravel()
        ids = list(range(1, self._count + 1))
        placed = lmp.create_atoms(self._count, ids, self._types.tolist(), (ctypes.c_double * flat.size)(*flat))
        if placed != self._count:
            raise ForcewrightError(f"LAMMPS placed {placed} of {self._count} atoms; is a position not a number?")
        masses = _mass_commands(self._types, self._masses, len(self._species))
        lmp.commands_list([*masses, *charge_commands(charges)])
        self._set_forces()

    def _set_forces(self) -> None:
        """Set up the forces and the output of every run."""
        lmp, pair_style = self._lmp, self._force_field.pair_style
        lmp.commands_list(["neighbor 1.0 bin", "neigh_modify every 1 delay 0 check yes one 20000 page 200000"])
        if pair_style is not None:
            with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
                lmp.commands_list(list(pair_style.commands(Path(folder))))
        else:
            self._calculation = Calculation(self._force_field.calculator())
            self._atoms: Any = self._frame.start.to_ase()
            lmp.commands_list(
                [
                    "pair_style zero 0.5", "pair_coeff * *", "fix forces all external pf/callback 1 1",
                    "fix_modify forces energy yes virial yes",
                ]
            )  # fmt: skip
            lmp.set_fix_external_callback("forces", self._external, None)
        lmp.commands_list(
            [
                "compute virial all pressure NULL virial",
                "thermo_style custom step temp pe ke etotal ecouple c_virial[1]", "thermo 0",
            ]
        )  # fmt: skip

    def _external(self, caller: Any, step: int, count: int, ids: Any, positions: Any, forces: Any) -> None:
        """Fill in the forces of the force field; errors wait until LAMMPS returns."""
        try:
            if self._failure is None:
                forces[:] = self._forces_of(np.array(ids).ravel() - 1, np.array(positions), count)
                return
        except BaseException as error:  # a callback from C cannot raise
            self._failure = error
        forces[:] = 0.0

    def _forces_of(self, order: Any, positions: FloatArray, count: int) -> FloatArray:
        frame, atoms = self._frame, self._atoms
        x, images = np.empty((count, 3)), np.empty((count, 3), dtype=np.int64)
        x[order], images[order] = positions, images_of(self._lmp, count)
        structure = frame.structure(x, images, cell_of(self._lmp))
        atoms.positions[:] = structure.positions
        if not np.array_equal(atoms.cell.array, structure.cell):
            atoms.set_cell(structure.cell)
        with np.errstate(all="ignore"):  # monitors see the result
            energy = float(self._calculation.get_property("energy", atoms))
            forces = self._calculation.get_property("forces", atoms)
            stress = self._calculation.get_property("stress", atoms) if atoms.pbc.all() else None
        self._lmp.fix_external_set_energy_global("forces", energy)
        virial = np.zeros((3, 3)) if stress is None else -from_voigt(stress) * structure.volume
        virial = frame.rotation.T @ virial @ frame.rotation
        ordered = [virial[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
        self._lmp.fix_external_set_virial_global("forces", ordered)
        turned: FloatArray = (np.asarray(forces) @ frame.rotation)[order]
        return turned

    # running

    def begin(self, stage: Stage) -> None:
        """Start a stage; see `Engine`."""
        calculation = self._calculation if self._force_field.pair_style is None else None
        check_stage(stage, self._force_field, self._frame.start.to_ase(), self._moves, calculation)
        if self._stage is not None:
            self._stage_time = self._time
        self._stage, self._stage_start = stage, self._step
        with self._explained():
            if stage.temperature_K is not None and not (self._moves and self._of_atoms("v").any()):
                atoms: Any = self._frame.start.to_ase()
                atoms.set_masses(self._masses)
                draw_momenta(atoms, stage.temperature_K[0], self._rng)
                self._give_velocities(atoms)
            for name in self._lmp.available_ids("fix"):
                if name != "forces":
                    self._lmp.command(f"unfix {name}")
            self._set_dynamics(stage)
            self._run(0)

    def _give_velocities(self, atoms: Any) -> None:
        """Pass the velocities of ASE atoms to LAMMPS, in Å/ps and its frame."""
        velocities = atoms.get_momenta() / self._masses[:, None] * units.fs * _FS_PER_PS @ self._frame.rotation
        flat = np.ascontiguousarray(velocities).ravel()
        self._lmp.scatter_atoms("v", 1, 3, (ctypes.c_double * flat.size)(*flat))
        self._moves = True

    def _set_dynamics(self, stage: Stage) -> None:
        self._lmp.command(f"timestep {stage.timestep_fs / _FS_PER_PS:.17g}")
        # For the steps from here on the seed is the same whether a run was interrupted here or not.
        state = np.random.SeedSequence([self._seed, self._step]).generate_state(1)
        seed = 1 + int(state[0]) % 900_000_000  # the largest that LAMMPS accepts
        self._lmp.commands_list(_dynamics(stage, seed))

    def _run(self, steps: int, setup: bool = True) -> None:
        stage = self._stage
        assert stage is not None
        ends = f"start {self._stage_start} stop {self._stage_start + stage.steps} " if stage.steps else ""
        self._lmp.command(f"run {steps} {ends}{'' if setup else 'pre no '}post no")

    def advance(self, steps: int) -> None:
        """Move the atoms; see `Engine`."""
        assert self._stage is not None
        with self._explained():
            if self._stage.ensemble == "relax":
                self._relax(self._stage, steps)
            else:
                self._run(steps, setup=False)

    def _relax(self, stage: Stage, steps: int) -> None:
        """Minimize with LAMMPS, again if it stops too early, until forces are small or no steps are left."""
        lmp, step = self._lmp, self._step
        lmp.commands_list(["velocity all set 0 0 0", "min_style cg", "min_modify norm max dmax 0.1"])
        last = np.inf
        for _ in range(_ROUNDS):
            left = steps - (self._step - step)
            if left <= 0 or self._residual(stage) <= stage.fmax_eV_per_A:
                break
            lmp.command(f"minimize 0 {0.5 * stage.fmax_eV_per_A:.17g} {left} {10 * left}")
            if (residual := self._residual(stage)) >= last and stage.pressure_GPa is None:
                lmp.command("min_style fire")  # uses forces only, where energies have no digits left
            last = residual
        self._moves = True
        lmp.command(f"reset_timestep {step}")
        self._run(0)

    def _residual(self, stage: Stage) -> float:
        """Return the largest force in eV/Å, those on the cell divided by the number of atoms included."""
        stress = None if stage.pressure_GPa is None else self._stress()
        return residual_force(self._of_atoms("f"), stress, float(np.linalg.det(cell_of(self._lmp))), stage)

    # state

    @property
    def _step(self) -> int:
        return int(self._lmp.extract_global("ntimestep"))

    @property
    def _time(self) -> float:
        """Time in fs, the same sum however often the run was interrupted."""
        passed = 0.0 if self._stage is None else (self._step - self._stage_start) * self._stage.timestep_fs
        return self._stage_time + passed

    def _of_atoms(self, name: str) -> FloatArray:
        """Return a vector of each atom (N, 3) in LAMMPS's frame, atoms in order."""
        vectors = np.array(self._lmp.numpy.extract_atom(name, nelem=self._count, dim=3))
        return vectors[np.argsort(self._ids())]

    def _ids(self) -> Any:
        return np.array(self._lmp.numpy.extract_atom("id", nelem=self._count)).ravel()

    def _stress(self) -> FloatArray:
        """Return the stress (3, 3) in eV/Å³ in LAMMPS's frame, without the kinetic part."""
        xx, yy, zz, xy, xz, yz = np.array(self._lmp.numpy.extract_compute("virial", 0, 1)) / -BAR_ANGSTROM3_PER_EV
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])

    def snapshot(self) -> Snapshot:
        """Return the current snapshot; see `Engine`."""
        rotation = self._frame.rotation
        with self._explained():
            velocities = self._of_atoms("v") @ rotation.T / _FS_PER_PS if self._moves else None
            periodic, external = self._frame.start.pbc.all(), self._force_field.pair_style is None
            missing = periodic and external and self._calculation.get_property("stress", self._atoms) is None
            stress = rotation @ self._stress() @ rotation.T if periodic and not missing else None
            images = images_of(self._lmp, self._count)[np.argsort(self._ids())]
            structure = self._frame.structure(self._of_atoms("x"), images, cell_of(self._lmp))
            return Snapshot(
                structure, self._step, self._time, velocities, float(self._lmp.get_thermo("pe")),
                self._of_atoms("f") @ rotation.T, stress, self._conserved(), self._masses,
            )  # fmt: skip

    def _conserved(self) -> float | None:
        stage = self._stage
        if stage is None or stage.ensemble == "relax":
            return None
        if stage.ensemble == "nvt" and stage.thermostat == "langevin":
            return None  # LAMMPS's tally of it starts from uninitialized memory
        chains = stage.ensemble == "npt" or (stage.ensemble == "nvt" and stage.thermostat == "nose-hoover")
        if chains and not stage.constant:
            return None
        energy = float(self._lmp.get_thermo("etotal") + self._lmp.get_thermo("ecouple"))
        if stage.ensemble == "npt" and stage.cell == "isotropic":
            # The equations of ``fix npt iso`` give the barostat one degree of freedom, but its energy has 3 kT η.
            assert stage.temperature_K is not None
            kT = float(self._lmp.extract_global("boltz")) * stage.temperature_K[0]
            energy -= 2.0 * kT * float(self._lmp.extract_fix("motion", 0, 1, _ETAP))
        return energy

    # restart

    def state(self) -> dict[str, Any]:
        """Return everything that determines how the run continues, and restart from it; see `Engine`."""
        assert self._stage is not None
        with self._explained(), tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            path = Path(folder) / "restart"
            self._lmp.command(f'write_restart "{path}"')
            state = {
                "restart": np.frombuffer(path.read_bytes(), dtype=np.uint8),
                "rotation": self._frame.rotation, "folded": self._frame.folded, "stage_start": self._stage_start,
                "stage_time": self._stage_time, "moves": self._moves,
                "rng": json.dumps(self._rng.bit_generator.state),
            }  # fmt: skip
        self.restore(self._stage, state)
        return state

    def restore(self, stage: Stage, state: Mapping[str, Any]) -> None:
        """Continue a stage from where ``state`` was taken."""
        self._stage = stage
        self._stage_start, self._stage_time = int(state["stage_start"]), float(state["stage_time"])
        self._moves = bool(state["moves"])
        self._rng.bit_generator.state = parse_json(str(state["rng"]))
        self._frame = LammpsFrame(self._frame.start, np.array(state["rotation"]), np.array(state["folded"]))
        with self._explained(), tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            path = Path(folder) / "restart"
            path.write_bytes(np.asarray(state["restart"], dtype=np.uint8).tobytes())
            self._lmp.commands_list(["clear", "box tilt large", f'read_restart "{path}"', "atom_modify sort 0 2.0"])
            self._set_forces()
            self._set_dynamics(stage)
            self._run(0)

    def close(self) -> None:
        """End LAMMPS."""
        self._lmp.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn LAMMPS's errors into a sentence, and raise what the force field raised while LAMMPS called it."""
        try:
            yield
        except (ForcewrightError, AssertionError):
            raise
        except Exception as error:  # LAMMPS raises bare exceptions
            self._raise_failure()
            raise ForcewrightError(f"LAMMPS stopped: {error_sentence(error)}") from error
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def _mass_commands(types: Any, masses: FloatArray, count: int) -> list[str]:
    commands = []
    for kind in range(1, count + 1):
        distinct = np.unique(masses[types == kind])
        if len(distinct) > 1:
            raise InputError(f"LAMMPS takes one mass per element, but there are {distinct.tolist()} u; use engine: ase",
                             field="masses")  # fmt: skip
        commands.append(f"mass {kind} {distinct[0] if len(distinct) else 1.0:.17g}")
    return commands


def _dynamics(stage: Stage, seed: int) -> list[str]:
    """Return the fixes of a stage."""
    if stage.ensemble == "relax":
        if stage.pressure_GPa is None:
            return []
        pressure = stage.pressure_GPa[1] * _BAR_PER_GPA
        shape = "iso" if stage.cell == "isotropic" else "tri"
        return [f"fix cell all box/relax {shape} {pressure:.17g} vmax 0.01 fixedpoint 0 0 0"]
    if stage.ensemble == "nve":
        return ["fix motion all nve"]
    first, last = stage.temperature_K or (0.0, 0.0)
    temperature = f"{first:.17g} {last:.17g} {stage.thermostat_time_fs / _FS_PER_PS:.17g}"
    if stage.ensemble == "npt":
        ends = " ".join(f"{end * _BAR_PER_GPA:.17g}" for end in stage.pressure_GPa or (0.0, 0.0))
        shape = "iso" if stage.cell == "isotropic" else "tri"
        pressure_part = f"{shape} {ends} {stage.barostat_time_fs / _FS_PER_PS:.17g}"
        return [f"fix motion all npt temp {temperature} {pressure_part} flip no fixedpoint 0 0 0"]
    if stage.thermostat == "nose-hoover":
        return [f"fix motion all nvt temp {temperature}"]
    if stage.thermostat == "langevin":
        return ["fix motion all nve", f"fix thermostat all langevin {temperature} {seed} zero yes"]
    return ["fix motion all nve", f"fix thermostat all temp/csvr {temperature} {seed}"]
