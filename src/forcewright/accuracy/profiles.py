"""Energies along a reaction: barriers and the energy of reaction, of a reference and of models."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forcewright.structure import FloatArray


@dataclass(frozen=True)
class Profile:
    """What a curve of energies tells, all in eV and relative to its first frame.

    Attributes
    ----------
    forward_barrier_eV
        The highest energy.
    backward_barrier_eV
        The highest energy less that of the last frame.
    reaction_energy_eV
        Energy of the last frame.
    top
        The frame of the highest energy.
    """

    forward_barrier_eV: float
    backward_barrier_eV: float
    reaction_energy_eV: float
    top: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def profile(energies: FloatArray) -> Profile | None:
    """Return what energies (M,) along a path tell; None where those of its ends, or of all but one, are not known."""
    if len(energies) < 3 or not np.isfinite(energies[[0, -1]]).all():
        return None
    relative = energies - energies[0]
    top = int(np.nanargmax(relative))
    highest, last = float(relative[top]), float(relative[-1])
    return Profile(highest, highest - last, last, top)
