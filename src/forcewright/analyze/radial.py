"""Radial distribution function g(r), total and partial, and running coordination numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement

import numpy as np
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

from forcewright.analyze.cutoff import first_minimum
from forcewright.analyze.frames import at_least, length, require_periodic, same_atoms, species_index, symbols_of
from forcewright.analyze.pair_histogram import PairHistogram, worker_threads
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.trajectory import Frames

Pair = tuple[str, str]

_DILUTE = 0.05  # share of the atoms below which a species is a defect, whose periodic images are those of the cell
_NOT_NARROW, _HIGH = 0.97, 3.0


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
    first_peak          where g(r) has its first peak, in Å, in ``"total"`` and by pair, such as ``"O-Si"``; nan where
                        there is none that is followed by a minimum
    first_minimum       the minimum after it, in Å
    neighbors           coordination number: atoms b around an atom a up to the first minimum of a-b, for every ordered
                        pair
    images_from         distance in Å from which on an atom meets its own periodic images; infinite beyond ``r_max``
    ==================  ===============================================================================================
    """

    units = {"density": "atoms/Å³", "first_peak": "Å", "first_minimum": "Å", "images_from": "Å"}

    r: FloatArray
    g: FloatArray
    partial: dict[Pair, FloatArray]
    coordination: dict[Pair, FloatArray]
    coordination_total: FloatArray
    density: float
    concentrations: dict[str, float]
    frames: int
    first_peak: dict[str, float] = field(default_factory=dict)
    first_minimum: dict[str, float] = field(default_factory=dict)
    neighbors: dict[str, float] = field(default_factory=dict)
    images_from: float = np.inf

    @property
    def species(self) -> tuple[str, ...]:
        """The species, by ascending atomic number."""
        return tuple(self.concentrations)

    def _draw(self, ax: Axes) -> None:
        curves = {"total": self.g}
        if len(self.species) > 1:
            curves |= {f"{a}-{b}": self.partial[a, b] for a, b in combinations_with_replacement(self.species, 2)}
        top = height_that_shows(list(curves.values()))
        for name, g in curves.items():
            ax.plot(self.r, g, label=name, **({"color": "black"} if name == "total" else {"lw": 1}))
        ax.axhline(1.0, color="0.8", lw=0.8, zorder=0)
        cut = [f"{name} {g.max():.3g} at {self.r[np.argmax(g)]:.3g} Å" for name, g in curves.items() if g.max() > top]
        if cut:
            ax.text(0.99, 0.98, "cut off: " + "; ".join(cut), transform=ax.transAxes, ha="right", va="top", fontsize=8)
        if self.images_from < self.r[-1]:
            ax.axvline(self.images_from, color="0.6", lw=0.8, ls=":", label="own periodic images from here")
        ax.set(xlabel="r (Å)", ylabel="g(r)", xlim=(0, None), ylim=(0, top if cut else None))
        if len(curves) > 1 or self.images_from < self.r[-1]:
            ax.legend(frameon=False, loc="upper right", bbox_to_anchor=(1.0, 0.93 if cut else 1.0))


def height_that_shows(curves: Sequence[FloatArray]) -> float:
    """Return up to which value curves are to be drawn, so that a few very high peaks do not flatten the rest.

    That is the highest of all, unless it is more than three times what 97 % of the points of each curve stay below:
    bonds within molecules and images are narrow. Where curves are nothing but narrow peaks, as in a perfect crystal,
    all of them are shown.
    """
    highest = max((float(curve.max(initial=0.0)) for curve in curves), default=0.0)
    smooth = [curve for curve in curves if len(curve) and np.mean(curve > 0.1) > 0.5]
    usual = max((float(np.quantile(curve, _NOT_NARROW)) for curve in smooth), default=0.0)
    return _HIGH * usual if usual >= 1.0 and highest > _HIGH * usual else highest or 1.0


