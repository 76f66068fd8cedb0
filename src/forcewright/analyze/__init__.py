"""Structure and dynamics of trajectories: frames in, frozen results of named arrays out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forcewright.analyze.angular import AlignedBonds, AngularDistribution, adf, aligned_bonds
    from forcewright.analyze.radial import RadialDistribution, rdf
    from forcewright.analyze.result import Result

# name -> module; imported when first used, since some need packages that are slow to import. No name may be that of a
# module of this folder: importing the module would put it in the place of the function.
_HOMES = {
    "AlignedBonds": "forcewright.analyze.angular",
    "AngularDistribution": "forcewright.analyze.angular",
    "RadialDistribution": "forcewright.analyze.radial",
    "Result": "forcewright.analyze.result",
    "adf": "forcewright.analyze.angular",
    "aligned_bonds": "forcewright.analyze.angular",
    "rdf": "forcewright.analyze.radial",
}

__all__ = [
    "AlignedBonds",
    "AngularDistribution",
    "RadialDistribution",
    "Result",
    "adf",
    "aligned_bonds",
    "rdf",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'forcewright.analyze' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
