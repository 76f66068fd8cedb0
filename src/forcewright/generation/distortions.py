"""Distorted copies of structures: displaced atoms, strained and scaled cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from forcewright.errors import InputError
from forcewright.generation.generated import Generated, generated, require_count
from forcewright.structure import FloatArray, Structure, repeated

_SHEAR = {"yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}


def _mode(name: str) -> FloatArray:
    tensor = np.zeros((3, 3))
    if name in _SHEAR:
        i, j = _SHEAR[name]
        tensor[i, j] = tensor[j, i] = 0.5
    else:
        np.fill_diagonal(tensor, {"hydrostatic": (1, 1, 1), "x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1),
                                  "tetragonal": (-0.5, -0.5, 1), "orthorhombic": (1, -1, 0)}[name])  # fmt: skip
    return tensor


#: Strain tensors of unit amplitude by name: hydrostatic, uniaxial, engineering shear, and two without dilation.
MODES: Mapping[str, FloatArray] = {
    name: _mode(name) for name in ("hydrostatic", "x", "y", "z", "yz", "xz", "xy", "tetragonal", "orthorhombic")
}


def rattle(
    structure: Structure, amplitudes_A: Sequence[float], count: int, rng: np.random.Generator, *,
    group: str | None = None,
) -> Iterator[Generated]:  # fmt: skip
    """Yield ``count`` structures per amplitude, every coordinate displaced by a normal deviate.

    Parameters
    ----------
    amplitudes_A
        Standard deviations of a Cartesian coordinate in Å.

    Raises
    ------
    InputError
        If an amplitude or the count is invalid.
    """
    require_count(count)
    for amplitude in amplitudes_A:
        if not (np.isfinite(amplitude) and amplitude > 0):
            raise InputError(f"holds {amplitude}; amplitudes are lengths above 0 Å", field="amplitudes_A")
    for amplitude in amplitudes_A:
        for _ in range(count):
            positions = structure.positions + rng.normal(scale=amplitude, size=(len(structure), 3))
            moved = Structure(structure.numbers, positions, structure.cell, structure.pbc)
            yield generated(moved, "rattle", structure, group=group, amplitude_A=float(amplitude))


def deform(structure: Structure, strain: FloatArray) -> Structure:
    """Return the structure with cell and positions multiplied by 1 + strain (3, 3).

    Raises
    ------
    InputError
        If there is no cell, or the strain turns it inside out.
    """
    if structure.volume <= 0:
        raise InputError("has no cell to strain", field="structure")
    deformation = np.eye(3) + strain
    if np.linalg.det(deformation) <= 0:
        raise InputError("is so large that it turns the cell inside out; choose a smaller one", field="strain")
    cell, positions = structure.cell @ deformation.T, structure.positions @ deformation.T
    return Structure(structure.numbers, positions, cell, structure.pbc)


def strain(
    structure: Structure, largest: float, count: int, rng: np.random.Generator, *, group: str | None = None
) -> Iterator[Generated]:
    """Yield ``count`` structures under random symmetric strains (no rotation).

    Parameters
    ----------
    largest
        The six components ε_xx … ε_xy of the tensor are uniform between this and its negative; below 0.5.

    Raises
    ------
    InputError
        If there is no cell, or a number is invalid.
    """
    require_count(count)
    if not 0 < largest < 0.5:
        raise InputError(f"is {largest}; it must lie between 0 and 0.5", field="largest")
    for _ in range(count):
        tensor = rng.uniform(-largest, largest, (3, 3))
        tensor = np.triu(tensor) + np.triu(tensor, 1).T
        new = deform(structure, tensor)
        yield generated(new, "strain", structure, group=group, volume_factor=new.volume / structure.volume)


def strain_along_modes(
    structure: Structure, modes: Sequence[str], amplitudes: Sequence[float], *, group: str | None = None
) -> Iterator[Generated]:
    """Yield one structure for each mode (a key of `MODES`) and amplitude.

    The amplitude is the strain of the named axis; of a shear, the engineering strain γ = 2 ε.

    Raises
    ------
    InputError
        If a mode is unknown, there is no cell, or an amplitude turns the cell inside out.
    """
    for name in modes:
        if name not in MODES:
            raise InputError(f"unknown mode {name!r}; allowed are {', '.join(MODES)}", field="modes")
    for name in modes:
        for amplitude in amplitudes:
            new = deform(structure, float(amplitude) * MODES[name])
            yield generated(new, "strain", structure, group=group, mode=name, amplitude=float(amplitude))


def volume_scan(
    structure: Structure, lowest: float, highest: float, count: int, *, group: str | None = None
) -> Iterator[Generated]:
    """Yield the structure at ``count`` volumes, evenly spaced between two multiples of its volume.

    Raises
    ------
    InputError
        If there is no cell, or a factor is invalid.
    """
    require_count(count)
    if not 0 < lowest <= highest:
        raise InputError(f"are {lowest} and {highest}; they must be above 0 and rise", field="factors")
    for factor in np.linspace(lowest, highest, count):
        new = deform(structure, np.eye(3) * (factor ** (1 / 3) - 1))
        yield generated(new, "volume_scan", structure, group=group, volume_factor=float(factor))


def supercells(
    structure: Structure, repeats: Sequence[int | Sequence[int]], *, group: str | None = None
) -> Iterator[Generated]:
    """Yield the structure repeated along its cell vectors, for each entry of ``repeats`` (one or three numbers).

    Raises
    ------
    InputError
        If there is no cell, or a number of repeats is below 1.
    """
    if structure.volume <= 0:
        raise InputError("has no cell to repeat", field="structure")
    for repeat in repeats:
        counts = np.array(np.broadcast_to(repeat, 3)) if np.size(repeat) in (1, 3) else np.zeros(3)
        if (counts < 1).any():
            raise InputError(f"holds {repeat}; give one or three whole numbers from 1 on", field="repeats")
        new = repeated(structure, [int(c) for c in counts])
        yield generated(new, "supercell", structure, group=group, repeat="x".join(map(str, counts)))
