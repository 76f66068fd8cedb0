"""Structures and labels for the programs of others: extended XYZ with chosen names and every digit.

The format is that of `forcewright.data.write`, which has names of its own for the labels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from forcewright.configs import StrictModel
from forcewright.extxyz import format_frame, format_value, quote
from forcewright.files import atomic_write
from forcewright.structure import Dataset, Frame, Structure

_NAME = Field(default=None, pattern=r"^[A-Za-z_]\w*$")


class LabelNames(StrictModel):
    """Names of the labels in a file; a label without a name is not written."""

    energy: str | None = Field(default="energy", pattern=r"^[A-Za-z_]\w*$")
    """Energy of the cell in eV."""
    forces: str | None = Field(default="forces", pattern=r"^[A-Za-z_]\w*$")
    """Forces in eV/Å, three columns."""
    stress: str | None = _NAME
    """Stress in eV/Å³, nine numbers; tension is positive."""
    virial: str | None = _NAME
    """Minus stress times volume in eV, nine numbers."""
    group: str | None = Field(default="config_type", pattern=r"^[A-Za-z_]\w*$")
    """The group of the frame."""


def write_training_file(
    dataset: Dataset, path: Path, names: LabelNames,
    prepare: Callable[[Structure], Structure] = lambda same: same, group: Callable[[str], str] = lambda same: same,
) -> Path:  # fmt: skip
    """Write frames with their labels, which are called by ``names``, atomically.

    ``prepare`` is applied to each structure before it is written, while the virial is that of the structure before;
    ``group`` returns what a group is called in the file.
    """
    return atomic_write(path, "".join(_frame_text(f, names, prepare(f.structure), group) for f in dataset))


def _frame_text(frame: Frame, names: LabelNames, shown: Structure, group: Callable[[str], str]) -> str:
    structure, labels, _ = frame
    pairs: dict[str, str] = {}
    if labels.energy is not None and names.energy:
        pairs[names.energy] = format_value(labels.energy)
    if labels.stress is not None and structure.volume > 0:
        for name, values in ((names.stress, labels.stress), (names.virial, -labels.stress * structure.volume)):
            pairs |= {name: format_value(values.ravel().tolist())} if name else {}
    if names.group:
        pairs[names.group] = quote(group(labels.group))
    columns = {names.forces: labels.forces} if labels.forces is not None and names.forces else {}
    return format_frame(shown, columns, pairs, aligned=True)
