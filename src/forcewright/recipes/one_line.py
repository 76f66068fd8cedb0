"""Configs of what a command line says in one line: `forcewright fit train.extxyz --model ace -o runs/x`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from forcewright.configs import did_you_mean, echo
from forcewright.errors import InputError
from forcewright.models import potential_path
from forcewright.plain_data import parse_yaml
from forcewright.recipes.init import proposal
from forcewright.validation.physics import PROPERTIES

_FRAMES = 100  # of a trajectory, where a run is long enough
_LONGEST_INTERVAL_FS = 100.0


def study_config(
    files: Sequence[str | Path], *, model: str, search: bool, test: Sequence[str | Path] = (),
    labels: Mapping[str, str] | None = None, output: str | Path | None = None, settings: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Return the config of a study: for a search what `forcewright init` writes for the data, else the defaults.

    Parameters
    ----------
    files, test
        Files of labelled structures.
    model
        The family.
    search
        Whether hyperparameters are searched.
    labels
        Names of the labels.
    output
        Folder for everything that comes out; ``runs/`` and the name of the first file by default.
    settings
        Further settings, such as ``model.functions=500`` or ``study.trials=8``; values are YAML.

    Raises
    ------
    InputError
        If a file cannot be read, or a setting is not KEY=VALUE.
    """
    target = str(output or f"runs/{Path(files[0]).name.removesuffix('.gz').split('.')[0] or 'potential'}")
    if search:
        config = yaml.safe_load(proposal(files, model=model, test=test or None, labels=labels, run=target).text)
    else:
        sets: dict[str, Any] = {"train": [*map(str, files)], "test": [*map(str, test)] or None}
        config = {"data": {**sets, "labels": dict(labels) if labels else None}, "model": {"kind": model}}
    config["output"] = target
    for text in settings:
        _set(config, text)
    return dict(config)


def _set(config: dict[str, Any], text: str) -> None:
    """Put what ``model.functions=500`` says into a config."""
    name, separator, value = text.partition("=")
    if not (separator and all(name.split("."))):
        raise InputError(f"{echo(text)} is not KEY=VALUE, such as model.functions=500", field="--set")
    *above, last = name.split(".")
    inner = config
    for key in above:
        if not isinstance(inner.get(key), dict):
            inner[key] = {}
        inner = inner[key]
    inner[last] = parse_yaml(value)


def simulation_config(
    potential: str, start: str | Path, *, temperature_K: float, time_ps: float, pressure_GPa: float | None = None,
    timestep_fs: float = 1.0, repeat: int = 1, engine: str = "ase", seed: int = 0, output: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the config of molecular dynamics at a temperature, and at a pressure where one is given.

    Parameters
    ----------
    potential
        A path, or settings such as ``xtb: GFN1-xTB``.
    start
        A file of structures, of which the last is taken.
    output
        Folder for everything that comes out; by default beside the study of the potential, named by the temperature.
    """
    source = source_of(potential)
    stage: dict[str, Any] = {
        "ensemble": "nvt" if pressure_GPa is None else "npt", "temperature_K": temperature_K, "time_ps": time_ps,
        "timestep_fs": timestep_fs,
    }  # fmt: skip
    if pressure_GPa is not None:
        stage["pressure_GPa"] = pressure_GPa
    if output is None:
        name = potential_path(source).resolve().parent.name if isinstance(source, str) else Path(start).stem
        output = f"runs/{name or 'md'}-{temperature_K:g}K"
    every = min(_LONGEST_INTERVAL_FS, max(timestep_fs, 1000.0 * time_ps / _FRAMES))
    return {
        "potential": source, "structure": {"file": str(start), "repeat": [repeat] * 3}, "stages": [stage],
        "trajectory": {"every_fs": every}, "engine": engine, "seed": seed, "output": str(output),
    }  # fmt: skip


def validation_config(
    potential: str | Path, start: str | Path, properties: str, *, reference: str | None = None,
    output: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the config of a validation by default settings of its properties.

    Parameters
    ----------
    potential
        Its path.
    start
        A file of structures, of which the last is taken: the conventional unit cell of a crystal.
    properties
        Names of properties, parted by commas.
    reference
        What to compare with: a path, or settings such as ``xtb: GFN1-xTB``.
    output
        Folder for everything that comes out; ``physics`` beside the potential by default.

    Raises
    ------
    InputError
        If a property is not known.
    """
    names = [name.strip() for name in properties.split(",") if name.strip()]
    for name in names:
        if name not in PROPERTIES:
            raise InputError(f"{echo(name)} is not known; {did_you_mean(name, list(PROPERTIES))}", field="--what")
    return {
        "potential": str(potential), "structure": {"file": str(start)}, "properties": {name: {} for name in names},
        "reference": None if reference is None else source_of(reference),
        "output": str(output or potential_path(potential).parent / "physics"),
    }  # fmt: skip


def source_of(text: str) -> str | dict[str, Any]:
    """Return what a word of a command line means as a source of forces: a path, or settings in YAML."""
    if not Path(text).exists() and ":" in text:
        content = parse_yaml(text)
        if isinstance(content, dict):
            return content
    return text
