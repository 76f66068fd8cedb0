"""Properties of crystals and atom pairs at zero temperature, computed by the protocols."""

from __future__ import annotations

from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.force_field import ForceField
from forcewright.protocols.compression import compression
from forcewright.protocols.defects import DefectEnergies, interstitials, vacancy
from forcewright.protocols.dimer import dimer_curve
from forcewright.protocols.elastic import elastic_constants
from forcewright.protocols.equation_of_state import EquationOfState, equation_of_state
from forcewright.protocols.molecular_vibrations import MolecularVibrations, compare_vibrations, molecular_vibrations
from forcewright.protocols.phases import phase_energies
from forcewright.protocols.phonons import Phonons, phonons
from forcewright.protocols.surfaces import surface_energies
from forcewright.reference.properties import is_tblite
from forcewright.structure import VOIGT, Structure
from forcewright.validation.properties import Computed, Property, PropertySettings, protocol_settings
from forcewright.validation.tolerance import Tolerance


class DimerSettings(protocol_settings(dimer_curve)):  # type: ignore[misc]
    """Settings of dimer curves."""

    pairs: tuple[tuple[str, str], ...] | None = None
    """Pairs of elements; all of the structure by default."""


_HARMONIC = protocol_settings(molecular_vibrations, leave_out=frozenset({"dipole", "polarizability"}))


class VibrationSettings(_HARMONIC):  # type: ignore[misc, valid-type]
    """Settings of vibrations of molecules."""

    dipole: bool | Path | None = None
    """Folder of a model of dipoles (that of its study will do) for infrared intensities; by default those of the
    potential where it has them."""
    polarizability: bool | Path | None = None
    """Folder of a model of polarizabilities for Raman activities; true for those of the potential."""


def _equation_of_state(force_field: ForceField, structure: Structure, settings: PropertySettings) -> Computed:
    eos = equation_of_state(force_field.calculator, structure, **settings.arguments())
    numbers = {
        "a0_A": eos.a0_A, "volume_A3_per_atom": eos.volume_A3, "bulk_modulus_GPa": eos.bulk_modulus_GPa,
        "bulk_modulus_derivative": eos.bulk_modulus_derivative,
    }  # fmt: skip
    return Computed(numbers, {"equation_of_state": eos})


def _curve_difference(ours: Computed, theirs: Computed) -> dict[str, float]:
    """Compare E(V), each from its own minimum, at the same relative volumes."""
    a, b = (computed.results["equation_of_state"] for computed in (ours, theirs))
    assert isinstance(a, EquationOfState) and isinstance(b, EquationOfState)
    relative = np.linspace(0.95, 1.05, 21)
    rise = [c.form.energies(relative * c.volume_A3) - c.energy_eV for c in (a, b)]
    return {"curve_rms_meV_per_atom": 1e3 * float(np.sqrt(np.mean((rise[0] - rise[1]) ** 2)))}


def _elastic(force_field: ForceField, structure: Structure, settings: PropertySettings) -> Computed:
    constants = elastic_constants(force_field.calculator, structure, **settings.arguments())
    numbers: dict[str, float | bool] = {f"{c}_GPa": getattr(constants, f"{c}_GPa") for c in ("c11", "c12", "c44")}
    if np.isnan(constants.c11_GPa):  # not cubic: all that is not negligible
        largest = np.abs(constants.tensor_GPa).max()
        pairs = [(i, j) for i in range(len(VOIGT)) for j in range(i, len(VOIGT))]
        numbers = {
            f"c{i + 1}{j + 1}_GPa": float(constants.tensor_GPa[i, j])
            for i, j in pairs
            if abs(constants.tensor_GPa[i, j]) > 0.01 * largest
        }
    numbers |= {
        "bulk_modulus_GPa": constants.bulk_modulus_GPa, "shear_modulus_GPa": constants.shear_modulus_GPa,
        "stable": constants.stable,
    }  # fmt: skip
    return Computed(numbers, {"elastic": constants}, {"stable": True})


def _vacancy(force_field: ForceField, structure: Structure, settings: PropertySettings) -> Computed:
    defects = vacancy(force_field.calculator, structure, **settings.arguments())
    if len(defects.formation_energies_eV) == 1 and not defects.failures:
        energy = next(iter(defects.formation_energies_eV.values()))
        return Computed({"formation_energy_eV": energy}, {"vacancy": defects})
    return _named("vacancy", defects)


def _interstitials(force_field: ForceField, structure: Structure, settings: PropertySettings) -> Computed:
    return _named("interstitials", interstitials(force_field.calculator, structure, **settings.arguments()))


def _named(name: str, defects: DefectEnergies) -> Computed:
    def number(defect: str) -> str:
        return f"{defect.replace(' ', '_')}_eV"

    numbers = {number(defect): energy for defect, energy in defects.formation_energies_eV.items()}
    failures = {number(defect): reason for defect, reason in defects.failures.items()}
    return Computed(numbers, {name: defects}, failures=failures)


