"""Distil: from a slow teacher to a fast student, by structures that the teacher makes and labels, on one page."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from forcewright.accuracy.teacher import audit_teacher, distilled
from forcewright.configs import StrictModel, validate
from forcewright.data import dataset_of, read, write
from forcewright.errors import InputError
from forcewright.files import atomic_write, write_json, write_table
from forcewright.generation import mean_teacher_calls
from forcewright.generation.steps import STEPS
from forcewright.models import load, potential_path
from forcewright.models.pretrained import pretrained_named
from forcewright.plain_data import read_json
from forcewright.potential import Potential, Reference
from forcewright.protocols.structures import StructureSource
from forcewright.recipes.config import Paths, parse_config, paths_from
from forcewright.recipes.distil_page import write_distil_page
from forcewright.recipes.generate import generate, parse_recipes
from forcewright.recipes.label import label
from forcewright.recipes.outputs import TuneResult
from forcewright.recipes.provenance import file_hashes
from forcewright.recipes.run_folder import RunFolder, read_config, with_absolute_paths
from forcewright.recipes.tune import tune
from forcewright.recipes.validate import validate as compute_physics
from forcewright.reference import ReferenceSettings, VaspReference, label_all, potential_reference, reference_from
from forcewright.reference.identity import hash_parts, hash_settings
from forcewright.structure import Dataset, FloatArray, Labels, Structure
from forcewright.tables import Tabular
from forcewright.validation.physics import ValidationConfig

log = logging.getLogger("forcewright")

#: Beside a potential: what it is derived from.
NOTICE = "NOTICE.txt"
#: In further recipes: the teacher as a potential.
TEACHER = "{teacher}"
_OURS = ("data", "output", "baseline")  # of a fit, settled here
_TIMED_S, _TIMED = 0.5, 3  # an evaluation is repeated for so many seconds, and so often, at least


class DistilConfig(StrictModel):
    """Everything `forcewright distil` needs; paths are relative to the config."""

    teacher: str | dict[str, Any]
    """The path of a potential, or what may stand behind reference: of label, such as {pretrained: chgnet}."""
    structures: dict[str, StructureSource] = Field(default_factory=dict)
    """Structures that new ones are made from, by name."""
    files: dict[str, Paths] = Field(default_factory=dict)
    """Files every frame of which is such a structure, by name; the frames of labels where nothing is named."""
    labels: Paths | None = None
    """A few labelled frames of the method that the student is to stand for."""
    test: Paths | None = None
    """Labelled frames of the same method that judge teacher and student, and nothing else."""
    keys: dict[str, str] | None = None
    """Names of the labels in these files, such as {energy: dft_energy}."""
    correction: dict[str, Any] | None = Field(
        default_factory=lambda: {"model": {"kind": "ace", "functions": 100}}
    )  # fmt: skip
    """With labels: the settings of a fit, as fit takes them, to what labels differ from the teacher by; teacher and fit
    are then the teacher. null leaves the teacher as it is."""
    generate: dict[str, Any] = Field(default_factory=lambda: {"count": 50})
    """What rattle_relax_repeat takes beside its teacher: structures for each start, and how they are made."""
    further: list[dict[str, Any]] = Field(default_factory=list)
    """Further recipes of generate, such as dimers, fragments and random; "{teacher}" stands for the teacher."""
    student: dict[str, Any]
    """What tune takes beside data and output: the model, and whatever is searched."""
    sizes: tuple[int, ...] = ()
    """Numbers of labelled structures that further students are fitted to, drawn at random and nested."""
    physics: dict[str, Any] | None = None
    """What validate takes beside potential, reference and output: structure and properties; the teacher is the
    reference."""
    data_license: str | None = None
    """License of the labelled frames, named in what is derived from them."""
    workers: int = Field(default=1, ge=1)
    """Structures that the teacher labels at the same time, each by one process."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random."""
    output: Path
    """Folder for everything that comes out."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not (self.structures or self.files or self.labels):
            raise ValueError("has nothing to start from; give structures, files or labels")
        if "model" not in self.student:
            raise ValueError("student has no model; give one, such as {model: {kind: ace}}")
        for name, settings in (("student", self.student), ("correction", self.correction or {})):
            if taken := [key for key in settings if key in _OURS]:
                raise ValueError(f"{name} has {taken[0]}, which is settled here; take it out")
        if taken := [key for key in self.generate if key in ("kind", "teacher", "of", "then")]:
            raise ValueError(f"generate has {taken[0]}, which is settled here; take it out")
        if min(self.sizes, default=2) < 2:
            raise ValueError("sizes holds a number below 2")
        return self


@dataclass(frozen=True, eq=False, repr=False)
class DistilResult(Tabular):
    """What came out; ``summary`` is the content of result.json, ``potential`` the student."""

    summary: dict[str, Any]
    potential: Potential
    folder: Path

    def __repr__(self) -> str:
        return f"DistilResult(student of {self.summary['teacher']}; {self.folder})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each student: frames, errors to teacher and labels."""
        return list(self.summary["students"])

    def __str__(self) -> str:
        """Return a few lines for a terminal."""
        made, speed = self.summary["made"], self.summary["speed"]
        lines = [
            f"{made['labelled']} structures made and labelled by {self.summary['teacher']}"
            + ("" if made["calls_each"] is None else f", {made['calls_each']:.3g} teacher calls each"),
            f"{speed['teacher_us_per_atom']:.3g} µs per atom for the teacher, {speed['student_us_per_atom']:.3g} for "
            f"the student: {speed['ratio']:.3g} times faster",
        ]
        for row in self.summary["students"]:
            errors = f"cross-validated force RMSE to the teacher {row['force_rmse_eV_per_A']:.3g} eV/Å"
            if row["to_labels"] is not None:
                errors += (
                    f"; MAE to the teacher x = {row['to_teacher']:.3g}, to the labels y = {row['to_labels']:.3g}, the "
                    f"teacher's λ = {row['teacher_to_labels']:.3g}"
                )
            lines.append(f"{row['frames']} frames: {errors}")
        if (direct := self.summary["direct"]) is not None and direct["to_labels"] is not None:
            lines.append(
                f"fitted to the {direct['frames']} labels alone: MAE to the labels {direct['to_labels']:.3g} eV/Å"
            )
        return "\n".join(lines)


