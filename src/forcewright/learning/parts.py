"""The parts that settings describe: a model of any family, walkers, uncertainties as novelty, and the policy."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from forcewright.errors import InputError
from forcewright.files import atomic_write
from forcewright.fitting.growing import GrowingFits
from forcewright.fitting.settings import FitSettings
from forcewright.force_field import ForceField
from forcewright.learning.contracts import Candidate, Fitted, Walk, Waypoint
from forcewright.learning.settings import FilterSettings, NoveltySettings, PolicySettings, WalkerSettings
from forcewright.learning.time_limit import TimeLimit
from forcewright.neighbors import find_neighbors
from forcewright.potential import Potential
from forcewright.reference.identity import identify
from forcewright.selection.cur import select_cur
from forcewright.simulation import RunSettings, SimulationResult, Stage, run
from forcewright.simulation.extrapolation_watch import TABLE
from forcewright.simulation.settings import TrajectorySettings
from forcewright.structure import Dataset, Frame, Labels, Structure
from forcewright.trajectory import Snapshot, read_thermo, snapshots
from forcewright.trajectory.extxyz import frame_text
from forcewright.uncertainty import Uncertainty, judge, uncertainty_of

log = logging.getLogger("forcewright")

_LAST = 60  # frames of a walk that are looked at for what may be labelled
_FAR = 5.0  # times the factor at which walkers stop: beyond this a frame is labelled only if there is no other


class FamilyModel:
    """A model of any family, whose hyperparameters are searched in the first round and after every so many."""

    def __init__(self, settings: FitSettings, *, graded: bool, retune_every: int | None) -> None:
        self.fits, self.graded, self.retune_every = GrowingFits(settings), graded, retune_every

    def fit(self, data: Dataset, round_number: int, settled: Mapping[str, Any] | None) -> Fitted:
        """Return the potential of a round."""
        again = self.retune_every is not None and round_number % self.retune_every == 0
        if settled is None or again:
            settled, _ = self.fits.chosen(data)
        outcome = self.fits.fit(data, settled, graded=self.graded)
        facts = {
            "settled": dict(settled), "loss": outcome.final.loss, "validation": outcome.final.validation.to_dict(),
            "searched": again or round_number == 0,
        }  # fmt: skip
        return Fitted(outcome.final.potential, facts)


class UncertaintyNovelty:
    """Novelty by a kind of uncertainty that the potential knows; new is what few frames held back exceed."""

    def __init__(self, settings: NoveltySettings) -> None:
        self.settings = settings

    def of(self, potential: Potential, data: Dataset) -> Uncertainty:
        """Return the uncertainty, whose limit is the quantile asked for."""
        del data  # the potential remembers its calibration
        known = uncertainty_of(potential, self.settings.kind)
        if known is None or known.calibration is None:
            raise InputError(
                "has no quantiles over frames that were held back, of which there are too few; give more starting data",
                field="novelty",
            )
        limit = known.calibration.limit_of(1, self.settings.quantile)
        return replace(known, calibration=replace(known.calibration, limit=limit))


class Walkers:
    """Simulations, one after the other, which stop when the time of the learner is over."""

    def __init__(
        self, walkers: Mapping[str, tuple[WalkerSettings, Snapshot]], novelty: NoveltySettings, policy: PolicySettings,
        seed: int, time_limit: TimeLimit | None = None,
    ) -> None:  # fmt: skip
        self._walkers, self.novelty, self.policy, self.seed = walkers, novelty, policy, seed
        self.time_limit = time_limit or TimeLimit(None)

    @property
    def walkers(self) -> Sequence[str]:
        """Their names."""
        return list(self._walkers)

    def walk(
        self,
        potential: Path,
        uncertainty: Uncertainty,
        waypoints: Mapping[str, Waypoint],
        folder: Path,
        round_number: int,
    ) -> list[Walk]:
        """Move every walker from its waypoint until its end or until it is stopped."""
        loaded, name, content_hash = identify(potential)
        force_field = ForceField.of_potential(loaded, name, content_hash)
        return [
            self._walk(force_field, uncertainty, walker, waypoints[walker], folder, [round_number, number])
            for number, walker in enumerate(self._walkers)
        ]

    def _walk(
        self, force_field: ForceField, uncertainty: Uncertainty, walker: str, waypoint: Waypoint, folder: Path,
        numbers: Sequence[int],
    ) -> Walk:  # fmt: skip
        settings, start = self._walkers[walker]
        plan = settings.plan()
        if settings.packing is not None:  # which does not go on, but begins anew
            waypoint = Waypoint(passed=waypoint.passed)
            begin = Snapshot(settings.packing.draw(np.random.default_rng([self.seed, 2, *numbers])))
        else:
            begin = start if waypoint.file is None else next(snapshots(folder.parent / waypoint.file))
            begin = replace(begin, step=None, time=None)
        stages = remaining_stages(plan, waypoint.done_ps)
        seed = np.random.SeedSequence([self.seed, *numbers]).generate_state(1)
        result = run(
            force_field, begin, stages, folder / "walks" / walker, engine=settings.engine, seed=int(seed[0]),
            settings=self._run_settings(settings, stages), uncertainty=uncertainty,
            on_progress=lambda progress: self.time_limit.check(),  # what is stopped goes on from its checkpoint
        )  # fmt: skip
        frames = self._frames_of(result)
        judged = [judge(uncertainty, snapshot.structure) for snapshot in frames]
        novelty = np.array([known.largest / (known.limit or np.inf) for known in judged])
        planned = sum(stage.time_ps or 0.0 for stage in plan)
        atoms = [known.atom for known in judged]
        return Walk(walker, waypoint.done_ps, planned, result, frames, np.nan_to_num(novelty, nan=np.inf), atoms)

    def _frames_of(self, result: SimulationResult) -> list[Snapshot]:
        """Return the last frames of a run, or those around the first that was new where the run went on from there.

        Of the moments before it was stopped there are more, so that it is seen how it began. Where frames are taken
        evenly they are of the whole run.
        """
        if self.policy.take == "evenly":
            known = [s for s in snapshots(result.trajectory) if np.isfinite(s.structure.positions).all()]
            return [known[k] for k in np.unique(np.linspace(0, len(known) - 1, _LAST).astype(np.int64)).tolist()]
        first = np.inf
        if self.policy.kind == "failure":
            table = read_thermo(result.folder / TABLE)
            beyond = ~(table["largest"].astype(float) <= self.novelty.factor * table["limit"].astype(float))
            first = 1000.0 * float(np.min(table["time_ps"][beyond], initial=np.inf))
        last: deque[Snapshot] = deque(maxlen=_LAST)
        for snapshot in snapshots(result.trajectory):
            if np.isfinite(snapshot.structure.positions).all():
                last.append(snapshot)
            if (snapshot.time or 0.0) >= first + 0.8 * _LAST * self.novelty.every_fs:
                return list(last)
        if result.dense is None:
            return list(last)
        dense = [s for s in snapshots(result.dense) if np.isfinite(s.structure.positions).all()]
        since = (dense[0].time or 0.0) if dense else np.inf
        return [s for s in last if (s.time or 0.0) < since] + dense  # its last moments, more closely

    def _run_settings(self, settings: WalkerSettings, stages: Sequence[Stage]) -> RunSettings:
        every = self.novelty.every_fs
        whole = 1000.0 * sum(stage.time_ps or 0.0 for stage in stages)
        monitors = settings.monitors.model_copy(
            update={
                "every_fs": every / 3.0,  # novelty is looked at every third time
                "extrapolation_factor": self.novelty.factor if self.policy.kind == "stop" else "warn",
            }
        )
        frames = TrajectorySettings(every_fs=min(every, whole) if whole else every, forces=True)
        return RunSettings(trajectory=frames, monitors=monitors, thermo_every_fs=every)


def remaining_stages(stages: Sequence[Stage], done_ps: float) -> list[Stage]:
    """Return what is left of stages after so many picoseconds; ramps go on from where they are."""
    left: list[Stage] = []
    for stage in stages:
        if stage.time_ps is None:
            left += [] if done_ps > 0 else [stage]
            continue
        step = min(round(1000.0 * done_ps / stage.timestep_fs), stage.steps)
        done_ps = max(0.0, done_ps - stage.time_ps)
        if step == 0:
            left.append(stage)
        elif step < stage.steps:
            ends: dict[str, Any] = {"time_ps": (stage.steps - step) * stage.timestep_fs / 1000.0}
            if stage.temperature_K is not None:
                ends["temperature_K"] = (stage.temperature_at(step), stage.temperature_K[1])
            if stage.pressure_GPa is not None:
                ends["pressure_GPa"] = (stage.pressure_at(step), stage.pressure_GPa[1])
            left.append(stage.model_copy(update=ends))
    return left


class DiversePolicy:
    """Takes new frames of all walkers that differ from one another, and lets a walker go on from before they came."""

    def __init__(self, settings: PolicySettings, sense: FilterSettings, factor: float) -> None:
        self.settings, self.sense, self.factor = settings, sense, factor

    def choose(self, walks: Sequence[Walk], count: int, rng: np.random.Generator) -> list[Candidate]:
        """Return at most ``count`` frames of a round to label, none of them twice."""
        every = [candidate for walk in walks for candidate in self._of(walk)]
        candidates = list({c.frame.structure.content_hash: c for c in reversed(every)}.values())[::-1]
        if len(candidates) <= count or count < 1:
            return candidates[: max(count, 0)]
        frames = [Frame(c.frame.structure, Labels(), f"#{k}") for k, c in enumerate(candidates)]
        chosen = select_cur(Dataset(tuple(frames)), count, rng, greedy=True, with_deviation=True)
        return [candidates[k] for k in sorted(chosen.tolist())]

    def _is_calm(self, walk: Walk) -> bool:
        """Whether a walk came to its end with nothing new."""
        return walk.result.alarm is None and not (walk.novelty > self.factor).any()

    def _of(self, walk: Walk) -> list[Candidate]:
        """Return the frames of a walk that may be labelled: sensible ones that are new, or led to a failure."""
        if self._is_calm(walk):
            return []
        sensible = [k for k, s in enumerate(walk.frames) if self._is_sensible(s.structure)]
        new = [k for k in sensible if walk.novelty[k] > 1.0]
        if self.settings.take == "novel" and new:
            # what lies far outside is nowhere on a sound path: it spoils a fit, and teaches less than its beginnings
            near = [k for k in new if walk.novelty[k] <= _FAR * self.factor]
            few = near or [min(new, key=lambda k: float(walk.novelty[k]))]
            return [Candidate(walk, k, _why(walk, k), novel=True) for k in few]
        count = min(len(sensible), self.settings.frames)  # nothing announced the failure: frames up to it
        even = np.unique(np.linspace(0, len(sensible) - 1, count).round().astype(np.int64)).tolist()
        alarm = walk.result.alarm
        why = "on the way" if alarm is None else f"on the way to {alarm.message}"
        return [Candidate(walk, sensible[k], why) for k in even]

    def _is_sensible(self, structure: Structure) -> bool:
        fraction = self.sense.closest_fraction
        return fraction is None or closest_share(structure, fraction) >= fraction

    def waypoint_after(self, walk: Walk, waypoint: Waypoint, folder: Path) -> Waypoint:
        """Return where a walker goes on: from its last frame before what is new, or anew from its beginning."""
        if self._is_calm(walk):
            return Waypoint(0.0, None, waypoint.passed + (walk.from_ps == 0))
        new = np.flatnonzero(walk.novelty > self.factor)
        first = int(new[0]) if len(new) else len(walk.frames) // 2  # of what nothing announced little is known
        inside = [k for k in range(first) if walk.novelty[k] <= 1.0]
        if not inside or not walk.frames[inside[-1]].time:
            return waypoint
        frame = walk.frames[inside[-1]]
        path = folder / f"{walk.walker}.extxyz"
        atomic_write(path, frame_text(frame))
        done = waypoint.done_ps + (frame.time or 0.0) / 1000.0
        return Waypoint(done, str(path.relative_to(folder.parent.parent)), waypoint.passed)


def _why(walk: Walk, index: int) -> str:
    frame, atom = walk.frames[index], walk.atoms[index]
    symbol = chemical_symbols[frame.structure.numbers[atom]]
    return f"atom {atom} ({symbol}) at {walk.novelty[index]:.3g} times the limit"


def closest_share(structure: Structure, enough: float) -> float:
    """Return the shortest distance over the sum of covalent radii, infinite where it is above ``enough``."""
    radii = covalent_radii[structure.numbers]
    pairs = find_neighbors(structure, 2.0 * enough * float(radii.max()))
    if not len(pairs.indices):
        return float("inf")
    return float((pairs.distances / (radii[pairs.centers] + radii[pairs.indices])).min())


def outlier(labels: Labels, atoms: int, start: Dataset, sense: FilterSettings) -> str | None:
    """Return in words why labels make no sense beside the starting data; None where they do."""
    if sense.force_factor is not None and labels.forces is not None:
        known = [np.linalg.norm(x.forces, axis=1).max() for x in start.labels if x.forces is not None]
        largest = float(np.linalg.norm(labels.forces, axis=1).max())
        if known and largest > sense.force_factor * max(known):
            return f"a force of {largest:.3g} eV/Å, where the starting data have {max(known):.3g} at most"
    if sense.energy_eV_per_atom is not None and labels.energy is not None:
        pairs = zip(start.labels, start.structures, strict=True)
        energies = [known.energy / len(structure) for known, structure in pairs if known.energy is not None]
        energy = labels.energy / atoms
        if energies and not min(energies) - sense.energy_eV_per_atom <= energy <= max(energies) + (
            sense.energy_eV_per_atom
        ):
            return (
                f"an energy of {energy:.4g} eV/atom, where the starting data have {min(energies):.4g} to "
                f"{max(energies):.4g}"
            )
    return None
