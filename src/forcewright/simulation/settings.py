"""What a run writes, how often, and what stops it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from forcewright.simulation.monitors import Monitors
from forcewright.simulation.stages import Stage


class TrajectorySettings(BaseModel):
    """The trajectory of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    every_fs: float = Field(default=100.0, gt=0)
    """Time between frames; rounded to steps of each stage, at least one."""
    format: Literal["extxyz", "h5"] = "extxyz"
    """Extended XYZ, or HDF5 in the H5MD layout, which is smaller and faster to read."""
    forces: bool = False
    """Whether to write forces."""


class DenseSettings(BaseModel):
    """Frames of the last moments of a run, which are written if it breaks."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    every_fs: float = Field(default=10.0, gt=0)
    """Time between frames; rounded to steps of each stage, at least one."""
    count: int = Field(default=40, ge=0, le=100_000)
    """How many of them are kept, fewer where they would take more than 40 MB; 0 for none."""


class RunSettings(BaseModel):
    """What a run writes, how often, and what stops it.

    Intervals are rounded to steps of each stage, at least one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    trajectory: TrajectorySettings = TrajectorySettings()
    """The trajectory."""
    thermo_every_fs: float = Field(default=10.0, gt=0)
    """Time between rows of thermo.csv, which also has one at the end of each stage."""
    checkpoint_every_steps: int | None = Field(default=None, gt=0)
    """Steps between checkpoints, 1000 by default. It affects the rounding of results."""
    checkpoint_every_ps: float | None = Field(default=None, gt=0)
    """The same as a time."""
    monitors: Monitors = Monitors()
    """What stops the run."""
    dense_frames: DenseSettings = DenseSettings()
    """What is kept of the moments before a run breaks, beyond its trajectory."""

    @model_validator(mode="after")
    def _check_interval(self) -> Self:
        if self.checkpoint_every_steps is not None and self.checkpoint_every_ps is not None:
            raise ValueError("give checkpoint_every_steps or checkpoint_every_ps, not both")
        return self

    def intervals(self, stage: Stage, *before: Stage) -> Intervals:
        """Return all intervals in steps of a stage, which comes after others."""
        checkpoint = self.checkpoint_every_steps or 1000
        if self.checkpoint_every_ps is not None:
            checkpoint = _steps(1000.0 * self.checkpoint_every_ps, stage)
        since = 0.0  # fs since the last frame that was due; frames are equally spaced over all stages
        for earlier in before:
            every = _steps(self.trajectory.every_fs, earlier) * earlier.timestep_fs
            since = (since + earlier.steps * earlier.timestep_fs) % every
        return Intervals(
            _steps(self.trajectory.every_fs, stage), _steps(self.thermo_every_fs, stage),
            _steps(self.monitors.every_fs, stage), checkpoint,
            _steps(self.dense_frames.every_fs, stage) if self.dense_frames.count else 0,
            round(since / stage.timestep_fs),
        )  # fmt: skip


@dataclass(frozen=True)
class Intervals:
    """Steps between outputs and checks of a stage."""

    frame: int
    thermo: int
    monitors: int
    checkpoint: int
    dense: int = 0  # for none
    since_frame: int = 0  # steps from the last frame that was due to the beginning of the stage

    def until_next(self, step: int) -> int:
        """Return the number of steps from ``step`` to the next output or check."""
        due = (self.thermo, self.monitors, self.checkpoint, self.dense)
        frame = self.frame - (step + self.since_frame) % self.frame
        return min(frame, *(every - step % every for every in due if every))

    def frame_due(self, step: int) -> bool:
        """Return whether a frame of the trajectory is due at a step of the stage."""
        return (step + self.since_frame) % self.frame == 0


def _steps(fs: float, stage: Stage) -> int:
    return max(1, round(fs / stage.timestep_fs))
