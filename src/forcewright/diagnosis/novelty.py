"""How new the surroundings of atoms are to a potential, and which of its training data come nearest to them.

Where a potential knows its uncertainty, that is the measure. For any other it is the distance between descriptors,
those of `forcewright.descriptors.environments`, to the nearest training atom of the same element, over the
distance that 99 % of training atoms have to the nearest in other frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.descriptors.ace import ace_basis
from forcewright.descriptors.environments import describe, nearest, spreads
from forcewright.diagnosis.indicators import Indicator
from forcewright.diagnosis.run_record import RunRecord, evenly
from forcewright.errors import ForcewrightError
from forcewright.features.ace.basis import AceBasis
from forcewright.structure import Dataset, FloatArray, IntArray, Structure
from forcewright.uncertainty import COVERAGE, uncertainty_of

_MOST_ATOMS = 60_000  # of the training data that are compared with
_SAMPLE = 300  # training atoms of an element from which the usual distance is taken
_FUNCTIONS = 40
_LOOKS = 4  # of which half are beyond the limit before a run counts as outside: 1 % of usual frames are


@dataclass(frozen=True)
class NearestEnvironment:
    """The training atom whose surroundings are most like those of an atom.

    ``distance`` is that of their descriptors, ``usual`` what 99 % of training atoms have to the nearest in other
    frames; None where there are too few frames to tell.
    """

    file: str
    frame: int
    index: int
    atom: int
    distance: float
    usual: float | None

    @property
    def ratio(self) -> float | None:
        """The distance over the usual one."""
        return self.distance / self.usual if self.usual else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "file": self.file, "frame": self.frame, "atom": self.atom, "distance": self.distance, "usual": self.usual,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class TrainingEnvironments:
    """Descriptors of the atoms of a training set.

    Parameters
    ----------
    training
        The frames; of very many atoms every so many-th frame is taken.
    """

    training: Dataset

    @cached_property
    def _frames(self) -> list[int]:
        atoms = sum(map(len, self.training.structures))
        share = max(1, int(len(self.training) * min(1.0, _MOST_ATOMS / max(atoms, 1))))
        return evenly(range(len(self.training)), share)

    @cached_property
    def _basis(self) -> AceBasis:
        return ace_basis(self.training.species, functions=_FUNCTIONS)

    @cached_property
    def _of_species(self) -> dict[int, tuple[FloatArray, IntArray, IntArray, FloatArray]]:
        """Descriptors (n, p), frames (n,) and atoms (n,) of each element, and the scale (p,) of its descriptors."""
        parts: dict[int, list[tuple[FloatArray, int, IntArray]]] = {}
        for k in self._frames:
            structure = self.training[k].structure
            for z, (atoms, rows) in self._describe(structure).items():
                parts.setdefault(z, []).append((rows, k, atoms))
        table = {}
        for z, members in parts.items():
            rows = np.concatenate([r for r, _, _ in members])
            frames = np.concatenate([np.full(len(r), k) for r, k, _ in members])
            scale = spreads(rows)
            table[z] = (rows / scale, frames, np.concatenate([a for _, _, a in members]), scale)
        return table

    def _describe(self, structure: Structure) -> dict[int, tuple[IntArray, FloatArray]]:
        rows = describe(self._basis, structure, self.training.species)
        return {z: (np.flatnonzero(structure.numbers == z), of_element) for z, of_element in rows.items()}

    @cached_property
    def usual(self) -> dict[int, float | None]:
        """By element, the distance that 99 % of training atoms have to the nearest in other frames."""
        result: dict[int, float | None] = {}
        for z, (rows, frames, _, _) in self._of_species.items():
            distances: list[float] = []
            for k in evenly(range(len(rows)), _SAMPLE):
                others = rows[frames != frames[k]]
                if len(others):
                    distances += nearest(rows[[k]], others)[0].tolist()
            result[z] = float(np.quantile(distances, COVERAGE)) if len(distances) > 1 and max(distances) > 0 else None
        return result

    def novelty(self, structure: Structure) -> FloatArray:
        """Return for each atom (N,) the distance to the nearest training atom over the usual one; inf for none."""
        ratios = np.full(len(structure), np.inf)
        for z, (atoms, rows) in self._describe(structure).items():
            if z in self._of_species and (usual := self.usual[z]):
                known, _, _, scale = self._of_species[z]
                ratios[atoms] = nearest(rows / scale, known)[0] / usual
        return ratios

    def nearest(self, structure: Structure, atom: int) -> NearestEnvironment | None:
        """Return the training atom most like an atom; None where there is none of its element."""
        z = int(structure.numbers[atom])
        if z not in self._of_species:
            return None
        known, frames, atoms, scale = self._of_species[z]
        around, rows = self._describe(structure)[z]
        distance, index = nearest(rows[around == atom] / scale, known)
        k = int(frames[index[0]])
        file, _, number = self.training[k].origin.rpartition("#")
        return NearestEnvironment(
            file or self.training.name or "the training data", int(number) if number.isdigit() else k, k,
            int(atoms[index[0]]), float(distance[0]), self.usual[z],
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Novelty:
    """How new the atoms of a run are, and by which measure: ``indicator`` is of the newest atom of each frame.

    Values are over the limit, so that what exceeds 1 is new.
    """

    measure: str
    indicator: Indicator


def novelty_of(run: RunRecord, frames: Sequence[int], environments: TrainingEnvironments | None) -> Novelty | None:
    """Return how new some frames of a run are; None where neither the potential nor its training data tell."""
    uncertainty = uncertainty_of(run.force_field.potential)
    if uncertainty is not None and uncertainty.calibration is not None:
        measure, calibration = uncertainty.measure, uncertainty.calibration

        def of(structure: Structure) -> FloatArray:
            return np.asarray(uncertainty.of(structure) / calibration.limit_of(len(structure)))

        meaning = "1 % of frames like training"
    elif environments is not None:
        measure, of = "distance to the training data", environments.novelty
        meaning = "1 % of training atoms"
    else:
        return None
    times, values, atoms = [], [], []
    for k in frames:
        try:
            ratios = np.asarray(of(run.frames[k].structure))
        except (ForcewrightError, ValueError, ArithmeticError):  # atoms that coincide, or are nowhere
            continue
        ratios = np.where(np.isnan(ratios), np.inf, ratios)
        times.append(float(run.times_ps[k]))
        atoms.append([float(ratios.argmax())])
        values.append(float(ratios.max()))
    at, shares, who = np.array(times), np.array(values), np.array(atoms).reshape(-1, 1)
    if run.uncertainties and uncertainty is not None and uncertainty.calibration is not None:
        table = run.uncertainties
        at = np.concatenate([at, table["time_ps"].astype(float)])
        shares = np.concatenate([shares, table["largest"].astype(float) / table["limit"].astype(float)])
        who = np.concatenate([who, table["atom"].astype(float)[:, None]])
        at, first = np.unique(at, return_index=True)
        shares, who = shares[first], who[first]
    if not len(at):
        return None
    return Novelty(measure, Indicator("novelty", "of its limit", at, shares, None, 1.0, meaning, who, _LOOKS))


def name_of_atom(structure: Structure, atom: int) -> str:
    """Return the number of an atom and its element."""
    return f"atom {atom} ({chemical_symbols[structure.numbers[atom]]})"
