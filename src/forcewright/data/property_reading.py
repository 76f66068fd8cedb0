"""`read_property`: the values of a property, frame by frame, from whatever holds them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forcewright.configs import did_you_mean, echo, validate
from forcewright.data.atoms import raw_frame
from forcewright.data.eigenvalues import NO_PROJECTION, Eigenvalues
from forcewright.data.formats import FORMATS, Sources, as_sources, find_format, require_file, write
from forcewright.data.frame_checks import check_soundness
from forcewright.data.labelling import LABEL_KEYS, UNREAD, LabelSummary, check_mapping, label_frame
from forcewright.data.properties import EigenvalueKeys, Grid, PropertySet, Target
from forcewright.data.property_checks import require_symmetry
from forcewright.data.quantum_espresso import read_quantum_espresso
from forcewright.data.raw import Columns, RawFrame
from forcewright.data.vasprun import read_vasprun_with_eigenvalues
from forcewright.errors import InputError
from forcewright.files import as_path, read_arrays
from forcewright.plain_data import read_yaml
from forcewright.structure import Dataset, FloatArray, Frame, Labels, Structure

_WORDS_OF_COMMENT = re.compile(r"([A-Za-z_]\w*)[:\s]\s*((?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?\s*)+)", re.ASCII)

#: Readers that read eigenvalues, too.
_ELECTRONIC = (read_quantum_espresso, read_vasprun_with_eigenvalues)
_NO_EIGENVALUES = (
    "the frame has no eigenvalues and no density of states (VASP writes those of the last step of a run alone): run it "
    "as a single point, or leave such frames out (--skip-broken; strict=False in Python)"
)


#: What `forcewright label` writes beside eigenvalues.
_USUAL_KEYS = {"weights": "k_weights", "occupations": "occupations", "fermi": "fermi_level", "electrons": "electrons"}


def read_property(
    sources: Sources, target: Target, *, format: str | None = None, labels: Mapping[str, str] | None = None,
    strict: bool = True,
) -> PropertySet:  # fmt: skip
    """Read the values of a property from files, or take them from ASE atoms.

    Parameters
    ----------
    sources
        Files of structures, or ASE atoms whose ``info`` and ``arrays`` hold the values.
    target
        What the property is and where it stands.
    format, labels
        As `forcewright.read` takes them; energies, forces and stresses are read along where they can be.
    strict
        Refuse files in which a frame has no value or one that cannot be used; otherwise such frames are left out, and
        `PropertySet.left_out` holds what was wrong with each.

    Raises
    ------
    InputError
        If a frame cannot be read, has no value, or one of another shape, that is not finite, or whose mask is of
        another length; if no frame has a value; names file, frame and field.
    """
    taken = _Taken(target, strict)
    return taken.finish(_take(sources, target, format, labels, taken))


def read_structures_with_property(sources: Sources, target: Target) -> tuple[Dataset, PropertySet | None]:
    """Read structures once, with the values of a property where every frame has one that can be used.

    Raises
    ------
    InputError
        If a frame cannot be read; names file and frame.
    """
    files = [source for source in as_sources(sources) if isinstance(source, Path)]
    if target.file is not None and not _beside_all(target.file, files):
        target = target.model_copy(update={"file": None})  # these have no file of values
    taken = _Taken(target, strict=False)
    source = _take(sources, target, None, None, taken)
    if taken.unread:
        raise taken.unread[0]
    known = taken.frames and not taken.left_out
    return _dataset(taken.structures, source), taken.finish(source) if known else None


def _beside_all(file: Path, files: list[Path]) -> bool:
    alone = "{stem}" in file.name or len(files) == 1
    return alone and all(beside_structures(file, path).is_file() for path in files)


def _take(sources: Sources, target: Target, format: str | None, labels: Mapping[str, str] | None, taken: _Taken) -> str:
    """Take the frames of all sources, and return the names of the files among them."""
    several = as_sources(sources)
    files = [source for source in several if isinstance(source, Path)]
    if target.file is not None and "{stem}" not in target.file.name and len(files) != 1:
        raise InputError(
            f"holds the values of one file of structures, and there are {len(files)}; write {{stem}} for the name of "
            "each, as in {stem}.npz", file=target.file, field="file",
        )  # fmt: skip
    mapping = check_mapping(labels)
    for position, source in enumerate(several):
        if isinstance(source, Path):
            _take_file(source, format, mapping, taken)
        else:
            raw = raw_frame(source) if isinstance(source, Atoms) else _raw_of(source)
            taken.add(raw, _Arrays({}), position, None, mapping)
    return ", ".join(map(str, files))


class _Taken:
    """Values as they come in."""

    def __init__(self, target: Target, strict: bool) -> None:
        self.target, self.strict = target, strict
        self.structures: list[Frame] = []  # those without a value as well
        self.unread: list[InputError] = []  # why a frame is not even a structure
        self.frames: list[Frame] = []
        self.values: list[FloatArray] = []
        self.masks: list[NDArray[np.bool_]] = []
        self.eigenvalues: list[Eigenvalues | None] = []
        self.left_out: list[InputError] = []

    def refuse(self, error: InputError, file: Path | None, frame: int) -> None:
        named = InputError(error.problem, file=error.file or file, frame=frame, field=error.field)
        if self.strict:
            raise named
        self.left_out.append(named)

    def add(self, raw: RawFrame, arrays: _Arrays, index: int, file: Path | None, mapping: Mapping[str, str]) -> None:
        try:
            frame = Frame(raw.structure, _labels_of(raw, mapping), f"{file or ''}#{index}")
            for finding in check_soundness(frame._replace(labels=Labels()), index):
                raise finding.to_error()
        except InputError as error:
            self.refuse(error, file, index)
            self.unread.append(InputError(error.problem, file=error.file or file, frame=index, field=error.field))
            return
        self.structures.append(frame)
        try:
            mask = _mask_of(raw, arrays, self.target)
            values, eigenvalues = _values_of(raw, arrays, self.target, mask)
        except InputError as error:
            self.refuse(error, file, index)
            return
        self.frames.append(frame)
        self.values.append(values)
        self.masks.append(mask)
        self.eigenvalues.append(eigenvalues)

    def finish(self, source: str) -> PropertySet:
        if not self.frames:
            first = f"; the first frame: {self.left_out[0]}" if self.left_out else ""
            raise InputError(f"no frame has a value of {self.target.name}{first}", file=source or None,
                             field=self.target.where)  # fmt: skip
        return PropertySet(
            self.target,
            _dataset(self.frames, source),
            tuple(self.values),
            tuple(self.masks),
            tuple(self.eigenvalues),
            tuple(self.left_out),
        )


def _dataset(frames: list[Frame], source: str) -> Dataset:
    return Dataset(tuple(frames), Path(source.split(", ")[0]).stem if source else "", source)


def _take_file(path: Path, format: str | None, mapping: Mapping[str, str], taken: _Taken) -> None:
    """Take the frames of one file, and its values that stand beside it."""
    require_file(path)
    entry = FORMATS[find_format(path, format)]
    reader = entry.with_eigenvalues if entry.with_eigenvalues and taken.target.grid else entry.read
    items = list(reader(path))
    counts = [len(item.structure) if isinstance(item, RawFrame) else 0 for item in items]
    arrays: dict[str, NDArray[Any]] = {}
    beside: Path | None = None
    if taken.target.file is not None:
        beside = beside_structures(taken.target.file, path)
        arrays = read_arrays(beside)
    elif path.name.lower().endswith(".npz"):
        beside, arrays = path, {k: v for k, v in read_arrays(path).items() if k not in ("R", "z")}
    broken = any(isinstance(item, InputError) for item in items)
    for index, item in enumerate(items):
        if isinstance(item, InputError):
            taken.refuse(item, path, index)
            taken.unread.append(InputError(item.problem, file=item.file or path, frame=index, field=item.field))
            continue
        held = _Arrays(
            arrays,
            beside,
            index,
            len(items),
            sum(counts[:index]),
            None if broken else sum(counts),
            reader in _ELECTRONIC,
        )
        taken.add(item, held, index, path, mapping)


def read_target(target: Target | Mapping[str, Any] | str | Path) -> Target:
    """Return a target: as it is, of plain data, or of a YAML file that holds it alone or under ``target``.

    Raises
    ------
    InputError
        If the file cannot be read, or a target is not usable.
    """
    if isinstance(target, Target):
        return target
    path = Path(target) if isinstance(target, str | Path) else None
    content: Mapping[str, Any] = read_yaml(path) if path is not None else target  # type: ignore[assignment]
    if "target" in content and isinstance(content["target"], Mapping):
        content = content["target"]
    elif path is not None and not set(content) & set(Target.model_fields):
        raise InputError("has no target; write one, as in target: {name: dipole, key: mu}", file=path, field="target")
    parsed = validate(Target, content, path)
    if path is not None and parsed.file is not None:
        parsed = parsed.model_copy(update={"file": path.parent / parsed.file})
    return parsed


def columns_of(sources: Sources, dataset: Dataset, labels: Mapping[str, str] | None, format: str | None) -> Columns:
    """Return the real numbers and truth values of atoms, (N, k) by their name, that a dataset does not carry.

    Parameters
    ----------
    sources, labels, format
        What the dataset was read from, and how.
    dataset
        Its frames; those of ``sources`` that are not among them are left out.
    """
    if isinstance(sources, Dataset):
        return ()
    spoken_for = {key.lower() for key in (labels or {}).values()} | LABEL_KEYS
    held: dict[str, dict[str, NDArray[Any]]] = {}
    for position, source in enumerate(as_sources(sources)):
        for index, item in _raw_frames(source, position, format):
            if isinstance(item, RawFrame):
                origin = f"{source}#{index}" if isinstance(source, Path) else f"#{index}"
                held[origin] = {
                    key: values.reshape(len(item.structure), -1) for key, values in item.arrays.items()
                    if values.dtype.kind in "fb" and key.lower() not in spoken_for
                }  # fmt: skip
    return [held.get(frame.origin, {}) for frame in dataset]


def write_with_columns(
    dataset: Dataset, output: str | Path, sources: Sources, summary: LabelSummary, *,
    labels: Mapping[str, str] | None = None, format: str | None = None,
) -> None:  # fmt: skip
    """Write frames with what `columns_of` them, where the format of the output holds columns and there are any.

    ``summary`` is that of reading ``sources``.
    """
    path = as_path(output, "output")
    keeps = kept_columns(path, summary)
    write(dataset, path, columns=columns_of(sources, dataset, labels, format) if keeps else ())


def kept_columns(output: str | Path, summary: LabelSummary) -> set[str]:
    """Return which keys of atoms `write_with_columns` keeps."""
    if find_format(as_path(output, "output"), None) not in ("extxyz", "ase-db"):
        return set()
    return {key for key, known in summary.survey.keys.items() if known.per == "atom"}


def _raw_frames(
    source: Path | Atoms | Structure | Frame, position: int, format: str | None
) -> Iterator[tuple[int, RawFrame | InputError]]:
    """Yield what one source holds, with the number of each frame."""
    if isinstance(source, Path):
        yield from enumerate(FORMATS[find_format(source, format)].read(source))
    else:
        yield position, raw_frame(source) if isinstance(source, Atoms) else _raw_of(source)


def beside_structures(file: Path, structures: Path) -> Path:
    """Return the npz file of the values that belong to a file of structures (`Target.file`)."""
    if "{stem}" not in file.name:
        return file
    name = structures.name
    for suffix in (".gz", ".extxyz", ".xyz", ".xml", ".npz", ".db"):
        name = name.removesuffix(suffix)
    return structures.parent / file.name.replace("{stem}", name)


class _Arrays:
    """The arrays of an npz file, as seen from one frame."""

    def __init__(
        self, arrays: Mapping[str, NDArray[Any]], file: Path | None = None, frame: int = 0, frames: int = 1,
        atoms_before: int = 0, atoms: int | None = None, electronic: bool = False,
    ) -> None:  # fmt: skip
        self.arrays, self.file, self.frame, self.frames = arrays, file, frame, frames
        self.atoms_before, self.atoms, self.electronic = atoms_before, atoms, electronic

    def get(self, key: str, count: int | None) -> Any:
        """Return the value of this frame, or None; ``count`` atoms where there is one for each."""
        name = key.replace("{frame}", str(self.frame))
        if name not in self.arrays:
            return None
        array = self.arrays[name]
        if name != key:
            return array
        if count is not None and self.atoms is not None and array.shape[:1] == (self.atoms,):
            return array[self.atoms_before : self.atoms_before + count]
        if array.shape[:1] == (self.frames,):
            return array[self.frame]
        atoms = f", or {self.atoms} for all atoms" if count is not None and self.atoms is not None else ""
        raise InputError(
            f"the array has shape {array.shape}, expected {self.frames} rows, one for each frame{atoms}",
            file=self.file, field=key,
        )  # fmt: skip


def _values_of(
    raw: RawFrame, arrays: _Arrays, target: Target, mask: NDArray[np.bool_]
) -> tuple[FloatArray, Eigenvalues | None]:
    eigenvalues = raw.eigenvalues
    if target.eigenvalues is not None:
        eigenvalues = _eigenvalues_of(raw, arrays, target.eigenvalues)
    if target.grid is not None and not _is_on_file(raw, arrays, target):
        if eigenvalues is not None and target.per == "structure":
            return _density(eigenvalues, target, len(raw.structure)), eigenvalues
        if raw.density is not None:
            return _smeared(raw, target), eigenvalues
        if arrays.electronic:
            raise InputError(_NO_EIGENVALUES if target.per == "structure" else NO_PROJECTION, field=target.where)
    count = len(raw.structure) if target.per == "atom" else None
    values = _shaped(_look_up(raw, arrays, target.where, count), target, len(raw.structure))
    rows = values if target.per == "atom" else values[None]
    finite = np.isfinite(rows).all(axis=1) | (~mask if target.per == "atom" else False)
    if not finite.all():
        where = f" of atom {int(np.argmin(finite))}" if target.per == "atom" else ""
        raise InputError(
            f"the value{where} is not finite; correct it, leave the frame out, or name a mask of the atoms that have "
            "a value", field=target.where,
        )  # fmt: skip
    if target.per == "atom" and not mask.all():
        values = np.where(mask[:, None], values, 0.0)
    require_symmetry(values if target.per == "atom" else values[None], target)
    if target.grid is not None and target.smearing_eV is not None:
        values = target.grid.smear(values, target.smearing_eV)
    return values, eigenvalues


def _is_on_file(raw: RawFrame, arrays: _Arrays, target: Target) -> bool:
    """Whether a density of states stands in the file by its key, and need not be made of anything."""
    name = target.where.replace("{frame}", str(arrays.frame))
    return target.eigenvalues is None and any(name in held for held in (raw.info, raw.arrays, arrays.arrays))


def _density(eigenvalues: Eigenvalues, target: Target, atoms: int) -> FloatArray:
    grid, smearing = _grid_and_smearing(target)
    density = eigenvalues.density(grid.points, smearing, eigenvalues.zero_of(grid.zero))
    return density / atoms if target.reduce == "mean" else density


def _smeared(raw: RawFrame, target: Target) -> FloatArray:
    """Return a density of states that stands in the file on other energies: the total, or that of each atom."""
    grid, smearing = _grid_and_smearing(target)
    density = raw.density
    assert density is not None
    if grid.zero == "fermi" and density.fermi is None:
        raise InputError("the Fermi level is not known, which the grid counts from", field="fermi")
    if grid.zero == "band_edge" and raw.eigenvalues is None:
        raise InputError("the band edge, which the grid counts from, needs eigenvalues", field="zero")
    zero = {"absolute": 0.0, "fermi": density.fermi}.get(grid.zero)
    if zero is None:
        assert raw.eigenvalues is not None
        zero = raw.eigenvalues.highest_occupied()
    if target.per == "atom":
        return density.local(grid.points, smearing, zero)
    total = density.smeared(grid.points, smearing, zero)
    return total / len(raw.structure) if target.reduce == "mean" else total


def _grid_and_smearing(target: Target) -> tuple[Grid, float]:
    assert target.grid is not None
    if target.smearing_eV is None:
        raise InputError("eigenvalues become a density of states by smearing; give smearing_eV", field="smearing_eV")
    return target.grid, target.smearing_eV


def _eigenvalues_of(raw: RawFrame, arrays: _Arrays, keys: EigenvalueKeys) -> Eigenvalues:
    values = _as_numbers(_look_up(raw, arrays, keys.values, None), keys.values)
    names = {name: getattr(keys, name) or (usual if usual in raw.info else None) for name, usual in _USUAL_KEYS.items()}
    weights, occupations = (
        None if (key := names[name]) is None else _as_numbers(_look_up(raw, arrays, key, None), key)
        for name in ("weights", "occupations")
    )
    numbers = {
        name: None if (key := names[name]) is None else _single(_look_up(raw, arrays, key, None), key)
        for name in ("fermi", "electrons")
    }
    if weights is not None:
        weights = np.atleast_1d(weights)
    return Eigenvalues.of(values, weights, occupations=occupations, **numbers)


def _single(value: Any, key: str) -> float:
    array = _as_numbers(value, key)
    if array.size != 1:
        raise InputError(f"has shape {array.shape}, expected one number", field=key)
    return float(array.ravel()[0])


def _look_up(raw: RawFrame, arrays: _Arrays, key: str, count: int | None) -> Any:
    """Return what stands under a key of the frame or of the arrays beside it; raise naming the keys there are."""
    value = arrays.get(key, count)
    if value is None:
        held = (raw.arrays, raw.info) if count is not None else (raw.info, raw.arrays)
        value = next((part[key] for part in held if key in part), None)
    if value is None:
        value = numbers_of_comment(raw.comment).get(key)
    if value is not None:
        return value
    present = sorted({*raw.info, *raw.arrays, *numbers_of_comment(raw.comment), *arrays.arrays})
    hint = f"; {did_you_mean(key, present)}" if present else "; the frame has no further keys"
    raise InputError(f"is missing{hint}", field=key)


def numbers_of_comment(comment: str) -> dict[str, list[float]]:
    """Return the words of a comment without ``key=value`` pairs and the numbers that follow each."""
    return {
        word: [float(text.replace("D", "e").replace("d", "e")) for text in numbers.split()]
        for word, numbers in _WORDS_OF_COMMENT.findall(comment)
    }


def _mask_of(raw: RawFrame, arrays: _Arrays, target: Target) -> NDArray[np.bool_]:
    count = len(raw.structure)
    if target.mask is None:
        return np.ones(count, dtype=bool)
    try:
        mask = np.asarray(_look_up(raw, arrays, target.mask, count))
    except ValueError:
        raise InputError("is not a list of truth values", field=target.mask) from None
    if mask.size != count:
        raise InputError(f"the mask has {mask.size} entries for {count} atoms; give one for each", field=target.mask)
    if mask.dtype.kind not in "biu" or not np.isin(mask, (0, 1)).all():
        raise InputError(f"holds {echo(mask.ravel()[0].item())}, expected truth values (T and F)", field=target.mask)
    return mask.ravel().astype(bool)


def _shaped(value: Any, target: Target, atoms: int) -> FloatArray:
    """Return the numbers (components,) or (N, components) of a value of the file; raise for any other shape."""
    array, wanted = _as_numbers(value, target.where), target.components
    shape = tuple(array.shape)
    if target.per == "atom":
        if array.size == atoms * wanted and (wanted == 1 or shape[:1] == (atoms,)):
            return array.reshape(atoms, wanted)
        rows = shape[1:] if shape[:1] == (atoms,) else shape
        raise InputError(
            f"has shape {shape}, expected ({atoms}, {wanted}): {_meaning(target)} for each atom"
            f"{_hint(int(np.prod(rows)), target, atoms)}", field=target.where,
        )  # fmt: skip
    if array.size == wanted:
        return array.reshape(wanted)
    raise InputError(
        f"has shape {shape}, expected {wanted} numbers: {_meaning(target)}{_hint(array.size, target, atoms)}",
        field=target.where,
    )


def _meaning(target: Target) -> str:
    return f"irreps {target.irreps}" if target.grid is None else "one for each energy of the grid"


def _hint(size: int, target: Target, atoms: int) -> str:
    if target.grid is not None and size > 1 and target.grid.count != size:
        high = target.grid.low + (size - 1) * target.grid.step
        return f"; {size} points in steps of {target.grid.step:g} eV end at {high:g}: write high: {high:g}"
    if target.grid is None and size == 6 and target.components == 9:
        return "; six numbers leave their order open: write all nine, row by row"
    if target.per == "structure" and size == atoms * target.components:
        return "; this is a value for each atom: write per: atom"
    by_size = {1: "0e", 3: "1o or 1e", 9: "0e+1e+2e, 0e+2e or 2e"}
    return f"; {size} numbers are irreps {by_size[size]}" if size in by_size and target.grid is None else ""


def _as_numbers(value: Any, key: str) -> FloatArray:
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise ValueError("text or truth values")
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{echo(value)} is not made of numbers ({error})", field=key) from None


def _raw_of(source: Structure | Frame) -> RawFrame:
    if isinstance(source, Structure):
        return RawFrame(source)
    return RawFrame(source.structure, dict(source.labels.info))


_UNREAD = dict.fromkeys(("energy", "forces", "stress"), UNREAD)


def _labels_of(raw: RawFrame, mapping: Mapping[str, str]) -> Labels:
    """Return the labels of a frame; without energy, forces and stress where they cannot be used."""
    try:
        return label_frame(raw, mapping).labels
    except InputError:
        return label_frame(raw, _UNREAD).labels
