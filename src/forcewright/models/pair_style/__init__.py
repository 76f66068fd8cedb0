"""Any LAMMPS pair style in metal units as a potential: read and run, fitted by nobody."""

from forcewright.models.family import PotentialKind
from forcewright.models.pair_style.commands import pair_style_potential
from forcewright.models.pair_style.potential import PairStylePotential

KIND = PotentialKind(kind="pair_style", load=PairStylePotential.load)

__all__ = ["KIND", "PairStylePotential", "pair_style_potential"]
