"""Tune: from a config to the best potential it allows, judged honestly, with everything written down.

The steps, in order: read and check the data; search (a `Study` whose objective is `setting.evaluate_setting`, or
`black_box.evaluate_black_box` for a family with a fit of its own); refit the winner and predict every validation frame
by a fit that has not seen it; touch the test set once; write.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from forcewright.errors import InputError
from forcewright.models import FAMILIES
from forcewright.optimize.journal import TrialRecord
from forcewright.optimize.space import Space
from forcewright.optimize.study import Study, best_of, eligible
from forcewright.optimize.workers import process_pool
from forcewright.recipes.black_box import (
    BlackBox,
    black_box,
    evaluate_black_box,
    finish_black_box,
    receive_black_box,
)
from forcewright.recipes.config import TuneConfig, is_black_box, parse_config, read_config, split_model
from forcewright.recipes.inputs import Inputs, make_problem, read_inputs
from forcewright.recipes.outputs import TuneResult, limit_warnings, stored_result, write_outputs
from forcewright.recipes.refit import finish, nested_errors
from forcewright.recipes.resources import ResourceMonitor
from forcewright.recipes.setting import Problem, evaluate_setting, receive_problem

log = logging.getLogger("forcewright")
Listener = Callable[[TrialRecord, int], None]


def tune(
    config: str | Path | Mapping[str, Any] | TuneConfig, *, fresh: bool = False, on_trial: Listener | None = None
) -> TuneResult:
    """Run or resume the study of a config and write its results to the config's output folder.

    A study that has finished with the same config and data is not refitted: what it has left is returned.

    Parameters
    ----------
    config
        A YAML file, or its content (paths are then relative to the working directory).
    fresh
        Discard the trials of an earlier run in the output folder.
    on_trial
        Called with every finished trial and the number of trials wanted, those of earlier runs first.

    Raises
    ------
    InputError
        If the config or the data are not usable, or the output folder holds a study of another config.
    """
    settings = _as_config(config)
    ranges = split_model(settings.model)
    try:
        settings.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made: {error}; choose another output", file=settings.output) from None
    with ResourceMonitor() as monitor, _logging_to(settings.output / "forcewright.log"):
        inputs = read_inputs(settings)
        problem = replace(make_problem(settings, inputs), alone=not ranges)
        if fresh:  # only now: a mistake in the data must not cost the earlier results
            _discard(settings.output)
        box = black_box(settings, inputs, problem) if is_black_box(settings.model) else None
        with _open_study(settings, ranges, inputs) as study:
            earlier = sum(trial.seconds for trial in study.trials)
            trials = _search(study, problem, box, on_trial)
            if (stored := stored_result(settings, trials)) is not None:
                log.info("finished before with the same config and data, and taken as it is")
                return stored
            importance = study.importances() if sum(t.loss is not None for t in trials) > 3 else {}
            best = best_of(trials, settings.study.limits)
        for warning in limit_warnings(settings, best):
            log.warning("%s", warning)
        log.info("best setting: trial %d, loss %.6g, %s", best.index, best.loss, best.params)
        nested = None
        if box is not None:
            finished = finish_black_box(settings, inputs, box, best)
        else:
            with threadpool_limits(1):  # the matrices are small: more threads only wait for one another
                finished = finish(settings, inputs, problem, best)
                if problem.nested:
                    nested = nested_errors(problem, eligible(trials, settings.study.limits))
        monitor.update()
        return write_outputs(settings, inputs, problem, trials, best, finished, nested, importance, monitor, earlier)


def fit(
    config: str | Path | Mapping[str, Any] | TuneConfig, *, fresh: bool = False, on_trial: Listener | None = None
) -> TuneResult:
    """Do what `tune` does for a model whose hyperparameters are all given; weights and ridge may be ranges.

    Raises
    ------
    InputError
        If a hyperparameter of the model is a range, and as `tune`.
    """
    settings = _as_config(config)
    if ranges := split_model(settings.model):
        raise InputError("is a range; give a number to fit, or use tune to search", field=f"model.{next(iter(ranges))}")
    return tune(settings, fresh=fresh, on_trial=on_trial)


def _as_config(config: str | Path | Mapping[str, Any] | TuneConfig) -> TuneConfig:
    if isinstance(config, TuneConfig):
        return config
    if isinstance(config, Mapping):
        return parse_config(dict(config), folder=Path.cwd())
    return read_config(config)


class _logging_to:
    """Write the package's log to a file while the block runs."""

    def __init__(self, path: Path) -> None:
        self._handler = logging.FileHandler(path, encoding="utf-8", delay=True)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def __enter__(self) -> None:
        self._level = log.level
        log.setLevel(logging.INFO)
        log.addHandler(self._handler)

    def __exit__(self, *_: object) -> None:
        log.removeHandler(self._handler)
        log.setLevel(self._level)
        self._handler.close()


def _discard(output: Path) -> None:
    for name in ("journal.log", "journal.log.lock", "result.json", "trials.csv", "report.html", "config.resolved.yaml"):
        (output / name).unlink(missing_ok=True)
    for name in ("potential", "cache", "predictions"):
        shutil.rmtree(output / name, ignore_errors=True)


def fingerprint(settings: TuneConfig, inputs: Inputs) -> str:
    """Return a hash of everything the losses depend on: data by content, model, weights, loss, protocol."""
    content = settings.model_dump(
        mode="json",
        include={"model", "weights", "ridge", "loss", "search", "protocol", "reference_energies", "validation"},
    )
    content["validation"].pop("external")
    if settings.prior != "free":  # the default is left out, so that studies begun before there was a prior go on
        content["prior"] = settings.model_dump(mode="json")["prior"]
    sets = (inputs.train, inputs.external, inputs.test if settings.protocol == "xpot" else None)
    content["data"] = [None if dataset is None else dataset.content_hash for dataset in sets]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _open_study(settings: TuneConfig, ranges: Mapping[str, Any], inputs: Inputs) -> Study:
    study_settings = settings.study.searched()
    if not ranges:  # nothing to search outside weights and ridge: one setting
        study_settings = study_settings.model_copy(update={"trials": 1, "initial": 1, "sampler": "random"})
    return Study(Space(ranges), settings.output / "journal.log", study_settings, fingerprint(settings, inputs))


def _search(study: Study, problem: Problem, box: BlackBox | None, on_trial: Listener | None) -> list[TrialRecord]:
    wanted = study.settings.trials
    for record in study.trials:
        if on_trial is not None:
            on_trial(record, wanted)

    def finished(record: TrialRecord) -> None:
        cost = record.metrics.get("cost_us_per_atom")
        text = f"loss {record.loss:.6g}" if record.loss is not None else record.error
        text = f"{text}, {cost:.3g} µs/atom" if cost else text
        log.info("trial %d (%s): %s, %s, %.1f s", record.index, record.phase, record.params, text, record.seconds)
        if on_trial is not None:
            on_trial(record, wanted)

    objective = evaluate_setting if box is None else evaluate_black_box

    def pool() -> Executor:
        if box is None:
            return process_pool(problem.workers, receive_problem, (problem, dict(FAMILIES)))
        return process_pool(problem.workers, receive_black_box, (box,))

    return study.run(objective, pool, finished, in_flight=problem.workers)
