"""ASE's integrators as the engine sets them up: Newton's paths, and the ensembles of textbooks."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from model_potentials import IdealGas, LennardJones, Springs, lennard_jones
from scipy import stats

from forcewright.errors import InputError
from forcewright.simulation import ForceField, Stage
from forcewright.simulation.ase_engine import AseEngine
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

THERMOSTATS = [
    {"ensemble": "nvt", "thermostat": "langevin"}, {"ensemble": "nvt", "thermostat": "nose-hoover"},
    {"ensemble": "nvt", "thermostat": "bussi"}, {"ensemble": "npt", "cell": "isotropic"},
    {"ensemble": "npt", "cell": "full"},
]  # fmt: skip
NAMES = [" ".join(list(one.values())) for one in THERMOSTATS]


def argon(repeat: tuple[int, int, int] = (2, 2, 2), a: float = 5.3) -> Snapshot:
    return Snapshot(Structure.from_ase(bulk("Ar", "fcc", a=a, cubic=True) * repeat))


def moving(snapshot: Snapshot, kelvin: float, seed: int) -> Snapshot:
    """The snapshot with velocities of a temperature."""
    engine = AseEngine(lennard_jones(), snapshot, seed)
    engine.begin(Stage(ensemble="nvt", temperature_K=kelvin, time_ps=1))
    return Snapshot(snapshot.structure, velocities=engine.snapshot().velocities)


def samples(engine: AseEngine, stage: Stage, equilibrate: int, count: int, every: int) -> list[Snapshot]:
    engine.begin(stage)
    engine.advance(equilibrate)
    found = []
    for _ in range(count):
        engine.advance(every)
        found.append(engine.snapshot())
    return found


# --- Newton ---------------------------------------------------------------------------------------------------------


def test_nve_runs_backwards_along_its_path() -> None:
    start = moving(argon(), 60.0, 0)
    stage = Stage(ensemble="nve", time_ps=10, timestep_fs=4)
    there = AseEngine(lennard_jones(), start, 0)
    there.begin(stage)
    there.advance(300)
    turned = there.snapshot()
    back = AseEngine(lennard_jones(), Snapshot(turned.structure, velocities=-turned.velocities), 0)
    back.begin(stage)
    back.advance(300)
    np.testing.assert_allclose(back.snapshot().structure.positions, start.structure.positions, atol=1e-9)
    assert np.abs(turned.structure.positions - start.structure.positions).max() > 0.1


def test_the_error_of_the_energy_in_nve_falls_with_the_square_of_the_timestep() -> None:
    start, errors = moving(argon(), 60.0, 0), []
    for timestep in (8.0, 4.0):
        engine = AseEngine(lennard_jones(), start, 0)
        engine.begin(Stage(ensemble="nve", time_ps=10, timestep_fs=timestep))
        conserved = []
        for _ in range(round(2000 / timestep)):
            engine.advance(1)
            conserved.append(engine.snapshot().conserved)
        errors.append(np.std(conserved))
    assert 3.0 < errors[0] / errors[1] < 5.0


def test_nve_follows_lammps(lammps_path: tuple[Snapshot, Structure]) -> None:
    """300 steps of Lennard-Jones argon by LAMMPS's own forces and integrator; its constants differ in the 7th digit."""
    start, end = lammps_path
    engine = AseEngine(lennard_jones(), start, 0)
    engine.begin(Stage(ensemble="nve", time_ps=1.2, timestep_fs=4))
    engine.advance(300)
    ours = engine.snapshot().structure.positions
    assert np.abs(ours - start.structure.positions).max() > 0.1
    np.testing.assert_allclose(ours, end.positions, atol=2e-5)


@pytest.fixture(scope="module")
def lammps_path() -> tuple[Snapshot, Structure]:
    import ctypes

    from forcewright.lammps_session import new_instance

    start = moving(argon(), 60.0, 1)
    positions, velocities = start.structure.positions, start.velocities
    assert velocities is not None
    side, count = start.structure.cell[0, 0], len(start)
    lmp = new_instance()
    lmp.commands_list(
        [
            "units metal", "atom_style atomic", "atom_modify map array", "boundary p p p",
            f"region box block 0 {side:.17g} 0 {side:.17g} 0 {side:.17g}", "create_box 1 box",
        ]
    )  # fmt: skip
    xs, vs = positions.ravel(), (1000.0 * velocities).ravel()  # Å/ps
    lmp.create_atoms(
        count, None, [1] * count, (ctypes.c_double * xs.size)(*xs), (ctypes.c_double * vs.size)(*vs)
    )  # fmt: skip
    lmp.commands_list(
        [
            f"mass 1 {start.masses[0]:.17g}", "pair_style lj/cut 8.0", "pair_coeff 1 1 0.0104 3.4",
            "fix 1 all nve", "timestep 0.004", "run 300",
        ]
    )  # fmt: skip
    ids = np.array(lmp.numpy.extract_atom("id", nelem=count)).ravel()
    wrapped = np.empty((count, 3))
    wrapped[ids - 1] = lmp.numpy.extract_atom("x", nelem=count, dim=3)
    lmp.close()
    moved = wrapped - positions
    end = positions + moved - side * np.round(moved / side)
    return start, Structure(start.structure.numbers, end, start.structure.cell, start.structure.pbc)


