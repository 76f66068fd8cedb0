"""Averages and fluctuations of samples drawn from ensembles whose answers are exact."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from scipy.signal import lfilter

from forcewright import analyze
from forcewright.errors import InputError
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot
from forcewright.units import GPA

KT = units.kB * 300.0


@pytest.mark.parametrize("memory", [0.0, 20.0])
def test_error_of_the_mean_of_correlated_data(memory: float) -> None:
    rng = np.random.default_rng(0)
    keep = np.exp(-1 / memory) if memory else 0.0
    means = [analyze.block_mean(lfilter([1], [1, -keep], rng.normal(size=9000))[1000:]) for _ in range(200)]
    inside = np.mean([abs(one.value) < 1.96 * one.error for one in means])
    assert 0.88 <= inside <= 0.99
    exact = np.sqrt(1 / (1 - keep) ** 2 / 8000)  # of an autoregressive series of first order
    assert np.mean([one.error for one in means]) == pytest.approx(exact, rel=0.08)
    assert np.median([one.independent for one in means]) == pytest.approx(8000 * (1 - keep) / (1 + keep), rel=0.2)


def test_constant_and_short_series() -> None:
    assert analyze.block_mean([2.0, 2.0, 2.0]) == (2.0, 0.0, 3.0)
    assert analyze.block_mean([1.0, 3.0]).error == pytest.approx(1.0)  # s / sqrt(n) with s² = 2
    with pytest.raises(InputError, match="two finite numbers"):
        analyze.block_mean([1.0])


def canonical_oscillators(atoms: int, count: int) -> dict[str, np.ndarray]:
    """3N oscillators and 3N - 3 momenta, as molecular dynamics counts them: Boltzmann's distribution is Gamma's."""
    rng = np.random.default_rng(1)
    potential = rng.gamma(3 * atoms / 2, KT, count)
    kinetic = rng.gamma((3 * atoms - 3) / 2, KT, count)
    return {"potential_eV": potential, "total_eV": potential + kinetic,
            "temperature_K": 2 * kinetic / ((3 * atoms - 3) * units.kB)}  # fmt: skip


def test_heat_capacity_of_oscillators() -> None:
    """Dulong and Petit."""
    columns = canonical_oscillators(50, 40000)
    found = analyze.thermodynamics(columns, atoms=50)
    assert found.ensemble == "nvt"
    assert abs(found.heat_capacity_kB - (3 - 1.5 / 50)) < 3 * found.heat_capacity_error_kB
    assert found.heat_capacity_error_kB < 0.05
    assert abs(found.mean["potential_eV"] - 75 * KT) < 3.5 * found.error["potential_eV"]
    assert found.heat_capacity_eV_per_K == pytest.approx(found.heat_capacity_kB * 50 * units.kB)
    assert np.isnan(found.bulk_modulus_GPa)
    del columns["total_eV"]
    without = analyze.thermodynamics(columns, atoms=50)
    assert abs(without.heat_capacity_kB - (3 - 1.5 / 50)) < 3 * without.heat_capacity_error_kB


def test_microcanonical_oscillators() -> None:
    """At constant energy the kinetic part of 2f quadratic terms is Beta-distributed."""
    rng, atoms = np.random.default_rng(2), 40
    freedom = 3 * atoms - 3
    kinetic = freedom * KT * rng.beta(freedom / 2, freedom / 2, 60000)
    columns = {"potential_eV": freedom * KT - kinetic, "total_eV": np.full(60000, freedom * KT),
               "temperature_K": 2 * kinetic / (freedom * units.kB)}  # fmt: skip
    found = analyze.thermodynamics(columns, atoms=atoms)
    assert found.ensemble == "nve"
    # The formula holds to the first order in 1/N.
    assert found.heat_capacity_kB == pytest.approx(
        freedom / atoms, rel=4 / freedom, abs=3 * found.heat_capacity_error_kB
    )


def test_ideal_gas_at_constant_pressure() -> None:
    """Its bulk modulus is the pressure, C_P = 5/2 N k_B, and V follows Gamma's distribution."""
    rng, atoms, pressure = np.random.default_rng(3), 100, 0.05
    volume = rng.gamma(atoms + 1, KT / (pressure * GPA), 40000)
    kinetic = rng.gamma(3 * atoms / 2, KT, 40000)
    columns = {"total_eV": kinetic, "temperature_K": 2 * kinetic / (3 * atoms * units.kB), "volume_A3": volume}
    found = analyze.thermodynamics(columns, pressure_GPa=pressure, atoms=atoms)
    assert found.ensemble == "npt"
    assert abs(found.bulk_modulus_GPa - pressure) < 3 * found.bulk_modulus_error_GPa + 0.01 * pressure
    assert abs(found.heat_capacity_kB - 2.5) < 3 * found.heat_capacity_error_kB + 0.01


