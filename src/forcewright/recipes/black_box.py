"""One setting of a family that has a fit of its own: fit without each part, predict that part, judge.

Nothing is asked of such a family but `forcewright.potential.Fitter`. Runs in worker processes. A fit draws its random
numbers from the seed, the setting and the part of the data it leaves out, never from the order of trials.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from forcewright.accuracy.errors import check_species, compare
from forcewright.accuracy.errors import evaluate as errors_of
from forcewright.errors import InputError
from forcewright.files import atomic_write, write_arrays
from forcewright.models import FAMILIES, family_of, load, register_families
from forcewright.models.linear import LABEL_OF
from forcewright.optimize.evaluation import WORKER_DIED, StudyError
from forcewright.optimize.journal import TrialRecord
from forcewright.optimize.workers import Outcome, evaluate, process_pool
from forcewright.potential import Graded, Potential, Prediction
from forcewright.recipes.config import TuneConfig, fill_model
from forcewright.recipes.inputs import Inputs
from forcewright.recipes.refit import Finished
from forcewright.recipes.setting import Problem, loss_of, time_per_atom
from forcewright.structure import Dataset, from_voigt, to_voigt

_EVERYTHING = "everything"
_FIT_S = ".fit_s"  # beside a stored potential: the time of its fit, where that was none of the trial's


@dataclass(frozen=True, eq=False)
class BlackBox:
    """What workers need to fit a family by its own fit.

    Parameters
    ----------
    problem
        Data, splits, loss; what is in it about normal equations is not used.
    isolated
        Isolated atoms that belong to every training part and are never judged.
    everything
        What the final fit takes, beside the isolated atoms.
    folder
        Where predictions of trials are kept until the end of the study.
    homes
        Where the families are found, including those registered at run time, which a new process does not know.
    threads
        Threads of each fit.
    """

    problem: Problem
    isolated: Dataset
    everything: Dataset
    folder: Path
    homes: Mapping[str, str]
    threads: int

    @property
    def fits_once(self) -> bool:
        """Whether the fit that is judged is the final fit: a set apart judges, and all training data are fitted."""
        return self.problem.external is not None and len(self.problem.train) == len(self.everything)


def black_box(settings: TuneConfig, inputs: Inputs, problem: Problem) -> BlackBox:
    """Return what the workers of a study need."""
    folder = settings.output / "predictions"
    takes_them = family_of(str(settings.model["kind"])).takes_isolated_atoms
    isolated = inputs.isolated if takes_them else inputs.isolated[:0]
    return BlackBox(problem, isolated, inputs.train, folder, dict(FAMILIES), settings.threads)


_BOX: list[BlackBox] = []  # set once in each worker process


def receive_black_box(box: BlackBox) -> None:
    """Keep the problem in this worker process, and let libraries and programs that it starts use its threads."""
    _BOX[:] = [box]
    register_families(box.homes)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(box.threads)
    threadpool_limits(box.threads)


def evaluate_black_box(params: dict[str, Any], index: int) -> Outcome:
    """Fit and judge one setting in a worker that has received its problem; the study's objective."""
    box = _BOX[0]
    problem = box.problem
    model = fill_model(problem.model, params)
    predictions: list[Prediction | None] = [None] * len(problem.judged)
    fit_s, cost = [], 0.0
    for name, train, judged in _parts(box):
        start = time.perf_counter()
        potential = model.fit(train, rng=generator(problem.seed, params, name))
        fit_s.append(time.perf_counter() - start)
        if box.fits_once:
            _store(potential, box.folder / _key(params))
        for i, prediction in zip(judged, _predict(potential, problem.judged[judged]), strict=True):
            predictions[i] = prediction
        cost = cost or time_per_atom(potential, max(problem.train.structures, key=len))
    complete = [prediction for prediction in predictions if prediction is not None]
    _require_what_is_judged(problem, complete)
    table = compare(problem.judged, complete)
    save_predictions(box.folder / f"{_key(params)}.npz", complete)
    values = {
        "errors": table.to_dict(), "evaluations": len(fit_s), "fit_s": sum(fit_s), "cost_us_per_atom": cost,
    }  # fmt: skip
    return Outcome(loss_of(problem, complete), values)


def _parts(box: BlackBox) -> list[tuple[str, Dataset, NDArray[np.int64]]]:
    """Return name, training data and indices of the judged frames of each fit."""
    problem = box.problem
    if problem.external is not None:
        return [(_EVERYTHING, problem.train + box.isolated, np.arange(len(problem.external)))]
    folds = range(int(problem.splits.max()) + 1)
    return [
        (f"without fold {k}", problem.train[problem.splits != k] + box.isolated, np.flatnonzero(problem.splits == k))
        for k in folds
    ]


def generator(seed: int, params: Mapping[str, Any], part: str) -> np.random.Generator:
    """Return the random numbers of one fit, decided by the seed, the setting and the part alone."""
    digest = hashlib.sha256(json.dumps([dict(params), part], sort_keys=True).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "big")])


