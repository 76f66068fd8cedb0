"""Survival: how many of several independent runs complete (du Toit 2025, section 4.6.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.force_field import ForceField
from forcewright.simulation import RunSettings, SimulationResult, Stage, run
from forcewright.structure import FloatArray
from forcewright.trajectory import Snapshot


@dataclass(frozen=True, eq=False)
class Survival(Result):
    """How long independent runs lasted.

    ================  ===============================================================================================
    times_ps          how long each run lasted (n,)
    completed         whether it completed (n,)
    reasons           why each ended
    planned_ps        how long each was to last
    folder            where the runs lie
    outside           number of runs that were stopped unbroken, because they had left the training data
    share, low, high  share of runs that completed, and its 95 % confidence interval (Wilson, J. Am. Stat. Assoc. 22,
                      209 (1927)).
    ================  ===============================================================================================
    """

    times_ps: FloatArray
    completed: NDArray[np.bool_]
    reasons: tuple[str, ...]
    planned_ps: float
    share: float
    low: float
    high: float
    folder: Path
    outside: int = 0

    @property
    def survivors(self) -> int:
        """Number of runs that completed."""
        return int(self.completed.sum())

    def curve(self) -> tuple[FloatArray, FloatArray]:
        """Return times (ps) and the share of runs alive from each time on, as steps."""
        failed = np.sort(self.times_ps[~self.completed])
        alive = 1.0 - np.arange(len(failed) + 1) / len(self.times_ps)
        return np.concatenate([[0.0], failed, [self.planned_ps]]), np.concatenate([alive, alive[-1:]])

    def _draw(self, ax: Axes) -> None:
        times, alive = self.curve()
        ax.step(times, alive, where="post")
        ax.plot(times[1:-1], alive[1:-1], "x", color="#b3261e")
        ax.set(xlabel="time (ps)", ylabel="share of runs alive", ylim=(-0.03, 1.05), xlim=(0.0, self.planned_ps))


def survival(
    force_field: ForceField, start: Snapshot, stages: Sequence[Stage], folder: Path, *, runs: int,
    engine: str = "ase", seed: int = 0, settings: RunSettings | None = None, fresh: bool = False,
    on_run: Callable[[int, SimulationResult], None] | None = None, on_progress: Any = None,
) -> Survival:  # fmt: skip
    """Run the same stages with different seeds, in the folders run-0, run-1, … of ``folder``, and count survivors.

    A run has survived when no monitor stopped it. Runs that are done are not repeated.

    Raises
    ------
    InputError
        If fewer than two runs are asked for.
    """
    if runs < 2:
        raise InputError(f"is {runs}; survival needs at least two runs", field="runs")
    results = []
    for index in range(runs):
        # Random numbers of runs are independent, also of those of other seeds.
        run_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        result = run(
            force_field, start, stages, folder / f"run-{index}", engine=engine, seed=run_seed,
            settings=settings or RunSettings(), fresh=fresh, on_progress=on_progress,
        )  # fmt: skip
        results.append(result)
        if on_run is not None:
            on_run(index, result)
    return count_survivors(results, sum(stage.time_ps or 0.0 for stage in stages), folder)


def count_survivors(results: Sequence[SimulationResult], planned_ps: float, folder: Path) -> Survival:
    """Return the share of runs that completed, and when the others ended."""
    completed = np.array([result.completed for result in results], dtype=bool)
    interval = binomtest(int(completed.sum()), len(results)).proportion_ci(0.95, method="wilson")
    times = np.array([planned_ps if result.completed else result.time_ps for result in results])
    reasons = tuple(result.reason for result in results)
    share, low, high = float(completed.mean()), float(interval.low), float(interval.high)
    outside = sum(result.alarm is not None and result.alarm.is_outside for result in results if not result.completed)
    return Survival(times, completed, reasons, planned_ps, share, low, high, folder, outside)
