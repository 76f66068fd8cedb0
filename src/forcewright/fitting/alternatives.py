"""What a model leaves open, such as ACE's radial family, is settled by short fits to a few training frames.

Every alternative is cross-validated on the same frames, with one set of weights for all groups; the first whose loss is
within one percent of the least is taken. Trials then have it as if the config had said so. Groups that validation
leaves out have no part in it; where nothing remains without them, each is predicted by fits that have not seen it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from forcewright.data import kfold
from forcewright.errors import ForcewrightError
from forcewright.features.row_cache import RowMemory
from forcewright.files import write_json
from forcewright.fitting.hyperparameters import search_ranges
from forcewright.fitting.linear_trial import fit_linear
from forcewright.fitting.problem import Problem
from forcewright.models.family import Alternative, Family, LinearHyperparameters
from forcewright.optimize.space import Categorical, Range
from forcewright.plain_data import parse_json
from forcewright.structure import Dataset, IntArray

log = logging.getLogger("forcewright.data")  # the command line shows this part of the log

_ATOMS = 2000  # for each element, in the frames that alternatives are fitted to, about
_FEWEST = 8  # frames
_FOLDS = 4
_TIE = 1.01  # losses that differ by less are alike: the first is taken
_CACHE = 10**9  # bytes of design rows


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes
    ----------
    chosen
        The alternative in words.
    model
        What it settles in the model's config.
    losses
        Validation loss of each alternative in words; None where its fit failed.
    frames
        Number of frames they were fitted to.
    """

    chosen: str
    model: dict[str, Any]
    losses: dict[str, float | None]
    frames: int


def settle_model(problem: Problem, stored: Path | None = None) -> Problem:
    """Return the problem with what its model leaves open settled.

    Parameters
    ----------
    stored
        File that keeps the choice: a study that goes on elsewhere has the same.

    Raises
    ------
    ForcewrightError
        If every alternative fails.
    """
    if not (alternatives := _alternatives(problem.family, problem.model)):
        return problem
    tried = [dict(alternative.tried) for alternative in alternatives]
    content: list[Any] = [problem.everything.content_hash, tried, asdict(problem.loss.weights), problem.seed]
    if problem.settings.validation.leave_out is not None:
        content.append(problem.settings.validation.leave_out)
    key = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    choice = None if stored is None else _stored_choice(stored, key)
    if choice is None:
        with threadpool_limits(1):
            choice = _choose(problem, alternatives)
        if stored is not None:
            write_json(stored, {"key": key, **asdict(choice)})
    losses = ", ".join(
        f"{words} fails" if loss is None else f"{words} {loss:.3g}" for words, loss in choice.losses.items()
    )
    log.info("%s: chosen by validation losses on %d frames: %s", choice.chosen, choice.frames, losses)
    return replace(problem, model={**problem.model, **choice.model}, choice=choice)


def has_alternatives(family: Family, model: Mapping[str, Any]) -> bool:
    """Tell whether a model's config leaves something open that `settle_model` settles."""
    return len(_alternatives(family, model)) > 0


def _alternatives(family: Family, model: Mapping[str, Any]) -> list[Alternative]:
    hyperparameters = family.hyperparameters
    return hyperparameters.alternatives(model) if issubclass(hyperparameters, LinearHyperparameters) else []


def _stored_choice(path: Path, key: str) -> Choice | None:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if content.pop("key") == key:
            return Choice(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def _choose(problem: Problem, alternatives: list[Alternative]) -> Choice:
    settings, search = problem.settings, problem.settings.search
    few, folds = _frames_to_try(problem)
    small = replace(
        problem, train=few, everything=few, external=few if folds is None else None,
        folds=np.zeros(len(few), dtype=np.int64) if folds is None else folds,
        rows=problem.rows_in(RowMemory(_CACHE)), is_single=False, frame_equations=None,
        settings=settings.model_copy(update={
            "weights": settings.weights.model_copy(update={"by": "all", "groups": {}}),
            "search": search.model_copy(update={"starts": 1, "evaluations": min(search.evaluations, 15)}),
        }),
    )  # fmt: skip
    losses: dict[str, float | None] = {}
    failure: ForcewrightError | None = None
    for alternative in alternatives:
        problem_here = replace(small, model=dict(alternative.tried))
        try:
            trial = fit_linear(problem_here, _middle(search_ranges(alternative.tried)), 0, iterations=())
            loss = problem_here.loss.of(problem_here.validation, trial.predictions)
        except ForcewrightError as error:
            failure, loss = error, math.nan
        losses[alternative.words] = float(f"{loss:.6g}") if math.isfinite(loss) else None
    known = {words: loss for words, loss in losses.items() if loss is not None}
    if not known:
        raise failure or ForcewrightError("no alternative of the model has a finite loss")
    least = min(known.values())
    chosen = next(a for a in alternatives if a.words in known and known[a.words] <= _TIE * least)
    return Choice(chosen.words, dict(chosen.settled), losses, len(few))


def _frames_to_try(problem: Problem) -> tuple[Dataset, IntArray | None]:
    """Return the frames that alternatives are fitted to, and their folds; None where there is one frame."""
    everything, leave_out = problem.everything, problem.settings.validation.leave_out
    if isinstance(leave_out, Mapping):
        left_out = {group for groups in leave_out.values() for group in groups}
        rest = everything[[k for k, group in enumerate(everything.groups) if group not in left_out]]
        if len(rest) >= _FEWEST and rest.species == everything.species:
            everything, leave_out = rest, None
    chosen = _few(everything)
    few = everything[chosen]
    if leave_out is not None and len(set(dealt := problem.folds[chosen].tolist())) > 1:
        return few, np.array([sorted(set(dealt)).index(fold) for fold in dealt], dtype=np.int64)
    if len(few) < 2:
        return few, None
    return few, kfold(few, min(_FOLDS, len(few)), rng=np.random.default_rng([problem.seed, 8]))


def _middle(ranges: Mapping[str, Range]) -> dict[str, Any]:
    """Return the middle of each range, and the first of several choices."""
    return {name: r.choices[0] if isinstance(r, Categorical) else r.from_unit(0.5) for name, r in ranges.items()}


def few_frames(dataset: Dataset) -> Dataset:
    """Return frames spread evenly over the groups, of about 2,000 atoms per element, that hold every element.

    Fewer favor, among functions of many elements, whatever extrapolates least wrongly.
    """
    return dataset[_few(dataset)]


def _few(dataset: Dataset) -> list[int]:
    """Return the indices of `few_frames`."""
    sizes = [len(structure) for structure in dataset.structures]
    count = min(len(dataset), max(_FEWEST, int(_ATOMS * len(dataset.species) / float(np.mean(sizes)))))
    order = np.argsort(np.array(dataset.groups), kind="stable")
    chosen = set(order[np.linspace(0, len(order) - 1, count).round().astype(int)].tolist())
    missing = set(dataset.species) - {int(z) for i in chosen for z in dataset[i].structure.numbers}
    for i, structure in enumerate(dataset.structures):
        if missing & {int(z) for z in structure.numbers}:
            chosen.add(i)
            missing -= {int(z) for z in structure.numbers}
    return sorted(chosen)
