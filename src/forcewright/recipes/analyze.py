"""Analyze a trajectory: any of the analyses by name, with tables, figures and one page."""

from __future__ import annotations

import inspect
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from matplotlib.figure import Figure
from pydantic import ConfigDict, TypeAdapter, ValidationError

import forcewright.analyze as analyses
from forcewright.analyze.result import Result
from forcewright.configs import did_you_mean
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import atomic_path
from forcewright.recipes import provenance
from forcewright.recipes.run_folder import RunFolder
from forcewright.report import PageContent, Section, write_report
from forcewright.report.drawing import dress, new_figure
from forcewright.report.numbers import significant
from forcewright.simulation import SimulationResult
from forcewright.trajectory import Frames, Snapshot, snapshots
from forcewright.validation.properties import name_of, unit_of

_log = logging.getLogger(__name__)

#: what numbers are called whose names are too short to be understood alone
_SAID = {
    "highest": "highest frequency of frames so far apart", "sampled": "frames close enough for what moves",
    "images_from": "own periodic images from", "neighbors": "coordination number",
    "plateau": "displacement at which it levels off", "equilibration": "equilibration, left out",
    "equilibrated": "in equilibrium after it", "mean_fermi_level_eV": "mean Fermi level",
    "mean_band_energy_eV": "mean band energy", "mean_dos_at_fermi_level": "mean D(E_F)", "charges_by_class": "charge",
}  # fmt: skip

Listener = Callable[[str, int], None]


@dataclass(frozen=True, eq=False)
class Selection:
    """The frames of a trajectory that an analysis sees; may be gone through any number of times.

    ``skip`` frames at the start are left out, then every ``every``-th is taken, of those between ``start_ps`` and
    ``end_ps``. ``seen`` is told how many came so far.

    Raises
    ------
    InputError
        While it is gone through: if it holds no frame, or has no times where some are asked for.
    """

    frames: Frames
    skip: int = 0
    every: int = 1
    start_ps: float | None = None
    end_ps: float | None = None
    seen: Callable[[int], None] | None = None

    def __iter__(self) -> Iterator[Snapshot]:
        count = 0
        for index, snapshot in enumerate(snapshots(self.frames)):
            if index >= self.skip and (index - self.skip) % self.every == 0 and self._in_time(snapshot, index):
                count += 1
                if self.seen is not None:
                    self.seen(count)
                yield snapshot
        if count == 0:
            between = "" if self.start_ps is self.end_ps is None else f" from {self.start_ps} to {self.end_ps} ps"
            raise InputError(f"holds no frame beyond the {self.skip} that are skipped{between}", file=self.file)

    @property
    def file(self) -> Path | None:
        """The file of the trajectory, None where it is in memory."""
        return Path(self.frames) if isinstance(self.frames, str | Path) else None

    def _in_time(self, snapshot: Snapshot, index: int) -> bool:
        if self.start_ps is None and self.end_ps is None:
            return True
        if snapshot.time is None:
            raise InputError("does not say its time; select frames by their number", file=self.file, frame=index)
        low = -math.inf if self.start_ps is None else self.start_ps
        high = math.inf if self.end_ps is None else self.end_ps
        return low <= snapshot.time / 1000.0 <= high


