"""Van Hove correlation functions: where an atom, and where the others are a while after an atom was at the origin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from ase.data import chemical_symbols
from numba import njit

from forcewright.analyze.frames import require_periodic
from forcewright.analyze.result import Axes, Result
from forcewright.analyze.time_series import VectorSeries, collect
from forcewright.analyze.unwrapping import CenterOfMass, ToroidalView
from forcewright.errors import InputError
from forcewright.neighbors import IndexArray, NeighborSearch
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.trajectory import Frames, Snapshot

_CENTERS = 1000  # atoms whose pairs are held at a time


@dataclass(frozen=True, eq=False)
class VanHove(Result):
    """Van Hove functions at K lags and R distances.

    ``time`` (K,) in fs and ``r`` (R,), the middles of the bins in Å. ``self_part`` maps a species, or ``"total"``, to
    G_s (K, R) in 1/Å³, whose integral over all space is 1; ``distinct`` maps pairs of species, and ``"total"``, to
    G_d divided by the density (K, R), which is g(r) at lag 0 and tends to 1.
    """

    time: FloatArray
    r: FloatArray
    self_part: dict[str, FloatArray]
    distinct: dict[tuple[str, str] | str, FloatArray]

    def _draw(self, ax: Axes) -> None:
        for lag, values in zip(self.time, self.self_part["total"], strict=True):
            ax.plot(self.r, 4 * np.pi * self.r**2 * values, label=f"{lag / 1000:g} ps")
        ax.set(xlabel="distance (Å)", ylabel=r"$4\pi r^2 G_\mathrm{s}(r, t)$ (1/Å)", ylim=(0, None))
        ax.legend(frameon=False)


def van_hove(
    frames: Frames, lags_fs: Sequence[float] | None = None, *, r_max: float | None = None, bins: int = 200,
    origins: int = 100, distinct: bool = True, dt_fs: float | None = None, remove_drift: bool = True,
) -> VanHove:  # fmt: skip
    """Compute the self and distinct van Hove functions at some lags.

    G_s(r, t) = ⟨δ(r - |r_i(t) - r_i(0)|)⟩ / 4πr² and G_d(r, t) = ⟨Σ_{j≠i} δ(r - |r_j(t) - r_i(0)|)⟩ / 4πr² (van Hove,
    Phys. Rev. 95, 249 (1954); Hansen & McDonald, Theory of Simple Liquids, chapter 7), averaged
    over atoms i and origins. For a pair of species i and j run over one each, in both orders. The distinct part is
    divided by N_j / V; where the cell changes, positions at t are scaled to the cell at the origin.

    Parameters
    ----------
    lags_fs
        Lags in fs, rounded to frames; 1, 10 and 100 frames, as far as there are, if None.
    r_max
        Largest distance in Å; half the smallest height of the first cell if None.
    bins
        How many there are up to ``r_max``.
    origins
        At most so many equally spaced origins are used for the distinct part; the self part uses all.
    distinct
        Whether the distinct part, which takes longest, is computed.
    dt_fs, remove_drift
        As in `forcewright.analyze.msd`.

    Raises
    ------
    InputError
        If there are fewer than two frames, the atoms change, times are unknown or unequally spaced, a lag is longer
        than the trajectory, or a number is not above 0.
    """
    positions = _gather(frames, dt_fs, remove_drift)
    steps = _steps_of(positions, lags_fs)
    if distinct or r_max is None:
        require_periodic(positions.structure, "the distinct van Hove function" if distinct else "r_max")
    if r_max is None:
        r_max = float(0.5 / np.linalg.norm(np.linalg.inv(positions.structure.cell), axis=0).max())
    edges: FloatArray = np.linspace(0.0, r_max, max(bins, 0) + 1)
    if len(edges) < 2 or not edges[-1] > 0 or origins < 1:
        raise InputError("must be above 0", field="bins" if bins < 1 else "origins" if origins < 1 else "r_max")
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    return VanHove(
        positions.times[steps], (edges[1:] + edges[:-1]) / 2, _self_part(positions, steps, edges, shells),
        _distinct(positions, steps, edges, shells, origins) if distinct else {},
    )  # fmt: skip


def _gather(frames: Frames, dt_fs: float | None, remove_drift: bool) -> VectorSeries:
    """Gather unwrapped positions and, as further rows, those in the cell: where it changes they part."""
    view, drift = ToroidalView(), CenterOfMass()

    def positions_of(snapshot: Snapshot) -> FloatArray:
        inside = snapshot.structure.positions
        unwrapped = view(snapshot.structure)
        moved = drift.moved(unwrapped, snapshot.masses) if remove_drift and len(snapshot) > 1 else np.zeros(3)
        return np.concatenate([unwrapped - moved, inside - moved])

    return collect(frames, positions_of, dt_fs=dt_fs)


def _steps_of(positions: VectorSeries, lags_fs: Sequence[float] | None) -> IntArray:
    if lags_fs is None:
        return np.array([step for step in (1, 10, 100) if step < len(positions)])
    steps = np.rint(np.asarray(lags_fs, dtype=float) / positions.dt)
    if not len(steps) or not ((steps >= 0) & (steps < len(positions))).all():
        raise InputError(f"are {list(lags_fs)}; give lags between 0 and {positions.times[-1]:g} fs", field="lags_fs")
    return steps.astype(np.int64)


def _self_part(
    positions: VectorSeries, steps: IntArray, edges: FloatArray, shells: FloatArray
) -> dict[str, FloatArray]:
    counts = {}
    for name, atoms in positions.species.items():
        counts[name] = np.zeros((len(steps), len(shells)))
        for block in positions.blocks(atoms, megabytes=16.0):
            for row, step in zip(counts[name], steps, strict=True):
                _count_displacements(block, step, len(shells) / edges[-1], row)
    counts["total"] = np.sum(list(counts.values()), axis=0)
    atoms_of = {name: len(atoms) for name, atoms in positions.species.items()} | {"total": len(positions.structure)}
    samples = (len(positions) - steps)[:, None]
    return {name: tally / (atoms_of[name] * samples * shells) for name, tally in counts.items()}


@njit(cache=True, nogil=True)
def _count_displacements(r, step, per_length, counts):  # type: ignore[no-untyped-def]
    for n in range(r.shape[0]):
        for t in range(r.shape[2] - step):
            x, y, z = (r[n, 0, t + step] - r[n, 0, t], r[n, 1, t + step] - r[n, 1, t], r[n, 2, t + step] - r[n, 2, t])
            shell = int(np.sqrt(x * x + y * y + z * z) * per_length)
            if shell < len(counts):
                counts[shell] += 1


def _distinct(
    positions: VectorSeries, steps: IntArray, edges: FloatArray, shells: FloatArray, origins: int
) -> dict[tuple[str, str] | str, FloatArray]:
    kinds, kind_of = np.unique(positions.structure.numbers, return_inverse=True)
    counts = np.zeros((len(steps), len(kinds), len(kinds), len(shells)))
    for row, step in enumerate(steps):
        for start in _origins(len(positions) - int(step), origins):
            volume = abs(np.linalg.det(positions.cells[start]))
            pair_counts = np.zeros(counts.shape[1:])
            for centers, starts, indices, vectors in _pairs(positions, start, start + int(step), edges[-1]):
                _count_pairs(centers, starts, indices, vectors, kind_of, len(shells) / edges[-1], pair_counts)
            counts[row] += volume * pair_counts / len(_origins(len(positions) - int(step), origins))
    sizes = np.bincount(kind_of).astype(float)
    symbols = [chemical_symbols[z] for z in kinds]
    both = counts + counts.swapaxes(1, 2)
    result: dict[tuple[str, str] | str, FloatArray] = {
        (symbols[a], symbols[b]): both[:, a, b] / (2 * sizes[a] * sizes[b] * shells)
        for a, b in combinations_with_replacement(range(len(kinds)), 2)
    }
    return result | {"total": counts.sum(axis=(1, 2)) / (sizes.sum() ** 2 * shells)}


def _origins(available: int, wanted: int) -> IntArray:
    return np.unique(np.linspace(0, available - 1, min(available, wanted)).astype(np.int64))


def _pairs(
    positions: VectorSeries, start: int, end: int, cutoff: float
) -> Iterator[tuple[IndexArray, IntArray, IndexArray, FloatArray]]:
    """Yield some atoms at ``start`` and what is near them at ``end``: atom i there has the index N + i."""
    count = len(positions.structure)
    numbers = np.tile(positions.structure.numbers, 2)
    cell = positions.cells[start]
    later = positions.frame(end)[count:] @ np.linalg.inv(positions.cells[end]) @ cell
    together = np.concatenate([positions.frame(start)[count:], later])
    search = NeighborSearch(Structure(numbers, together, cell, positions.structure.pbc), cutoff)
    for first in range(0, count, _CENTERS):
        centers = np.arange(first, min(first + _CENTERS, count), dtype=np.int32)
        starts = np.empty(len(centers) + 1, dtype=np.int64)
        guess = 64 * len(centers)
        yield centers, starts, *search.of(centers, starts, np.empty(guess, dtype=np.int32), np.empty((guess, 3)))


@njit(cache=True, nogil=True)
def _count_pairs(centers, starts, indices, vectors, kind_of, per_length, counts):  # type: ignore[no-untyped-def]
    atoms = len(kind_of)
    for n in range(len(centers)):
        i = centers[n]
        for p in range(starts[n], starts[n + 1]):
            j = indices[p] - atoms
            if j >= 0 and j != i:
                length = np.sqrt(vectors[p, 0] ** 2 + vectors[p, 1] ** 2 + vectors[p, 2] ** 2)
                shell = int(length * per_length)
                if shell < counts.shape[2]:
                    counts[kind_of[i], kind_of[j], shell] += 1
