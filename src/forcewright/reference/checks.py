"""What every label must be before it counts: finite, of the right shape, with a stress only where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcewright.errors import ForcewrightError, InputError, MissingExtraError
from forcewright.potential import Failure
from forcewright.structure import Frame, Labels, Structure, from_voigt, require_known_species

#: Keys under which frames say their total charge, and their spin, in lower case.
CHARGE_KEYS = ("charge", "total_charge", "net_charge", "q_total")
SPIN_KEYS = ("multiplicity", "spin_multiplicity", "mult", "spin", "total_spin", "uhf", "unpaired_electrons")


@dataclass(frozen=True)
class Scope:
    """Which systems a reference computes; a frame that says it is another one gets no label of it.

    Attributes
    ----------
    charge
        Of the whole cell, in elementary charges; None where settings decide that are not known here.
    multiplicity
        2S + 1; None for the lowest.
    partly_periodic
        Whether one or two periodic directions are known.
    """

    charge: float | None = 0.0
    multiplicity: int | None = None
    partly_periodic: bool = True

    def refusal(self, frame: Frame) -> Failure | None:
        """Return why a frame is outside, or None."""
        structure, labels, _ = frame
        if not self.partly_periodic and (problem := partly_periodic(structure.pbc)):
            return Failure(problem, repeatable=True)
        charge = _said(labels.info, CHARGE_KEYS)
        if self.charge is not None and charge is not None and abs(charge[1] - self.charge) > 1e-6:
            return Failure(
                f"says {charge[0]}={charge[1]:g}, and the reference computes a charge of {self.charge:g}; label frames "
                "of each charge by a reference with that charge",
                repeatable=True,
            )
        spin = _said(labels.info, SPIN_KEYS)
        if spin is not None and self.charge is not None:
            lowest = 1 + (int(structure.numbers.sum()) - round(self.charge)) % 2
            multiplicity = self.multiplicity or lowest
            # under "spin" some keep 2S + 1, others the number of unpaired electrons or S itself
            meant = (multiplicity, multiplicity - 1, (multiplicity - 1) / 2)
            if spin[1] not in (meant[:1] if "mult" in spin[0].lower() else meant):
                return Failure(
                    f"says {spin[0]}={spin[1]:g}, and the reference computes a multiplicity of {multiplicity}; label "
                    "frames of each spin by a reference with that multiplicity",
                    repeatable=True,
                )
        return None


def _said(info: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, float] | None:
    for key, value in info.items():
        if key.lower() in keys and isinstance(value, Real) and not isinstance(value, bool):
            return key, float(value)
    return None


def partly_periodic(pbc: Sequence[bool] | NDArray[np.bool_]) -> str:
    """Return what is wrong with a structure for a method that knows none or three periodic directions, or nothing."""
    periodic = sum(map(bool, pbc))
    if periodic not in (1, 2):
        return ""
    flags = " ".join("FT"[int(flag)] for flag in pbc)
    return (
        f"is periodic in {periodic} of 3 directions (pbc {flags}), and the reference knows none or three: leave a gap "
        "and set pbc to T T T, if that is meant, or to F F F"
    )


def has_stress(structure: Structure) -> bool:
    """Whether a stress is defined: periodic in all directions, with a volume."""
    return bool(np.all(structure.pbc)) and structure.volume > 0


def unknown_elements(structure: Structure, species: tuple[int, ...] | None) -> Failure | None:
    """Return the failure of a structure that holds an element a method does not know, or None."""
    try:
        if species is not None:
            require_known_species(structure, species, knower="the reference")
    except InputError as error:
        return Failure(error.problem, repeatable=True)
    return None


def failure_of(error: Exception, *, known: type[Exception] = ForcewrightError, repeatable: bool = True) -> Failure:
    """Return what an error means for a structure; a missing package is raised again, as all others would lack it.

    Errors of a ``known`` type speak for themselves; an `InputError` would repeat itself, where that may count.
    """
    if isinstance(error, MissingExtraError):
        raise error
    if isinstance(error, known):
        return Failure(str(error), repeatable=repeatable and isinstance(error, InputError))
    return Failure(f"{type(error).__name__}: {sentence(error)}")


def sentence(error: BaseException) -> str:
    """Return what an error says in one line."""
    return " ".join(str(error).split()) or "it does not say why"


def checked_labels(
    structure: Structure, energy: float, forces: ArrayLike, stress: ArrayLike | None = None,
    info: dict[str, Any] | None = None,
) -> Labels | Failure:  # fmt: skip
    """Return labels, or a failure that tells what is wrong with the numbers.

    Parameters
    ----------
    energy, forces, stress
        In eV, eV/Å and eV/Å³ with the ASE sign; the stress as 6 numbers (xx yy zz yz xz xy) or (3, 3).
    info
        Further plain values that travel with the labels.
    """
    force_rows = np.asarray(forces, dtype=np.float64)
    if force_rows.shape != (len(structure), 3):
        return Failure(
            f"the forces have shape {force_rows.shape}, expected ({len(structure)}, 3): one row per atom",
            repeatable=True,
        )
    matrix = None if stress is None else from_voigt(stress)
    for name, values in (("energy", np.asarray(energy)), ("forces", force_rows), ("stress", matrix)):
        if values is not None and not np.isfinite(values).all():
            return Failure(f"the {name} holds numbers that are not finite", repeatable=True)
    if matrix is not None:
        matrix = (matrix + matrix.T) / 2
    return Labels(float(energy), force_rows, matrix, info=info or {})
