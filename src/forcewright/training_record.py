"""What a potential remembers of the data it was fitted to: how close atoms came, which densities, which labels.

It lies under ``provenance.training`` of a saved potential. Simulations watch the distances by it, and a diagnosis needs
the rest of it; potentials that were saved without know nothing, and are asked nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from forcewright.errors import InputError
from forcewright.potential import Potential
from forcewright.structure import atomic_number


@dataclass(frozen=True)
class TrainingRecord:
    """The training data of a potential in a few numbers.

    Attributes
    ----------
    frames, atoms
        Their number, and that of their atoms.
    reach_A
        Distance up to which pairs were looked for.
    shortest_A
        Shortest distance of each pair of elements "A-B" that comes closer than that, elements by atomic number.
    volume_per_atom_A3
        Smallest and largest of cells that are periodic throughout; None where there are none.
    labels
        Number of frames whose energy, forces and stress were fitted.
    force_eV_per_A
        Root mean square of the components of the forces, and the length of the largest force; None without forces.
    """

    frames: int
    atoms: int
    reach_A: float
    shortest_A: Mapping[str, float]
    volume_per_atom_A3: tuple[float, float] | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    force_eV_per_A: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingRecord:
        """Return what `to_dict` gave; ValueError, KeyError or TypeError where that is not what the values are."""
        volumes, forces = values.get("volume_per_atom_A3"), values.get("force_eV_per_A")
        shortest = {"-".join(_symbols(pair)): float(distance) for pair, distance in values["shortest_A"].items()}
        numbers = [values["reach_A"], *shortest.values(), *(volumes or ()), *(forces or ())]
        if not all(isinstance(x, int | float) and math.isfinite(x) and x >= 0 for x in numbers):
            raise ValueError("a distance, volume or force is not a finite number of 0 or more")
        if not values["atoms"] >= values["frames"] >= 0:
            raise ValueError("there are fewer atoms than frames")
        return cls(
            int(values["frames"]), int(values["atoms"]), float(values["reach_A"]), shortest,
            None if volumes is None else (float(volumes[0]), float(volumes[1])),
            {str(name): int(count) for name, count in values.get("labels", {}).items()},
            None if forces is None else (float(forces[0]), float(forces[1])),
        )  # fmt: skip

    def pairs(self) -> dict[tuple[int, int], float]:
        """Return the shortest distances in Å by atomic numbers, the smaller one first."""
        table = {}
        for pair, distance in self.shortest_A.items():
            first, second = sorted(atomic_number(symbol) for symbol in _symbols(pair))
            table[first, second] = distance
        return table


def _symbols(pair: str) -> list[str]:
    symbols = pair.split("-")
    if len(symbols) != 2:
        raise ValueError(f"{pair!r} is not a pair of elements such as Si-O")
    return symbols


def training_record_of(potential: Potential | None) -> TrainingRecord | None:
    """Return what a potential remembers of its training data; None where it remembers nothing.

    Raises
    ------
    InputError
        If what it remembers is damaged.
    """
    stored = getattr(potential, "provenance", {}).get("training")
    if stored is None:
        return None
    try:
        return TrainingRecord.from_dict(stored)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, InputError) as error:
        problem = f"what it remembers of its training data is damaged ({error}); save the potential again"
        raise InputError(problem, field="provenance.training") from None
