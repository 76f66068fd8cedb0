"""Pipeline: stages are commands; each knows what it reads and writes, and runs only where that has changed.

What has changed is told by content: of configs by what they say, of files and folders by hashes, which lie in a file
beside the pipeline. The same graph can be written for DVC (https://dvc.org), which then decides what runs.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from forcewright.configs import StrictModel, did_you_mean
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import atomic_write, only_writer, write_json
from forcewright.models import potential_path
from forcewright.plain_data import read_json, read_yaml
from forcewright.recipes.run_folder import read_config
from forcewright.reference.identity import hash_parts, potential_files
from forcewright.tables import Tabular

Listener = Callable[[str, str], None]
StageName = Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*$", max_length=60)]


@dataclass(frozen=True)
class _Verb:
    """What a pipeline knows of a command.

    ``writes`` are names in the output folder; none for a command whose output is a file. ``reads`` are options that
    name files, ``options`` all others. A command that goes on with what lies in its output is told to start ``fresh``
    where something has changed.
    """

    has_config: bool = True
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    fresh: bool = False


_READING = ("label", "skip_broken")
_VERBS = {
    "ablate": _Verb(True, ("result.json",), fresh=True),
    "analyze": _Verb(False, ("result.json",), (), ("what", "set", "skip", "every", "start_ps", "end_ps")),
    "assess": _Verb(True, ("result.json",)),
    "check": _Verb(False, (), ("test",), ("format", "label", "stress_order", "energy_unit", "length_unit")),
    "compare": _Verb(True, ("result.json",), fresh=True),
    "compare-spaces": _Verb(
        False, ("result.json",), (),
        ("descriptor", "cutoff", "kernel", "gamma", "frames", "skip", "share", "halves", "map", "add", "seed", "label"),
    ),
    "convert": _Verb(False, (), (), ("format", "stress_order", "energy_unit", "length_unit", *_READING)),
    "diagnose": _Verb(False, ("result.json",), ("reference", "potential", "train"), ("labels", "workers")),
    "distil": _Verb(True, ("result.json", "students.csv", "student")),
    "fit": _Verb(True, ("potential", "result.json"), fresh=True),
    "generate": _Verb(),
    "label": _Verb(),
    "learn": _Verb(True, ("potential", "result.json", "train.extxyz"), fresh=True),
    "learning-curve": _Verb(True, ("result.json",)),
    "predict": _Verb(False, (), ("potential",), ("label", "grades", "uncertainty")),
    "rerun": _Verb(False, ("result.json",), ("reference", "potential", "train"), ("frames", "workers")),
    "select": _Verb(False, (), ("potential",), ("by", "count", "seed", "set", *_READING)),
    "simulate": _Verb(True, ("result.json",), fresh=True),
    "split": _Verb(False, (), (), ("by", "test", "gap", "blocks", "group", "seed", *_READING)),
    "statistics": _Verb(False, ("result.json",), (), ("by", *_READING)),
    "tune": _Verb(True, ("potential", "result.json"), fresh=True),
    "validate": _Verb(True, ("result.json",)),
}  # fmt: skip

#: keys of a config whose files are written, or kept from run to run
_NOT_READ = ("output", "cache")


class PipelineConfig(StrictModel):
    """Everything `forcewright pipeline` needs; paths are relative to the file."""

    stages: dict[StageName, dict[str, Any]] = Field(min_length=1)
    """By name: a command and what it takes: its config, or its files and, beside it, its options."""


@dataclass(frozen=True)
class Stage:
    """One stage: the words of its command, and what it reads and writes, relative to the pipeline's folder.

    ``config`` is what it reads that counts by what it says, and not byte by byte. ``output`` is the folder of what it
    writes, where it writes to a folder.
    """

    name: str
    verb: str
    words: tuple[str, ...]
    config: str | None
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    output: str | None = None
    after: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class PipelineResult(Tabular):
    """What became of the stages, in their order: ``ran``, ``unchanged`` or, where DVC is to run them, ``written``."""

    folder: Path
    states: Mapping[str, str]
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"PipelineResult({', '.join(f'{name} {state}' for name, state in self.states.items())})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each stage."""
        return [
            {"stage": name, "state": state, "seconds": round(self.seconds.get(name, 0.0), 1)}
            for name, state in self.states.items()
        ]


