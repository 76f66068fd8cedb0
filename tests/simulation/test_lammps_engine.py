"""LAMMPS moves the atoms: the same physics as ASE's integrators, right ensembles, restart, and errors as sentences."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from forcewright.errors import ForcewrightError, InputError
from forcewright.force_field import ForceField
from forcewright.lammps_session import PairStyle
from forcewright.models.pair_style import PairStylePotential, pair_style_potential
from forcewright.simulation.ase_engine import AseEngine
from forcewright.simulation.lammps_engine import LammpsEngine
from forcewright.simulation.stages import Stage
from forcewright.simulation.starting import draw_momenta, starting_atoms
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

NVE = Stage(ensemble="nve", time_ps=1.0)
NVT = Stage(ensemble="nvt", temperature_K=600, time_ps=1.0)


def of_potential(potential: PairStylePotential, native: bool = True) -> ForceField:
    pair_style = potential.pair_style if native else None
    return ForceField("test", potential.calculator, "hash", potential.species, potential, pair_style)


def silicon(native: bool = True) -> ForceField:
    return of_potential(pair_style_potential("sw", "* * Si.sw Si", Path(".")), native)


def start_of(atoms: Atoms, kelvin: float | None = None, rattle: float = 0.05) -> Snapshot:
    atoms = atoms.copy()
    atoms.rattle(rattle, seed=1)
    start = Snapshot(Structure.from_ase(atoms))
    if kelvin is None:
        return start
    moving = starting_atoms(start)
    draw_momenta(moving, kelvin, np.random.default_rng(3))
    velocities = moving.get_momenta() / moving.get_masses()[:, None] * units.fs
    return Snapshot(start.structure, velocities=velocities)


def triclinic() -> Atoms:
    """Silicon in a turned and sheared cell, with atoms outside of it."""
    atoms = bulk("Si", a=5.45) * (2, 2, 3)
    shear = np.eye(3) + 0.03 * np.random.default_rng(0).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    atoms.rotate(40, (1, 2, 3), rotate_cell=True)
    atoms.positions += [3.0, -40.0, 17.0]
    return atoms


def slab() -> Atoms:
    atoms = bulk("Si", cubic=True) * (2, 1, 2)
    atoms.pbc = (True, False, True)
    atoms.rotate(30, "x", rotate_cell=True)
    return atoms


def cluster() -> Atoms:
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    return Atoms(atoms.numbers, atoms.positions)


def dimer() -> Atoms:
    return Atoms("Si2", [[5.0, 0.0, 0.0], [5.0, 0.0, 2.3]])


def salt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.7, cubic=True) * (2, 2, 1)


def ions() -> ForceField:
    """The point charges and repulsion of molten salt (Tosi and Fumi 1964), part of it in reciprocal space."""
    pairs = ["1 1 424.097 0.317 0 1.05 0.499", "1 2 1256.31 0.317 0 7.0 8.676", "2 2 3488.998 0.317 0 72.5 145.427"]
    potential = pair_style_potential(
        "born/coul/long 7.0", pairs, Path("."), ["Na", "Cl"], charges={"Na": 1, "Cl": -1}, kspace_style="pppm 1.0e-5"
    )
    return of_potential(potential)


def cubic(repeat: int = 2) -> Atoms:
    return bulk("Si", cubic=True) * (repeat, repeat, repeat)


@pytest.fixture
def engines() -> Iterator[list[LammpsEngine]]:
    """Engines that a test starts, ended with it."""
    started: list[LammpsEngine] = []
    yield started
    for engine in started:
        engine.close()


def started(engines: list[LammpsEngine], field: ForceField, start: Snapshot, seed: int = 0) -> LammpsEngine:
    engines.append(LammpsEngine(field, start, seed))
    return engines[-1]


def assert_close(one: Snapshot, other: Snapshot, tolerance: float) -> None:
    np.testing.assert_allclose(one.structure.cell, other.structure.cell, atol=1e-12)
    for name, factor in (("velocities", 1.0), ("forces", 100.0), ("stress", 1.0)):
        found, expected = getattr(one, name), getattr(other, name)
        assert (found is None) == (expected is None)
        if found is not None:
            np.testing.assert_allclose(found, expected, atol=factor * tolerance)
    np.testing.assert_allclose(one.structure.positions, other.structure.positions, atol=tolerance)
    assert one.energy == pytest.approx(other.energy, abs=100 * tolerance)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    "atoms", [triclinic(), slab(), cluster(), dimer()], ids=["triclinic", "slab", "cluster", "dimer"]
)
def test_path_of_constant_energy_is_that_of_ase(engines: list[LammpsEngine], atoms: Atoms, native: bool) -> None:
    """LAMMPS's conversion constants differ from ASE's by 5e-8."""
    field, start = silicon(native), start_of(atoms, 900)
    lammps, ase = started(engines, field, start), AseEngine(field, start, 0)
    for engine in (lammps, ase):
        engine.begin(NVE)
    first = lammps.snapshot()
    np.testing.assert_allclose(first.structure.positions, start.structure.positions, atol=1e-12)
    energy, forces, virial = pair_style_potential("sw", "* * Si.sw Si", Path(".")).pair_style.evaluate(start.structure)
    assert first.energy == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(first.forces, forces, atol=1e-10)
    if first.stress is not None:
        np.testing.assert_allclose(first.stress, -virial / start.structure.volume, atol=1e-12)
    assert_close(first, ase.snapshot(), 1e-9)
    for steps in (30, 70):
        lammps.advance(steps)
        ase.advance(steps)
    last = lammps.snapshot()
    assert (last.step, last.time) == (100, 100.0)
    assert_close(last, ase.snapshot(), 1e-6)
    assert last.conserved == pytest.approx(first.conserved, abs=2e-3)


def test_potential_of_ours_drives_lammps(engines: list[LammpsEngine], shared_data: Path) -> None:
    from forcewright.models import load

    potential = load(shared_data / "yace/XPOT-Si.yace")
    field = ForceField("ace", potential.calculator, "hash", potential.species, potential)
    start = start_of(cubic(), 600)
    lammps, ase = started(engines, field, start), AseEngine(field, start, 0)
    for engine in (lammps, ase):
        engine.begin(NVE)
        engine.advance(50)
    assert_close(lammps.snapshot(), ase.snapshot(), 1e-6)


def test_ions_move_as_with_ase(engines: list[LammpsEngine]) -> None:
    field, start = ions(), start_of(salt(), 900)
    lammps, ase = started(engines, field, start), AseEngine(field, start, 0)
    for engine in (lammps, ase):
        engine.begin(NVE)
        engine.advance(40)
    assert_close(lammps.snapshot(), ase.snapshot(), 1e-6)


def test_drawn_velocities_are_those_of_the_ase_engine(engines: list[LammpsEngine]) -> None:
    lammps, ase = started(engines, silicon(), start_of(triclinic()), 5), AseEngine(silicon(), start_of(triclinic()), 5)
    for engine in (lammps, ase):
        engine.begin(NVT)
    np.testing.assert_allclose(lammps.snapshot().velocities, ase.snapshot().velocities, atol=1e-14)


THERMOSTATS = ["nose-hoover", "langevin", "bussi"]


@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_temperature_and_its_fluctuations(engines: list[LammpsEngine], thermostat: str) -> None:
    """Kinetic energy of the canonical ensemble: mean g kT / 2, variance g (kT)² / 2."""
    stage = Stage(ensemble="nvt", temperature_K=500, time_ps=22, thermostat=thermostat, thermostat_time_fs=50)
    engine = started(engines, silicon(), start_of(cubic()))
    engine.begin(stage)
    engine.advance(2000)
    found = []
    for _ in range(400):
        engine.advance(50)
        found.append(engine.snapshot().temperature)
    freedom = 3 * 64 - 3
    blocks = np.mean(np.reshape(found, (20, 20)), axis=1)
    assert np.mean(found) == pytest.approx(500, abs=5 * np.std(blocks) / np.sqrt(20))
    assert np.std(blocks) < 25
    assert np.var(found) == pytest.approx(2 * 500**2 / freedom, rel=0.35)


def test_langevin_at_zero_kelvin_is_friction_alone(engines: list[LammpsEngine]) -> None:
    """Free atoms lose their velocity as exp(-t / τ), to the first order in the time step."""
    far = start_of(Atoms("Si4", positions=8.0 * np.eye(4, 3), cell=[20, 20, 20], pbc=True), 300)
    engine = started(engines, silicon(), far)
    engine.begin(Stage(ensemble="nvt", thermostat="langevin", temperature_K=0, time_ps=1, thermostat_time_fs=250))
    engine.advance(400)
    np.testing.assert_allclose(engine.snapshot().velocities, far.velocities * np.exp(-400 / 250), rtol=0.01)


@pytest.mark.parametrize("cell", ["isotropic", "full"])
def test_pressure_of_the_barostat_and_what_it_conserves(engines: list[LammpsEngine], cell: str) -> None:
    stage = Stage(
        ensemble="npt", temperature_K=300, pressure_GPa=2, time_ps=12, cell=cell, barostat_time_fs=300
    )  # fmt: skip
    engine = started(engines, silicon(), start_of(cubic()))
    engine.begin(stage)
    engine.advance(2000)
    pressures, conserved, volumes = [], [], []
    for _ in range(200):
        engine.advance(50)
        snapshot = engine.snapshot()
        pressures.append(snapshot.pressure / units.GPa)
        conserved.append(snapshot.conserved)
        volumes.append(snapshot.structure.volume)
    blocks = np.mean(np.reshape(pressures, (10, 20)), axis=1)
    assert np.mean(pressures) == pytest.approx(2, abs=5 * np.std(blocks) / np.sqrt(10) + 0.02)
    assert np.ptp(conserved) < 2e-4 * 64 and np.ptp(volumes) > 1
    drift = np.polyfit(np.arange(200) * 0.05, conserved, 1)[0] / 64
    assert abs(drift) < 1e-5  # eV/atom/ps
    shear = snapshot.structure.cell - np.diag(np.diag(snapshot.structure.cell))
    assert (np.abs(shear).max() > 1e-3) == (cell == "full")


def test_ramps_join_and_end_where_they_should(engines: list[LammpsEngine]) -> None:
    start = start_of(cubic(), 300)
    stage = Stage(
        ensemble="npt", temperature_K=(300, 900), pressure_GPa=(0, 3), time_ps=10, thermostat_time_fs=50,
        barostat_time_fs=300,
    )  # fmt: skip
    whole, parts = (started(engines, silicon(), start) for _ in range(2))
    for engine in (whole, parts):
        engine.begin(stage)
    whole.advance(60)
    for steps in (1, 29, 30):
        parts.advance(steps)
        parts.snapshot()
    np.testing.assert_array_equal(whole.snapshot().structure.positions, parts.snapshot().structure.positions)
    whole.advance(9940 - 1000)
    seen = []
    for _ in range(100):
        whole.advance(10)
        seen.append(whole.snapshot())
    assert np.mean([s.temperature for s in seen]) == pytest.approx(870, abs=60)
    assert np.mean([s.pressure / units.GPa for s in seen]) == pytest.approx(2.85, abs=0.5)
    assert seen[-1].step == 10_000 and seen[-1].conserved is None


STAGES = [
    NVE,
    *(Stage(ensemble="nvt", temperature_K=(600, 900), thermostat=name, time_ps=1.0) for name in THERMOSTATS),
    Stage(ensemble="npt", temperature_K=600, time_ps=1.0, barostat_time_fs=300),
    Stage(
        ensemble="npt", temperature_K=(600, 900), pressure_GPa=(0, 5), time_ps=1.0, cell="full", barostat_time_fs=300
    ),
]


@pytest.mark.parametrize(
    ("field", "atoms"),
    [(silicon(True), triclinic()), (silicon(False), triclinic()), (silicon(True), slab()), (ions(), salt())],
    ids=["native", "external", "slab", "ions"],
)
def test_resumed_runs_are_undisturbed_runs(engines: list[LammpsEngine], field: ForceField, atoms: Atoms) -> None:
    start = start_of(atoms, 600)
    engine, other = (started(engines, field, start, 7) for _ in range(2))
    stages = STAGES if atoms.pbc.all() else [stage for stage in STAGES if stage.ensemble != "npt"]
    for stage in stages:
        engine.begin(stage)
        engine.advance(70)
        state = engine.state()
        there = engine.snapshot()
        engine.advance(60)
        engine.state()  # random numbers start anew here as well
        engine.advance(20)
        other.restore(stage, state)
        again = other.snapshot()
        other.advance(60)
        other.state()
        other.advance(20)
        for one, two in ((there, again), (engine.snapshot(), other.snapshot())):
            assert (one.step, one.time, one.energy, one.conserved) == (two.step, two.time, two.energy, two.conserved)
            np.testing.assert_array_equal(one.structure.positions, two.structure.positions)
            np.testing.assert_array_equal(one.structure.cell, two.structure.cell)
            np.testing.assert_array_equal(one.velocities, two.velocities)
            np.testing.assert_array_equal(one.forces, two.forces)


def test_taking_a_state_changes_rounding_only(engines: list[LammpsEngine]) -> None:
    field, start = silicon(), start_of(triclinic(), 600)
    stage = Stage(ensemble="npt", temperature_K=600, time_ps=1.0, barostat_time_fs=300)
    plain, interrupted = (started(engines, field, start) for _ in range(2))
    for engine in (plain, interrupted):
        engine.begin(stage)
        engine.advance(50)
    interrupted.state()
    for engine in (plain, interrupted):
        engine.advance(50)
    assert_close(plain.snapshot(), interrupted.snapshot(), 1e-8)


@pytest.mark.parametrize("native", [True, False])
def test_relaxation(engines: list[LammpsEngine], native: bool) -> None:
    """Of silicon of Stillinger and Weber: a = 5.431 Å, -4.3366 eV, by construction."""
    field = silicon(native)
    engine = started(engines, field, start_of(triclinic(), 300))
    engine.begin(Stage(ensemble="relax", fmax_eV_per_A=1e-4))
    engine.advance(1000)
    fixed = engine.snapshot()
    assert np.linalg.norm(fixed.forces, axis=1).max() < 1e-4
    assert not fixed.velocities.any() and fixed.step == 0
    np.testing.assert_allclose(fixed.structure.cell, triclinic().cell.array, atol=1e-12)
    engine.begin(Stage(ensemble="relax", fmax_eV_per_A=1e-4, pressure_GPa=0, cell="full"))
    engine.advance(1000)
    free = engine.snapshot()
    assert free.energy / 24 == pytest.approx(-4.3366, abs=1e-5)
    assert (free.structure.volume / 3) ** (1 / 3) == pytest.approx(5.431, abs=1e-3)
    np.testing.assert_allclose(free.stress, 0, atol=2e-5)
    engine.begin(NVT)
    assert engine.snapshot().temperature == pytest.approx(600, rel=0.5)


def test_masses_are_those_of_the_start(engines: list[LammpsEngine]) -> None:
    start = start_of(cubic(1), 600)
    heavy = dataclasses.replace(start, masses=4 * start.masses)
    engine, ase = started(engines, silicon(), heavy), AseEngine(silicon(), heavy, 0)
    for one in (engine, ase):
        one.begin(NVE)
        one.advance(30)
    assert_close(engine.snapshot(), ase.snapshot(), 1e-7)
    mixed = dataclasses.replace(start, masses=np.linspace(28, 30, len(start)))
    with pytest.raises(InputError, match="engine: ase"):
        LammpsEngine(silicon(), mixed, 0)


class NoStress(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=(), system_changes=()):  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


class Failing(NoStress):
    def calculate(self, atoms=None, properties=(), system_changes=()):  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        if not np.allclose(atoms.positions[0], 0.0, atol=0.5):
            raise RuntimeError("the network is tired")


def test_calculators_of_ase(engines: list[LammpsEngine]) -> None:
    start = start_of(bulk("Cu", cubic=True) * (2, 2, 2), 300)
    field = ForceField("EMT", EMT, "hash")
    lammps, ase = started(engines, field, start), AseEngine(field, start, 0)
    for engine in (lammps, ase):
        engine.begin(NVE)
        engine.advance(20)
    assert_close(lammps.snapshot(), ase.snapshot(), 1e-7)


def test_failures_of_calculators_are_told(engines: list[LammpsEngine]) -> None:
    start = start_of(cubic(1), 600)
    engine = started(engines, ForceField("plain", NoStress, "hash"), start)
    with pytest.raises(InputError, match="gives no stress"):
        engine.begin(Stage(ensemble="npt", temperature_K=300, time_ps=1))
    engine.begin(NVE)
    assert engine.snapshot().stress is None
    engine = started(engines, ForceField("failing", Failing, "hash"), start)
    engine.begin(NVE)
    with pytest.raises(ForcewrightError, match="the network is tired"):
        engine.advance(1000)


def test_stages_that_need_more_are_refused(engines: list[LammpsEngine]) -> None:
    engine = started(engines, silicon(), start_of(slab()))
    with pytest.raises(InputError, match="begin with nvt"):
        engine.begin(NVE)
    with pytest.raises(InputError, match="periodic in all directions"):
        engine.begin(Stage(ensemble="npt", temperature_K=300, time_ps=1))
    with pytest.raises(InputError, match="holds Ge"):
        LammpsEngine(silicon(), Snapshot(Structure.from_ase(bulk("Ge"))), 0)
    flat = Structure([14], [[0, 0, 0]], np.diag([5.0, 5.0, 0.0]), [True] * 3)
    with pytest.raises(InputError, match="cell"):
        LammpsEngine(silicon(), Snapshot(flat), 0)
    local = ForceField("local", lambda: LennardJones(), "hash")
    with pytest.raises(InputError, match="class of a module"):
        LammpsEngine(local, start_of(cubic(1)), 0)


def wrong_commands(folder: Path) -> list[str]:
    return ["pair_style sw", "pair_coeff * * nowhere.sw Si"]


def test_explosions_and_bad_commands_are_sentences(engines: list[LammpsEngine]) -> None:
    atoms = cubic()
    atoms.positions[1] = atoms.positions[0] + [0.2, 0.1, 0.0]
    engine = started(engines, silicon(), start_of(atoms, 300, rattle=0.0))
    engine.begin(NVE)
    with pytest.raises(ForcewrightError, match=r"LAMMPS stopped: (Lost atoms|Non-numeric|Atom)"):
        engine.advance(1000)
    bad = ForceField("bad", NoStress, "hash", (14,), None, PairStyle((14,), wrong_commands, 4.0))
    with pytest.raises(ForcewrightError, match=r"cannot open sw potential file nowhere.sw"):
        LammpsEngine(bad, start_of(cubic(1)), 0)


def test_end_of_its_process_is_told(engines: list[LammpsEngine]) -> None:
    engine = started(engines, silicon(), start_of(cubic(1), 300))
    engine.begin(NVE)
    os.kill(engine._process.pid, signal.SIGKILL)
    with pytest.raises(ForcewrightError, match="ended by signal SIGKILL"):
        engine.advance(10)
    scratch = Path(engine._scratch)
    engine.close()
    engine.close()
    assert not scratch.exists()
    with pytest.raises(ForcewrightError, match="closed"):
        engine.snapshot()


def test_interrupted_call_does_not_mix_up_answers(engines: list[LammpsEngine]) -> None:
    engine = started(engines, silicon(), start_of(cubic(1), 300))
    engine.begin(NVE)
    engine._number += 1
    engine._connection.send((engine._number, "advance", (10,)))  # as if interrupted before the answer
    assert engine.snapshot().step == 10


_PARENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_lammps_engine import NVE, cubic, silicon, start_of, LammpsEngine
engine = LammpsEngine(silicon(), start_of(cubic(1), 300), 0)
print(engine._process.pid, engine._scratch, flush=True)
engine.begin(NVE)
while True:
    engine.advance(1000)
"""


def test_process_ends_with_a_killed_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child, scratch = parent.stdout.readline().split()
    time.sleep(0.2)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() and not Path(scratch).exists():
            break
        time.sleep(0.1)
    else:
        pytest.fail("LAMMPS's process lives on without its parent")


def test_no_shared_memory_is_left() -> None:
    engine = LammpsEngine(silicon(), start_of(cubic(1)), 0)
    pid = engine._process.pid
    engine.close()
    assert not list(Path("/dev/shm").glob(f"mpich_shm_{pid:x}_*"))
