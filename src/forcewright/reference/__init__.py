"""What labels structures: tight binding, LAMMPS, any ASE calculator, CP2K, VASP, a trained potential."""

from forcewright.reference.batch import Labelling, Progress, label_all
from forcewright.reference.cache import LabelCache
from forcewright.reference.calculators import CalculatorReference
from forcewright.reference.settings import ReferenceSettings, ase_reference, reference_from
from forcewright.reference.teacher import PotentialReference, potential_reference
from forcewright.reference.vasp import VaspReference
from forcewright.reference.xtb import xtb_reference

__all__ = [
    "CalculatorReference", "LabelCache", "Labelling", "PotentialReference", "Progress", "ReferenceSettings",
    "VaspReference", "ase_reference", "label_all", "potential_reference", "reference_from", "xtb_reference",
]  # fmt: skip
