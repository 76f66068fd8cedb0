"""Distance of each atom from the center of mass over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from forcewright.analyze.frames import same_atoms
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.structure import FloatArray, IntArray
from forcewright.trajectory import Frames

_DRAWN = 12  # lines in the figure


@dataclass(frozen=True, eq=False)
class CenterDistance(Result):
    """See `distance_from_center`.

    ===============  =================================================================
    time             in fs (F,), or the number of the frame where frames carry no time
    distance         of each chosen atom from the center of mass (F, M) in Å
    mean, deviation  mean and standard deviation over the frames (M,) in Å
    center           center of mass (F, 3) in Å
    atoms            indices of the chosen atoms (M,)
    symbols          their species
    timed            whether ``time`` is in fs
    ===============  =================================================================
    """

    time: FloatArray
    distance: FloatArray
    mean: FloatArray
    deviation: FloatArray
    center: FloatArray
    atoms: IntArray
    symbols: tuple[str, ...]
    timed: bool

    def _draw(self, ax: Axes) -> None:
        shown = np.unique(np.linspace(0, len(self.atoms) - 1, _DRAWN).astype(int))
        for k in shown:
            ax.plot(self.time, self.distance[:, k], lw=1, label=f"{self.symbols[k]} {self.atoms[k]}")
        ax.set(xlabel="time (fs)" if self.timed else "frame", ylabel="distance from the center of mass (Å)")
        ax.legend(frameon=False, fontsize="small", ncols=2)


def distance_from_center(frames: Frames, atoms: Sequence[int] | None = None) -> CenterDistance:
    """Compute the distance of atoms from the center of mass of all atoms, frame by frame.

    Tells an atom that leaves its place, such as a hydrogen interstitial, from those that vibrate. Positions are taken
    as they are: they must not be folded back into the cell, which the trajectories of `simulate` are not. The result
    holds a number for each frame and chosen atom.

    Parameters
    ----------
    frames
        The atoms keep their order.
    atoms
        Indices of the atoms to follow; else all.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, or an index does not exist.
    """
    times: list[float | None] = []
    distances, centers = [], []
    for snapshot in same_atoms(frames, ordered=True):
        structure = snapshot.structure
        chosen = np.arange(len(structure)) if atoms is None else np.asarray(atoms, dtype=np.int64)
        if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= len(structure):
            raise InputError(f"must be indices from 0 to {len(structure) - 1}", field="atoms")
        center = snapshot.masses @ structure.positions / snapshot.masses.sum()
        distances.append(np.linalg.norm(structure.positions[chosen] - center, axis=1))
        centers.append(center)
        times.append(snapshot.time)
    table = np.array(distances)
    timed = all(time is not None for time in times)
    return CenterDistance(
        time=np.array(times, dtype=np.float64) if timed else np.arange(len(times), dtype=np.float64), distance=table,
        mean=table.mean(axis=0), deviation=table.std(axis=0), center=np.array(centers), atoms=chosen,
        symbols=tuple(chemical_symbols[z] for z in structure.numbers[chosen]), timed=timed,
    )  # fmt: skip
