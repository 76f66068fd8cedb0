"""What every reader yields: a structure and whatever stood beside it, before anyone decides what is a label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from forcewright.data.eigenvalues import DensityOfStates, Eigenvalues
from forcewright.errors import InputError
from forcewright.structure import FloatArray, Structure


@dataclass(frozen=True, eq=False)
class RawFrame:
    """One frame as it stands in a file.

    ``info`` holds what belongs to the whole frame and ``arrays`` what has one row per atom, under the keys of the
    file; energies, forces and stresses are already in eV, eV/Å and eV/Å³ with the ASE sign. ``comment`` is that of an
    XYZ file which holds no ``key=value`` pair, ``eigenvalues`` and ``density`` are there where a reader was asked for
    them; ``holds`` names what the file has of them.
    """

    structure: Structure
    info: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    comment: str = ""
    eigenvalues: Eigenvalues | None = None
    density: DensityOfStates | None = None
    holds: tuple[str, ...] = ()


#: Numbers of the atoms of each frame, (N, k) by their name, that a file holds beside the labels; empty for none.
Columns: TypeAlias = Sequence[Mapping[str, FloatArray]]

#: Readers yield frames, or the error of one frame; they raise only what concerns the whole file.
RawFrames: TypeAlias = Iterator[RawFrame | InputError]


def plain(value: Any) -> Any:
    """Return a value made of Python's own text, numbers, lists and dicts."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
