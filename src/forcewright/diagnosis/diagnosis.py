"""Why a run failed: when it began, where, whether the potential was wrong there, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.analyze.block_average import block_mean
from forcewright.diagnosis.frame_errors import FrameErrors, PressureTable, frame_errors, pressure_table
from forcewright.diagnosis.indicators import (
    Anomaly,
    Break,
    Indicator,
    equilibrium_window,
    find_break,
    first_anomaly,
    indicators,
)
from forcewright.diagnosis.novelty import NearestEnvironment, Novelty, TrainingEnvironments, novelty_of
from forcewright.diagnosis.probes import (
    ScaledPressures,
    Squeeze,
    StepTest,
    scaled_pressures,
    squeeze,
    step_test,
)
from forcewright.diagnosis.run_record import RunRecord, evenly, kinetic_pressure_GPa
from forcewright.diagnosis.verdict import BIAS, Evidence, Verdict, judge
from forcewright.neighbors import find_neighbors
from forcewright.potential import Divisible, Failure, Reference
from forcewright.structure import FloatArray, Labels, Structure

#: Labels structures of a run by their frames: all of them, in order.
Label = Callable[[Sequence[int]], Sequence[Labels | Failure]]

_GRADED = 150  # frames whose novelty is asked for, beside the dense ones
_DENSE_LABELS = 0.4  # of the labels that go to the moments before the break
_WRONG = (5.0, 0.3)  # times the largest error in equilibrium, and eV/Å, beyond which a force counts as wrong
_SHOWN = 60  # moments of which the parts of a force are shown
_FEWEST = 4  # labelled frames in equilibrium; of fewer the first half stands in
_SCALED = 3  # frames whose pressure is asked for over their volume


@dataclass(frozen=True, eq=False)
class Culprit:
    """The environment that went wrong: an atom of a frame.

    ``neighbors`` lists atoms around it and their distances in Å; ``parts`` are lengths (T,) in eV/Å of what each part
    of the potential adds to the force on it, at ``part_times`` in ps.
    """

    frame: int
    time_ps: float
    atom: int
    why: str
    nearest: NearestEnvironment | None
    part_times: FloatArray
    parts: Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Everything that was found out about a run."""

    run: RunRecord
    broke: Break | None
    end_ps: float
    indicators: tuple[Indicator, ...]
    anomalies: tuple[Anomaly, ...]
    novelty: Novelty | None
    errors: FrameErrors | None
    pressures: PressureTable | None
    culprit: Culprit | None
    squeeze: Squeeze | None
    scaled: ScaledPressures | None
    step: StepTest | None
    evidence: Evidence
    verdict: Verdict

    @property
    def first(self) -> Anomaly | None:
        """The earliest anomaly."""
        known = [anomaly for anomaly in self.anomalies if anomaly.time_ps is not None]
        return min(known, key=lambda anomaly: anomaly.time_ps or 0.0) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "broke": None if self.broke is None else asdict(self.broke), "end_ps": self.end_ps,
            "verdict": self.verdict.to_dict(), "evidence": asdict(self.evidence),
            "anomalies": [asdict(anomaly) for anomaly in self.anomalies],
            "novelty_measure": None if self.novelty is None else self.novelty.measure,
            "pressures": None if self.pressures is None else self.pressures.to_dict(),
            "culprit": None if self.culprit is None else _culprit_dict(self.run, self.culprit),
            "squeeze": None if self.squeeze is None else self.squeeze.to_dict(),
            "scaled_pressures": None if self.scaled is None else self.scaled.to_dict(),
            "step_test": None if self.step is None else self.step.to_dict(),
        }  # fmt: skip


def _culprit_dict(run: RunRecord, culprit: Culprit) -> dict[str, Any]:
    numbers = run.frames[culprit.frame].structure.numbers
    return {
        "step": run.frames[culprit.frame].step, "time_ps": culprit.time_ps, "atom": culprit.atom,
        "element": chemical_symbols[numbers[culprit.atom]], "why": culprit.why,
        "nearest_training": None if culprit.nearest is None else culprit.nearest.to_dict(),
        "force_parts_eV_per_A": {
            "time_ps": culprit.part_times.tolist(), **{name: part.tolist() for name, part in culprit.parts.items()}
        },
    }  # fmt: skip


