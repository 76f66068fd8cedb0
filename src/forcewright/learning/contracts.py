"""The parts of a learner: whatever fulfils a contract takes the place of the one that the settings describe.

The fifth, what labels structures, is `forcewright.potential.Reference`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from forcewright.potential import Potential
from forcewright.simulation import SimulationResult
from forcewright.structure import Dataset, FloatArray
from forcewright.trajectory import Snapshot
from forcewright.uncertainty import Uncertainty


@dataclass(frozen=True, eq=False)
class Fitted:
    """A potential and what is worth telling of its fit, as plain data."""

    potential: Potential
    facts: Mapping[str, Any] = field(default_factory=dict)


class Model(Protocol):
    """Fits potentials to data that grow."""

    def fit(self, data: Dataset, round_number: int, settled: Mapping[str, Any] | None) -> Fitted:
        """Return the potential of a round, always the same for the same data.

        Parameters
        ----------
        data
            The starting data, and after them all that was learned.
        settled
            What an earlier round has left under ``settled`` in its facts; None in the first.
        """


class Novelty(Protocol):
    """Tells how new the surroundings of each atom are to a potential."""

    def of(self, potential: Potential, data: Dataset) -> Uncertainty:
        """Return what tells it, calibrated: what is above its limit is new."""


@dataclass(frozen=True)
class Waypoint:
    """Where a walker goes on.

    Attributes
    ----------
    done_ps
        After so many picoseconds of its stages.
    file
        From this file in the folder of the rounds; None for where it begins by itself.
    passed
        How often it has come from its beginning to its end with nothing new, since something was learned.
    """

    done_ps: float = 0.0
    file: str | None = None
    passed: int = 0


@dataclass(frozen=True, eq=False)
class Walk:
    """What a walker did in a round.

    Attributes
    ----------
    walker
        Its name.
    from_ps
        Where on its way it began; 0 at its start.
    planned_ps
        How long the whole way is.
    result
        How the simulation ended.
    frames
        The last frames, oldest first.
    novelty
        The largest novelty of an atom in each of them, over the limit; infinite where it is not known.
    atoms
        Which atom that is.
    """

    walker: str
    from_ps: float
    planned_ps: float
    result: SimulationResult
    frames: Sequence[Snapshot]
    novelty: FloatArray
    atoms: Sequence[int]

    @property
    def reached_ps(self) -> float:
        """How far on its way it came."""
        return self.from_ps + (self.result.final.time or 0.0) / 1000.0

    @property
    def failed(self) -> bool:
        """Whether something else than novelty ended it early."""
        alarm = self.result.alarm
        return alarm is not None and alarm.monitor != "extrapolation_factor"


class Simulator(Protocol):
    """Moves walkers with a potential."""

    @property
    def walkers(self) -> Sequence[str]:
        """Their names."""

    def walk(
        self,
        potential: Path,
        uncertainty: Uncertainty,
        waypoints: Mapping[str, Waypoint],
        folder: Path,
        round_number: int,
    ) -> list[Walk]:
        """Move every walker from its waypoint, until its end or until it is stopped; ``folder`` is that of the round.

        Called again after a kill, it goes on, and ends as it would have done.
        """


@dataclass(frozen=True, eq=False)
class Candidate:
    """A frame that may be labelled, and why."""

    walk: Walk
    index: int
    why: str
    novel: bool = False  # whether it is chosen because it is new

    @property
    def frame(self) -> Snapshot:
        """The frame."""
        return self.walk.frames[self.index]


class Policy(Protocol):
    """Says when walkers stop, and which of their frames are labelled."""

    def choose(self, walks: Sequence[Walk], count: int, rng: np.random.Generator) -> list[Candidate]:
        """Return at most ``count`` frames of a round to label; none where there is nothing to learn."""

    def waypoint_after(self, walk: Walk, waypoint: Waypoint, folder: Path) -> Waypoint:
        """Return where a walker goes on in the next round; what it needs is written to ``folder``."""