def _predict(potential: Potential, dataset: Dataset) -> list[Prediction]:
    check_species(potential, dataset)
    counts = dataset.count_labels()
    return potential.predict(dataset.structures, forces=counts["forces"] > 0, stress=counts["stress"] > 0)


def _require_what_is_judged(problem: Problem, predictions: Sequence[Prediction]) -> None:
    field = {"energy": "energy", "force": "forces", "stress": "stress"}
    for name in problem.judged_properties:
        labelled = (getattr(labels, LABEL_OF[name]) is not None for labels in problem.judged.labels)
        pairs = zip(labelled, predictions, strict=True)
        if not any(known and getattr(prediction, field[name]) is not None for known, prediction in pairs):
            raise InputError(f"asks for a {name} that {problem.model['kind']} does not predict", field="loss")


def _key(params: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(params), sort_keys=True).encode()).hexdigest()[:16]


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


def save_predictions(path: Path, predictions: Sequence[Prediction]) -> Path:
    """Write predictions to a compressed NPZ file; what was not predicted is NaN."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = [0 if p.forces is None else len(p.forces) for p in predictions]
    forces = [p.forces for p in predictions if p.forces is not None]
    stress = [np.full(6, np.nan) if p.stress is None else to_voigt(p.stress) for p in predictions]
    arrays = {
        "energy": np.array([p.energy for p in predictions]), "sizes": np.array(sizes, dtype=np.int64),
        "forces": np.concatenate(forces) if forces else np.zeros((0, 3)), "stress": np.array(stress),
    }  # fmt: skip
    return write_arrays(path, arrays, compressed=True)


def load_predictions(path: Path) -> list[Prediction]:
    """Read what `save_predictions` wrote."""
    with np.load(path, allow_pickle=False) as content:
        energy, sizes, forces, stress = (content[name] for name in ("energy", "sizes", "forces", "stress"))
    ends = np.cumsum(sizes)
    return [
        Prediction(
            float(energy[i]), forces[end - size : end] if size else None,
            None if np.isnan(stress[i]).any() else from_voigt(stress[i]),
        )
        for i, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------- the final fit


def fit_everything(params: dict[str, Any], index: int) -> Outcome:
    """Fit one setting to all training data in a worker, and leave the potential in its folder."""
    box = _BOX[0]
    folder = box.folder / _key(params)
    start = time.perf_counter()
    train = box.everything + box.isolated
    model = fill_model(box.problem.model, params)
    potential: Potential = model.fit(train, rng=generator(box.problem.seed, params, _EVERYTHING))
    seconds = time.perf_counter() - start
    if isinstance(potential, Graded):
        potential = potential.with_active_set(box.everything.structures)
    _store(potential, folder, seconds)
    return Outcome(0.0, {"fit_s": seconds})


def finish_black_box(settings: TuneConfig, inputs: Inputs, box: BlackBox, best: TrialRecord) -> Finished:
    """Fit the winner to all training data, judge it by fits that have not seen the frames, touch the test set once.

    The fit runs in a worker process: one that breaks or needs too much memory leaves the study standing.

    Raises
    ------
    StudyError
        If the fit to all training data fails.
    """
    fitted, predicted = box.folder / _key(best.params), box.folder / f"{_key(best.params)}.npz"
    seconds = float(best.metrics["fit_s"])
    if not predicted.exists():  # an earlier run of the study removed what was not its winner
        _in_worker(box, evaluate_black_box, best, "the fits without each part")
    if not fitted.exists():
        _in_worker(box, fit_everything, best, "the fit to all training data")
    if (stored := fitted / _FIT_S).exists():
        seconds = float(stored.read_text())
    potential = load(fitted, allow_commands=True)  # those of this study's own configuration
    rng = np.random.default_rng([settings.study.seed, 2])
    validation = compare(box.problem.judged, load_predictions(predicted), rng=rng)
    test = None if inputs.test is None else errors_of(potential, inputs.test, rng=rng)
    cost = float(best.metrics["cost_us_per_atom"])  # measured in a worker, with the threads of the config
    _keep_only(box.folder, {fitted.name, predicted.name})
    anchor = "as its own fit settles them"
    if len(box.isolated):
        anchor += ", with the isolated atoms among its training data"
    return Finished(potential, None, validation, test, cost, anchor, seconds)


def _in_worker(box: BlackBox, objective: Any, best: TrialRecord, what: str) -> Mapping[str, Any]:
    """Run an objective on the winner in a process of its own and return its metrics."""
    pool = process_pool(1, receive_black_box, (box,))
    try:
        told = pool.submit(evaluate, objective, best.params, best.index).result()
    except BrokenExecutor:
        raise StudyError(f"{what} failed: {WORKER_DIED}") from None
    except BaseException:
        pool.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]
        raise
    pool.shutdown(wait=True)
    if told.error is not None:
        raise StudyError(f"{what} failed for trial {best.index}: {told.error}")
    return told.metrics


def _keep_only(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in names:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