def distil(
    config: str | Path | Mapping[str, Any], *, on_step: Callable[[str], None] = lambda step: None
) -> DistilResult:
    """Make a fast potential of a slow one: correct it, make structures, label them, fit, judge, compare.

    Everything is kept by content: run again, it goes on where it was stopped, and what has changed is done anew.

    Parameters
    ----------
    config
        A YAML file, or its content (paths are then relative to the working directory).
    on_step
        Called with what is done next.

    Raises
    ------
    InputError
        If the config or a file is not usable.
    MissingExtraError
        If the teacher needs a package that is not installed.
    """
    settings, base = read_distillation(config)
    files = [path for paths in (settings.labels, settings.test, *settings.files.values()) for path in paths or []]
    with RunFolder(settings.output, "distil") as folder, folder.logging():
        on_step("reading")
        state = _State(folder / "distil.json")
        hashes = file_hashes(path for path in files if path.is_file())
        labels = None if settings.labels is None else read(settings.labels, labels=settings.keys)
        test = None if settings.test is None else read(settings.test, labels=settings.keys)
        teacher = _Teacher.of(settings.teacher, base, folder / "teacher")
        plain = teacher
        if labels is not None and settings.correction is not None:
            teacher.baseline()  # refused before it has computed anything
        audit = None
        cache = folder / "label-cache"
        reference = teacher.reference()
        if (judging := test or labels) is not None:
            on_step("auditing the teacher")
            said = label_all(reference, judging, cache=cache, workers=settings.workers).results
            audit = audit_teacher(reference, judging, said)
        if labels is not None and settings.correction is not None:
            on_step("correcting the teacher by the labels")
            correction = {**settings.correction, "baseline": teacher.baseline()}
            _fitted(
                "corrected", correction, settings.labels or [], settings.keys, folder, state, reference.content_hash
            )
            teacher = _Teacher(
                str(folder / "corrected" / "potential"), f"{teacher.name}, corrected by {len(labels)} labels"
            )
        reference = teacher.reference()
        made, calls = _made(settings, teacher, reference, labels, folder, state, on_step)
        on_step("labelling")
        labelled = label(
            {"reference": teacher.settings(), "structures": made, "output": str(folder / "labelled.extxyz"),
             "cache": str(cache), "workers": settings.workers}
        ).dataset  # fmt: skip
        if len(labelled) < 2:
            raise InputError("has no labels for what was made; labelled.failures.csv says why", field="teacher")
        students = _students(settings, labelled, folder, state, on_step)
        student = load(folder / "student")
        direct = None
        if labels is not None:
            on_step("fitting to the labels alone")
            fitted = _fitted("direct", settings.student, settings.labels or [], settings.keys, folder, state)
            direct = {"frames": len(labels), "to_labels": None, **_cross_validated(fitted)}
        if test is not None:
            on_step("judging")
            _judge(test, reference, students, direct, folder, cache)
        on_step("timing")
        speed = _speed(reference, student, [*labelled.structures])
        physics = None
        if settings.physics is not None:
            on_step("physics")
            physics = _physics(settings.physics, teacher, folder, state, base)
        notice = _notice(settings, plain)
        for path in (folder / NOTICE, folder / "student" / "potential" / NOTICE):
            atomic_write(path, "\n".join(notice) + "\n")
        text = folder.write_config(settings)
        summary = folder.write_result(
            {
                "teacher": teacher.name, "teacher_hash": reference.content_hash,
                "audit": None if audit is None else audit.to_dict(),
                "made": {"structures": len(made), "labelled": len(labelled), "calls_each": calls,
                         "groups": made.group_sizes},
                "students": students, "direct": direct, "speed": speed, "physics": physics, "notice": notice,
            }, hashes,
        )  # fmt: skip
        write_table(folder / "students.csv", students)
        pages = [
            name for name in ("corrected", "student", "direct", "physics") if (folder / name / "report.html").is_file()
        ]
        write_distil_page(folder.path, summary, text, pages)
    return DistilResult(summary, student, settings.output)


