"""What a dataset holds in numbers: ranges, means and histograms of energies, forces and volumes; volume over time.

====================  ==============  ==================================================================
quantity              unit            meaning
====================  ==============  ==================================================================
energy_per_atom       eV/atom
energy                eV              of the whole cell
force_norm            eV/Å            of a structure: sqrt(Σ_atoms Fx² + Fy² + Fz²)
largest_force         eV/Å            length of the largest force on an atom
volume_per_atom       Å³/atom         of cells that are periodic in all directions
volume                Å³              of the whole cell
shortest_distance     Å               of two atoms of a structure, images included; where it is below 5 Å
====================  ==============  ==================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from forcewright.data.closest_pairs import closest_pairs
from forcewright.data.split import find_trajectories, times_of
from forcewright.errors import InputError
from forcewright.structure import Dataset, FloatArray, Frame, IntArray, Structure

_NEAR = 5.0  # Å within which the shortest distances are looked for
_FEWEST = 10  # frames of which can be told whether they follow one another
_ALIKE = 0.5  # of what frames far apart differ by: frames that follow one another differ by less

By = Literal["all", "file", "group", "trajectory"]

#: Units of the quantities.
UNITS: Mapping[str, str] = {
    "energy_per_atom": "eV/atom", "energy": "eV", "force_norm": "eV/Å", "largest_force": "eV/Å",
    "volume_per_atom": "Å³/atom", "volume": "Å³", "shortest_distance": "Å",
}  # fmt: skip


def force_norm(forces: FloatArray) -> float:
    """Return the norm of all forces (N, 3) of a structure together, in eV/Å.

    Equation 6 of the thesis this follows, sqrt(Σ_atoms Fx² + Fy² + Fz²): it grows as the root of the number of atoms.
    """
    return float(np.linalg.norm(forces))


@dataclass(frozen=True)
class Summary:
    """Count, range, mean and standard deviation (of the values there are: divided by their number) of a quantity."""

    count: int
    minimum: float
    maximum: float
    mean: float
    std: float

    @classmethod
    def of(cls, values: FloatArray) -> Summary:
        """Return the summary of values (n,), at least one."""
        if not len(values):
            raise InputError("holds no value to summarize")
        low, high = float(values.min()), float(values.max())
        if low == high:  # the mean of equal numbers may be rounded
            return cls(len(values), low, high, low, 0.0)
        return cls(len(values), low, high, float(values.mean()), float(values.std()))


@dataclass(frozen=True, eq=False)
class DatasetStatistics:
    """The quantities of one set of frames: ``values`` (n,) of those frames that have them, and their summaries.

    ``shortest`` has the shortest distance of each pair of species that comes closer than 5 Å, and in which frame.
    """

    name: str
    frames: int
    formulas: tuple[str, ...]
    values: Mapping[str, FloatArray]
    summaries: Mapping[str, Summary]
    shortest: Mapping[str, Shortest]


class Shortest(NamedTuple):
    """The shortest distance (Å) of a pair of species in a set of frames, and where it is (``"file#frame"``)."""

    distance: float
    origin: str


@dataclass(frozen=True, eq=False)
class Histogram:
    """Numbers of values (bins,) between ``edges`` (bins + 1,), for each set of frames."""

    quantity: str
    edges: FloatArray
    counts: Mapping[str, IntArray]


@dataclass(frozen=True, eq=False)
class VolumeSeries:
    """The volumes (T,) in Å³ of a trajectory over time.

    ``times`` are what ``time_name`` says: fs (``time_fs``, ``time``) where frames tell it, else ``step`` or ``frame``.
    ``correlation_length`` is in frames; see `correlation_length`.
    """

    name: str
    times: FloatArray
    time_name: str
    volumes: FloatArray
    correlation_length: int


def statistics(dataset: Dataset, by: By = "group") -> list[DatasetStatistics]:
    """Return the statistics of every set of frames, sorted by name.

    Raises
    ------
    InputError
        If the dataset is empty or ``by`` is not known.
    """
    if not len(dataset):
        raise InputError("the dataset is empty; there is nothing to tell", file=dataset.source or None)
    return [_statistics(name, dataset[frames]) for name, frames in _members(dataset, by).items()]


def _members(dataset: Dataset, by: By) -> dict[str, list[int]]:
    names: dict[str, Callable[[Frame], str]] = {
        "all": lambda frame: dataset.name or "all",
        "file": lambda frame: frame.origin.rpartition("#")[0] or dataset.name or "memory",
        "group": lambda frame: frame.labels.group,
        "trajectory": lambda frame: str(frame.labels.info.get("trajectory", frame.labels.group)),
    }
    if by not in names:
        raise InputError(f"{by!r} is not known; allowed are {', '.join(names)}", field="by")
    members: dict[str, list[int]] = {}
    for index, frame in enumerate(dataset):
        members.setdefault(names[by](frame), []).append(index)
    return dict(sorted(members.items()))


def _statistics(name: str, frames: Dataset) -> DatasetStatistics:
    collected: dict[str, list[float]] = {quantity: [] for quantity in UNITS}
    shortest: dict[str, Shortest] = {}
    for structure, labels, origin in frames:
        near = shortest_of(structure)
        if near:
            collected["shortest_distance"].append(min(near.values()))
        for pair, distance in near.items():
            if pair not in shortest or distance < shortest[pair].distance:
                shortest[pair] = Shortest(distance, origin)
        if labels.energy is not None:
            collected["energy"].append(labels.energy)
            collected["energy_per_atom"].append(labels.energy / len(structure))
        if labels.forces is not None:
            collected["force_norm"].append(force_norm(labels.forces))
            collected["largest_force"].append(float(np.linalg.norm(labels.forces, axis=1).max()))
        if structure.pbc.all():
            collected["volume"].append(structure.volume)
            collected["volume_per_atom"].append(structure.volume / len(structure))
    values = {quantity: np.array(numbers) for quantity, numbers in collected.items() if numbers}
    formulas = tuple(sorted({structure.formula for structure in frames.structures}))
    summaries = {quantity: Summary.of(numbers) for quantity, numbers in values.items()}
    return DatasetStatistics(name, len(frames), formulas, values, summaries, dict(sorted(shortest.items())))


def shortest_of(structure: Structure) -> dict[str, float]:
    """Return the shortest distance in Å of each pair of species, "A-B" in alphabetic order, that is below 5 Å."""
    named = {
        "-".join(sorted((chemical_symbols[a], chemical_symbols[b]))): distance
        for (a, b), distance in closest_pairs([structure], _NEAR).items()
    }
    return dict(sorted(named.items()))


def histogram(sets: list[DatasetStatistics], quantity: str, bins: int = 50) -> Histogram:
    """Return the histogram of a quantity of several sets over common bins.

    Raises `InputError` if no set has the quantity, or the number of bins is invalid.
    """
    having = {x.name: x.values[quantity] for x in sets if quantity in x.values}
    if not having or bins < 1:
        problem = f"is {bins}; it must be at least 1" if having else f"no frame has a {quantity}"
        raise InputError(problem, field="bins" if having else quantity)
    edges = np.histogram_bin_edges(np.concatenate(list(having.values())), bins)
    return Histogram(quantity, edges, {name: np.histogram(x, edges)[0] for name, x in having.items()})


def volumes_over_time(dataset: Dataset, trajectory_key: str = "trajectory") -> list[VolumeSeries]:
    """Return the volume over time of every trajectory whose volume changes.

    Frames of one name, or of one file and group (`forcewright.data.split.find_trajectories`), are taken for a
    trajectory where they follow one another (`follow_one_another`).
    """
    named = any(trajectory_key in labels.info for labels in dataset.labels)
    series = []
    for (group, name), frames in find_trajectories(dataset, trajectory_key)[1].items():
        trajectory = dataset[frames]
        volumes = np.array([structure.volume for structure in trajectory.structures])
        periodic = all(structure.pbc.all() for structure in trajectory.structures)
        if not periodic or np.ptp(volumes) <= 1e-9 * volumes.max():
            continue
        times, time_name = times_of(trajectory)
        if not follow_one_another(trajectory, named=named):
            continue
        title = name if name == group else f"{group}, {name}"
        series.append(VolumeSeries(title, times, time_name, volumes, correlation_length(volumes)))
    return series


def follow_one_another(frames: Dataset, *, named: bool = False) -> bool:
    """Return whether frames are those of a trajectory, in their order.

    They hold the same atoms, and are said to be one (``named``), tell times of which no two are equal, or each differs
    from the next by much less than from one half of them away.
    """
    numbers = frames[0].structure.numbers
    if any(not np.array_equal(structure.numbers, numbers) for structure in frames.structures):
        return False
    times, time_name = times_of(frames)
    if named or (time_name != "frame" and len(np.unique(times)) == len(times)):
        return True
    half = len(frames) // 2
    if len(frames) < _FEWEST:
        return False
    near, far = ([_difference(frames[k].structure, frames[k + lag].structure) for k in range(len(frames) - lag)]
                 for lag in (1, half))  # fmt: skip
    return bool(np.mean(near) < _ALIKE * np.mean(far))


def _difference(first: Structure, second: Structure) -> float:
    """Return the mean distance in Å between the same atoms of two structures, nearest images, drift left out.

    A strain of the whole is left out as well: crystals at several volumes are no trajectory.
    """
    if first.pbc.all() and second.pbc.all():
        moved = (second.positions @ np.linalg.inv(second.cell)) @ first.cell - first.positions
    else:
        moved = second.positions - first.positions
    if first.pbc.any():
        lattice = first.cell[first.pbc]
        moved = moved - np.rint(moved @ np.linalg.pinv(lattice)) @ lattice
    return float(np.linalg.norm(moved - moved.mean(axis=0), axis=1).mean())


def correlation_length(values: FloatArray, threshold: float = 1 / np.e) -> int:
    """Return the number of frames after which a series (T,) no longer remembers: a gap for `split_by_blocks`.

    It is the largest lag up to a quarter of the series at which the autocorrelation still exceeds the threshold in
    absolute value, and one more; oscillations thus count in full, not only up to their first zero.
    """
    centered = np.asarray(values, dtype=np.float64) - np.mean(values)
    lags = len(centered) // 4
    variance = float(np.mean(centered**2))
    if lags < 1 or variance == 0:
        return 0
    spectrum = np.fft.rfft(centered, 2 * len(centered))
    products = np.fft.irfft(np.abs(spectrum) ** 2)[: lags + 1]
    correlation = products / (len(centered) - np.arange(lags + 1)) / variance
    above = np.flatnonzero(np.abs(correlation) > threshold)
    return int(above[-1]) + 1
