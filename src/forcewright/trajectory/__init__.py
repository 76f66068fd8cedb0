"""Trajectories: snapshots in memory and on disk, read and written one at a time."""

from __future__ import annotations

from forcewright.trajectory.reading import Frames, count_frames, snapshots
from forcewright.trajectory.snapshot import Snapshot
from forcewright.trajectory.thermo_table import read_thermo
from forcewright.trajectory.writing import Writer, open_writer

__all__ = ["Frames", "Snapshot", "Writer", "count_frames", "open_writer", "read_thermo", "snapshots"]
