"""sGDML's ``.npz``: one molecule, many geometries (https://www.sgdml.org; Chmiela et al., Comput. Phys. Commun. 2019).

Arrays: R (n, N, 3), z (N,), E (n,), F (n, N, 3), optional lattice (3, 3) whose *columns* are the vectors, r_unit and
e_unit. It cannot hold stress, groups or molecules of different composition. sGDML knows one lattice for all frames;
those of a barostat each have their own, in an array ``lattices`` (n, 3, 3) that only Forcewright reads.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.data.raw import RawFrame, RawFrames
from forcewright.errors import InputError
from forcewright.files import read_arrays, write_arrays
from forcewright.structure import Dataset, Structure
from forcewright.units import BOHR, HARTREE, KCAL_PER_MOL, KJ_PER_MOL

LENGTHS = {"ang": 1.0, "angstrom": 1.0, "å": 1.0, "bohr": BOHR, "a0": BOHR}
ENERGIES = {
    "ev": 1.0, "kcal/mol": KCAL_PER_MOL, "kj/mol": KJ_PER_MOL, "hartree": HARTREE, "ha": HARTREE, "mev": 1e-3,
}  # fmt: skip


def read_npz(path: Path, *, energy_unit: str | None = None, length_unit: str | None = None) -> RawFrames:
    """Yield the geometries; ``energy_unit`` and ``length_unit`` speak where the file is silent or wrong."""
    arrays = _load(path)
    energy = _unit(arrays, "e_unit", "energy_unit", energy_unit, ENERGIES, path)
    length = _unit(arrays, "r_unit", "length_unit", length_unit, LENGTHS, path)
    numbers, positions = arrays["z"], np.atleast_3d(arrays["R"])
    if positions.shape[1:] != (np.size(numbers), 3):
        raise InputError(
            f"has shape {positions.shape}, expected (frames, {np.size(numbers)}, 3) for {np.size(numbers)} atoms in z",
            file=path, field="R",
        )  # fmt: skip
    for field, shape in (("E", (len(positions),)), ("F", positions.shape)):
        if field in arrays and arrays[field].size != np.prod(shape):
            raise InputError(f"has shape {arrays[field].shape}, expected {shape}", file=path, field=field)
    cells, pbc = _cells(arrays, len(positions), path)
    for index, geometry in enumerate(positions):
        info: dict[str, Any] = {}
        if "E" in arrays:
            info["energy"] = float(arrays["E"].ravel()[index]) * energy
        forces = {"forces": arrays["F"].reshape(positions.shape)[index] * (energy / length)} if "F" in arrays else {}
        try:
            yield RawFrame(Structure(numbers, geometry * length, cells[index] * length, pbc), info, forces)
        except InputError as error:
            raise InputError(error.problem, file=path, frame=index, field=error.field) from None


def _cells(arrays: dict[str, np.ndarray], count: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells (n, 3, 3), rows the vectors, and the periodic directions."""
    name = "lattices" if "lattices" in arrays else "lattice"
    if name not in arrays:
        return np.zeros((count, 3, 3)), np.zeros(3, dtype=bool)
    shape = (count, 3, 3) if name == "lattices" else (3, 3)
    if arrays[name].shape != shape:
        raise InputError(f"has shape {arrays[name].shape}, expected {shape}", file=path, field=name)
    return np.broadcast_to(np.swapaxes(arrays[name], -1, -2), (count, 3, 3)), np.ones(3, dtype=bool)


def _load(path: Path) -> dict[str, np.ndarray]:
    arrays = read_arrays(path)
    for name in ("R", "z"):
        if name not in arrays:
            raise InputError(f"is missing; the file holds {', '.join(sorted(arrays))}", file=path, field=name)
    for name in {"R", "z", "E", "F", "lattice", "lattices"} & set(arrays):
        if arrays[name].dtype.kind not in "iuf":
            raise InputError(f"holds {arrays[name].dtype}, expected numbers", file=path, field=name)
    return arrays


def _unit(
    arrays: dict[str, Any], field: str, option: str, chosen: str | None, known: dict[str, float], path: Path
) -> float:
    if chosen is None and field in arrays and arrays[field].size != 1:
        raise InputError(f"holds {arrays[field].size} units, expected one", file=path, field=field)
    name = chosen if chosen is not None or field not in arrays else np.asarray(arrays[field]).item()
    name = name.decode() if isinstance(name, bytes) else name
    if (unit := str(name).strip().lower()) in known:
        return known[unit]
    problem, when = ("no unit is given", " when reading") if name is None else (f"{name!r} is not a known unit", "")
    raise InputError(f"{problem}; allowed are {', '.join(known)}: pass {option}=...{when}", file=path, field=field)


def write_npz(dataset: Dataset, path: Path) -> None:
    """Write one molecule's geometries in eV and Å; warns of what the format cannot hold: stresses, groups, many cells.

    Raises `InputError` if frames differ in composition, order of atoms or periodicity, or lack an energy or forces.
    """
    first = dataset[0].structure
    for index, (structure, labels, _) in enumerate(dataset):
        if not np.array_equal(structure.numbers, first.numbers) or not np.array_equal(structure.pbc, first.pbc):
            raise InputError(
                "has other atoms or other pbc than frame 0; .npz holds one molecule or one cell: write .extxyz or .db, "
                "or one file for each", file=path, frame=index, field="numbers",
            )  # fmt: skip
        if labels.energy is None or labels.forces is None:
            raise InputError(
                "has no energy or no forces; .npz needs both in every frame", file=path, frame=index, field="E, F"
            )
    if first.pbc.any() and not first.pbc.all():
        raise InputError(".npz knows only all or no periodic directions; write .extxyz", file=path, field="pbc")
    _warn_of_losses(dataset, path)
    content: dict[str, Any] = {
        "type": "d", "name": dataset.name, "theory": "unknown", "r_unit": "Ang", "e_unit": "eV", "z": first.numbers,
        "R": np.array([s.positions for s in dataset.structures]), "E": np.array([lab.energy for lab in dataset.labels]),
        "F": np.array([lab.forces for lab in dataset.labels]),
    }  # fmt: skip
    if first.pbc.all():
        content |= _lattices(dataset, path)
    write_arrays(path, content, compressed=True)


def _lattices(dataset: Dataset, path: Path) -> dict[str, np.ndarray]:
    """Return the lattice of all frames, or those of each with a warning that sGDML does not read them."""
    lattices = np.array([structure.cell.T for structure in dataset.structures])
    if (lattices == lattices[0]).all():
        return {"lattice": lattices[0]}
    warnings.warn(
        f"{path}: every frame has a lattice of its own, written as 'lattices'; Forcewright reads it, sGDML's own "
        "programs know only one lattice and would take the frames for molecules",
        stacklevel=4,
    )
    return {"lattices": lattices}


def _warn_of_losses(dataset: Dataset, path: Path) -> None:
    lost = []
    if dataset.count_labels()["stress"]:
        lost.append(f"{dataset.count_labels()['stress']} stresses")
    if len(dataset.group_sizes) > 1:
        lost.append(f"the groups {', '.join(dataset.group_sizes)}")
    if any(labels.info for labels in dataset.labels):
        lost.append(f"the info keys {', '.join(sorted({key for labels in dataset.labels for key in labels.info}))}")
    if dataset[0].structure.cell.any() and not dataset[0].structure.pbc.any():
        lost.append("the cell of a molecule without pbc")
    if lost:
        warnings.warn(f"{path}: .npz cannot hold {'; '.join(lost)}; they are not written", stacklevel=4)
