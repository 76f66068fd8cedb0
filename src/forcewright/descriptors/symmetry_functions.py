"""Atom-centered symmetry functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.descriptors.descriptor import OpenOrPeriodic, folded, made_by_dscribe, require_above
from forcewright.structure import FloatArray, Structure


@dataclass(frozen=True)
class SymmetryFunctions(OpenOrPeriodic):
    """Atom-centered symmetry functions (Behler, J. Chem. Phys. 134, 074106 (2011), eqs. 5 to 9), by DScribe.

    With f the cosine cutoff function, θ the angle at the center i between neighbors j and k, each pair counted once:

    ===  ===========================================================================================
    G1   Σ f(R_ij); always there
    G2   Σ exp(-η (R_ij - R_s)²) f(R_ij)
    G3   Σ cos(κ R_ij) f(R_ij)
    G4   2^(1-ζ) Σ (1 + λ cos θ)^ζ exp(-η (R_ij² + R_ik² + R_jk²)) f(R_ij) f(R_ik) f(R_jk)
    G5   2^(1-ζ) Σ (1 + λ cos θ)^ζ exp(-η (R_ij² + R_ik²)) f(R_ij) f(R_ik)
    ===  ===========================================================================================

    G1 to G3 are there for each species of neighbors, G4 and G5 for each pair of species.

    Parameters
    ----------
    species
        Atomic numbers that may occur.
    cutoff
        In Å.
    g2, g3, g4, g5
        Pairs (η, R_s), numbers κ, triples (η, ζ, λ) and such triples; η in Å⁻², R_s in Å, κ in Å⁻¹.

    Raises
    ------
    MissingExtraError
        If dscribe is not installed.
    InputError
        If a number is invalid.
    """

    species: tuple[int, ...]
    cutoff: float = 6.0
    g2: tuple[tuple[float, float], ...] = ((0.05, 0.0), (0.25, 0.0), (1.0, 2.0), (1.0, 3.0), (1.0, 4.0), (1.0, 5.0))
    g3: tuple[float, ...] = ()
    g4: tuple[tuple[float, float, float], ...] = ()
    g5: tuple[tuple[float, float, float], ...] = (
        (0.01, 1.0, 1.0), (0.01, 1.0, -1.0), (0.01, 4.0, 1.0), (0.01, 4.0, -1.0), (0.1, 2.0, 1.0), (0.1, 2.0, -1.0),
    )  # fmt: skip
    name = "acsf"

    def __post_init__(self) -> None:
        object.__setattr__(self, "species", tuple(sorted(set(self.species))))
        require_above(self.cutoff, 0.0, "cutoff")
        assert self._periodic  # what DScribe says against the settings is told now

    def rows(self, structure: Structure) -> FloatArray:
        """Return the symmetry functions (N, D)."""
        return self._created(structure)

    def gradients(self, structure: Structure) -> FloatArray:
        """Return the derivatives (N, N, 3, D), which DScribe takes by central differences of its own."""
        maker = self._maker(structure)
        slopes = maker.derivatives(folded(structure), attach=True, return_descriptor=False)
        return np.asarray(slopes, dtype=np.float64)

    def _made(self, periodic: bool) -> Any:
        sets = {"g2_params": self.g2, "g3_params": self.g3, "g4_params": self.g4, "g5_params": self.g5}
        return made_by_dscribe(
            "ACSF", "symmetry functions", species=[chemical_symbols[z] for z in self.species], r_cut=self.cutoff,
            periodic=periodic, **{name: [*values] or None for name, values in sets.items()},
        )  # fmt: skip
