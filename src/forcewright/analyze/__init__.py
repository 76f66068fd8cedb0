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
    from forcewright.analyze.electronic_structure import ElectronicDensity, dos
    from forcewright.analyze.grid import DensityGrid, density_grid
    from forcewright.analyze.hydrogen_bonding import HydrogenBonds, hydrogen_bonds
    from forcewright.analyze.occupation import Site, SiteOccupation, find_polyhedra, site_occupation
    from forcewright.analyze.radial import RadialDistribution, rdf
    from forcewright.analyze.resonance import NuclearResonance, NuclearSpectrum, nmr, nmr_spectrum
    from forcewright.analyze.result import Result
    from forcewright.analyze.ring_statistics import RingStatistics, rings
    from forcewright.analyze.scattering import StructureFactor, structure_factor, structure_factor_from_rdf
    from forcewright.analyze.self_diffusion import Conductivity, Diffusion, diffusion, nernst_einstein
    from forcewright.analyze.spectroscopy import InfraredSpectrum, RamanSpectrum, ir, raman
    from forcewright.analyze.unwrapping import unwrap
    from forcewright.analyze.van_hove_correlation import VanHove, van_hove
    from forcewright.analyze.velocity import VelocityAutocorrelation, VibrationalDensity, vacf, vdos

# Modules with their public names; imported when first used, since some need packages that are slow to import. No name
# may be that of a module of this folder: importing the module would put it in the place of the function.
_MODULES: dict[str, tuple[str, ...]] = {
    "activation": ("ArrheniusFit", "arrhenius"),
    "angular": ("AlignedBonds", "AngularDistribution", "adf", "aligned_bonds"),
    "averages": ("Thermodynamics", "thermodynamics"),
    "block_average": ("block_mean",),
    "bond_order": ("BondOrder", "TetrahedralOrder", "steinhardt", "tetrahedral_order"),
    "bonding": ("BondStatistics", "Coordination", "bond_statistics", "coordination"),
    "center": ("CenterDistance", "distance_from_center"),
    "crystallinity": ("Similarity", "soap_similarity"),
    "displacement": ("MeanSquaredDisplacement", "msd"),
    "electronic_structure": ("ElectronicDensity", "dos"),
    "grid": ("DensityGrid", "density_grid"),
    "hydrogen_bonding": ("HydrogenBonds", "hydrogen_bonds"),
    "occupation": ("Site", "SiteOccupation", "find_polyhedra", "site_occupation"),
    "radial": ("RadialDistribution", "rdf"),
    "resonance": ("NuclearResonance", "NuclearSpectrum", "nmr", "nmr_spectrum"),
    "result": ("Result",),
    "ring_statistics": ("RingStatistics", "rings"),
    "scattering": ("StructureFactor", "structure_factor", "structure_factor_from_rdf"),
    "self_diffusion": ("Conductivity", "Diffusion", "diffusion", "nernst_einstein"),
    "spectroscopy": ("InfraredSpectrum", "RamanSpectrum", "ir", "raman"),
    "unwrapping": ("unwrap",),
    "van_hove_correlation": ("VanHove", "van_hove"),
    "velocity": ("VelocityAutocorrelation", "VibrationalDensity", "vacf", "vdos"),
}
_HOMES = {name: f"forcewright.analyze.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "AlignedBonds", "AngularDistribution", "ArrheniusFit", "BondOrder", "BondStatistics", "CenterDistance",
    "Conductivity", "Coordination", "DensityGrid", "Diffusion", "ElectronicDensity", "HydrogenBonds",
    "MeanSquaredDisplacement", "RadialDistribution", "Result", "RingStatistics", "Similarity", "Site", "SiteOccupation",
    "StructureFactor",
    "TetrahedralOrder", "Thermodynamics", "VanHove", "VelocityAutocorrelation", "VibrationalDensity", "adf",
    "aligned_bonds", "arrhenius", "block_mean", "bond_statistics", "coordination", "density_grid", "diffusion",
    "distance_from_center", "dos", "find_polyhedra", "hydrogen_bonds", "msd", "nernst_einstein", "rdf", "rings",
    "site_occupation", "soap_similarity", "steinhardt", "structure_factor", "structure_factor_from_rdf",
    "tetrahedral_order", "thermodynamics", "unwrap", "vacf", "van_hove", "vdos",
    "InfraredSpectrum", "NuclearResonance", "NuclearSpectrum", "RamanSpectrum", "ir", "nmr", "nmr_spectrum", "raman",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import public names when they are first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'forcewright.analyze' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)


sys.modules[__name__].__class__ = VerbPackage
