"""The command line: one sub-command a verb, no logic of its own."""

from __future__ import annotations

import io
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import forcewright as fw
from forcewright.configs import echo
from forcewright.errors import ForcewrightError
from forcewright.files import disk_problem
from forcewright.plain_data import parse_yaml
from forcewright.recipes.property_kind import describes_property, property_folder, property_unit
from forcewright.terminal import VisibleFormatter, visible

app = typer.Typer(
    name="forcewright",
    help="From labelled atomic structures to an interatomic potential that can be trusted in a simulation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)
_plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}  # names and labels say what they say
_out = Console(**_plain)
_err = Console(stderr=True, **_plain)

Config = Annotated[Path, typer.Argument(help="YAML file; paths in it are relative to it.", show_default=False)]
SkipBroken = Annotated[
    bool,
    typer.Option("--skip-broken", help="Leave out frames that cannot be read, such as unfinished ones, and say so."),
]
Files = Annotated[list[Path], typer.Argument(help="Files of labelled structures.", show_default=False)]
Saved = Annotated[
    Path, typer.Argument(help="Folder of a saved potential, a .yace or a .snapcoeff file.", show_default=False)
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Discard the trials of an earlier run in the output folder.")]
FreshRun = Annotated[bool, typer.Option("--fresh", help="Discard an earlier run in the output folder.")]
FreshStudies = Annotated[
    bool, typer.Option("--fresh", help="Discard the studies of an earlier comparison in the output folder.")
]
FreshRounds = Annotated[
    bool, typer.Option("--fresh", help="Discard rounds and labels of an earlier run in the output folder.")
]
LabelMap = Annotated[
    list[str] | None,
    typer.Option("--label", help="Where a label stands, as NAME=KEY: energy=dft_energy. May be repeated."),
]
TargetFile = Annotated[
    Path | None,
    typer.Option("--target", help="YAML file of a property to look at, too: its target, or a config that has one."),
]
Format = Annotated[str | None, typer.Option(help="Format by name, where the ending of the file does not tell.")]
StressOrder = Annotated[
    list[str] | None,
    typer.Option(
        "--stress-order",
        help="mlearn JSON: order of the off-diagonals, 'xy zx yz', or for one group as 'Elastic=xy yz zx'.",
    ),
]
EnergyUnit = Annotated[str | None, typer.Option(help="npz without units: unit of energy, such as kcal/mol.")]
LengthUnit = Annotated[str | None, typer.Option(help="npz without units: unit of length, Ang or Bohr.")]


def _show_version(asked: bool) -> None:
    if asked:
        _out.print(f"forcewright {fw.__version__}")
        raise typer.Exit()


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """From labelled atomic structures to an interatomic potential that can be trusted in a simulation."""


ConfigOrData = Annotated[
    list[Path],
    typer.Argument(
        metavar="CONFIG | DATA…", show_default=False,
        help="YAML file; paths in it are relative to it. Or, with --model, files of labelled structures.",
    ),
]  # fmt: skip
ModelKind = Annotated[
    str | None, typer.Option(help="Family to fit to files of structures, such as ace or snap.", metavar="KIND")
]
TestFiles = Annotated[list[Path] | None, typer.Option("--test", help="With --model: test files. May be repeated.")]
StudyOutput = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for everything that comes out.")]
ExecutorName = Annotated[
    str | None,
    typer.Option("--executor", help="Where tasks run: local, dask, dask=ADDRESS, slurm or slurm=PARTITION."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="With --model: a further setting, as study.trials=8. May be repeated."),
]


@app.command()
def tune(
    config: ConfigOrData, model: ModelKind = None, test: TestFiles = None, output: StudyOutput = None,
    settings: Settings = None, label: LabelMap = None, fresh: Fresh = False, executor: ExecutorName = None,
) -> None:  # fmt: skip
    """Search hyperparameters, weights and ridge; write potential, tables and report.

    Example: `forcewright tune mo.yaml`. Run it again to resume. Without a config:
    `forcewright tune train.extxyz --model ace --test test.extxyz -o runs/x` does what `forcewright init` would write.
    A config with a target fits dipoles, tensors, charges (`forcewright config tune-property`) or densities of states
    (`forcewright config tune-dos`).
    """
    if model is None and len(config) == 1 and describes_property(config[0]):
        if test or settings or label or executor:
            raise ForcewrightError("--test, --set, --label and --executor are not for a property; change its config")
        _tune_property(config[0], output, fresh)
        return
    study = _study(config, model, test, output, settings, label, search=True)
    _run_study(fw.tune, study, output, fresh, executor)


def _tune_property(config: Path, output: Path | None, fresh: bool) -> None:
    with _progress("fitting a property", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as show:

        def on_trial(record: Any, wanted: int) -> None:
            error = f"loss {record.loss:.5g}" if record.loss is not None else f"failed: {record.error}"
            if record.loss is None or not _err.is_terminal:
                _say(f"trial {record.index + 1}/{wanted}: {error}")
            show(description=error, total=wanted, advance=1)

        result = fw.tune_property(config, output=output, fresh=fresh, on_trial=on_trial)
    for warning in result.summary["warnings"]:
        _print(warning, "bold red", soft_wrap=False)
    for sentence in result.summary.get("at_range_ends", []):
        _print(sentence, "yellow", soft_wrap=False)
    _print_errors(result.to_rows(), result.summary.get("unit"))
    _say_where(result.folder)


def _print_errors(rows: Sequence[Mapping[str, Any]], unit: str | None) -> None:
    """Print the errors of a property: a line for each of its parts, or for each set of densities of states."""
    for row in rows:
        if "part" not in row:
            from forcewright.recipes.dos_study import error_line

            _print(f"{row['set']}: {error_line(row)}")
            continue
        percent = "" if row["percent"] is None else f", {row['percent']:.3g} % of the spread"
        which = f"{row['set']}: " if "set" in row else ""
        _print(
            f"{which}{row['part']}: MAE {row['mae']:.4g}, RMSE {row['rmse']:.4g}{f' {unit}' if unit else ''}{percent}"
        )


@app.command()
def fit(
    config: ConfigOrData, model: ModelKind = None, test: TestFiles = None, output: StudyOutput = None,
    settings: Settings = None, label: LabelMap = None, fresh: Fresh = False, executor: ExecutorName = None,
) -> None:  # fmt: skip
    """Fit one model whose hyperparameters are all given; only weights and ridge may be ranges.

    Example: `forcewright fit mo-fixed.yaml`. Without a config:
    `forcewright fit train.extxyz --model ace --test test.extxyz -o runs/x`.
    """
    study = _study(config, model, test, output, settings, label, search=False)
    _run_study(fw.fit, study, output, fresh, executor)


def _study(
    paths: list[Path], model: str | None, test: list[Path] | None, output: Path | None, settings: list[str] | None,
    label: list[str] | None, *, search: bool,
) -> Any:  # fmt: skip
    """Return a config: the one file that is named, or that of files of structures and a model."""
    if model is None:
        if len(paths) > 1:
            raise ForcewrightError(
                f"{len(paths)} files are no config; to fit to them, say --model ace or another family"
            )
        if test or settings or label:
            raise ForcewrightError("--test, --set and --label go with --model; put them into the config")
        return paths[0]
    from forcewright.recipes.one_line import study_config

    return study_config(
        paths,
        model=model,
        search=search,
        test=test or (),
        labels=_mapping(label),
        output=output,
        settings=settings or (),
    )


def _run_study(run: Any, config: Any, output: Path | None, fresh: bool, executor: str | None) -> None:
    best = float("inf")
    # the part of the log that says which labels were found and which reference energies are used
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("%(message)s"))
    logger = logging.getLogger("forcewright.data")
    logger.addHandler(handler)
    with _progress("reading data", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as show:

        def on_trial(record: Any, wanted: int) -> None:
            nonlocal best
            if record.loss is None:
                _say(f"trial {record.index} failed: {record.error}")
            else:
                best = min(best, record.loss)
                if not _err.is_terminal:
                    _say(f"trial {record.index + 1}/{wanted}: loss {record.loss:.5g}, best {best:.5g}")
            show(description=f"best loss {best:.5g}", total=wanted, advance=1)

        try:
            result = run(config, output=output, fresh=fresh, on_trial=on_trial, executor=executor)
        finally:
            logger.removeHandler(handler)
    summary = result.summary
    if summary["protocol"] == "xpot":
        _out.print("protocol xpot: selected on the test set; these errors flatter themselves", style="bold red")
    for warning in summary["warnings"]:
        _print(warning, "bold red", soft_wrap=False)
    for sentence in summary.get("at_range_ends", []):
        _print(sentence, "yellow", soft_wrap=False)
    _out.print("validation errors (each frame predicted by a fit that has not seen it)")
    _print(result.validation, soft_wrap=False)
    if result.test is not None:
        _out.print("test errors (touched once)")
        _print(result.test, soft_wrap=False)
    counted = "weight/ridge trials" if summary["solver"] else "fits"
    _out.print(
        f"{summary['trials']} trial{'s' * (summary['trials'] != 1)}, {summary['evaluations']} {counted}, "
        f"{summary['wall_s']:.0f} s wall, "
        f"{summary['cpu_s']:.0f} s CPU, {summary['peak_memory_bytes'] / 1e6:.0f} MB, "
        f"{summary['cost_us_per_atom']:.3g} µs/atom (CPU time, {summary.get('cost_threads', 1)} thread)",
        highlight=False,
    )
    _say_where(result.folder)


def _print(shown: object, style: str | None = None, *, soft_wrap: bool = True) -> None:
    """Print text as it is; control characters are written out."""
    _out.print(visible(str(shown)), style=style, soft_wrap=soft_wrap)


def _say(text: str, style: str | None = None) -> None:
    """Print text like `_print` where errors and progress are told."""
    _err.print(visible(text), style=style, soft_wrap=True)


def _say_where(folder: Path) -> None:
    _print(f"written to {folder}; open {folder / 'report.html'}")


def _show(result: object, folder: Path) -> None:
    """Print a result, and where its page is."""
    _print(result)
    _say_where(folder)


@contextmanager
def _progress(start: str, *columns: Any) -> Iterator[Callable[..., None]]:
    """Show how far a command is, where somebody looks on; what is yielded updates the text and the columns."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *columns)
    with Progress(*columns, console=_err, disable=not _err.is_terminal) as progress:
        task = progress.add_task(start, total=None, left="")

        def show(description: str | None = None, **fields: Any) -> None:
            progress.update(task, description=None if description is None else visible(description), **fields)

        yield show


def _spinner() -> AbstractContextManager[Callable[..., None]]:
    return _progress("reading", TimeElapsedColumn())


def _bar_with_time_left() -> AbstractContextManager[Callable[..., None]]:
    return _progress("starting", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))


@app.command()
def predict(
    potential: Saved,
    files: Files,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the predictions.")] = None,
    label: LabelMap = None,
    grades: Annotated[bool, typer.Option("--grades", help="Write each frame's largest extrapolation grade.")] = False,
    uncertainty: Annotated[
        str | None,
        typer.Option(
            help="Write each atom's grade, variance, committee, standard_error, distance or rematch.", metavar="KIND"
        ),
    ] = None,
) -> None:
    """Predict energies, forces and stresses; print the errors where there are labels, and which frames are outside.

    Example: `forcewright predict runs/mo/potential Mo_test.extxyz -o predicted.extxyz`. The folder of a study with a
    target predicts its property: `forcewright predict runs/dipole new.extxyz -o predicted.csv` (or .extxyz; densities
    of states .npz or .csv).
    """
    if property_folder(potential) is not None:
        if label or grades or uncertainty:
            raise ForcewrightError("--label, --grades and --uncertainty are for potentials; a property has its own key")
        _, errors = fw.predict_property(potential, files, output)
        _print_errors(errors, property_unit(potential))
        if output is not None:
            _print(f"predictions written to {output}")
        return
    predicted = fw.predict(potential, files, output, labels=_mapping(label), grades=grades, uncertainty=uncertainty)
    if predicted.errors is not None:
        _print(predicted.errors, soft_wrap=False)
    if predicted.extrapolation is not None:
        _print(predicted.extrapolation.text())
    if output is not None:
        _print(f"{len(predicted.dataset)} predictions written to {output}, as forcewright_energy and so on")


@app.command()
def check(
    files: Files,
    test: Annotated[list[Path] | None, typer.Option("--test", help="Test files to compare with.")] = None,
    format: Format = None,
    label: LabelMap = None,
    target: TargetFile = None,
    stress_order: StressOrder = None,
    energy_unit: EnergyUnit = None,
    length_unit: LengthUnit = None,
) -> None:
    """Audit labelled structures: name file, frame and field of everything that would spoil a fit.

    Example: `forcewright check Mo_train.extxyz --test Mo_test.extxyz`. The exit code is 1 if there are errors.
    """
    options = _reader_options(stress_order, energy_unit, length_unit)
    audited = fw.audit(files, test=test, format=format, labels=_mapping(label), target=target, **options)
    _print(audited)
    if audited.errors:
        raise typer.Exit(1)


@app.command()
def convert(
    files: Files,
    output: Annotated[Path, typer.Argument(help="File to write; its ending decides the format.")],
    format: Format = None,
    label: LabelMap = None,
    stress_order: StressOrder = None,
    energy_unit: EnergyUnit = None,
    length_unit: LengthUnit = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Read labelled structures of any known format and write them in another.

    Example: `forcewright convert vasprun.xml.gz more.xml.gz train.extxyz`.
    """
    options = _reader_options(stress_order, energy_unit, length_unit)
    dataset = fw.convert(
        files, output, format=format, labels=_mapping(label),
        on_read=partial(_print, soft_wrap=False), skip_broken=skip_broken, **options,
    )  # fmt: skip
    _print(f"{len(dataset)} frames written to {output}")


def _time_left(seconds: float | None) -> str:
    return "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"


@app.command()
def simulate(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="CONFIG | POTENTIAL START", show_default=False,
            help="YAML file; or a potential (or such as 'xtb: GFN1-xTB') and a file of structures, with --temperature.",
        ),
    ],
    temperature: Annotated[float | None, typer.Option(help="Temperature in K.")] = None,
    time: Annotated[float, typer.Option(help="Duration in ps.")] = 10.0,
    pressure: Annotated[float | None, typer.Option(help="Pressure in GPa that is held; else the volume is.")] = None,
    timestep: Annotated[float, typer.Option(help="Time step in fs.")] = 1.0,
    repeat: Annotated[int, typer.Option(help="How often the cell is repeated along each vector.")] = 1,
    engine: Annotated[str, typer.Option(help="ase or lammps: what moves the atoms.")] = "ase",
    seed: Annotated[int, typer.Option(help="Seed of velocities.")] = 0,
    output: StudyOutput = None,
    fresh: FreshRun = False,
) -> None:  # fmt: skip
    """Run molecular dynamics: stages or a protocol, with any potential; write trajectory, table and report.

    Example: `forcewright simulate run.yaml`. Run it again to go on where it was stopped. Without a config:
    `forcewright simulate runs/mo/potential start.extxyz --temperature 300 --time 10 -o runs/md`. The exit code is 1 if
    a monitor stopped the run, or none of several runs survived.
    """
    from forcewright.protocols.survival import Survival

    config: Any = paths[0]
    if len(paths) == 2:
        from forcewright.recipes.one_line import simulation_config

        if temperature is None:
            raise ForcewrightError("--temperature is missing; give it in K")
        config = simulation_config(
            *paths, temperature_K=temperature, time_ps=time, pressure_GPa=pressure, timestep_fs=timestep, repeat=repeat,
            engine=engine, seed=seed, output=output,
        )  # fmt: skip
    elif len(paths) > 2 or temperature is not None or output is not None:
        raise ForcewrightError("give a config alone, or a potential, a structure and --temperature")
    with _bar_with_time_left() as show:

        def on_progress(state: Any) -> None:
            now = state.stage if state.temperature is None else f"{state.stage}, {state.temperature:.0f} K"
            show(description=now, completed=state.step, total=state.steps, left=_time_left(state.seconds_left))

        result = fw.simulate(config, fresh=fresh, on_progress=on_progress)
    if isinstance(result, Survival):
        ending, failed = f"{result.survivors} of {len(result.completed)} runs survived", not result.survivors
    else:
        ending, failed = result.reason, not result.completed
    _print(ending, "bold red" if failed else None, soft_wrap=False)
    for note in () if isinstance(result, Survival) else result.notes:
        _print(note)
    _say_where(result.folder)
    if failed:
        raise typer.Exit(1)


