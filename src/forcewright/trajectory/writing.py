"""Writers of trajectories, which can be cut back to where a checkpoint left them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from forcewright.trajectory.extxyz import ExtxyzWriter
from forcewright.trajectory.h5md import H5mdWriter, plain_path
from forcewright.trajectory.snapshot import Snapshot

Format = Literal["extxyz", "h5"]


class Writer(Protocol):
    """Appends snapshots to a trajectory."""

    def write(self, snapshot: Snapshot, stage: str = "") -> None:
        """Append one frame, and the name of the stage it belongs to."""

    def sync(self) -> int:
        """Bring everything to the disk and return the offset at which a later writer may go on."""

    def close(self) -> None:
        """Close the file, which a later writer may go on with."""

    def finish(self) -> Path:
        """Close the file, make it readable to others, and return its path."""


def open_writer(path: Path, *, forces: bool = False, offset: int = 0) -> Writer:
    """Open a trajectory for writing after the first ``offset`` bytes; ``.h5`` is H5MD, everything else extended XYZ."""
    kind = H5mdWriter if path.suffix == ".h5" else ExtxyzWriter
    return kind(path, forces=forces, offset=offset)


def remove_remains(path: Path) -> None:
    """Remove what a writer kept beside a finished trajectory."""
    plain_path(path).unlink(missing_ok=True)
