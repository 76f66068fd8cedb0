"""Structure, Labels, Dataset: the nouns everything else is a function of.

=============  ==========  =======  ==============================================================
quantity       shape       unit     convention
=============  ==========  =======  ==============================================================
numbers        (N,)        -        atomic numbers, 1 ... 118
positions      (N, 3)      Å
cell           (3, 3)      Å        rows are the lattice vectors; all zero where there is no cell
pbc            (3,)        -        periodic along each lattice vector?
energy         ()          eV       of the whole cell
forces         (N, 3)      eV/Å     minus the gradient of the energy
stress         (3, 3)      eV/Å³    ASE sign, tension positive: (1/V) dE/dε; virial = -stress·V
=============  ==========  =======  ==============================================================
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import ArrayLike, NDArray

from forcewright.configs import echo
from forcewright.errors import InputError
from forcewright.tables import Tabular, html_table

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Voigt order used everywhere: xx, yy, zz, yz, xz, xy (as in ASE).
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def _frozen(values: ArrayLike, shape: tuple[int, ...], name: str, dtype: type = np.float64) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.array(values, dtype=dtype)
        truncated = dtype is np.int64 and not np.array_equal(array, values)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"is not an array of numbers ({error})", field=name) from None
    if truncated:
        raise InputError("holds numbers that are not whole", field=name)
    if array.shape != shape:
        raise InputError(f"has shape {array.shape}, expected {shape}", field=name)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Structure:
    """One immutable arrangement of atoms; see the table at the top of this module.

    Raises
    ------
    InputError
        If a shape is wrong or an atomic number lies outside 1 ... 118.
    """

    numbers: IntArray
    positions: FloatArray
    cell: FloatArray = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(3, dtype=bool))

    def __post_init__(self) -> None:
        count = len(np.atleast_1d(self.numbers))
        object.__setattr__(self, "numbers", _frozen(self.numbers, (count,), "numbers", np.int64))
        object.__setattr__(self, "positions", _frozen(self.positions, (count, 3), "positions"))
        object.__setattr__(self, "cell", _frozen(self.cell, (3, 3), "cell"))
        object.__setattr__(self, "pbc", _frozen(self.pbc, (3,), "pbc", np.bool_))
        if count == 0:
            raise InputError("a structure needs at least one atom", field="numbers")
        if self.numbers.min() < 1 or self.numbers.max() >= len(chemical_symbols):
            raise InputError("atomic numbers must lie between 1 and 118", field="numbers")

    def __len__(self) -> int:
        return len(self.numbers)

    def __repr__(self) -> str:
        periodic = "".join(name for name, along in zip("abc", self.pbc, strict=True) if along)
        extent = f"periodic along {periodic}, {self.volume:.5g} Å³" if periodic else "not periodic"
        return f"Structure({self.formula}, {extent})"

    @property
    def volume(self) -> float:
        """Cell volume in Å³ (0 where there is no cell)."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def formula(self) -> str:
        """Chemical formula in Hill order, such as ``C62H``."""
        return str(self.to_ase().symbols.formula.convert("hill"))

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over numbers, positions, cell and pbc: equal content, equal hash, on every machine."""
        digest = hashlib.sha256()
        for array in (self.numbers, self.positions, self.cell, self.pbc):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @classmethod
    def from_ase(cls, atoms: Atoms) -> Structure:
        """Take numbers, positions, cell and pbc of ASE atoms."""
        return cls(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)

    def to_ase(self) -> Atoms:
        """Return new ASE atoms without a calculator."""
        return Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)


@dataclass(frozen=True, eq=False)
class Labels:
    """What a reference says of a structure; every part is optional.

    ``group`` is the config_type; ``info`` holds free, plain values (text and numbers) that travel along.
    """

    energy: float | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None
    group: str = "default"
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.energy is not None:
            object.__setattr__(self, "energy", float(self.energy))
        if self.forces is not None:
            rows = len(np.atleast_1d(np.asarray(self.forces)))
            object.__setattr__(self, "forces", _frozen(self.forces, (rows, 3), "forces"))
        if self.stress is not None:
            object.__setattr__(self, "stress", _frozen(self.stress, (3, 3), "stress"))
        object.__setattr__(self, "info", MappingProxyType(dict(self.info)))

    def __repr__(self) -> str:
        energy = [] if self.energy is None else [f"{self.energy:.6g} eV"]
        known = [name for name in ("forces", "stress") if getattr(self, name) is not None]
        return f"Labels({', '.join([*energy, *known]) or 'none'}; group {self.group!r})"

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from plain parts: a mapping proxy cannot travel to a worker process."""
        return Labels, (self.energy, self.forces, self.stress, self.group, dict(self.info))