def _surfaces(force_field: ForceField, structure: Structure, settings: PropertySettings) -> Computed:
    surfaces = surface_energies(force_field.calculator, structure, **settings.arguments())
    relaxed = np.where(np.isnan(surfaces.relaxed_J_per_m2), surfaces.unrelaxed_J_per_m2, surfaces.relaxed_J_per_m2)
    numbers = {f"{label.strip('()')}_J_per_m2": float(e) for label, e in zip(surfaces.labels, relaxed, strict=True)}
    return Computed(numbers, {"surfaces": surfaces})


def _dimer(force_field: ForceField, structure: Structure, settings: Any) -> Computed:
    elements = [chemical_symbols[z] for z in sorted(set(structure.numbers.tolist()))]
    pairs = settings.pairs or tuple(combinations_with_replacement(elements, 2))
    arguments = {name: value for name, value in settings.arguments().items() if name != "pairs"}
    curves = {"-".join(pair): dimer_curve(force_field.calculator, pair, **arguments) for pair in pairs}
    numbers: dict[str, float | bool] = {}
    for name, curve in curves.items():
        if np.isfinite(curve.bond_A):
            numbers |= {f"{name}_bond_A": curve.bond_A, f"{name}_well_depth_eV": curve.well_depth_eV}
        numbers[f"{name}_wall_monotonic"] = curve.wall_monotonic
    ideal = {f"{name}_wall_monotonic": True for name in curves}
    return Computed(numbers, {f"dimer {name}": curve for name, curve in curves.items()}, ideal=ideal)


def _phonons(force_field: ForceField, structure: Structure, settings: PropertySettings) -> Computed:
    bands = phonons(force_field.calculator, structure, **settings.arguments())
    numbers = {
        "gamma_highest_THz": float(bands.gamma_frequencies_THz[-1]), "highest_THz": bands.highest_THz,
        "lowest_THz": bands.lowest_THz, "stable": bands.stable,
    }  # fmt: skip
    return Computed(numbers, {"phonons": bands}, {"stable": True})


def _band_difference(ours: Computed, theirs: Computed) -> dict[str, float]:
    a, b = (computed.results["phonons"] for computed in (ours, theirs))
    assert isinstance(a, Phonons) and isinstance(b, Phonons)
    if a.frequencies_THz.shape != b.frequencies_THz.shape:  # relaxed to another lattice, with another path
        return {}
    return {"bands_rms_THz": float(np.sqrt(np.mean((a.frequencies_THz - b.frequencies_THz) ** 2)))}


def _vibrations(force_field: ForceField, structure: Structure, settings: PropertySettings) -> Computed:
    modes = molecular_vibrations(force_field.calculator, structure, **settings.arguments())
    numbers: dict[str, float | bool] = {
        "lowest_per_cm": float(modes.frequencies_per_cm[0]), "highest_per_cm": float(modes.frequencies_per_cm[-1]),
        "zero_point_energy_eV": modes.zero_point_energy_eV, "stable": modes.stable,
    }  # fmt: skip
    if np.isfinite(modes.infrared_km_per_mol).all():
        strongest = int(modes.infrared_km_per_mol.argmax())
        numbers |= {
            "strongest_infrared_per_cm": float(modes.frequencies_per_cm[strongest]),
            "strongest_infrared_km_per_mol": float(modes.infrared_km_per_mol[strongest]),
        }
    if np.isfinite(modes.raman_A4_per_u).all():
        numbers["strongest_raman_A4_per_u"] = float(modes.raman_A4_per_u.max())
    return Computed(numbers, {"molecular_vibrations": modes}, {"stable": True})


def _by_itself(settings: VibrationSettings, reference: ForceField) -> VibrationSettings:
    """Return settings with which a reference computes dipoles and polarizabilities itself, where it can."""
    calculator = reference.calculator()
    able = is_tblite(calculator) or "polarizability" in getattr(calculator, "implemented_properties", ())
    asked = True if settings.polarizability and able else None
    changed: VibrationSettings = settings.model_copy(update={"dipole": None, "polarizability": asked})
    return changed


def _vibration_difference(ours: Computed, theirs: Computed) -> dict[str, float]:
    a, b = (computed.results["molecular_vibrations"] for computed in (ours, theirs))
    assert isinstance(a, MolecularVibrations) and isinstance(b, MolecularVibrations)
    errors = compare_vibrations(a, b)
    differences = {
        "matched_modes_rms_THz": errors.rms_THz, "wasserstein_THz": errors.wasserstein_THz,
        "not_overlapping": 1.0 - errors.overlap,
    }  # fmt: skip
    for name, number in {
        "infrared_km_per_mol": "infrared_rms_km_per_mol",
        "raman_A4_per_u": "raman_rms_A4_per_u",
    }.items():
        off = getattr(a, name)[errors.partners] - getattr(b, name)
        if np.isfinite(off).all():
            differences[number] = float(np.sqrt(np.mean(off**2)))
    return differences


