"""Molecular dynamics with any potential: stages, engines, monitors, exact restart."""

from __future__ import annotations

from forcewright.simulate.force_field import ForceField
from forcewright.simulate.monitors import Alarm, Monitors
from forcewright.simulate.result import SimulationResult, StageRecord, read_result
from forcewright.simulate.run import ENGINES, Progress, run
from forcewright.simulate.settings import RunSettings, TrajectorySettings
from forcewright.simulate.stages import Stage
from forcewright.trajectory import Snapshot

__all__ = [
    "ENGINES", "Alarm", "ForceField", "Monitors", "Progress", "RunSettings", "SimulationResult",
    "Snapshot", "Stage", "StageRecord", "TrajectorySettings", "read_result", "run",
]  # fmt: skip