# --- Ensembles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", THERMOSTATS, ids=NAMES)
def test_kinetic_energies_are_distributed_as_in_the_canonical_ensemble(settings: dict[str, str]) -> None:
    """2K / kT follows χ² with 3N - 3 degrees of freedom; for 8 atoms 3N would be 14 % off in the mean."""
    kelvin, count = 40.0, 150
    start = argon((2, 1, 1))
    stage = Stage(temperature_K=kelvin, time_ps=1000, timestep_fs=8, barostat_time_fs=400, **settings)
    found = samples(AseEngine(lennard_jones(), start, 4), stage, 300, count, 40)
    freedom = 3 * len(start) - 3
    energies = [2.0 * (one.kinetic_energy or 0.0) / (units.kB * kelvin) for one in found]
    assert stats.kstest(energies, stats.chi2(freedom).cdf).pvalue > 0.01
    assert np.mean([one.temperature for one in found]) == pytest.approx(
        kelvin, abs=4 * kelvin * np.sqrt(2 / 21 / count)
    )


def test_potential_energies_of_a_harmonic_crystal_are_those_of_equipartition() -> None:
    """BAOAB samples positions of a harmonic system exactly: 3N - 3 modes of kT/2 each, distributed as χ²."""
    kelvin = 300.0
    start = argon((2, 1, 1))
    springs = Springs(sites=start.structure.positions)
    field = ForceField("springs", springs.calculator, "springs", (18,))
    stage = Stage(ensemble="nvt", thermostat="langevin", temperature_K=kelvin, time_ps=1000, timestep_fs=10)
    found = samples(AseEngine(field, start, 1), stage, 300, 300, 50)
    energies = np.array([2.0 * (one.energy or 0.0) / (units.kB * kelvin) for one in found])
    assert stats.kstest(energies, stats.chi2(3 * len(start) - 3).cdf).pvalue > 0.01


def test_langevin_at_zero_kelvin_is_friction_alone() -> None:
    """Free atoms lose their velocity as exp(-t / τ), the center of mass at rest."""
    start = moving(argon((2, 1, 1)), 300.0, 1)
    field = ForceField("ideal gas", IdealGas().calculator, "ideal gas", (18,))
    engine = AseEngine(field, start, 2)
    engine.begin(Stage(ensemble="nvt", thermostat="langevin", temperature_K=0, time_ps=1, thermostat_time_fs=250))
    engine.advance(400)
    np.testing.assert_allclose(engine.snapshot().velocities, start.velocities * np.exp(-400 / 250), rtol=1e-10)


@pytest.mark.parametrize("cell", ["isotropic", "full"])
def test_the_mean_pressure_is_the_target(cell: str) -> None:
    """With the kinetic part of 3N - 3 degrees of freedom ⟨P⟩ = P_target exactly, whatever the potential."""
    target = 0.1
    stage = Stage(ensemble="npt", cell=cell, temperature_K=60, pressure_GPa=target, time_ps=1000, timestep_fs=8,
                  barostat_time_fs=400)  # fmt: skip
    found = samples(AseEngine(lennard_jones(), argon((2, 2, 1), 5.4), 2), stage, 1000, 200, 20)
    pressures = np.array([one.pressure or 0.0 for one in found]) / units.GPa
    blocks = pressures.reshape(20, -1).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(len(blocks))
    assert error < 0.02
    assert pressures.mean() == pytest.approx(target, abs=4 * error)


def test_the_volumes_of_an_ideal_gas_are_distributed_as_in_the_isobaric_ensemble() -> None:
    """With the center of mass at rest Z(V) ∝ V^(N-1), so that PV / kT follows a gamma distribution of shape N."""
    count, kelvin, pressure = 6, 300.0, 1e-3
    side = (count * units.kB * kelvin / (pressure * units.GPa)) ** (1 / 3)
    rng = np.random.default_rng(0)
    structure = Structure(np.full(count, 18), side * rng.random((count, 3)), side * np.eye(3), np.ones(3, bool))
    field = ForceField("ideal gas", IdealGas().calculator, "ideal gas", (18,))
    stage = Stage(ensemble="npt", temperature_K=kelvin, pressure_GPa=pressure, time_ps=1000, timestep_fs=5,
                  thermostat_time_fs=50, barostat_time_fs=100)  # fmt: skip
    found = samples(AseEngine(field, Snapshot(structure), 3), stage, 500, 200, 40)
    reduced = [pressure * units.GPa * one.structure.volume / (units.kB * kelvin) for one in found]
    assert stats.kstest(reduced, stats.gamma(count).cdf).pvalue > 0.01


