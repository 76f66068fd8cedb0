"""Vibrations of molecules: against ASE's, against a diatomic's formula, and where crystals and molecules are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.harmonic import HarmonicCalculator, HarmonicForceField
from ase.calculators.morse import MorsePotential
from ase.optimize import BFGS
from ase.vibrations import Infrared, Vibrations

from forcewright.data.properties import Target
from forcewright.data.property_reading import read_property
from forcewright.errors import InputError
from forcewright.force_field import ForceField
from forcewright.properties.tensor_model import TensorSettings, fit_tensors
from forcewright.protocols.molecular_vibrations import compare_vibrations, molecular_vibrations
from forcewright.protocols.phonons import phonons
from forcewright.structure import Structure
from forcewright.validation.physics import ValidationConfig, validate


def relaxed(name: str, calculator: object) -> Atoms:
    atoms = molecule(name)
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=1e-4)
    return atoms


@pytest.mark.parametrize(("name", "modes"), [("N2", 1), ("H2O", 3)])
def test_frequencies_are_those_of_ase(name: str, modes: int, tmp_path: Path) -> None:
    atoms = relaxed(name, EMT())
    made = molecular_vibrations(EMT, atoms, relax=False)
    known = Vibrations(atoms, name=str(tmp_path / "vib"), delta=0.01, nfree=2)
    known.run()
    assert made.frequencies_per_cm == pytest.approx(np.real(known.get_frequencies())[-modes:], rel=2e-6)
    assert len(made.frequencies_THz) == modes and made.linear == (name == "N2") and made.stable
    energies = np.real(known.get_energies())[-modes:]
    assert made.zero_point_energy_eV == pytest.approx(energies.sum() / 2, rel=2e-6)
    assert np.trapezoid(made.density_of_states, made.dos_frequencies_THz) == pytest.approx(modes, rel=1e-5)
    flat = made.modes.reshape(modes, -1)
    assert flat @ flat.T == pytest.approx(np.eye(modes), abs=1e-10)
    assert np.isnan(made.infrared_km_per_mol).all()


def test_a_morse_molecule_has_the_frequency_of_its_spring() -> None:
    epsilon, rho0, r0 = 2.0, 5.0, 1.3  # the second derivative at the minimum is 2 ε (ρ₀/r₀)²
    calculator = MorsePotential(epsilon=epsilon, rho0=rho0, r0=r0, rcut1=9, rcut2=10)
    made = molecular_vibrations(calculator, Atoms("CO", [[0, 0, 0], [0.8, 0.8, 0.75]]), displacement_A=0.001)
    spring, masses = 2 * epsilon * (rho0 / r0) ** 2, made.masses_u
    reduced = masses[0] * masses[1] / masses.sum()
    hertz = np.sqrt(spring * units._e * 1e20 / (reduced * units._amu)) / (2 * np.pi)
    assert made.frequencies_THz == pytest.approx([1e-12 * hertz], rel=1e-4)


def test_infrared_of_water_is_that_of_the_reference_engine(tmp_path: Path) -> None:
    tblite = pytest.importorskip("tblite.ase", reason="tblite, which has dipoles, is not installed")

    def engine() -> object:
        return tblite.TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.01)

    atoms = relaxed("H2O", engine())
    made = molecular_vibrations(engine, atoms, relax=False)
    known = Infrared(atoms, name=str(tmp_path / "ir"), delta=0.01, nfree=2)
    known.run()
    assert made.frequencies_per_cm == pytest.approx(np.real(known.get_frequencies())[-3:], rel=1e-5)
    # ASE gives (D/Å)²/u; 42.2561 of them are a km/mol (its documentation)
    assert made.infrared_km_per_mol == pytest.approx(42.2561 * known.intensities[-3:], rel=2e-3)


def test_modes_are_matched_whatever_the_orientation() -> None:
    water = relaxed("H2O", EMT())
    made = molecular_vibrations(EMT, water, relax=False, displacement_A=0.001)
    turned = water.copy()
    turned.rotate(77, (1, 2, 3))
    other = molecular_vibrations(EMT, turned, relax=False, displacement_A=0.001)
    errors = compare_vibrations(other, made)
    assert errors.partners.tolist() == [0, 1, 2] and errors.likeness == pytest.approx(1.0, abs=1e-4)
    assert errors.rms_THz < 5e-3 and errors.overlap > 0.999 and errors.wasserstein_THz < 5e-3
    heavy = HarmonicForceField(ref_atoms=water, ref_energy=0.0, hessian_x=hessian_in_other_order(water))
    swapped = molecular_vibrations(HarmonicCalculator(heavy), water, relax=False)
    assert compare_vibrations(swapped, made).partners.tolist() == [0, 2, 1]


def hessian_in_other_order(atoms: Atoms) -> np.ndarray:
    """A Hessian with the modes of the molecule, of which the second and third have each other's frequency."""
    made = molecular_vibrations(EMT, atoms, relax=False)
    roots = np.sqrt(np.repeat(made.masses_u, 3))
    flat = made.modes.reshape(3, -1) * roots
    return flat.T @ np.diag([1.0, 30.0, 20.0]) @ flat


