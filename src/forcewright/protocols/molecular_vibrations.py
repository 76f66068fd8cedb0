"""Vibrations of a molecule: harmonic frequencies, modes, infrared and Raman intensities by central differences.

With masses m and displacements x the coordinates √m·x obey Newton's equations with the mass-weighted Hessian
H_ij = ∂²E/∂x_i∂x_j / √(m_i m_j); its eigenvalues are ω². Translations and rotations are projected out, so that 3N - 6
modes are left, 3N - 5 of a linear molecule (Wilson, Decius and Cross, Molecular Vibrations, 1955, ch. 2). The
integrated infrared absorption of mode k with the normal coordinate Q_k is N_A / (12 ε₀ c²) |∂μ/∂Q_k|², and its Raman
activity 45 a'² + 7 γ'² with the derivatives of the mean and of the anisotropy of the polarizability (Long, The Raman
Effect, 2002, ch. 5), γ² = 3/2 tr (α - a)².
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import units
from scipy.optimize import linear_sum_assignment

from forcewright.accuracy.spectra import Spectrum, overlap, wasserstein
from forcewright.analyze.property_sources import PropertySource, property_source
from forcewright.analyze.result import Axes, Result
from forcewright.analyze.spectroscopy import KM_PER_MOL
from forcewright.errors import InputError
from forcewright.protocols.relaxation import relaxed_atoms
from forcewright.protocols.system import (
    AnyStructure,
    CalculatorSource,
    explained,
    forces,
    require_positive,
    with_calculator,
)
from forcewright.structure import FloatArray, IntArray

_VACUUM = 4.0  # Å of empty space that part a molecule from its images
_RIGID = 1e-4  # relative size of a singular value below which a rotation moves no atom: linear molecules
_IMAGINARY = 0.3  # THz below zero before a mode counts as imaginary
_STEP = 0.05  # THz between points of the density of states
_MOST = 2000  # atoms: of more a Hessian is no longer made

#: √(eV / u) / Å in THz: the square root of an eigenvalue of the Hessian as a frequency
THZ = 1e-12 * float(np.sqrt(units._e / units._amu)) * 1e10 / (2.0 * np.pi)
#: 1 THz as a wavenumber in cm⁻¹
PER_CM = 1e10 / units._c


@dataclass(frozen=True, eq=False)
class MolecularVibrations(Result):
    """Normal modes of a molecule, ascending; imaginary frequencies are negative.

    ``frequencies_THz`` and ``frequencies_per_cm`` (M,); ``modes`` (M, N, 3) are eigenvectors in mass-weighted
    coordinates, of length 1; ``infrared_km_per_mol`` (M,) is NaN where nothing gives dipoles, and ``raman_A4_per_u``
    (M,) with the ``depolarization`` 3 γ'²/(45 a'² + 4 γ'²) of polarized light where nothing gives polarizabilities.
    ``density_of_states`` (G,) over ``dos_frequencies_THz`` (G,) integrates to M. ``zero_point_energy_eV`` is ½ Σ hν of
    the real modes. ``rigid_THz`` is the largest frequency that the Hessian itself has for translations and rotations:
    zero but for the noise of forces and what the relaxation left. ``stable`` says whether no mode is imaginary.
    """

    frequencies_THz: FloatArray
    frequencies_per_cm: FloatArray
    infrared_km_per_mol: FloatArray
    modes: FloatArray
    dos_frequencies_THz: FloatArray
    density_of_states: FloatArray
    numbers: IntArray
    positions_A: FloatArray
    masses_u: FloatArray
    zero_point_energy_eV: float
    rigid_THz: float
    linear: bool
    stable: bool
    raman_A4_per_u: FloatArray = field(default_factory=lambda: np.empty(0))
    depolarization: FloatArray = field(default_factory=lambda: np.empty(0))

    @property
    def spectrum(self) -> Spectrum:
        """The density of states."""
        return Spectrum(self.dos_frequencies_THz, self.density_of_states)

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.dos_frequencies_THz, self.density_of_states, color="C0", linewidth=1)
        ax.set(xlabel="frequency (THz)", ylabel="density of states (1/THz)")
        shown = {"infrared": ("C3", self.infrared_km_per_mol), "Raman": ("C2", self.raman_A4_per_u)}
        words = []
        for sign, (name, (color, values)) in zip((1, -1), shown.items(), strict=True):
            if not len(values) or not np.isfinite(values).all() or not values.max() > 0:
                continue
            height = sign * 0.9 * self.density_of_states.max() / values.max()
            ax.vlines(self.frequencies_THz, 0, height * values, color=color)
            words.append(f"{'red' if sign > 0 else 'green, downward'}: {name}")
        if words:
            ax.set_title("; ".join(words))


def molecular_vibrations(
    calculator: CalculatorSource, structure: AnyStructure, *, displacement_A: float = 0.01, width_THz: float = 0.3,
    relax: bool = True, fmax: float = 1e-3, dipole: Any = None, polarizability: Any = None,
) -> MolecularVibrations:  # fmt: skip
    """Compute harmonic vibrations of a molecule from forces on displaced atoms, each forth and back.

    Parameters
    ----------
    displacement_A
        By which each atom is displaced along each axis.
    width_THz
        Standard deviation of the Gaussian that stands for each mode in the density of states.
    relax
        Relax the positions first: away from a minimum frequencies mean little.
    fmax
        Largest force on an atom after that, in eV/Å.
    dipole, polarizability
        What gives them, for infrared and Raman intensities: the folder of a property model or of its study, a model, an
        ASE calculator, or true for the calculator of the forces. Its dipoles are taken by themselves where it has them;
        polarizabilities, which may cost several times as much as forces, only where they are asked for.

    Raises
    ------
    InputError
        If the structure is not a molecule, or an argument is invalid.
    ForcewrightError
        If the calculator or the relaxation fails.
    """
    require_positive(displacement_A=displacement_A, width_THz=width_THz, fmax=fmax)
    atoms = _molecule(with_calculator(calculator, structure))
    if relax:
        atoms = relaxed_atoms(atoms, fmax=fmax)
    sources = _sources(atoms.calc, dipole, polarizability)
    hessian, slopes = _derivatives(atoms, displacement_A, sources)
    masses = atoms.get_masses()
    roots = np.sqrt(np.repeat(masses, 3))
    weighted = hessian / roots[:, None] / roots
    rigid = _rigid_motions(atoms.positions, masses)
    left, _, _ = np.linalg.svd(rigid, full_matrices=True)
    inner = left[:, rigid.shape[1] :]
    squares, vectors = np.linalg.eigh(inner.T @ weighted @ inner)
    modes = (inner @ vectors).T  # (M, 3N), orthonormal
    frequencies = THZ * np.sign(squares) * np.sqrt(np.abs(squares))
    infrared, activity, depolarization = np.full((3, len(frequencies)), np.nan)
    if "dipole" in slopes:
        infrared = KM_PER_MOL * np.sum((modes / roots @ slopes["dipole"]) ** 2, axis=1)
    if "polarizability" in slopes:
        activity, depolarization = _raman(modes / roots @ slopes["polarizability"])
    grid, density = _density(frequencies, width_THz)
    return MolecularVibrations(
        frequencies_THz=frequencies, frequencies_per_cm=PER_CM * frequencies, infrared_km_per_mol=infrared,
        modes=modes.reshape(-1, len(atoms), 3), dos_frequencies_THz=grid, density_of_states=density,
        numbers=atoms.numbers.copy(), positions_A=atoms.positions.copy(), masses_u=masses,
        zero_point_energy_eV=0.5e12 * units._hplanck / units._e * float(np.sum(frequencies[frequencies > 0])),
        rigid_THz=THZ * float(np.sqrt(np.abs(np.linalg.eigvalsh(rigid.T @ weighted @ rigid)).max())),
        linear=rigid.shape[1] == 5, stable=bool((frequencies > -_IMAGINARY).all()), raman_A4_per_u=activity,
        depolarization=depolarization,
    )  # fmt: skip


def _molecule(atoms: Any) -> Any:
    """Return a molecule in one piece; InputError for one atom, and for what its images touch."""
    if len(atoms) < 2:
        raise InputError("is a single atom, which does not vibrate; give a molecule", field="structure")
    if len(atoms) > _MOST:
        raise InputError(f"has {len(atoms)} atoms; {_MOST} are allowed for a Hessian", field="structure")
    if not atoms.pbc.any():
        return atoms
    heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    fractions = atoms.cell.scaled_positions(atoms.positions)
    for axis in np.flatnonzero(atoms.pbc):
        inside = np.sort(fractions[:, axis] % 1.0)
        gaps = np.diff(inside, append=inside[0] + 1.0)
        widest = int(gaps.argmax())
        if gaps[widest] * heights[axis] < _VACUUM:
            raise InputError(
                f"is periodic, and less than {_VACUUM:g} Å part it from its images along axis {axis}; give a molecule "
                "with more vacuum, or ask for `phonons` if it is a crystal", field="structure",
            )  # fmt: skip
        start = inside[(widest + 1) % len(inside)] - 1e-9
        fractions[:, axis] = start + (fractions[:, axis] - start) % 1.0
    atoms.positions = fractions @ atoms.cell.array
    return atoms


def _sources(calculator: Any, dipole: Any, polarizability: Any) -> list[PropertySource]:
    """Return what gives dipoles and polarizabilities, where it is asked or the calculator has dipoles."""
    if dipole is None and "dipole" in getattr(calculator, "implemented_properties", ()):
        dipole = True
    asked = {"dipole": dipole, "polarizability": polarizability}
    return [
        property_source(calculator if source is True else source, (kind,), field=kind)
        for kind, source in asked.items() if source not in (None, False)
    ]  # fmt: skip


def _derivatives(
    atoms: Any, displacement: float, sources: Sequence[PropertySource]
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Return the Hessian (3N, 3N) in eV/Å², and derivatives (3N, components) of properties by displacements in Å."""
    start = atoms.positions.copy()
    hessian = np.empty((start.size, start.size))
    slopes = {source.kind: np.empty((start.size, 9 if source.kind == "polarizability" else 3)) for source in sources}
    for k in range(start.size):
        sides = []
        for sign in (1.0, -1.0):
            atoms.positions = start + sign * displacement * np.eye(start.size)[k].reshape(-1, 3)
            sides.append([forces(atoms).ravel(), *(_values(source, atoms) for source in sources)])
        ahead, behind = sides
        hessian[k] = -(ahead[0] - behind[0]) / (2.0 * displacement)
        for source, after, before in zip(sources, ahead[1:], behind[1:], strict=True):
            slopes[source.kind][k] = (after - before) / (2.0 * displacement)
    atoms.positions = start
    return 0.5 * (hessian + hessian.T), slopes


