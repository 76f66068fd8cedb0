"""Generate: from a config with structures and steps to a file of structures to label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from forcewright.configs import did_you_mean, validate
from forcewright.data import write
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import writing
from forcewright.generation.generated import Generated, as_dataset
from forcewright.generation.steps import STEPS, ForceFields, Step
from forcewright.protocols.structures import StructureSource, build_structure
from forcewright.recipes.force_fields import force_field
from forcewright.recipes.run_folder import read_config, with_absolute_paths
from forcewright.structure import Dataset, Structure

Listener = Callable[[str, int], None]
_Rooted = tuple[Step, list["_Rooted"], str]  # a step, those that follow it, and where it stands


class GenerateConfig(BaseModel):
    """Everything `forcewright generate` needs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    structures: dict[str, StructureSource] = Field(default_factory=dict)
    """Structures to start from, by name."""
    recipes: list[dict[str, Any]] = Field(min_length=1)
    """Steps, each a mapping with a kind."""
    seed: int = Field(default=0, ge=0)
    """Seed of all random numbers."""
    output: Path | None = None
    """File to write; needed in a file."""


def generate(
    config: str | Path | Mapping[str, Any], *, output: str | Path | None = None, on_made: Listener | None = None
) -> Dataset:
    """Make the structures of a config, and write them where it, or ``output``, names a file.

    Each recipe has random numbers of its own: one added at the end changes nothing before it.

    Parameters
    ----------
    config
        A YAML file, or its content; paths are relative to its folder.
    output
        File to write instead of the config's.
    on_made
        Called with the group and the number of structures so far.

    Raises
    ------
    InputError
        If the config is invalid or a step cannot be done; nothing is written then.
    """
    settings, folder, file = read_config(GenerateConfig, config)
    settings = with_absolute_paths(settings, folder)
    target = settings.output if output is None else Path(output).resolve()
    if target is None and file is not None:
        raise InputError("is missing; add it, or name it with -o (output=)", file=file, field="output")
    rooted = _parse(settings.recipes, "recipes", file)
    starts = {name: build_structure(source, folder).structure for name, source in settings.structures.items()}
    known = f"there are {', '.join(starts)}" if starts else "there are none"
    for step, _, where in rooted:
        if unknown := [name for name in step.of or [] if name not in starts]:
            raise InputError(f"{unknown[0]!r} is not among the structures; {known}", file=file, field=f"{where}.of")
        if step.needs_start and not starts:
            raise InputError(f"{step.kind} needs a structure to start from; give structures", file=file, field=where)
    made: list[Generated] = []

    def collect(structure: Generated) -> None:
        made.append(structure)
        if on_made is not None:
            on_made(str(structure.info["config_type"]), len(made))

    for index, root in enumerate(rooted):
        rng = np.random.default_rng([settings.seed, index])
        names = (root[0].of or starts) if root[0].needs_start else [""]
        for name in names:
            _grow(root, starts.get(name), name, rng, lambda source: force_field(source, folder), collect, file)
    dataset = as_dataset(made, "generated" if target is None else target.stem)
    if target is not None:
        with writing(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
        write(dataset, target)
    return dataset


def _parse(recipes: Sequence[Any], where: str, file: Path | None) -> list[_Rooted]:
    """Return the steps with those that follow them."""
    parsed = []
    for index, content in enumerate(recipes):
        here = f"{where}.{index}"
        kind = content.get("kind") if isinstance(content, Mapping) else None
        if not isinstance(kind, str) or kind not in STEPS:
            hint = did_you_mean(str(kind), list(STEPS))
            raise InputError(f"has the kind {kind!r}, which is not known; {hint}", file=file, field=here)
        try:
            step = validate(STEPS[kind], dict(content))
        except InputError as error:
            raise _placed(error, here, file) from None
        parsed.append((step, _parse(step.then, f"{here}.then", file), here))
    return parsed


def _grow(
    rooted: _Rooted, start: Structure | None, name: str, rng: np.random.Generator, fields: ForceFields,
    collect: Callable[[Generated], None], file: Path | None,
) -> None:  # fmt: skip
    """Do a step and those that follow it; ``name`` is that of the start, or its group."""
    step, following, where = rooted
    group = step.group or "_".join(filter(None, [name, "" if step.kind == "unchanged" else step.kind])) or step.kind
    try:
        for made in step.make(start, group, rng, fields):
            if not following or step.keep:
                collect(made)
            for inner in following:
                _grow(inner, made.structure, group, rng, fields, collect, file)
    except InputError as error:
        raise error if error.file is not None else _placed(error, where, file) from None
    except ForcewrightError as error:
        raise ForcewrightError(f"{where} ({step.kind} of {name}): {error}") from error


def _placed(error: InputError, where: str, file: Path | None) -> InputError:
    inner = (error.field or "").removeprefix(f"{where}.")
    field = inner if inner.startswith("recipes.") else f"{where}.{inner}".rstrip(".")
    return InputError(error.problem, file=file, field=field)
