"""Descriptors of structures, and how alike structures are by them."""

from __future__ import annotations

from forcewright.descriptors.ace import AceDescriptor, BispectrumDescriptor, ace_basis
from forcewright.descriptors.charge_matrices import CoulombMatrix, EwaldSumMatrix
from forcewright.descriptors.choice import DESCRIPTORS, descriptor_by_name, require_descriptor
from forcewright.descriptors.descriptor import Descriptor, unit_rows
from forcewright.descriptors.kernels import StructureKernel, best_match, kernel_distances, largest_atomic_distance
from forcewright.descriptors.soap import Soap
from forcewright.descriptors.symmetry_functions import SymmetryFunctions

__all__ = [
    "DESCRIPTORS", "AceDescriptor", "BispectrumDescriptor", "CoulombMatrix", "Descriptor", "EwaldSumMatrix", "Soap",
    "StructureKernel", "SymmetryFunctions", "ace_basis", "best_match", "descriptor_by_name", "kernel_distances",
    "largest_atomic_distance", "require_descriptor", "unit_rows",
]  # fmt: skip
