"""One trial of a family that has a fit of its own: fit without each part of the data, predict that part, validate.

Nothing is asked of such a family but a fit. A fit draws its random numbers from the seed, the hyperparameters and the
part of the data it leaves out, never from the order of trials.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.accuracy.errors import check_species, compare
from forcewright.errors import InputError
from forcewright.files import atomic_write, read_arrays, write_arrays
from forcewright.fitting.cost import time_per_atom
from forcewright.fitting.hyperparameters import fill_model
from forcewright.fitting.normal_equations import LABEL_OF
from forcewright.fitting.problem import Problem
from forcewright.models import load
from forcewright.models.family import FittedHyperparameters
from forcewright.optimize.workers import Outcome
from forcewright.potential import Graded, Potential, Prediction, Varying
from forcewright.structure import Dataset, FloatArray, IntArray, from_voigt, to_voigt

_EVERYTHING = "everything"
_OF_A_TRIAL = re.compile(r"\.?[0-9a-f]{16}(-\d+|\.npz)?")
_FIT_S = ".fit_s"  # beside a stored potential: the time of its fit, where that was none of the trial's


@dataclass(frozen=True)
class TrialFiles:
    """Where one trial keeps the predictions of its fits and its final potential until the end of the study."""

    folder: Path
    key: str

    @property
    def potential(self) -> Path:
        """Folder of the potential fitted to everything."""
        return self.folder / self.key

    @property
    def predictions(self) -> Path:
        """File of the predictions of the validation frames."""
        return self.folder / f"{self.key}.npz"

    def remove_others(self) -> None:
        """Remove what other trials left; a file of any other name is somebody's own."""
        for path in self.folder.iterdir():
            if _OF_A_TRIAL.fullmatch(path.name) and path not in (self.potential, self.predictions):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def trial_files(problem: Problem, params: Mapping[str, Any]) -> TrialFiles:
    """Return where a trial keeps its files."""
    key = hashlib.sha256(json.dumps(dict(params), sort_keys=True).encode()).hexdigest()[:16]
    return TrialFiles(problem.scratch / "predictions", key)


def evaluate_family_fit(problem: Problem, params: Mapping[str, Any]) -> Outcome:
    """Return the loss of one trial, with what is worth keeping beside it; its predictions stay in its files."""
    model = fill_model(problem.model, params)
    assert isinstance(model, FittedHyperparameters)
    files = trial_files(problem, params)
    validation = problem.validation
    predictions: list[Prediction | None] = [None] * len(validation)
    uncertainties: list[FloatArray] = [np.zeros(0)] * len(validation)
    fit_s, cost = [], 0.0
    for name, train, held in _parts(problem):
        start = time.perf_counter()
        potential = _fitted(problem, model, train, generator(problem.seed, params, name))
        fit_s.append(time.perf_counter() - start)
        # a set apart validates, and all training data are fitted: this is the final fit as well
        if problem.external is not None and len(problem.train) == len(problem.everything):
            _store(potential, files.potential)
        for i, prediction in zip(held, predict_labelled(potential, validation[held]), strict=True):
            predictions[i] = prediction
        if isinstance(potential, Varying):
            for i in held.tolist():
                uncertainties[i] = potential.atomic_standard_deviations(validation[i].structure)
        cost = cost or time_per_atom(potential, max(problem.train.structures, key=len))
    complete = [prediction for prediction in predictions if prediction is not None]
    _require_what_the_loss_counts(problem, complete)
    save_predictions(files.predictions, complete, uncertainties)
    errors = compare(validation, complete).to_dict()
    values = {"errors": errors, "evaluations": len(fit_s), "fit_s": sum(fit_s), "cost_us_per_atom": cost}
    return Outcome(problem.loss.of(validation, complete), values)


def _fitted(
    problem: Problem, model: FittedHyperparameters, train: Dataset, rng: np.random.Generator
) -> Potential:  # fmt: skip
    """Return a potential fitted to frames, on top of the baseline where there is one."""
    fitted = model.fit(problem.labels_to_fit(train), rng=rng)
    return fitted if problem.baseline is None else problem.baseline.completed(fitted)


def fit_everything(problem: Problem, params: Mapping[str, Any]) -> Outcome:
    """Fit to all training data, and leave the potential among the trial's files."""
    start = time.perf_counter()
    model = fill_model(problem.model, params)
    assert isinstance(model, FittedHyperparameters)
    train = problem.everything + problem.isolated
    potential = _fitted(problem, model, train, generator(problem.seed, params, _EVERYTHING))
    seconds = time.perf_counter() - start
    if isinstance(potential, Graded):
        potential = potential.with_active_set(problem.everything.structures)
    _store(potential, trial_files(problem, params).potential, seconds)
    return Outcome(0.0, {"fit_s": seconds})


