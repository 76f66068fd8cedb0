"""Why a simulation failed: its frames, its potential and its training data in; a verdict with its evidence out."""

from __future__ import annotations

from forcewright.diagnosis.diagnosis import Culprit, Diagnosis, diagnose_run, structure_around
from forcewright.diagnosis.frame_errors import FrameErrors, PressureTable, frame_errors, pressure_table
from forcewright.diagnosis.run_record import RunRecord, evenly

__all__ = [
    "Culprit", "Diagnosis", "FrameErrors", "PressureTable", "RunRecord", "diagnose_run", "evenly", "frame_errors",
    "pressure_table", "structure_around",
]  # fmt: skip