Run = Annotated[Path, typer.Argument(help="Output folder of a simulation.", show_default=False)]
ReferenceOption = typer.Option(
    "--reference", "-r", show_default=False,
    help="YAML file with the reference (that of `label` will do), a potential, or text such as 'xtb: GFN1-xTB'.",
)  # fmt: skip
RunPotential = Annotated[
    Path | None, typer.Option("--potential", help="The run's potential, where it has moved since.")
]
RunTrain = Annotated[
    list[Path] | None,
    typer.Option("--train", help="Training data, where the study around the potential does not name them."),
]
RunOutput = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for what comes out.")]
Workers = Annotated[int, typer.Option(help="Frames labelled at the same time.")]


@app.command()
def rerun(
    run: Run,
    reference: Annotated[str, ReferenceOption],
    output: RunOutput = None,
    frames: Annotated[int, typer.Option(help="Frames of the trajectory, at most.")] = 200,
    workers: Workers = 1,
    potential: RunPotential = None,
    train: RunTrain = None,
) -> None:
    """Label frames of a finished run: errors by atom and over time, and mean pressures of training, run and rerun.

    Example: `forcewright rerun runs/md --reference label.yaml`. Run it again to go on where it was stopped.
    """
    with _bar_with_time_left() as show:

        def on_done(state: Any) -> None:
            show(description="labelling", completed=state.done, total=state.total, left=_time_left(state.seconds_left))

        done = fw.rerun(
            run, reference, output=output, frames=frames, workers=workers, potential=potential, train=train or None,
            on_done=on_done,
        )  # fmt: skip
    _show(done, done.folder)


