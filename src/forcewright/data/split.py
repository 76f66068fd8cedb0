"""Training and test sets: at random, by group, in strata, or in blocks of trajectories with a gap around them.

Neighboring frames of a trajectory are nearly copies, and frames a whole period of an oscillation apart (that of the
volume under a barostat, say) are alike again. A test set drawn at random from such frames measures memory, not
prediction; blocks with a gap do better, and `forcewright.data.leakage` tells how many near-copies a split leaves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np

from forcewright.data.reference_energies import is_isolated_atom
from forcewright.errors import InputError
from forcewright.structure import Dataset, FloatArray, Frame, IntArray

#: Keys of ``info`` that tell where a frame stands in its trajectory.
TIME_KEYS = ("time_fs", "time", "step")


@dataclass(frozen=True, eq=False)
class Split:
    """Frame numbers, ascending: to train on, to test on, and left out in the gaps between the two."""

    train: IntArray
    test: IntArray
    dropped: IntArray

    @classmethod
    def of(cls, count: int, test: Sequence[int], dropped: Sequence[int] = ()) -> Split:
        """Return the split of ``count`` frames in which all others are for training.

        Raises `InputError` if nothing would be left on one side.
        """
        held, left = np.unique(np.array(test, dtype=np.int64)), np.unique(np.array(dropped, dtype=np.int64))
        train = np.setdiff1d(np.arange(count), np.concatenate([held, left]))
        if not len(train) or not len(held):
            side = "training" if len(held) else "the test"
            raise InputError(f"leaves no frame of {count} for {side}; choose another fraction or gap", field="fraction")
        return cls(train, np.setdiff1d(held, left), left)


def split_random(dataset: Dataset, fraction: float, rng: np.random.Generator) -> Split:
    """Hold back a share of all frames, drawn at random; see `split` for errors."""
    _require_fraction(fraction)
    return Split.of(len(dataset), rng.permutation(len(dataset))[: round(fraction * len(dataset))].tolist())


def split_by_group(
    dataset: Dataset, fraction: float, rng: np.random.Generator, *, groups: Sequence[str] | None = None
) -> Split:
    """Hold back whole groups: what is tested is of a kind that training has not seen.

    Parameters
    ----------
    fraction
        Groups are drawn at random, each taken that brings the share of frames held back nearer to this.
    groups
        The groups to hold back, by name, instead; one that is not known is an `InputError`.
    """
    _require_fraction(fraction)
    sizes = dataset.group_sizes
    chosen = set(_draw_groups(sizes, fraction * len(dataset), rng) if groups is None else groups)
    if unknown := sorted(chosen - set(sizes)):
        raise InputError(f"{unknown[0]!r} is not a group; there are {', '.join(sizes)}", field="groups")
    return Split.of(len(dataset), [i for i, name in enumerate(dataset.groups) if name in chosen])


def _draw_groups(sizes: Mapping[str, int], wanted: float, rng: np.random.Generator) -> list[str]:
    """Return groups in random order, each that brings the number of their frames nearer to the one wanted."""
    chosen: list[str] = []
    held, total = 0, sum(sizes.values())
    for name in map(str, rng.permutation(list(sizes))):
        nearer = abs(held + sizes[name] - wanted) < abs(held - wanted)
        if (nearer or not held) and held + sizes[name] < total:
            chosen.append(name)
            held += sizes[name]
    return chosen


def split_stratified(dataset: Dataset, fraction: float, rng: np.random.Generator) -> Split:
    """Hold back the same share of every group and, within it, of low and high energies per atom.

    The frames of a group are sorted by energy and cut into as many strata as frames are held back; each gives one. See
    `split` for errors.
    """
    _require_fraction(fraction)
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(dataset.groups):
        members[name].append(index)
    held: list[int] = []
    for _, indices in sorted(members.items()):
        energies = [dataset[i].labels.energy for i in indices]
        # without an energy a frame has no place in the order; a shuffle gives it one at random
        keys = [np.inf if e is None else e / len(dataset[i].structure) for i, e in zip(indices, energies, strict=True)]
        shuffled = rng.permutation(len(indices))
        ordered = np.array(indices)[shuffled[np.argsort(np.array(keys)[shuffled], kind="stable")]]
        count = min(round(fraction * len(indices)), len(indices) - 1)
        held += [int(rng.choice(stratum)) for stratum in np.array_split(ordered, count)] if count else []
    return Split.of(len(dataset), held)


def split_by_blocks(
    dataset: Dataset, fraction: float, rng: np.random.Generator, *, gap: int = 0, blocks: int = 1,
    trajectory_key: str = "trajectory",
) -> Split:  # fmt: skip
    """Hold back contiguous blocks of every trajectory, and leave out the frames next to them.

    Frames with the same ``info[trajectory_key]`` and group are one trajectory, in the order of their times where they
    tell them; other frames are drawn at random, group by group. Where no frame names a trajectory, each group of each
    file is taken for one.

    Parameters
    ----------
    gap
        Frames left out between a test block and the training frames on each side. It should be longer than anything
        stays correlated, oscillations of the volume included; `statistics.correlation_length` measures it.
    blocks
        Blocks in each trajectory; `InputError` where they and the gaps do not fit into one.
    """
    _require_fraction(fraction)
    if gap < 0 or blocks < 1:
        raise InputError(f"gap is {gap} and blocks {blocks}; they must be at least 0 and 1", field="gap")
    loose, trajectories = find_trajectories(dataset, trajectory_key)
    held: list[int] = []
    dropped: list[int] = []
    for indices in loose.values():
        held += rng.permutation(indices)[: round(fraction * len(indices))].tolist()
    for indices in trajectories.values():
        inside, around = _blocks(len(indices), min(round(fraction * len(indices)), len(indices) - 1), gap, blocks, rng)
        held += np.array(indices)[inside].tolist()
        dropped += np.array(indices)[around].tolist()
    return Split.of(len(dataset), held, dropped)


def _blocks(count: int, wanted: int, gap: int, blocks: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Return which of ``count`` frames lie inside blocks of ``wanted`` frames in all, and which in gaps around them."""
    blocks = min(blocks, wanted)
    mask = np.zeros(count, dtype=np.int64)
    # what is left between the blocks, beside the two gaps that part each from the next, is shared out at random
    free = count - wanted - 2 * gap * (blocks - 1)
    if blocks and free < 0:
        raise InputError(
            f"{blocks} blocks with gaps of {gap} frames do not fit into a trajectory of {count} frames; choose fewer "
            "blocks or a smaller gap",
            field="gap",
        )
    sizes = [len(part) for part in np.array_split(np.arange(wanted), blocks)] if blocks else []
    offsets = np.sort(rng.integers(0, free + 1, blocks)) if blocks else np.zeros(0, dtype=np.int64)
    for number, (size, offset) in enumerate(zip(sizes, offsets, strict=True)):
        start = int(offset) + sum(sizes[:number]) + 2 * gap * number
        mask[max(start - gap, 0) : start + size + gap] = np.maximum(mask[max(start - gap, 0) : start + size + gap], 1)
        mask[start : start + size] = 2
    return np.flatnonzero(mask == 2), np.flatnonzero(mask == 1)


