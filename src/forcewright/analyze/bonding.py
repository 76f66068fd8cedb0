"""Coordination numbers and the kinds of bonds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from forcewright.analyze.cutoff import Cutoff, bonded
from forcewright.analyze.radial import Pair
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.structure import FloatArray, IntArray
from forcewright.trajectory import Frames


@dataclass(frozen=True, eq=False)
class Coordination(Result):
    """Averages over the frames; see `coordination`.

    ==================  =============================================================================
    neighbors           numbers of neighbors 0, 1 … (M,)
    distribution        share of the atoms of each species with so many neighbors of any species (M,)
    distribution_total  the same for all atoms
    mean                mean number of neighbors by species
    mean_total          mean number of neighbors of all atoms
    by_pair             mean number of neighbors b of an atom a, for every ordered pair
    deviation           standard deviation over the frames of the mean of each frame, by species
    last                number of neighbors of each atom (N,) of the last frame
    cutoff              longest bonds in Å, for pairs of species
    frames              number of frames
    ==================  =============================================================================
    """

    units = {"cutoff": "Å"}

    neighbors: IntArray
    distribution: dict[str, FloatArray]
    distribution_total: FloatArray
    mean: dict[str, float]
    mean_total: float
    by_pair: dict[Pair, float]
    deviation: dict[str, float]
    last: IntArray
    cutoff: dict[Pair, float]
    frames: int

    def _draw(self, ax: Axes) -> None:
        width = 0.8 / len(self.distribution)
        for k, (symbol, shares) in enumerate(self.distribution.items()):
            ax.bar(self.neighbors + (k + 0.5) * width - 0.4, shares, width, label=f"{symbol} ({self.mean[symbol]:.2f})")
        ax.set(xlabel="neighbors", ylabel="share of atoms", ylim=(0, 1))
        ax.legend(frameon=False)


def coordination(frames: Frames, cutoff: Cutoff = None) -> Coordination:
    """Count the neighbors of each atom within a cutoff.

    Parameters
    ----------
    frames
        With periodic or open directions; cells of any size.
    cutoff
        Longest bond in Å, for all pairs or as ``{("Si", "O"): 2.0}``, where pairs left out do not bond; else the first
        minimum of g(r) of the first frames.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, or a cutoff is invalid.
    """
    bonds, stream = bonded(frames, cutoff)
    species = bonds.species
    tally = np.zeros((len(species), 1), dtype=np.int64)
    means = []
    for snapshot in stream:
        structure = snapshot.structure
        kinds, near = bonds.kinds(structure), bonds.neighbors(structure)
        last = np.diff(near.starts)
        amounts = np.bincount(kinds)
        if last.max() >= tally.shape[1]:
            tally = np.pad(tally, [(0, 0), (0, last.max() + 1 - tally.shape[1])])
        np.add.at(tally, (kinds, last), 1)
        means.append(_pair_counts(kinds[near.centers], kinds[near.indices], len(species)) / amounts[:, None])
    mean = np.mean(means, axis=0)
    spread = np.std(np.sum(means, axis=2), axis=0)
    return Coordination(
        neighbors=np.arange(tally.shape[1]), distribution={a: tally[i] / tally[i].sum() for i, a in enumerate(species)},
        distribution_total=tally.sum(axis=0) / tally.sum(),
        mean={a: float(mean[i].sum()) for i, a in enumerate(species)},
        mean_total=float(amounts @ mean.sum(axis=1) / amounts.sum()),
        by_pair={(a, b): float(mean[i, j]) for i, a in enumerate(species) for j, b in enumerate(species)},
        deviation={a: float(spread[i]) for i, a in enumerate(species)}, last=last, cutoff=bonds.table,
        frames=len(means),
    )  # fmt: skip


def _pair_counts(first: IntArray, second: IntArray, species: int) -> IntArray:
    """Return how often each pair of kinds occurs (species, species)."""
    return np.bincount(first * species + second, minlength=species**2).reshape(species, species)


@dataclass(frozen=True, eq=False)
class BondStatistics(Result):
    """Averages over the frames; see `bond_statistics`.

    ====================================  ============================================================================
    per_atom                              number of bonds a-b divided by the number of all atoms, each pair of species
                                          once
    share                                 share of the bonds that join a and b, each pair of species once
    deviation                             standard deviation of ``share`` over the frames
    homopolar                             share of the bonds that join two atoms of one species
    wrong                                 share of the bonds within one of ``alike``
    homopolar_deviation, wrong_deviation  their standard deviations over the frames
    alike                                 groups of species between which a bond is wrong
    cutoff                                longest bonds in Å, for pairs of species
    frames                                number of frames
    ====================================  ============================================================================
    """

    units = {"cutoff": "Å"}

    per_atom: dict[Pair, float]
    share: dict[Pair, float]
    deviation: dict[Pair, float]
    homopolar: float
    homopolar_deviation: float
    wrong: float
    wrong_deviation: float
    alike: tuple[tuple[str, ...], ...]
    cutoff: dict[Pair, float]
    frames: int

    def _draw(self, ax: Axes) -> None:
        labels = ["-".join(pair) for pair in self.share]
        ax.bar(labels, list(self.share.values()), yerr=list(self.deviation.values()), color="0.5")
        ax.set(ylabel="share of bonds", ylim=(0, None))
        ax.set_title(f"homopolar {100 * self.homopolar:.1f} %, wrong {100 * self.wrong:.1f} %", fontsize="medium")


def bond_statistics(
    frames: Frames, cutoff: Cutoff = None, alike: Iterable[Sequence[str]] | None = None
) -> BondStatistics:
    """Count the bonds of each pair of species, homopolar bonds and wrong bonds.

    Parameters
    ----------
    frames
        With periodic or open directions; cells of any size.
    cutoff
        As in `coordination`.
    alike
        Groups of species that should not bond within the group, such as ``[("Ge", "Sb"), ("Te",)]``: cation-like and
        anion-like atoms of Ge-Sb-Te alloys, whose wrong bonds are Ge-Ge, Ge-Sb, Sb-Sb and Te-Te. If not given, each
        species is a group, and the wrong bonds are the homopolar ones.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, an argument is invalid, or there are no bonds.
    """
    bonds, stream = bonded(frames, cutoff)
    species = bonds.species
    groups = tuple(tuple(group) for group in alike) if alike is not None else tuple((a,) for a in species)
    for symbol in {symbol for group in groups for symbol in group} - set(species):
        raise InputError(f"names {symbol!r}, the frames hold {', '.join(species)}", field="alike")
    counts = []
    for snapshot in stream:
        kinds, near = bonds.kinds(snapshot.structure), bonds.neighbors(snapshot.structure)
        ordered = _pair_counts(kinds[near.centers], kinds[near.indices], len(species))
        counts.append(ordered + ordered.T - np.diag(np.diag(ordered)))  # both directions; like pairs hold both already
    once = 0.5 * np.array(counts, dtype=np.float64)
    totals = np.triu(once).sum(axis=(1, 2))
    if not totals.all():
        raise InputError(f"is {bonds.longest:.2f} Å, within which a frame has no bond", field="cutoff")
    shares = once / totals[:, None, None]
    mean, spread, index_of = shares.mean(axis=0), shares.std(axis=0), species.index
    homopolar = np.trace(shares, axis1=1, axis2=2)
    pairs = list(combinations_with_replacement(species, 2))
    bad = [(index_of(a), index_of(b)) for a, b in pairs if any({a, b} <= set(group) for group in groups)]
    wrong = sum((shares[:, i, j] for i, j in bad), start=np.zeros(len(shares)))
    return BondStatistics(
        per_atom={(a, b): float(once[:, index_of(a), index_of(b)].mean() / len(kinds)) for a, b in pairs},
        share={(a, b): float(mean[index_of(a), index_of(b)]) for a, b in pairs},
        deviation={(a, b): float(spread[index_of(a), index_of(b)]) for a, b in pairs},
        homopolar=float(homopolar.mean()), homopolar_deviation=float(homopolar.std()), wrong=float(wrong.mean()),
        wrong_deviation=float(wrong.std()), alike=groups, cutoff=bonds.table, frames=len(counts),
    )  # fmt: skip