def read_distillation(config: str | Path | Mapping[str, Any]) -> tuple[DistilConfig, Path]:
    """Return a config with absolute paths and its folder; what later stages take is checked before any work.

    Raises
    ------
    InputError
        If anything in it is not usable; names the field.
    """
    content, base, file = read_config(DistilConfig, config)
    settings = with_absolute_paths(content, base)
    if settings.correction is not None:
        settings = settings.model_copy(update={"correction": paths_from(settings.correction, base)})
    settings = settings.model_copy(update={
        "student": paths_from(settings.student, base), "generate": _paths_in(settings.generate, base),
        "further": [_paths_in(recipe, base) for recipe in settings.further],
    })  # fmt: skip

    def check(field: str, read: Callable[[], object]) -> None:
        try:
            read()
        except InputError as error:
            where = field if error.field is None else error.field if field == "" else f"{field}.{error.field}"
            raise InputError(error.problem, file=error.file or file, field=where) from None

    for field, fit in (("student", settings.student), ("correction", settings.correction)):
        if fit is not None:
            check(field, partial(_require_fit, {**fit, "data": {"train": []}, "output": str(settings.output)}, base))
    first = {**settings.generate, "kind": "rattle_relax_repeat", "teacher": TEACHER}
    check("generate", lambda: validate(STEPS["rattle_relax_repeat"], first))
    check("", lambda: parse_recipes(settings.further, "further", file))
    if (physics := settings.physics) is not None:
        if taken := [key for key in physics if key in ("potential", "reference", "output")]:
            raise InputError("is settled here; take it out", file=file, field=f"physics.{taken[0]}")
        check("physics", lambda: validate(ValidationConfig, physics))
    return settings, base


def _require_fit(content: dict[str, Any], base: Path) -> None:
    parse_config(content, folder=base).family.require_packages()


