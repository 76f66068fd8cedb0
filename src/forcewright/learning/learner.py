"""The loop of a learner, and what it keeps of every round so that a kill at any moment costs nothing.

A round is a folder, ``rounds/0003``: what is fitted (``fit``), the walks, the frames that were chosen and what the
reference said of them; ``round.json``, written last, ends it. A round without it is gone through again, and a step
that has left its files is not repeated: a fit is read back, a walk goes on from its checkpoint, labels come from the
cache. Fits, walks and choices depend on seeds and data alone, so that the frames labelled are the same.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.accuracy.errors import evaluate
from forcewright.data import read, write
from forcewright.errors import InputError
from forcewright.files import write_json, writing
from forcewright.learning.contracts import Candidate, Model, Novelty, Policy, Simulator, Walk, Waypoint
from forcewright.learning.parts import outlier
from forcewright.learning.settings import FilterSettings, PolicySettings
from forcewright.learning.time_limit import TimeIsOver, TimeLimit
from forcewright.models import load
from forcewright.plain_data import parse_json
from forcewright.potential import Failure, Potential, Reference
from forcewright.reference import VaspReference, label_all
from forcewright.structure import Dataset, Frame, Labels
from forcewright.uncertainty import NOVEL

log = logging.getLogger("forcewright")

GROUP = "learned"
_UNFINISHED = "unfinished.json"  # how long the walks of a round took before they were stopped
_IDLE = 3  # rounds with nothing to learn from, after which it ends

#: Called after each step of a round with what it was, in words.
Listener = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Parts:
    """The five parts of a learner."""

    model: Model
    simulator: Simulator
    novelty: Novelty
    reference: Reference
    policy: Policy


@dataclass(frozen=True, eq=False)
class Learned:
    """What a learner came to.

    Attributes
    ----------
    potential
        The last one.
    data
        The starting data, and all that was learned.
    rounds
        What ``round.json`` of each says.
    reason
        Why it ended, in a sentence.
    """

    potential: Potential
    data: Dataset
    rounds: tuple[Mapping[str, Any], ...]
    reason: str


class Learner:
    """A learner in a folder.

    Parameters
    ----------
    start
        Labelled frames to begin with.
    validation
        Fixed frames on which the potential of every round is tried; None for none.
    caps
        Numbers of labels, hours and so on at which it ends.
    time_limit
        What stops walks under way when the hours are over; None where nothing does.
    """

    def __init__(
        self, parts: Parts, start: Dataset, validation: Dataset | None, folder: Path, *, caps: PolicySettings,
        sense: FilterSettings, seed: int, workers: int = 0, on_step: Listener = lambda words: None,
        time_limit: TimeLimit | None = None,
    ) -> None:  # fmt: skip
        self.parts, self.start, self.validation, self.folder = parts, start, validation, folder
        self.caps, self.sense, self.seed, self.workers, self.on_step = caps, sense, seed, workers, on_step
        self.time_limit = time_limit or TimeLimit(None)

    def learn(self) -> Learned:
        """Go through rounds until nothing is new, or a cap is reached."""
        rounds: list[dict[str, Any]] = []
        data = self.start
        waypoints = dict.fromkeys(self.parts.simulator.walkers, Waypoint())
        while True:
            folder = self.folder / "rounds" / f"{len(rounds):04d}"
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            potential, facts = self._fitted(folder, data, rounds)
            if (done := _stored(folder / "round.json")) is None:
                unfinished = _stored(folder / _UNFINISHED) or {}  # walks that were stopped when the time was over
                began, spent = time.monotonic(), facts["wall_s"] + unfinished.get("wall_s", 0.0)
                if capped := self._capped(rounds, spent):
                    return Learned(potential, data, tuple(rounds), capped)
                self.time_limit.start(spent + sum(done["wall_s"] for done in rounds))
                try:
                    done = self._round(folder, potential, data, waypoints, len(rounds), _left(self.caps, rounds))
                except TimeIsOver:
                    spent += time.monotonic() - began
                    write_json(folder / _UNFINISHED, {"wall_s": round(spent - facts["wall_s"], 3)})
                    return Learned(potential, data, tuple(rounds), self._out_of_time(rounds, spent))
                done["fit"], done["wall_s"] = facts, round(time.monotonic() - began + spent, 3)
                write_json(folder / "round.json", done)
            rounds.append(done)
            waypoints = {name: Waypoint(**waypoint) for name, waypoint in done["waypoints"].items()}
            if done["taken"]:
                data = data + read(folder / "learned.extxyz")
                waypoints = {name: replace(waypoint, passed=0) for name, waypoint in waypoints.items()}
            if all(waypoint.passed >= self.caps.passes for waypoint in waypoints.values()):
                return Learned(potential, data, tuple(rounds), "every walker came to its end with nothing new")

    # ------------------------------------------------------------------------------------- steps of a round

    def _fitted(
        self, folder: Path, data: Dataset, rounds: Sequence[Mapping[str, Any]]
    ) -> tuple[Potential, dict[str, Any]]:
        """Return the potential of a round as it is read from its folder, and what is told of its fit."""
        kept, unfinished, number = folder / "fit", folder / ".fit", len(rounds)
        if not (kept / "fit.json").is_file():
            shutil.rmtree(unfinished, ignore_errors=True)
            again = self.caps.retune_every is not None and number % self.caps.retune_every == 0
            if rounds and not rounds[-1]["taken"] and not again:  # to the same data
                shutil.copytree(folder.parent / f"{number - 1:04d}" / "fit" / "potential", unfinished / "potential")
                facts = {**rounds[-1]["fit"], "searched": False, "wall_s": 0.0}
            else:
                self.on_step(f"round {number}: fitting to {len(data)} frames")
                began = time.monotonic()
                fitted = self.parts.model.fit(data, number, rounds[-1]["fit"].get("settled") if rounds else None)
                facts = {**fitted.facts, "frames": len(data)}
                if self.validation is not None:
                    facts["errors"] = evaluate(fitted.potential, self.validation).to_dict()
                facts["wall_s"] = round(time.monotonic() - began, 3)
                fitted.potential.save(unfinished / "potential")
            write_json(unfinished / "fit.json", facts)
            shutil.rmtree(kept, ignore_errors=True)
            unfinished.rename(kept)
        stored = _stored(kept / "fit.json")
        assert stored is not None
        return load(kept / "potential"), stored

    def _round(
        self,
        folder: Path,
        potential: Potential,
        data: Dataset,
        waypoints: Mapping[str, Waypoint],
        number: int,
        left: int,
    ) -> dict[str, Any]:
        """Walk, choose, label; return what round.json says, but for the fit."""
        uncertainty = self.parts.novelty.of(potential, data)
        self.on_step(f"round {number}: {len(waypoints)} walkers")
        walks = self.parts.simulator.walk(folder / "fit" / "potential", uncertainty, waypoints, folder, number)
        rng = np.random.default_rng([self.seed, 1, number])
        chosen = self.parts.policy.choose(walks, min(self.caps.frames, left), rng)
        self.on_step(f"round {number}: {_words(walks)}; {len(chosen)} frames to label")
        labels, seconds = self._labels(chosen)
        rows: list[dict[str, Any]] = []
        learned: list[Frame] = []
        for candidate, known in zip(chosen, labels, strict=True):
            row = _row(candidate)
            if isinstance(known, Failure):
                row["rejected"] = known.reason
            elif (problem := outlier(known, len(candidate.frame), self.start, self.sense)) is not None:
                row["rejected"] = problem
            else:
                learned.append(Frame(candidate.frame.structure, _named(known, number, candidate), f"#{len(learned)}"))
            rows.append(row)
        if learned:
            write(Dataset(tuple(learned)), folder / "learned.extxyz")
        (folder / "waypoints").mkdir(exist_ok=True)
        after = {
            walk.walker: self.parts.policy.waypoint_after(walk, waypoints[walk.walker], folder / "waypoints")
            for walk in walks
        }
        calibration = uncertainty.calibration
        return {
            "last": left <= 0, "labels": len(chosen), "taken": len(learned), "reference_s": round(seconds, 3),
            "chosen": rows, "walks": [_summary(walk) for walk in walks],
            "waypoints": {name: asdict(waypoint) for name, waypoint in after.items()},
            "limit": None if calibration is None else calibration.limit,
        }  # fmt: skip

    def _labels(self, chosen: Sequence[Candidate]) -> tuple[Sequence[Labels | Failure], float]:
        """Return what the reference says of frames, and how long it took; what the cache knows costs nothing."""
        if not chosen:
            return (), 0.0
        structures = [candidate.frame.structure for candidate in chosen]
        by_hand = isinstance(self.parts.reference, VaspReference)  # its folders are its cache
        cache = None if by_hand else self.folder / "label-cache"
        labelling = label_all(self.parts.reference, structures, cache=cache, workers=0 if by_hand else self.workers)
        if labelling.pending:
            raise InputError(
                f"has yet to compute {len(labelling.pending)} structures; run the learner again when it has",
                field="reference",
            )
        return labelling.results, labelling.seconds

    # ------------------------------------------------------------------------------------- caps

    def _capped(self, rounds: Sequence[Mapping[str, Any]], spent_s: float) -> str:
        """Return in a sentence which cap is reached, where the round has taken some time; empty where none is."""
        caps = self.caps
        seconds = sum(float(done["reference_s"]) for done in rounds)
        if len(rounds) >= caps.max_rounds:
            return f"{caps.max_rounds} rounds are done, as many as are allowed"
        if rounds and rounds[-1]["last"]:  # which only showed how far the potential of all labels comes
            return f"{sum(done['labels'] for done in rounds)} structures are labelled, as many as are allowed"
        if len(rounds) >= _IDLE and not any(done["taken"] or _is_calm(done) for done in rounds[-_IDLE:]):
            return f"in {_IDLE} rounds there was something new, but no frame of which a label would make sense"
        if caps.max_reference_s is not None and seconds >= caps.max_reference_s:
            return f"labels have taken {seconds:.3g} s, as long as is allowed"
        if caps.max_hours is not None and _hours(rounds, spent_s) >= caps.max_hours:
            return self._out_of_time(rounds, spent_s)
        return ""

    def _out_of_time(self, rounds: Sequence[Mapping[str, Any]], spent_s: float) -> str:
        return (
            f"the learner has run for {_hours(rounds, spent_s):.3g} hours, as long as is allowed; with more it goes "
            f"on in round {len(rounds)}"
        )


def _hours(rounds: Sequence[Mapping[str, Any]], spent_s: float) -> float:
    return (sum(float(done["wall_s"]) for done in rounds) + spent_s) / 3600.0


def _is_calm(done: Mapping[str, Any]) -> bool:
    return all(walk["completed"] for walk in done["walks"])


def _left(caps: PolicySettings, rounds: Sequence[Mapping[str, Any]]) -> int:
    return caps.max_labels - sum(int(done["labels"]) for done in rounds)


def _stored(path: Path) -> dict[str, Any] | None:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _named(labels: Labels, number: int, candidate: Candidate) -> Labels:
    info = {**labels.info, "round": number, "walker": candidate.walk.walker, "why": candidate.why}
    if candidate.novel:
        info[NOVEL] = True
    return Labels(labels.energy, labels.forces, labels.stress, GROUP, info)


def _row(candidate: Candidate) -> dict[str, Any]:
    walk, index = candidate.walk, candidate.index
    value = float(walk.novelty[index])
    return {
        "walker": walk.walker, "time_ps": walk.from_ps + (candidate.frame.time or 0.0) / 1000.0,
        "novelty": value if np.isfinite(value) else None, "atom": walk.atoms[index], "why": candidate.why,
    }  # fmt: skip


def _summary(walk: Walk) -> dict[str, Any]:
    largest = float(walk.novelty.max(initial=0.0))
    return {
        "walker": walk.walker, "from_ps": walk.from_ps, "reached_ps": walk.reached_ps, "planned_ps": walk.planned_ps,
        "reason": walk.result.reason, "failed": walk.failed, "completed": walk.result.completed,
        "novelty": largest if np.isfinite(largest) else None,
    }  # fmt: skip


def _words(walks: Sequence[Walk]) -> str:
    parts = [f"{walk.walker} came to {walk.reached_ps:.4g} of {walk.planned_ps:.4g} ps" for walk in walks[:5]]
    return ", ".join(parts) + (f" and {len(walks) - 5} more" if len(walks) > 5 else "")
