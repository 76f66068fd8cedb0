"""Phonons by finite displacements in a supercell, with phonopy (Togo and Tanaka 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError, MissingExtraError
from forcewright.protocols.relaxation import relaxed_atoms
from forcewright.protocols.system import (
    AnyStructure,
    CalculatorSource,
    forces,
    require_crystal,
    require_positive,
    supercell_repeats,
    with_calculator,
)
from forcewright.structure import FloatArray

_MIN_HEIGHT = 12.0  # Å between opposite faces of the supercell, by default
_IMAGINARY = 0.05  # THz below zero before a mode counts as imaginary: noise of the finite displacements is smaller


@dataclass(frozen=True, eq=False)
class Phonons(Result):
    """Bands along a path and the density of states; frequencies in THz, imaginary ones negative.

    ``q_points`` (Q, 3) are in reciprocal vectors of the primitive cell, ``frequencies_THz`` (Q, 3n) ascending,
    ``path_distances`` (Q,) in 1/Å (without 2π); corners of the path lie at ``corners`` and have ``corner_labels``.
    ``density_of_states`` integrates to 3n. ``gamma_frequencies_THz`` (3n,) are those at q = 0.
    ``lowest_THz`` is the lowest frequency on the path and the mesh, ``stable`` says whether no mode is imaginary.
    """

    q_points: FloatArray
    frequencies_THz: FloatArray
    path_distances: FloatArray
    corners: FloatArray
    corner_labels: tuple[str, ...]
    gamma_frequencies_THz: FloatArray
    dos_frequencies_THz: FloatArray
    density_of_states: FloatArray
    primitive_cell_A: FloatArray
    lowest_THz: float
    highest_THz: float
    stable: bool

    def _draw(self, ax: Axes) -> None:
        breaks = np.flatnonzero(np.diff(self.path_distances) < 1e-12) + 1
        for part in np.split(np.arange(len(self.q_points)), breaks):
            ax.plot(self.path_distances[part], self.frequencies_THz[part], color="C0", linewidth=1)
        ax.set_xticks(self.corners, self.corner_labels)
        for corner in self.corners:
            ax.axvline(corner, color="gray", linewidth=0.5)
        ax.axhline(0, color="gray", linewidth=0.5)
        ax.set(ylabel="frequency (THz)", xlim=(self.path_distances[0], self.path_distances[-1]))


def phonons(
    calculator: CalculatorSource, structure: AnyStructure, *, repeat: int | Sequence[int] | None = None,
    displacement_A: float = 0.01, path: str | Sequence[Sequence[float]] | None = None, points: int = 200,
    mesh: int = 16, relax_cell: bool = True, fmax: float = 1e-4,
) -> Phonons:  # fmt: skip
    """Compute harmonic phonons of a crystal from forces on displaced atoms.

    Parameters
    ----------
    repeat
        Unit cells of the supercell along each vector; by default enough for 12 Å between faces.
    displacement_A
        How far an atom is displaced.
    path
        Special points of the Bravais lattice, such as ``GXWKGL``; or corners in reciprocal vectors of the primitive
        cell; ASE's standard path (Setyawan and Curtarolo 2010) by default.
    points
        Points along the whole path.
    mesh
        Points of the Γ-centered mesh of the density of states along each reciprocal vector.
    relax_cell
        Relax cell and positions first.
    fmax
        Largest force in eV/Å at which a relaxation ends.

    Raises
    ------
    MissingExtraError
        If phonopy is not installed.
    InputError
        If the structure is not a crystal, or an argument is invalid.
    ForcewrightError
        If the calculator or the relaxation fails.
    """
    require_positive(displacement_A=displacement_A, mesh=mesh, points=points)
    atoms = with_calculator(calculator, structure)
    if not atoms.pbc.all():
        raise InputError(
            "is not periodic in three directions, and phonons are those of a crystal; of a molecule ask for "
            "`molecular_vibrations`", field="structure",
        )  # fmt: skip
    require_crystal(atoms)
    if relax_cell:
        atoms = relaxed_atoms(atoms, cell="full", fmax=fmax)
    phonon = _force_constants(atoms, supercell_repeats(atoms, repeat, _MIN_HEIGHT), displacement_A)
    return _result(phonon, path, points, mesh)


def _force_constants(atoms: Any, repeats: tuple[int, int, int], displacement: float) -> Any:
    """Return the Phonopy object that holds the force constants."""
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
        from phonopy.structure.cells import guess_primitive_matrix
    except ImportError:
        raise MissingExtraError("phonopy", "phonons", "the protocol phonons") from None
    unit = PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions())
    phonon: Any = Phonopy(unit, np.diag(repeats), primitive_matrix=guess_primitive_matrix(unit), log_level=0)
    phonon.generate_displacements(distance=displacement)
    phonon.forces = [
        forces(Atoms(numbers=s.numbers, cell=s.cell, positions=s.positions, pbc=True, calculator=atoms.calc))
        for s in phonon.supercells_with_displacements
    ]
    phonon.produce_force_constants(show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)  # also sets the acoustic sum to zero
    return phonon


def _result(phonon: Any, path: str | Sequence[Sequence[float]] | None, points: int, mesh: int) -> Phonons:
    cell = np.array(phonon.primitive.cell)
    q_points, distances, corners, labels = _band_path(cell, path, points)
    bands = np.array(phonon.run_qpoints(q_points).frequencies)
    gamma = np.array(phonon.run_qpoints(np.zeros((1, 3))).frequencies[0])
    on_mesh = phonon.run_mesh([mesh] * 3, is_gamma_center=True).frequencies
    dos = phonon.run_total_dos()
    lowest = float(min(bands.min(), on_mesh.min()))
    return Phonons(
        q_points=q_points, frequencies_THz=bands, path_distances=distances, corners=corners, corner_labels=labels,
        gamma_frequencies_THz=gamma, dos_frequencies_THz=np.array(dos.frequency_points),
        density_of_states=np.array(dos.dos), primitive_cell_A=cell, lowest_THz=lowest,
        highest_THz=float(max(bands.max(), on_mesh.max())), stable=lowest > -_IMAGINARY,
    )  # fmt: skip


def _band_path(
    cell: FloatArray, path: str | Sequence[Sequence[float]] | None, points: int
) -> tuple[FloatArray, FloatArray, FloatArray, tuple[str, ...]]:
    """Return q-points, distances along the path, and positions and labels of its corners."""
    atoms = Atoms(cell=cell, pbc=True)
    if path is not None and not isinstance(path, str):
        return _straight_path(cell, path, points)
    try:
        bands = atoms.cell.bandpath(path, npoints=points)
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path!r} is not a path in this crystal's Brillouin zone ({error})", field="path") from None
    distances, corners, labels = bands.get_linear_kpoint_axis()
    return bands.kpts, np.array(distances), np.array(corners), tuple(label.replace("G", "Γ") for label in labels)


def _straight_path(
    cell: FloatArray, corners: Sequence[Sequence[float]], points: int
) -> tuple[FloatArray, FloatArray, FloatArray, tuple[str, ...]]:
    ends = np.array(corners, dtype=float)
    if ends.ndim != 2 or ends.shape[1] != 3 or len(ends) < 2:
        raise InputError("needs two or more corners of three numbers each", field="path")
    lengths = np.linalg.norm(np.diff(ends, axis=0) @ np.linalg.inv(cell).T, axis=1)
    at = np.concatenate([[0.0], np.cumsum(lengths)])
    distances = np.union1d(np.linspace(0, at[-1], points), at)
    q_points = np.array([np.interp(distances, at, ends[:, k]) for k in range(3)]).T
    labels = tuple(" ".join(f"{x:g}" for x in end) if end.any() else "Γ" for end in ends)
    return q_points, distances, at, labels
