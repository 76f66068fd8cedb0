"""Eigenvalues of a structure, and the density of states that they make."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf

from forcewright.errors import InputError
from forcewright.structure import FloatArray

#: Sums of k-weights that are as rounded as in files.
_ROUNDED = 1e-3
NO_PROJECTION = "the file has no density of states of atoms; run VASP with LORBIT = 11"


@dataclass(frozen=True, eq=False)
class Eigenvalues:
    """Eigenvalues of one structure.

    Attributes
    ----------
    values
        Eigenvalues (spin, k, band) in eV.
    weights
        Weights (k,) of the k-points; their sum is 1.
    fermi
        Fermi level in eV, where it is known.
    electrons
        Number of electrons, where it is known.
    occupations
        Occupations (spin, k, band) from 0 to 1, where they are known.
    spinors
        Whether the states are spinors, each of which holds one electron (spin-orbit coupling).

    Raises
    ------
    InputError
        If a shape is wrong, a number is not finite, weights are negative or do not add up to 1, or the bands cannot
        hold the electrons.
    """

    values: FloatArray
    weights: FloatArray
    fermi: float | None = None
    electrons: float | None = None
    occupations: FloatArray | None = None
    spinors: bool = False

    def __post_init__(self) -> None:
        values = _array(self.values, "eigenvalues")
        if values.ndim not in (1, 2, 3) or not values.size or (values.ndim == 3 and len(values) > 2):
            raise InputError(
                f"have shape {values.shape}, expected (spin, k-point, band), (k-point, band) or (band) with one or two "
                "spins", field="eigenvalues",
            )  # fmt: skip
        values = values.reshape((1,) * (3 - values.ndim) + values.shape)
        weights = _array(self.weights, "k-weights").ravel()
        if len(weights) != values.shape[1]:
            raise InputError(
                f"there are {len(weights)} weights for {values.shape[1]} k-points; give one for each", field="k-weights"
            )
        if (weights < 0).any() or abs(weights.sum() - 1) > _ROUNDED:
            raise InputError(f"add up to {weights.sum():.6g}, expected 1, none negative", field="k-weights")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "weights", weights / weights.sum())
        if self.occupations is not None:
            occupations = _array(self.occupations, "occupations")
            if occupations.size != values.size:
                raise InputError(f"have shape {occupations.shape}, the eigenvalues {values.shape}", field="occupations")
            object.__setattr__(self, "occupations", occupations.reshape(values.shape))
        for name in ("fermi", "electrons"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise InputError(f"is {number}, expected a finite number", field=name)
        if self.electrons is not None and not 0 <= self.electrons <= self.capacity + 1e-6:
            raise InputError(
                f"is {self.electrons:g}, and {values.shape[2]} bands hold {self.capacity:g}", field="electrons"
            )

    @classmethod
    def of(cls, values: ArrayLike, weights: ArrayLike | None = None, **others: Any) -> Eigenvalues:
        """Return eigenvalues whose k-points weigh the same where no weights are known."""
        array = _array(values, "eigenvalues")
        points = array.shape[-2] if array.ndim > 1 else 1
        known = np.full(points, 1 / points) if weights is None else _array(weights, "k-weights")
        return cls(array, known, **others)

    @property
    def degeneracy(self) -> int:
        """Electrons that a state holds: two where there is one spin channel."""
        return 1 if self.spinors or len(self.values) == 2 else 2

    @property
    def capacity(self) -> float:
        """Electrons that all bands hold."""
        return float(self.degeneracy * len(self.values) * self.values.shape[2])

    @property
    def states(self) -> tuple[FloatArray, FloatArray]:
        """Energies (n,) in eV, ascending, and how many electrons each holds: degeneracy times k-weight."""
        spins, _, bands = self.values.shape
        held = np.broadcast_to(self.degeneracy * self.weights[None, :, None], self.values.shape)
        order = np.argsort(self.values, axis=None, kind="stable")
        return self.values.ravel()[order], held.ravel()[order]

    def highest_occupied(self) -> float:
        """Return the energy (eV) of the highest state that electrons occupy at 0 K: the band edge of an insulator.

        Raises
        ------
        InputError
            If the number of electrons is not known.
        """
        if self.electrons is None:
            raise InputError("the highest occupied state needs the number of electrons", field="electrons")
        energies, held = self.states
        index = int(np.searchsorted(np.cumsum(held), self.electrons - 1e-6 * max(self.electrons, 1.0)))
        return float(energies[min(index, len(energies) - 1)])

    def zero_of(self, zero: Literal["absolute", "fermi", "band_edge"]) -> float:
        """Return the energy (eV) that is taken for zero; `InputError` if it is not known."""
        if zero == "absolute":
            return 0.0
        if zero == "band_edge":
            return self.highest_occupied()
        if self.fermi is None:
            raise InputError("the Fermi level is not known, which the grid counts from", field="fermi")
        return self.fermi

    def density(self, energies: FloatArray, smearing: float, zero: float = 0.0) -> FloatArray:
        r"""Return the density of states (n,) in states/eV of the cell, both spins together.

        .. math:: D(ε) = g Σ_{s,k,n} w_k \exp(-(ε - ε_{skn})²/2σ²) / (σ \sqrt{2π})

        Parameters
        ----------
        energies
            Energies (n,) in eV, counted from ``zero``.
        smearing
            Standard deviation σ in eV.
        zero
            Energy in eV that is subtracted from the eigenvalues.
        """
        return _sum(self.states, energies, smearing, zero, _gaussian)

    def cumulative(self, energies: FloatArray, smearing: float, zero: float = 0.0) -> FloatArray:
        """Return the number of states (n,) below each energy, of the smeared density exactly: g Σ w (1 + erf)/2."""
        return _sum(self.states, energies, smearing, zero, _step)


@dataclass(frozen=True, eq=False)
class DensityOfStates:
    """A density of states as a file has it.

    Attributes
    ----------
    energies
        Energies (n,) in eV, equally spaced: the upper ends of bins.
    total
        Density (spin, n) in states/eV of the cell.
    fermi
        Fermi level in eV, where it is known.
    projected
        Parts (atoms, spin, orbital, n) of atoms and orbitals, where they are known; they need not add up to the total.
    orbitals
        Names of the orbitals.
    """

    energies: FloatArray
    total: FloatArray
    fermi: float | None = None
    projected: FloatArray | None = None
    orbitals: tuple[str, ...] = ()

    def smeared(self, energies: FloatArray, smearing: float, zero: float = 0.0) -> FloatArray:
        """Return the total density (n,) of both spins on other energies (eV, counted from ``zero``)."""
        return self._smeared(self.total.sum(axis=0), energies, smearing, zero)

    def local(self, energies: FloatArray, smearing: float, zero: float = 0.0) -> FloatArray:
        """Return the density (atoms, n) projected on each atom, all orbitals and spins together.

        Raises
        ------
        InputError
            If the file has none (VASP: LORBIT = 11).
        """
        if self.projected is None:
            raise InputError(NO_PROJECTION, field="partial")
        return self._smeared(self.projected.sum(axis=(1, 2)), energies, smearing, zero)

    def _smeared(self, density: FloatArray, energies: FloatArray, smearing: float, zero: float) -> FloatArray:
        step = float(self.energies[1] - self.energies[0]) if len(self.energies) > 1 else 1.0
        middle = self.energies - step / 2 - zero
        result = np.zeros((*density.shape[:-1], len(energies)))
        for part in _parts(len(middle), len(energies)):
            kernel = _gaussian((np.asarray(energies)[:, None] - middle[part]) / smearing, smearing) * step
            result += density[..., part] @ kernel.T
        return result


def _sum(
    states: tuple[FloatArray, FloatArray], energies: FloatArray, smearing: float, zero: float, kernel: Any
) -> FloatArray:
    if not smearing > 0:
        raise InputError(f"is {smearing}, expected a width in eV above 0", field="smearing_eV")
    levels, held = states
    total = np.zeros(len(energies))
    for part in _parts(len(levels), len(energies)):
        distance = (np.asarray(energies)[:, None] - (levels[part] - zero)) / smearing
        total += kernel(distance, smearing) @ held[part]
    return total


def _parts(count: int, energies: int) -> Iterator[slice]:
    """Yield slices of states so small that a matrix with all energies needs little memory."""
    size = max(1, 2_000_000 // max(energies, 1))
    for start in range(0, count, size):
        yield slice(start, start + size)


def _gaussian(distance: FloatArray, smearing: float) -> FloatArray:
    return np.exp(-0.5 * distance**2) / (smearing * math.sqrt(2 * math.pi))


def _step(distance: FloatArray, smearing: float) -> FloatArray:
    return 0.5 * (1 + erf(distance / math.sqrt(2)))


def _array(values: ArrayLike, field: str) -> FloatArray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"are not an array of numbers ({error})", field=field) from None
    if not np.isfinite(array).all():
        raise InputError("hold NaN or infinity", field=field)
    return array