class Analyses(dict[str, Result]):
    """Results by the name of the analysis.

    Attributes
    ----------
    failures
        Why an analysis has no result, by its name.
    notes
        What it warned of while it ran.
    seconds
        How long it took.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failures: dict[str, str] = {}
        self.notes: dict[str, tuple[str, ...]] = {}
        self.seconds: dict[str, float] = {}


def names() -> list[str]:
    """Return the names of the analyses: those public functions of `forcewright.analyze` that turn frames into results.

    `forcewright.analyze.thermodynamics` is one of them; of the folder of a run it reads thermo.csv. Those are left out
    that need objects which only Python can give.
    """
    return [name for name in _all_names() if not _python_only(getattr(analyses, name))]


def _all_names() -> list[str]:
    return [name for name in analyses.__all__ if name.islower() and _is_analysis(getattr(analyses, name))]


def _python_only(function: Callable[..., Any]) -> list[str]:
    """Return the options without a default that hold objects of ours, which no text can give."""
    options = list(inspect.signature(function).parameters.values())[1:]
    kinds = get_type_hints(function)
    return [o.name for o in options if o.default is o.empty and "forcewright." in str(kinds.get(o.name, ""))]


def _is_analysis(function: Callable[..., Any]) -> bool:
    signature = inspect.signature(function)
    result = getattr(analyses, str(signature.return_annotation), None)
    takes_frames = next(iter(signature.parameters), "") in ("frames", "source")
    return takes_frames and isinstance(result, type) and issubclass(result, Result)


def analyze(
    trajectory: Frames | SimulationResult, what: str | Sequence[str] = ("rdf",), output: str | Path | None = None, *,
    options: Mapping[str, Mapping[str, Any]] | None = None, skip: int = 0, every: int = 1,
    start_ps: float | None = None, end_ps: float | None = None,
    on_frame: Listener | None = None,
) -> Analyses:  # fmt: skip
    """Run analyses over a trajectory, and write tables, figures and a page where ``output`` is given.

    One that fails among several is told, and does not end the others.

    Parameters
    ----------
    trajectory
        A trajectory file, the output folder or the result of a simulation, or frames in memory, such as a list of ASE
        atoms.
    what
        Name of an analysis or several (`names`).
    output
        Folder to write to; nothing is written where it is not given.
    options
        Arguments by name of the analysis, such as ``{"rdf": {"r_max": 8.0}}``.
    skip, every
        Frames left out at the start; then every so many-th is taken.
    start_ps, end_ps
        Times between which frames are taken.
    on_frame
        Called with the name of the analysis and the number of frames read.

    Raises
    ------
    InputError
        If the trajectory cannot be read, an analysis or an option of it is not known or does not fit, or nothing could
        be computed.
    """
    if isinstance(trajectory, SimulationResult):
        trajectory = trajectory.folder
    if not isinstance(what, Sequence) or not all(isinstance(name, str) for name in what):
        raise InputError(f"is {what!r}; give the name of an analysis, or several", field="what")
    if skip < 0 or every < 1:
        raise InputError(f"skip is {skip} and every {every}; they must be at least 0 and 1")
    selection, options = Selection(_frames(trajectory), skip, every, start_ps, end_ps), dict(options or {})
    what = [what] if isinstance(what, str) else list(what)
    calls = {name: _call(name, options.pop(name, {})) for name in what}
    if options:
        raise InputError(f"there are options for {', '.join(options)}, which is not among the analyses {what}")
    if output is not None:
        RunFolder(output, "analyze").refuse_other_command()  # before minutes are spent
    done = Analyses()
    table = Path(trajectory) / "thermo.csv" if isinstance(trajectory, str | Path) else None
    for name, call in calls.items():
        start = time.perf_counter()
        listener = None if on_frame is None else partial(on_frame, name)
        averaged = name == "thermodynamics" and table is not None and table.is_file()
        with _heard() as said:
            try:
                done[name] = call(table) if averaged and table is not None else call(replace(selection, seen=listener))
            except Exception as error:  # one analysis must not stop the others
                if len(calls) == 1:
                    raise
                done.failures[name] = _reason(error)
                failed = error
        done.notes[name] = tuple(dict.fromkeys(said))
        done.seconds[name] = time.perf_counter() - start
    if not done and calls:
        raise failed
    for name, reason in done.failures.items():
        _log.warning("%s: %s", name, reason)
    if output is not None:
        with RunFolder(output, "analyze") as folder:
            _write(folder, done, selection)
    return done


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ForcewrightError) else f"{type(error).__name__}: {error}"


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect what is logged as a warning while the block runs."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    logger = logging.getLogger("forcewright")
    alone = None if logger.hasHandlers() else logging.lastResort

    def emit(record: logging.LogRecord) -> None:
        said.append(record.getMessage())
        if alone is not None:  # it is not asked where there is another handler, such as this one
            alone.handle(record)

    handler.emit = emit  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


def _frames(trajectory: Frames) -> Frames:
    """Return the trajectory of a run where a folder is given; frames that can be gone through once are kept."""
    if not isinstance(trajectory, str | Path):
        return trajectory if isinstance(trajectory, Sized) else [*snapshots(trajectory)]
    path = Path(trajectory)
    return trajectory_in(path) if path.is_dir() else path


def trajectory_in(folder: Path) -> Path:
    """Return the trajectory of a run; `InputError` if there is none in its folder."""
    for name in ("trajectory.extxyz", "trajectory.h5"):
        if (folder / name).is_file():
            return folder / name
    raise InputError("holds neither trajectory.extxyz nor trajectory.h5; give a trajectory file", file=folder)


def _call(name: str, options: Mapping[str, Any]) -> Callable[[Selection | Path], Result]:
    """Return the analysis as a function of frames alone."""
    if name not in _all_names():
        raise InputError(f"{name!r} is not an analysis; {did_you_mean(name, names())}", field="what")
    function = getattr(analyses, name)
    if (objects := set(_python_only(function)) - set(options)) or any(isinstance(options.get(o), str) for o in objects):
        raise InputError(
            f"{name} needs {', '.join(sorted(objects))}, which only Python can give: call forcewright.analyze.{name}",
            field="what",
        )  # fmt: skip
    parameters = list(inspect.signature(function).parameters.values())[1:]
    for key in options:
        if key not in {p.name for p in parameters}:
            allowed = ", ".join(p.name for p in parameters)
            raise InputError(f"{name} has no option {key!r}; it has {allowed}", field=f"{name}.{key}")
    options = {key: _checked_option(function, f"{name}.{key}", value) for key, value in options.items()}
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in options and p.kind != p.VAR_KEYWORD]
    if missing:
        raise InputError(f"{name} needs {', '.join(missing)}; give --set {name}.{missing[0]}=VALUE", field="what")

    def call(frames: Selection | Path) -> Result:
        try:
            result: Result = function(frames, **options)
        except InputError as error:
            if error.file is not None or error.frame is None or isinstance(frames, Path):
                raise
            frame = frames.skip + error.frame * frames.every
            raise InputError(error.problem, file=frames.file, frame=frame, field=error.field) from None
        return result

    return call


def _checked_option(function: Callable[..., Any], name: str, value: Any) -> Any:
    """Return an option as the type that the function asks for; pairs of elements are written as Si-O."""
    if isinstance(value, Mapping):
        value = {tuple(key.split("-")) if isinstance(key, str) else key: part for key, part in value.items()}
    adapter: TypeAdapter[Any] = TypeAdapter(
        get_type_hints(function)[name.partition(".")[2]], config=ConfigDict(arbitrary_types_allowed=True)
    )
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise InputError(f"is {value!r}: {error.errors()[0]['msg']}", field=name) from None


def _write(folder: RunFolder, done: Analyses, selection: Selection) -> None:
    path = selection.file
    source = "in memory" if path is None else str(path)
    title = "trajectory" if path is None else path.parent.name if path.stem == "trajectory" else path.stem
    sections = []
    for name, result in done.items():
        result.save(folder / f"{name}.json")
        try:
            result.save(folder / f"{name}.csv")
        except InputError:  # no one-dimensional array in it
            result.save(folder / f"{name}.npz")
        figure = figure_of(result)
        if figure is not None:
            with atomic_path(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=150)
        sections.append(section_of(name, result, figure, done.notes[name]))
    sections += [Section(f"{_title(name)} ({name})", f"Could not be computed: {reason}.")
                 for name, reason in done.failures.items()]  # fmt: skip
    content = {
        "trajectory": source, "skip": selection.skip, "every": selection.every, "start_ps": selection.start_ps,
        "end_ps": selection.end_ps, "seconds": dict(done.seconds), "failures": dict(done.failures),
        "notes": {name: list(said) for name, said in done.notes.items() if said},
    }  # fmt: skip
    summary = folder.write_result(content, {} if path is None else provenance.file_hashes([path]))
    ends = {"from": selection.start_ps, "to": selection.end_ps}
    times = [f"{word} {time:g} ps" for word, time in ends.items() if time is not None]
    facts = [("trajectory", source), ("frames left out at the start", str(selection.skip)),
             ("every", str(selection.every)), ("times", " ".join(times))]  # fmt: skip
    write_report(
        folder / "report.html",
        PageContent(
            title=title, kicker="Forcewright analyses",
            warnings=[f"{name}: {why}" for name, why in done.failures.items()],
            facts=facts, sections=sections, result=summary, citations=provenance.cited(["forcewright", "ase"]),
        ),
    )  # fmt: skip


def figure_of(result: Result) -> Figure | None:
    """Return the figure of a result in the look of reports, None where it has none."""
    figure = new_figure(3.6, 6.8)
    ax = figure.subplots()
    try:
        result.plot(ax)
    except (NotImplementedError, ForcewrightError):
        return None
    for axes in figure.axes:
        title = axes.get_title()
        axes.set_title("")  # which stands in the middle, and there goes to the left
        dress(axes, axes.get_xlabel(), axes.get_ylabel(), title)
        legend = axes.get_legend()
        if legend is not None:
            legend.set_frame_on(False)
            for text in legend.get_texts():
                text.set_fontsize(8)
    return figure


def section_of(name: str, result: Result, figure: Figure | None, notes: Sequence[str] = ()) -> Section:
    """Return the section of a page that shows a result: its figure, and its single numbers and texts as a table.

    ``notes`` are warnings, which come first.
    """
    sentence = (inspect.getdoc(getattr(analyses, name)) or "").split("\n\n")[0].replace("\n", " ").replace("`", "")
    text = "\n\n".join([*(f"Note: {note}." for note in notes), sentence])
    return Section(f"{_title(name)} ({name})", text, [] if figure is None else [figure], _tables(result))


def _title(name: str) -> str:
    kind = str(inspect.signature(getattr(analyses, name)).return_annotation)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind).capitalize()


def _tables(result: Result) -> list[dict[str, Any]]:
    """Return the single numbers and texts of a result as a table, those in mappings with a column for each key."""
    values = result.to_dict()
    single = [[*_words(name, result), significant(v, 4)] for name, v in values.items()
              if _is_single(v) and v is not None]  # fmt: skip
    headings = [("quantity", ""), ("unit", ""), ("value", "")]
    tables = [{"headings": headings, "rows": single, "style": "plain"}] if single else []
    mappings = {name: part for name, part in values.items() if isinstance(part, dict) and _is_single(*part.values())}
    for keys in dict.fromkeys(tuple(part) for part in mappings.values()):
        rows = [[*_words(name, result), *(significant(part[key], 4) for key in keys)]
                for name, part in mappings.items() if tuple(part) == keys]  # fmt: skip
        units = any(row[1] for row in rows)
        columns = [("", ""), *([("unit", "")] if units else []), *((name_of(key), unit_of(key)) for key in keys)]
        shown = rows if units else [[row[0], *row[2:]] for row in rows]
        tables.append({"headings": columns, "rows": shown, "style": "plain"})
    return tables


def _words(name: str, result: Result) -> tuple[str, str]:
    """Return the name of a number in words, and its unit."""
    if name in _SAID:
        return _SAID[name], result.units.get(name, "")
    return (name_of(name), unit_of(name)) if unit_of(name) else (name.replace("_", " "), result.units.get(name, ""))


def _is_single(*values: Any) -> bool:
    return bool(values) and all(isinstance(value, str | bool | int | float | None) for value in values)


def single_numbers(result: Result) -> dict[str, Any]:
    """Return numbers and texts of a result by name; of those by species only the ones that tell species apart.

    Numbers that have a unit are texts with it.
    """
    numbers: dict[str, Any] = {}
    for name, value in result.to_dict().items():
        words, unit = _words(name, result)
        parts = dict(value) if isinstance(value, dict) else {"": value}
        if len(parts) == 2:  # one species and the total are the same
            parts.pop("total", None)
        for key, part in parts.items():
            if _is_single(part) and part not in ("", None):
                of_key = unit or unit_of(key)
                shown = f"{part:.5g} {of_key}" if of_key and isinstance(part, int | float) else part
                numbers[f"{words} {name_of(key)}".strip()] = shown
    return numbers
