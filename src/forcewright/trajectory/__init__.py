"""Trajectories: snapshots in memory and on disk, read and written one at a time."""

from __future__ import annotations

from forcewright.trajectory.reading import Frames, snapshots
from forcewright.trajectory.snapshot import Snapshot

__all__ = ["Frames", "Snapshot", "snapshots"]