def pipeline(
    config: str | Path, *, only: str | None = None, dvc: bool = False, on_stage: Listener = lambda name, state: None
) -> PipelineResult:
    """Run the stages of a pipeline whose command, config or files have changed since they ran, in their order.

    Parameters
    ----------
    config
        A YAML file; stages run in its folder, each as a command in a process of its own.
    only
        Name of the one stage to look at.
    dvc
        Run nothing, and write ``dvc.yaml`` beside the file: ``dvc repro`` then runs each stage with ``--only``.
    on_stage
        Called with the name of each stage and ``running``, ``unchanged`` or that it was stopped.

    Raises
    ------
    InputError
        If the file is not usable, stages write the same, wait for each other, or name what is not there; or another
        process runs the pipeline.
    ForcewrightError
        If a stage fails; what it said stands before. A simulation that a monitor stops is no failure where a later
        stage diagnoses it or labels its frames.
    """
    settings, _, file = read_config(PipelineConfig, config)
    if file is None:
        raise InputError("is not a file; a pipeline is a YAML file, in whose folder its stages run", field="config")
    folder = file.parent.resolve()
    stages = ordered(stages_of(settings, folder, file), file)
    if only is not None and only not in stages:
        raise InputError(f"has no stage {only!r}; {did_you_mean(only, list(stages))}", file=file, field="stages")
    if dvc:
        text = yaml.safe_dump({"stages": {name: _for_dvc(stage, file) for name, stage in stages.items()}},
                              sort_keys=False, allow_unicode=True)  # fmt: skip
        atomic_write(folder / "dvc.yaml", f"# written by: forcewright pipeline {file.name} --dvc\n{text}")
        return PipelineResult(folder, dict.fromkeys(stages, "written"))
    states: dict[str, str] = {}
    seconds: dict[str, float] = {}
    diagnosed = {name for stage in stages.values() if stage.verb in ("diagnose", "rerun") for name in stage.after}
    with only_writer(folder, f".{file.stem}.lock"):
        known = _Known(file.with_name(f"{file.stem}.lock.json"))
        for name, stage in stages.items():
            if only in (None, name):
                start = time.perf_counter()
                states[name] = _bring_up_to_date(stage, folder, file, known, on_stage, name in diagnosed)
                seconds[name] = time.perf_counter() - start
    return PipelineResult(folder, states, seconds)


# ---------------------------------------------------------------------------------------- what stages are


def stages_of(settings: PipelineConfig, folder: Path, file: Path) -> dict[str, Stage]:
    """Return the stages by name, as they stand in the file.

    Raises
    ------
    InputError
        If a stage is no command with what it takes.
    """
    made = {}
    for name, content in settings.stages.items():
        try:
            made[name] = _stage(name, content, folder)
        except InputError as error:
            where = f"stages.{name}" + (f".{error.field}" if error.field else "")
            raise InputError(error.problem, file=error.file or file, field=where) from None
    return {name: _with_reads(stage, made, folder) for name, stage in made.items()}


def _stage(name: str, content: Mapping[str, Any], folder: Path) -> Stage:
    verbs = [key for key in content if key in _VERBS]
    if len(verbs) > 1:  # `label` is a command, and an option of others
        verbs = [key for key in verbs if not any(key in _VERBS[other].options for other in verbs if other != key)]
    if len(verbs) != 1:
        wrong = next((key for key in content if key not in _VERBS), "")
        hint = did_you_mean(str(wrong), list(_VERBS)) if not verbs else "give one"
        raise InputError(f"has {' and '.join(verbs) or 'no command'}; {hint}")
    verb, known = verbs[0], _VERBS[verbs[0]]
    options = {key: value for key, value in content.items() if key != verb}
    return _with_config(name, verb, content[verb], options, folder) if known.has_config else _with_files(
        name, verb, content[verb], options
    )  # fmt: skip


