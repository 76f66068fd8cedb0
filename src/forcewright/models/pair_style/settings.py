"""A LAMMPS pair style in the words of a settings file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, FiniteFloat

from forcewright.configs import StrictModel
from forcewright.models.pair_style.commands import pair_style_potential
from forcewright.models.pair_style.potential import PairStylePotential


class PairStyleSettings(StrictModel):
    """A LAMMPS pair style in metal units."""

    pair_style: str
    """What stands behind pair_style in a LAMMPS input."""
    pair_coeff: str | tuple[str, ...]
    """What stands behind pair_coeff, or several of them; files lie beside the settings or among LAMMPS's own."""
    species: tuple[str, ...] | None = None
    """Element of each LAMMPS type; needed where pair_coeff does not end with them."""
    cutoff: float | None = Field(default=None, gt=0)
    """Range in Å; LAMMPS is asked where it is not given."""
    charges: dict[str, FiniteFloat] | None = None
    """Charge of every element in elementary charges, such as {Na: 1, Cl: -1}; needed where the pair style has any."""
    kspace_style: str | None = None
    """What stands behind kspace_style, such as pppm 1.0e-5; needed where the pair style ends with /long."""

    def potential(self, base: Path) -> PairStylePotential:
        """Return it as a potential (see `pair_style_potential`); its files lie in ``base`` or among LAMMPS's own."""
        return pair_style_potential(
            self.pair_style, self.pair_coeff, base, self.species, self.cutoff, self.charges, self.kspace_style
        )
