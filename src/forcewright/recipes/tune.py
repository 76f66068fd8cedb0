"""Tune and fit: from labelled structures to the best potential that a config allows, validated honestly.

Both take a config, and write everything to its output folder; or structures in memory, and return a result.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forcewright.configs import validate
from forcewright.data import dataset_of, read, require_forces
from forcewright.data.labelling import UNREAD
from forcewright.errors import InputError
from forcewright.execution.pools import require_executor
from forcewright.execution.settings import executor_from
from forcewright.features.row_cache import RowCache
from forcewright.files import as_path
from forcewright.fitting.alternatives import settle_model
from forcewright.fitting.hyperparameters import search_ranges
from forcewright.fitting.in_memory import conclude, run_study
from forcewright.fitting.problem import Problem, make_problem
from forcewright.fitting.settings import FitSettings
from forcewright.fitting.trials import Listener, Trials, open_study
from forcewright.optimize.journal import study_fingerprint
from forcewright.recipes.config import TuneConfig, as_before, in_earlier_words, parse_config, read_config, with_files
from forcewright.recipes.dos_study import DosConfig
from forcewright.recipes.inputs import Inputs, read_inputs
from forcewright.recipes.outputs import ROWS, TuneResult, result_in_memory, stored_result, write_outputs
from forcewright.recipes.physics_search import FILE as PHYSICS_FILE
from forcewright.recipes.physics_search import chooser
from forcewright.recipes.property_kind import describes_property
from forcewright.recipes.property_study import PropertyConfig, tune_property
from forcewright.recipes.resources import ResourceMonitor
from forcewright.recipes.run_folder import RunFolder
from forcewright.reference.identity import identify

log = logging.getLogger("forcewright")

#: what --fresh removes
_EARLIER = (
    "journal.log", "journal.log.lock", "result.json", "trials.csv", "report.html", "config.resolved.yaml",
    "potential", "committee", ROWS, "cache", "predictions", "model_search.json", PHYSICS_FILE,
)  # fmt: skip


def tune(
    data: Any, *, model: str | Mapping[str, Any] | None = None, test: Any = None, validation: Any = None,
    labels: Mapping[str, str] | None = None, output: str | Path | None = None, fresh: bool = False,
    on_trial: Listener | None = None, **settings: Any,
) -> TuneResult:  # fmt: skip
    """Search hyperparameters, weights and ridge, and return the best potential with its errors.

    ``tune("mo.yaml")`` runs or resumes the study of a config and writes its results to the config's output folder. A
    study that has finished with the same config and data is not fitted again: what it has left is returned.
    ``tune(frames, model={"kind": "snap", "rcut": {"low": 3, "high": 6}})`` does the same in memory. A config with
    ``target:`` is a study of a property beside the energy, and what it returns is that of
    `forcewright.tune_property`.

    Parameters
    ----------
    data
        A YAML file, or its content (paths are then relative to the working directory); or, with ``model``, what to
        fit to: ASE atoms with labels, a `Dataset`, a file or several.
    model
        Family (``kind``) and hyperparameters; a search range may stand for every number. The name of a family stands
        for all its defaults.
    test
        What to test on at the end, like ``data``.
    validation
        How trials are validated: a number of folds (5 where nothing is said), a share of the frames held back such as
        0.1, settings such as ``{"kfold": 5, "nested": True}``, or a separate validation set, like ``data``.
    labels
        Names of the labels in files and atoms, such as ``{"energy": "dft_energy"}``.
    output
        Folder for everything a config would write; nothing is written where it is not given.
    fresh
        Discard the trials of an earlier run in the output folder.
    on_trial
        Called with every finished trial and the number of trials wanted, those of earlier runs first.
    settings
        Whatever else may stand in a config, see `forcewright.fitting.settings.FitSettings`: ``weights`` and ``ridge``
        (searched within wide ranges where nothing is said), ``loss``, ``study`` (``{"trials": 32}``),
        ``reference_energies``, ``committee`` (a number of members), ``workers`` … To a config ``executor`` alone may
        be added: ``"dask"``, ``"slurm=PARTITION"`` …

    Raises
    ------
    InputError
        If the config or the data are not usable, or the output folder holds a study of another config.
    StudyError
        If every trial fails.
    """
    return _run("tune", data, model, test, validation, labels, output, fresh, on_trial, settings)


def fit(
    data: Any, *, model: str | Mapping[str, Any] | None = None, test: Any = None, validation: Any = None,
    labels: Mapping[str, str] | None = None, output: str | Path | None = None, fresh: bool = False,
    on_trial: Listener | None = None, **settings: Any,
) -> TuneResult:  # fmt: skip
    """Do what `tune` does for a model whose hyperparameters are all given: one fit, with its errors.

    Weights and ridge are searched all the same, where they are not given as numbers, and the fit is validated on five
    folds where nothing else is said: ``fit(frames, model={"kind": "ace", "functions": 300}, test="test.extxyz")``.

    Parameters
    ----------
    data, model, test, validation, labels, output, fresh, on_trial, settings
        As in `tune`.

    Raises
    ------
    InputError
        If a hyperparameter of the model is a range, and as `tune`.
    """
    return _run("fit", data, model, test, validation, labels, output, fresh, on_trial, settings)


def _as_config(data: Any, output: str | Path | None, settings: Mapping[str, Any]) -> TuneConfig:
    if unused := [name for name, value in settings.items() if value is not None]:
        raise InputError(
            "belongs to structures given in Python, with model=...; put it into the config", field=unused[0]
        )
    if isinstance(data, TuneConfig):
        config = data
    elif isinstance(data, Mapping):
        config = parse_config(with_files(data, Path.cwd()), folder=Path.cwd())
    elif isinstance(data, str | Path):
        if Path(data).suffix not in (".yaml", ".yml", ".json") and Path(data).is_file():
            raise InputError(
                "is no config; to fit its structures give model={...} as well (--model on the command line)",
                file=Path(data),
            )
        config = read_config(data)
    else:
        raise InputError(f"is a {type(data).__name__}; give a config, or structures with model={{...}}", field="model")
    return config if output is None else config.model_copy(update={"output": as_path(output).resolve()})


def _run(
    command: str, data: Any, model: str | Mapping[str, Any] | None, test: Any, validation: Any,
    labels: Mapping[str, str] | None, output: str | Path | None, fresh: bool, on_trial: Listener | None,
    settings: Mapping[str, Any],
) -> TuneResult:  # fmt: skip
    """Do the study of a config, or fit structures given in Python.

    With an output folder the latter is a study of a config that names copies of the structures there.
    """
    config = None
    settings = {name: value for name, value in settings.items() if name != "executor" or value is not None}
    if output is not None:
        as_path(output)  # before anything is read
    if model is None and (isinstance(data, PropertyConfig | DosConfig) or describes_property(data)):
        if command == "fit":
            raise InputError("describes a property beside the energy; forcewright tune fits it", field="target")
        for name, value in {"test": test, "validation": validation, "labels": labels, **settings}.items():
            if value is not None:
                raise InputError("stands in the config of a property; put it there", field=name)
        return tune_property(data, output=output, fresh=fresh, on_trial=on_trial)  # type: ignore[return-value]
    if model is None:
        rest = {name: value for name, value in settings.items() if name != "executor"}
        config = _as_config(data, output, {"test": test, "validation": validation, "labels": labels, **rest})
        if (executor := settings.get("executor")) is not None:
            config = config.model_copy(update={"executor": executor_from(executor)})
        model = config.model
    elif isinstance(model, str):
        model = {"kind": model}
    elif not isinstance(model, Mapping):
        raise InputError(f"is a {type(model).__name__}; give a mapping with kind, or its kind alone", field="model")
    if command == "fit" and (ranges := search_ranges(model)):
        raise InputError("is a range; give a number to fit, or use tune to search", field=f"model.{next(iter(ranges))}")
    if config is not None:
        return _study(command, config, fresh, on_trial)
    external = None
    content: dict[str, Any] = {**settings, "model": dict(model)}
    if isinstance(validation, Mapping | int | float):
        content["validation"] = validation
    elif validation is not None:
        external = dataset_of(validation, labels=labels)
    checked = validate(FitSettings, content)
    checked.refuse_what_does_not_apply()
    checked.family.require_packages()
    require_executor(checked.executor)
    inputs = Inputs(read(data, labels=labels), None if test is None else dataset_of(test, labels=labels), external)
    inputs.require_sound()
    if "forces" not in checked.left_out:
        require_forces(inputs.train, labels)
    if output is not None:
        folder = as_path(output).resolve()
        if external is not None:
            content["validation"] = {"external": external}
        left = {name: UNREAD for name, key in (labels or {}).items() if key == UNREAD}
        sets = {"train": inputs.train, "test": inputs.test, **({"labels": left} if left else {})}
        in_files = with_files({**content, "data": sets, "output": str(folder)}, folder)
        return _study(command, parse_config(in_files, folder=folder), fresh, on_trial)
    with ResourceMonitor() as monitor:
        outcome = run_study(checked, inputs.train, test=inputs.test, external=inputs.external, on_trial=on_trial)
        monitor.update()
        return result_in_memory(checked, inputs, outcome, monitor)


def _study(command: str, config: TuneConfig, fresh: bool, on_trial: Listener | None) -> TuneResult:
    """Run or resume the study of a config."""
    config.family.require_packages()
    require_executor(config.executor)
    ranges = search_ranges(config.model)
    with RunFolder(config.output, command) as folder, ResourceMonitor() as monitor, folder.logging():
        inputs = read_inputs(config)
        problem = _problem(config, inputs, folder)
        if fresh:  # only now: a mistake in the data must not cost the earlier results
            folder.discard(_EARLIER)
        asked, (config, problem) = config, _as_begun(config, problem, inputs, folder)
        fingerprint = _fingerprint(problem, inputs, asked)
        trials = Trials(settle_model(problem, folder / "model_search.json"))
        with open_study(problem, ranges, folder / "journal.log", fingerprint) as study:
            earlier = sum(record.seconds for record in study.trials)
            records = trials.run(study, on_trial)
            if (stored := stored_result(config, records, inputs.hashes)) is not None:
                log.info("finished before with the same config and data, and taken as it is")
                return stored
            choose = None
            if config.physics is not None:
                choose = chooser(config.physics, folder.path, config.data.labels, inputs.hashes)
            outcome = conclude(trials, study, records, inputs.test, choose=choose)
            monitor.update()
            return write_outputs(folder, config, inputs, outcome, monitor, earlier)


def _problem(config: TuneConfig, inputs: Inputs, folder: RunFolder) -> Problem:
    return make_problem(
        config, inputs.train, test=inputs.test, external=inputs.external, is_single=not search_ranges(config.model),
        rows=RowCache(folder / ROWS, int(config.cache_GB * 1e9)), scratch=folder.path,
    )  # fmt: skip


def _as_begun(config: TuneConfig, problem: Problem, inputs: Inputs, folder: RunFolder) -> tuple[TuneConfig, Problem]:
    """Return config and problem as they are, or as an earlier version took the config if it has begun the study."""
    begun = study_fingerprint(folder / "journal.log")
    if begun in (None, _fingerprint(problem, inputs, config)) or (before := as_before(config)) == config:
        return config, problem
    problem_before = _problem(before, inputs, folder)
    if begun != _fingerprint(problem_before, inputs, config):
        return config, problem  # another study, which the journal refuses
    log.warning(
        "this study was begun by an earlier version, and goes on with its defaults; --fresh (fresh=True) begins anew"
    )
    return before, problem_before


def _fingerprint(problem: Problem, inputs: Inputs, asked: TuneConfig) -> str:
    """Return a hash of everything the losses depend on: data by content, model, weights, loss, protocol.

    ``asked`` is the config as the user has it, before an earlier version's defaults came in.
    """
    config = problem.settings
    assert isinstance(config, TuneConfig)
    names = {"model", "weights", "ridge", "loss", "search", "protocol", "reference_energies", "validation", "prior"}
    words = in_earlier_words(config, asked)
    content = {name: value for name, value in words.items() if name in names | {"left_open", "short_range", "left_out"}}
    content["validation"].pop("external")
    if content["prior"] == "free":  # is left out, so that studies begun before there was a prior go on
        content.pop("prior")
    is_xpot = config.protocol == "xpot"
    external = inputs.test if is_xpot else inputs.external
    sets = (problem.everything, external, inputs.test if is_xpot else None)
    if problem.baseline is not None:
        content["baseline"] = identify(problem.baseline.potential)[2]
    content["data"] = [None if dataset is None else dataset.content_hash for dataset in sets]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
