"""Predict the structures of files with a saved potential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from forcewright.accuracy.errors import ErrorTable, check_species, compare
from forcewright.data import read, write
from forcewright.errors import InputError
from forcewright.models import load
from forcewright.potential import Graded, Potential
from forcewright.structure import Dataset, Frame, Labels


def predict(
    potential: Path,
    files: Sequence[Path],
    output: Path | None = None,
    labels: Mapping[str, str] | None = None,
    grades: bool = False,
) -> tuple[ErrorTable | None, int]:
    """Predict every frame of the files; write the predictions and compare them with what labels there are.

    With ``grades`` every written frame also tells its largest extrapolation grade (``max_extrapolation_grade``).

    Returns
    -------
    table
        Errors, or None where no frame carries a label.
    count
        Number of frames predicted.

    Raises
    ------
    InputError
        If the potential or a file cannot be read, or a frame holds an element the potential does not know,
        or grades are asked of a potential that has no active set.
    """
    model = load(potential)
    dataset = read(list(files), labels=dict(labels) if labels else None, require_energy=False)
    check_species(model, dataset)
    predictions = model.predict(dataset.structures)
    if grades and not isinstance(model, Graded):
        raise InputError("knows no extrapolation grades; ACE potentials fitted here do", file=potential)
    if output is not None:
        frames = tuple(
            Frame(structure, Labels(p.energy, p.forces, p.stress, known.group, {**known.info, **told}), origin)
            for (structure, known, origin), p, told in zip(
                dataset, predictions, _grades(model, dataset, grades), strict=True
            )
        )
        write(Dataset(frames, dataset.name), output)
    if not any(dataset.count_labels().values()):
        return None, len(dataset)
    return compare(dataset, predictions, rng=np.random.default_rng(0)), len(dataset)


def _grades(model: Potential, dataset: Dataset, asked: bool) -> list[dict[str, float]]:
    """Return the largest extrapolation grade of each frame by name, or nothing where it is not asked for."""
    if not (asked and isinstance(model, Graded)):
        return [{} for _ in range(len(dataset))]
    return [{"max_extrapolation_grade": float(model.extrapolation_grades(s).max())} for s in dataset.structures]