@app.command()
def diagnose(
    run: Run,
    reference: Annotated[str | None, ReferenceOption] = None,
    output: RunOutput = None,
    labels: Annotated[int, typer.Option(help="Frames that the reference labels.")] = 60,
    workers: Workers = 1,
    potential: RunPotential = None,
    train: RunTrain = None,
) -> None:
    """Find out when a run went wrong, where, whether the potential was wrong there, and what to do.

    Example: `forcewright diagnose runs/md --reference label.yaml`.
    """
    with _spinner() as show:
        made = fw.diagnose(
            run, reference, output=output, labels=labels, workers=workers, potential=potential, train=train or None,
            on_step=lambda what: show(description=what),
        )  # fmt: skip
    _show(made, made.folder)


@app.command()
def analyze(
    trajectory: Annotated[
        Path, typer.Argument(help="Trajectory (any format ASE reads, or H5MD), or a run's folder.", show_default=False)
    ],
    what: Annotated[str, typer.Option(help="Analyses, parted by commas; 'list' names them.")] = "rdf",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for tables, figures and the page.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="An option of an analysis, as rdf.r_max=8. May be repeated.")
    ] = None,
    skip: Annotated[int, typer.Option(help="Frames left out at the start.")] = 0,
    every: Annotated[int, typer.Option(help="Take every so many-th frame.")] = 1,
    start_ps: Annotated[float | None, typer.Option(help="Take frames from this time on.")] = None,
    end_ps: Annotated[float | None, typer.Option(help="Take frames up to this time.")] = None,
) -> None:
    """Analyze the structure and dynamics of a trajectory.

    One analysis that fails does not end the others; the exit code is then 1.

    Example: `forcewright analyze runs/md --what rdf,adf,msd --set rdf.r_max=8`.
    """
    from forcewright.recipes.analyze import names, single_numbers

    if what == "list":
        _print("\n".join(names()))
        return
    wanted = [name.strip() for name in what.split(",") if name.strip()]
    folder = output or (trajectory if trajectory.is_dir() else trajectory.parent) / "analysis"
    with _spinner() as show:
        results = fw.analyze(  # type: ignore[operator]  # a package that can be called
            trajectory, wanted, folder, options=_options(option), skip=skip, every=every, start_ps=start_ps,
            end_ps=end_ps, on_frame=lambda name, count: show(description=f"{name}: {count} frames"),
        )  # fmt: skip
    for name, result in results.items():
        _print(f"{name}: {_line(single_numbers(result))}")
    _say_where(folder)
    if results.failures:
        raise typer.Exit(1)