def test_snapshots_give_pressure_and_virial() -> None:
    """p V = N k_B T + Σ r·f / 3, with the momentum of the center of mass conserved."""
    rng, frames = np.random.default_rng(4), []
    for k in range(8):
        velocities = rng.normal(0, 1e-3, (20, 3))
        stress = -0.01 * np.eye(3) + np.diag([0.002, -0.001, -0.001])
        structure = Structure([18] * 20, rng.random((20, 3)) * 10, np.eye(3) * 10, (True,) * 3)
        frames.append(Snapshot(structure, time=1000.0 * k, velocities=velocities, energy=-1.0 + 0.1 * k, stress=stress))
    found = analyze.thermodynamics(frames)
    assert found.mean["virial_eV"] == pytest.approx(0.03 * 1000)
    kinetic = found.columns["kinetic_eV"]
    np.testing.assert_allclose(found.columns["pressure_GPa"] * GPA * 1000, (2 * kinetic + 0.03 * 1000) / 3)
    assert found.mean["density_g_cm3"] == pytest.approx(20 * 39.948 / 6.02214076e23 / 1e-21, rel=1e-6)
    np.testing.assert_allclose(found.columns["time_ps"], np.arange(8.0))
    assert len(found.plot().get_lines()) == 2


def test_last_stage_of_a_table(tmp_path) -> None:
    lines = ["step,time_ps,stage,temperature_K,potential_eV,pressure_GPa"]
    lines += [f"{k},{k / 10},heat,{300 + 10 * k},{-10 + k}," for k in range(20)]
    lines += [f"{k},{k / 10},2 npt,{500 + (-1) ** k},{5 + 0.1 * (-1) ** k},1.5" for k in range(20, 60)]
    lines += ["60,6.0,relax,,4.9,"]  # too short for an average
    path = tmp_path / "thermo.csv"
    path.write_text("\n".join(lines) + "\n")
    found = analyze.thermodynamics(path)
    assert found.mean["temperature_K"] == pytest.approx(500.0) and found.mean["pressure_GPa"] == pytest.approx(1.5)
    first = analyze.thermodynamics(path, stage="heat")
    assert first.mean["temperature_K"] == pytest.approx(395.0) and "pressure_GPa" not in first.mean
    with pytest.raises(InputError, match="there are heat, 2 npt, relax"):
        analyze.thermodynamics(path, stage="3")


def test_mistakes_get_a_sentence(tmp_path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        analyze.thermodynamics(tmp_path / "thermo.csv")
    (tmp_path / "thermo.csv").write_text("step,temperature_K\n")
    with pytest.raises(InputError, match="no rows"):
        analyze.thermodynamics(tmp_path / "thermo.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(InputError, match="fewer than two rows"):
        analyze.thermodynamics(tmp_path / "other.csv")


def test_equilibration_is_told_apart() -> None:
    """A start that relaxes has no part in the averages; a ramp never settles, and noise has no start."""
    rng, time = np.random.default_rng(0), np.arange(2000) / 100
    noise = lfilter([0.1], [1, -0.9], rng.normal(size=2000))
    relaxing = {"time_ps": time, "potential_eV": -50 + noise + 20 * np.exp(-time / 0.5), "volume_A3": 100 + noise}
    found = analyze.thermodynamics(relaxing)
    assert 1.0 < found.equilibration_ps < 8.0 and found.equilibrated
    assert found.equilibration == pytest.approx(100 * found.equilibration_ps)
    assert abs(found.mean["potential_eV"] + 50) < 4 * found.error["potential_eV"] + 0.05
    assert len(found.columns["potential_eV"]) == 2000 and found.plot().get_legend() is not None
    whole = analyze.thermodynamics(relaxing, skip_equilibration=False)
    assert whole.equilibration == 0 and whole.mean["potential_eV"] > -50 + 0.3
    ramp = analyze.thermodynamics({"time_ps": time, "potential_eV": -50 + noise + time})
    assert not ramp.equilibrated and ramp.mean["potential_eV"] == pytest.approx(-40, abs=0.2)
    still = analyze.thermodynamics({"time_ps": time, "potential_eV": -50 + noise})
    assert still.equilibration == 0 and still.equilibrated
