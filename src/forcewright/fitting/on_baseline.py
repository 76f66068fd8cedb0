"""Fits on top of a baseline: what it predicts is subtracted from the labels, and is no part of what is fitted.

Every frame's energy, forces and virial of the baseline are computed once. A linear fit takes them like the core of its
basis, as part of the rows' offset; a family with a fit of its own is handed labels without them. Either way errors are
those of the sum.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forcewright.data.findings import locate
from forcewright.data.reference_energies import is_isolated_atom
from forcewright.errors import ForcewrightError, InputError
from forcewright.features.row_cache import KeptRows, Rows
from forcewright.models.baseline import baseline_name, with_baseline
from forcewright.models.baseline_settings import baseline_of
from forcewright.potential import Basis, DesignRows, Potential, Prediction
from forcewright.structure import Dataset, FloatArray, Frame, Labels, Structure, from_voigt, to_voigt

log = logging.getLogger("forcewright.data")  # the command line shows this part of the log


@dataclass(frozen=True, eq=False)
class Baseline:
    """A baseline and what it predicts of the frames of a study.

    Attributes
    ----------
    potential
        The baseline.
    parts
        Its energy (eV), forces (eV/Å) and virial (eV) of each structure, by content: vectors of 1 + 3N + 6 numbers in
        the order of `DesignRows.offset`.
    """

    potential: Potential
    parts: Mapping[str, FloatArray]

    @property
    def name(self) -> str:
        """What reports call it."""
        return baseline_name(self.potential)

    def subtracted(self, dataset: Dataset) -> Dataset:
        """Return the dataset with the baseline's part taken out of its labels."""
        frames = [self._labelled(frame) for frame in dataset]
        return replace(dataset, frames=tuple(frames))

    def _labelled(self, frame: Frame) -> Frame:
        structure, labels, origin = frame
        part = self.prediction(structure)
        return Frame(
            structure,
            Labels(
                None if labels.energy is None else labels.energy - part.energy,
                None if labels.forces is None or part.forces is None else labels.forces - part.forces,
                None if labels.stress is None or part.stress is None else labels.stress - part.stress,
                labels.group, labels.info,
            ),
            origin,
        )  # fmt: skip

    def prediction(self, structure: Structure) -> Prediction:
        """Return what the baseline predicts of a structure of the study."""
        part = self.parts[structure.content_hash]
        stress = -from_voigt(part[-6:]) / structure.volume if structure.volume > 0 else None
        return Prediction(float(part[0]), part[1:-6].reshape(-1, 3), stress)

    def added(
        self, structures: Sequence[Structure], predictions: Sequence[Prediction], sign: float = 1.0
    ) -> list[Prediction]:
        """Return predictions with those of the baseline added, or with sign -1 subtracted."""

        def total(known: FloatArray | None, part: FloatArray | None) -> FloatArray | None:
            return None if known is None or part is None else known + sign * part

        parts = map(self.prediction, structures)
        return [
            Prediction(p.energy + sign * part.energy, total(p.forces, part.forces), total(p.stress, part.stress))
            for p, part in zip(predictions, parts, strict=True)
        ]

    def completed(self, fitted: Potential) -> Potential:
        """Return a fitted potential with the baseline."""
        return with_baseline(fitted, self.potential)


@dataclass(frozen=True)
class BaselineRows:
    """Design rows whose offset holds the baseline, for the frames of a study; those of any others stay as they are."""

    kept: KeptRows
    baseline: Baseline

    def rows_of(self, basis: Basis) -> Rows:
        """Return a function that gives the rows of a structure."""
        rows, parts = self.kept.rows_of(basis), self.baseline.parts

        def on_baseline(structure: Structure) -> DesignRows:
            plain, part = rows(structure), parts.get(structure.content_hash)
            return plain if part is None else plain._replace(offset=plain.offset + part)

        return on_baseline

    def prune(self) -> None:
        """Let go of what was used longest ago, down to the limit."""
        self.kept.prune()


def baseline_for(source: Any, sets: Sequence[Dataset | None]) -> Baseline | None:
    """Return the baseline that a config names, with its predictions of all frames; None where it names none.

    Parameters
    ----------
    source
        What stands behind ``baseline``.
    sets
        Everything that is fitted to or validated on.

    Raises
    ------
    InputError
        If there is no such potential, or it does not take a frame, which is named. Isolated atoms aside: one that the
        baseline refuses has none of it.
    """
    if source is None:
        return None
    potential = baseline_of(source)
    parts: dict[str, FloatArray] = {}
    for dataset in sets:
        for index, frame in enumerate(dataset or ()):
            if frame.structure.content_hash not in parts:
                parts[frame.structure.content_hash] = _part(potential, frame, index)
    log.info("baseline: %s, subtracted from the labels of %d frames", baseline_name(potential), len(parts))
    return Baseline(potential, parts)


def _part(potential: Potential, frame: Frame, index: int) -> FloatArray:
    structure = frame.structure
    try:
        (predicted,) = potential.predict([structure])
    except ForcewrightError as error:
        if is_isolated_atom(frame) and isinstance(error, InputError):
            return np.zeros(1 + 3 * len(structure) + 6)
        reason = error.problem if isinstance(error, InputError) else str(error)
        raise InputError(f"the baseline ({baseline_name(potential)}) refuses the frame: it {reason}",
                         field="baseline", **locate(frame, index)) from None  # fmt: skip
    if predicted.forces is None:
        raise InputError(f"({baseline_name(potential)}) predicts no forces", field="baseline")
    virial = np.zeros(6) if predicted.stress is None else -to_voigt(predicted.stress) * structure.volume
    part = np.concatenate([[predicted.energy], predicted.forces.ravel(), virial])
    if not np.isfinite(part).all():
        raise InputError(f"the baseline ({baseline_name(potential)}) is not finite for the frame", field="baseline",
                         **locate(frame, index))  # fmt: skip
    return part
