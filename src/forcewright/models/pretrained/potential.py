"""A pretrained model as a potential: made from the installed package, and used only if it gives known numbers."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from forcewright.errors import InputError, MissingExtraError
from forcewright.models.calculator_potential import CalculatorPotential
from forcewright.models.pretrained.registry import Pretrained, pretrained_named
from forcewright.models.storage import PotentialFolder, write_potential
from forcewright.potential import Prediction
from forcewright.structure import Structure

_ENERGY = 1e-3  # eV per atom by which golden numbers may be off: single precision, other libraries
_FORCE = 5e-3  # eV/Å
_LAYERS = 2.0  # gap around what has open directions, in cutoffs
_checked: set[str] = set()  # models that gave their golden numbers in this process


@dataclass(frozen=True, eq=False, repr=False)
class PretrainedPotential(CalculatorPotential):
    """A pretrained model.

    Parameters
    ----------
    name
        A key of `forcewright.models.pretrained.PRETRAINED`.

    Raises
    ------
    InputError
        If there is no such model, or the weights in the installed package are others.
    MissingExtraError
        If its package is not installed.
    """

    name: str

    def __post_init__(self) -> None:
        self._file()  # before any work

    @property
    def model(self) -> Pretrained:
        """What is known of the model."""
        return pretrained_named(self.name)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers in its training data."""
        return self.model.species

    @property
    def cutoff(self) -> float:
        """Range of one of its layers in Å."""
        return self.model.cutoff

    @property
    def gap(self) -> float | None:  # type: ignore[override]
        """Gap in Å around structures with open directions, where it knows nothing but cells."""
        return _LAYERS * self.model.cutoff if self.model.needs_cell else None

    @property
    def package_version(self) -> str:
        """Version of the installed package."""
        return version(self.model.package)

    def describe_size(self) -> str:
        """Return what it is."""
        return f"{self.name} of {self.model.package} {self.package_version}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe_size()}, {len(self.species)} elements, cutoff {self.cutoff:g} Å)"

    def calculator(self, *, grades: bool = False) -> Calculator:
        """Return a new calculator, which has given its golden numbers; `InputError` if it gives others."""
        del grades
        made = self.model.make(self._file())
        if self.name not in _checked:
            for name, atoms in golden_structures().items():
                if name in self.model.golden:
                    _require_golden(self, made, name, atoms, self.model.golden[name])
            _checked.add(self.name)
        return made

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that are not ours
            return super().predict_structures(structures, forces, stress)

    def _file(self) -> Path:
        """Return the file of the weights, which are those that are known."""
        model = self.model
        spec = find_spec(model.package)
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError(model.package, model.extra, f"the pretrained model {self.name}")
        path = Path(spec.submodule_search_locations[0]) / model.weights
        if not path.is_file():
            raise InputError(
                f"is {self.name!r}, whose weights are not in the installed {model.package} {self.package_version}; "
                f'install one that has them: pip install "forcewright[{model.extra}]"', file=path, field="pretrained",
            )  # fmt: skip
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != model.sha256:
            raise InputError(
                f"are not the weights of {self.name} (their SHA-256 is {sha256[:12]}…, expected "
                f"{model.sha256[:12]}…), and nothing else is read; install {model.package} anew", file=path,
                field="pretrained",
            )  # fmt: skip
        return path

    def save(self, folder: str | Path) -> Path:
        """Write its name, the hash of its weights and the version of its package; no weights."""
        model = self.model
        return write_potential(
            folder, "pretrained",
            {"name": self.name, "sha256": model.sha256, "package": f"{model.package} {self.package_version}",
             "license": model.license},
        )  # fmt: skip

    @classmethod
    def load(cls, folder: str | Path) -> PretrainedPotential:
        """Return the model that a folder names, from the installed package."""
        with PotentialFolder(folder, "pretrained") as saved:
            name, sha256 = str(saved.content["name"]), str(saved.content["sha256"])
        made = cls(name)
        if sha256 != made.model.sha256:
            raise InputError(f"names other weights of {name} than those that are known here", file=saved.file)
        return made


def golden_structures() -> dict[str, Atoms]:
    """Return small cells, away from their minima, of which golden numbers are kept."""
    silicon, salt = bulk("Si", a=5.5, cubic=True), bulk("NaCl", "rocksalt", a=5.7, cubic=True)
    for atoms in (silicon, salt):
        moves: NDArray[np.float64] = np.sin(np.arange(3.0 * len(atoms)) * 1.7).reshape(-1, 3)
        atoms.positions += 0.08 * moves
    return {"Si8": silicon, "Na4Cl4": salt}


def measured_golden(calculator: Calculator, atoms: Atoms) -> tuple[float, float]:
    """Return energy in eV and the largest component of a force in eV/Å."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forces = np.asarray(calculator.get_forces(atoms))  # type: ignore[no-untyped-call]
        return float(calculator.get_potential_energy(atoms)), float(forces.max())  # type: ignore[no-untyped-call]


def _require_golden(
    potential: PretrainedPotential, calculator: Calculator, name: str, atoms: Atoms, expected: tuple[float, float]
) -> None:
    energy, force = measured_golden(calculator, atoms)
    if abs(energy - expected[0]) > _ENERGY * len(atoms) or abs(force - expected[1]) > _FORCE:
        raise InputError(
            f"is {potential.name!r}, which gives {name} an energy of {energy:.4f} eV and a force of {force:.4f} eV/Å "
            f"with {potential.model.package} {potential.package_version} here, and {expected[0]:.4f} "
            f"and {expected[1]:.4f} where it was tried: this version reads the weights in another way; install "
            "an earlier one",
            field="pretrained",
        )  # fmt: skip
