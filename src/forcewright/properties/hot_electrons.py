"""A potential with electrons at a temperature, from data at 0 K alone: the approximation of a fixed density of states.

    A(T) ≈ E(0) + ∫ D ε (f_T - f_0) dε - T S,    F(T) = F(0) - ∫ ∇D (g_T - g_0) dε,

with E(0) and F(0) of a potential and D of a model of densities of states (C. Ben Mahmoud, F. Grasselli, M. Ceriotti,
Phys. Rev. B 106, L121116 (2022); see `forcewright.properties.electrons`). Forces and stress are exact derivatives of
A: the chemical potential does not enter, as A is stationary in it. Where the Hamiltonian does not depend on the
occupations the approximation is exact; otherwise it misses how the density of states itself follows the electrons.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.models import load
from forcewright.models.family import PotentialKind
from forcewright.models.storage import PotentialFolder, write_potential
from forcewright.plain_data import number
from forcewright.potential import Potential, PotentialBase, Prediction
from forcewright.properties.dos_model import DosModel
from forcewright.properties.electrons import ElectronicState
from forcewright.structure import FloatArray, Structure
from forcewright.trajectory.reading import StructuresOrFile, structures_of

GROUND, DENSITY = "ground", "dos"


class HotElectronPotential(PotentialBase):
    """A potential whose energy is the free energy A(T) of hot electrons.

    Parameters
    ----------
    ground
        Energies and forces at 0 K.
    dos
        Densities of states at 0 K.
    temperature
        Of the electrons in K; at 0 it is the ground potential.

    Raises
    ------
    InputError
        If the temperature is negative, or the two know different elements.
    """

    def __init__(self, ground: Potential, dos: DosModel, temperature: float) -> None:
        if not (np.isfinite(temperature) and temperature >= 0):
            raise InputError(f"is {temperature}, expected 0 K or more", field="electronic_temperature_K")
        if missing := set(ground.species) - set(dos.species):
            symbols = ", ".join(chemical_symbols[z] for z in sorted(missing))
            raise InputError(f"the model of densities of states does not know {symbols}", field="dos")
        self.ground, self.dos, self.temperature = ground, dos, float(temperature)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows, ascending."""
        return self.ground.species

    @property
    def cutoff(self) -> float:
        """Interaction range in Å, the longer one of both parts."""
        return max(self.ground.cutoff, self.dos.cutoff)

    def at(self, temperature: float) -> HotElectronPotential:
        """Return the potential at another temperature of the electrons, in K."""
        return HotElectronPotential(self.ground, self.dos, temperature)

    def electronic_states(self, structures: StructuresOrFile) -> list[ElectronicState]:
        """Return chemical potential, entropy, heat capacity, … of the electrons of every structure."""
        return [self.dos.electronic_state(structure, self.temperature) for structure in structures_of(structures)]

    def internal_energies(self, structures: StructuresOrFile) -> FloatArray:
        """Return U = A + TS of every structure in eV: what differences of temperature make heat capacities of."""
        listed = structures_of(structures)
        ground = [prediction.energy for prediction in self.ground.predict(listed, forces=False, stress=False)]
        return np.array(ground) + [state.energy_change for state in self.electronic_states(listed)]

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements."""
        ground = self.ground.predict(structures, forces=forces, stress=stress)
        return [self._add(*pair, forces, stress) for pair in zip(ground, structures, strict=True)]

    def evaluator(self) -> Callable[[Structure], Prediction]:
        """Return what predicts a structure with what the ground potential keeps from call to call."""
        return _Evaluator(self, self.ground.evaluator() if isinstance(self.ground, PotentialBase) else None)

    def _add(self, ground: Prediction, structure: Structure, forces: bool, stress: bool) -> Prediction:
        if self.temperature == 0:
            return Prediction(ground.energy, ground.forces, ground.stress)
        state = self.dos.electronic_state(structure, self.temperature)
        energy = ground.energy + state.free_energy_change
        if not (forces or stress):
            return Prediction(energy)
        _, pulled, virial = self.dos.functional(structure, state.gradient)
        total = None if ground.forces is None else ground.forces + pulled
        tension = None if ground.stress is None else ground.stress - _tensor(virial) / structure.volume
        return Prediction(energy, total, tension)

    def describe_size(self) -> str:
        """Return what it is made of."""
        return f"electrons at {self.temperature:g} K, {self.dos.environments.size} features"

    def save(self, folder: str | Path) -> Path:
        """Write both parts, each in a folder of its own inside."""
        folder = Path(folder)
        for name in (GROUND, DENSITY):
            inside = folder / name
            if inside.is_dir() and not any((inside / file).is_file() for file in ("potential.json", "dos.json")):
                raise InputError("holds something else; save to another folder", file=inside)
            if inside.is_dir():
                shutil.rmtree(inside)
        self.ground.save(folder / GROUND)
        self.dos.save(folder / DENSITY)
        content = {
            "species": [chemical_symbols[z] for z in self.species], "electronic_temperature_K": self.temperature,
            "parts": _hashes(folder),
        }  # fmt: skip
        return write_potential(folder, KIND.kind, content)

    @classmethod
    def load(cls, folder: str | Path) -> HotElectronPotential:
        """Read what `save` wrote; `InputError` if a part of it is not what was saved."""
        with PotentialFolder(folder, KIND.kind) as saved:
            temperature = number(saved.content["electronic_temperature_K"], "electronic_temperature_K", low=0)
            if _hashes(saved.folder) != saved.content["parts"]:
                raise InputError("a file of its parts is not the one that was saved")
            species = saved.species
        ground, dos = load(saved.folder / GROUND), DosModel.load(saved.folder / DENSITY)
        if species != ground.species:
            raise InputError("is damaged: its species are not those of its potential; save the potential again",
                             file=saved.file)  # fmt: skip
        return cls(ground, dos, temperature)


@dataclass(frozen=True)
class _Evaluator:
    """Predicts structures one by one; an object, as it travels to other processes."""

    potential: HotElectronPotential
    ground: Callable[[Structure], Prediction] | None

    def __call__(self, structure: Structure) -> Prediction:
        if self.ground is None:
            return self.potential.predict_structures([structure], True, True)[0]
        return self.potential._add(self.ground(structure), structure, True, True)


def _tensor(voigt: FloatArray) -> FloatArray:
    xx, yy, zz, yz, xz, xy = voigt
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the parts, by its path inside the folder."""
    files = sorted(path for name in (GROUND, DENSITY) for path in (folder / name).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


KIND = PotentialKind(kind="hot_electrons", load=HotElectronPotential.load)


def describe(state: ElectronicState) -> Mapping[str, Any]:
    """Return the numbers of a state under names with their units, as tables and files have them."""
    return {
        "electronic_temperature_K": state.temperature, "fermi_level_eV": state.fermi, "mu_eV": state.mu,
        "band_energy_eV": state.band_energy, "energy_change_eV": state.energy_change,
        "entropy_eV_per_K": state.entropy, "free_energy_change_eV": state.free_energy_change,
        "heat_capacity_eV_per_K": state.heat_capacity, "dos_at_fermi_level": state.at_fermi,
    }  # fmt: skip
