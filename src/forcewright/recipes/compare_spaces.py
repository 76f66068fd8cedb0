"""Compare the configuration spaces of two runs or sets of frames: what each covers of the other, and what to add."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import psutil
from scipy.spatial.distance import cdist

from forcewright.analyze.configuration_space import (
    Comparison,
    Halves,
    Side,
    compare_distances,
    missing_frames,
    principal_map,
)
from forcewright.data import Sources, dataset_of, write
from forcewright.data.split import times_of
from forcewright.descriptors import (
    Descriptor,
    StructureKernel,
    descriptor_by_name,
    largest_atomic_distance,
    require_descriptor,
)
from forcewright.descriptors.kernels import Kind
from forcewright.errors import InputError, MissingExtraError
from forcewright.files import write_arrays, write_table
from forcewright.recipes import provenance
from forcewright.recipes.analyze import trajectory_in
from forcewright.recipes.compare_spaces_page import draw_page
from forcewright.recipes.reading import read_structures
from forcewright.recipes.run_folder import RunFolder
from forcewright.report.map_page import FrameMap, write_chemiscope, write_map
from forcewright.simulation import SimulationResult
from forcewright.structure import Dataset, FloatArray, Frame, IntArray, Labels
from forcewright.tables import Tabular
from forcewright.trajectory import Snapshot, snapshots

_log = logging.getLogger("forcewright")

MapKind = Literal["pca", "umap"]
Trajectory: TypeAlias = Sources | SimulationResult | Iterable[Snapshot]

_FAMILIAR = (".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz")
_MOST_MEMORY = 0.6  # of what is free, for the environments of all frames


@dataclass(frozen=True, eq=False)
class Set:
    """One of the two: its frames, in the order of time, and what their times are.

    ``indices`` (M,) are their numbers in the file, counted from 0; ``times`` (M,) are in ps where ``timed``, else the
    same numbers.
    """

    name: str
    frames: Dataset
    indices: IntArray
    times: FloatArray
    timed: bool


@dataclass(frozen=True, eq=False, repr=False)
class SpacesCompared(Tabular):
    """Two sets of frames in the space of their configurations.

    Attributes
    ----------
    a, b
        The sets.
    sides
        What each is to itself and to the other: `forcewright.analyze.configuration_space.Side`.
    distances
        Between all frames (M + N, M + N), those of ``a`` first.
    largest
        The distance of the atom of each frame (M + N,) that is farthest from everything in a frame of the other set,
        of that frame in which this is least; None for descriptors of whole structures.
    coordinates
        Of the map (M + N, 2).
    missing_in_a, missing_in_b
        Frames of ``b`` to add to ``a``, and of ``a`` to add to ``b``, the most distant first.
    folder
        Where it was written, None where it was not.
    """

    a: Set
    b: Set
    sides: Comparison
    distances: FloatArray
    largest: FloatArray | None
    coordinates: FloatArray
    missing_in_a: IntArray
    missing_in_b: IntArray
    folder: Path | None

    def __repr__(self) -> str:
        return f"SpacesCompared({'; '.join(self.lines())})"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return what each covers of the other, a sentence each."""
        return [
            f"{100 * side.coverage.value:.1f} ± {100 * side.coverage.error:.1f} % of the {len(mine.frames)} frames of "
            f"{mine.name} lie within the spread of {other.name}; {len(missing)} of them are named to be added"
            for side, mine, other, missing in (
                (self.sides.b, self.b, self.a, self.missing_in_a), (self.sides.a, self.a, self.b, self.missing_in_b)
            )
        ]  # fmt: skip

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each frame."""
        return [
            *self._rows(self.a, self.sides.a, self.b, 0),
            *self._rows(self.b, self.sides.b, self.a, len(self.a.frames)),
        ]

    def _rows(self, mine: Set, side: Side, other: Set, start: int) -> Iterator[dict[str, Any]]:
        for k in range(len(mine.frames)):
            yield {
                "set": mine.name, "frame": int(mine.indices[k]),
                "time_ps": float(mine.times[k]) if mine.timed else None,
                "to_first": float(side.first[k]), "to_nearest": float(side.nearest[k]),
                "nearest_frame": int(other.indices[side.match[k]]), "to_other_half": float(side.baseline[k]),
                "covered": float(side.covered[k]),
                "largest_atomic": None if self.largest is None else float(self.largest[start + k]),
                "x": float(self.coordinates[start + k, 0]), "y": float(self.coordinates[start + k, 1]),
            }  # fmt: skip


def compare_spaces(
    a: str | Path | Trajectory, b: str | Path | Trajectory, output: str | Path | None = None, *,
    descriptor: str | Descriptor = "soap", cutoff: float | None = None, kernel: Kind = "rematch", gamma: float = 0.1,
    zeta: int = 1, frames: int = 500, skip: int = 0, share: float = 0.95, halves: Halves = "blocks",
    map: MapKind = "pca", add: int = 20, seed: int = 0, labels: Mapping[str, str] | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> SpacesCompared:  # fmt: skip
    """Compare two trajectories, or sets of frames, in the space of their configurations.

    Distances are those of a kernel between the environments of all atoms
    (`forcewright.descriptors.StructureKernel`), or Euclidean for descriptors of whole structures.

    Parameters
    ----------
    a, b
        Files of any format that is read, folders of runs, or frames in memory.
    output
        Folder for tables, figures, pages and the frames to add; nothing is written where it is not given.
    descriptor
        A name of `forcewright.descriptors.DESCRIPTORS`, or a descriptor.
    cutoff
        Radius of the surroundings in Å, for a descriptor by name; 6 by default.
    kernel, gamma, zeta
        As `forcewright.descriptors.StructureKernel` has them.
    frames
        Most frames of each, taken evenly.
    skip
        Frames of each left out at the start.
    share
        Of its own frames that lie within the spread of a set.
    halves
        What the two halves of a set are: "blocks" of time, or every other frame ("alternating"), for frames without an
        order.
    map
        Principal components, or UMAP (extra ``umap``).
    add
        Most frames named to be added to either.
    seed
        Of UMAP.
    labels
        As `forcewright.read` takes them.
    on_step
        Called with what is done next.

    Raises
    ------
    InputError
        If frames cannot be read or described, there are fewer than four, or an argument is invalid.
    MissingExtraError
        If a library is not installed; before anything is read.
    """
    if isinstance(descriptor, str):
        require_descriptor(descriptor)
    metric = StructureKernel(kernel, gamma, zeta)
    if map not in ("pca", "umap"):
        raise InputError(f"is {map!r}; it must be 'pca' or 'umap'", field="map")
    if halves not in ("blocks", "alternating"):
        raise InputError(f"is {halves!r}; it must be 'blocks' or 'alternating'", field="halves")
    if not 0.0 < share < 1.0:
        raise InputError(f"is {share}; it must be between 0 and 1", field="share")
    for name, number, least in (("frames", frames, 4), ("skip", skip, 0), ("add", add, 0)):
        if number < least:
            raise InputError(f"is {number}; it must be {least} or more", field=name)
    umap = _umap() if map == "umap" else None
    if output is not None:
        RunFolder(output, "compare-spaces").refuse_other_command()  # before minutes are spent
    on_step("reading")
    set_a, set_b = (_read(source, letter, skip, frames, labels) for letter, source in (("A", a), ("B", b)))
    every = [frame.structure for part in (set_a, set_b) for frame in part.frames]
    if isinstance(descriptor, str):
        species = sorted({int(z) for structure in every for z in np.unique(structure.numbers)})
        descriptor = descriptor_by_name(
            descriptor, species, cutoff=cutoff, atoms=max(len(structure) for structure in every)
        )
    _require_memory(descriptor, every)
    on_step("describing")
    rows = [descriptor.rows(structure) for structure in every]
    on_step("comparing")
    largest = None
    count = len(set_a.frames)
    if descriptor.per_atom:
        distances = metric.distances(rows)
        directed = largest_atomic_distance(rows, directed=True)
        largest = np.concatenate([directed[:count, count:].min(axis=1), directed[count:, :count].min(axis=1)])
    else:
        stacked = np.concatenate(rows)
        distances = cdist(stacked, stacked)
    among_a, among_b, between = distances[:count, :count], distances[count:, count:], distances[:count, count:]
    sides = compare_distances(among_a, among_b, between, share=share, halves=halves)
    coordinates, shares = principal_map(distances)
    axes = tuple(f"principal component {k + 1} ({100 * part:.0f} %)" for k, part in enumerate(shares))
    if umap is not None:
        coordinates, axes = _umap_of(umap, distances, seed), ("UMAP 1", "UMAP 2")
    compared = SpacesCompared(
        set_a, set_b, sides, distances, largest, coordinates,
        missing_frames(between.T, among_b, sides.a.spread, add), missing_frames(between, among_a, sides.b.spread, add),
        None if output is None else Path(output),
    )  # fmt: skip
    if output is not None:
        on_step("writing")
        settings = {
            "descriptor": descriptor.name, "size": descriptor.size, "cutoff": getattr(descriptor, "cutoff", None),
            "kernel": kernel if descriptor.per_atom else "euclidean", "gamma": gamma, "zeta": zeta, "share": share,
            "halves": halves, "map": map, "skip": skip,
        }  # fmt: skip
        with RunFolder(output, "compare-spaces") as folder:
            _write(
                folder, compared, (axes[0], axes[1]), settings, [Path(s) for s in (a, b) if isinstance(s, str | Path)]
            )
    return compared


def _umap() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it finds no TensorFlow, which nothing here needs
            import umap
    except ImportError:
        raise MissingExtraError("umap-learn", "umap", "a map by UMAP") from None
    return umap


def _umap_of(umap: Any, distances: FloatArray, seed: int) -> FloatArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it uses one thread with a seed, and cannot invert the map
        made = umap.UMAP(metric="precomputed", random_state=seed, n_neighbors=min(15, len(distances) - 1))
        return np.asarray(made.fit_transform(distances), dtype=np.float64)


def _read(source: str | Path | Trajectory, letter: str, skip: int, most: int, labels: Mapping[str, str] | None) -> Set:
    """Return the frames of one source, of many as many as are wanted, taken evenly."""
    origin: Any = source.folder if isinstance(source, SimulationResult) else source
    path = Path(origin) if isinstance(origin, str | Path) else None
    name = "in memory"
    if path is not None:
        name = path.name
        if path.is_dir():
            path = trajectory_in(path)
        elif path.name.startswith("trajectory."):
            name = path.resolve().parent.name
    dataset = _dataset(source if path is None else path, labels)
    numbers = np.array([_number(frame, k) for k, frame in enumerate(dataset)], dtype=np.int64)[skip:]
    dataset = dataset[skip:]
    if len(dataset) > most:
        chosen = np.unique(np.linspace(0, len(dataset) - 1, most).round().astype(int))
        dataset, numbers = dataset[chosen], numbers[chosen]
    if not len(dataset):
        raise InputError(f"holds no frame beyond the {skip} that are skipped", file=path)
    times, key = times_of(dataset)
    timed = key in ("time", "time_fs")
    return Set(f"{letter} ({name})", dataset, numbers, times / 1000.0 if timed else numbers.astype(np.float64), timed)


def _number(frame: Frame, position: int) -> int:
    number = frame.origin.rpartition("#")[2]
    return int(number) if number.isdigit() else position


def _dataset(source: Any, labels: Mapping[str, str] | None) -> Dataset:
    """Return frames with what labels they have; those of a simulation have none, which are a potential's own.

    Frames that are not usable, such as the last one of a run that broke, are left out and told.
    """
    if isinstance(source, Path):
        if source.name.lower().endswith(_FAMILIAR) or not source.is_file():
            dataset = dataset_of(source, labels=labels, strict=False)
        elif source.suffix.lower() in (".h5", ".h5md"):
            dataset = dataset_of(_of_snapshots(snapshots(source), str(source)), strict=False)
        else:
            dataset = read_structures(source, labels=labels)
        if (source.parent / "config.resolved.yaml").is_file():
            dataset = Dataset(tuple(_without_labels(frame) for frame in dataset), dataset.name, dataset.source)
        return dataset
    if isinstance(source, Dataset) or not isinstance(source, Iterable):
        return dataset_of(source, labels=labels, strict=False)
    held: list[Any] = list(source)
    if held and all(isinstance(frame, Snapshot) for frame in held):
        return dataset_of(_of_snapshots(held, ""), strict=False)
    return dataset_of(held, labels=labels, strict=False)


def _of_snapshots(shots: Iterable[Snapshot], file: str) -> Dataset:
    frames = []
    for index, shot in enumerate(shots):
        info = {} if shot.time is None else {"time": shot.time}
        frames.append(
            Frame(shot.structure, Labels(shot.energy, shot.forces, shot.stress, info=info), f"{file}#{index}")
        )
    return Dataset(tuple(frames), Path(file).stem, file)


def _without_labels(frame: Frame) -> Frame:
    return Frame(frame.structure, Labels(group=frame.labels.group, info=frame.labels.info), frame.origin)


def _require_memory(descriptor: Descriptor, structures: list[Any]) -> None:
    rows = sum(map(len, structures)) if descriptor.per_atom else len(structures)
    needed, free = 3.0 * 8.0 * rows * descriptor.size, float(psutil.virtual_memory().available)
    if needed > _MOST_MEMORY * free:
        raise InputError(
            f"the environments of {len(structures)} frames need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
            "free; take fewer frames (--frames), or another descriptor", field="frames",
        )  # fmt: skip


def _write(
    folder: RunFolder, compared: SpacesCompared, axes: tuple[str, str], settings: Mapping[str, Any], files: list[Path]
) -> None:
    parts = (("a", compared.a, compared.sides.a, "b"), ("b", compared.b, compared.sides.b, "a"))
    content: dict[str, Any] = {**settings}
    for letter, part, side, other in parts:
        content[letter] = {
            "name": part.name, "frames": len(part.frames), "spread": side.spread,
            f"covered_by_{other}": side.coverage.value, f"covered_by_{other}_error": side.coverage.error,
            "independent_frames": side.coverage.independent, "median_to_nearest": float(np.median(side.nearest)),
            "median_to_other_half": float(np.median(side.baseline)),
        }  # fmt: skip
    for letter, missing, part, side in (
        ("a", compared.missing_in_a, compared.b, compared.sides.b),
        ("b", compared.missing_in_b, compared.a, compared.sides.a),
    ):
        file = folder / f"missing_in_{letter}.extxyz"
        content[f"missing_in_{letter}"] = [int(k) for k in part.indices[missing]]
        if len(missing):
            write(_with_origin(part, missing, side), file)
        else:
            file.unlink(missing_ok=True)  # of an earlier comparison
    rows = compared.to_rows()
    write_table(folder / "frames.csv", rows)
    write_arrays(folder / "distances.npz", {"distances": compared.distances}, compressed=True)
    summary = folder.write_result(content, provenance.file_hashes(file for file in files if file.is_file()))
    frame_map = FrameMap(
        f"{compared.a.name} and {compared.b.name}", [compared.a.name, compared.b.name],
        [0] * len(compared.a.frames) + [1] * len(compared.b.frames), compared.coordinates, axes,
        [frame.structure for part in (compared.a, compared.b) for frame in part.frames], _properties(compared, rows),
    )  # fmt: skip
    write_map(folder / "map.html", frame_map)
    write_chemiscope(folder / "map.chemiscope.json.gz", frame_map)
    draw_page(folder, compared, axes, summary)


def _with_origin(part: Set, missing: IntArray, side: Side) -> Dataset:
    """Return the frames to add, each with where it comes from and how far it is."""
    frames = []
    for k in missing.tolist():
        structure, known, origin = part.frames[k]
        info = {**known.info, "taken_from": origin, "distance_to_nearest": float(side.nearest[k])}
        frames.append(Frame(structure, Labels(known.energy, known.forces, known.stress, known.group, info), origin))
    return Dataset(tuple(frames), part.frames.name, part.frames.source)


def _properties(compared: SpacesCompared, rows: list[dict[str, Any]]) -> dict[str, list[float | str]]:
    """Return what a point of the map tells."""
    said = {
        "frame": "frame", "time_ps": "time (ps)", "to_nearest": "distance to the nearest frame of the other",
        "nearest_frame": "which is frame", "to_first": "to its first frame",
        "largest_atomic": "largest atomic distance",
    }  # fmt: skip
    return {
        text: [float(row[name]) if row[name] is not None else float("nan") for row in rows]
        for name, text in said.items() if any(row[name] is not None for row in rows)
    }  # fmt: skip
