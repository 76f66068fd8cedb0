"""The protocol of engines, which move atoms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from forcewright.simulation.stages import Stage
from forcewright.trajectory import Snapshot


class Engine(Protocol):
    """Moves the atoms of one simulation; made with a force field, a starting snapshot and a seed.

    The driver calls ``begin`` at the start of each stage, then ``advance`` and ``snapshot``; at the steps of its
    checkpoints it calls ``state``. A new engine restored from a state continues as the old one would.
    """

    def begin(self, stage: Stage) -> None:
        """Start a stage from the current positions, velocities and cell, with a thermostat at rest.

        Velocities that are missing or all zero are drawn if the stage has a temperature.

        Raises
        ------
        InputError
            If the stage needs a cell, a stress or velocities that are missing.
        """

    def advance(self, steps: int) -> None:
        """Move the atoms by some steps of the current stage, along its ramps.

        Step k = 1 ... n of a stage is done at the targets T(k) = T_0 + (T_n - T_0) k / n. In a relaxation ``steps`` is
        the largest number of iterations; it ends earlier when nothing exceeds the stage's limit, leaves velocities
        at zero, and takes no time: the step of the simulation stays the same. ``state`` is never taken within it.
        """

    def snapshot(self) -> Snapshot:
        """Return the current snapshot; step and time count from the start of the simulation."""

    def state(self) -> Mapping[str, Any]:
        """Return everything that determines how the run continues: arrays, numbers and texts.

        Whatever is cached and could affect rounding (neighbor lists) is dropped, so that a run that continues after
        this call and one that is restored from it stay identical.
        """

    def restore(self, stage: Stage, state: Mapping[str, Any]) -> None:
        """Continue a stage from where ``state`` was taken."""

    def close(self) -> None:
        """Release files and processes."""
