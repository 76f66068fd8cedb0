"""Reference against prediction, value by value, as in a parity plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.errors import InputError
from forcewright.files import read_arrays, write_arrays
from forcewright.potential import Prediction
from forcewright.structure import Dataset, FloatArray, IntArray, to_voigt
from forcewright.units import GPA


@dataclass(frozen=True, eq=False)
class ParitySeries:
    """Values of one property: ``reference`` and ``predicted`` (m,), and the frame each belongs to (m,).

    ``group`` (m,) holds indices into ``names``.
    """

    reference: FloatArray
    predicted: FloatArray
    frame: IntArray
    group: IntArray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.reference)


@dataclass(frozen=True, eq=False)
class Parity:
    """Energies in eV/atom, force components in eV/Å, stress components (Voigt, 6 per frame) in GPa; None if unlabelled.

    ``atoms`` (n,) is the number of atoms of each of the n frames, ``elements`` (m / 3,) the atomic number of each atom
    that has a force, ``volumes`` (n,) the volume of each frame in Å³ per atom, NaN without a cell; both are None where
    they are not known, as in files of earlier versions.
    """

    energy: ParitySeries | None
    forces: ParitySeries | None
    stress: ParitySeries | None
    atoms: IntArray
    elements: IntArray | None = None
    volumes: FloatArray | None = None

    def save(self, path: str | Path) -> Path:
        """Write everything to a compressed NPZ file, from which pages are made without predicting again."""
        arrays: dict[str, Any] = {"atoms": self.atoms}
        for name in ("elements", "volumes"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        for name in _QUANTITIES:
            series: ParitySeries | None = getattr(self, name)
            if series is not None:
                arrays |= {f"{name}_{item.name}": np.asarray(getattr(series, item.name)) for item in fields(series)}
        return write_arrays(path, arrays, compressed=True)

    @classmethod
    def load(cls, path: str | Path) -> Parity:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If the file is not such a file.
        """
        try:
            arrays = read_arrays(path)
            series = {name: _load_series(arrays, name) for name in _QUANTITIES}
            return cls(atoms=arrays["atoms"], elements=arrays.get("elements"), volumes=arrays.get("volumes"), **series)
        except (InputError, ValueError, KeyError, TypeError) as error:
            reason = error.problem if isinstance(error, InputError) else str(error)
            raise InputError(f"is not a parity file written by Forcewright ({reason})", file=path) from None


_QUANTITIES = ("energy", "forces", "stress")


def _load_series(arrays: Mapping[str, Any], name: str) -> ParitySeries | None:
    if f"{name}_reference" not in arrays:
        return None
    values = {item.name: arrays[f"{name}_{item.name}"] for item in fields(ParitySeries)}
    return ParitySeries(**values | {"names": tuple(str(group) for group in values["names"])})


def pair(dataset: Dataset, predictions: Sequence[Prediction]) -> Parity:
    """Pair labels with predictions; InputError unless there is one of the right shape per frame, all numbers finite."""
    if len(predictions) != len(dataset):
        raise InputError(f"there are {len(predictions)} predictions for {len(dataset)} frames; give one per frame")
    atoms = np.array([len(structure) for structure in dataset.structures], dtype=np.int64)
    columns: dict[str, list[tuple[int, FloatArray, FloatArray]]] = {name: [] for name in _QUANTITIES}
    for index, (labels, prediction) in enumerate(zip(dataset.labels, predictions, strict=True)):
        for name, entries in columns.items():
            label, value = getattr(labels, name), getattr(prediction, name)
            if label is not None and value is not None:
                _check(dataset, index, name, label, value)
                entries.append((index, _flat(name, label, atoms[index]), _flat(name, value, atoms[index])))
    with_forces = [dataset[index].structure.numbers for index, *_ in columns["forces"]]
    elements = np.concatenate(with_forces) if with_forces else None
    volumes = np.array([s.volume if s.pbc.all() and s.volume > 0 else np.nan for s in dataset.structures]) / atoms
    return Parity(
        atoms=atoms, elements=elements, volumes=volumes,
        **{name: _series(dataset, entries) for name, entries in columns.items()},
    )  # fmt: skip


def _check(dataset: Dataset, index: int, name: str, label: Any, value: Any) -> None:
    file, number = locate(dataset, index)
    if np.shape(label) != np.shape(value):
        problem = f"the prediction has shape {np.shape(value)}, the label {np.shape(label)}"
        raise InputError(problem, file=file, frame=number, field=name)
    for what, numbers in (("label", label), ("prediction", value)):
        if not np.isfinite(numbers).all():
            raise InputError(f"the {what} is not a finite number", file=file, frame=number, field=name)


def locate(dataset: Dataset, index: int) -> tuple[str | None, int]:
    """Return the file and the frame number in it that a frame of ``dataset`` came from."""
    file, _, number = dataset.frames[index].origin.partition("#")
    return file or dataset.source or None, int(number) if number.isdigit() else index


def _flat(name: str, value: Any, atoms: int) -> FloatArray:
    if name == "energy":
        return np.array([float(value) / atoms])
    return to_voigt(value) / GPA if name == "stress" else np.asarray(value, dtype=np.float64).ravel()


def _series(dataset: Dataset, entries: list[tuple[int, FloatArray, FloatArray]]) -> ParitySeries | None:
    if not entries:
        return None
    names = tuple(dataset.group_sizes)
    number = np.array([names.index(group) for group in dataset.groups])
    frame = np.repeat([index for index, _, _ in entries], [len(values) for _, values, _ in entries])
    reference = np.concatenate([values for _, values, _ in entries])
    return ParitySeries(reference, np.concatenate([values for _, _, values in entries]), frame, number[frame], names)
