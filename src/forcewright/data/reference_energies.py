"""Energies of the isolated atoms: taken from the data where they stand, fitted to the composition otherwise."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase.data import chemical_symbols

from forcewright.data.findings import locate
from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame, IntArray, Structure

_ISOLATED_GROUP = re.compile(r"isolated[ _-]?atoms?|single[ _-]?atoms?", re.IGNORECASE)

#: An atom farther than this (Å) from its own images counts as isolated.
ISOLATION = 6.0


@dataclass(frozen=True)
class ReferenceEnergies:
    """Energy per species (eV) and where it comes from.

    ``isolated`` are the indices of the isolated-atom frames, which a fit leaves out. ``rank_deficient`` says that the
    compositions do not determine the energies one by one (as in water, always H2O): their sum over a frame is right,
    each alone is only the smallest choice.
    """

    per_species: dict[int, float]
    source: Literal["isolated atoms", "least squares", "given", "no energies"]
    isolated: tuple[int, ...] = ()
    rank_deficient: bool = False

    def __str__(self) -> str:
        energies = ", ".join(f"{chemical_symbols[z]} {energy:.6f} eV" for z, energy in self.per_species.items())
        note = "; compositions do not determine each alone, only their sum" if self.rank_deficient else ""
        return f"{energies} ({self.source}{note})"

    def total(self, structure: Structure) -> float:
        """Return the sum over the atoms of a structure, in eV."""
        return float(sum(self.per_species[int(z)] for z in structure.numbers))


def isolated_or_fitted_energies(dataset: Dataset) -> ReferenceEnergies:
    """Return the energies of isolated atoms, or where one is missing, a least-squares fit to the composition.

    Raises
    ------
    InputError
        If no frame has an energy, or frames of the same isolated atom disagree by more than 1 meV.
    """
    isolated = [i for i, frame in enumerate(dataset) if is_isolated_atom(frame) and frame.labels.energy is not None]
    energies = _isolated_energies(dataset, isolated)
    if dataset.species and set(energies) == set(dataset.species):
        return ReferenceEnergies({z: energies[z] for z in dataset.species}, "isolated atoms", tuple(isolated))
    chosen = set(range(len(dataset))) - set(isolated)
    fitted = [i for i in sorted(chosen) if dataset[i].labels.energy is not None] or isolated
    if not fitted:
        raise InputError("no frame has an energy, so there is nothing to fit", file=dataset.source, field="energy")
    counts = composition_matrix(dataset[fitted], dataset.species)
    targets = np.array([dataset[i].labels.energy for i in fitted], dtype=np.float64)
    # Per atom, so that a large cell does not count more than a small one.
    atoms = counts.sum(axis=1)
    solution, _, rank, _ = np.linalg.lstsq(counts / atoms[:, None], targets / atoms, rcond=1e-10)
    per_species = {z: float(energy) for z, energy in zip(dataset.species, solution, strict=True)}
    return ReferenceEnergies(per_species, "least squares", tuple(isolated), bool(rank < len(dataset.species)))


def composition_matrix(dataset: Dataset, species: tuple[int, ...]) -> IntArray:
    """Return how many atoms of each species each frame has: (frames, species)."""
    rows = [[int(np.count_nonzero(structure.numbers == z)) for z in species] for structure in dataset.structures]
    return np.array(rows, dtype=np.int64).reshape(len(dataset), len(species))


def is_isolated_atom(frame: Frame) -> bool:
    """Whether the frame is one atom that sees nothing: named so, without periodicity, or alone in a large cell."""
    structure, labels, _ = frame
    if len(structure) != 1:
        return False
    if not structure.pbc.any() or _ISOLATED_GROUP.fullmatch(labels.group):
        return True
    return _nearest_image(structure) > ISOLATION


def _nearest_image(structure: Structure) -> float:
    shifts = np.stack(np.meshgrid(*[(-1, 0, 1) if periodic else (0,) for periodic in structure.pbc]), axis=-1)
    lengths = np.linalg.norm(shifts.reshape(-1, 3) @ structure.cell, axis=1)
    return float(lengths[np.any(shifts.reshape(-1, 3) != 0, axis=1)].min())


def _isolated_energies(dataset: Dataset, isolated: list[int]) -> dict[int, float]:
    energies: dict[int, list[float]] = defaultdict(list)
    for index in isolated:
        frame = dataset[index]
        energy = float(frame.labels.energy or 0.0)
        species = int(frame.structure.numbers[0])
        if energies[species] and abs(energy - energies[species][0]) > 1e-3:
            raise InputError(
                f"an isolated {chemical_symbols[species]} atom has {energy:.6f} eV here and "
                f"{energies[species][0]:.6f} eV elsewhere; keep the energy computed with the settings of the data",
                field="energy", **locate(frame, index),
            )  # fmt: skip
        energies[species].append(energy)
    return {species: values[0] for species, values in energies.items()}
