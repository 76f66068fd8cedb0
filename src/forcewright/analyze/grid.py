"""Density of atoms on a grid over the cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import units

from forcewright.analyze.frames import known_symbol, length, require_periodic, same_atoms, species_index
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.files import atomic_write
from forcewright.structure import FloatArray, IntArray
from forcewright.trajectory import Frames

_LARGEST = 50_000_000  # points; 400 MB


@dataclass(frozen=True, eq=False)
class DensityGrid(Result):
    """Averages over the frames; see `density_grid`.

    ==================  ===============================================================================================
    density             atoms per Å³ (A, B, C); point (i, j, k) is the middle of the box from ``(i, j, k) / (A, B, C)``
                        to ``(i + 1, j + 1, k + 1) / (A, B, C)`` in fractions of the cell vectors
    cell                mean cell (3, 3) in Å, with the vectors as rows
    numbers, positions  atomic numbers (N,) and positions (N, 3) in Å of all atoms of the first frame
    species             species whose atoms were counted, None for all
    frames              number of frames
    ==================  ===============================================================================================
    """

    density: FloatArray
    cell: FloatArray
    numbers: IntArray
    positions: FloatArray
    species: str | None
    frames: int

    def write_cube(self, path: str | Path) -> Path:
        """Write a Gaussian cube file (lengths in bohr, density in atoms per bohr³) and return its path."""
        shape = self.density.shape
        axes = self.cell / np.array(shape)[:, None] / units.Bohr
        middle = 0.5 * axes.sum(axis=0)
        kind = self.species or "atoms"
        lines = [
            f"Density of {kind} in atoms per bohr^3, mean of {self.frames} frames",
            "Written by Forcewright; atoms are those of the first frame",
            _row(len(self.numbers), middle),
            *(_row(count, axis) for count, axis in zip(shape, axes, strict=True)),
            *(
                f"{z:5d} {float(z):12.6f} {x[0]:12.6f} {x[1]:12.6f} {x[2]:12.6f}"
                for z, x in zip(self.numbers, self.positions / units.Bohr, strict=True)
            ),
        ]
        for column in (self.density * units.Bohr**3).reshape(-1, shape[2]):
            rows = (column[start : start + 6] for start in range(0, len(column), 6))
            lines += [" ".join(f"{value:12.5e}" for value in row) for row in rows]
        return atomic_write(path, "\n".join(lines) + "\n")

    def _draw(self, ax: Axes) -> None:
        width, height = np.linalg.norm(self.cell[:2], axis=1)
        projected = self.density.mean(axis=2).T
        image = ax.imshow(projected, origin="lower", extent=(0, width, 0, height), cmap="magma_r", aspect="equal")
        ax.set(xlabel="along a (Å)", ylabel="along b (Å)")
        ax.figure.colorbar(image, ax=ax, label="mean over c (1/Å³)")


def _row(count: int, vector: FloatArray) -> str:
    return f"{count:5d} {vector[0]:12.6f} {vector[1]:12.6f} {vector[2]:12.6f}"


def density_grid(frames: Frames, species: str | None = None, spacing: float = 0.5, width: float = 0.0) -> DensityGrid:
    """Compute the mean number density of atoms on a grid.

    The boxes of the grid are fractions of the cell of each frame, whatever its shape: a crystal that expands keeps its
    place. The density of a frame is its count divided by the volume of its own boxes; the integral over the cell is the
    number of atoms. With ``width``, the mean is convoluted with a periodic Gaussian.

    Parameters
    ----------
    frames
        Periodic in all directions.
    species
        Atoms to count, such as ``"Li"``; else all.
    spacing
        Largest distance of grid points along a cell vector of the first frame, in Å.
    width
        Standard deviation of the Gaussian in Å; 0 for none.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, a direction is open, or an argument is invalid.
    """
    length(spacing, "spacing")
    if not (np.isfinite(width) and width >= 0):
        raise InputError(f"is {width}; it must be a length of at least 0 Å", field="width")
    cell = np.zeros((3, 3))
    for count, snapshot in enumerate(same_atoms(frames), start=1):
        structure = snapshot.structure
        require_periodic(structure, "a density")
        if count == 1:
            first, shape = structure, _grid_shape(structure.cell, spacing)
            if species is not None:
                known_symbol(species, first, "species")
            density = np.zeros(shape)
        kept = slice(None) if species is None else species_index(structure, [species]) == 0
        fractions = structure.positions[kept] @ np.linalg.inv(structure.cell)
        at = np.minimum(((fractions - np.floor(fractions)) * shape).astype(np.int64), np.array(shape) - 1)
        np.add.at(density, tuple(at.T), density.size / structure.volume)
        cell += structure.cell
    density, cell = density / count, cell / count
    return DensityGrid(
        density=_smoothed(density, cell, width) if width else density, cell=cell, numbers=first.numbers,
        positions=first.positions, species=species, frames=count,
    )  # fmt: skip


def _grid_shape(cell: FloatArray, spacing: float) -> tuple[int, int, int]:
    shape = np.maximum(1, np.ceil(np.linalg.norm(cell, axis=1) / spacing - 1e-9)).astype(np.int64)
    if shape.prod() > _LARGEST:
        raise InputError(f"is {spacing} Å, which makes {shape.prod():.1e} points; widen it", field="spacing")
    return int(shape[0]), int(shape[1]), int(shape[2])


def _smoothed(density: FloatArray, cell: FloatArray, width: float) -> FloatArray:
    """Convolute with a Gaussian, whose transform is exp(-q² width² / 2)."""
    orders = np.stack(np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in density.shape), indexing="ij"), axis=-1)
    squares = ((orders @ (2 * np.pi * np.linalg.inv(cell).T)) ** 2).sum(axis=-1)
    return np.fft.ifftn(np.fft.fftn(density) * np.exp(-0.5 * width**2 * squares)).real
