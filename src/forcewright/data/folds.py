"""Folds and hold-outs that keep every group in proportion and never tear a trajectory into neighboring frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.structure import Dataset, IntArray


def kfold(
    dataset: Dataset, k: int, *, rng: np.random.Generator, by: Literal["auto", "group", "trajectory"] = "auto",
    trajectory_key: str = "trajectory",
) -> IntArray:  # fmt: skip
    """Return the fold number 0 ... k-1 of every frame, shape (frames,).

    Within a group the frames are shuffled and dealt; frames of one trajectory (same ``info[trajectory_key]``) are cut
    into k contiguous blocks instead, because neighbors in time are nearly copies.

    Parameters
    ----------
    by
        ``"group"`` ignores trajectories, ``"trajectory"`` insists that every frame names one, ``"auto"`` uses them
        where they are.

    Raises
    ------
    InputError
        If k is below 2 or above the number of frames, or a trajectory is missing where ``by`` insists.
    """
    if not 2 <= k <= len(dataset):
        raise InputError(
            f"cannot make {k} folds of {len(dataset)} frames; choose between 2 and the number of frames", field="k"
        )
    if by not in ("auto", "group", "trajectory"):
        raise InputError(f"{by!r} is not allowed; use auto, group or trajectory", field="by")
    folds = np.empty(len(dataset), dtype=np.int64)
    loose, trajectories = _sort_out(dataset, by, trajectory_key)
    dealt = 0  # dealing goes on where the last group stopped, so that small groups do not all land in fold 0
    for members in loose.values():
        for position, index in enumerate(rng.permutation(members)):
            folds[index] = (dealt + position) % k
        dealt += len(members)
    for members in trajectories.values():
        order = (np.arange(k) + dealt) % k if len(members) < k else rng.permutation(k)
        for fold, block in zip(order, np.array_split(np.array(members), k), strict=True):
            folds[block] = fold
        dealt += len(members) if len(members) < k else 0
    return folds


def group_folds(
    dataset: Dataset, sets: Mapping[str, Sequence[str]], k: int, *, rng: np.random.Generator
) -> IntArray:  # fmt: skip
    """Return fold numbers (frames,): one fold for each named set of groups, and ``k`` for the frames of no set.

    Raises
    ------
    InputError
        If a set is empty, names an unknown group or one of another set, there are not two folds, or leaving a set out
        takes away all frames of an element.
    """
    set_of: dict[str, int] = {}
    for number, (name, groups) in enumerate(sets.items()):
        for group in groups:
            if group not in dataset.group_sizes:
                known = ", ".join(dataset.group_sizes)
                raise InputError(f"{name} names {group}; the groups are {known}", field="leave_out")
            if group in set_of:
                raise InputError(f"{name} names {group}, which is in another set as well", field="leave_out")
            set_of[group] = number
        if not groups:
            raise InputError(f"{name} names no group", field="leave_out")
    folds = np.array([set_of.get(group, -1) for group in dataset.groups], dtype=np.int64)
    rest = np.flatnonzero(folds < 0)
    if len(rest) == 0 and len(sets) < 2:
        raise InputError("leaves out all there is; name at least two sets, or fewer groups", field="leave_out")
    if len(rest):
        folds[rest] = len(sets) + (kfold(dataset[rest], k, rng=rng) if len(rest) >= k else 0)
    for number, name in enumerate(sets):
        if missing := set(dataset.species) - set(dataset[np.flatnonzero(folds != number)].species):
            symbols = ", ".join(chemical_symbols[z] for z in sorted(missing))
            raise InputError(
                f"{name} holds all frames with {symbols}: a fit without it could not predict it", field="leave_out"
            )
    return folds


def _sort_out(
    dataset: Dataset, by: str, trajectory_key: str
) -> tuple[dict[str, list[int]], dict[tuple[str, str], list[int]]]:
    loose: dict[str, list[int]] = defaultdict(list)
    trajectories: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, labels in enumerate(dataset.labels):
        name = labels.info.get(trajectory_key)
        if by == "trajectory" and name is None:
            raise InputError(
                f"the frame names no trajectory; use by='auto' or set info[{trajectory_key!r}]",
                frame=index, field=trajectory_key,
            )  # fmt: skip
        if by == "group" or name is None:
            loose[labels.group].append(index)
        else:
            trajectories[labels.group, str(name)].append(index)
    # A "trajectory" of one frame (a single-point calculation) has no neighbors in time: it is an ordinary frame.
    for (group, name), members in list(trajectories.items()):
        if len(members) == 1:
            loose[group] += trajectories.pop((group, name))
    return dict(sorted(loose.items())), dict(sorted(trajectories.items()))


def holdout(
    dataset: Dataset, fraction: float, rng: np.random.Generator, *, trajectory_key: str = "trajectory"
) -> tuple[IntArray, IntArray]:
    """Return the indices to train on and to hold out, ascending; every group gives about ``fraction`` of its frames.

    A trajectory gives one contiguous block. A group of one frame stays in training.

    Raises
    ------
    InputError
        If the fraction is not between 0 and 1, or nothing would be left on one side.
    """
    if not 0 < fraction < 1:
        raise InputError(f"{fraction} is not a fraction between 0 and 1", field="fraction")
    held: list[int] = []
    loose, trajectories = _sort_out(dataset, "auto", trajectory_key)
    for members in loose.values():
        held += rng.permutation(members)[: _share(len(members), fraction)].tolist()
    for members in trajectories.values():
        count = _share(len(members), fraction)
        start = int(rng.choice([0, len(members) - count]))  # a block at one end has one seam, not two
        held += members[start : start + count]
    mask = np.zeros(len(dataset), dtype=bool)
    mask[held] = True
    if mask.all() or not mask.any():
        raise InputError(
            f"{fraction} of {len(dataset)} frames leaves one side empty; choose another fraction", field="fraction"
        )
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def _share(count: int, fraction: float) -> int:
    return min(max(round(count * fraction), 1), count - 1) if count > 1 else 0