@pytest.mark.parametrize("settings", THERMOSTATS[1:], ids=NAMES[1:])
def test_the_extended_energy_is_conserved(settings: dict[str, str]) -> None:
    start = moving(argon(), 60.0, 3)
    stage = Stage(temperature_K=60, time_ps=100, timestep_fs=2, **settings)
    found = samples(AseEngine(lennard_jones(), start, 3), stage, 1, 50, 20)
    conserved = np.array([one.conserved for one in found])
    kinetic = np.array([one.kinetic_energy for one in found])
    assert np.ptp(kinetic) > 0.02
    assert np.ptp(conserved) < 0.01 * np.ptp(kinetic)


def test_the_rate_of_strain_of_a_full_cell_has_six_degrees_of_freedom() -> None:
    stage = Stage(ensemble="npt", cell="full", temperature_K=60, time_ps=1000, timestep_fs=8, barostat_time_fs=200)
    engine = AseEngine(lennard_jones(), argon((2, 1, 1), 5.4), 2)
    engine.begin(stage)
    energies = []
    for _ in range(150):
        engine.advance(20)
        rate, mass = engine._dynamics._p_g, engine._dynamics._barostat.W
        np.testing.assert_allclose(rate, rate.T, atol=1e-10 * np.abs(rate).max())
        energies.append(np.sum(rate**2) / mass / (units.kB * 60))
    assert np.mean(energies) == pytest.approx(6.0, abs=1.2)  # ASE's own count gives 9


def test_velocities_are_drawn_at_rest_and_of_the_first_temperature() -> None:
    temperatures = []
    for seed in range(200):
        engine = AseEngine(lennard_jones(), argon((1, 1, 1)), seed)
        engine.begin(Stage(ensemble="nvt", temperature_K=(80, 500), time_ps=1))
        drawn = engine.snapshot()
        assert drawn.velocities is not None
        np.testing.assert_allclose(drawn.masses @ drawn.velocities, 0.0, atol=1e-15)
        temperatures.append(drawn.temperature)
    assert np.mean(temperatures) == pytest.approx(80.0, abs=4 * 80 * np.sqrt(2 / 9 / 200))
    assert np.std(temperatures) == pytest.approx(80.0 * np.sqrt(2 / 9), rel=0.2)  # not forced to one value


# --- Ramps, relaxations, restarts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", THERMOSTATS, ids=NAMES)
def test_a_ramp_ends_at_its_end(settings: dict[str, str]) -> None:
    pressure = {"pressure_GPa": (0.0, 0.2)} if settings["ensemble"] == "npt" else {}
    stage = Stage(temperature_K=(90, 10), time_ps=8, timestep_fs=8, barostat_time_fs=400, **settings, **pressure)
    engine = AseEngine(lennard_jones(), argon(), 0)
    engine.begin(stage)
    engine.advance(stage.steps - 200)
    late = []
    for _ in range(20):
        engine.advance(10)
        late.append(engine.snapshot())
    expected = np.mean([stage.temperature_at(stage.steps - 10 * k) or 0.0 for k in range(20)])
    assert np.mean([one.temperature for one in late]) == pytest.approx(expected, rel=0.25)
    if pressure:
        assert np.mean([one.pressure or 0.0 for one in late]) / units.GPa == pytest.approx(0.19, abs=0.04)


@pytest.mark.parametrize("cell", ["isotropic", "full"])
def test_a_relaxation_finds_the_minimum_at_a_pressure(cell: str) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    engine = AseEngine(ForceField("EMT", EMT, "emt", None), Snapshot(Structure.from_ase(atoms)), 0)
    stage = Stage(ensemble="relax", pressure_GPa=5.0, fmax_eV_per_A=1e-4, cell=cell)
    engine.begin(stage)
    engine.advance(stage.max_steps)
    end = engine.snapshot()
    assert end.stress is not None and end.forces is not None and end.velocities is not None
    np.testing.assert_allclose(-np.trace(end.stress) / 3 / units.GPa, 5.0, atol=0.01)
    if cell == "full":
        np.testing.assert_allclose(-end.stress / units.GPa, 5.0 * np.eye(3), atol=0.01)
    assert np.linalg.norm(end.forces, axis=1).max() < 1e-4
    assert end.step == 0 and not end.velocities.any()