def find_trajectories(
    dataset: Dataset, key: str = "trajectory"
) -> tuple[dict[str, list[int]], dict[tuple[str, str], list[int]]]:
    """Return frames of no trajectory by group, and those of each trajectory in order of time; see `split_by_blocks`.

    Trajectories are named by their group and their name or file.
    """
    named = any(key in labels.info for labels in dataset.labels)
    loose: dict[str, list[int]] = defaultdict(list)
    trajectories: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, (_, labels, origin) in enumerate(dataset):
        name = labels.info.get(key) if named else origin.rpartition("#")[0]
        if name is None:
            loose[labels.group].append(index)
        else:
            trajectories[labels.group, str(name)].append(index)
    for trajectory, indices in list(trajectories.items()):
        if len(indices) == 1:
            loose[trajectory[0]] += trajectories.pop(trajectory)
        else:
            times, _ = times_of([dataset[i] for i in indices])
            trajectories[trajectory] = [indices[k] for k in np.argsort(times, kind="stable")]
    return dict(sorted(loose.items())), dict(sorted(trajectories.items()))


def times_of(frames: Sequence[Frame]) -> tuple[FloatArray, str]:
    """Return the times (M,) of frames that all tell one, or else their numbers, and the key or ``frame``."""
    for key in TIME_KEYS:
        times = [frame.labels.info.get(key) for frame in frames]
        if all(isinstance(time, int | float | np.number) for time in times):
            return np.array(times, dtype=np.float64), key
    return np.arange(len(frames), dtype=np.float64), "frame"


def _require_fraction(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise InputError(f"{fraction} is not a fraction between 0 and 1", field="fraction")


def _but_isolated(way: Callable[..., Split]) -> Callable[..., Split]:
    """Return a way to split that leaves isolated atoms in training, because the reference energies hang on them."""

    @wraps(way)
    def splitting(dataset: Dataset, fraction: float, rng: np.random.Generator, **options: Any) -> Split:
        others = np.array([i for i, frame in enumerate(dataset) if not is_isolated_atom(frame)], dtype=np.int64)
        if len(others) in (0, len(dataset)) or options.get("groups"):  # who names groups gets them
            return way(dataset, fraction, rng, **options)
        parts = way(dataset[others], fraction, rng, **options)
        return Split.of(len(dataset), others[parts.test].tolist(), others[parts.dropped].tolist())

    return splitting


#: Ways to split by name: dataset, fraction and generator in, a `Split` out; further arguments by keyword.
SPLITTERS: Mapping[str, Callable[..., Split]] = {
    name: _but_isolated(way)
    for name, way in (
        ("random", split_random), ("group", split_by_group), ("blocks", split_by_blocks),
        ("stratified", split_stratified),
    )
}  # fmt: skip


def split(dataset: Dataset, by: str, fraction: float, rng: np.random.Generator, **options: Any) -> Split:
    """Split a dataset in one of the ways of `SPLITTERS`.

    Raises
    ------
    InputError
        If there is no such way, the fraction does not lie between 0 and 1 or leaves one side empty, or another argument
        is invalid.
    """
    if by not in SPLITTERS:
        raise InputError(f"{by!r} is not a way to split; allowed are {', '.join(SPLITTERS)}", field="by")
    return SPLITTERS[by](dataset, fraction, rng, **options)
