"""A fitted potential and what it was fitted on top of: the baseline, such as point charges, is added to it everywhere.

The labels of the training data had the baseline's predictions subtracted (`forcewright.fitting.on_baseline`). Both
parts lie in one folder: that of the fitted one, whose ``potential.json`` names the baseline and the hashes of its
files, and ``baseline`` inside it. Earlier versions, which would pass over it, refuse such a folder by its version.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.files import atomic_write
from forcewright.lammps_session import LammpsNative, PairStyle
from forcewright.models.overlay import is_of_pair_style, overlay
from forcewright.models.storage import PotentialFolder, hashes_of
from forcewright.plain_data import read_json
from forcewright.potential import (
    Basis,
    Divisible,
    Environmental,
    Exportable,
    Graded,
    Linear,
    Parametric,
    Potential,
    PotentialBase,
    Prediction,
    Uncertain,
    Varying,
)
from forcewright.structure import FloatArray, Frame, Structure
from forcewright.trajectory.reading import StructuresOrFile

FOLDER = "baseline"
_VERSION = 2  # of potential.json with a baseline
#: Files beside a saved potential that do not decide what it predicts.
_INPUTS = ("in.lammps", "in.extrapolation.lammps", "structure.data")


class BaselinePotential(PotentialBase):
    """The sum of a fitted potential and a baseline; `with_baseline` makes it, with all that the fitted one knows.

    Parameters
    ----------
    fitted
        What was fitted to labels with the baseline subtracted.
    baseline
        What is added to it.
    """

    def __init__(self, fitted: Any, baseline: Potential) -> None:
        self.fitted: Any = fitted
        self.baseline: Any = baseline

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows, ascending: those of the fitted part."""
        return tuple(self.fitted.species)

    @property
    def cutoff(self) -> float:
        """Interaction range in Å, the longer one of both parts."""
        return max(float(self.fitted.cutoff), float(self.baseline.cutoff))

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What the fitted part remembers of its fit; there is none where that has none."""
        return dict(self.fitted.provenance)

    @property
    def charges(self) -> tuple[float, ...] | None:
        """Charge of each species in elementary charges, where the baseline has any."""
        charges = charges_by_element(self.baseline)
        return tuple(charges[chemical_symbols[z]] for z in self.species) if charges else None

    def around(self, fitted: Potential) -> Potential:
        """Return another fitted part with this baseline."""
        return with_baseline(fitted, self.baseline)

    def in_vacuum(self) -> Potential:
        """Return the potential for atoms without images."""
        return with_baseline(self.fitted, vacuum_of(self.baseline))

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements."""
        parts = (part.predict(structures, forces=forces, stress=stress) for part in (self.fitted, self.baseline))
        return [_sum(*both) for both in zip(*parts, strict=True)]

    def evaluator(self) -> Callable[[Structure], Prediction]:
        """Return what predicts a structure with what both parts keep from call to call."""
        parts = [
            part.evaluator() if isinstance(part, PotentialBase) else _Single(part)
            for part in (self.fitted, self.baseline)
        ]
        return _Both(parts[0], parts[1])

    def force_parts(self, structure: Structure) -> dict[str, FloatArray]:
        """Return the forces (N, 3) of the parts of the fitted potential, where it knows some, and of the baseline."""
        if isinstance(self.fitted, Divisible):
            parts = self.fitted.force_parts(structure)
        else:
            parts = {"fitted": np.asarray(self.fitted.predict([structure], stress=False)[0].forces)}
        return {**parts, "baseline": np.asarray(self.baseline.predict([structure], stress=False)[0].forces)}

    def describe_size(self) -> str:
        """Return how large the fitted part is, and what the baseline is."""
        size = self.fitted.describe_size() if isinstance(self.fitted, PotentialBase) else ""
        return f"{size + ' ' if size else ''}on top of {baseline_name(self.baseline)}"

    def save(self, folder: str | Path) -> Path:
        """Write the fitted part, the baseline in a folder of its own inside, and LAMMPS input for both."""
        folder = Path(self.fitted.save(folder))
        self.baseline.save(_emptied(folder / FOLDER))
        content = read_json(folder / "potential.json")
        content |= {
            "version": _VERSION,
            "baseline": {"name": baseline_name(self.baseline), "files": _hashes(folder / FOLDER)},
        }
        atomic_write(folder / "potential.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
        _finish_inputs(self, folder)
        return folder

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as both parts: the class is made for what the fitted one knows."""
        return with_baseline, (self.fitted, self.baseline)


def with_baseline(fitted: Potential, baseline: Potential | None) -> Potential:
    """Return the sum of both, which knows what the fitted potential knows beyond predictions; energies of atoms aside.

    Raises
    ------
    InputError
        If the baseline does not know an element.
    """
    if baseline is None:
        return fitted
    if missing := set(fitted.species) - set(baseline.species):
        symbols = ", ".join(chemical_symbols[z] for z in sorted(missing))
        raise InputError(f"({baseline_name(baseline)}) does not know {symbols}; give one that does", field="baseline")
    known: list[type] = [mixin for protocol, mixin in _MIXINS.items() if isinstance(fitted, protocol)]
    if isinstance(fitted, Environmental):
        known.remove(_Graded)
    if not isinstance(baseline, Exportable):
        known = [mixin for mixin in known if mixin is not _Exportable]
    if isinstance(fitted, LammpsNative) and isinstance(baseline, LammpsNative) and _add_up(fitted, baseline):
        known.append(_Native)
    made: Any = type("BaselinePotential", tuple(known) or (BaselinePotential,), {"__doc__": BaselinePotential.__doc__})
    potential: Potential = made(fitted, baseline)
    return potential


def baseline_name(baseline: Potential) -> str:
    """Return what reports call a baseline."""
    return str(getattr(baseline, "name", "")) or repr(baseline)


def vacuum_of(potential: Potential) -> Potential:
    """Return a potential for atoms without images: that of charges that are summed over images is another there."""
    in_vacuum: Callable[[], Potential] | None = getattr(potential, "in_vacuum", None)
    return potential if in_vacuum is None else in_vacuum()


def fitted_part(potential: Potential) -> Potential:
    """Return the fitted part of a potential with a baseline, any other as it is."""
    return potential.fitted if isinstance(potential, BaselinePotential) else potential


def charges_by_element(potential: Potential) -> dict[str, float]:
    """Return the charge in elementary charges of each element of a potential that LAMMPS computes; empty without."""
    charges = potential.pair_style.charges if isinstance(potential, LammpsNative) else None
    if charges is None:
        return {}
    symbols = [chemical_symbols[z] for z in potential.pair_style.species]  # type: ignore[attr-defined]
    return dict(zip(symbols, charges, strict=True))


def load_baseline(saved: PotentialFolder, load: Callable[[Path], Potential]) -> Potential | None:
    """Return the baseline that the folder of a potential names, None where it names none.

    Raises
    ------
    InputError
        If a file of it is missing or is not the one that was saved.
    """
    described = saved.content.get("baseline")
    if described is None:
        return None
    folder = saved.folder / FOLDER
    if not (folder / "potential.json").is_file():
        raise InputError("is missing; copy the whole folder of the potential", file=folder)
    with saved:
        if _hashes(folder) != described["files"]:
            raise InputError(
                "is not the baseline that was saved (a SHA-256 differs); copy or save it again", file=folder
            )
    return load(folder)


def _emptied(folder: Path) -> Path:
    """Return a folder without the baseline of an earlier potential; `InputError` if something else lies in it."""
    if (folder / "potential.json").is_file():
        shutil.rmtree(folder)
    elif folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            "holds something else, and a baseline is to be saved there; save to another folder", file=folder
        )
    return folder


def _hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files of a saved baseline that decide what it predicts."""
    files = (file for file in sorted(folder.iterdir()) if file.is_file() and file.name not in _INPUTS)
    return hashes_of({file.name: file.read_bytes() for file in files})


# ------------------------------------------------------------------------------------------ predictions


def _sum(a: Prediction, b: Prediction) -> Prediction:
    def add(name: str) -> FloatArray | None:
        first, second = getattr(a, name), getattr(b, name)
        return None if first is None or second is None else np.asarray(first + second)

    return Prediction(a.energy + b.energy, add("forces"), add("stress"))


@dataclass(frozen=True, eq=False)
class _Single:
    potential: Potential

    def __call__(self, structure: Structure) -> Prediction:
        return self.potential.predict([structure])[0]


@dataclass(frozen=True, eq=False)
class _Both:
    first: Callable[[Structure], Prediction]
    second: Callable[[Structure], Prediction]

    def __call__(self, structure: Structure) -> Prediction:
        return _sum(self.first(structure), self.second(structure))


# ------------------------------------------------------------------- what a fitted potential may know


class _Linear(BaselinePotential):
    @property
    def coefficients(self) -> FloatArray:
        """The fitted coefficients (p,)."""
        return np.asarray(self.fitted.coefficients)


class _Parametric(BaselinePotential):
    @property
    def design(self) -> Basis | None:
        """The basis of the coefficients."""
        basis: Basis | None = self.fitted.design
        return basis

    @property
    def posterior(self) -> FloatArray | None:
        """Covariance of the coefficients, if known."""
        covariance: FloatArray | None = self.fitted.posterior
        return covariance

    def with_coefficients(self, coefficients: FloatArray, energies: Mapping[int, float]) -> Potential:
        """Return the potential of other coefficients (p,) and energies in eV of isolated atoms, on this baseline."""
        return self.around(self.fitted.with_coefficients(coefficients, energies))


class _Uncertain(BaselinePotential):
    def energy_standard_error(self, structures: StructuresOrFile) -> FloatArray:
        """Return the standard error of each predicted energy in eV; the baseline has none."""
        return np.asarray(self.fitted.energy_standard_error(structures))


class _Varying(BaselinePotential):
    def atomic_standard_deviations(self, structure: Atoms | Frame | Structure) -> FloatArray:
        """Return the standard deviation of each atom's energy (N,) in eV; the baseline has none."""
        return np.asarray(self.fitted.atomic_standard_deviations(structure))


class _Graded(BaselinePotential):
    @property
    def knows_grades(self) -> bool:
        """Whether the fitted part has an active set."""
        return bool(self.fitted.knows_grades)

    def with_active_set(self, structures: StructuresOrFile) -> Potential:
        """Return the potential with the active set of these training structures."""
        return self.around(self.fitted.with_active_set(structures))

    def extrapolation_grades(self, structure: Atoms | Frame | Structure) -> FloatArray:
        """Return the extrapolation grade of each atom (N,)."""
        return np.asarray(self.fitted.extrapolation_grades(structure))


class _Environmental(_Graded):
    def environments(self, structure: Structure) -> dict[int, FloatArray]:
        """Return the descriptors (n, p) of the atoms of each species, in the order of the atoms."""
        known: dict[int, FloatArray] = self.fitted.environments(structure)
        return known

    def with_active(self, active: Mapping[int, FloatArray]) -> Potential:
        """Return the potential with what grades the atoms of each species."""
        return self.around(self.fitted.with_active(active))


class _Exportable(BaselinePotential):
    def to_lammps(self, folder: str | Path) -> Path:
        """Write the files of both parts and a runnable input, in which they are one ``pair_style hybrid/overlay``."""
        path: Path = self.fitted.to_lammps(folder)
        self.baseline.to_lammps(Path(folder) / FOLDER)
        _finish_inputs(self, Path(folder))
        if not path.is_file():
            raise InputError(f"({baseline_name(self.baseline)}) cannot be added up by LAMMPS with what is fitted",
                             field="baseline")  # fmt: skip
        return path


class _Native(BaselinePotential):
    @cached_property
    def pair_style(self) -> PairStyle:
        """The LAMMPS pair style that computes the sum."""
        fitted, baseline = self.fitted.pair_style, self.baseline.pair_style
        return PairStyle(
            fitted.species, self._write_and_name, max(fitted.cutoff, baseline.cutoff), charges=self.charges,
            kspace=baseline.kspace,
        )  # fmt: skip

    def _write_and_name(self, folder: Path) -> list[str]:
        (folder / FOLDER).mkdir(exist_ok=True)
        parts = self.fitted.pair_style, self.baseline.pair_style
        commands = parts[0].commands(folder), parts[1].commands(folder / FOLDER)
        return overlay(commands[0], parts[0].species, commands[1], parts[1].species)


_MIXINS: dict[Any, type] = {
    Linear: _Linear, Parametric: _Parametric,
    Uncertain: _Uncertain, Varying: _Varying, Graded: _Graded, Environmental: _Environmental,
    Exportable: _Exportable,
}  # fmt: skip


# ---------------------------------------------------------------------------------- input for LAMMPS


def _add_up(fitted: LammpsNative, baseline: LammpsNative) -> bool:
    """Tell whether LAMMPS can compute both as one pair style."""
    parts = fitted.pair_style, baseline.pair_style
    return not (parts[0].kspace or parts[0].charges)


def _finish_inputs(potential: Any, folder: Path) -> None:
    """Make the inputs that the fitted part has written those of the sum; remove them where LAMMPS cannot add both."""
    second = folder / FOLDER / "in.lammps"
    types = getattr(getattr(potential.baseline, "pair_style", None), "species", potential.baseline.species)
    for name in ("in.lammps", "in.extrapolation.lammps"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            if not (isinstance(potential, _Exportable) and second.is_file()):
                raise InputError("LAMMPS does not know the baseline")
            text = _overlaid(path.read_text(), potential.fitted.species, second, types)
        except InputError:  # an input without the baseline would run, and be wrong
            path.unlink()
        else:
            atomic_write(path, text)


def _overlaid(text: str, types: Sequence[int], second: Path, second_types: Sequence[int]) -> str:
    """Return an input with the pair style of another one added, whose files lie where it does."""
    files = {file.name for file in second.parent.iterdir()}
    others = [
        " ".join(f"{FOLDER}/{word}" if word in files else word for word in line.split())
        for line in second.read_text().splitlines() if is_of_pair_style(line)
    ]  # fmt: skip
    lines = text.splitlines()
    places = [number for number, line in enumerate(lines) if is_of_pair_style(line)]
    together = overlay([lines[number] for number in places], types, others, second_types)
    first = places[0]
    kept = [line for number, line in enumerate(lines) if number not in places]
    lines = [*kept[:first], *together, *kept[first:]]
    if any(line.startswith("set ") for line in together):
        lines = [line.replace("atomic", "charge") if line.startswith("atom_style") else line for line in lines]
    return "\n".join(lines) + "\n"
