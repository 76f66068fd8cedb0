"""What every label must be before it counts: finite, of the right shape, with a stress only where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from forcewright.errors import ForcewrightError, InputError, MissingExtraError
from forcewright.potential import Failure
from forcewright.structure import Labels, Structure, from_voigt, require_known_species


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
