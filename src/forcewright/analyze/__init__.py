"""Structure and dynamics of trajectories: frames in, frozen results of named arrays out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forcewright.analyze.angular import AlignedBonds, AngularDistribution, adf, aligned_bonds
    from forcewright.analyze.radial import RadialDistribution, rdf
    from forcewright.analyze.result import Result
    from forcewright.analyze.scattering import StructureFactor, structure_factor, structure_factor_from_rdf

# name -> module; imported when first used, since some need packages that are slow to import. No name may be that of a
# module of this folder: importing the module would put it in the place of the function.
_HOMES = {
    "AlignedBonds": "forcewright.analyze.angular",
    "AngularDistribution": "forcewright.analyze.angular",
    "RadialDistribution": "forcewright.analyze.radial",
    "Result": "forcewright.analyze.result",
    "StructureFactor": "forcewright.analyze.scattering",
    "adf": "forcewright.analyze.angular",
    "aligned_bonds": "forcewright.analyze.angular",
    "rdf": "forcewright.analyze.radial",
    "structure_factor": "forcewright.analyze.scattering",
    "structure_factor_from_rdf": "forcewright.analyze.scattering",
}

__all__ = [
    "AlignedBonds",
    "AngularDistribution",
    "RadialDistribution",
    "Result",
    "StructureFactor",
    "adf",
    "aligned_bonds",
    "rdf",
    "structure_factor",
    "structure_factor_from_rdf",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'forcewright.analyze' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
