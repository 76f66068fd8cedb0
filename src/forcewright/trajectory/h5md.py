"""Trajectories as HDF5 in the H5MD layout (P. de Buyl et al., Comput. Phys. Commun. 185, 1546 (2014); nongnu.org/h5md).

==================================  ============  ==============================================================
element                             unit          shape, n frames of N atoms
==================================  ============  ==============================================================
particles/all/position              Angstrom      (n, N, 3), not folded into the cell
particles/all/velocity              Angstrom/fs   (n, N, 3), NaN in frames without
particles/all/force                 eV/Angstrom   (n, N, 3), if asked for
particles/all/box/edges             Angstrom      (n, 3, 3), rows are the lattice vectors
particles/all/species, mass         -, u          (N,), atomic numbers
observables/potential_energy        eV            (n,)
observables/stress                  eV/Angstrom3  (n, 3, 3), tension positive, without the kinetic part
observables/stage                   -             (n,), names of stages
==================================  ============  ==============================================================

An HDF5 file whose writer is killed may be lost as a whole. So frames are appended to a plain file of equal records
beside it, which can be cut off anywhere between two, and made into HDF5 when the run ends.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase.data import atomic_masses

from forcewright.errors import InputError
from forcewright.files import atomic_path
from forcewright.plain_data import parse_json
from forcewright.structure import FloatArray, Structure
from forcewright.trajectory.extxyz import open_at, sync
from forcewright.trajectory.snapshot import Snapshot

_BLOCK = 1 << 24  # bytes read or converted at a time
_UNITS = {
    "position": "Angstrom", "velocity": "Angstrom fs-1", "force": "eV Angstrom-1", "edges": "Angstrom", "mass": "u",
    "time": "fs", "potential_energy": "eV", "stress": "eV Angstrom-3",
}  # fmt: skip
#: What other programs call the units we read, in ours.
_LENGTHS = {"Angstrom": 1.0, "angstrom": 1.0, "A": 1.0, "nm": 10.0}
_TIMES = {"fs": 1.0, "ps": 1000.0, "ns": 1e6}


class H5mdWriter:
    """Appends snapshots of one system to a plain file, and makes it HDF5 at the end.

    Parameters
    ----------
    offset
        Bytes of the plain file to keep; what comes after them is cut off.
    """

    def __init__(self, path: Path, *, forces: bool = False, offset: int = 0) -> None:
        self.path, self.plain_path, self._forces = path, plain_path(path), forces
        self._file = open_at(self.plain_path, offset)
        self._record: np.dtype[Any] | None = None
        if offset:
            with open(self.plain_path, "rb") as file:
                self._record = _record(_header(file, self.plain_path))

    def write(self, snapshot: Snapshot, stage: str = "") -> None:
        """Append one frame."""
        if self._record is None:
            header = {
                "numbers": snapshot.structure.numbers.tolist(), "masses": snapshot.masses.tolist(),
                "pbc": snapshot.structure.pbc.tolist(), "forces": self._forces,
            }  # fmt: skip
            self._file.write(json.dumps(header).encode() + b"\n")
            self._record = _record(header)
        record = np.zeros((), dtype=self._record)
        record["step"], record["stage"] = snapshot.step or 0, stage.encode()[:64]
        for name in ("time", "energy", "stress", "velocities", "forces"):
            if name in self._record.names:  # type: ignore[operator]
                value = getattr(snapshot, name)
                record[name] = np.nan if value is None else value
        record["positions"], record["cell"] = snapshot.structure.positions, snapshot.structure.cell
        self._file.write(record.tobytes())

    def sync(self) -> int:
        """Bring everything to the disk and return the number of bytes in the plain file."""
        return sync(self._file)

    def close(self) -> None:
        """Close the plain file."""
        self._file.close()

    def finish(self) -> Path:
        """Close the plain file and write the HDF5 file, which replaces an older one at once; return its path.

        The plain file stays, as the caller may yet be killed before it has taken note.
        """
        self.close()
        convert(self.plain_path, self.path)
        return self.path


def plain_path(path: Path) -> Path:
    """Return where frames are kept until they become the HDF5 file ``path``."""
    return path.with_name(path.name + ".part")


def _record(header: dict[str, Any]) -> np.dtype[Any]:
    count = len(header["numbers"])
    fields: list[tuple[Any, ...]] = [
        ("step", "<i8"), ("time", "<f8"), ("energy", "<f8"), ("stage", "S64"), ("stress", "<f8", (3, 3)),
        ("cell", "<f8", (3, 3)), ("positions", "<f8", (count, 3)), ("velocities", "<f8", (count, 3)),
    ]  # fmt: skip
    return np.dtype(fields + ([("forces", "<f8", (count, 3))] if header["forces"] else []))


def _header(file: IO[bytes], path: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = parse_json(file.readline())
        return header
    except ValueError:
        raise InputError("is not a file of frames that Forcewright wrote", file=path) from None


def convert(plain: Path, path: Path) -> Path:
    """Make the frames of a plain file an HDF5 file."""
    import h5py

    with open(plain, "rb") as file, atomic_path(path) as temporary:
        header = _header(file, plain)
        record = _record(header)
        frames = (plain.stat().st_size - file.tell()) // record.itemsize
        with h5py.File(temporary, "w") as h5:
            elements = _lay_out(h5, header, frames)
            at, rows = 0, max(1, _BLOCK // record.itemsize)
            while at < frames:
                block = np.frombuffer(file.read(min(rows, frames - at) * record.itemsize), dtype=record)
                for name, dataset in elements.items():
                    dataset[at : at + len(block)] = block[name]
                at += len(block)
    return path


def _lay_out(h5: Any, header: dict[str, Any], frames: int) -> dict[str, Any]:
    """Create all groups and datasets; return the datasets to fill, by the name of the field in a record."""
    h5.create_group("h5md").attrs["version"] = np.array([1, 1])
    h5.create_group("h5md/author").attrs["name"] = "unknown"
    creator = h5.create_group("h5md/creator")
    creator.attrs["name"], creator.attrs["version"] = "Forcewright", importlib.metadata.version("forcewright")
    h5.create_group("h5md/modules/units").attrs["version"] = np.array([1, 0])
    count = len(header["numbers"])
    everything = h5.create_group("particles/all")
    everything["species"] = np.array(header["numbers"])
    everything["mass"] = np.array(header["masses"])
    everything["mass"].attrs["unit"] = _UNITS["mass"]
    box = everything.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = ["periodic" if flag else "none" for flag in header["pbc"]]
    step = everything.create_dataset("position/step", (frames,), "i8")
    time = everything.create_dataset("position/time", (frames,), "f8")
    time.attrs["unit"] = _UNITS["time"]
    observables = h5.create_group("observables")
    wanted = {
        "positions": (everything, "position", (count, 3), "f8"),
        "velocities": (everything, "velocity", (count, 3), "f8"),
        "forces": (everything, "force", (count, 3), "f8"), "cell": (box, "edges", (3, 3), "f8"),
        "energy": (observables, "potential_energy", (), "f8"), "stress": (observables, "stress", (3, 3), "f8"),
        "stage": (observables, "stage", (), "S64"),
    }  # fmt: skip
    elements = {"step": step, "time": time}
    for name, (parent, element, shape, kind) in wanted.items():
        if name == "forces" and not header["forces"]:
            continue
        group = parent.require_group(element)
        dataset = group.create_dataset("value", (frames, *shape), kind)
        if element in _UNITS:
            dataset.attrs["unit"] = _UNITS[element]
        if group.name != step.parent.name:  # all elements share their steps and times
            group["step"], group["time"] = step, time
        elements[name] = dataset
    return elements


def read_h5md(path: Path) -> Iterator[Snapshot]:
    """Yield the frames of an H5MD file, a few megabytes at a time.

    Raises `InputError` if it is damaged, no H5MD file with positions and species, or holds no frame.
    """
    import h5py

    try:
        with h5py.File(path) as h5:
            yield from _frames(h5, path)
    except OSError as error:
        raise InputError(f"cannot be read as HDF5 ({error})", file=path) from None
    except KeyError as error:
        raise InputError(f"is not an H5MD trajectory: {error.args[0]}", file=path) from None
    except InputError as error:
        raise InputError(error.problem, file=path, frame=error.frame, field=error.field) from None
    # what h5py and NumPy raise of groups in the place of datasets, text in that of numbers, and shapes that do not fit
    except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError, RuntimeError) as error:
        raise InputError(f"is not a sound H5MD trajectory ({error})", file=path) from None


def _frames(h5: Any, path: Path) -> Iterator[Snapshot]:
    groups = [group for group in h5["particles"].values() if "position" in group]
    if not groups:
        raise InputError("is not an H5MD trajectory: nothing in particles has positions", file=path)
    group, observables = groups[0], h5.get("observables", {})
    positions = group["position/value"]
    frames, count = positions.shape[:2]
    if not frames or not count:
        raise InputError("holds no frame, or no atom", file=path)
    numbers = _species(group, path)
    shapes = {
        "position": (count, 3), "velocity": (count, 3), "force": (count, 3), "energy": (), "stress": (3, 3), "step": (),
        "time": (),
    }  # fmt: skip
    masses = np.asarray(_fixed(group, "mass")) if "mass" in group else atomic_masses[numbers]
    for name, array in (("species", numbers), ("mass", masses)):
        if array.shape != (count,):
            raise InputError(f"has shape {array.shape}, expected ({count},)", field=name)
    pbc = [_text(boundary) == "periodic" for boundary in group["box"].attrs["boundary"]]
    velocities, times = group.get("velocity/value"), group.get("position/time")
    varying = {
        "position": (positions, _scale(positions, _LENGTHS)), "velocity": (velocities, _velocity_scale(velocities)),
        "force": (group.get("force/value"), 1.0), "energy": (observables.get("potential_energy/value"), 1.0),
        "stress": (observables.get("stress/value"), 1.0), "step": (group.get("position/step"), 1),
        "time": (times, _scale(times, _TIMES)),
    }  # fmt: skip
    rows = max(1, _BLOCK // (8 * 9 * count))
    for at in range(0, frames, rows):
        some = slice(at, min(at + rows, frames))
        cells = _cells(group["box"], some, path)
        block = {name: _block(dataset, some, scale) for name, (dataset, scale) in varying.items()}
        for name, part in block.items():
            expected = (some.stop - at, *shapes[name])
            if part is not None and (part.shape != expected or part.dtype.kind not in "iuf"):
                raise InputError(f"has shape {part.shape} of {part.dtype}, expected numbers {expected}", field=name)
        for k in range(some.stop - at):
            values = {
                name: None if part is None or np.isnan(part[k]).all() else part[k] for name, part in block.items()
            }
            yield Snapshot(
                Structure(numbers, values["position"], cells[k], pbc),  # type: ignore[arg-type]
                None if values["step"] is None else int(values["step"]), _plain(values["time"]), values["velocity"],
                _plain(values["energy"]), values["force"], values["stress"], None, masses,
            )  # fmt: skip


def _block(dataset: Any, some: slice, scale: float) -> Any:
    """Return some frames of an element; steps at equal distances may be stored as one number."""
    if dataset is None:
        return None
    if dataset.shape == ():
        return np.arange(some.start, some.stop) * (dataset[()] * scale) + dataset.attrs.get("offset", 0) * scale
    return dataset[some] if scale == 1 else dataset[some] * scale


def _plain(value: Any) -> float | None:
    return None if value is None else float(value)


def _cells(box: Any, some: slice, path: Path) -> FloatArray:
    if "edges" not in box:
        return np.zeros((some.stop - some.start, 3, 3))
    varies = hasattr(box["edges"], "keys")
    dataset = box["edges/value"] if varies else box["edges"]
    edges = dataset[some] if varies else np.repeat(dataset[()][None], some.stop - some.start, axis=0)
    edges = edges * _scale(dataset, _LENGTHS)
    if edges.shape[1:] not in ((3,), (3, 3)):
        raise InputError(f"box edges have shape {edges.shape[1:]}; three lengths or vectors are needed", file=path)
    return edges if edges.ndim == 3 else np.einsum("ni,ij->nij", edges, np.eye(3))


def _fixed(group: Any, name: str) -> Any:
    """Return an element that does not depend on time, or its first value."""
    element = group[name]
    return element["value"][0] if hasattr(element, "keys") else element[()]


def _species(group: Any, path: Path) -> Any:
    if "species" not in group:
        raise InputError("has no species; particles need their atomic numbers there", file=path, field="species")
    numbers = np.asarray(_fixed(group, "species"))
    if numbers.dtype.kind not in "iu" or numbers.min() < 1 or numbers.max() >= len(atomic_masses):
        raise InputError("species are not atomic numbers from 1 to 118", file=path, field="species")
    return numbers.astype(np.int64)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _scale(dataset: Any, known: dict[str, float]) -> float:
    unit = None if dataset is None else dataset.attrs.get("unit")
    if unit is None:
        return 1.0
    if _text(unit) not in known:
        raise InputError(
            f"{_text(unit)!r} is not a unit that can be read; it may be one of {', '.join(known)}", field="unit"
        )
    return known[_text(unit)]


def _velocity_scale(dataset: Any) -> float:
    unit = None if dataset is None else dataset.attrs.get("unit")
    if unit is None:
        return 1.0
    words = _text(unit).split()
    if len(words) != 2 or words[0] not in _LENGTHS or words[1].removesuffix("-1") not in _TIMES:
        raise InputError(f"{_text(unit)!r} is not a unit that can be read; it may be 'nm ps-1'", field="unit")
    return _LENGTHS[words[0]] / _TIMES[words[1].removesuffix("-1")]


def count_h5md(path: Path) -> int | None:
    """Return the number of frames."""
    import h5py

    try:
        with h5py.File(path) as h5:
            return next((len(g["position/value"]) for g in h5["particles"].values() if "position" in g), None)
    except Exception:  # who reads the frames says what is wrong
        return None