def test_a_molecule_in_a_periodic_box_is_put_together() -> None:
    atoms = relaxed("H2O", EMT())
    boxed = Atoms(atoms.symbols, atoms.positions, cell=[14, 15, 16], pbc=True)
    boxed.wrap()
    made = molecular_vibrations(EMT, boxed, relax=False)
    assert made.frequencies_THz == pytest.approx(
        molecular_vibrations(EMT, atoms, relax=False).frequencies_THz, rel=1e-6
    )
    assert np.ptp(made.positions_A, axis=0).max() < 2


def test_crystals_and_molecules_are_told_apart() -> None:
    with pytest.raises(InputError, match="phonons"):
        molecular_vibrations(EMT, bulk("Cu", cubic=True))
    with pytest.raises(InputError, match="molecular_vibrations"):
        phonons(EMT, molecule("N2"))
    with pytest.raises(InputError, match="single atom"):
        molecular_vibrations(EMT, Atoms("Cu"))
    with pytest.raises(InputError, match="same molecule"):
        compare_vibrations(molecular_vibrations(EMT, molecule("N2")), molecular_vibrations(EMT, molecule("H2O")))


def test_validate_judges_them_against_a_reference() -> None:
    emt = ForceField("EMT", EMT, "0")
    asked = ValidationConfig(structure={"molecule": "H2O"}, properties={"molecular_vibrations": {}}).asked()  # type: ignore[arg-type]
    report = validate(emt, Structure.from_ase(molecule("H2O")), asked, emt)
    rows = {row.number: row for row in report.rows}
    assert rows["highest_per_cm"].unit == "cm⁻¹" and rows["highest_per_cm"].value > 3000
    for number in ("matched_modes_rms_THz", "wasserstein_THz", "not_overlapping", "zero_point_energy_eV", "stable"):
        assert rows[number].verdict == "pass"


def test_a_reference_computes_its_intensities_itself(tmp_path: Path) -> None:
    tblite = pytest.importorskip("tblite.ase", reason="tblite, which has dipoles, is not installed")
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(12):  # fixed charges, as far from what GFN2 has as may be
        atoms = molecule("H2O")
        atoms.positions += rng.normal(scale=0.05, size=(3, 3))
        atoms.info["dipole"] = np.array([-2.0, 1.0, 1.0]) @ atoms.positions
        frames.append(atoms)
    data = read_property(frames, Target(name="dipole"))
    settings = TensorSettings(cutoff=3.0, degrees=(4.0, 4.0), nmax=4, lmax=2)
    fit_tensors(data, [settings], np.arange(12) % 3).model.save(tmp_path / "model")

    def engine() -> object:
        return tblite.TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.01)

    force_field = ForceField("GFN2", engine, "0")  # type: ignore[arg-type]
    asked = ValidationConfig(
        structure={"molecule": "H2O"},  # type: ignore[arg-type]
        properties={"molecular_vibrations": {"dipole": str(tmp_path), "polarizability": True}},
    ).asked()
    report = validate(force_field, Structure.from_ase(molecule("H2O")), asked, force_field)
    rows = {row.number: row for row in report.rows}
    alone = molecular_vibrations(engine, molecule("H2O"))
    strongest = rows["strongest_infrared_km_per_mol"]
    assert strongest.reference == pytest.approx(alone.infrared_km_per_mol.max(), rel=1e-3)
    assert abs(strongest.value - strongest.reference) > 100 and rows["infrared_rms_km_per_mol"].verdict == "fail"
    assert (
        rows["raman_rms_A4_per_u"].value == pytest.approx(0, abs=1e-6)
        and rows["strongest_raman_A4_per_u"].unit == "Å⁴/u"
    )


def test_what_gives_no_dipole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="EMT gives no dipole"):
        molecular_vibrations(EMT, molecule("H2O"), relax=False, dipole=True)
    with pytest.raises(InputError, match="holds no property model"):
        molecular_vibrations(EMT, molecule("H2O"), relax=False, polarizability=tmp_path)
