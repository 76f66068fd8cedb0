"""Any LAMMPS pair style in metal units as a potential: Tersoff, Stillinger-Weber, EAM, MEAM and many others.

Two commands make it, as in a LAMMPS input: ``pair_style tersoff`` and ``pair_coeff * * Si.tersoff Si``. Files that
they name are read once and belong to the potential from then on: it travels, is saved and is hashed with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.files import atomic_write
from forcewright.lammps_session import PairStyle, charge_commands
from forcewright.models.lammps_input import runnable_input
from forcewright.models.storage import PotentialFolder, species_of, write_potential
from forcewright.plain_data import number
from forcewright.potential import PotentialBase, Prediction
from forcewright.structure import Structure

_SYMBOLS = frozenset(chemical_symbols[1:])
#: What LAMMPS would read as variables, comments, continued or further commands.
_FORBIDDEN = re.compile(r"[$&#;\n\r\0]")
#: Pair styles that run code or load libraries which somebody else has written: Python, pickles, KIM models; and QUIP,
#: whose files may name programs. Suffixes such as /kk stand for other versions of the same.
_RUNS_CODE = frozenset({"kim", "python", "quip"})
#: ``kspace_style`` that sums nothing: with a damping of nearly zero, all of 1/r is left to the part in real space.
_NOT_SUMMED = ("zero", "1.0e-4")
_MLIAP_RUNS_CODE = frozenset({"mliappy", "unified"})


@dataclass(frozen=True, eq=False, repr=False)
class PairStylePotential(PotentialBase):
    """A LAMMPS pair style.

    Parameters
    ----------
    style
        Words of the ``pair_style`` command.
    coefficients
        Words of each ``pair_coeff`` command.
    types
        Atomic numbers of the LAMMPS types, in order.
    cutoff
        Interaction range in Å.
    files
        Contents of the files that are named by words of the commands.
    charges
        Charge of each LAMMPS type in elementary charges; None where atoms have none.
    kspace
        Words of the ``kspace_style`` command; empty where there is none.
    """

    style: tuple[str, ...]
    coefficients: tuple[tuple[str, ...], ...]
    types: tuple[int, ...]
    cutoff: float
    files: Mapping[str, bytes]
    charges: tuple[float, ...] | None = None
    kspace: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_harmless(self.style)
        if self.charges is not None:
            _require_charges(self.charges, self.types)
        elif self.kspace:
            raise InputError("sums over charges, and there are none; add them, as in charges: {Na: 1, Cl: -1}",
                             field="kspace_style")  # fmt: skip
        for words in (self.style, *self.coefficients, self.kspace):
            if (bad := next((word for word in words if re.search(r"[\s\"']", word)), None)) is not None:
                raise InputError(f"has {bad!r}; blanks and quotes may not stand in a word", field="pair_style")

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows, ascending."""
        return tuple(sorted(self.types))

    @property
    def name(self) -> str:
        """The commands in short, such as ``pair_style tersoff (Si.tersoff)``."""
        names = f" ({', '.join(self.files)})" if self.files else ""
        return f"pair_style {' '.join(self.style)}{names}"

    @cached_property
    def pair_style(self) -> PairStyle:
        """The pair style with its commands."""
        kspace = self.kspace not in ((), _NOT_SUMMED)
        return PairStyle(self.types, self.write_commands, self.cutoff, charges=self.charges, kspace=kspace)

    def write_commands(self, folder: Path) -> list[str]:
        """Write the files to a folder and return the commands that read them there."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return self._commands({name: f'"{folder / name}"' for name in self.files})

    def _commands(self, paths: Mapping[str, str]) -> list[str]:
        lines = [("pair_style", *self.style), *(("pair_coeff", *words) for words in self.coefficients)]
        if self.kspace:  # LAMMPS's tables of the part in real space would make steps of 1e-7 eV in the energy
            lines = [lines[0], ("pair_modify", "table", "0"), *lines[1:], ("kspace_style", *self.kspace)]
        if self.kspace == _NOT_SUMMED:
            lines.append(("kspace_modify", "gewald", "1.0e-9"))
        return [" ".join(paths.get(word, word) for word in words) for words in lines]

    def in_vacuum(self) -> PairStylePotential:
        """Return it for atoms without images: where charges are summed in reciprocal space, bare ones to the cutoff."""
        return replace(self, kspace=_NOT_SUMMED) if self.kspace else self

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements."""
        return self.pair_style.predict(structures, forces, stress)

    def evaluator(self) -> Callable[[Structure], Prediction]:
        """Return what predicts a structure in a LAMMPS instance of its own."""
        return PotentialBase.evaluator(replace(self))

    def describe_size(self) -> str:
        """Return the commands in short."""
        return self.name

    def to_lammps(self, folder: str | Path) -> Path:
        """Write the files and a runnable input to a folder and return the input's path."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            atomic_write(folder / name, content)
        commands = [*charge_commands(self.charges), *self._commands({})]
        text = runnable_input(f"pair_style {self.style[0]}", commands, charged=self.charges is not None)
        return atomic_write(folder / "in.lammps", text)

    def save(self, folder: str | Path) -> Path:
        """Write ``potential.json``, the files and a runnable LAMMPS input to a folder."""
        self.to_lammps(folder)
        content = {
            "style": self.style, "coefficients": self.coefficients, "files": list(self.files),
            "types": [chemical_symbols[z] for z in self.types], "cutoff": self.cutoff,
        }  # fmt: skip
        if self.charges is not None:
            content |= {"charges": self.charges, "kspace": self.kspace}
        return write_potential(folder, "pair_style", content)

    @classmethod
    def load(cls, folder: Path) -> PairStylePotential:
        """Read a folder written by `save`."""
        with PotentialFolder(folder, "pair_style") as saved:
            content = saved.content
            names = [str(name) for name in content["files"]]
            style, coefficients = _words(content["style"]), tuple(map(_words, content["coefficients"]))
            types = species_of(content["types"])
            if not (style and types) or any(Path(name).name != name for name in names):
                raise ValueError("style, types and names of files")
            files = {name: (folder / name).read_bytes() for name in names}
            charges = content.get("charges")
            return cls(
                style, coefficients, types, number(content["cutoff"], "cutoff", above=0), files,
                None if charges is None else tuple(number(charge, "a charge") for charge in charges),
                _words(content.get("kspace", ())),
            )  # fmt: skip


def _words(stored: Sequence[object]) -> tuple[str, ...]:
    words = tuple(str(word) for word in stored)
    for word in words:
        require_plain_text(word, "pair_coeff")
    return words


def _require_charges(charges: Sequence[float], types: Sequence[int]) -> None:
    if len(charges) != len(types) or not any(charges):
        raise InputError(f"is {list(charges)}; each of the {len(types)} elements has a charge, and not all are 0",
                         field="charges")  # fmt: skip


def require_plain_text(text: str, field: str) -> None:
    """Refuse what LAMMPS would not read as words of one command."""
    if (bad := _FORBIDDEN.search(text)) is not None:
        raise InputError(
            f"is {text!r}; {bad[0]!r} may not stand in it: give one command, without variables", field=field
        )


def require_harmless(style: Sequence[str]) -> None:
    """Refuse pair styles that do more than compute, wherever they stand among the words of ``pair_style``."""
    names = {part.partition("/")[0] for word in style for part in re.split(r"[\s\"']+", word)}
    runs = names & _RUNS_CODE or ("mliap" in names and names & _MLIAP_RUNS_CODE)
    if runs:
        raise InputError(
            f"is {' '.join(style)!r}; {min(runs)!r} runs code that is no part of LAMMPS, which a potential may not",
            field="pair_style",
        )
