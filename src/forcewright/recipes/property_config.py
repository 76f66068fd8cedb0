"""What studies of all properties beside the energy have in common: where the data lie, and how they are cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from forcewright.configs import StrictModel
from forcewright.data.folds import group_folds, kfold
from forcewright.data.properties import Target
from forcewright.data.property_reading import beside_structures
from forcewright.properties.kernel_basis import KernelSettings
from forcewright.properties.tensor_model import TensorSettings
from forcewright.recipes.config import Paths
from forcewright.structure import Dataset, IntArray

LeaveOut = Literal["groups"] | dict[str, list[str]]


class PropertyData(StrictModel):
    """Where structures with values lie; paths are relative to the config."""

    train: Paths
    """File or files to fit to."""
    test: Paths | None = None
    """File or files that are predicted once, at the end."""
    skip_broken: bool = False
    """Leave out frames without a usable value, and say so."""

    def files(self, target: Target) -> list[Path]:
        """Return all files that the values of a target come from."""
        structures = [*self.train, *(self.test or [])]
        if target.file is None:
            return structures
        return list(dict.fromkeys([*structures, *(beside_structures(target.file, path) for path in structures)]))


class LinearCandidates(TensorSettings):
    """A linear model, and what differs in further candidates."""

    alternatives: list[dict[str, Any]] = Field(default_factory=list, max_length=20)
    """What differs in further candidates, such as ``- {cutoff: 6}``; the best is taken."""


class KernelCandidates(KernelSettings):
    """A kernel on descriptors, and what differs in further candidates."""

    alternatives: list[dict[str, Any]] = Field(default_factory=list, max_length=20)
    """What differs in further candidates, such as ``- {cutoff: 6}``; the best is taken."""


def cut(dataset: Dataset, folds: int, leave_out: LeaveOut | None, seed: int) -> IntArray:
    """Return the fold of every frame: dealt within groups and by blocks of trajectories, or whole groups.

    Raises
    ------
    InputError
        If a group that is left out is unknown, or nothing would be left.
    """
    rng = np.random.default_rng(seed)
    if leave_out is None:
        return kfold(dataset, min(folds, len(dataset)), rng=rng)
    sets: dict[str, Sequence[str]] = (
        {group: [group] for group in dataset.group_sizes} if leave_out == "groups" else dict(leave_out)
    )
    return group_folds(dataset, sets, folds, rng=rng)
