"""Structure and dynamics of trajectories: frames in, frozen results of named arrays out.

Called, the package runs analyses by name, as `forcewright.recipes.analyze.analyze` describes:
``analyze("runs/md", ["rdf", "msd"])``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from forcewright.verbs import VerbPackage

if TYPE_CHECKING:
    from forcewright.analyze.activation import ArrheniusFit, arrhenius
    from forcewright.analyze.angular import AlignedBonds, AngularDistribution, adf, aligned_bonds
    from forcewright.analyze.averages import Thermodynamics, thermodynamics
    from forcewright.analyze.block_average import block_mean
    from forcewright.analyze.bond_order import BondOrder, TetrahedralOrder, steinhardt, tetrahedral_order
    from forcewright.analyze.bonding import BondStatistics, Coordination, bond_statistics, coordination
    from forcewright.analyze.center import CenterDistance, distance_from_center
    from forcewright.analyze.crystallinity import Similarity, soap_similarity
    from forcewright.analyze.displacement import MeanSquaredDisplacement, msd
    from forcewright.analyze.grid import DensityGrid, density_grid
    from forcewright.analyze.hydrogen_bonding import HydrogenBonds, hydrogen_bonds
    from forcewright.analyze.occupation import Site, SiteOccupation, find_polyhedra, site_occupation
    from forcewright.analyze.radial import RadialDistribution, rdf
    from forcewright.analyze.result import Result
    from forcewright.analyze.ring_statistics import RingStatistics, rings
    from forcewright.analyze.scattering import StructureFactor, structure_factor, structure_factor_from_rdf
    from forcewright.analyze.self_diffusion import Conductivity, Diffusion, diffusion, nernst_einstein
    from forcewright.analyze.unwrapping import unwrap
    from forcewright.analyze.van_hove_correlation import VanHove, van_hove
    from forcewright.analyze.velocity import VelocityAutocorrelation, VibrationalDensity, vacf, vdos

# name -> module; imported when first used, since some need packages that are slow to import. No name may be that of a
# module of this folder: importing the module would put it in the place of the function.
_HOMES = {
    "AlignedBonds": "forcewright.analyze.angular",
    "AngularDistribution": "forcewright.analyze.angular",
    "ArrheniusFit": "forcewright.analyze.activation",
    "BondOrder": "forcewright.analyze.bond_order",
    "BondStatistics": "forcewright.analyze.bonding",
    "CenterDistance": "forcewright.analyze.center",
    "Conductivity": "forcewright.analyze.self_diffusion",
    "Coordination": "forcewright.analyze.bonding",
    "DensityGrid": "forcewright.analyze.grid",
    "Diffusion": "forcewright.analyze.self_diffusion",
    "HydrogenBonds": "forcewright.analyze.hydrogen_bonding",
    "MeanSquaredDisplacement": "forcewright.analyze.displacement",
    "RadialDistribution": "forcewright.analyze.radial",
    "Result": "forcewright.analyze.result",
    "RingStatistics": "forcewright.analyze.ring_statistics",
    "Similarity": "forcewright.analyze.crystallinity",
    "Site": "forcewright.analyze.occupation",
    "SiteOccupation": "forcewright.analyze.occupation",
    "StructureFactor": "forcewright.analyze.scattering",
    "TetrahedralOrder": "forcewright.analyze.bond_order",
    "Thermodynamics": "forcewright.analyze.averages",
    "VanHove": "forcewright.analyze.van_hove_correlation",
    "VelocityAutocorrelation": "forcewright.analyze.velocity",
    "VibrationalDensity": "forcewright.analyze.velocity",
    "adf": "forcewright.analyze.angular",
    "aligned_bonds": "forcewright.analyze.angular",
    "arrhenius": "forcewright.analyze.activation",
    "block_mean": "forcewright.analyze.block_average",
    "bond_statistics": "forcewright.analyze.bonding",
    "coordination": "forcewright.analyze.bonding",
    "density_grid": "forcewright.analyze.grid",
    "diffusion": "forcewright.analyze.self_diffusion",
    "distance_from_center": "forcewright.analyze.center",
    "find_polyhedra": "forcewright.analyze.occupation",
    "hydrogen_bonds": "forcewright.analyze.hydrogen_bonding",
    "msd": "forcewright.analyze.displacement",
    "nernst_einstein": "forcewright.analyze.self_diffusion",
    "rdf": "forcewright.analyze.radial",
    "rings": "forcewright.analyze.ring_statistics",
    "site_occupation": "forcewright.analyze.occupation",
    "soap_similarity": "forcewright.analyze.crystallinity",
    "steinhardt": "forcewright.analyze.bond_order",
    "structure_factor": "forcewright.analyze.scattering",
    "structure_factor_from_rdf": "forcewright.analyze.scattering",
    "tetrahedral_order": "forcewright.analyze.bond_order",
    "thermodynamics": "forcewright.analyze.averages",
    "unwrap": "forcewright.analyze.unwrapping",
    "vacf": "forcewright.analyze.velocity",
    "van_hove": "forcewright.analyze.van_hove_correlation",
    "vdos": "forcewright.analyze.velocity",
}

__all__ = [
    "AlignedBonds",
    "AngularDistribution",
    "ArrheniusFit",
    "BondOrder",
    "BondStatistics",
    "CenterDistance",
    "Conductivity",
    "Coordination",
    "DensityGrid",
    "Diffusion",
    "HydrogenBonds",
    "MeanSquaredDisplacement",
    "RadialDistribution",
    "Result",
    "RingStatistics",
    "Similarity",
    "Site",
    "SiteOccupation",
    "StructureFactor",
    "TetrahedralOrder",
    "Thermodynamics",
    "VanHove",
    "VelocityAutocorrelation",
    "VibrationalDensity",
    "adf",
    "aligned_bonds",
    "arrhenius",
    "block_mean",
    "bond_statistics",
    "coordination",
    "density_grid",
    "diffusion",
    "distance_from_center",
    "find_polyhedra",
    "hydrogen_bonds",
    "msd",
    "nernst_einstein",
    "rdf",
    "rings",
    "site_occupation",
    "soap_similarity",
    "steinhardt",
    "structure_factor",
    "structure_factor_from_rdf",
    "tetrahedral_order",
    "thermodynamics",
    "unwrap",
    "vacf",
    "van_hove",
    "vdos",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'forcewright.analyze' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)


sys.modules[__name__].__class__ = VerbPackage
