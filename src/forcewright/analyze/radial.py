"""Radial distribution function g(r), total and partial, and running coordination numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from forcewright.analyze.frames import at_least, length, require_periodic, same_atoms, species_index, symbols_of
from forcewright.analyze.pair_histogram import PairHistogram, worker_threads
from forcewright.analyze.result import Axes, Result
from forcewright.structure import FloatArray
from forcewright.trajectory import Frames

Pair = tuple[str, str]


@dataclass(frozen=True, eq=False)
class RadialDistribution(Result):
    """Averages over the frames; see `rdf`.

    ==================  ===============================================================================================
    r                   centers of the bins (bins,) in Å
    g                   of all atoms whatever their species (bins,)
    partial             g_ab(r) (bins,) for every pair of species, in both orders
    coordination        number of atoms b around an atom a (bins,), up to the upper edge of each bin, for every ordered
                        pair
    coordination_total  number of atoms of any species around an atom (bins,)
    density             atoms per Å³
    concentrations      share of each species among the atoms
    frames              number of frames
    ==================  ===============================================================================================
    """

    r: FloatArray
    g: FloatArray
    partial: dict[Pair, FloatArray]
    coordination: dict[Pair, FloatArray]
    coordination_total: FloatArray
    density: float
    concentrations: dict[str, float]
    frames: int

    @property
    def species(self) -> tuple[str, ...]:
        """The species, by ascending atomic number."""
        return tuple(self.concentrations)

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.r, self.g, color="black", label="total")
        for a, b in combinations_with_replacement(self.species, 2) if len(self.species) > 1 else []:
            ax.plot(self.r, self.partial[a, b], lw=1, label=f"{a}-{b}")
        ax.axhline(1.0, color="0.8", lw=0.8, zorder=0)
        ax.set(xlabel="r (Å)", ylabel="g(r)", xlim=(0, None), ylim=(0, None))
        if len(self.species) > 1:
            ax.legend(frameon=False)


def rdf(frames: Frames, r_max: float = 10.0, bins: int = 200) -> RadialDistribution:
    """Compute the radial distribution function g(r).

    ``g_ab(r) = V / (N_a N_b) · <Σ_i∈a Σ_j∈b δ(r - r_ij)> / (4π r²)``, j ≠ i, images of i included (Allen and Tildesley,
    Computer Simulation of Liquids, 2nd ed. (2017), sec. 2.6). A bin divides the count by the exact volume of its shell,
    frame by frame, with the volume of that frame. As N_a N_b stands there also for a = b, g is the same for every
    supercell, and that of an ideal gas of N atoms is 1 - 1/N. The total is ``g = Σ_ab c_a c_b g_ab``.

    Parameters
    ----------
    frames
        Periodic in all directions; cells may be of any shape, change, and be smaller than ``2 r_max``.
    r_max
        In Å.
    bins
        Number of bins of equal width.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, a direction is open, or an argument is invalid.
    """
    r_max, bins = length(r_max, "r_max"), at_least(bins, 1, "bins")
    edges = np.linspace(0.0, r_max, bins + 1)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    species: tuple[str, ...] = ()
    density = 0.0
    with worker_threads() as pool:
        for count, snapshot in enumerate(same_atoms(frames), start=1):
            structure = snapshot.structure
            require_periodic(structure, "g(r)")
            if count == 1:
                species = symbols_of(structure)
                histogram = PairHistogram(r_max, bins, len(species), pool)
                amounts = np.bincount(species_index(structure, species)).astype(float)
                pairs = np.zeros((len(species), len(species), bins), dtype=np.int64)
                g = np.zeros(pairs.shape)
            met = histogram.count(structure, species_index(structure, species))
            pairs += met
            g += structure.volume * met
            density += len(structure) / structure.volume
    g /= count * np.multiply.outer(amounts, amounts)[:, :, None] * shells
    around = np.cumsum(pairs, axis=2) / (count * amounts[:, None, None])
    shares = amounts / amounts.sum()
    keys = [(i, j) for i in range(len(species)) for j in range(len(species))]
    return RadialDistribution(
        r=0.5 * (edges[1:] + edges[:-1]), g=np.einsum("a,b,abk->k", shares, shares, g),
        partial={(species[i], species[j]): g[i, j] for i, j in keys},
        coordination={(species[i], species[j]): around[i, j] for i, j in keys},
        coordination_total=np.einsum("a,abk->k", shares, around), density=density / count,
        concentrations=dict(zip(species, shares.tolist(), strict=True)), frames=count,
    )  # fmt: skip
