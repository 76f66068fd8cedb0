"""Positions of atoms in LAMMPS and in the frame of the structure that the simulation started from.

LAMMPS needs a lower triangular cell H and wraps atoms into it; R rotates its frame into that of the structure
(h = H Rᵀ). With the images n that LAMMPS counts and the whole cells m by which atoms were wrapped at the start, a
position is r = (x + (n + m) H) Rᵀ. LAMMPS keeps a corner of the cell at the origin. Open directions are at right angles
to the others and grow with the atoms; their cell vectors in the structure stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from forcewright.errors import InputError
from forcewright.lammps_session import to_lammps_box
from forcewright.structure import FloatArray, IntArray, Structure

_MARGIN = 10.0  # Å around the atoms in open directions at the start: LAMMPS warns of boxes thinner than the cutoff


@dataclass(frozen=True, eq=False)
class LammpsFrame:
    """The frame of one simulation.

    ========  ==============================================================
    start     the structure it starts from
    rotation  R (3, 3)
    folded    m (N, 3): whole cells by which atoms were wrapped at the start
    ========  ==============================================================
    """

    start: Structure
    rotation: FloatArray
    folded: IntArray

    def structure(self, positions: FloatArray, images: IntArray, cell: FloatArray) -> Structure:
        """Return LAMMPS's structure, atoms in order, in the frame of the start."""
        pbc = self.start.pbc
        turned = np.where(pbc[:, None], cell @ self.rotation.T, self.start.cell)
        unfolded = positions + (images + self.folded) @ np.where(pbc[:, None], cell, 0.0)
        return Structure(self.start.numbers, unfolded @ self.rotation.T, turned, pbc)


def to_lammps(structure: Structure) -> tuple[LammpsFrame, FloatArray, list[str]]:
    """Return the frame, positions (N, 3) in LAMMPS, and the commands that make its box, without ``create_box``.

    InputError if a periodic direction has no cell vector, or the cell no volume.
    """
    pbc = np.asarray(structure.pbc)
    if pbc.any() and np.linalg.matrix_rank(structure.cell[pbc]) < pbc.sum():
        raise InputError("the cell vectors of periodic directions must be independent and not zero", field="cell")
    closed = to_lammps_box(structure, _MARGIN)
    fractions = np.linalg.solve(closed.cell.T, (structure.positions @ closed.rotation).T).T
    folded = np.where(pbc, np.floor(fractions), 0.0)
    fractions -= folded
    above = (fractions >= 1.0) & pbc  # -1e-17 + 1
    fractions[above], folded[above] = 0.0, folded[above] + 1.0
    positions = fractions @ closed.cell
    low = np.where(pbc, 0.0, positions.min(axis=0) - _MARGIN)
    high = np.where(pbc, np.diag(closed.cell), positions.max(axis=0) + _MARGIN)
    bounds = " ".join(f"{a:.17g} {b:.17g}" for a, b in zip(low, high, strict=True))
    tilts = " ".join(f"{closed.cell[i, j]:.17g}" for i, j in ((1, 0), (2, 0), (2, 1)))
    commands = [
        f"boundary {' '.join('p' if periodic else 'm' for periodic in pbc)}", f"region box prism {bounds} {tilts}",
    ]  # fmt: skip
    return LammpsFrame(structure, closed.rotation, folded.astype(np.int64)), positions, commands


def cell_of(lmp: Any) -> FloatArray:
    """Return the current cell H (3, 3) of a LAMMPS instance."""
    low, high, xy, yz, xz, *_ = lmp.extract_box()
    lengths = np.subtract(high, low)
    return np.array([[lengths[0], 0.0, 0.0], [xy, lengths[1], 0.0], [xz, yz, lengths[2]]])


def images_of(lmp: Any, count: int) -> IntArray:
    """Return the images (N, 3) of the atoms as LAMMPS stores them, packed into one integer each."""
    bits = 10 if lmp.extract_setting("imageint") == 4 else 21
    packed = np.array(lmp.numpy.extract_atom("image", nelem=count), dtype=np.int64).reshape(count)
    mask, zero = (1 << bits) - 1, 1 << (bits - 1)
    return np.stack([packed & mask, (packed >> bits) & mask, (packed >> 2 * bits) & mask], axis=1) - zero