def _values(source: PropertySource, atoms: Any) -> FloatArray:
    with explained(atoms):
        return source.values(atoms).ravel()


def _raman(slopes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return activities in Å⁴/u and depolarization ratios of derivatives (M, 9) by normal coordinates."""
    tensors = slopes.reshape(-1, 3, 3)
    mean = np.trace(tensors, axis1=1, axis2=2) / 3.0
    rest = (tensors + np.swapaxes(tensors, 1, 2)) / 2.0 - mean[:, None, None] * np.eye(3)
    anisotropy = 1.5 * np.sum(rest**2, axis=(1, 2))
    activity = 45.0 * mean**2 + 7.0 * anisotropy
    ratio = np.divide(3.0 * anisotropy, 45.0 * mean**2 + 4.0 * anisotropy, out=np.full_like(activity, np.nan),
                      where=activity > 1e-12)  # fmt: skip
    return activity, ratio


def _rigid_motions(positions: FloatArray, masses: FloatArray) -> FloatArray:
    """Return mass-weighted translations and rotations as orthonormal columns (3N, 6); (3N, 5) if linear."""
    centered = positions - np.average(positions, axis=0, weights=masses)
    weights = np.sqrt(masses)[:, None]
    columns = [np.repeat(weights, 3, axis=1) * axis for axis in np.eye(3)]
    scale = max(float(np.abs(centered).max()), 1e-12)
    columns += [weights * np.cross(axis, centered) / scale for axis in np.eye(3)]
    left, values, _ = np.linalg.svd(np.array([column.ravel() for column in columns]).T, full_matrices=False)
    return np.asarray(left[:, values > _RIGID * values[0]])


def _density(frequencies: FloatArray, width: float) -> tuple[FloatArray, FloatArray]:
    low = min(0.0, float(frequencies.min())) - 5.0 * width
    grid = np.arange(low, float(frequencies.max()) + 5.0 * width + _STEP, _STEP)
    gaussians = np.exp(-0.5 * ((grid[:, None] - frequencies) / width) ** 2) / (width * np.sqrt(2.0 * np.pi))
    return grid, np.asarray(gaussians.sum(axis=1))


@dataclass(frozen=True, eq=False)
class VibrationErrors:
    """How far the vibrations of a model are from a reference's.

    Attributes
    ----------
    partners
        Mode (M,) of the model that is most like each of the reference: by the squared overlap of eigenvectors, all
        together as large as can be (Kuhn, Naval Res. Logist. Q. 2, 83 (1955)).
    likeness
        Squared overlap (M,) of each pair: 1 if they are the same motion.
    errors_THz
        Frequency of the model's mode less that of the reference's (M,).
    overlap
        Area that both densities of states of real modes have in common, each of unit area.
    wasserstein_THz
        How far modes have to be moved on the average.
    zero_point_error_eV
        Zero-point energy of the model less that of the reference.
    """

    partners: IntArray
    likeness: FloatArray
    errors_THz: FloatArray
    overlap: float
    wasserstein_THz: float
    zero_point_error_eV: float

    @property
    def rms_THz(self) -> float:
        """Root mean square error of matched frequencies."""
        return float(np.sqrt(np.mean(self.errors_THz**2)))


def compare_vibrations(model: MolecularVibrations, reference: MolecularVibrations) -> VibrationErrors:
    """Compare the vibrations of one molecule by two methods, mode by mode and as spectra.

    Raises
    ------
    InputError
        If they are not of the same atoms in the same order, or one is linear and the other is not.
    """
    if not np.array_equal(model.numbers, reference.numbers) or len(model.modes) != len(reference.modes):
        raise InputError("are not those of the same molecule; give the same atoms in the same order", field="modes")
    turned = np.einsum("mna,ba->mnb", model.modes, _rotation(model, reference))
    likeness = np.einsum("ina,jna->ij", reference.modes, turned) ** 2
    rows, partners = linear_sum_assignment(-likeness)
    real = [vibrations.spectrum.above(0.0) for vibrations in (model, reference)]
    return VibrationErrors(
        partners, likeness[rows, partners], model.frequencies_THz[partners] - reference.frequencies_THz,
        overlap(*real), wasserstein(*real), model.zero_point_energy_eV - reference.zero_point_energy_eV,
    )  # fmt: skip


def _rotation(model: MolecularVibrations, reference: MolecularVibrations) -> FloatArray:
    """Return the rotation that lays one geometry over the other (Kabsch, Acta Cryst. A 32, 922 (1976))."""
    a, b = (v.positions_A - np.average(v.positions_A, axis=0, weights=v.masses_u) for v in (model, reference))
    left, _, right = np.linalg.svd((b * reference.masses_u[:, None]).T @ a)
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    return np.asarray(left @ proper @ right)
