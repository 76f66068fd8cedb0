"""Data sets as extended XYZ, the format most training sets are published in (`forcewright.extxyz` is its grammar)."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forcewright.data.raw import Columns, RawFrame, RawFrames, plain
from forcewright.extxyz import ExtxyzFrame, format_frame, format_value, read_frames
from forcewright.files import atomic_write
from forcewright.structure import Dataset, FloatArray, Frame

_TAKEN = ("lattice", "properties", "pbc")


def read_extxyz(path: Path) -> RawFrames:
    """Yield the frames of an extended XYZ file, or their errors (`forcewright.extxyz.read_frames`)."""
    for frame in read_frames(path):
        if isinstance(frame, ExtxyzFrame):
            yield RawFrame(frame.structure, frame.info, frame.arrays, frame.comment)
        else:
            yield frame


def write_extxyz(dataset: Dataset, path: Path, columns: Columns = ()) -> None:
    """Write labels as REF_energy, REF_forces and REF_stress (nine numbers), the group as config_type.

    ``columns`` are further numbers of each frame's atoms, (N, k) by their name. A file whose name ends in ``.gz`` is
    packed.
    """
    further = columns or [{}] * len(dataset)
    content = "".join(_frame_text(frame, held) for frame, held in zip(dataset, further, strict=True)).encode()
    atomic_write(path, gzip.compress(content, mtime=0) if path.name.lower().endswith(".gz") else content)


def _frame_text(frame: Frame, further: Mapping[str, FloatArray]) -> str:
    structure, labels, _ = frame
    pairs: dict[str, Any] = {}
    if labels.energy is not None:
        pairs["REF_energy"] = labels.energy
    if labels.stress is not None:
        pairs["REF_stress"] = labels.stress.ravel()
    pairs["config_type"] = labels.group
    pairs |= {key: value for key, value in labels.info.items() if key not in pairs and key.lower() not in _TAKEN}
    columns: dict[str, FloatArray] = {} if labels.forces is None else {"REF_forces": labels.forces}
    columns |= further
    texts = {key: format_value(plain(value)) for key, value in pairs.items()}
    return format_frame(structure, columns, texts, aligned=True)