def _options(pairs: list[str] | None) -> dict[str, dict[str, Any]]:
    """Return what ``--set rdf.r_max=8`` says, by analysis and option; values are read as YAML."""
    options: dict[str, dict[str, Any]] = {}
    for pair in pairs or []:
        name, separator, value = pair.partition("=")
        analysis, dot, key = name.partition(".")
        if not (separator and dot and analysis and key):
            raise ForcewrightError(f"--set {pair!r} is not ANALYSIS.OPTION=VALUE, such as rdf.r_max=8")
        try:
            options.setdefault(analysis, {})[key] = parse_yaml(value)
        except ForcewrightError as error:
            raise ForcewrightError(f"--set {echo(pair)} {error}") from None
    return options


def _line(numbers: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.5g}" if isinstance(value, float) else f"{name} {value}" for name, value in
                     numbers.items()) or "done"  # fmt: skip


@app.command()
def validate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[POTENTIAL] CONFIG | POTENTIAL START", show_default=False,
            help="YAML file; before it a potential (a folder, also of its study, or a file) in place of the config's. "
            "With --what a potential and a file with the unit cell of a crystal.",
        ),
    ],
    what: Annotated[
        str | None, typer.Option(help="Without a config: properties by default settings, such as elastic,vacancy.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="With --what: a potential to compare with, or such as 'xtb: GFN1-xTB'.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for what comes out, in place of the config's.")
    ] = None,
) -> None:  # fmt: skip
    """Compute the physics of a potential and judge it against a reference.

    Example: `forcewright validate runs/si/potential validate.yaml`. Where neither the config nor `-o` names an output,
    it is `physics` beside the potential. Without a config:
    `forcewright validate runs/si/potential cell.cif --what equation_of_state,elastic -o runs/physics`. The exit code is
    1 if a number lies outside its tolerance or could not be computed.
    """
    if len(paths) > 2:
        raise ForcewrightError(f"{len(paths)} paths are too many; give a potential and a config, or a config alone")
    *potentials, config = paths
    settings: Any = config
    if what is not None:
        from forcewright.recipes.one_line import validation_config

        if not potentials:
            raise ForcewrightError("--what goes with a potential and a file with the unit cell of a crystal")
        settings = validation_config(potentials.pop(), config, what, reference=reference, output=output)
    elif reference is not None:
        raise ForcewrightError("--reference goes with --what; put it into the config")
    with _spinner() as show:
        judged = fw.validate(
            settings, potential=potentials[0] if potentials else None, output=output,
            on_property=lambda name: show(description=name.replace("_", " ")),
        )  # fmt: skip
    assert judged.folder is not None  # a config in a file is answered in files
    _show(judged, judged.folder)
    if not judged.passed:
        raise typer.Exit(1)


