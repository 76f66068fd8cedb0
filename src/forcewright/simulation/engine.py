"""The contract of engines, which move atoms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from forcewright.simulation.stages import Stage
from forcewright.trajectory import Snapshot


class Engine(Protocol):
    """Moves the atoms of one simulation; made with a force field, a starting snapshot and a seed.

    The driver calls ``begin`` at the start of each stage, then ``advance`` and ``snapshot``; at the steps of its
    checkpoints it calls ``state``. A new engine that was given a state by ``restore`` goes on as the old one would.
    """

    def begin(self, stage: Stage) -> None:
        """Start a stage from the present positions, velocities and cell, with a thermostat at rest.

        Velocities that are not there, or all zero, are drawn where the stage has a temperature.
        """
        ...

    def advance(self, steps: int) -> None:
        """Move the atoms by some steps of the present stage, along its ramps.

        Step k = 1 ... n of a stage is done at the targets T(k) = T_0 + (T_n - T_0) k / n. In a relaxation ``steps`` is
        the largest number of iterations; it ends sooner when nothing exceeds the stage's limit, leaves velocities at
        zero, and takes no time: the step of the simulation stays the same. ``state`` is taken before it, never within.
        """
        ...

    def snapshot(self) -> Snapshot:
        """Return the present moment; step and time count from the start of the simulation."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Return all that decides how the run goes on: arrays, numbers and texts.

        Whatever is cached and could change a rounding (neighbor lists) is dropped, so that a run that goes on after
        this call and one that is restored from it stay the same.
        """
        ...

    def restore(self, stage: Stage, state: Mapping[str, Any]) -> None:
        """Take up a stage where ``state`` was taken."""
        ...

    def close(self) -> None:
        """Release files and processes."""
        ...
