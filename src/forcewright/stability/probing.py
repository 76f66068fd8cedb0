"""All probes of one potential, in order, within a budget of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from forcewright.data.closest_pairs import shortest_distances
from forcewright.errors import ForcewrightError
from forcewright.fitting.settings import StabilitySettings
from forcewright.models.baseline import vacuum_of
from forcewright.potential import Potential
from forcewright.stability.dimers import dimer_curves, free_energies
from forcewright.stability.dynamics import runs
from forcewright.stability.holes import Clock, Hole, OutOfTimeError, lowest_energy
from forcewright.stability.packings import relaxed_packings
from forcewright.structure import Dataset

_SHORTEST_BUDGET_S, _SHARE = 60.0, 0.1  # of the study


@dataclass
class Probed:
    """What probing has found.

    Attributes
    ----------
    settings
        What was asked for.
    budget_s, used_s
        Wall time that it could take, and has taken.
    curves
        Energies of pairs over their distance.
    packings
        How many packings were relaxed.
    runs
        What became of each run of dynamics.
    holes
        Where atoms fall.
    cut
        What the time did not suffice for, in words.
    problem
        Why the potential could not be probed; empty where it was.
    """

    settings: StabilitySettings
    budget_s: float
    used_s: float = 0.0
    curves: list[dict[str, Any]] = field(default_factory=list)
    packings: int = 0
    runs: list[dict[str, Any]] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        survived = sum(row["survived"] for row in self.runs)
        return {
            "temperature_K": self.settings.kelvin, "temperature_defaulted": self.settings.temperature_K is None,
            "budget_s": round(self.budget_s, 1), "used_s": round(self.used_s, 1), "problem": self.problem,
            "holes": [hole.to_dict() for hole in self.holes], "curves": self.curves,
            "packings": {"done": self.packings, "planned": self.settings.packings},
            "runs": {"done": len(self.runs), "planned": self.settings.runs, "survived": survived, "each": self.runs},
            "cut": self.cut,
        }  # fmt: skip


def probe(potential: Potential, train: Dataset, settings: StabilitySettings, seed: int, study_s: float) -> Probed:
    """Probe a potential: pairs, then packings, then dynamics; what the time does not suffice for is named.

    Parameters
    ----------
    train
        Its training data: their shortest distances, compositions and frames.
    seed
        Seed where the settings name none.
    study_s
        How long the study took, of which probing may take a tenth.
    """
    budget = settings.budget_s or max(_SHORTEST_BUDGET_S, _SHARE * study_s)
    seed = seed if settings.seed is None else settings.seed
    clock, probed = Clock(budget), Probed(settings, budget)
    try:
        _probe_all(potential, train, settings, seed, clock, probed)
    except ForcewrightError as error:
        probed.problem = str(error)
    probed.used_s = clock.passed_s
    return probed


def _probe_all(
    potential: Potential, train: Dataset, settings: StabilitySettings, seed: int, clock: Clock, probed: Probed
) -> None:
    shortest = shortest_distances(train)
    vacuum = vacuum_of(potential)
    free = free_energies(vacuum)
    left = list(shortest)
    curves = dimer_curves(vacuum, shortest, free)
    while left and not clock.is_over:
        curve, hole = next(curves)
        probed.curves.append(curve)
        probed.holes += [] if hole is None else [hole]
        left.pop(0)
    if left:
        probed.cut.append(f"pairs {', '.join(left)}")
    lowest = lowest_energy(train, free)
    packings = relaxed_packings(potential, train, shortest, lowest, free, settings.packings, seed, clock)
    try:
        while probed.packings < settings.packings and not clock.is_over:
            hole = next(packings)
            probed.packings += 1
            probed.holes += [] if hole is None else [hole]
    except OutOfTimeError:
        pass
    if (missing := settings.packings - probed.packings) > 0:
        probed.cut.append(f"{missing} of {settings.packings} packings")
    moving = runs(potential, train, shortest, settings.kelvin, settings.time_ps, settings.runs, seed, clock)
    try:
        while len(probed.runs) < settings.runs and not clock.is_over:
            row, hole = next(moving)
            probed.runs.append(row)
            probed.holes += [] if hole is None else [hole]
    except OutOfTimeError:
        pass
    if (missing := settings.runs - len(probed.runs)) > 0:
        probed.cut.append(f"{missing} of {settings.runs} runs of dynamics")
