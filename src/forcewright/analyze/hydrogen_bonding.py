"""Hydrogen bonds between molecules, and molecules by the bonds they accept and donate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forcewright.analyze.frames import known_symbol, length, same_atoms, species_index, symbols_of
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.neighbors import find_neighbors
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.trajectory import Frames

_PARTNERS = ("N", "O", "F")


@dataclass(frozen=True, eq=False)
class HydrogenBonds(Result):
    """Averages over the frames; see `hydrogen_bonds`.

    =================  ============================================================================================
    classes            share of the heavy atoms that accept x and donate y hydrogen bonds, by name ``"AxDy"``, most
                       frequent first
    deviation          standard deviation of each share over the frames
    per_atom           mean number of hydrogen bonds, accepted and donated, of a heavy atom
    accepted, donated  numbers (M,) of the last frame, one for each heavy atom in the order of the frame
    elements           heavy atoms that may donate or accept
    frames             number of frames
    =================  ============================================================================================
    """

    classes: dict[str, float]
    deviation: dict[str, float]
    per_atom: float
    accepted: IntArray
    donated: IntArray
    elements: tuple[str, ...]
    frames: int

    def _draw(self, ax: Axes) -> None:
        shown = [name for name, share in self.classes.items() if share >= 0.005]
        spread = [self.deviation[name] for name in shown]
        ax.bar(shown, [self.classes[name] for name in shown], yerr=spread if self.frames > 1 else None, color="0.5")
        ax.set(ylabel="share of molecules", ylim=(0, None))
        ax.tick_params(axis="x", rotation=45)


def hydrogen_bonds(
    frames: Frames, elements: Sequence[str] | None = None, distance: float = 3.5, angle: float = 30.0,
    bond: float = 1.25,
) -> HydrogenBonds:  # fmt: skip
    """Count the hydrogen bonds D-H···A that each heavy atom accepts and donates.

    A hydrogen atom belongs to the nearest heavy atom D within ``bond``. It makes a hydrogen bond to A if ``r_DA`` is
    below ``distance`` and the angle H-D···A below ``angle`` (Luzar and Chandler, Nature 379, 55 (1996), without their
    limit on r_HA, which follows from the two). Ice has A2D2 only; the classes are those of the water literature.

    Parameters
    ----------
    frames
        With periodic or open directions; cells of any size, with hydrogen in them.
    elements
        Heavy atoms that may donate or accept; else those of N, O, F that occur.
    distance
        Longest donor-acceptor distance in Å.
    angle
        Largest angle at the donor in degrees.
    bond
        Longest covalent bond of hydrogen in Å.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, hydrogen or heavy atoms are missing, or an argument is
        invalid.
    """
    distance, bond = length(distance, "distance"), length(bond, "bond")
    if not 0 < angle <= 180:
        raise InputError(f"is {angle}°; it must lie between 0 and 180", field="angle")
    tallies: list[dict[tuple[int, int], float]] = []
    for snapshot in same_atoms(frames):
        structure = snapshot.structure
        heavy = _heavy_elements(structure, elements)
        accepted, donated = _count_bonds(structure, heavy, distance, np.cos(np.radians(angle)), bond)
        kinds, counts = np.unique(np.stack([accepted, donated]), axis=1, return_counts=True)
        tallies.append({(int(a), int(d)): n / len(accepted) for (a, d), n in zip(kinds.T, counts, strict=True)})
    table = {kind: [tally.get(kind, 0.0) for tally in tallies] for kind in sorted({k for t in tallies for k in t})}
    order = sorted(table, key=lambda kind: -np.mean(table[kind]))
    return HydrogenBonds(
        classes={f"A{a}D{d}": float(np.mean(table[a, d])) for a, d in order},
        deviation={f"A{a}D{d}": float(np.std(table[a, d])) for a, d in order},
        per_atom=float(sum((a + d) * np.mean(shares) for (a, d), shares in table.items())), accepted=accepted,
        donated=donated, elements=heavy, frames=len(tallies),
    )  # fmt: skip


def _heavy_elements(structure: Structure, elements: Sequence[str] | None) -> tuple[str, ...]:
    known_symbol("H", structure, "hydrogen")
    there = symbols_of(structure)
    if elements is None:
        present = tuple(symbol for symbol in _PARTNERS if symbol in there)
        if not present:
            raise InputError(f"are {', '.join(there)}, none of N, O, F; name the donors and acceptors",
                             field="elements")  # fmt: skip
        return present
    return tuple(known_symbol(symbol, structure, "elements") for symbol in elements if symbol != "H")


def _count_bonds(
    structure: Structure, elements: tuple[str, ...], distance: float, cosine: float, bond: float
) -> tuple[IntArray, IntArray]:
    """Return the hydrogen bonds that each heavy atom accepts and donates, (M,) each."""
    kinds = species_index(structure, ("H", *elements))  # 0 hydrogen, above 0 heavy, -1 no part in it
    hydrogens, donors, legs = _covalent(structure, kinds, bond)
    near = find_neighbors(structure, distance)
    between = (kinds[near.centers] > 0) & (kinds[near.indices] > 0)
    centers, acceptors, vectors = near.centers[between], near.indices[between], near.vectors[between]
    starts = np.searchsorted(centers, np.arange(len(structure) + 1))
    # every hydrogen beside every heavy neighbor of its donor
    counts = starts[donors + 1] - starts[donors]
    which = np.repeat(np.arange(len(hydrogens)), counts)
    pair = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + starts[donors[which]]
    dots = np.einsum("ij,ij->i", legs[which], vectors[pair])
    lengths = np.linalg.norm(legs[which], axis=1) * np.linalg.norm(vectors[pair], axis=1)
    bonded = dots > cosine * lengths
    accepted = np.bincount(acceptors[pair[bonded]], minlength=len(structure))
    donated = np.bincount(donors[which[bonded]], minlength=len(structure))
    return accepted[kinds > 0], donated[kinds > 0]


def _covalent(structure: Structure, kinds: IntArray, bond: float) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the hydrogens that have a donor (H,), their donors (H,) and the vectors donor to hydrogen (H, 3)."""
    near = find_neighbors(structure, bond)
    kept = np.flatnonzero((kinds[near.centers] == 0) & (kinds[near.indices] > 0))
    kept = kept[np.lexsort((near.distances[kept], near.centers[kept]))]
    hydrogens, first = np.unique(near.centers[kept], return_index=True)
    nearest = kept[first]
    return hydrogens, near.indices[nearest].astype(np.int64), -near.vectors[nearest]
