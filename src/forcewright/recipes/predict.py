"""Predict structures with a potential, and judge it where they carry labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.accuracy.errors import ErrorTable, check_species, compare
from forcewright.accuracy.errors import evaluate as evaluate_dataset
from forcewright.data import Sources, write
from forcewright.data.formats import writer_of
from forcewright.data.frame_checks import check_coincidence
from forcewright.data.labelling import PREDICTED
from forcewright.errors import InputError
from forcewright.files import as_path
from forcewright.models import load
from forcewright.potential import Graded, Potential, Prediction
from forcewright.recipes.extrapolation import Extrapolation, extrapolation_of
from forcewright.recipes.reading import read_structures
from forcewright.reference.identity import identify
from forcewright.structure import Dataset, FloatArray, Frame, Labels
from forcewright.tables import Tabular


@dataclass(frozen=True, eq=False, repr=False)
class Predicted(Tabular):
    """Predictions of structures.

    Attributes
    ----------
    dataset
        The structures with the labels they came with. ``labels.info`` holds what was predicted of a whole frame,
        ``forcewright_energy`` (eV) and ``forcewright_stress`` (nine numbers, eV/Å³).
    predictions
        What the potential said of each.
    errors
        How far it is off; None where no structure carries a label.
    extrapolation
        How far the frames lie outside what the potential was fitted to; None where it does not know.
    """

    dataset: Dataset
    predictions: tuple[Prediction, ...]
    errors: ErrorTable | None
    extrapolation: Extrapolation | None = None

    def __repr__(self) -> str:
        against = "no labels to compare with" if self.errors is None else repr(self.errors)
        known = self.extrapolation
        outside = "" if known is None or known.uncertainty.calibration is None else f"; {known.outside} outside"
        return f"Predicted({len(self.dataset)} frames; {against}{outside})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each frame: what is known of it, and what was predicted."""
        return [
            {
                **row, "predicted_energy_eV": predicted.energy,
                "predicted_largest_force_eV_per_A": None if predicted.forces is None
                else float(np.linalg.norm(predicted.forces, axis=1).max()),
            }
            for row, predicted in zip(self.dataset.to_rows(), self.predictions, strict=True)
        ]  # fmt: skip