def _phases(force_field: ForceField, structure: Structure, settings: PropertySettings) -> Computed:
    energies = phase_energies(force_field.calculator, structure, **settings.arguments())
    names = [name for name in energies.energies_eV if name != "given"]
    numbers = {f"{name}_eV_per_atom": energies.energies_eV[name] for name in names}
    numbers |= {f"{name}_A3_per_atom": energies.volumes_A3[name] for name in names}
    failures = {f"{name}_eV_per_atom": reason for name, reason in energies.failures.items()}
    return Computed(numbers, {"phases": energies}, failures=failures)


def _compression(force_field: ForceField, structure: Structure, settings: PropertySettings) -> Computed:
    curve = compression(force_field.calculator, structure, **settings.arguments())
    points = zip(curve.pressures_GPa, curve.volumes_A3, strict=True)
    return Computed({f"at_{p:g}_GPa_A3_per_atom": float(v) for p, v in points}, {"compression": curve})


def _relative(percent: float) -> Tolerance:
    return Tolerance(percent / 100, relative=True)


_EXACT = Tolerance(0.0, relative=False)

STATIC_PROPERTIES = (
    Property(
        "equation_of_state", protocol_settings(equation_of_state), _equation_of_state,
        {
            "": _relative(10), "a0_A": _relative(1), "volume_A3_per_atom": _relative(3),
            "bulk_modulus_derivative": _relative(20), "curve_rms_meV_per_atom": Tolerance(2.0, relative=False),
        },
        differences=_curve_difference,
        meaning="Energy over volume: lattice constant, equilibrium volume, bulk modulus and its derivative.",
    ),
    Property(
        "elastic", protocol_settings(elastic_constants), _elastic, {"": _relative(15), "stable": _EXACT},
        meaning="Elastic constants, bulk and shear modulus, and whether the crystal is mechanically stable.",
    ),
    Property(
        "vacancy", protocol_settings(vacancy), _vacancy, {"": Tolerance(0.3, relative=False)},
        meaning="Formation energies of vacancies.",
    ),
    Property(
        "interstitials", protocol_settings(interstitials), _interstitials, {"": Tolerance(0.3, relative=False)},
        "sites", meaning="Formation energies of interstitials; a list stands for sites.",
    ),
    Property(
        "surfaces", protocol_settings(surface_energies), _surfaces, {"": _relative(10)}, "miller",
        meaning="Surface energies; a list stands for miller.",
    ),
    Property(
        "dimer", DimerSettings, _dimer,
        {"": _EXACT, "_bond_A": Tolerance(0.1, relative=False), "_well_depth_eV": _relative(20)}, "pairs",
        meaning="Energy of two atoms over their distance: bond length, well depth, and whether the wall only rises; "
        "a list stands for pairs.",
    ),
    Property(
        "phonons", protocol_settings(phonons), _phonons,
        {
            "": _relative(5), "lowest_THz": Tolerance(0.1, relative=False), "stable": _EXACT,
            "bands_rms_THz": Tolerance(0.5, relative=False),
        },
        differences=_band_difference, extra=("phonons", "phonopy"),
        meaning="Phonon bands and densities of states (extra phonons), and whether the crystal is dynamically stable.",
    ),
    Property(
        "molecular_vibrations", VibrationSettings, _vibrations,
        {
            "": _relative(5), "lowest_per_cm": Tolerance(30.0, relative=False), "stable": _EXACT,
            "zero_point_energy_eV": _relative(2), "strongest_infrared_km_per_mol": _relative(20),
            "strongest_raman_A4_per_u": _relative(20), "infrared_rms_km_per_mol": Tolerance(10.0, relative=False),
            "raman_rms_A4_per_u": Tolerance(10.0, relative=False),
            "matched_modes_rms_THz": Tolerance(0.5, relative=False), "wasserstein_THz": Tolerance(0.5, relative=False),
            "not_overlapping": Tolerance(0.25, relative=False),
        },
        differences=_vibration_difference, of_reference=_by_itself,
        meaning="Harmonic vibrations of a molecule: modes, zero-point energy, infrared and Raman "
        "intensities.",
    ),
    Property(
        "phases", protocol_settings(phase_energies), _phases,
        {"": _relative(3), "_eV_per_atom": Tolerance(0.03, relative=False)}, "phases",
        meaning="Energies and volumes of phases of an element, against the given crystal; a list stands for phases.",
    ),
    Property(
        "compression", protocol_settings(compression), _compression, {"": _relative(2)}, "pressures_GPa",
        meaning="Volumes of the relaxed crystal under pressures; a list stands for pressures_GPa.",
    ),
)  # fmt: skip