def _with_config(name: str, verb: str, config: Any, options: Mapping[str, Any], folder: Path) -> Stage:
    if not isinstance(config, str) or not config:
        raise InputError("needs the name of its config, a YAML file", field=verb)
    if options:
        raise InputError(f"belongs into {config}, the config of {verb}", field=next(iter(options)))
    content = read_yaml(folder / config)
    base = (folder / config).parent
    output = content.get("output")
    if verb == "validate" and output is None and isinstance(content.get("potential"), str):
        output = str(potential_path(base / content["potential"]).parent / "physics")
    if not isinstance(output, str) or not output:
        raise InputError("is missing; a stage of a pipeline says where it writes", file=folder / config, field="output")
    written = _relative(base / output, folder)
    names = _written_by(verb, content)
    writes = tuple(f"{written}/{part}" for part in names) if names else (written,)
    return Stage(name, verb, (verb, config), config, (), writes, written if names else None)


def _written_by(verb: str, content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a command leaves in its output folder; of a run of dynamics also what analyses read."""
    if verb == "tune" and "target" in content:  # of a property beside the energy
        return ("model", "result.json")
    if verb != "simulate" or content.get("runs", 1) != 1 or "protocol" in content:
        return _VERBS[verb].writes
    trajectory = content.get("trajectory")
    ending = trajectory.get("format", "extxyz") if isinstance(trajectory, Mapping) else "extxyz"
    return ("result.json", f"trajectory.{ending}", "thermo.csv", "final.extxyz")


def _with_files(name: str, verb: str, files: Any, options: Mapping[str, Any]) -> Stage:
    known = _VERBS[verb]
    files_read = _texts(files, verb)
    outputs = _texts(options.get("output", []), "output")
    expected = 2 if verb == "split" else 0 if verb == "check" else 1
    if len(outputs) != expected:
        raise InputError(f"names {len(outputs)} files or folders; {verb} writes {expected}", field="output")
    allowed = [*known.reads, *known.options, *(["output"] if expected else [])]
    if unknown := next((key for key in options if key not in allowed), None):
        raise InputError(f"is no option of {verb}; {did_you_mean(str(unknown), allowed)}", field=str(unknown))
    reads = [*files_read, *(
        path for key in known.reads if key in options for path in _texts(options[key], key)
        if key != "reference" or ":" not in path  # a reference may be settings, {xtb: GFN1-xTB}, in place of a file
    ), *(_models_of(options.get("set", ())) if verb == "analyze" else ())]  # fmt: skip
    words = [verb]
    if verb == "predict":
        if "potential" not in options:
            raise InputError("is missing; add it", field="potential")
        words.append(str(options["potential"]))
    words += files_read
    for key, value in options.items():
        if key != "output" and (verb, key) != ("predict", "potential"):
            words += _option(key, value)
    words += outputs if verb == "convert" else ["-o", *outputs] if outputs else []
    writes = tuple(f"{outputs[0]}/{part}" for part in known.writes) if known.writes else tuple(outputs)
    return Stage(
        name, verb, tuple(words), None, tuple(map(os.path.normpath, reads)), tuple(map(os.path.normpath, writes)),
        os.path.normpath(outputs[0]) if known.writes else None,
    )  # fmt: skip


def _models_of(options: Any) -> list[str]:
    """Return the folders of models that analyses are set to, as in ``ir.model=runs/dipole``."""
    pairs = options.items() if isinstance(options, Mapping) else (str(text).split("=", 1) for text in options)
    named = [(str(pair[0]), pair[1]) for pair in map(tuple, pairs) if len(pair) == 2]
    models = [value for name, value in named if name.endswith((".model", ".gradients"))]
    several = [part for value in models for part in (value.values() if isinstance(value, Mapping) else [value])]
    return [part for part in several if isinstance(part, str) and not part.startswith("{")]


def _texts(value: Any, key: str) -> list[str]:
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str) and part and not part.startswith("-") for part in several):
        raise InputError("is not the name of a file, or several", field=key)
    return several


def _option(key: str, value: Any) -> list[str]:
    """Return an option as words of a command line."""
    flag = f"--{key.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else []
    if isinstance(value, Mapping):
        value = [f"{name}={part}" for name, part in value.items()]
    if key == "what" and isinstance(value, list):
        value = ",".join(map(str, value))
    several = value if isinstance(value, list) else [value]
    return [f"{flag}={part}" for part in several]


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(os.path.normpath(path), folder)


# ------------------------------------------------------------------------------- what they read, and their order


def _with_reads(stage: Stage, stages: Mapping[str, Stage], folder: Path) -> Stage:
    """Return a stage with what it reads of the others' outputs, and of the files that its config names."""
    paths = list(stage.reads)
    others = [other for other in stages.values() if other.name != stage.name]
    if stage.config is not None:
        base = (folder / stage.config).parent
        for text in _paths_in(read_yaml(folder / stage.config)):
            path = _relative(base / text, folder)
            excluded = path in (".", stage.config) or any(_is_inside(path, part) for part in _places(stage))
            if not excluded and (_is_read(folder / path) or _sources(path, others)):
                paths.append(path)
    reads: dict[str, None] = {}
    after: dict[str, None] = {}
    for path in paths:
        sources = _sources(path, others)
        if not any(other.output == path for other in sources):
            reads[path] = None
        for other in sources:  # of a folder that another stage fills, what it says it writes
            after[other.name] = None
            inside = [written for written in other.writes if _is_inside(written, path)]
            if not any(_is_inside(path, written) for written in other.writes):
                reads |= dict.fromkeys(inside or other.writes)
    return Stage(
        stage.name, stage.verb, stage.words, stage.config, tuple(reads), stage.writes, stage.output, tuple(after)
    )  # fmt: skip


def _paths_in(content: Any, key: str = "") -> Iterator[str]:
    """Yield the texts of a config that may be names of files."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            if name not in _NOT_READ:
                yield from _paths_in(value, str(name))
    elif isinstance(content, list):
        for value in content:
            yield from _paths_in(value, key)
    elif isinstance(content, str) and 0 < len(content) < 500 and not set(content) & {"\n", "\0"}:
        yield content


def _is_read(path: Path) -> bool:
    """Tell whether there is a file, or the folder of a potential or a run; another folder has the name of something."""
    if path.is_dir():
        return any((path / name).is_file() for name in ("potential.json", "potential/potential.json", "result.json"))
    return path.is_file()


def _sources(path: str, stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages that write a path: the folder itself, what it lies in, or else what lies in it."""
    if exact := [stage for stage in stages if stage.output == path]:
        return exact
    around = [stage for stage in stages if any(_is_inside(path, part) for part in _places(stage))]
    if around:  # an output may lie in that of another stage
        return [max(around, key=lambda stage: max(len(p) for p in _places(stage) if _is_inside(path, p)))]
    return [stage for stage in stages if any(_is_inside(part, path) for part in _places(stage))]


def _places(stage: Stage) -> list[str]:
    return [*stage.writes, *([stage.output] if stage.output else [])]


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def ordered(stages: Mapping[str, Stage], file: Path) -> dict[str, Stage]:
    """Return the stages so that each comes after those whose outputs it reads, else in the order of the file.

    Raises
    ------
    InputError
        If two write the same, or stages wait for each other.
    """
    for stage in stages.values():
        for other in stages.values():
            both = [a for a in stage.writes for b in other.writes if _is_inside(a, b)]
            if stage.name != other.name and both:
                raise InputError(
                    f"writes {both[0]}, as does the stage {other.name}; give each an output of its own", file=file,
                    field=f"stages.{stage.name}",
                )  # fmt: skip
    done: dict[str, Stage] = {}
    while len(done) < len(stages):
        ready = next((s for s in stages.values() if s.name not in done and set(s.after) <= set(done)), None)
        if ready is None:
            waiting = [name for name in stages if name not in done]
            raise InputError(f"{' and '.join(waiting)} wait for each other's outputs", file=file, field="stages")
        done[ready.name] = ready
    return done


# -------------------------------------------------------------------------------------------- what has changed


class _Known:
    """What the stages read and wrote when they ran, in a file that is written after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stages: dict[str, Any] = {}
        if path.exists():
            try:
                self.stages = dict(read_json(path)["stages"])
            except (InputError, LookupError, TypeError, ValueError):
                raise InputError("is not what a pipeline wrote; remove it to run every stage anew", file=path) from None

    def of(self, name: str) -> Mapping[str, Any]:
        """Return what is known of a stage."""
        record = self.stages.get(name)
        return record if isinstance(record, dict) else {}

    def store(self, name: str, record: Mapping[str, Any]) -> None:
        """Keep what a stage read and wrote."""
        self.stages[name] = dict(record)
        write_json(self.path, {"stages": self.stages})


def _bring_up_to_date(
    stage: Stage, folder: Path, file: Path, known: _Known, on_stage: Listener, diagnosed: bool
) -> str:
    """Run a stage where something has changed; of a run that is ``diagnosed`` it does not matter whether it breaks."""
    missing = next((path for path in stage.reads if not (folder / path).exists()), None)
    if missing is not None:
        writer = f"; the stage {stage.after[0]} did not write it" if stage.after else "; no stage writes it"
        raise InputError(f"does not exist{writer}", file=folder / missing, field=f"stages.{stage.name}")
    now = {"command": list(stage.words), "reads": _hashes(stage.reads, folder)}
    if stage.config is not None:
        content = json.dumps(read_yaml(folder / stage.config), sort_keys=True, default=str)
        now["config"] = hash_parts([content.encode()])
    record = known.of(stage.name)
    begun = {key: record.get(key) for key in now}
    if begun == now and record.get("writes") == _hashes(stage.writes, folder) != {}:
        on_stage(stage.name, "unchanged")
        return "unchanged"
    if begun == now and not stage.writes and record.get("writes") == {}:
        on_stage(stage.name, "unchanged")
        return "unchanged"
    on_stage(stage.name, "running")
    words = list(stage.words)
    # what no pipeline has begun may be somebody's long study: the command goes on with it, or refuses
    if record and begun != now and _VERBS[stage.verb].fresh and (folder / str(stage.output)).exists():
        words.append("--fresh")
    known.store(stage.name, now)  # a run that is stopped goes on
    page = _page_written(stage, folder)
    code = _run(words, folder)
    # a command that fails in other ways writes no page
    stopped = diagnosed and stage.verb == "simulate" and code == 1 and _page_written(stage, folder) != page
    if stopped:
        on_stage(stage.name, "stopped before its end, which a later stage looks into")
    elif code != 0:
        raise ForcewrightError(
            f"{file}: the stage {stage.name} failed (`forcewright {shlex.join(words)}` ended with {code}; what it said "
            "stands above); mend it and run the pipeline again"
        )
    absent = next((path for path in stage.writes if not (folder / path).exists()), None)
    if absent is not None:
        raise InputError("was not written, though its command ended well", file=folder / absent, field=stage.name)
    known.store(stage.name, {**now, "writes": _hashes(stage.writes, folder)})
    return "ran"


def _page_written(stage: Stage, folder: Path) -> int | None:
    """Return when the page of a stage was written, in ns."""
    page = folder / str(stage.output) / "report.html"
    return page.stat().st_mtime_ns if page.is_file() else None


def _run(words: Sequence[str], folder: Path) -> int:
    """Run a command in a process of its own; it is stopped with this one."""
    with subprocess.Popen([sys.executable, "-m", "forcewright", *words], cwd=folder) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def _hashes(paths: Sequence[str], folder: Path) -> dict[str, str]:
    return {path: _hash(folder / path) for path in paths if (folder / path).exists()}


def _hash(path: Path) -> str:
    """Return the hash of a file, or of what matters in a folder: not logs, pages and hidden files."""
    if (path / "potential.json").is_file():
        files = potential_files(path)
    elif path.is_dir():
        files = sorted(
            file for file in path.rglob("*")
            if file.is_file() and file.suffix not in (".log", ".html") and not file.name.startswith(".")
        )  # fmt: skip
    else:
        files = [path]
    parts = ((str(file.relative_to(path)).encode(), file.read_bytes()) for file in files)
    return hash_parts(part for pair in parts for part in pair)


def _for_dvc(stage: Stage, file: Path) -> dict[str, Any]:
    """Return a stage as it stands in ``dvc.yaml``; DVC neither copies outputs nor removes them before a stage runs."""
    command = shlex.join(["forcewright", "pipeline", file.name, "--only", stage.name])
    params: Any = {file.name: [f"stages.{stage.name}"]}
    return {
        "cmd": command.replace("${", "\\${"),
        "params": [params, *([{stage.config: None}] if stage.config is not None else [])],
        **({"deps": list(stage.reads)} if stage.reads else {}),
        **({"outs": [{path: {"cache": False, "persist": True}} for path in stage.writes]} if stage.writes else {}),
    }