def _paths_in(recipe: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return a recipe in which files that it names are taken from a folder."""
    changed = dict(recipe)
    for key in ("potential", "student", "teacher"):
        if isinstance(value := recipe.get(key), str) and (base / value).exists():
            changed[key] = str((base / value).resolve())
    if isinstance(then := recipe.get("then"), list):
        changed["then"] = [_paths_in(part, base) if isinstance(part, Mapping) else part for part in then]
    return changed


@dataclass(frozen=True)
class _Teacher:
    """The teacher as the commands that are composed here take it: the path of a potential, or settings."""

    source: str | dict[str, Any]
    name: str

    @classmethod
    def of(cls, source: str | dict[str, Any], base: Path, folder: Path) -> _Teacher:
        """Return the teacher of a config; files that a pair style names are taken from its folder."""
        if isinstance(source, str) or set(source) == {"potential"}:
            path = (base / (source if isinstance(source, str) else str(source["potential"]))).resolve()
            return cls(str(path), potential_path(path).parent.name)
        try:
            settings = with_absolute_paths(validate(ReferenceSettings, dict(source)), base)
            if settings.lammps is not None:
                potential = settings.lammps.potential(base)
                return cls(str(potential.save(folder / "potential")), potential.name)
            reference = reference_from(settings, base)  # what is missing is told before any work
        except InputError as error:
            field = (error.field or "").removeprefix("reference").lstrip(".")
            raise InputError(error.problem, file=error.file, field=f"teacher.{field}".rstrip(".")) from None
        if isinstance(reference, VaspReference):
            raise InputError("waits for another program; take a teacher that computes at once", field="teacher")
        return cls(settings.model_dump(mode="json", exclude_unset=True), reference.name)

    def settings(self) -> dict[str, Any]:
        """Return what stands behind ``reference``."""
        return {"potential": self.source} if isinstance(self.source, str) else self.source

    def reference(self) -> Reference:
        """Return what labels."""
        return potential_reference(self.source) if isinstance(self.source, str) else reference_from(self.source, Path())

    def baseline(self) -> str | dict[str, Any]:
        """Return what stands behind ``baseline``; `InputError` if nothing can."""
        if isinstance(self.source, str) or "pretrained" in self.source:
            return self.source
        if "ase" in self.source:
            return {key: value for key, value in self.source.items() if key in ("ase", "kwargs")}
        xtb = self.source.get("xtb")
        if isinstance(xtb, dict) and set(xtb) <= {"method"}:
            return {"ase": "tblite.ase:TBLite", "kwargs": {"method": xtb.get("method", "GFN1-xTB"), "verbosity": 0}}
        raise InputError(
            "cannot be corrected: that takes a potential, {pretrained: …}, {ase: …} or {xtb: METHOD} without further "
            "settings; say correction: null", field="teacher",
        )  # fmt: skip


class _State:
    """What stages that keep no account of their own were done with, by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Any] = {}
        if path.is_file():
            try:
                content = read_json(path)
            except InputError:
                content = {}
            self.known = content if isinstance(content, dict) else {}

    def of(self, name: str, key: str) -> Any:
        """Return what a stage left that was done with the same; None where it was not."""
        entry = self.known.get(name)
        return entry.get("result") if isinstance(entry, dict) and entry.get("key") == key else None

    def keep(self, name: str, key: str, result: Any) -> None:
        """Keep what a stage left."""
        self.known[name] = {"key": key, "result": result}
        write_json(self.path, self.known)