@pytest.mark.parametrize("settings", [{"ensemble": "nve"}, *THERMOSTATS], ids=["nve", *NAMES])
@pytest.mark.parametrize("ramp", [False, True])
def test_a_restored_engine_goes_on_to_the_last_bit(settings: dict[str, str], ramp: bool) -> None:
    start = moving(argon(), 60.0, 1)
    more = {} if settings["ensemble"] == "nve" else {"temperature_K": (60, 90) if ramp else 60}
    stage = Stage(time_ps=1.0, timestep_fs=4, **settings, **more)
    engine = AseEngine(lennard_jones(), start, 7)
    engine.begin(stage)
    engine.advance(61)
    state = dict(engine.state())
    engine.advance(140)
    other = AseEngine(lennard_jones(), start, 8)
    other.restore(stage, state)
    other.advance(140)
    one, two = engine.snapshot(), other.snapshot()
    for values, same in (
        (one.structure.positions, two.structure.positions), (one.velocities, two.velocities), (one.forces, two.forces),
        (one.structure.cell, two.structure.cell),
    ):  # fmt: skip
        np.testing.assert_array_equal(values, same)
    assert (one.energy, one.conserved, one.step, one.time) == (two.energy, two.conserved, two.step, two.time)


def test_neighbor_lists_of_the_past_do_change_roundings() -> None:
    """Why `state` takes a new calculator: without that, the test above could not fail."""
    start = moving(argon(), 60.0, 1)
    model = LennardJones()
    engine = AseEngine(ForceField("kept", model.calculator, "kept", (18,)), start, 7)
    engine.begin(Stage(ensemble="nve", time_ps=1.0, timestep_fs=4))
    engine.advance(200)
    end = engine.snapshot()
    assert model.cache.rebuilds > 1
    [fresh] = LennardJones().predict([end.structure])
    assert not np.array_equal(fresh.forces, end.forces)
    np.testing.assert_allclose(fresh.forces, end.forces, atol=1e-12)


# --- What may come in -----------------------------------------------------------------------------------------------


def test_any_ase_calculator_will_do() -> None:
    start = Snapshot(Structure.from_ase(bulk("Cu", cubic=True)))
    engine = AseEngine(ForceField("EMT", EMT, "emt", None), start, 0)
    engine.begin(Stage(ensemble="npt", temperature_K=300, time_ps=1))
    engine.advance(20)
    seen = engine.snapshot()
    atoms = seen.structure.to_ase()
    atoms.calc = EMT()
    assert seen.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(seen.forces, atoms.get_forces(), atol=1e-10)


def test_clusters_move_and_have_no_pressure() -> None:
    cluster = Snapshot(Structure(np.full(2, 18), np.array([[0.0, 0, 0], [3.9, 0, 0]])))
    engine = AseEngine(lennard_jones(), cluster, 0)
    engine.begin(Stage(ensemble="nvt", temperature_K=10, time_ps=1))
    engine.advance(10)
    assert engine.snapshot().pressure is None
    with pytest.raises(InputError, match="periodic in all directions"):
        engine.begin(Stage(ensemble="npt", temperature_K=10, time_ps=1))


def test_unknown_species_are_named() -> None:
    start = Snapshot(Structure.from_ase(Atoms("ArNeHe", positions=np.eye(3) * 4)))
    with pytest.raises(InputError, match="holds He, Ne, but Lennard-Jones knows only Ar"):
        AseEngine(lennard_jones(), start, 0)


class _NoStress(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


def test_a_calculator_without_stress_holds_no_pressure_but_a_temperature() -> None:
    engine = AseEngine(ForceField("simple", _NoStress, "simple"), argon(), 0)
    engine.begin(Stage(ensemble="nvt", temperature_K=10, time_ps=1))
    engine.advance(3)
    assert engine.snapshot().stress is None
    with pytest.raises(InputError, match="simple gives no stress"):
        engine.begin(Stage(ensemble="npt", temperature_K=10, time_ps=1))


def test_the_drift_of_given_velocities_is_removed() -> None:
    start = argon()
    velocities = np.random.default_rng(0).normal(size=(32, 3)) * 1e-3 + 0.01
    engine = AseEngine(lennard_jones(), Snapshot(start.structure, velocities=velocities), 0)
    engine.begin(Stage(ensemble="nve", time_ps=1))
    found = engine.snapshot().velocities
    np.testing.assert_allclose(found, velocities - velocities.mean(axis=0), atol=1e-12)