@app.command()
def compare(config: Config, fresh: FreshStudies = False) -> None:
    """Put several families of potentials side by side on the same frames: errors, time, memory and energy used.

    Example: `forcewright compare families.yaml`. Studies that have finished are taken as they are.
    """
    with _spinner() as show:
        compared = fw.compare(config, fresh=fresh, on_family=lambda name: show(description=name))
    _show(compared, compared.folder)


@app.command()
def ablate(config: Config, fresh: FreshStudies = False) -> None:
    """Show what each part of a fit is worth: a base, and changes of it with everything else as it was.

    Example: `forcewright ablate ablate.yaml`. Studies that have finished are taken as they are.
    """
    with _spinner() as show:
        ablation = fw.ablate(config, fresh=fresh, on_variant=lambda name: show(description=name))
    _show(ablation, ablation.folder)


@app.command()
def assess(config: Config) -> None:
    """Assess models far from their training data: errors by set, family, element and atom, barriers, ranks, spectra.

    Example: `forcewright assess assess.yaml`. Run it again to go on where it was stopped.
    """
    with _spinner() as show:
        made = fw.assess(config, on_step=lambda step: show(description=step))
    _show(made, made.folder)


@app.command(name="compare-spaces")
def compare_spaces(
    a: Annotated[
        Path, typer.Argument(help="Trajectory or data set of any format, or a run's folder.", show_default=False)
    ],
    b: Annotated[Path, typer.Argument(help="The other.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tables, figures and pages.")] = Path(
        "spaces"
    ),
    descriptor: Annotated[str, typer.Option(help="soap, acsf, ace, bispectrum, coulomb or ewald.")] = "soap",
    cutoff: Annotated[float | None, typer.Option(help="Radius of the surroundings in Å; 6 by default.")] = None,
    kernel: Annotated[str, typer.Option(help="rematch, best or average.")] = "rematch",
    gamma: Annotated[float, typer.Option(help="Entropy of rematch: from best match (0) to average.")] = 0.1,
    frames: Annotated[int, typer.Option(help="Most frames of each, taken evenly.")] = 500,
    skip: Annotated[int, typer.Option(help="Frames of each left out at the start.")] = 0,
    share: Annotated[float, typer.Option(help="Of its own frames that lie within the spread of a set.")] = 0.95,
    halves: Annotated[str, typer.Option(help="blocks of time, or alternating, for frames without order.")] = "blocks",
    map: Annotated[str, typer.Option(help="pca or umap.")] = "pca",
    add: Annotated[int, typer.Option(help="Most frames named to be added to either.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of UMAP.")] = 0,
    label: LabelMap = None,
) -> None:
    """Compare the configuration spaces of two runs: what each covers of the other, and which frames to add.

    Example: `forcewright compare-spaces runs/classical reference.extxyz -o spaces`.
    """
    with _spinner() as show:
        compared = fw.compare_spaces(
            a, b, output, descriptor=descriptor, cutoff=cutoff, kernel=kernel, gamma=gamma,  # type: ignore[arg-type]
            frames=frames, skip=skip, share=share, halves=halves, map=map, add=add, seed=seed,  # type: ignore[arg-type]
            labels=_mapping(label), on_step=lambda step: show(description=step),
        )  # fmt: skip
    _show(compared, output)


