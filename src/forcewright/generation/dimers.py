"""Two atoms at a grid of distances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

import numpy as np

from forcewright.errors import InputError
from forcewright.generation.generated import Generated, generated, require_count
from forcewright.structure import Structure, atomic_number


def dimers(
    species: Sequence[str], shortest_A: float, longest_A: float, count: int, *, box_A: float | None = None,
    group: str | None = None,
) -> Iterator[Generated]:  # fmt: skip
    """Yield every pair of the species at ``count`` evenly spaced distances.

    Parameters
    ----------
    box_A
        Edge of a periodic cubic box for references that need one; without it there is no cell.

    Raises
    ------
    InputError
        If a species is unknown, the distances are invalid, or images in the box are nearer than the pair.
    """
    require_count(count)
    if not 0 < shortest_A <= longest_A:
        raise InputError(f"are {shortest_A} and {longest_A} Å; they must be above 0 and rise", field="distances")
    if box_A is not None and box_A < 2 * longest_A:
        raise InputError(f"is {box_A} Å; it must be at least twice the longest distance, {longest_A} Å", field="box_A")
    cell = np.eye(3) * (box_A or 0.0)
    pbc = np.full(3, box_A is not None)
    for pair in combinations_with_replacement(dict.fromkeys(species), 2):
        numbers = [atomic_number(symbol, "species") for symbol in pair]
        for distance in np.linspace(shortest_A, longest_A, count):
            positions = [[0.0, 0.0, 0.0], [0.0, 0.0, distance]]
            yield generated(
                Structure(numbers, positions, cell, pbc), "dimer", group=group, pair="-".join(pair),  # type: ignore[arg-type]
                distance_A=float(distance),
            )  # fmt: skip