def _made(
    settings: DistilConfig, teacher: _Teacher, reference: Reference, labels: Dataset | None, folder: RunFolder,
    state: _State, on_step: Callable[[str], None],
) -> tuple[Dataset, float | None]:  # fmt: skip
    """Return the structures that were made, and teacher calls for each of rattle_relax_repeat."""
    content: dict[str, Any] = {"structures": settings.structures, "files": dict(settings.files)}
    if not (settings.structures or settings.files) and labels is not None:
        content["files"] = {"labels": [str(path) for path in settings.labels or []]}
    starts = {
        "structures": {name: source.model_dump(mode="json") for name, source in settings.structures.items()},
        "files": file_hashes(Path(path) for paths in content["files"].values() for path in paths),
    }
    source: Any = teacher.source
    further = [_with_teacher(recipe, source) for recipe in settings.further]
    recipes = [{"kind": "rattle_relax_repeat", "teacher": source, **settings.generate}, *further]
    key = hash_settings("generate", {
        "starts": starts, "recipes": json.loads(json.dumps(recipes, default=str)), "seed": settings.seed,
        "teacher": reference.content_hash,
    })  # fmt: skip
    output = folder / "made.extxyz"
    kept = state.of("generate", key)
    if kept is not None and output.is_file() and file_hashes([output])[str(output)] == kept["sha256"]:
        return dataset_of(output, labels={"energy": "none"}), kept["calls"]
    on_step("making structures")
    made = generate(
        {**content, "recipes": recipes, "seed": settings.seed, "cache": str(folder / "label-cache"),
         "output": str(output)},
        on_made=lambda group, count: on_step(f"making structures: {count}"),
    )  # fmt: skip
    calls = mean_teacher_calls(made)
    state.keep("generate", key, {"sha256": file_hashes([output])[str(output)], "calls": calls})
    return made, calls


def _with_teacher(value: Any, source: Any) -> Any:
    """Return a recipe with the teacher in the place of its name."""
    if isinstance(value, Mapping):
        return {key: _with_teacher(part, source) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_teacher(part, source) for part in value]
    return source if value == TEACHER else value