def rdf(frames: Frames, r_max: float = 10.0, bins: int = 200) -> RadialDistribution:
    """Compute the radial distribution function g(r).

    ``g_ab(r) = V / (N_a N_b) · <Σ_i∈a Σ_j∈b δ(r - r_ij)> / (4π r²)``, j ≠ i, images of i included (Allen and Tildesley,
    Computer Simulation of Liquids, 2nd ed. (2017), sec. 2.6). A bin divides the count by the exact volume of its shell,
    frame by frame, with the volume of that frame. As N_a N_b stands there also for a = b, g is the same for every
    supercell, and that of an ideal gas of N atoms is 1 - 1/N. The total is ``g = Σ_ab c_a c_b g_ab``.

    Own images are left out for a species that is less than 5 % of the atoms: a lone hydrogen atom in a crystal would
    have a g_HH of nothing but the period of its cell.

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
    density, images_from = 0.0, np.inf
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
            kind = species_index(structure, species)
            met = histogram.count(structure, kind)
            if (period := _shortest_period(structure, r_max)) < np.inf:
                images_from = min(images_from, period)
                met -= _image_pairs(structure, kind, histogram, amounts < _DILUTE * amounts.sum())
            pairs += met
            g += structure.volume * met
            density += len(structure) / structure.volume
    g /= count * np.multiply.outer(amounts, amounts)[:, :, None] * shells
    around = np.cumsum(pairs, axis=2) / (count * amounts[:, None, None])
    shares = amounts / amounts.sum()
    keys = [(i, j) for i in range(len(species)) for j in range(len(species))]
    r, total = 0.5 * (edges[1:] + edges[:-1]), np.einsum("a,b,abk->k", shares, shares, g)
    names = {(i, j): f"{species[i]}-{species[j]}" for i, j in keys}
    peaks = {"total": _first_shell(r, total), **{names[i, j]: _first_shell(r, g[i, j]) for i, j in keys if i <= j}}
    running = {"total": np.einsum("a,abk->k", shares, around), **{names[key]: around[key] for key in keys}}
    ends = {**{name: end for name, (_, end) in peaks.items()}, **{names[j, i]: peaks[names[i, j]][1] for i, j in keys
                                                                  if i < j}}  # fmt: skip
    return RadialDistribution(
        r=r, g=total,
        partial={(species[i], species[j]): g[i, j] for i, j in keys},
        coordination={(species[i], species[j]): around[i, j] for i, j in keys},
        coordination_total=running["total"], density=density / count,
        concentrations=dict(zip(species, shares.tolist(), strict=True)), frames=count,
        first_peak={name: peak for name, (peak, _) in peaks.items()},
        first_minimum={name: end for name, (_, end) in peaks.items()},
        neighbors={name: float(np.interp(ends[name], edges[1:], values)) for name, values in running.items()},
        images_from=images_from,
    )  # fmt: skip


def _first_shell(r: FloatArray, g: FloatArray) -> tuple[float, float]:
    """Return where the first peak and the minimum after it are, nan where there are none."""
    try:
        end = first_minimum(r, g)
    except InputError:
        return np.nan, np.nan
    return float(r[np.argmax(np.where(r < end, g, -1.0))]), end


def _shortest_period(structure: Structure, r_max: float) -> float:
    """Return the shortest lattice vector in Å if it is not longer than ``r_max``, infinity otherwise."""
    heights = 1 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
    if heights.min() > r_max:  # no lattice vector is shorter than the smallest height
        return np.inf
    reduced = minkowski_reduce(structure.cell)[0]  # type: ignore[no-untyped-call]
    shortest = float(np.linalg.norm(reduced, axis=1).min())
    return shortest if shortest <= r_max else np.inf


def _image_pairs(
    structure: Structure, kind: IntArray, histogram: PairHistogram, dilute: NDArray[np.bool_]
) -> IntArray | int:
    """Return the pairs (S, S, bins) that atoms of ``dilute`` kinds (S,) make with their own images."""
    counts: IntArray | int = 0
    for atom in np.flatnonzero(dilute[kind]):
        lone = Structure(structure.numbers[[atom]], structure.positions[[atom]], structure.cell, structure.pbc)
        counts = counts + histogram.count(lone, kind[[atom]])
    return counts