def diagnose_run(
    run: RunRecord, *, reference: Reference | None = None, label: Label | None = None, labels: int = 60,
    on_step: Callable[[str], None] = lambda what: None,
) -> Diagnosis:  # fmt: skip
    """Find out why a run failed.

    Parameters
    ----------
    reference
        Says what is right; without it novelty alone is told.
    label
        Labels frames of the run; by default the reference does.
    labels
        Number of frames that are labelled.
    on_step
        Called with what is done next.
    """
    on_step("looking for the break")
    broke = find_break(run)
    end_ps = float(run.times_ps[-1]) if broke is None else broke.time_ps
    environments = None if run.training is None else TrainingEnvironments(run.training)
    finite = [k for k, s in enumerate(run.frames) if np.isfinite(s.structure.positions).all()]
    before = [k for k in finite if run.times_ps[k] <= end_ps + 1e-9] or finite[:1]
    dense = _dense(run, before)
    on_step("asking how new the structures are")
    graded = sorted({*evenly(before, _GRADED), *dense})
    novelty = novelty_of(run, graded, environments)
    known = indicators(run, None if novelty is None else novelty.indicator)
    anomalies = [first_anomaly(x, end_ps, broke is not None) for x in known]
    errors = None
    if reference is not None:
        on_step("labelling frames of the run")
        chosen = _to_label(run, before, dense, labels, anomalies)
        structures = [run.frames[k].structure for k in chosen]
        results = reference.label(structures) if label is None else label(chosen)
        errors = frame_errors(run, chosen, results)
        errors = errors if len(errors.frames) else None
    window = equilibrium_window(end_ps)
    if errors is not None:
        of_errors = _error_indicators(errors, window)
        known += of_errors
        anomalies += [first_anomaly(x, end_ps, broke is not None) for x in of_errors]
    on_step("asking for walls, pressures and the time step")
    calm = [k for k in before if window[0] <= run.times_ps[k] <= window[1]] or before[: max(1, len(before) // 2)]
    thermal = _thermal(run, calm)
    close = _closest(anomalies)
    squeezed = _squeezed(run, close, before, reference)
    periodic = run.frames[0].structure.pbc.all()
    scaled = None
    if periodic:
        structures = [run.frames[k].structure for k in evenly(calm, _SCALED)]
        scaled = scaled_pressures(run.predict, structures, thermal, reference)
    stage = run.stages[int(run.frame_stages[calm[len(calm) // 2]])]
    tested = [] if stage.ensemble == "relax" else evenly(calm, _SCALED)
    tests = [step_test(run.predict, run.frames[k], stage.timestep_fs) for k in tested]
    # a step too long is so wherever a run starts
    step = min((test for test in tests if test is not None), key=lambda test: test.change, default=None)
    pressures = None if errors is None else pressure_table(run, errors, end_ps)
    evidence = _evidence(run, broke, end_ps, anomalies, novelty, errors, squeezed, scaled, step, calm, thermal)
    on_step("looking for what went wrong where")
    culprit = _culprit(run, broke, anomalies, errors, dense, environments)
    return Diagnosis(
        run, broke, end_ps, tuple(known), tuple(anomalies), novelty, errors, pressures, culprit, squeezed, scaled, step,
        evidence, judge(evidence),
    )  # fmt: skip


def _thermal(run: RunRecord, frames: Sequence[int]) -> float:
    """Return what motion adds to the pressure in GPa, in the mean over frames; 0 where it is not known."""
    values = np.array([kinetic_pressure_GPa(run.frames[k]) for k in frames])
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else 0.0


def _dense(run: RunRecord, before: Sequence[int]) -> list[int]:
    """Return the frames of the last moments: those closer to one another than usual, or else the last ten."""
    if len(before) < 3:
        return list(before)
    gaps = np.diff(run.times_ps[list(before)])
    usual = float(gaps.max())
    start = len(before) - 1
    while start > 0 and gaps[start - 1] < 0.6 * usual:
        start -= 1
    return list(before[min(start, len(before) - 10 if len(before) > 10 else 0) :])


def _to_label(
    run: RunRecord, before: Sequence[int], dense: Sequence[int], count: int, anomalies: Sequence[Anomaly]
) -> list[int]:
    """Return frames to label: of the last moments, next to first anomalies, and spread evenly."""
    pool = [k for k in before if k < dense[0]] or list(before[:1])
    times = sorted({a.time_ps for a in anomalies if a.time_ps is not None})
    near = [min(before, key=lambda k: abs(run.times_ps[k] - time)) for time in times][: max(1, count // 6)]
    last = evenly(dense, max(2, int(_DENSE_LABELS * count), count - len(near) - len(pool)))
    return sorted({*last, *near, *evenly(pool, max(1, count - len(last) - len(near)))})


def _error_indicators(errors: FrameErrors, window: tuple[float, float]) -> list[Indicator]:
    calm = (errors.times_ps >= window[0]) & (errors.times_ps <= window[1])
    usual = float(errors.largest[calm].max()) if calm.any() else float(errors.largest[: max(1, len(calm) // 2)].max())
    limit = max(_WRONG[0] * usual, _WRONG[1])
    meaning = f"{_WRONG[0]:g} times the largest in equilibrium"
    return [
        Indicator("largest force error", "eV/Å", errors.times_ps, errors.largest, None, limit, meaning,
                  errors.worst_atom.astype(float)[:, None]),
        *([Indicator("pressure error", "GPa", errors.times_ps, errors.pressure)]
          if np.isfinite(errors.pressure).any() else []),
    ]  # fmt: skip


def _closest(anomalies: Sequence[Anomaly]) -> Anomaly | None:
    """Return the pair of elements that first comes closer than in the training data."""
    close = [a for a in anomalies if a.indicator.endswith(" distance") and a.time_ps is not None]
    return min(close, key=lambda anomaly: anomaly.time_ps or 0.0) if close else None


def _squeezed(
    run: RunRecord, close: Anomaly | None, before: Sequence[int], reference: Reference | None
) -> Squeeze | None:
    """Push the closest pair together in the first frame that has it named, or else in the calmest one."""
    if close is None or run.record is None or len(close.atoms) != 2:
        return None
    pair = close.indicator.removesuffix(" distance")
    shortest = run.record.shortest_A["-".join(pair.split("–"))]
    i, j = close.atoms
    best, nearest = before[0], float("inf")
    for k in before:  # where these two are closest without being below: what is pushed is then usual otherwise
        atoms: Any = run.frames[k].structure.to_ase()
        distance = float(atoms.get_distance(i, j, mic=True))
        if shortest <= distance < nearest:
            best, nearest = k, distance
    return squeeze(run.predict, run.frames[best].structure, (i, j), pair, shortest, reference)


def _evidence(
    run: RunRecord, broke: Break | None, end_ps: float, anomalies: Sequence[Anomaly], novelty: Novelty | None,
    errors: FrameErrors | None, squeezed: Squeeze | None, scaled: ScaledPressures | None, step: StepTest | None,
    calm: Sequence[int], thermal: float,
) -> Evidence:  # fmt: skip
    at = {anomaly.indicator: anomaly.time_ps for anomaly in anomalies}
    close = _closest(anomalies)
    bias = sigmas = error = since = None
    if errors is not None:
        window = equilibrium_window(end_ps)
        inside = (errors.times_ps >= window[0]) & (errors.times_ps <= window[1])
        if inside.sum() < _FEWEST:  # a run that broke at once
            inside = errors.times_ps <= np.median(errors.times_ps)
        chosen = inside & np.isfinite(errors.pressure)
        if chosen.sum() > 2 and thermal > 0:
            mean = block_mean(errors.pressure[chosen])
            bias, sigmas = mean.value / thermal, abs(mean.value) / max(mean.error, 1e-12)
            since = _wrong_since(errors, BIAS * thermal)
        if inside.any():
            expected = float(np.sqrt(np.mean(errors.reference_forces[inside] ** 2)))
            error = float(np.sqrt(np.mean(errors.forces[inside] ** 2))) / max(expected, 1e-12)
    record = run.record
    forces = [p.forces for k in calm if (p := run.predictions[k]).forces is not None]
    # the median length is 1.538 root mean square components, were they normal: the few atoms in a hole do not count
    size = float(np.median(np.linalg.norm(np.concatenate(forces), axis=1)) / 1.538) if forces else None
    scale = None
    if record is not None and record.force_eV_per_A is not None and size is not None and record.force_eV_per_A[0] > 0:
        scale = size / record.force_eV_per_A[0]
    volumes = None if record is None else record.volume_per_atom_A3
    return Evidence(
        broke=broke is not None, break_ps=end_ps, novel_ps=at.get("novelty"),
        close_ps=None if close is None else close.time_ps, wrong_ps=at.get("largest force error"),
        volume_ps=at.get("volume against training"), asked=errors is not None,
        falls_in=squeezed is not None and squeezed.falls_in, has_wall=squeezed is None or squeezed.has_wall,
        pressure_bias=bias, pressure_sigmas=sigmas, pressure_ps=since,
        pushes_outward=scaled is not None and scaled.pushes_outward,
        stress_labels=None if record is None else record.labels.get("stress"),
        density_range=None if volumes is None else volumes[1] / volumes[0],
        step_too_long=step is not None and step.is_too_long, force_scale=scale, force_error=error,
        novelty_known=novelty is not None,
        stopped=broke is not None and broke.ending == "stopped",
        stopped_outside=broke is not None and broke.ending == "stopped" and run.alarm is not None
        and run.alarm.is_watch,
    )  # fmt: skip


def _wrong_since(errors: FrameErrors, limit: float) -> float | None:
    """Return when the pressure is first wrong by more than a limit (GPa), and is in half of the frames that follow."""
    beyond = np.abs(errors.pressure) > limit
    wrong = [k for k in np.flatnonzero(beyond).tolist() if np.mean(beyond[k : k + 4]) >= 0.5]
    return float(errors.times_ps[wrong[0]]) if wrong else None


def _culprit(
    run: RunRecord, broke: Break | None, anomalies: Sequence[Anomaly], errors: FrameErrors | None,
    dense: Sequence[int], environments: TrainingEnvironments | None,
) -> Culprit | None:  # fmt: skip
    """Return the atom that went wrong: by a wrong force, a close pair, its novelty, or the alarm."""
    by_name = {anomaly.indicator: anomaly for anomaly in anomalies}
    ranked = [by_name.get("largest force error"), _closest(anomalies), by_name.get("novelty")]
    blamed = next((a for a in ranked if a is not None and a.time_ps is not None and a.atoms), None)
    if blamed is not None and blamed.time_ps is not None:
        seen = blamed.time_ps if blamed.atoms_ps is None else blamed.atoms_ps
        frame, atom = int(np.argmin(np.abs(run.times_ps - seen))), blamed.atoms[0]
        why = f"{blamed.indicator} beyond its limit at {blamed.time_ps:.4g} ps"
    elif broke is not None and broke.atoms:
        frame, atom, why = dense[-1], broke.atoms[0], broke.reason
    else:
        return None
    structure = run.frames[frame].structure
    nearest = None if environments is None else environments.nearest(structure, atom)
    parts: dict[str, list[float]] = {}
    potential = run.force_field.potential
    shown = evenly([k for k in dense if np.isfinite(run.frames[k].structure.positions).all()], _SHOWN)
    for k in shown:
        if not isinstance(potential, Divisible):
            break
        for name, forces in potential.force_parts(run.frames[k].structure).items():
            parts.setdefault(name, []).append(float(np.linalg.norm(forces[atom])))
    return Culprit(
        frame, float(run.times_ps[frame]), atom, why, nearest, run.times_ps[shown],
        {name: np.array(values) for name, values in parts.items()},
    )  # fmt: skip


def structure_around(structure: Structure, atom: int, reach: float) -> tuple[Structure, int]:
    """Return the atoms within ``reach`` Å of an atom as a cluster, unwrapped around it, and its number there."""
    pairs = find_neighbors(structure, reach)
    around = pairs.centers == atom
    positions = np.concatenate([np.zeros((1, 3)), pairs.vectors[around]])
    numbers = np.concatenate([structure.numbers[[atom]], structure.numbers[pairs.indices[around]]])
    return Structure(numbers, positions), 0
