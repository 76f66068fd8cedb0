"""VASP without its program: input folders are written, finished ones are read back.

One folder per structure, named by its hash, with POSCAR, INCAR, KPOINTS and POTCAR.txt, which tells in words how to
make the POTCAR. Run VASP in each, on whatever machine; what has a finished ``vasprun.xml`` (or .gz) then has labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from forcewright.data import read
from forcewright.errors import InputError
from forcewright.files import atomic_write
from forcewright.potential import Failure
from forcewright.reference.checks import Scope, checked_labels
from forcewright.reference.identity import hash_settings
from forcewright.structure import Labels, Structure

#: A single point whose forces and stress are worth fitting to; what is given wins.
SINGLE_POINT: Mapping[str, Any] = {
    "PREC": "Accurate", "EDIFF": 1e-6, "NELM": 120, "ISMEAR": 0, "SIGMA": 0.05, "LREAL": False, "ADDGRID": True,
    "NSW": 0, "IBRION": -1, "ISIF": 2, "ISYM": 0, "LWAVE": False, "LCHARG": False,
}  # fmt: skip
_SAME = 1e-4  # Å and fraction by which a structure read back may differ: vasprun.xml has eight digits
_OUTPUTS = ("vasprun.xml", "vasprun.xml.gz")


@dataclass(frozen=True)
class VaspReference:
    """Folders that VASP computes in.

    Parameters
    ----------
    folder
        Where the folders of the structures lie.
    incar
        Tags of the INCAR beside `SINGLE_POINT`'s; ENCUT must be among them, because a cutoff taken from the POTCARs
        would differ between compositions.
    kpoints
        Largest distance of k-points in 1/Å (with the factor 2π), or the numbers of points along the three directions.
    potcar
        Name of the POTCAR of an element where it is not that of the element, such as {Mo: Mo_sv}.
    energy
        free: VASP's free energy, whose derivatives the forces are; sigma_0: extrapolated to zero smearing.

    Raises
    ------
    InputError
        If a setting makes no single point with a fixed cutoff.
    """

    folder: Path
    incar: Mapping[str, Any]
    kpoints: float | tuple[int, int, int] = 0.2
    potcar: Mapping[str, str] = field(default_factory=dict)
    energy: Literal["free", "sigma_0"] = "free"

    def __post_init__(self) -> None:
        tags = {str(tag).upper(): value for tag, value in self.incar.items()}
        object.__setattr__(self, "incar", tags)
        if "ENCUT" not in tags:
            raise InputError("has no ENCUT; give it, so that all compositions have one cutoff", field="vasp.incar")
        if int(tags.get("NSW", 0)) != 0:
            problem = f"asks for NSW = {tags['NSW']}; structures are labelled, not moved: leave it out"
            raise InputError(problem, field="vasp.incar")
        smallest = self.kpoints if isinstance(self.kpoints, (int, float)) else min(self.kpoints)
        if smallest <= 0:
            problem = f"is {self.kpoints}; give a distance in 1/Å or three numbers of points, above zero"
            raise InputError(problem, field="vasp.kpoints")

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"VASP ({'free energy' if self.energy == 'free' else 'energy at zero smearing'})"

    @property
    def content_hash(self) -> str:
        """SHA-256 of the settings."""
        settings = {"incar": self.incar, "kpoints": self.kpoints, "potcar": self.potcar, "energy": self.energy}
        return hash_settings("vasp", settings)

    @property
    def scope(self) -> Scope:
        """Which systems it computes; the number of electrons may be set."""
        return Scope(None if "NELECT" in self.incar else 0.0)

    def folder_of(self, structure: Structure) -> Path:
        """Return the folder of a structure."""
        return self.folder / structure.content_hash[:16]

    def label(self, structures: Sequence[Structure]) -> list[Labels | Failure]:
        """Read what is finished and write the inputs of the rest, in order."""
        return [_unsuited(structure) or self._labelled(structure) for structure in structures]

    def _labelled(self, structure: Structure) -> Labels | Failure:
        folder = self.folder_of(structure)
        output = next((folder / name for name in _OUTPUTS if (folder / name).is_file()), None)
        if output is not None:
            return self._read(structure, output)
        try:
            self.write_inputs(structure)
        except OSError as error:
            return Failure(f"its input cannot be written: {error}")
        return Failure(f"waits for VASP in {folder}", pending=True)

    def _read(self, structure: Structure, output: Path) -> Labels | Failure:
        key = "e_fr_energy" if self.energy == "free" else "e_0_energy"
        try:
            relaxed, labels, _ = read(output, labels={"energy": key})[0]
        except (InputError, OSError) as error:
            return Failure(f"is not finished in {output.parent}, or went wrong: {error}")
        order = atom_order(structure)
        if not _same(structure, relaxed, order):
            return Failure(f"{output} is of another structure; remove it and run VASP there again")
        if labels.info.get("scf_converged") is False:
            return Failure(f"the self-consistent cycle did not converge in {output.parent}; raise NELM or change ALGO")
        if labels.energy is None or labels.forces is None:
            return Failure(f"{output} holds no energy or no forces")
        forces = np.empty_like(labels.forces)
        forces[order] = labels.forces
        info = {name: value for name, value in labels.info.items() if name in ("e_fr_energy", "e_0_energy")}
        return checked_labels(structure, labels.energy, forces, labels.stress, info)

    def write_inputs(self, structure: Structure) -> Path:
        """Write the input files of a structure and return their folder."""
        folder = self.folder_of(structure)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / "INCAR", _incar(structure, {**SINGLE_POINT, **self.incar}))
        atomic_write(folder / "KPOINTS", _kpoints(structure, self.kpoints))
        atomic_write(folder / "POTCAR.txt", _potcar(structure, self.potcar))
        atomic_write(folder / "POSCAR", _poscar(structure))
        return folder


def atom_order(structure: Structure) -> NDArray[np.int64]:
    """Return the places of the atoms in the order of the POSCAR: element by element."""
    return np.argsort(structure.numbers, kind="stable")


def _unsuited(structure: Structure) -> Failure | None:
    volume = float(np.linalg.det(structure.cell))
    if volume == 0.0:
        return Failure("has no cell, which VASP needs; put it into a box", repeatable=True)
    if volume < 0.0:
        return Failure("has a left-handed cell, which VASP refuses; exchange two of its vectors", repeatable=True)
    return None


def _same(structure: Structure, other: Structure, order: NDArray[np.int64]) -> bool:
    if len(other) != len(structure) or not np.array_equal(other.numbers, structure.numbers[order]):
        return False
    if not np.allclose(other.cell, structure.cell, rtol=0, atol=_SAME):
        return False
    apart = np.linalg.solve(structure.cell.T, (other.positions - structure.positions[order]).T)
    return bool(np.abs(apart - np.round(apart)).max() < _SAME)


def _elements(structure: Structure) -> list[tuple[str, int]]:
    numbers, counts = np.unique(structure.numbers, return_counts=True)
    return [(chemical_symbols[z], int(count)) for z, count in zip(numbers, counts, strict=True)]


def _poscar(structure: Structure) -> str:
    symbols, counts = zip(*_elements(structure), strict=True)
    lines = [
        f"{structure.formula} {structure.content_hash}", "1.0", *(_row(vector) for vector in structure.cell),
        " ".join(symbols), " ".join(map(str, counts)), "Cartesian",
        *(_row(position) for position in structure.positions[atom_order(structure)]),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _row(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:24.16f}" for value in values)


def _incar(structure: Structure, tags: Mapping[str, Any]) -> str:
    lines = [f"SYSTEM = {structure.formula}"]
    lines += [f"{tag} = {_value(value)}" for tag, value in tags.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    if isinstance(value, (list, tuple)):
        return " ".join(_value(item) for item in value)
    return str(value)


def _kpoints(structure: Structure, asked: float | tuple[int, int, int]) -> str:
    if isinstance(asked, (int, float)):
        lengths = 2 * math.pi * np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
        counts = [
            max(1, math.ceil(length / asked - 1e-9)) if periodic else 1
            for length, periodic in zip(lengths, structure.pbc, strict=True)
        ]
    else:
        counts = list(asked)
    return f"k-points\n0\nGamma\n{' '.join(map(str, counts))}\n0 0 0\n"


def _potcar(structure: Structure, names: Mapping[str, str]) -> str:
    wanted = [names.get(symbol, symbol) for symbol, _ in _elements(structure)]
    return (
        "POTCAR is VASP's property and not written here. Join the POTCAR files of these, in this order, into one file\n"
        f"named POTCAR in this folder: {', '.join(wanted)}.\n"
        f"In a shell, with the folder of your potentials in VASP_PP: cat "
        f"{' '.join(f'$VASP_PP/{name}/POTCAR' for name in wanted)} > POTCAR\n"
    )
