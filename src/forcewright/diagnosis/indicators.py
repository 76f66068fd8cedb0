"""What may tell that a run goes wrong: each as a series with a limit, and when it is first exceeded.

Some limits are known beforehand: an uncertainty beyond that of frames like the training data, a distance below the
shortest and a volume beyond those in the training data. The others are those of the run itself while nothing happened:
the range of a window of it, widened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase.data import chemical_symbols

from forcewright.diagnosis.run_record import RunRecord, kinetic_pressure_GPa, virial_pressure_GPa
from forcewright.simulation import Monitors
from forcewright.simulation.distance_watch import closest_of_pairs
from forcewright.simulation.monitors import Alarm, Watch
from forcewright.structure import FloatArray
from forcewright.units import GPA

#: A run has broken where its volume exceeds that of equilibrium by this factor, or falls below it by the same.
BROKEN_VOLUME = 1.5
_WINDOW = (0.1, 0.5)  # of the time before the break: where equilibrium is looked for
_FEWEST = 4  # values of a window
_VOLUME_MARGIN = 0.03  # beyond the volumes of the training data
_REACH = 1.3  # times the longest of the shortest distances


@dataclass(frozen=True, eq=False)
class Indicator:
    """A quantity over time.

    Attributes
    ----------
    name, unit
        What it is.
    times_ps, values
        (T,); values that are not known are nan.
    low, high
        Limits known beforehand; None where there are none.
    meaning
        What these limits are, in words.
    atoms
        Which atom or atoms (T, n) it is of; None for quantities of the whole.
    looks
        Values, from the first beyond the limits on, of which at least half must be beyond: a limit that usual values
        exceed now and then takes several.
    """

    name: str
    unit: str
    times_ps: FloatArray
    values: FloatArray
    low: float | None = None
    high: float | None = None
    meaning: str = ""
    atoms: FloatArray | None = None
    looks: int = 1

    @property
    def is_absolute(self) -> bool:
        """Whether it has a limit that the run has no part in."""
        return self.low is not None or self.high is not None


@dataclass(frozen=True)
class Anomaly:
    """When an indicator first leaves its limits, and how long before the break; None for one that never does.

    ``atoms`` are those of the first frame in which it does, at ``atoms_ps``: tables have more
    looks than there are frames, and name no pair.
    """

    indicator: str
    unit: str
    low: float | None
    high: float | None
    meaning: str
    time_ps: float | None = None
    value: float | None = None
    lead_ps: float | None = None
    atoms: tuple[int, ...] = ()
    atoms_ps: float | None = None


@dataclass(frozen=True)
class Break:
    """When a run broke and by what; ``volume_A3`` is the mean in equilibrium, None without a periodic cell.

    ``ending`` is ``stopped`` where a monitor ended the run before anything broke: one that knows the training data, or
    one that was asked to be stricter than it is by default. It is ``finished`` where no monitor did, and the run went
    on to its end.
    """

    time_ps: float
    reason: str
    atoms: tuple[int, ...]
    volume_A3: float | None
    ending: Literal["broke", "stopped", "finished"] = "broke"

    def __str__(self) -> str:
        what = {
            "broke": "the run broke at", "stopped": "a monitor stopped the run at",
            "finished": "the run came to its end, but broke at",
        }  # fmt: skip
        return f"{what[self.ending]} {self.time_ps:.4g} ps: {self.reason}"

    @property
    def noun(self) -> str:
        """What it is called in "before the ...": break or stop."""
        return "stop" if self.ending == "stopped" else "break"


def find_break(run: RunRecord) -> Break | None:
    """Return when a run broke: its volume beyond 1.5 times that of equilibrium, or any monitor, whichever is first.

    The volume says nothing where the pressure was to change.
    """
    time = run.thermo["time_ps"].astype(float)
    volumes = run.thermo.get("volume_A3", np.full(len(time), np.nan)).astype(float)
    alarm = run.alarm if run.alarm is not None else _alarm_of_frames(run)
    end = time[-1] if alarm is None else alarm.time_ps
    equilibrium = None
    crossed: float | None = None
    pressures = {end for stage in run.stages if stage.pressure_GPa is not None for end in stage.pressure_GPa}
    if len(pressures) < 2 and np.isfinite(volumes).sum() >= _FEWEST:
        for _ in range(10):  # the mean is that before the break, which is found by it
            equilibrium = _mean_within(time, volumes, end)
            beyond = (volumes > BROKEN_VOLUME * equilibrium) | (volumes < equilibrium / BROKEN_VOLUME)
            first = np.flatnonzero(beyond)
            if not len(first) or (crossed is not None and time[first[0]] >= crossed):
                break
            crossed = end = float(time[first[0]])
    if crossed is not None and (alarm is None or crossed <= alarm.time_ps):
        ratio = float(volumes[np.searchsorted(time, crossed)] / (equilibrium or 1.0))
        reason = f"the volume is {ratio:.2f} times its mean in equilibrium"
        atoms = () if alarm is None else alarm.atoms
        return Break(crossed, reason, atoms, equilibrium, "finished" if run.alarm is None else "broke")
    if alarm is None:
        return None
    sound = alarm.is_watch or run.monitors.is_stricter(alarm.monitor)
    ending: Any = "finished" if run.alarm is None else "stopped" if sound else "broke"
    return Break(alarm.time_ps, alarm.message, alarm.atoms, equilibrium, ending)


def _mean_within(time: FloatArray, values: FloatArray, end: float) -> float:
    chosen = values[(time >= _WINDOW[0] * end) & (time <= _WINDOW[1] * end)]
    chosen = chosen[np.isfinite(chosen)]
    return float(chosen.mean() if len(chosen) else values[np.isfinite(values)][0])


def _alarm_of_frames(run: RunRecord) -> Alarm | None:
    """Return what the usual monitors say of the frames of a run that was stopped by none."""
    watch = Watch(Monitors(volume_factor=None), run.force_field)
    current = -1
    for snapshot, number in zip(run.frames, run.frame_stages.tolist(), strict=True):
        stage = run.stages[number]
        if number != current:
            watch.begin(stage, snapshot)
            current = number
        alarm = watch.look(stage, stage.temperature_at(stage.steps), snapshot)
        if alarm is not None:
            return alarm
    return None


def indicators(run: RunRecord, novelty: Indicator | None) -> list[Indicator]:
    """Return all that can be told of a run over time; ``novelty`` is that of its frames, where it is known."""
    return [
        *_of_thermo(run), *_of_frames(run), *([] if novelty is None else [novelty]), *_of_distances(run),
    ]  # fmt: skip


def _of_thermo(run: RunRecord) -> Iterator[Indicator]:
    thermo = run.thermo
    time, atoms = thermo["time_ps"].astype(float), len(run.frames[0])

    def column(name: str) -> FloatArray:
        return np.asarray(thermo.get(name, np.full(len(time), np.nan)), dtype=float)

    def known(values: FloatArray) -> bool:
        return bool(np.isfinite(values).sum() >= _FEWEST)

    volume, pressure = column("volume_A3"), column("pressure_GPa")
    virial = pressure - 2.0 * column("kinetic_eV") / (3.0 * volume) / GPA
    drift = (column("conserved_eV") - column("conserved_eV")[0]) / atoms
    for name, unit, values in (
        ("temperature", "K", column("temperature_K")), ("pressure", "GPa", pressure),
        ("virial pressure", "GPa", virial), ("largest force", "eV/Å", column("max_force_eV_per_A")),
        ("conserved energy", "eV/atom", drift),
    ):  # fmt: skip
        if known(values):
            yield Indicator(name, unit, time, values)
    if not known(volume):
        return
    per_atom = volume / atoms
    yield Indicator("volume", "Å³/atom", time, per_atom)
    if run.record is not None and run.record.volume_per_atom_A3 is not None:
        low, high = run.record.volume_per_atom_A3
        yield Indicator(
            "volume against training", "Å³/atom", time, per_atom, low * (1 - _VOLUME_MARGIN),
            high * (1 + _VOLUME_MARGIN), "those of training, and 3 %",
        )  # fmt: skip


def _of_frames(run: RunRecord) -> Iterator[Indicator]:
    norms = [np.linalg.norm(p.forces, axis=1) if p.forces is not None else np.full(1, np.nan) for p in run.predictions]
    yield Indicator("mean force", "eV/Å", run.times_ps, np.array([float(norm.mean()) for norm in norms]))
    if "pressure_GPa" not in run.thermo:
        pressures = [virial_pressure_GPa(p.stress) + kinetic_pressure_GPa(s)
                     for p, s in zip(run.predictions, run.frames, strict=True)]  # fmt: skip
        yield Indicator("pressure", "GPa", run.times_ps, np.array(pressures))


def _of_distances(run: RunRecord) -> Iterator[Indicator]:
    """Yield the shortest distance of each pair of elements over that in the training data."""
    if run.record is None:
        return
    elements = set(run.frames[0].structure.numbers.tolist())
    limits = {pair: d for pair, d in run.record.pairs().items() if set(pair) <= elements}
    if not limits:
        return
    reach = _REACH * max(limits.values())
    times, closest = [], []
    for time, snapshot in zip(run.times_ps.tolist(), run.frames, strict=True):
        if np.isfinite(snapshot.structure.positions).all():
            times.append(time)
            closest.append(closest_of_pairs(snapshot.structure, reach))
    for pair, limit in limits.items():
        symbols = [chemical_symbols[z] for z in pair]
        shares = [near[pair].distance / limit if pair in near else np.nan for near in closest]
        atoms = [[near[pair].first, near[pair].second] if pair in near else [-1, -1] for near in closest]
        at, values, who = np.array(times), np.array(shares), np.array(atoms, dtype=float)
        if "-".join(symbols) in run.distances:  # looked at more often than frames were written
            more = run.distances["time_ps"].astype(float)
            at = np.concatenate([at, more])
            values = np.concatenate([values, run.distances["-".join(symbols)].astype(float) / limit])
            who = np.concatenate([who, np.full((len(more), 2), -1.0)])
            at, first = np.unique(at, return_index=True)
            values, who = values[first], who[first]
        yield Indicator(
            f"{'–'.join(symbols)} distance", "of the shortest in training", at, values, 1.0, None,
            f"{limit:.3f} Å in training", who,
        )  # fmt: skip


def first_anomaly(indicator: Indicator, end_ps: float, broke: bool) -> Anomaly:
    """Return when an indicator first leaves its limits before ``end_ps``, the time of the break or the run's end."""
    times, values = indicator.times_ps, indicator.values
    low, high, meaning = indicator.low, indicator.high, indicator.meaning
    start = 0.0
    if not indicator.is_absolute:
        low, high = _range_of_window(times, values, end_ps)
        start, meaning = _WINDOW[0] * end_ps, "range in equilibrium, widened"
    beyond = np.zeros(len(values), dtype=bool)
    with np.errstate(invalid="ignore"):
        beyond |= values < low if low is not None else False
        beyond |= values > high if high is not None else False
    inside = times <= end_ps + 1e-9
    candidates = np.flatnonzero(beyond & (times >= start) & inside)
    last = int(np.flatnonzero(inside)[-1]) + 1 if inside.any() else 0
    candidates = candidates[[2 * beyond[k : min(k + indicator.looks, last)].sum() >= min(indicator.looks, last - k)
                             for k in candidates.tolist()]]  # fmt: skip
    anomaly = Anomaly(indicator.name, indicator.unit, low, high, meaning)
    if not len(candidates) or (low is None and high is None):
        return anomaly
    k = int(candidates[0])
    atoms: tuple[int, ...] = ()
    seen = None
    if indicator.atoms is not None:
        named = [j for j in candidates.tolist() if np.all(indicator.atoms[j] >= 0)]
        if named:
            atoms = tuple(int(a) for a in np.atleast_1d(indicator.atoms[named[0]]))
            seen = float(times[named[0]])
    return Anomaly(
        indicator.name, indicator.unit, low, high, meaning, float(times[k]), float(values[k]),
        float(end_ps - times[k]) if broke else None, atoms, seen,
    )  # fmt: skip


def _range_of_window(times: FloatArray, values: FloatArray, end_ps: float) -> tuple[float | None, float | None]:
    """Return the range of a series in equilibrium, widened by half on either side, more for few values."""
    inside = values[(times >= _WINDOW[0] * end_ps) & (times <= _WINDOW[1] * end_ps)]
    inside = inside[np.isfinite(inside)]
    if len(inside) < _FEWEST:
        return None, None
    low, high = float(inside.min()), float(inside.max())
    margin = (high - low) * (0.5 + 3.0 / len(inside)) + 1e-9 * max(abs(low), abs(high))
    return low - margin, high + margin


def equilibrium_window(end_ps: float) -> tuple[float, float]:
    """Return from when to when a run that broke at ``end_ps`` is taken for one in equilibrium, in ps."""
    return _WINDOW[0] * end_ps, _WINDOW[1] * end_ps
