"""What every descriptor does: a structure in, rows of numbers out that no rotation changes."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import LinAlgWarning

from forcewright.errors import InputError, MissingExtraError
from forcewright.structure import FloatArray, Structure, require_known_species


class Descriptor(ABC):
    """A description of the surroundings of every atom, or of a structure as a whole.

    =========  =======================================================================
    symbol     meaning
    =========  =======================================================================
    N          atoms of the structure
    R          rows: N, or 1 where ``per_atom`` is False
    D          numbers in a row (``size``)
    =========  =======================================================================
    """

    name: ClassVar[str]
    per_atom: ClassVar[bool] = True
    #: whether `gradients` are there
    differentiable: ClassVar[bool] = True

    @property
    @abstractmethod
    def size(self) -> int:
        """Numbers D in a row."""

    @abstractmethod
    def rows(self, structure: Structure) -> FloatArray:
        """Return the rows (R, D); `InputError` if the structure cannot be described."""

    def gradients(self, structure: Structure) -> FloatArray:
        """Return the derivatives (R, N, 3, D) of every row with the position of every atom, per Å.

        An atom moves with all its periodic images.

        Raises
        ------
        InputError
            If there are none, or the structure cannot be described.
        """
        raise InputError(f"{self.name} has no gradients", field="descriptor")


class OpenOrPeriodic(Descriptor):
    """A descriptor of atoms by DScribe, which makes one object for open structures and another for periodic ones."""

    species: tuple[int, ...]

    @abstractmethod
    def _made(self, periodic: bool) -> Any:
        """Return DScribe's object."""

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return int(self._open.get_number_of_features())

    def _created(self, structure: Structure) -> FloatArray:
        """Return DScribe's rows (N, D)."""
        maker = self._maker(structure)
        return np.asarray(maker.create(folded(structure)), dtype=np.float64).reshape(len(structure), -1)

    def _maker(self, structure: Structure) -> Any:
        require_known_species(structure, self.species, knower="the descriptor")
        return self._periodic if structure.pbc.any() else self._open

    @cached_property
    def _open(self) -> Any:
        return self._made(periodic=False)

    @cached_property
    def _periodic(self) -> Any:
        return self._made(periodic=True)


def unit_rows(rows: FloatArray) -> FloatArray:
    """Return rows of length 1; those of length 0 stay 0."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0.0, norms, 1.0))


def dscribe_class(name: str, purpose: str) -> Any:
    """Return a class of DScribe by its name (Himanen et al., Comput. Phys. Commun. 247, 106949 (2020)).

    Raises
    ------
    MissingExtraError
        If dscribe is not installed.
    """
    try:
        import dscribe.descriptors
    except ImportError:
        raise MissingExtraError("dscribe", "soap", purpose) from None
    return getattr(dscribe.descriptors, name)


def made_by_dscribe(name: str, purpose: str, **arguments: Any) -> Any:
    """Return an object of a class of DScribe; what it says against an argument becomes an `InputError`."""
    made = dscribe_class(name, purpose)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", LinAlgWarning)  # of functions that are nearly the same
            return made(**arguments)
    except (ValueError, TypeError, LinAlgWarning) as error:
        raise InputError(f"{purpose} cannot be had with these settings: {error}", field="descriptor") from None


def folded(structure: Structure) -> Any:
    """Return ASE atoms within their cell: DScribe takes images of such atoms only."""
    atoms = structure.to_ase()
    atoms.wrap()  # type: ignore[no-untyped-call]
    return atoms


def require_above(value: float, lowest: float, field: str) -> None:
    """Raise `InputError` unless a number is finite and above a bound."""
    if not (np.isfinite(value) and value > lowest):
        raise InputError(f"is {value}; it must be above {lowest:g}", field=field)