def predict(
    potential: str | Path | Potential, structures: Sources, output: str | Path | None = None, *,
    labels: Mapping[str, str] | None = None, grades: bool = False, uncertainty: str | None = None,
) -> Predicted:  # fmt: skip
    """Predict structures and compare the predictions with what labels there are.

    Parameters
    ----------
    potential
        A potential, or where it is saved.
    structures, labels
        As `forcewright.read` takes them.
    output
        File for the predictions, .extxyz or .db; nothing is written where it is not given. They stand under names of
        their own, ``forcewright_energy``, ``forcewright_forces`` and ``forcewright_stress``, beside the labels that
        were there, and ``forcewright_potential`` is the potential's hash: nothing takes them for a reference.
    grades
        Whether every predicted frame also tells its largest extrapolation grade (``max_extrapolation_grade``).
    uncertainty
        Kind of uncertainty that frames are judged by: grade, variance, committee, standard_error, distance or rematch.
        That of each atom is then written as well (``forcewright_uncertainty``), and what 1 % of frames like the
        training data exceed (``forcewright_uncertainty_limit``).

    Raises
    ------
    InputError
        If the potential or a file cannot be read, or a frame holds an element the potential does not know,
        or grades are asked of a potential that has no active set, or an uncertainty that it does not know.
    """
    if output is None:
        model, content_hash = _load(potential), ""
    else:
        writer_of(as_path(output), columns=[f"{PREDICTED}forces"])  # refused now rather than after all was computed
        model, _, content_hash = identify(potential)
    dataset = read_structures(structures, labels=labels)
    _check(model, dataset)
    predictions = model.predict(dataset.structures)
    graded = isinstance(model, Graded) and model.knows_grades
    if grades and not graded:
        file = potential if isinstance(potential, str | Path) else None
        raise InputError("knows no extrapolation grades; ACE and SNAP potentials fitted here do", file=file)
    if grades and uncertainty not in (None, "grade"):
        raise InputError(f"is {uncertainty}; grades are another uncertainty, ask for one of them", field="uncertainty")
    extrapolation = extrapolation_of(model, dataset, "grade" if grades else uncertainty)
    infos = [_info(known, p) for known, p in zip(dataset.labels, predictions, strict=True)]
    if grades and extrapolation is not None:
        for info, judged in zip(infos, extrapolation.frames, strict=True):
            info["max_extrapolation_grade"] = judged.largest
    columns = [_columns(p) for p in predictions]
    if uncertainty is not None and extrapolation is not None:
        for info, column, atoms, of_frame in zip(
            infos, columns, extrapolation.atoms, extrapolation.frames, strict=True
        ):
            info[f"{PREDICTED}uncertainty_kind"] = uncertainty
            info |= {} if of_frame.limit is None else {f"{PREDICTED}uncertainty_limit": of_frame.limit}
            column[f"{PREDICTED}uncertainty"] = atoms[:, None]
    if output is not None:
        infos = [{**info, f"{PREDICTED}potential": content_hash} for info in infos]
    frames = tuple(
        Frame(structure, Labels(known.energy, known.forces, known.stress, known.group, info), origin)
        for (structure, known, origin), info in zip(dataset, infos, strict=True)
    )
    predicted = Dataset(frames, dataset.name)
    if output is not None:
        write(predicted, output, columns=columns)
    labelled = any(dataset.count_labels().values())
    table = compare(dataset, predictions, rng=np.random.default_rng(0)) if labelled else None
    return Predicted(predicted, tuple(predictions), table, extrapolation)


def _info(known: Labels, predicted: Prediction) -> dict[str, Any]:
    """Return what travels along with a frame, with its own prediction in place of an earlier one."""
    earlier = (PREDICTED, "max_extrapolation_grade")
    info = {key: value for key, value in known.info.items() if not key.startswith(earlier)}
    info[f"{PREDICTED}energy"] = predicted.energy
    if predicted.stress is not None:
        info[f"{PREDICTED}stress"] = predicted.stress.ravel().tolist()
    return info


def _columns(predicted: Prediction) -> dict[str, FloatArray]:
    return {} if predicted.forces is None else {f"{PREDICTED}forces": predicted.forces}


def evaluate(
    potential: str | Path | Potential, structures: Sources, *, labels: Mapping[str, str] | None = None,
    rng: np.random.Generator | int | None = None, resamples: int = 1000,
) -> ErrorTable:  # fmt: skip
    """Predict labelled structures and return the errors, overall and per group.

    Parameters
    ----------
    potential
        A potential, or where it is saved.
    structures, labels
        As `forcewright.read` takes them.
    rng, resamples
        For standard errors by a bootstrap over frames, a generator or its seed; without ``rng`` there are none.

    Raises
    ------
    InputError
        If a file cannot be read, or a frame has an element the potential does not know.
    """
    generator = None if rng is None else np.random.default_rng(rng)
    dataset = read_structures(structures, labels=labels)
    model = _load(potential)
    _check(model, dataset)
    return evaluate_dataset(model, dataset, rng=generator, resamples=resamples)


def _check(model: Potential, dataset: Dataset) -> None:
    """Refuse what no potential can predict, by file and frame."""
    check_species(model, dataset)
    for index, frame in enumerate(dataset):
        for finding in check_coincidence(frame, index):
            raise finding.to_error()


def _load(potential: str | Path | Potential) -> Potential:
    if isinstance(potential, str | Path):
        return load(potential)
    if not isinstance(potential, Potential):
        raise InputError(f"is a {type(potential).__name__}; give a potential, or where one is saved", field="potential")
    return potential
