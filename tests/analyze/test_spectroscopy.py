"""Infrared and Raman spectra of trajectories: against harmonic intensities, which classical dynamics must repeat."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from scipy import constants

from forcewright import analyze
from forcewright.analyze.spectroscopy import KM_PER_MOL
from forcewright.data.properties import Target
from forcewright.errors import InputError
from forcewright.protocols.molecular_vibrations import molecular_vibrations
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

TEMPERATURE = 300.0
KT = units.kB * TEMPERATURE * units.fs**2  # u Å²/fs²
PER_FS = 2 * np.pi * constants.c * 1e-13  # angular frequency in 1/fs of 1 cm⁻¹


class Dipole:
    """Point charges of a molecule as a model: its dipole is linear in the positions."""

    def __init__(self, charges, **changes):
        self.charges = np.array(charges)
        self.target = Target(**{"name": "dipole", **changes})
        self.species = (1, 8)

    def predict(self, structure):
        return self.charges @ structure.positions


class Polarizability:
    """A polarizability that is a quadratic form of the distance of two atoms."""

    target = Target(name="polarizability")
    species = (1, 8)

    def predict(self, structure):
        axis = structure.positions[1] - structure.positions[0]
        return (3.0 * np.eye(3) + 2.0 * np.outer(axis, axis)).ravel()


def vibrating(wavenumber, *, atoms=None, dt=2.0, frames=1000, mode=(0, 0, 1), velocities=True):
    """Snapshots of a diatomic molecule that vibrates along its axis with the energy k_B T."""
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]) if atoms is None else atoms
    masses = atoms.get_masses()
    reduced = masses[0] * masses[1] / masses.sum()
    omega = wavenumber * PER_FS
    amplitude = np.sqrt(2 * KT / reduced) / omega
    parts = np.array([-masses[1], masses[0]])[:, None] / masses.sum() * np.array(mode)
    for k in range(frames):
        time = k * dt
        stretch, rate = amplitude * np.cos(omega * time), -amplitude * omega * np.sin(omega * time)
        moved = atoms.copy()
        moved.positions += stretch * parts
        yield Snapshot(Structure.from_ase(moved), time=time, velocities=rate * parts if velocities else None)


@pytest.mark.parametrize("wavenumber", [700.0, 2500.0, 6500.0])
def test_a_harmonic_molecule_absorbs_what_its_dipole_derivative_says(wavenumber):
    charges = np.array([-0.4, 0.4])
    made = analyze.ir(
        vibrating(wavenumber, velocities=False), model=Dipole(charges), temperature_K=TEMPERATURE, window="hann"
    )
    assert made.frequency_per_cm[made.intensity.argmax()] == pytest.approx(wavenumber, abs=made.resolution_per_cm)
    masses = Atoms("OH").get_masses()
    slope = charges @ np.array([-masses[1], masses[0]]) / masses.sum() / np.sqrt(masses.prod() / masses.sum())
    assert made.total_km_per_mol == pytest.approx(KM_PER_MOL * slope**2, rel=2e-3)
    assert made.unit == "km/mol per cm⁻¹" and made.mean_dipole_eA == pytest.approx(0.4 * 0.97, rel=1e-3)
    assert made.highest_per_cm == pytest.approx(1e-2 / (2 * 2e-15 * constants.c))


def test_quantum_corrections_are_those_of_the_correlation():
    wavenumber = 1500.0
    frames = list(vibrating(wavenumber))
    x = constants.h * constants.c * 100 * wavenumber / (constants.k * TEMPERATURE)
    corrections = {
        "harmonic": x / -np.expm1(-x),
        "standard": 2 / (1 + np.exp(-x)),
        "schofield": np.exp(x / 2),
        "none": 1.0,
    }
    model = Dipole([-0.4, 0.4])
    made = {
        name: analyze.ir(frames, model=model, temperature_K=TEMPERATURE, quantum_correction=name)
        for name in corrections
    }
    peak = made["harmonic"].intensity.argmax()
    for name, factor in corrections.items():
        assert made[name].intensity[peak] / made["none"].intensity[peak] == pytest.approx(factor, rel=0.03), name
    with pytest.raises(InputError, match="harmonic, standard, schofield, none"):
        analyze.ir(frames, model=model, quantum_correction="kubo")


def test_born_charges_and_charges_say_the_same_as_the_dipole():
    frames = list(vibrating(1500.0))
    born = SimpleNamespace(target=Target(name="born_charges"), species=(1, 8),
                           predict=lambda s: np.multiply.outer([-0.4, 0.4], np.eye(3).ravel()))  # fmt: skip
    charges = SimpleNamespace(
        target=Target(name="charges"), species=(1, 8), predict=lambda s: np.array([[-0.4], [0.4]])
    )
    totals = [
        analyze.ir(frames, model=m, temperature_K=TEMPERATURE).total_km_per_mol
        for m in (Dipole([-0.4, 0.4]), born, charges)
    ]
    assert totals == pytest.approx([totals[0]] * 3, rel=2e-3)
    with pytest.raises(InputError, match="velocities"):
        analyze.ir(vibrating(1500.0, velocities=False), model=born, temperature_K=TEMPERATURE)


def test_a_cell_absorbs_as_its_molecules_do():
    alone = analyze.ir(vibrating(1500.0), model=Dipole([-0.4, 0.4]), temperature_K=TEMPERATURE)
    boxed = Atoms("OH", [[1, 1, 1], [1, 1, 1.97]], cell=[5, 6, 7], pbc=True)
    cell = analyze.ir(vibrating(1500.0, atoms=boxed), model=Dipole([-0.4, 0.4]), temperature_K=TEMPERATURE)
    density = 1.0 / (constants.N_A * 210e-24)  # mol/cm³
    np.testing.assert_allclose(cell.intensity, alone.intensity * 1e5 * density * 100, atol=1e-9 * cell.intensity.max())
    assert cell.unit == "cm⁻¹" and cell.total_km_per_mol == pytest.approx(
        alone.total_km_per_mol
    )  # 1 km/mol cm = 10⁷ cm²/mol


def test_raman_activities_of_a_harmonic_molecule():
    made = analyze.raman(vibrating(1500.0), model=Polarizability(), temperature_K=TEMPERATURE, laser_nm=488)
    masses = Atoms("OH").get_masses()
    along = 2 * 2.0 * 0.97 / np.sqrt(masses.prod() / masses.sum())  # dα_zz/dQ; the others do not change
    mean, anisotropy = along / 3, along**2
    assert np.trapezoid(made.isotropic, made.frequency_per_cm) == pytest.approx(45 * mean**2, rel=5e-3)
    assert np.trapezoid(made.anisotropic, made.frequency_per_cm) == pytest.approx(7 * anisotropy, rel=5e-3)
    assert made.depolarization == pytest.approx(3 * anisotropy / (45 * mean**2 + 4 * anisotropy), rel=1e-6)
    # Long (2002): of N2, 2,330 cm⁻¹ by light of 488 nm, about 5.5e-31 cm²/sr; its activity is about 20 Å⁴/u
    at = made.frequency_per_cm > 0
    ratio = (made.stokes[at] / made.activity[at])[np.searchsorted(made.frequency_per_cm[at], 2330)]
    assert 20 * ratio == pytest.approx(55, rel=0.1)


def test_dynamics_of_water_repeat_its_harmonic_intensities():
    tblite = pytest.importorskip(
        "tblite.ase", reason="tblite, which gives dipoles and polarizabilities, is not installed"
    )

    def engine():
        return tblite.TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.01)

    modes = molecular_vibrations(engine, molecule("H2O"), polarizability=engine)
    amplitudes = np.sqrt(2 * KT) / (modes.frequencies_per_cm * PER_FS)
    start = Atoms(numbers=modes.numbers, positions=modes.positions_A)

    def frames(scale):
        for k in range(160):
            phase = modes.frequencies_per_cm * PER_FS * 3.0 * k
            moved = (
                np.einsum("m,mni->ni", scale * amplitudes * np.cos(phase), modes.modes)
                / np.sqrt(modes.masses_u)[:, None]
            )
            atoms = start.copy()
            atoms.positions += moved
            yield Snapshot(Structure.from_ase(atoms), time=3.0 * k)

    scale = 0.1  # small, so that all is linear
    options = {"temperature_K": TEMPERATURE * scale**2, "max_lag_fs": 160.0}
    infrared = analyze.ir(frames(scale), model=engine, **options)
    assert infrared.total_km_per_mol == pytest.approx(modes.infrared_km_per_mol.sum(), rel=0.1)
    raman = analyze.raman(frames(scale), model=engine, **options)
    assert raman.total_A4_per_u == pytest.approx(modes.raman_A4_per_u.sum(), rel=0.1)
    assert raman.frequency_per_cm[raman.activity.argmax()] == pytest.approx(
        modes.frequencies_per_cm[modes.raman_A4_per_u.argmax()], abs=raman.resolution_per_cm
    )
    assert modes.depolarization.max() < 0.75 + 1e-6


def test_what_no_spectrum_comes_of_is_refused():
    model = Dipole([-0.4, 0.4])
    with pytest.raises(InputError, match=r"4 fs apart.*up to 4170 cm.*O-H vibrate at about (48|49|50|51)\d\d cm"):
        analyze.ir(vibrating(4900.0, dt=4.0, velocities=False), model=model, temperature_K=TEMPERATURE)
    with pytest.raises(InputError, match="fs apart"):
        analyze.ir(vibrating(3700.0, dt=7.0), model=model, temperature_K=TEMPERATURE)
    with pytest.raises(InputError, match="temperature_K"):
        analyze.ir(vibrating(1500.0, velocities=False), model=model)
    with pytest.raises(InputError, match="frames"):
        analyze.ir(vibrating(1500.0, frames=20), model=model, temperature_K=TEMPERATURE)
    with pytest.raises(InputError, match="holds N, but the model of dipole knows only H, O"):
        analyze.ir(vibrating(1500.0, atoms=Atoms("NH", [[0, 0, 0], [0, 0, 1]])), model=model)
    with pytest.raises(InputError, match="predicts dipole .*polarizability"):
        analyze.raman(vibrating(1500.0), model=model)
    with pytest.raises(InputError, match="folder of a property model"):
        analyze.ir(vibrating(1500.0), model=3)


def test_folded_positions_are_refused_where_charges_need_them_whole():
    charges = SimpleNamespace(
        target=Target(name="charges"), species=(1, 8), predict=lambda s: np.array([[-0.4], [0.4]])
    )
    inside = Atoms("OH", [[2, 2, 0.4], [2, 2, 1.37]], cell=[4, 4, 4], pbc=True)
    analyze.ir(vibrating(1500.0, atoms=inside), model=charges, temperature_K=TEMPERATURE)
    cut = inside.copy()
    cut.positions[:, 2] -= 0.8
    cut.wrap()
    with pytest.raises(InputError, match="bond of atoms 0 and 1 crosses its boundary.*unwrapped"):
        analyze.ir(vibrating(1500.0, atoms=cut), model=charges, temperature_K=TEMPERATURE)

    def drifting():
        for k, snapshot in enumerate(vibrating(1500.0, atoms=inside, frames=60)):
            atoms = snapshot.structure.to_ase()
            atoms.positions[:, 2] += 0.1 * k
            atoms.wrap()
            yield Snapshot(Structure.from_ase(atoms), time=snapshot.time, velocities=snapshot.velocities)

    with pytest.raises(InputError, match="atom 1 jumps across it.*unwrapped"):
        analyze.ir(drifting(), model=charges, temperature_K=TEMPERATURE)


def test_the_command_writes_tables_figures_and_says_what_is_missing(tmp_path: Path):
    frames = list(vibrating(1500.0, frames=400))
    written = analyze(
        frames, ["ir", "raman"], tmp_path,
        options={"ir": {"model": Dipole([-0.4, 0.4]), "temperature_K": 300}, "raman": {"model": Polarizability()}},
    )  # fmt: skip
    assert set(written) == {"ir", "raman"}
    for name in ("ir", "raman"):
        for suffix in ("json", "csv", "png"):
            assert (tmp_path / f"{name}.{suffix}").stat().st_size > 100
    with pytest.raises(InputError, match=r"ir needs model; give --set ir\.model"):
        analyze(frames, ["ir"])