def load_fitted(problem: Problem, params: Mapping[str, Any], trial_fit_s: float) -> tuple[Potential, float]:
    """Return the potential that `fit_everything` or the trial itself left, and how long its fit took."""
    files = trial_files(problem, params)
    potential = load(files.potential, allow_commands=problem.settings.program, kind=problem.family.kind)
    stored = files.potential / _FIT_S
    return potential, float(stored.read_text()) if stored.exists() else trial_fit_s


def _parts(problem: Problem) -> list[tuple[str, Dataset, IntArray]]:
    """Return name, training data and indices of the validation frames of each fit."""
    if problem.external is not None:
        return [(_EVERYTHING, problem.train + problem.isolated, np.arange(len(problem.external)))]
    folds = problem.folds
    return [
        (f"without fold {k}", problem.train[folds != k] + problem.isolated, np.flatnonzero(folds == k))
        for k in range(problem.fold_count)
    ]


def generator(seed: int, params: Mapping[str, Any], part: str) -> np.random.Generator:
    """Return the random numbers of one fit, decided by the seed, the hyperparameters and the part alone."""
    digest = hashlib.sha256(json.dumps([dict(params), part], sort_keys=True).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "big")])


def predict_labelled(potential: Potential, dataset: Dataset) -> list[Prediction]:
    """Predict a dataset, forces and stresses only where some frame is labelled with them."""
    check_species(potential, dataset)
    counts = dataset.count_labels()
    return potential.predict(dataset.structures, forces=counts["forces"] > 0, stress=counts["stress"] > 0)


def _require_what_the_loss_counts(problem: Problem, predictions: Sequence[Prediction]) -> None:
    pairs = list(zip(problem.validation.labels, predictions, strict=True))
    for name in problem.loss.labelled(problem.validation):
        field = LABEL_OF[name]
        if not any(getattr(known, field) is not None and getattr(p, field) is not None for known, p in pairs):
            raise InputError(f"asks for a {name} that {problem.family.kind} does not predict", field="loss")


def _store(potential: Potential, folder: Path, seconds: float | None = None) -> None:
    """Save a potential so that the folder is there only once it is whole."""
    unfinished = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    potential.save(unfinished)
    if seconds is not None:
        atomic_write(unfinished / _FIT_S, f"{seconds}\n")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


# ---------------------------------------------------------------------------------- predictions on disk


def save_predictions(path: Path, predictions: Sequence[Prediction], uncertainties: Sequence[FloatArray] = ()) -> Path:
    """Write predictions to a compressed NPZ file, with the uncertainties of the atoms of each frame.

    What was not predicted is NaN.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = [0 if p.forces is None else len(p.forces) for p in predictions]
    forces = [p.forces for p in predictions if p.forces is not None]
    stress = [np.full(6, np.nan) if p.stress is None else to_voigt(p.stress) for p in predictions]
    arrays = {
        "energy": np.array([p.energy for p in predictions]), "sizes": np.array(sizes, dtype=np.int64),
        "forces": np.concatenate(forces) if forces else np.zeros((0, 3)), "stress": np.array(stress),
        "uncertainty": np.concatenate([np.zeros(0), *uncertainties]),
        "uncertain_atoms": np.array([len(values) for values in uncertainties], dtype=np.int64),
    }  # fmt: skip
    return write_arrays(path, arrays, compressed=True)


def load_predictions(path: Path) -> list[Prediction]:
    """Read what `save_predictions` wrote."""
    content = read_arrays(path)
    energy, sizes, forces, stress = (content[name] for name in ("energy", "sizes", "forces", "stress"))
    ends = np.cumsum(sizes)
    return [
        Prediction(
            float(energy[i]), forces[end - size : end] if size else None,
            None if np.isnan(stress[i]).any() else from_voigt(stress[i]),
        )
        for i, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]  # fmt: skip


def load_uncertainties(path: Path) -> list[FloatArray]:
    """Return the uncertainties of the atoms of each frame that `save_predictions` wrote; of none where it knew none."""
    content = read_arrays(path)
    if "uncertainty" not in content:  # of an earlier version
        return []
    values, sizes = content["uncertainty"], content["uncertain_atoms"]
    return np.split(values, np.cumsum(sizes)[:-1]) if len(values) else []
