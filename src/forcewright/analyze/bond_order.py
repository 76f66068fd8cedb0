"""Order of an atom's surroundings: tetrahedral order q and Steinhardt's q_l."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from forcewright.analyze.cutoff import Cutoff, bonded
from forcewright.analyze.frames import at_least, known_symbol, same_atoms, species_index
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.neighbors import Neighbors, find_neighbors
from forcewright.structure import FloatArray, Structure
from forcewright.trajectory import Frames


@dataclass(frozen=True, eq=False)
class TetrahedralOrder(Result):
    """Averages over the frames; see `tetrahedral_order`.

    =========  ========================================================================================
    q          centers of the bins (bins,) of the distribution
    density    distribution of q over the atoms (bins,), with integral 1
    mean       mean of q
    deviation  standard deviation of the mean of a frame over the frames
    last       q of each atom of the last frame, in the order of the frame; of the chosen species alone
    frames     number of frames
    =========  ========================================================================================
    """

    q: FloatArray
    density: FloatArray
    mean: float
    deviation: float
    last: FloatArray
    frames: int

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.q, self.density, color="black")
        ax.set(xlabel="tetrahedral order q", ylabel="density", ylim=(0, None))
        ax.set_xlim(min(0.0, float(self.q[self.density > 0][0])), 1.0)


def tetrahedral_order(frames: Frames, species: str | None = None, bins: int = 200) -> TetrahedralOrder:
    """Compute the tetrahedral order of each atom from its four nearest neighbors.

    ``q = 1 - 3/8 Σ_j<k (cos ψ_jk + 1/3)²``, with ψ_jk the angle that neighbors j and k span (Errington and Debenedetti,
    Nature 409, 318 (2001)): 1 in a perfect tetrahedron, 0 on average in an ideal gas.

    Parameters
    ----------
    frames
        With periodic or open directions; cells of any size.
    species
        Atoms to take as centers and as neighbors, such as ``"O"`` in water; else all.
    bins
        Number of bins of equal width between -3 and 1.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, an atom has fewer than four others, or an argument is
        invalid.
    """
    bins = at_least(bins, 1, "bins")
    edges = np.linspace(-3.0, 1.0, bins + 1)
    counts, means = np.zeros(bins, dtype=np.int64), []
    for snapshot in same_atoms(frames):
        structure = snapshot.structure
        if species is not None:
            known_symbol(species, structure, "species")
            kept = species_index(structure, [species]) == 0
            structure = Structure(structure.numbers[kept], structure.positions[kept], structure.cell, structure.pbc)
        last = _tetrahedral(_nearest(structure, 4).vectors.reshape(-1, 4, 3))
        counts += np.histogram(np.clip(last, -3.0, 1.0), edges)[0]  # rounding may leave the range
        means.append(last.mean())
    return TetrahedralOrder(
        q=0.5 * (edges[1:] + edges[:-1]), density=counts / (counts.sum() * 4.0 / bins), mean=float(np.mean(means)),
        deviation=float(np.std(means)), last=last, frames=len(means),
    )  # fmt: skip


def _nearest(structure: Structure, count: int) -> Neighbors:
    """Return the ``count`` nearest neighbors of each atom, nearest first."""
    if len(structure) <= count and not structure.pbc.any():
        raise InputError(f"holds {len(structure)} atoms; {count} neighbors of each are needed", field="frames")
    extent = float(np.ptp(structure.positions, axis=0).max()) + float(np.abs(structure.cell).sum())
    spacing = (structure.volume / len(structure)) ** (1 / 3) if structure.pbc.all() else 2.0
    cutoff = min(1.2 * spacing * count ** (1 / 3), extent + 1.0)
    pairs = find_neighbors(structure, cutoff)
    while np.diff(pairs.starts).min() < count:
        cutoff *= 1.3
        pairs = find_neighbors(structure, cutoff)
    order = np.lexsort((pairs.distances, pairs.centers))
    rank = np.arange(len(order)) - pairs.starts[pairs.centers[order]]
    kept = order[rank < count]
    return Neighbors(count * np.arange(len(structure) + 1), pairs.indices[kept], pairs.vectors[kept])


def _tetrahedral(vectors: FloatArray) -> FloatArray:
    """Return q (N,) of four neighbors each (N, 4, 3)."""
    units = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    cosines = np.einsum("ijd,ikd->ijk", units, units)
    j, k = np.triu_indices(4, 1)
    total: FloatArray = 1 - 3 / 8 * ((cosines[:, j, k] + 1 / 3) ** 2).sum(axis=1)
    return total


@dataclass(frozen=True, eq=False)
class BondOrder(Result):
    """Averages over the frames; see `steinhardt`.

    =======  ==================================================================================
    q        centers of the bins (bins,) of the distribution
    density  distribution of q_l over the atoms (bins,), with integral 1
    mean     mean of q_l
    last     q_l of each atom (N,) of the last frame
    degree   the l of q_l
    cutoff   longest bonds in Å, for pairs of species; None if the nearest neighbors were taken
    frames   number of frames
    =======  ==================================================================================
    """

    units = {"cutoff": "Å"}

    q: FloatArray
    density: FloatArray
    mean: float
    last: FloatArray
    degree: int
    cutoff: dict[tuple[str, str], float] | None
    frames: int

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.q, self.density, color="black")
        ax.set(xlabel=f"$q_{{{self.degree}}}$", ylabel="density", xlim=(0, 1), ylim=(0, None))


def steinhardt(
    frames: Frames, degree: int = 6, cutoff: Cutoff = None, nearest: int | None = None, average: bool = False,
    bins: int = 200,
) -> BondOrder:  # fmt: skip
    """Compute Steinhardt's bond-orientational order q_l of each atom.

    ``q_l = sqrt(4π/(2l+1) Σ_m |q_lm|²)``, where q_lm is the mean of the spherical harmonics Y_lm over the bonds of
    the atom (Steinhardt, Nelson and Ronchetti, Phys. Rev. B 28, 784 (1983)). With ``average``, q_lm
    is first averaged over the atom and its neighbors (Lechner and Dellago, J. Chem. Phys. 129, 114707 (2008), eqs. 5
    and 6), which tells crystals from liquids better. An atom without bonds has 0.

    Parameters
    ----------
    frames
        With periodic or open directions; cells of any size.
    degree
        l, such as 4 or 6.
    cutoff
        As in `coordination`; not together with ``nearest``.
    nearest
        Take so many nearest neighbors instead, such as 12.
    average
        Whether to average over the neighbors.
    bins
        Number of bins of equal width between 0 and 1.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, or an argument is invalid.
    """
    degree, bins = at_least(degree, 0, "degree"), at_least(bins, 1, "bins")
    if nearest is not None:
        if cutoff is not None:
            raise InputError("stands beside a cutoff; give one of the two", field="nearest")
        nearest, stream, table = at_least(nearest, 1, "nearest"), same_atoms(frames), None
    else:
        bonds, stream = bonded(frames, cutoff)
        table = bonds.table
    edges = np.linspace(0.0, 1.0, bins + 1)
    counts, means = np.zeros(bins, dtype=np.int64), []
    for snapshot in stream:
        structure = snapshot.structure
        pairs = bonds.neighbors(structure) if nearest is None else _nearest(structure, nearest)
        q_lm = _bond_harmonics(pairs, degree)
        if average:
            q_lm = (q_lm + _sum_over_neighbors(q_lm[pairs.indices], pairs)) / (1 + np.diff(pairs.starts))[:, None]
        last = np.sqrt(4 * np.pi / (2 * degree + 1) * (abs(q_lm) ** 2).sum(axis=1))
        counts += np.histogram(np.clip(last, 0.0, 1.0), edges)[0]
        means.append(last.mean())
    return BondOrder(
        q=0.5 * (edges[1:] + edges[:-1]), density=counts * bins / counts.sum(), mean=float(np.mean(means)), last=last,
        degree=degree, cutoff=table, frames=len(means),
    )  # fmt: skip


def _bond_harmonics(bonds: Neighbors, degree: int) -> NDArray[np.complex128]:
    """Return q_lm (N, 2l + 1), the means of Y_lm over the bonds of each atom."""
    from scipy.special import lpmv

    x, y, z = bonds.vectors.T
    cosine, azimuth = np.clip(z / bonds.distances, -1, 1), np.arctan2(y, x)

    def harmonic(m: int) -> NDArray[np.complex128]:
        norm = np.sqrt((2 * degree + 1) / (4 * np.pi) * factorial(degree - m) / factorial(degree + m))
        values: NDArray[np.complex128] = norm * lpmv(m, degree, cosine) * np.exp(1j * m * azimuth)
        return values

    upper = [harmonic(m) for m in range(degree + 1)]
    lower = [(-1) ** m * upper[m].conj() for m in range(degree, 0, -1)]
    values = np.array(lower + upper).T
    return _sum_over_neighbors(values, bonds) / np.maximum(1, np.diff(bonds.starts))[:, None]


def _sum_over_neighbors(values: NDArray[np.complex128], bonds: Neighbors) -> NDArray[np.complex128]:
    """Return the sums (N, K) of the values (M, K) of the pairs of each center."""
    sums = np.zeros((len(bonds.starts) - 1, values.shape[1]), dtype=np.complex128)
    bonded_atoms = np.flatnonzero(np.diff(bonds.starts))
    if len(bonded_atoms):
        sums[bonded_atoms] = np.add.reduceat(values, bonds.starts[bonded_atoms], axis=0)
    return sums
