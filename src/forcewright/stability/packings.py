"""Compressed crystals and random packings of the training data's compositions, relaxed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import reduce
from math import gcd
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.optimize import FIRE
from threadpoolctl import threadpool_limits

from forcewright.errors import InputError
from forcewright.generation.random_structures import random_structures
from forcewright.potential import Potential
from forcewright.stability.holes import FAILURES, Clock, Hole, OutOfTimeError, closest_allowed, fallen_pair
from forcewright.structure import Dataset, IntArray, Structure

_ATOMS = 24  # of a packing at most
_STEPS = 60  # of a relaxation at most
_ROOM = 2.3  # volume per atom of a packing, in mean cubes of the shortest distances
_SQUEEZED = (0.8, 0.95)  # by which lengths of frames are compressed
_RATTLE = 0.1  # Å
_BELOW = 1.0  # eV per atom below the lowest energy of the data: no packing is so much better than all of them


def relaxed_packings(
    potential: Potential, dataset: Dataset, shortest: Mapping[str, float], lowest: float, free: Mapping[int, float],
    count: int, seed: int, clock: Clock,
) -> Iterator[Hole | None]:  # fmt: skip
    """Yield the hole that each packing falls into, or None; random packings and compressed frames in turn.

    Parameters
    ----------
    lowest
        Lowest energy per atom of the data in eV, that of free atoms subtracted.

    Raises
    ------
    OutOfTimeError
        If the time is over within a relaxation.
    """
    for number in range(count):
        rng = np.random.default_rng([seed, 1, number])
        frame = dataset[int(rng.integers(len(dataset)))].structure
        compressed = number % 2 == 1 and frame.pbc.all() and len(frame) <= 2 * _ATOMS
        structure = _squeezed(frame, rng) if compressed else _packing(frame.numbers, shortest, rng)
        if structure is None:
            yield None
            continue
        kind = "compressed frame" if compressed else "random packing"
        yield _fallen(potential, structure, kind, closest_allowed(shortest), lowest, free, clock)


def _squeezed(frame: Structure, rng: np.random.Generator) -> Structure:
    factor = rng.uniform(*_SQUEEZED)
    positions = factor * frame.positions + rng.normal(scale=_RATTLE, size=(len(frame), 3))
    return Structure(frame.numbers, positions, factor * frame.cell, frame.pbc)


def _packing(numbers: IntArray, shortest: Mapping[str, float], rng: np.random.Generator) -> Structure | None:
    """Return a random packing of about the composition of some atoms; None if none is found."""
    counts = Counter(numbers.tolist())
    divisor = reduce(gcd, counts.values())
    formula = {z: n // divisor for z, n in counts.items()}
    size = sum(formula.values())
    if size > _ATOMS:
        formula = Counter(rng.choice(numbers, _ATOMS, replace=False).tolist())
        size = _ATOMS
    times = max(1, _ATOMS // (2 * size))
    composition = {chemical_symbols[z]: times * n for z, n in formula.items()}
    weights = {symbol: n / sum(composition.values()) for symbol, n in composition.items()}
    cube = sum(weights[a] * weights[b] * _distance(shortest, a, b) ** 3 for a in weights for b in weights)
    for room in (_ROOM, 2 * _ROOM):
        volume = room * cube * float(rng.uniform(0.7, 1.2))
        try:
            packings = random_structures(
                composition, 1, rng, volume_per_atom_A3=(volume, volume), attempts=5,
                separations={name: 0.95 * d for name, d in shortest.items() if set(name.split("-")) <= set(weights)},
            )  # fmt: skip
            return next(packings).structure
        except InputError:  # too dense
            continue
    return None


def _distance(shortest: Mapping[str, float], a: str, b: str) -> float:
    return shortest[f"{a}-{b}"] if f"{a}-{b}" in shortest else shortest[f"{b}-{a}"]


def _fallen(
    potential: Potential, structure: Structure, kind: str, limits: Mapping[str, float], lowest: float,
    free: Mapping[int, float], clock: Clock,
) -> Hole | None:  # fmt: skip
    """Relax a structure, and return the hole it falls into."""
    atoms: Any = structure.to_ase()
    atoms.calc = potential.calculator()
    optimizer: Any = FIRE(atoms, logfile=None, maxstep=0.1)
    kind = f"{kind} of {structure.formula}"
    last = structure
    try:
        with threadpool_limits(limits=1, user_api="blas"), np.errstate(all="ignore"):
            potential.predict([structure])  # refuses a composition that it does not take, which is no hole
            for _ in optimizer.irun(fmax=0.05, steps=_STEPS):
                if clock.is_over:
                    raise OutOfTimeError
                now = Structure.from_ase(atoms)
                energy, forces = float(atoms.get_potential_energy()), atoms.get_forces()
                if not (np.isfinite(energy) and np.isfinite(forces).all()):
                    return Hole("packing", f"a {kind} has energies or forces that are not finite", last)
                last = now
                if (pair := fallen_pair(now, limits)) is not None:
                    return Hole("packing", f"{pair[0]} in a {kind}", now, pair[1])
    except InputError:
        return None
    except FAILURES as error:
        return Hole("packing", f"a {kind} fails: {error}", last)
    per_atom = (energy - sum(free[int(z)] for z in structure.numbers)) / len(structure)
    if per_atom < lowest - _BELOW:
        text = f"a {kind} relaxes to {lowest - per_atom:.1f} eV per atom below the lowest energy of the data"
        return Hole("packing", text, last)
    return None