@app.command()
def learn(config: Config, fresh: FreshRounds = False) -> None:
    """Learn from simulations: run them with a potential, label what is new to it, fit again, until nothing is new.

    Example: `forcewright learn learn.yaml`. Run it again to go on where it was stopped; no label is computed twice.
    """
    with _spinner() as show:
        learned = fw.learn(
            config, fresh=fresh, on_start=lambda words: _print(f"before it begins: {words}"),
            on_step=lambda words: show(description=words),
        )  # fmt: skip
    _show(learned, learned.folder)


@app.command()
def distil(config: Config) -> None:
    """Make a fast student of a slow teacher: make structures, label them, fit, judge, compare physics and speed.

    Example: `forcewright distil distil.yaml`. Run it again to go on where it was stopped; no label is computed twice.
    """
    with _spinner() as show:
        made = fw.distil(config, on_step=lambda step: show(description=step))
    _show(made, made.folder)


@app.command(name="learning-curve")
def learning_curve(config: Config) -> None:
    """Fit families to growing, nested subsets of the training data; show how fast their errors fall.

    Example: `forcewright learning-curve curve.yaml`. Fits that have finished are taken as they are.
    """
    with _spinner() as show:
        curve = fw.learning_curve(config, on_fit=lambda name: show(description=name))
    _show(curve, curve.folder)


@app.command()
def label(config: Config, executor: ExecutorName = None) -> None:
    """Label structures with a reference: xTB, LAMMPS, ASE, CP2K, VASP or a trained potential.

    Example: `forcewright label label.yaml`. Run it again to go on where it was stopped. What fails is listed beside the
    output and left out; the exit code is 1 if nothing was labelled.
    """
    failed = 0
    with _bar_with_time_left() as show:

        def on_done(state: Any) -> None:
            nonlocal failed
            failed += hasattr(state.result, "reason")
            now = f"{failed} without labels" if failed else "labelling"
            show(description=now, completed=state.done, total=state.total, left=_time_left(state.seconds_left))

        result = fw.label(config, on_done=on_done, executor=executor)
    _print(result, "bold red" if result.labelling.failures else None)
    if result.output is not None:
        _print(f"written to {result.output}")
    elif not result.labelling.pending:
        raise typer.Exit(1)


