"""Reading and writing by suffix: the table of formats, `read` and `write`; what is in memory is taken, too."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ase import Atoms
from ase.data import chemical_symbols

from forcewright.data.asedb import read_asedb, write_asedb
from forcewright.data.atoms import raw_frame
from forcewright.data.extxyz import read_extxyz, write_extxyz
from forcewright.data.frame_checks import check_soundness
from forcewright.data.labelling import PREDICTED, UNREAD, Labelled, LabelSummary, check_mapping, label_frame
from forcewright.data.magres import read_magres
from forcewright.data.mlearn import read_mlearn
from forcewright.data.npz import read_npz, write_npz
from forcewright.data.quantum_espresso import is_quantum_espresso, read_quantum_espresso
from forcewright.data.raw import Columns, RawFrame, RawFrames
from forcewright.data.vasprun import read_vasprun, read_vasprun_with_eigenvalues
from forcewright.errors import InputError
from forcewright.files import as_path
from forcewright.structure import Dataset, Frame, Labels, Structure

_log = logging.getLogger(__name__)

Source: TypeAlias = str | Path | Atoms | Structure | Frame
#: What every function takes that takes labelled structures: a dataset, file names, ASE atoms, structures; one or many.
Sources: TypeAlias = Source | Iterable[Source]


class Format(NamedTuple):
    """One file format: its endings, its reader and, where there is one, its writer; a reader of eigenvalues, too."""

    suffixes: tuple[str, ...]
    read: Callable[..., RawFrames]
    write: Callable[..., None] | None = None
    with_eigenvalues: Callable[[Path], RawFrames] | None = None


FORMATS: dict[str, Format] = {
    "extxyz": Format((".extxyz", ".xyz", ".extxyz.gz", ".xyz.gz"), read_extxyz, write_extxyz),
    "ase-db": Format((".db",), read_asedb, write_asedb),
    "vasprun": Format(("vasprun.xml", "vasprun.xml.gz"), read_vasprun, None, read_vasprun_with_eigenvalues),
    "quantum-espresso": Format(("data-file-schema.xml", "data-file-schema.xml.gz"), read_quantum_espresso),
    "npz": Format((".npz",), read_npz, write_npz),
    "mlearn": Format((".json",), read_mlearn),
    "magres": Format((".magres", ".magres.gz"), read_magres),
}


#: What people give that is not read as labelled structures, and what to give in its place.
_ELSEWHERE = {
    "*outcar*": "is VASP's log and has few digits; give vasprun.xml, which holds the same steps",
    "*poscar*": "holds a structure without labels, which predict, label and simulate take",
    "*contcar*": "holds a structure without labels, which predict, label and simulate take; with labels it stands in "
    "vasprun.xml",
    "*.cif": "holds structures without labels, which predict, label and simulate take",
    "*.traj": "is ASE's own format, which predict, label, simulate and analyze take; for its labels write extxyz "
    "first: ase convert FILE.traj FILE.extxyz",
}


def read(
    structures: Sources, *, format: str | None = None, labels: Mapping[str, str] | None = None, strict: bool = True,
    require_energy: bool = True, name: str | None = None, **options: Any,
) -> Dataset:  # fmt: skip
    """Read labelled structures from one file or several, or take them from ASE atoms by the same rules.

    Parameters
    ----------
    structures
        Names of files, or ASE atoms: labels are the results of their calculator, and what stands in ``info`` and
        ``arrays`` under the names that files have them under. A `Dataset` is returned as it is.
    format
        A name of `FORMATS`; by default the ending of each file decides.
    labels
        Which key of the file is the ``energy``, ``forces``, ``stress`` or ``virial``, and ``group``.
    strict
        Refuse files with a broken frame; otherwise broken frames are left out, and named in the log.
    require_energy
        Refuse files in which no frame has an energy, unless ``labels`` say so: ``{"energy": "none"}``.
    name
        Name of the dataset; by default the stem of the first file.
    **options
        Passed to the reader of the format: ``stress_order`` for mlearn, ``energy_unit`` and ``length_unit`` for npz.

    Raises
    ------
    InputError
        Saying the file, the frame and the field, what is allowed and what to do.
    """
    return read_with_summary(
        structures, format=format, labels=labels, strict=strict, require_energy=require_energy, name=name, **options
    )[0]


def dataset_of(structures: Sources, *, labels: Mapping[str, str] | None = None, **options: Any) -> Dataset:
    """Return what `read` returns, also where no frame has an energy."""
    return read(structures, labels=labels, require_energy=False, **options)


def read_with_summary(
    structures: Sources, *, format: str | None = None, labels: Mapping[str, str] | None = None, strict: bool = True,
    require_energy: bool = True, name: str | None = None, **options: Any,
) -> tuple[Dataset, LabelSummary]:  # fmt: skip
    """Do what `read` does, and also return which keys the labels were found under."""
    mapping = check_mapping(labels)
    summary = LabelSummary()
    if isinstance(structures, Dataset):
        if any(key != UNREAD for key in mapping.values()):
            raise InputError("are those of files and ASE atoms; a dataset has its labels already", field="labels")
        return _sound(_without(structures, mapping), strict, summary), summary
    frames: list[Frame] = []
    sources = as_sources(structures)
    for index, source in enumerate(sources):
        for item in labelled_frames(source, index, format, mapping, summary, options):
            if isinstance(item, Frame):
                frames.append(item)
            elif strict:
                raise item
            else:
                summary.left_out += 1
                _log.warning("left out: %s", item)
    files = [source for source in sources if isinstance(source, Path)]
    stem = files[0].name.removesuffix(".gz").rsplit(".", 1)[0] if files else ""
    dataset = _sound(Dataset(tuple(frames), name or stem, ", ".join(map(str, files))), strict, summary)
    if summary.left_out and not len(dataset):
        raise InputError(f"all {summary.left_out} frames are broken; see above", file=files[0] if files else None)
    require_mapped(summary, mapping, files)
    if require_energy:
        require_energies(summary, files, mapping)
    for doubt in summary.doubts():
        if require_energy and doubt.severity == "error":
            raise doubt.to_error()
        _log.warning("%s", doubt)
    return dataset, summary


def _without(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """Return the frames without the labels of these names."""
    fields = {"stress" if name == "virial" else name for name in names} & {"energy", "forces", "stress"}
    if not fields:
        return dataset
    stripped: dict[str, Any] = dict.fromkeys(fields)
    frames = tuple(frame._replace(labels=replace(frame.labels, **stripped)) for frame in dataset)
    return Dataset(frames, dataset.name, dataset.source)


def _sound(dataset: Dataset, strict: bool, summary: LabelSummary) -> Dataset:
    """Return the frames that calculations can stand on; of others raise, or leave out, count and tell them.

    This is the one gate for numbers that are not finite, cells that are flat and atoms that are out of reach: whatever
    reads structures comes through here, except the audit, which goes on after what it finds.
    """
    findings = {index: next(check_soundness(frame, index), None) for index, frame in enumerate(dataset)}
    broken = {index: finding for index, finding in findings.items() if finding is not None}
    for finding in broken.values():
        if strict:
            raise finding.to_error()
        summary.left_out += 1
        _log.warning("left out: %s", finding.to_error())
    return dataset[[index for index in findings if index not in broken]] if broken else dataset


def as_sources(structures: Sources) -> list[Path | Atoms | Structure | Frame]:
    """Return files and what is in memory as a list; globs are left to the shell.

    Raises `InputError` if there is nothing, or anything else among them, whose position it names.
    """
    single = isinstance(structures, str | Path | Atoms | Structure | Frame)
    several: Iterable[Any] = [structures] if single or not isinstance(structures, Iterable) else structures
    sources = [Path(source) if isinstance(source, str) else source for source in several]
    if not sources:
        raise InputError("no file and no structure was given; give at least one")
    for index, source in enumerate(sources):
        if not isinstance(source, Path | Atoms | Structure | Frame):
            raise InputError(
                f"is a {type(source).__name__}; give names of files, ASE atoms, structures or a dataset",
                frame=index if len(sources) > 1 else None, field="structures",
            )  # fmt: skip
    return sources


def labelled_frames(
    source: Path | Atoms | Structure | Frame, index: int, format: str | None, mapping: Mapping[str, str],
    summary: LabelSummary, options: Mapping[str, Any],
) -> Iterator[Frame | InputError]:  # fmt: skip
    """Yield the frames of one source, each or its error; raise what concerns a whole file.

    ``index`` is the position of the source among all: the number of a frame that comes from no file.
    """
    if isinstance(source, Path):
        yield from _frames_of_file(source, format, mapping, summary, options)
        return
    try:
        frame = _in_memory(source, index, mapping, summary)
    except InputError as error:
        yield InputError(error.problem, frame=index, field=error.field)
        return
    yield frame


def _in_memory(
    source: Atoms | Structure | Frame, index: int, mapping: Mapping[str, str], summary: LabelSummary
) -> Frame:
    if isinstance(source, Atoms):
        raw = raw_frame(source)
        labelled = label_frame(raw, mapping)
        frame = Frame(raw.structure, labelled.labels, f"#{index}")
    else:
        frame = source if isinstance(source, Frame) else Frame(source, Labels(), f"#{index}")
        named = {name: getattr(frame.labels, name) for name in ("energy", "forces", "stress")}
        labelled = Labelled(frame.labels, {name: name for name, value in named.items() if value is not None})
        raw = RawFrame(frame.structure, {name: True for name in labelled.used})
    summary.add(raw, labelled, frame.origin)
    return frame


def _frames_of_file(
    path: Path, format: str | None, mapping: Mapping[str, str], summary: LabelSummary, options: Mapping[str, Any]
) -> Iterator[Frame | InputError]:
    require_file(path)
    reader = FORMATS[find_format(path, format)].read
    index = -1
    for index, raw in enumerate(reader(path, **_options_of(reader, options, path))):
        if isinstance(raw, InputError):
            yield raw
            continue
        try:
            labelled = label_frame(raw, mapping)
        except InputError as error:
            yield InputError(error.problem, file=path, frame=index, field=error.field)
            continue
        summary.add(raw, labelled, f"{path}#{index}")
        yield Frame(raw.structure, labelled.labels, f"{path}#{index}")
    if index < 0:
        raise InputError("holds no frame; it is empty", file=path)


def require_mapped(summary: LabelSummary, mapping: Mapping[str, str], files: Sequence[Path]) -> None:
    """Raise if a key that a mapping names is in no frame, naming the keys there are."""
    for name, key in mapping.items():
        if key != UNREAD and not summary.count("stress" if name == "virial" else name):
            raise InputError(
                f"the key {key!r} given for {name} is in no frame; {_present(summary)}",
                file=files[0] if files else None, field=key,
            )  # fmt: skip


def require_energies(summary: LabelSummary, files: Sequence[Path], mapping: Mapping[str, str]) -> None:
    """Raise if no frame has an energy, naming the keys there are; a mapping may say that there is none to be."""
    file = files[0] if files else None
    others = summary.count("forces") or summary.count("stress")
    if summary.count("energy") or (mapping.get("energy") == "none" and others):
        return
    if any(key.startswith(PREDICTED) for key in summary.present):
        names = {name: PREDICTED + name for name in ("energy", "forces", "stress")}
        named = {name: key for name, key in names.items() if key in summary.present}
        raise InputError(
            f"no frame has an energy of a reference; {', '.join(named.values()) or PREDICTED + '...'} is what a "
            f"potential predicted, and is taken for a label only where it is named: labels={named}", file=file,
            field="energy",
        )  # fmt: skip
    raise InputError(
        f"no frame has an energy (looked for REF_energy, energy); {_present(summary)}: say which one it is with "
        "labels={'energy': '...'}, or that there is none with labels={'energy': 'none'}",
        file=file, field="energy",
    )  # fmt: skip


def _present(summary: LabelSummary) -> str:
    return f"the keys that are there: {', '.join(sorted(summary.present)) or 'none'}"


def require_file(path: Path) -> None:
    """Raise `InputError` if there is no such file, or nothing in it."""
    if path.is_dir():
        raise InputError("is a folder, expected a file; give the files in it", file=path)
    if not path.exists():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")][:1000], n=1)
        raise InputError(f"does not exist{f'; did you mean {near[0]}?' if near else ''}", file=path)
    if not path.stat().st_size:
        raise InputError("is empty", file=path)


def find_format(path: Path, format: str | None) -> str:
    """Return the name of the format of ``path``."""
    if format is not None:
        if format in FORMATS:
            return format
        near = difflib.get_close_matches(format, FORMATS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"{format!r} is not a format; {hint}Allowed are {', '.join(FORMATS)}", file=path, field="format"
        )
    lower = path.name.lower()
    for name, entry in FORMATS.items():
        if lower.endswith(entry.suffixes):
            return name
    if lower.endswith((".xml", ".xml.gz")):  # people rename both
        return "quantum-espresso" if is_quantum_espresso(path) else "vasprun"
    if advice := next((words for pattern, words in _ELSEWHERE.items() if fnmatch(lower, pattern)), None):
        raise InputError(advice, file=path)
    allowed = [suffix for entry in FORMATS.values() for suffix in entry.suffixes]
    near = difflib.get_close_matches(path.suffix.lower(), allowed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputError(
        f"the ending {path.suffix!r} is not known; {hint}Allowed are {', '.join(allowed)}, or say format=", file=path
    )


def _options_of(reader: Callable[..., RawFrames], options: Mapping[str, Any], path: Path) -> dict[str, Any]:
    known = list(inspect.signature(reader).parameters)[1:]
    if unknown := [option for option in options if option not in known]:
        allowed = f"allowed are {', '.join(known)}" if known else "it has no options"
        raise InputError(f"{unknown[0]!r} is not an option of this format; {allowed}", file=path)
    return dict(options)


def write(structures: Sources, path: str | Path, format: str | None = None, *, columns: Columns = ()) -> Path:
    """Write a dataset, or what `read` makes one of, atomically, and return the path.

    Written .extxyz and .db read back identically. A ``UserWarning`` names what .npz cannot hold.

    Parameters
    ----------
    columns
        For .extxyz and .db: further numbers of each frame's atoms, (N, k) by their name.

    Raises
    ------
    InputError
        If the format is unknown, cannot be written, or cannot hold these frames; or the dataset is empty.
    """
    target, dataset = as_path(path, "path"), dataset_of(structures)
    if not len(dataset):
        raise InputError("the dataset is empty; there is nothing to write", file=target)
    writer = writer_of(target, format, columns[0] if columns else ())
    writer(dataset, target, *([columns] if columns else []))
    return target


def writer_of(path: Path, format: str | None = None, columns: Iterable[str] = ()) -> Callable[..., None]:
    """Return what writes to ``path``; `InputError` if nothing does, or the format cannot hold such columns."""
    name = find_format(path, format)
    writer = FORMATS[name].write
    if writer is None:
        writable = ", ".join(key for key, entry in FORMATS.items() if entry.write)
        raise InputError(f"{name} files can only be read; write one of {writable}", file=path)
    if (asked := list(columns)) and "columns" not in inspect.signature(writer).parameters:
        raise InputError(f"{name} files cannot hold {', '.join(asked)}; write .extxyz or .db", file=path)
    return writer


def describe(dataset: Dataset) -> str:
    """Return a few lines for a terminal: frames, atoms, species and labels, per group."""
    sizes = [len(structure) for structure in dataset.structures]
    species = " ".join(chemical_symbols[z] for z in dataset.species)
    atoms = f"{sum(sizes)} atoms ({min(sizes)}-{max(sizes)} per frame)" if sizes else "no atoms"
    lines = [f"{dataset.name or 'dataset'}: {len(dataset)} frames, {atoms}, species {species}"]
    lines.append(f"  {'group':24s} {'frames':>7s} {'energy':>7s} {'forces':>7s} {'stress':>7s}")
    for group in dataset.group_sizes:
        counts = dataset[[g == group for g in dataset.groups]].count_labels()
        lines.append(
            f"  {group:24s} {dataset.group_sizes[group]:7d} "
            f"{counts['energy']:7d} {counts['forces']:7d} {counts['stress']:7d}"
        )
    return "\n".join(lines)
