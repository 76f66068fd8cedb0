"""Descriptors by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from forcewright.configs import did_you_mean
from forcewright.descriptors.ace import AceDescriptor, BispectrumDescriptor
from forcewright.descriptors.charge_matrices import CoulombMatrix, EwaldSumMatrix
from forcewright.descriptors.descriptor import Descriptor, dscribe_class
from forcewright.descriptors.soap import Soap
from forcewright.descriptors.symmetry_functions import SymmetryFunctions
from forcewright.errors import InputError
from forcewright.features.bispectrum import Bispectrum

_CUTOFF = 6.0  # Å

_MAKERS: Mapping[str, Callable[[tuple[int, ...], float, int], Descriptor]] = {
    "soap": lambda species, cutoff, atoms: Soap(species, cutoff),
    "acsf": lambda species, cutoff, atoms: SymmetryFunctions(species, cutoff),
    "ace": lambda species, cutoff, atoms: AceDescriptor.of(species, cutoff),
    "bispectrum": lambda species, cutoff, atoms: BispectrumDescriptor(Bispectrum(species, rcut=cutoff)),
    "coulomb": lambda species, cutoff, atoms: CoulombMatrix(atoms),
    "ewald": lambda species, cutoff, atoms: EwaldSumMatrix(atoms),
}
_BY_DSCRIBE = ("soap", "acsf", "coulomb", "ewald")

#: Descriptors that `descriptor_by_name` makes.
DESCRIPTORS = tuple(_MAKERS)


def require_descriptor(name: str) -> None:
    """Raise unless there is a descriptor of this name, and the library that it needs.

    Raises
    ------
    InputError
        If the name is not known.
    MissingExtraError
        If the library is not installed.
    """
    if name not in _MAKERS:
        raise InputError(f"{name!r} is not a descriptor; {did_you_mean(name, DESCRIPTORS)}", field="descriptor")
    if name in _BY_DSCRIBE:
        dscribe_class("SOAP", f"the descriptor {name!r} (without it there are 'ace' and 'bispectrum')")


def descriptor_by_name(name: str, species: Sequence[int], *, cutoff: float | None = None, atoms: int = 0) -> Descriptor:
    """Return a descriptor with its usual settings.

    Parameters
    ----------
    name
        One of `DESCRIPTORS`.
    species
        Atomic numbers that may occur.
    cutoff
        Radius of the surroundings in Å; 6 by default.
    atoms
        Most atoms of a structure, for "coulomb" and "ewald".

    Raises
    ------
    InputError
        If the name is not known or a number is invalid.
    MissingExtraError
        If the library is not installed.
    """
    require_descriptor(name)
    return _MAKERS[name](tuple(sorted(set(species))), _CUTOFF if cutoff is None else cutoff, atoms)
