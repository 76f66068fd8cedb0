"""What is found where a potential lets atoms fall, and the time that looking for it may take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii

from forcewright.errors import ForcewrightError
from forcewright.neighbors import find_neighbors
from forcewright.structure import Dataset, Structure

#: What a potential, an optimizer or an integrator raises where it has left physics.
FAILURES = (ForcewrightError, ArithmeticError, ValueError, np.linalg.LinAlgError)

_FALLEN = 0.6  # two atoms closer than this share of their shortest distance in the data have fallen together
_BOND = 0.8  # unless this share of a covalent bond is shorter: atoms that never meet in the data may form one


@dataclass(frozen=True, eq=False)
class Hole:
    """Somewhere atoms fall into.

    Attributes
    ----------
    probe
        What has found it: dimer, packing or dynamics.
    text
        What it is, in words.
    structure
        The atoms; None where a curve shows it.
    atoms
        Those that fell together, or are to blame.
    """

    probe: str
    text: str
    structure: Structure | None = None
    atoms: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"probe": self.probe, "text": self.text, "atoms": list(self.atoms), "structure": _drawn(self.structure)}


def _drawn(structure: Structure | None) -> dict[str, Any] | None:
    """Return what a picture of a structure needs, as plain data."""
    if structure is None or not np.isfinite(structure.positions).all():
        return None
    return {
        "numbers": structure.numbers.tolist(), "positions": np.round(structure.positions, 4).tolist(),
        "cell": np.round(structure.cell, 4).tolist(), "pbc": structure.pbc.tolist(),
    }  # fmt: skip


class Clock:
    """Tells when the time for probing is over."""

    def __init__(self, budget_s: float) -> None:
        self.budget_s, self._start = budget_s, time.monotonic()

    @property
    def passed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def is_over(self) -> bool:
        """Whether the budget is used up."""
        return self.passed_s > self.budget_s


class OutOfTimeError(Exception):
    """The budget ended within a probe, which then counts as not done."""


def lowest_energy(dataset: Dataset, free: dict[int, float]) -> float:
    """Return the lowest labelled energy per atom in eV, that of free atoms subtracted; minus infinity without any."""
    energies = [
        (frame.labels.energy - sum(free[int(z)] for z in frame.structure.numbers)) / len(frame.structure)
        for frame in dataset
        if frame.labels.energy is not None and len(frame.structure) > 1
    ]
    return min(energies, default=-np.inf)


def closest_allowed(shortest: Mapping[str, float]) -> dict[str, float]:
    """Return the distance in Å of each pair below which its atoms have fallen together."""
    limits = {}
    for pair, distance in shortest.items():
        bond = sum(float(covalent_radii[atomic_numbers[symbol]]) for symbol in pair.split("-"))
        limits[pair] = min(_FALLEN * distance, _BOND * bond)
    return limits


def fallen_pair(structure: Structure, limits: Mapping[str, float]) -> tuple[str, tuple[int, int]] | None:
    """Return in words and by index the pair that is closest below its limit of `closest_allowed`, if there is one."""
    pairs = find_neighbors(structure, max(limits.values()))
    worst, closest = 1.0, None
    for i, j, distance in zip(pairs.centers.tolist(), pairs.indices.tolist(), pairs.distances.tolist(), strict=True):
        a, b = sorted((int(structure.numbers[i]), int(structure.numbers[j])))
        names = chemical_symbols[a], chemical_symbols[b]
        ratio = distance / limits["-".join(names)]
        if ratio < worst:
            worst, closest = ratio, (f"{'–'.join(names)} at {distance:.2f} Å", (i, j))
    return closest