@app.command()
def generate(
    config: Config,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write, in place of the config's.")
    ] = None,
) -> None:
    """Make structures to label: rattled, relaxed a little, strained, defective, random, or from molecular dynamics.

    Example: `forcewright generate structures.yaml`. The same seed gives the same structures, and what a teacher has
    computed is kept.
    """
    from forcewright.generation import mean_teacher_calls

    with _spinner() as show:
        made = fw.generate(
            config, output=output,
            on_made=lambda group, count: show(description=f"{group}: {count} structures"),
        )  # fmt: skip
    groups = ", ".join(f"{name} {count}" for name, count in made.group_sizes.items())
    _print(f"{len(made)} structures written: {groups}")
    if (calls := mean_teacher_calls(made)) is not None:
        _print(f"{calls:.3g} teacher calls for each structure kept by rattle_relax_repeat")


@app.command()
def select(
    files: Files,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)],
    by: Annotated[str, typer.Option(help="random, energy, force, time, fps, cur, maxvol or novelty.")] = "fps",
    count: Annotated[int, typer.Option(help="How many frames.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    potential: Annotated[Path | None, typer.Option(help="For novelty: a potential that knows its uncertainty.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the selection, as cutoff=4.5.")
    ] = None,
    label: LabelMap = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Select frames that differ from one another.

    Example: `forcewright select frames.extxyz --by fps --count 100 -o few.extxyz`.
    """
    available: list[int] = []
    chosen = fw.select(
        files, output, by=by, count=count, seed=seed, potential=potential, labels=_mapping(label),
        options=_options([f"selection.{pair}" for pair in option or []]).get("selection"), on_read=available.append,
        skip_broken=skip_broken,
    )  # fmt: skip
    _print(f"{len(chosen)} of {available[0]} frames written to {output}")


@app.command()
def split(
    files: Files,
    output: Annotated[
        tuple[Path, Path], typer.Option("--output", "-o", help="Files for training and for test.", show_default=False)
    ],
    by: Annotated[str, typer.Option(help="blocks, random, group or stratified.")] = "blocks",
    test: Annotated[float, typer.Option(help="Share of the frames to test on.")] = 0.1,
    gap: Annotated[int | None, typer.Option(help="Blocks: frames left out beside each test block.")] = None,
    blocks: Annotated[int | None, typer.Option(help="Blocks: how many in each trajectory.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Group: one to test on. May be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    label: LabelMap = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Split frames into training and test, and warn of near-copies across the two.

    Example: `forcewright split md.extxyz --by blocks --test 0.1 --gap 5 -o train.extxyz test.extxyz`.
    """
    options = {"gap": gap, "blocks": blocks, "groups": group}
    asked = {name: value for name, value in options.items() if value}
    parts = fw.split(
        files, output, by=by, test=test, seed=seed, labels=_mapping(label), options=asked, skip_broken=skip_broken
    )
    for line in parts.lines():
        _print(line, "bold red" if line.startswith("warning") else None)


@app.command()
def statistics(
    files: Files,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tables, figures and the page.")] = Path(
        "statistics"
    ),
    by: Annotated[str, typer.Option(help="What makes a set of frames: file, group, trajectory or all.")] = "group",
    label: LabelMap = None,
    target: TargetFile = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Tell the range, mean and spread of energies, forces and volumes, and how volumes change over time.

    Example: `forcewright statistics hv-500K.xml hv-800K.xml --by file -o statistics`.
    """
    described = fw.statistics(
        files,
        output,
        by=by,  # type: ignore[arg-type]
        labels=_mapping(label),
        target=target,
        skip_broken=skip_broken,
    )
    _show(described, output)


@app.command()
def pipeline(
    config: Config,
    only: Annotated[str | None, typer.Option(help="The one stage to look at.")] = None,
    dvc: Annotated[bool, typer.Option("--dvc", help="Run nothing; write dvc.yaml, for `dvc repro`.")] = False,
) -> None:
    """Run those stages of a pipeline whose command, config or files have changed, each after what it reads.

    Example: `forcewright pipeline pipeline.yaml`. Run it again to go on where it was stopped.
    """
    done = fw.pipeline(config, only=only, dvc=dvc, on_stage=lambda name, state: _say(f"{name}: {state}"))
    counts = list(done.states.values())
    if dvc:
        _print(f"{len(counts)} stages written to {done.folder / 'dvc.yaml'}; run them with: dvc repro")
    else:
        _print(f"{counts.count('ran')} of {len(counts)} stages ran, {counts.count('unchanged')} were unchanged")


@app.command()
def init(
    files: Files,
    output: Annotated[Path, typer.Option("--output", "-o", help="Config to write; it must not exist.")] = Path(
        "config.yaml"
    ),
    model: Annotated[str, typer.Option(help="ace, snap, gap, graph, sgdml, or a family of another package.")] = "ace",
    test: Annotated[list[Path] | None, typer.Option("--test", help="Test files; may be repeated.")] = None,
    run: Annotated[Path | None, typer.Option(help="Folder for what the study will write.")] = None,
    label: LabelMap = None,
) -> None:
    """Look at labelled structures, and write a commented config for them: a first potential is two commands away.

    Example: `forcewright init train.extxyz --test test.extxyz -o mo.yaml`, and then `forcewright tune mo.yaml`.
    The exit code is 1, and nothing is written, if the data have errors.
    """
    made = fw.init(files, output, model=model, test=test or None, labels=_mapping(label), run=run)
    _print(made.audit)
    if made.config is None:
        raise ForcewrightError("the data have errors; mend them, or leave the frames out, and run it again")
    _print(f"written to {made.config}; run it: forcewright tune {shlex.quote(str(made.config))}")


@app.command()
def cite(run: Annotated[Path, typer.Argument(help="Output folder of a run.", show_default=False)]) -> None:
    """Print what a run is to cite, as BibTeX.

    Example: `forcewright cite runs/mo > mo.bib`.
    """
    _out.out(visible(fw.cite(run)), highlight=False, end="")


@app.command(name="config")
def show_config(
    verb: Annotated[str, typer.Argument(help="A command that reads a config, such as tune.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="Family whose hyperparameters are shown.", metavar="KIND")] = None,
    json_schema: Annotated[bool, typer.Option("--json-schema", help="Print a JSON Schema for editors.")] = False,
) -> None:
    """Print everything that may stand in the config of a command, with meanings, types, units and defaults.

    Example: `forcewright config tune --model snap > tune.yaml`. What is printed is a valid config.
    """
    _out.out(visible(fw.config(verb, model=model, json_schema=json_schema)), highlight=False, end="")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Output folder of a study.")],
    absolute_paths: Annotated[bool, typer.Option("--absolute-paths", help="Show whole paths of this machine.")] = False,
) -> None:
    """Write the report of a finished study anew from its stored results; paths in it are relative to it.

    Of the results of another command, such as a simulation, it names the page.

    Example: `forcewright report runs/mo`.
    """
    written = fw.report(folder, absolute_paths=absolute_paths)  # type: ignore[operator]  # a package that can be called
    _print(f"the page is {written}")


def _mapping(pairs: list[str] | None) -> dict[str, str] | None:
    if not pairs:
        return None
    mapping = {}
    for pair in pairs:
        name, separator, key = pair.partition("=")
        if not separator or not name or not key:
            raise ForcewrightError(f"--label {pair!r} is not NAME=KEY, such as energy=dft_energy")
        mapping[name] = key
    return mapping


def _reader_options(stress_order: list[str] | None, energy_unit: str | None, length_unit: str | None) -> dict[str, Any]:
    """Return the options of the readers that were given."""
    options: dict[str, Any] = {"energy_unit": energy_unit, "length_unit": length_unit}
    if stress_order:
        per_group = [text.rpartition("=") for text in stress_order]
        options["stress_order"] = {group or "*": order for group, _, order in per_group}
    return {key: value for key, value in options.items() if value is not None}


#: verbs that go on where an earlier run of the same command was stopped
_RESUMED = (
    "ablate", "compare", "diagnose", "distil", "fit", "label", "learn", "learning-curve", "pipeline", "rerun",
    "simulate", "tune",
)  # fmt: skip
#: verbs that may take long and begin anew
_ANEW = ("analyze", "compare-spaces", "generate", "validate")


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and a non-zero exit code, never a traceback.

    Ctrl-C ends it with exit code 130 and a request to end (SIGTERM) with 143, after everything has been left in order.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without our letters shows their numbers
            stream.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(VisibleFormatter("%(message)s"))
    with _signals() as came:
        try:
            app()
        except BaseException as error:
            # compiled code that is interrupted raises anything; of a second signal nothing more is told
            if came or getattr(error, "code", None) == 128 + signal.SIGINT:
                _end_stopped(*came[:1])
            if isinstance(error, OSError):
                said = f"{error.filename}: {disk_problem(error)}" if error.filename else disk_problem(error)
            elif isinstance(error, ForcewrightError):
                said = str(error)
            elif isinstance(error, MemoryError):
                said = "there is not enough memory for this; take less data, or smaller settings"
            else:
                raise
            with suppress(OSError):
                _say(f"error: {said}", "red")
            _drop_unwritten_output()
            sys.exit(1)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Make a KeyboardInterrupt of Ctrl-C and of SIGTERM; yields the list of those that came."""
    came: list[int] = []
    here = os.getpid()

    def interrupt(number: int, frame: object) -> None:
        if os.getpid() != here:  # a forked child ends as if nobody listened
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        came.append(number)
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and shells wish it in the background
                before[number] = signal.signal(number, interrupt)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_stopped(number: int = signal.SIGINT) -> NoReturn:
    """End the process as one that a signal has stopped, and say how to go on."""
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    again = ""
    if verb in _RESUMED:
        without = " without --fresh" if "--fresh" in sys.argv else ""
        again = f"; run it again{without} to go on"
    elif verb in _ANEW:
        again = "; nothing is kept, and it begins anew when it is run again"
    with suppress(OSError):
        _say(f"stopped{again}")
    _drop_unwritten_output()
    sys.exit(128 + number)


def _drop_unwritten_output() -> None:
    """Let the end of the process not fail once more on an output that cannot be written to."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
