"""Energy of two atoms over their distance, for all pairs of a potential's elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.models.baseline import fitted_part
from forcewright.potential import Potential
from forcewright.stability.holes import Hole
from forcewright.structure import FloatArray, Structure

CLOSEST_A = 0.4  # from which on pairs are looked at
_STEP = 0.02  # Å
_DEEPEST = -15.0  # eV: no bond of two atoms is nearly as strong, that of CO has 11.1 eV
_FLAT = 1e-3  # eV/Å of attraction that is rounding


def free_energies(potential: Potential) -> dict[int, float]:
    """Return the energy in eV of a free atom of each element."""
    alone = [Structure(np.array([z]), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, bool)) for z in potential.species]
    predictions = potential.predict(alone, stress=False)
    return {z: prediction.energy for z, prediction in zip(potential.species, predictions, strict=True)}


def dimer_curves(
    potential: Potential, shortest: Mapping[str, float], free: Mapping[int, float]
) -> Iterator[tuple[dict[str, Any], Hole | None]]:
    """Yield the curve of every pair as plain data, and the hole in it.

    A hole is where the atoms attract each other below their shortest distance in the data, or a well deeper than any
    bond.
    """
    for pair, last in shortest.items():
        numbers = [chemical_symbols.index(symbol) for symbol in pair.split("-")]
        distances = np.arange(CLOSEST_A, max(potential.cutoff, last) + _STEP, _STEP)
        structures = [
            Structure(np.array(numbers), np.outer([0.0, r], [0.0, 0.0, 1.0]), np.zeros((3, 3)), np.zeros(3, dtype=bool))
            for r in distances
        ]
        predictions = potential.predict(structures, stress=False)
        energies = np.array([p.energy for p in predictions]) - sum(free[z] for z in numbers)
        bonds = energies  # of what is fitted: opposite charges of a baseline may be bound more strongly than any bond
        if (fitted := fitted_part(potential)) is not potential:
            bonds = np.array([p.energy for p in fitted.predict(structures, forces=False, stress=False)])
            bonds -= bonds[-1]
        forces = np.array([np.nan if p.forces is None else p.forces[1, 2] for p in predictions])
        where = _hole(distances, energies, forces, last, bonds)
        text = None
        if where is not None:
            text = f"{pair.replace('-', '–')}, {_signed(energies[where])} eV at {distances[where]:.2f} Å"
        curve = {
            "pair": pair, "shortest_A": round(last, 4), "hole_A": None if where is None else float(distances[where]),
            "distances_A": np.round(distances, 3).tolist(), "energies_eV": np.round(energies, 4).tolist(),
        }  # fmt: skip
        yield curve, None if text is None else Hole("dimer", text)


def _signed(energy: float) -> str:
    return f"{energy:.1f}".replace("-", "\N{MINUS SIGN}")


def _hole(
    distances: FloatArray, energies: FloatArray, forces: FloatArray, last: float, bonds: FloatArray
) -> int | None:
    """Return the index of the lowest point that atoms fall to, or None."""
    if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
        return int(np.flatnonzero(~(np.isfinite(energies) & np.isfinite(forces)))[0])
    inside = np.flatnonzero(distances <= last)
    bottoms = []
    for k in inside[forces[inside] < -_FLAT]:  # from here atoms fall inwards, until something stops them
        stopped = np.flatnonzero(forces[:k] >= 0.0)
        bottoms.append(int(stopped[-1]) if len(stopped) else 0)
    lowest = int(bonds.argmin())
    if bonds[lowest] < _DEEPEST:
        bottoms.append(lowest)
    return min(bottoms, key=lambda k: energies[k], default=None)
