"""Predict the structures of files with a saved potential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from forcewright.data import read, write
from forcewright.models import load
from forcewright.structure import Dataset, Frame, Labels
from forcewright.validate.errors import ErrorTable, check_species, compare


def predict(
    potential: Path, files: Sequence[Path], output: Path | None = None, labels: Mapping[str, str] | None = None
) -> tuple[ErrorTable | None, int]:
    """Predict every frame of the files; write the predictions and compare them with what labels there are.

    Returns
    -------
    table
        Errors, or None where no frame carries a label.
    count
        Number of frames predicted.

    Raises
    ------
    InputError
        If the potential or a file cannot be read, or a frame holds an element the potential does not know.
    """
    model = load(potential)
    dataset = read(list(files), labels=dict(labels) if labels else None, require_energy=False)
    check_species(model, dataset)
    predictions = model.predict(dataset.structures)
    if output is not None:
        frames = tuple(
            Frame(structure, Labels(p.energy, p.forces, p.stress, known.group, known.info), origin)
            for (structure, known, origin), p in zip(dataset, predictions, strict=True)
        )
        write(Dataset(frames, dataset.name), output)
    if not any(dataset.count_labels().values()):
        return None, len(dataset)
    return compare(dataset, predictions, rng=np.random.default_rng(0)), len(dataset)