def _students(
    settings: DistilConfig, labelled: Dataset, folder: RunFolder, state: _State, on_step: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Fit students to nested parts of the labelled structures and to all; return a row for each."""
    order = np.random.default_rng(settings.seed).permutation(len(labelled))
    rows = []
    for size in [*sorted(size for size in set(settings.sizes) if size < len(labelled)), len(labelled)]:
        on_step(f"fitting a student to {size} structures")
        whole = size == len(labelled)
        path = folder / ("labelled.extxyz" if whole else f"labelled-{size}.extxyz")
        if not whole:
            write(labelled[np.sort(order[:size])], path)
        name = "student" if whole else f"student-{size}"
        fitted = _fitted(name, settings.student, [path], None, folder, state)
        rows.append(
            {"frames": size, "folder": name, **_cross_validated(fitted),
             "cost_us_per_atom": fitted.summary["cost_us_per_atom"],
             **dict.fromkeys(("to_teacher", "to_labels", "teacher_to_labels", "expected", "correlation"))}
        )  # fmt: skip
    return rows


def _fitted(
    name: str, settings: Mapping[str, Any], files: Sequence[Path], keys: Mapping[str, str] | None, folder: RunFolder,
    state: _State, teacher: str = "",
) -> TuneResult:  # fmt: skip
    """Fit to files in a folder of its own; begin anew where settings or data are others than those it began with."""
    words = json.dumps([settings, keys, teacher], sort_keys=True, default=str)
    key = hash_parts([words.encode(), *(path.read_bytes() for path in files)])
    began = state.known.get(name)
    fresh = isinstance(began, dict) and began.get("key") != key
    state.keep(name, key, None)  # before it begins: what is stopped goes on
    data = {"train": [str(path) for path in files], "labels": keys}
    return tune({**settings, "data": data, "output": str(folder / name)}, fresh=fresh)


def _cross_validated(fitted: TuneResult) -> dict[str, Any]:
    overall = fitted.validation.to_rows()[-1]
    return {name: overall[name] for name in ("energy_rmse_meV_per_atom", "force_rmse_eV_per_A")}


def _judge(
    test: Dataset, reference: Reference, students: Sequence[dict[str, Any]], direct: dict[str, Any] | None,
    folder: RunFolder, cache: Path,
) -> None:  # fmt: skip
    """Put errors to the teacher and to the labels of a test set into the rows of students."""
    teacher = label_all(reference, test, cache=cache, workers=0).results
    judged: list[tuple[Structure, FloatArray, FloatArray]] = [
        (frame.structure, labels.forces, frame.labels.forces) for frame, labels in zip(test, teacher, strict=True)
        if isinstance(labels, Labels) and labels.forces is not None and frame.labels.forces is not None
    ]  # fmt: skip
    if not judged:
        log.warning("no frame of the test set has forces that the teacher knows, too: nothing is judged on it")
        return
    structures = [structure for structure, _, _ in judged]
    of_teacher = np.concatenate([forces.ravel() for _, forces, _ in judged])
    of_labels = np.concatenate([forces.ravel() for _, _, forces in judged])
    for row in students:
        forces = _forces(load(folder / row["folder"]), structures)
        row |= asdict(distilled(forces, of_teacher, of_labels))
    if direct is not None:
        direct["to_labels"] = float(np.abs(_forces(load(folder / "direct"), structures) - of_labels).mean())


def _forces(potential: Potential, structures: Sequence[Structure]) -> FloatArray:
    return np.concatenate([np.asarray(p.forces).ravel() for p in potential.predict(list(structures), stress=False)])


def _speed(reference: Reference, student: Potential, structures: Sequence[Structure]) -> dict[str, Any]:
    """Return time per atom of teacher and student, one after the other on the largest structure."""
    largest = max(structures, key=len)
    of_teacher = _seconds(lambda structure: reference.label([structure]), largest)
    of_student = _seconds(lambda structure: student.predict([structure]), largest)
    return {
        "atoms": len(largest), "teacher_us_per_atom": 1e6 * of_teacher / len(largest),
        "student_us_per_atom": 1e6 * of_student / len(largest), "ratio": of_teacher / of_student,
    }  # fmt: skip


def _seconds(evaluate: Callable[[Structure], object], structure: Structure) -> float:
    """Return the shortest time of an evaluation, the first one aside.

    Atoms stand a little elsewhere each time: calculators keep what they have computed of the same structure.
    """
    evaluate(structure)
    shortest, spent, repeats = float("inf"), 0.0, 0
    while spent < _TIMED_S or repeats < _TIMED:
        repeats += 1
        moves = 1e-4 * np.sin(np.arange(structure.positions.size) + repeats).reshape(-1, 3)
        moved = Structure(structure.numbers, structure.positions + moves, structure.cell, structure.pbc)
        start = time.perf_counter()
        evaluate(moved)
        shortest = min(shortest, now := time.perf_counter() - start)
        spent += now
    return shortest


def _physics(
    asked: Mapping[str, Any], teacher: _Teacher, folder: RunFolder, state: _State, base: Path
) -> dict[str, Any]:  # fmt: skip
    """Return the numbers of student and teacher, as validate judges them."""
    content = dict(asked)
    if isinstance(content.get("structure"), str):
        content["structure"] = str((base / content["structure"]).resolve())
    student = folder / "student" / "potential"
    files = sorted(path for path in student.iterdir() if path.is_file() and path.name != NOTICE)
    key = hash_parts([
        json.dumps([content, teacher.source], sort_keys=True, default=str).encode(), *(p.read_bytes() for p in files),
    ])  # fmt: skip
    if (kept := state.of("physics", key)) is not None and (folder / "physics" / "result.json").is_file():
        return dict(kept)
    report = compute_physics(
        {**content, "reference": teacher.source}, potential=student, output=folder / "physics"
    )  # fmt: skip
    rows = [
        {"property": row.property, "number": row.number, "student": row.value, "teacher": row.reference,
         "unit": row.unit, "verdict": row.verdict} for row in report.rows
    ]  # fmt: skip
    result = {"rows": json.loads(json.dumps(rows, default=str)), "passed": report.count("pass"), "of": len(report.rows)}
    state.keep("physics", key, result)
    return result


def _notice(settings: DistilConfig, teacher: _Teacher) -> list[str]:
    """Return in sentences what the student is derived from, and under which licenses."""
    lines = [f"This potential was fitted by Forcewright to structures labelled by {teacher.name}."]
    if isinstance(teacher.source, dict) and "pretrained" in teacher.source:
        model = pretrained_named(str(teacher.source["pretrained"]))
        lines += [f"{model.name}: license {model.license}; trained on {model.trained_on}.", f"Cite: {model.citation}"]
    elif isinstance(teacher.source, dict):
        lines.append("See the license of the program or model behind it, and of its training data.")
    if settings.labels is not None:
        names = ", ".join(path.name for path in settings.labels)
        lines.append(f"Labels it was corrected by: {names}; license {settings.data_license or 'not stated'}.")
    return lines
