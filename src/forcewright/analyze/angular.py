"""Angles between bonds, and lengths of bonds that continue one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from forcewright.analyze.cutoff import Cutoff, bonded
from forcewright.analyze.frames import at_least, length
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.structure import FloatArray
from forcewright.trajectory import Frames

Triplet = tuple[str, str, str]

_BEYOND_BONDS = 1.3  # the aligned bonds of a distorted octahedron reach that far past the first minimum of g(r)


@dataclass(frozen=True, eq=False)
class AngularDistribution(Result):
    """Averages over the frames; see `adf`.

    ===============  ===================================================================================================
    angle            centers of the bins (bins,) in degrees
    p                density of all angles (bins,) per degree
    partial          density of the angles a-b-c at b (bins,) per degree, for the triplets that occur, (a, b, c) and (c,
                     b, a)
    share            share of the angles a-b-c, counted together with c-b-a, among all
    angles_per_atom  number of angles at an atom
    cutoff           longest bonds in Å, for pairs of species
    frames           number of frames
    ===============  ===================================================================================================
    """

    units = {"cutoff": "Å"}

    angle: FloatArray
    p: FloatArray
    partial: dict[Triplet, FloatArray]
    share: dict[Triplet, float]
    angles_per_atom: float
    cutoff: dict[tuple[str, str], float]
    frames: int

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.angle, self.p, color="black", label="all")
        once = [key for key in self.partial if key <= key[::-1]]
        for key in once if len(once) > 1 else []:
            ax.plot(self.angle, self.partial[key] * self.share[key], lw=1, label="-".join(key))
        ax.set(xlabel="angle (°)", ylabel="density (1/°)", xlim=(0, 180), ylim=(0, None))
        if len(once) > 1:
            ax.legend(frameon=False)


def adf(frames: Frames, cutoff: Cutoff = None, bins: int = 180) -> AngularDistribution:
    """Compute the distribution of angles between two bonds of an atom.

    Each angle counts once. Densities integrate to 1 over 0 … 180°; an ideal gas has ``p ∝ sin θ``, which is not divided
    out. LAMMPS's ``compute adf`` gives the same numbers. The total is the mean of the partial densities, weighted by
    their shares.

    Parameters
    ----------
    cutoff
        Longest bond in Å, for all pairs or as ``{("Si", "O"): 2.0}``, where pairs left out do not bond; else the first
        minimum of g(r) of the first frames.
    bins
        Number of bins of equal width.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, an argument is invalid, or no atom has two bonds.
    """
    bins = at_least(bins, 1, "bins")
    bonds, stream = bonded(frames, cutoff)
    species = bonds.species
    counts = np.zeros((len(species),) * 3 + (bins,), dtype=np.int64)
    count = 0
    for snapshot in stream:
        count += 1
        structure = snapshot.structure
        pairs = bonds.neighbors(structure)
        _count_angles(pairs.starts, pairs.indices, pairs.vectors, bonds.kinds(structure), counts)
    total = int(counts.sum())
    if total == 0:
        raise InputError(f"is {bonds.longest:.2f} Å, within which no atom has two neighbors", field="cutoff")
    edges = np.linspace(0.0, 180.0, bins + 1)
    width = 180.0 / bins
    partial, share = {}, {}
    for i, j, k in np.argwhere(counts.any(axis=3)):
        for key in ((species[i], species[j], species[k]), (species[k], species[j], species[i])):
            partial[key] = counts[i, j, k] / (counts[i, j, k].sum() * width)
            share[key] = float(counts[i, j, k].sum() / total)
    return AngularDistribution(
        angle=0.5 * (edges[1:] + edges[:-1]), p=counts.sum(axis=(0, 1, 2)) / (total * width), partial=partial,
        share=share, angles_per_atom=total / (count * len(structure)), cutoff=bonds.table, frames=count,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _count_angles(starts: Any, indices: Any, vectors: Any, kinds: Any, counts: Any) -> None:
    """Add the angles of all centers to ``counts[a, center, c, bin]``, a not after c."""
    bins = counts.shape[3]
    scale = bins / np.pi
    for i in range(len(starts) - 1):
        for m in range(starts[i], starts[i + 1]):
            for n in range(m + 1, starts[i + 1]):
                dot, first, second = 0.0, 0.0, 0.0
                for d in range(3):
                    dot += vectors[m, d] * vectors[n, d]
                    first += vectors[m, d] ** 2
                    second += vectors[n, d] ** 2
                cosine = min(1.0, max(-1.0, dot / np.sqrt(first * second)))
                k = min(int(np.arccos(cosine) * scale), bins - 1)
                a, c = kinds[indices[m]], kinds[indices[n]]
                counts[min(a, c), kinds[i], max(a, c), k] += 1


@dataclass(frozen=True, eq=False)
class AlignedBonds(Result):
    """Averages over the frames; see `aligned_bonds`.

    ==============  =================================================================
    r               centers of the bins (bins,) in Å, the same for both bonds
    density         density of pairs of lengths (bins, bins) per Å², symmetric
    partial         the same for each species of the central atom that has such bonds
    pairs_per_atom  number of pairs of aligned bonds at an atom
    deviation       largest deviation from a straight line in degrees
    frames          number of frames
    ==============  =================================================================
    """

    r: FloatArray
    density: FloatArray
    partial: dict[str, FloatArray]
    pairs_per_atom: float
    deviation: float
    frames: int

    def _draw(self, ax: Axes) -> None:
        half = 0.5 * (self.r[1] - self.r[0]) if len(self.r) > 1 else self.r[0]
        shown = self.r[self.density.any(axis=0)]
        ax.imshow(
            self.density, origin="lower", cmap="magma_r", extent=(self.r[0] - half, self.r[-1] + half) * 2,
            aspect="equal",
        )  # fmt: skip
        limits = (shown[0] - half, shown[-1] + half)
        ax.set(xlabel="$r_1$ (Å)", ylabel="$r_2$ (Å)", xlim=limits, ylim=limits)


def aligned_bonds(frames: Frames, r_max: float | None = None, bins: int = 100, deviation: float = 30.0) -> AlignedBonds:
    """Compute the angular-limited three-body correlation (ALTBC): lengths r_1, r_2 of two nearly aligned bonds.

    Counts pairs of neighbors of an atom on opposite sides, whose angle is above ``180° - deviation``, by their
    distances from it. One peak on the diagonal means equal bonds; two peaks off it mean that a short bond faces a long
    one, as in a Peierls distortion (Bichara, Pellegatti and Gaspard, Phys. Rev. B 47, 5002 (1993); Raty et al.,
    Nat. Commun. 6, 7467 (2015)). Each pair stands in both orders; the density integrates to 1.

    Parameters
    ----------
    r_max
        Longest distance in Å; else 1.3 times the first minimum of g(r) of the first frames.
    bins
        Number of bins of equal width along each axis.
    deviation
        In degrees, above 0 and below 180.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, an argument is invalid, or there are no such bonds.
    """
    bins = at_least(bins, 1, "bins")
    if not 0 < deviation < 180:
        raise InputError(f"is {deviation}°; it must lie between 0 and 180", field="deviation")
    bonds, stream = bonded(frames, None if r_max is None else length(r_max, "r_max"))
    if r_max is None:
        r_max = _BEYOND_BONDS * bonds.longest
        bonds = bonds.up_to(r_max)
    counts = np.zeros((len(bonds.species), bins, bins), dtype=np.int64)
    limit, count = -np.cos(np.radians(deviation)), 0
    for snapshot in stream:
        count += 1
        structure = snapshot.structure
        pairs = bonds.neighbors(structure)
        _count_aligned(pairs.starts, pairs.vectors, bonds.kinds(structure), limit, bins / r_max, counts)
    total = int(counts.sum())
    if total == 0:
        raise InputError(f"is {r_max:.2f} Å, within which no two neighbors of an atom face each other", field="r_max")
    edges = np.linspace(0.0, r_max, bins + 1)
    area = (r_max / bins) ** 2
    return AlignedBonds(
        r=0.5 * (edges[1:] + edges[:-1]),
        density=counts.sum(axis=0) / (total * area),
        partial={
            symbol: part / (part.sum() * area) for symbol, part in zip(bonds.species, counts, strict=True) if part.any()
        },
        pairs_per_atom=total / (2 * count * len(structure)),
        deviation=float(deviation),
        frames=count,
    )


@njit(cache=True, nogil=True)
def _count_aligned(starts: Any, vectors: Any, kinds: Any, limit: float, scale: float, counts: Any) -> None:
    """Add the lengths of all pairs of bonds whose cosine is below ``limit`` to ``counts[center]``, in both orders."""
    bins = counts.shape[1]
    for i in range(len(starts) - 1):
        for m in range(starts[i], starts[i + 1]):
            first = np.sqrt(vectors[m, 0] ** 2 + vectors[m, 1] ** 2 + vectors[m, 2] ** 2)
            p = min(int(first * scale), bins - 1)
            for n in range(m + 1, starts[i + 1]):
                second = np.sqrt(vectors[n, 0] ** 2 + vectors[n, 1] ** 2 + vectors[n, 2] ** 2)
                dot = vectors[m, 0] * vectors[n, 0] + vectors[m, 1] * vectors[n, 1] + vectors[m, 2] * vectors[n, 2]
                if dot < limit * first * second:
                    q = min(int(second * scale), bins - 1)
                    counts[kinds[i], p, q] += 1
                    counts[kinds[i], q, p] += 1
