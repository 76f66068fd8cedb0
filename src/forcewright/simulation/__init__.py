"""Molecular dynamics with any potential: stages, engines, monitors, exact restart."""

from __future__ import annotations

from forcewright.force_field import ForceField
from forcewright.simulation.monitors import Alarm, Monitors
from forcewright.simulation.result import SimulationResult, StageRecord, read_result
from forcewright.simulation.run import ENGINES, Progress, run
from forcewright.simulation.settings import DenseSettings, RunSettings, TrajectorySettings
from forcewright.simulation.stages import Stage, planned_stage
from forcewright.trajectory import Snapshot

__all__ = [
    "ENGINES", "Alarm", "DenseSettings", "ForceField", "Monitors", "Progress", "RunSettings", "SimulationResult",
    "Snapshot", "Stage", "StageRecord", "TrajectorySettings", "planned_stage", "read_result",
    "run",
]  # fmt: skip
