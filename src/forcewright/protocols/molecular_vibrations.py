"""Vibrations of a molecule: harmonic frequencies, modes and infrared intensities by central differences.

With masses m and displacements x the coordinates √m·x obey Newton's equations with the mass-weighted Hessian
H_ij = ∂²E/∂x_i∂x_j / √(m_i m_j); its eigenvalues are ω². Translations and rotations are projected out, so that 3N - 6
modes are left, 3N - 5 of a linear molecule (Wilson, Decius and Cross, Molecular Vibrations, 1955, ch. 2). The
integrated infrared absorption of mode k with the normal coordinate Q_k is N_A / (12 ε₀ c²) |∂μ/∂Q_k|².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import units
from scipy.optimize import linear_sum_assignment

from forcewright.accuracy.spectra import Spectrum, overlap, wasserstein
from forcewright.analyze.result import Axes, Result
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
#: |∂μ/∂Q|² of 1 (e Å)² / (u Å²) as an integrated absorption in km/mol
KM_PER_MOL = 1e-3 * units._Nav * units._e**2 / units._amu / (12.0 * units._eps0 * units._c**2)


@dataclass(frozen=True, eq=False)
class MolecularVibrations(Result):
    """Normal modes of a molecule, ascending; imaginary frequencies are negative.

    ``frequencies_THz`` and ``frequencies_per_cm`` (M,); ``modes`` (M, N, 3) are eigenvectors in mass-weighted
    coordinates, of length 1; ``infrared_km_per_mol`` (M,) is NaN where the calculator has no dipoles.
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

    @property
    def spectrum(self) -> Spectrum:
        """The density of states."""
        return Spectrum(self.dos_frequencies_THz, self.density_of_states)

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.dos_frequencies_THz, self.density_of_states, color="C0", linewidth=1)
        ax.set(xlabel="frequency (THz)", ylabel="density of states (1/THz)")
        known = np.isfinite(self.infrared_km_per_mol)
        if known.any() and self.infrared_km_per_mol[known].max() > 0:
            height = 0.9 * self.density_of_states.max() / self.infrared_km_per_mol[known].max()
            ax.vlines(self.frequencies_THz[known], 0, height * self.infrared_km_per_mol[known], color="C3")
            ax.set_title("red: infrared intensities")


def molecular_vibrations(
    calculator: CalculatorSource, structure: AnyStructure, *, displacement_A: float = 0.01, width_THz: float = 0.3,
    relax: bool = True, fmax: float = 1e-3,
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

    Raises
    ------
    InputError
        If the structure is no molecule, or an argument is invalid.
    ForcewrightError
        If the calculator or the relaxation fails.
    """
    require_positive(displacement_A=displacement_A, width_THz=width_THz, fmax=fmax)
    atoms = _molecule(with_calculator(calculator, structure))
    if relax:
        atoms = relaxed_atoms(atoms, fmax=fmax)
    hessian, dipole_gradient = _derivatives(atoms, displacement_A)
    masses = atoms.get_masses()
    roots = np.sqrt(np.repeat(masses, 3))
    weighted = hessian / roots[:, None] / roots
    rigid = _rigid_motions(atoms.positions, masses)
    left, _, _ = np.linalg.svd(rigid, full_matrices=True)
    inner = left[:, rigid.shape[1] :]
    squares, vectors = np.linalg.eigh(inner.T @ weighted @ inner)
    modes = (inner @ vectors).T  # (M, 3N), orthonormal
    frequencies = THZ * np.sign(squares) * np.sqrt(np.abs(squares))
    infrared = np.full(len(frequencies), np.nan)
    if dipole_gradient is not None:
        infrared = KM_PER_MOL * np.sum((modes / roots @ dipole_gradient) ** 2, axis=1)
    grid, density = _density(frequencies, width_THz)
    return MolecularVibrations(
        frequencies_THz=frequencies, frequencies_per_cm=PER_CM * frequencies, infrared_km_per_mol=infrared,
        modes=modes.reshape(-1, len(atoms), 3), dos_frequencies_THz=grid, density_of_states=density,
        numbers=atoms.numbers.copy(), positions_A=atoms.positions.copy(), masses_u=masses,
        zero_point_energy_eV=0.5e12 * units._hplanck / units._e * float(np.sum(frequencies[frequencies > 0])),
        rigid_THz=THZ * float(np.sqrt(np.abs(np.linalg.eigvalsh(rigid.T @ weighted @ rigid)).max())),
        linear=rigid.shape[1] == 5, stable=bool((frequencies > -_IMAGINARY).all()),
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


def _derivatives(atoms: Any, displacement: float) -> tuple[FloatArray, FloatArray | None]:
    """Return the Hessian (3N, 3N) in eV/Å², and the derivatives of the dipole (3N, 3) in e where there are dipoles."""
    start = atoms.positions.copy()
    has_dipoles = "dipole" in getattr(atoms.calc, "implemented_properties", ())
    hessian, gradient = np.empty((start.size, start.size)), np.empty((start.size, 3))
    for k in range(start.size):
        sides = []
        for sign in (1.0, -1.0):
            atoms.positions = start + sign * displacement * np.eye(start.size)[k].reshape(-1, 3)
            with explained(atoms):
                dipole = np.array(atoms.get_dipole_moment(), dtype=np.float64) if has_dipoles else np.zeros(3)
            sides.append((forces(atoms).ravel(), dipole))
        (ahead, mu_ahead), (behind, mu_behind) = sides
        hessian[k] = -(ahead - behind) / (2.0 * displacement)
        gradient[k] = (mu_ahead - mu_behind) / (2.0 * displacement)
    atoms.positions = start
    return 0.5 * (hessian + hessian.T), gradient if has_dipoles else None


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
