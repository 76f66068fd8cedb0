"""Generate: from a config with structures and steps to a file of structures to label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from forcewright.configs import did_you_mean, validate
from forcewright.data import write
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import writing
from forcewright.generation.generated import Generated, as_dataset
from forcewright.generation.rattle_relax_repeat import Teacher
from forcewright.generation.steps import STEPS, Sources, Step
from forcewright.models import load
from forcewright.potential import Failure, Potential, Reference
from forcewright.protocols.structures import StructureSource, build_structure
from forcewright.recipes.force_fields import force_field
from forcewright.recipes.reading import read_structures
from forcewright.recipes.run_folder import read_config, with_absolute_paths
from forcewright.reference import ReferenceSettings, VaspReference, label_all, potential_reference, reference_from
from forcewright.structure import Dataset, Labels, Structure

Listener = Callable[[str, int], None]
_Rooted = tuple[Step, list["_Rooted"], str]  # a step, those that follow it, and where it stands


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | Path) else value


class GenerateConfig(BaseModel):
    """Everything `forcewright generate` needs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    structures: dict[str, StructureSource] = Field(default_factory=dict)
    """Structures to start from, by name."""
    files: dict[str, Annotated[list[Path], BeforeValidator(_as_list)]] = Field(default_factory=dict)
    """Files every frame of which is a structure to start from, by name; labels in them are not looked at."""
    recipes: list[dict[str, Any]] = Field(min_length=1)
    """Steps, each a mapping with a kind."""
    seed: int = Field(default=0, ge=0)
    """Seed of all random numbers."""
    cache: Path | None = None
    """Folder that keeps what teachers compute, as that of label: run again to go on where it was stopped, and labels
    of the same teacher are then there. label-cache beside the config where a step has a teacher and nothing is said."""
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
    rooted = parse_recipes(settings.recipes, "recipes", file)
    starts = {name: [build_structure(source, folder).structure] for name, source in settings.structures.items()}
    if both := set(starts) & set(settings.files):
        raise InputError(f"has {min(both)!r}, as have structures; give different names", file=file, field="files")
    starts |= {name: list(read_structures(paths).structures) for name, paths in settings.files.items()}
    known = f"there are {', '.join(starts)}" if starts else "there are none"
    for step, _, where in rooted:
        if unknown := [name for name in step.of or [] if name not in starts]:
            raise InputError(f"{unknown[0]!r} is not among the structures; {known}", file=file, field=f"{where}.of")
        if step.needs_start and not starts:
            raise InputError(f"{step.kind} needs a structure to start from; give structures", file=file, field=where)
    cache = settings.cache if settings.cache is not None or file is None else folder / "label-cache"
    sources = _sources(folder, cache)
    made: list[Generated] = []

    def collect(structure: Generated) -> None:
        made.append(structure)
        if on_made is not None:
            on_made(str(structure.info["config_type"]), len(made))

    for index, root in enumerate(rooted):
        rng = np.random.default_rng([settings.seed, index])
        names = (root[0].of or starts) if root[0].needs_start else [""]
        for name in names:
            for start in starts.get(name, [None]):
                _grow(root, start, name, rng, sources, collect, file)
    dataset = as_dataset(made, "generated" if target is None else target.stem)
    if target is not None:
        with writing(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
        write(dataset, target)
    return dataset


def _sources(folder: Path, cache: Path | None) -> Sources:
    """Return what entries of a config stand for; paths are relative to its folder."""

    def teacher(source: str | Mapping[str, Any], workers: int) -> Teacher:
        if isinstance(source, str):
            try:
                reference: Reference = potential_reference(folder / source)
            except InputError as error:
                raise InputError(error.problem, file=error.file, field="teacher") from None
        else:
            try:
                reference = reference_from(validate(ReferenceSettings, dict(source)), folder)
            except InputError as error:
                field = (error.field or "").removeprefix("reference").lstrip(".")
                raise InputError(error.problem, file=error.file, field=f"teacher.{field}".rstrip(".")) from None
            if isinstance(reference, VaspReference):
                raise InputError("waits for another program; take a teacher that computes at once", field="teacher")

        def compute(structures: Sequence[Structure]) -> Sequence[Labels | Failure]:
            return label_all(reference, structures, cache=cache, workers=workers).results

        return compute

    def student(path: Path) -> Potential:
        return load(folder / path)

    return Sources(lambda source: force_field(source, folder), teacher, student)


def parse_recipes(recipes: Sequence[Any], where: str, file: Path | None) -> list[_Rooted]:
    """Return the steps with those that follow them; `InputError` names the one that is not usable."""
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
        parsed.append((step, parse_recipes(step.then, f"{here}.then", file), here))
    return parsed


def _grow(
    rooted: _Rooted, start: Structure | None, name: str, rng: np.random.Generator, sources: Sources,
    collect: Callable[[Generated], None], file: Path | None,
) -> None:  # fmt: skip
    """Do a step and those that follow it; ``name`` is that of the start, or its group."""
    step, following, where = rooted
    group = step.group or "_".join(filter(None, [name, "" if step.kind == "unchanged" else step.kind])) or step.kind
    try:
        for made in step.make(start, group, rng, sources):
            if not following or step.keep:
                collect(made)
            for inner in following:
                _grow(inner, made.structure, group, rng, sources, collect, file)
    except InputError as error:
        raise error if error.file is not None else _placed(error, where, file) from None
    except ForcewrightError as error:
        raise ForcewrightError(f"{where} ({step.kind} of {name}): {error}") from error


def _placed(error: InputError, where: str, file: Path | None) -> InputError:
    inner = (error.field or "").removeprefix(f"{where}.")
    field = inner if inner.startswith("recipes.") else f"{where}.{inner}".rstrip(".")
    return InputError(error.problem, file=file, field=field)