class Frame(NamedTuple):
    """One labelled structure of a `Dataset` and where it came from (``"file#frame"``)."""

    structure: Structure
    labels: Labels
    origin: str = ""

    def __repr__(self) -> str:
        return f"Frame({self.structure}, {self.labels}{f', {self.origin!r}' if self.origin else ''})"

    def to_ase(self) -> Atoms:
        """Return ASE atoms that carry the labels as `Dataset.to_ase` says."""
        return to_labelled_ase(self.structure, self.labels)


@dataclass(frozen=True, eq=False)
class Dataset(Tabular, Sequence[Frame]):
    """An immutable sequence of labelled structures; slices and index lists give a Dataset."""

    frames: tuple[Frame, ...]
    name: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(self.frames))
        for index, frame in enumerate(self.frames):
            if not isinstance(frame, Frame):
                raise InputError(
                    f"is a {type(frame).__name__}, expected a Frame; of ASE atoms make one by Dataset.from_ase",
                    frame=index, field="frames",
                )  # fmt: skip
        for index, (structure, labels, origin) in enumerate(self.frames):
            if labels.forces is not None and len(labels.forces) != len(structure):
                file, _, number = origin.partition("#")
                raise InputError(
                    f"there are {len(labels.forces)} force rows for {len(structure)} atoms; give one row per atom",
                    file=file or self.source or None, frame=int(number) if number else index, field="forces",
                )  # fmt: skip

    def without_labels(self, names: Sequence[str]) -> Dataset:
        """Return the dataset without some of ``energy``, ``forces`` and ``stress``."""
        if not names:
            return self
        nothing: dict[str, Any] = dict.fromkeys(names)
        frames = (Frame(s, replace(labels, **nothing), origin) for s, labels, origin in self.frames)
        return replace(self, frames=tuple(frames))

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Dataset: ...
    def __getitem__(self, index: Any) -> Frame | Dataset:
        """Return a frame for an integer, a Dataset for a slice, a list of indices or a boolean mask."""
        if isinstance(index, (int, np.integer)):
            return self.frames[index]
        if isinstance(index, slice):
            return Dataset(self.frames[index], self.name, self.source)
        chosen = np.arange(len(self))[np.asarray(index)] if len(index) else []
        return Dataset(tuple(self.frames[i] for i in chosen), self.name, self.source)

    def __add__(self, other: Dataset) -> Dataset:
        names = [text for text in (self.name, other.name) if text]
        sources = [text for text in (self.source, other.source) if text]
        return Dataset(self.frames + other.frames, " + ".join(names), ", ".join(sources))

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}: {count}" for name, count in self.count_labels().items())
        groups = ", ".join(f"{name} {count}" for name, count in self.group_sizes.items())
        species = " ".join(chemical_symbols[z] for z in self.species)
        return f"Dataset({self.name!r}, {len(self)} frames of {species}; {counts}; groups: {groups})"

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The structures alone."""
        return tuple(frame.structure for frame in self.frames)

    @property
    def labels(self) -> tuple[Labels, ...]:
        """The labels alone."""
        return tuple(frame.labels for frame in self.frames)

    @property
    def groups(self) -> tuple[str, ...]:
        """The group (config_type) of each frame."""
        return tuple(frame.labels.group for frame in self.frames)

    @property
    def group_sizes(self) -> dict[str, int]:
        """Number of frames per group, sorted by name."""
        return dict(sorted(Counter(self.groups).items()))

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(sorted({int(z) for structure in self.structures for z in structure.numbers}))

    def count_labels(self) -> dict[str, int]:
        """Number of frames with an energy, forces and a stress."""
        return {
            name: sum(getattr(labels, name) is not None for labels in self.labels)
            for name in ("energy", "forces", "stress")
        }

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over structures, labels and groups, in order."""
        digest = hashlib.sha256()
        for structure, labels, _ in self.frames:
            digest.update(structure.content_hash.encode())
            digest.update(repr((labels.energy, labels.group)).encode())
            for array in (labels.forces, labels.stress):
                digest.update(b"none" if array is None else array.tobytes())
        return digest.hexdigest()

    @classmethod
    def from_ase(cls, frames: Iterable[Atoms], name: str = "") -> Dataset:
        """Take structures and calculator results of ASE atoms; the group is ``info["config_type"]``.

        Files and atoms are read with `forcewright.read`, which knows label keys, units and their traps.
        """
        return cls(tuple(Frame(Structure.from_ase(a), _labels_of(a), f"#{i}") for i, a in enumerate(frames)), name)

    def to_ase(self) -> list[Atoms]:
        """Return ASE atoms carrying the labels in a `SinglePointCalculator` and the group as config_type."""
        return [frame.to_ase() for frame in self.frames]

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each frame: where it is from, what it is of, and what is known of it."""
        return [
            {
                "origin": origin, "group": labels.group, "formula": structure.formula, "atoms": len(structure),
                "energy_eV": labels.energy, "volume_A3": structure.volume if structure.pbc.all() else None,
                "largest_force_eV_per_A": None if labels.forces is None
                else float(np.linalg.norm(labels.forces, axis=1).max()),
                "stress": labels.stress is not None,
            }
            for structure, labels, origin in self.frames
        ]  # fmt: skip

    def _repr_html_(self) -> str:
        return html_table(self[:60].to_rows(), repr(self))


#: what every function that takes structures takes: one, or several
Structures: TypeAlias = "Atoms | Structure | Frame | Iterable[Atoms | Structure | Frame]"


def as_structures(structures: Structures) -> list[Structure]:
    """Return structures, frames or ASE atoms, one or several, as a list of structures.

    Raises
    ------
    InputError
        If there is anything else among them; names its position.
    """
    several = [structures] if isinstance(structures, (Atoms, Structure, Frame)) else structures
    if isinstance(several, (str, bytes)) or not isinstance(several, Iterable):
        raise InputError(
            f"is a {type(structures).__name__}; give ASE atoms, structures or a dataset", field="structures"
        )
    taken = []
    for index, item in enumerate(several):
        if isinstance(item, Atoms):
            taken.append(Structure.from_ase(item))
        elif isinstance(item, Frame):
            taken.append(item.structure)
        elif isinstance(item, Structure):
            taken.append(item)
        else:
            raise InputError(
                f"is a {type(item).__name__}; give ASE atoms, structures or a dataset", frame=index, field="structures"
            )
    return taken


def as_structure(structure: Structures) -> Structure:
    """Return the structure of one ASE atoms, structure or frame; `InputError` for anything else."""
    several = as_structures(structure)
    if len(several) != 1:
        raise InputError(f"holds {len(several)} structures; give one at a time", field="structure")
    return several[0]


#: Atoms of a structure that is made here: more would fill the memory before anything could be computed.
MOST_ATOMS = 10_000_000


def repeated(structure: Structure, counts: Sequence[int]) -> Structure:
    """Return a structure repeated along its cell vectors; `InputError` if it would have more than `MOST_ATOMS`."""
    require_atoms(len(structure) * math.prod(map(int, counts)), "repeat")
    return Structure.from_ase(structure.to_ase().repeat(tuple(map(int, counts))))  # type: ignore[no-untyped-call]


def require_atoms(count: int, field: str) -> None:
    """Raise an `InputError` if so many atoms are more than `MOST_ATOMS`."""
    if count > MOST_ATOMS:
        raise InputError(f"asks for {echo(count)} atoms; {MOST_ATOMS:,} are allowed", field=field)


def atomic_number(symbol: str, field: str | None = None) -> int:
    """Return the atomic number of a chemical symbol; `InputError` with ``field`` if there is no such element."""
    number = atomic_numbers.get(symbol, 0)  # ASE has an X of number 0
    if number < 1:
        raise InputError(f"{symbol!r} is an unknown element; give a chemical symbol such as Si", field=field)
    return int(number)


def require_known_species(
    held: Structure | ArrayLike, species: Iterable[int], frame: int | None = None, *, knower: str = "the potential",
    field: str = "numbers",
) -> None:  # fmt: skip
    """Raise InputError if there is an element that a potential, or another ``knower``, does not know.

    Parameters
    ----------
    held
        A structure, or atomic numbers (any shape).
    species
        Atomic numbers that are known.
    frame
        Index of the structure, for the message.
    """
    numbers = np.asarray(held.numbers if isinstance(held, Structure) else held, dtype=np.int64).ravel()
    occurring = np.bincount(numbers, minlength=len(chemical_symbols)) > 0
    known = list(species)
    occurring[known] = False
    if occurring.any():
        unknown, names = (", ".join(chemical_symbols[z] for z in zs) for zs in (np.flatnonzero(occurring), known))
        raise InputError(f"holds {unknown}, but {knower} knows only {names}", frame=frame, field=field)


def count_species(structure: Structure, species: Sequence[int]) -> FloatArray:
    """Return the number of atoms of each species (S,)."""
    return np.array([np.count_nonzero(structure.numbers == z) for z in species], dtype=np.float64)


def results_of(atoms: Atoms) -> dict[str, Any]:
    """Return what the calculator of atoms has computed already; nothing where it keeps no results."""
    results = getattr(atoms.calc, "results", None)
    return dict(results) if isinstance(results, Mapping) else {}


def _labels_of(atoms: Atoms) -> Labels:
    results = results_of(atoms)
    info = {key: value for key, value in atoms.info.items() if key != "config_type"}
    stress = None if results.get("stress") is None else from_voigt(results["stress"])
    group = str(atoms.info.get("config_type", "default"))
    return Labels(results.get("energy"), results.get("forces"), stress, group, info)


def to_labelled_ase(structure: Structure, labels: Labels) -> Atoms:
    """Return ASE atoms whose calculator holds the labels and whose ``info`` holds config_type and the rest."""
    atoms = structure.to_ase()
    atoms.info = {**labels.info, "config_type": labels.group}
    results: dict[str, Any] = {"energy": labels.energy, "forces": labels.forces}
    if labels.stress is not None:
        results["stress"] = to_voigt(labels.stress)
    known = {key: value for key, value in results.items() if value is not None}
    atoms.calc = SinglePointCalculator(atoms, **known)  # type: ignore[no-untyped-call]
    return atoms


def from_voigt(values: ArrayLike) -> FloatArray:
    """Return the symmetric (3, 3) matrix of 6 numbers xx, yy, zz, yz, xz, xy, or of 9 numbers row by row."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    if flat.size == 9:
        return flat.reshape(3, 3)
    if flat.size != 6:
        raise InputError(f"a stress needs 6 or 9 numbers, found {flat.size}", field="stress")
    matrix = np.zeros((3, 3))
    for (i, j), value in zip(VOIGT, flat, strict=True):
        matrix[i, j] = matrix[j, i] = value
    return matrix


def to_voigt(matrix: ArrayLike) -> FloatArray:
    """Return xx, yy, zz, yz, xz, xy of a (3, 3) matrix."""
    full = np.asarray(matrix, dtype=np.float64)
    return np.array([full[i, j] for i, j in VOIGT])
