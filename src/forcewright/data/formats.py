"""Reading and writing by suffix: the table of formats, `read` and `write`."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from forcewright.data.asedb import read_asedb, write_asedb
from forcewright.data.extxyz import read_extxyz, write_extxyz
from forcewright.data.labelling import LabelSummary, check_mapping, label_frame
from forcewright.data.mlearn import read_mlearn
from forcewright.data.npz import read_npz, write_npz
from forcewright.data.raw import RawFrames
from forcewright.data.vasprun import read_vasprun
from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame

Paths: TypeAlias = str | Path | Sequence[str | Path]


class Format(NamedTuple):
    """One file format: its endings, its reader and, where there is one, its writer."""

    suffixes: tuple[str, ...]
    read: Callable[..., RawFrames]
    write: Callable[[Dataset, Path], None] | None = None


FORMATS: dict[str, Format] = {
    "extxyz": Format((".extxyz", ".xyz"), read_extxyz, write_extxyz),
    "ase-db": Format((".db",), read_asedb, write_asedb),
    "vasprun": Format(("vasprun.xml", "vasprun.xml.gz"), read_vasprun),
    "npz": Format((".npz",), read_npz, write_npz),
    "mlearn": Format((".json",), read_mlearn),
}


def read(
    paths: Paths,
    *,
    format: str | None = None,
    labels: Mapping[str, str] | None = None,
    strict: bool = True,
    require_energy: bool = True,
    name: str | None = None,
    **options: Any,
) -> Dataset:
    """Read labelled structures from one file or several.

    Parameters
    ----------
    format
        A name of `FORMATS`; by default the ending of each file decides.
    labels
        Which key of the file is the ``energy``, ``forces``, ``stress`` or ``virial``, and ``group``.
    strict
        Refuse files with a broken frame; otherwise broken frames are left out.
    require_energy
        Refuse files in which no frame has an energy.
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
        paths, format=format, labels=labels, strict=strict, require_energy=require_energy, name=name, **options
    )[0]


def read_with_summary(
    paths: Paths,
    *,
    format: str | None = None,
    labels: Mapping[str, str] | None = None,
    strict: bool = True,
    require_energy: bool = True,
    name: str | None = None,
    **options: Any,
) -> tuple[Dataset, LabelSummary]:
    """Do what `read` does, and also return which keys the labels were found under."""
    mapping = check_mapping(labels)
    summary = LabelSummary()
    frames: list[Frame] = []
    files = as_paths(paths)
    for path in files:
        for item in labelled_frames(path, format, mapping, summary, options):
            if isinstance(item, Frame):
                frames.append(item)
            elif strict:
                raise item
    if require_energy:
        require_energies(summary, mapping, files)
    dataset = Dataset(tuple(frames), name or _stem(files[0]), ", ".join(map(str, files)))
    return dataset, summary


def as_paths(paths: Paths) -> list[Path]:
    """Return the list of files meant; globs are left to the shell."""
    files = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    if not files:
        raise InputError("no file was given; give at least one")
    return files


def labelled_frames(
    path: Path, format: str | None, mapping: Mapping[str, str], summary: LabelSummary, options: Mapping[str, Any]
) -> Iterator[Frame | InputError]:
    """Yield the frames of one file, each or its error; raise what concerns the whole file."""
    _require_file(path)
    reader = FORMATS[find_format(path, format)].read
    index = -1
    for index, raw in enumerate(reader(path, **_options_of(reader, options, path))):
        if isinstance(raw, InputError):
            yield raw
            continue
        try:
            labels, used = label_frame(raw, mapping)
        except InputError as error:
            yield InputError(error.problem, file=path, frame=index, field=error.field)
            continue
        summary.add(raw, used)
        yield Frame(raw.structure, labels, f"{path}#{index}")
    if index < 0:
        raise InputError("holds no frame; it is empty", file=path)


def require_energies(summary: LabelSummary, mapping: Mapping[str, str], files: Sequence[Path]) -> None:
    """Raise if no frame has an energy, naming the keys there are."""
    for name in mapping:
        counted = "stress" if name == "virial" else name
        if not summary.count(counted):
            raise InputError(
                f"the key {mapping[name]!r} given for {name} is in no frame; {_present(summary)}",
                file=files[0], field=mapping[name],
            )  # fmt: skip
    if not summary.count("energy"):
        raise InputError(
            f"no frame has an energy (looked for REF_energy, energy); {_present(summary)}: say which one it is with "
            "labels={'energy': '...'}",
            file=files[0], field="energy",
        )  # fmt: skip


def _present(summary: LabelSummary) -> str:
    return f"the keys that are there: {', '.join(sorted(summary.present)) or 'none'}"


def _require_file(path: Path) -> None:
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
    if lower.endswith((".xml", ".xml.gz")):  # people rename vasprun.xml
        return "vasprun"
    allowed = [suffix for entry in FORMATS.values() for suffix in entry.suffixes]
    near = difflib.get_close_matches(path.suffix.lower(), allowed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputError(
        f"the ending {path.suffix!r} is not known; {hint}Allowed are {', '.join(allowed)}, or say format=", file=path
    )


def _options_of(reader: Callable[..., RawFrames], options: Mapping[str, Any], path: Path) -> dict[str, Any]:
    known = list(inspect.signature(reader).parameters)[1:]
    unknown = [option for option in options if option not in known]
    if unknown:
        allowed = f"allowed are {', '.join(known)}" if known else "it has no options"
        raise InputError(f"{unknown[0]!r} is not an option of this format; {allowed}", file=path)
    return dict(options)


def write(dataset: Dataset, path: str | Path, format: str | None = None) -> Path:
    """Write a dataset, atomically, and return the path.

    Written .extxyz and .db read back identically. A ``UserWarning`` names what .npz cannot hold.

    Raises
    ------
    InputError
        If the format is unknown, cannot be written, or cannot hold these frames; or the dataset is empty.
    """
    target = Path(path)
    if not len(dataset):
        raise InputError("the dataset is empty; there is nothing to write", file=target)
    name = find_format(target, format)
    writer = FORMATS[name].write
    if writer is None:
        writable = ", ".join(key for key, entry in FORMATS.items() if entry.write)
        raise InputError(f"{name} files can only be read; write one of {writable}", file=target)
    writer(dataset, target)
    return target


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def describe(dataset: Dataset) -> str:
    """Return a few lines for a terminal: frames, atoms, species and labels, per group."""
    from ase.data import chemical_symbols

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
