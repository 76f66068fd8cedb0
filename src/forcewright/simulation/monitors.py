"""Monitors that stop a simulation which has become unphysical, and say where it broke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from pydantic import BaseModel, ConfigDict, Field, field_validator

from forcewright.errors import InputError
from forcewright.force_field import ForceField
from forcewright.potential import Graded
from forcewright.simulation.stages import Stage
from forcewright.structure import FloatArray, IntArray, atomic_number
from forcewright.trajectory import Snapshot
from forcewright.uncertainty import Kind

#: Target temperatures below this count as this one (K).
_COOL = 300.0


class Monitors(BaseModel):
    """When a simulation is to be stopped; None or false switches a monitor off.

    The limits are generous: a melt at several thousand kelvin passes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    every_fs: float = Field(default=20.0, gt=0)
    """Time between checks."""
    finite: bool = True
    """Stop when a position, a force or the energy is not a finite number."""
    force_eV_per_A: float | None = Field(default=100.0, gt=0)
    """Stop when the force on an atom is larger."""
    temperature_factor: float | None = Field(default=4.0, gt=1)
    """Stop when the temperature exceeds the target, and that at the start of the stage, by this factor (and 5 σ)."""
    closest_fraction: float | None = Field(default=0.5, gt=0)
    """Stop when two atoms are closer than this fraction of the sum of their covalent radii."""
    closest_A: dict[str, float] = {}
    """Stop when two atoms of a pair of elements, such as Si-O, are closer than this; instead of the fraction."""
    lost_A: float | None = Field(default=10.0, gt=0)
    """In structures open in some direction: stop when an atom has no other within this distance."""
    volume_factor: float | None = Field(default=1.5, gt=1)
    """Stop when the volume exceeds the one at the start by this factor, or falls below it by the same."""
    thinning_factor: float | None = Field(default=3.0, gt=1)
    """Stop when the cell is thinner than at the start by this factor; a liquid in a full npt cell shears that far."""
    energy_drift_eV_per_atom: float | None = Field(default=0.05, gt=0)
    """In nve stages: stop when the total energy is further from that at the start of the stage."""
    extrapolation_grade: float | None = Field(default=None, gt=0)
    """Stop when the extrapolation grade γ of an atom is larger; for potentials that know it."""
    extrapolation_factor: Annotated[float, Field(ge=1)] | Literal["warn", "off"] = 10.0
    """For potentials that know how uncertain they are of frames like their training data: warn when a structure
    exceeds that, as 1 % of these do, and stop when it does by this factor; `warn` never stops, `off` does not look."""

    uncertainty: Kind | None = None
    """Which uncertainty that is: grade, variance, committee, standard_error, distance or rematch; the first of them
    that the potential knows where not given."""

    pair_distance: Annotated[float, Field(gt=0, le=1)] | Literal["warn", "off"] = 0.7
    """For potentials that remember how close atoms of each pair of elements came in their training data: warn when
    they come closer, and stop when they do by this factor; `warn` never stops, `off` does not look."""

    def is_stricter(self, monitor: str) -> bool:
        """Return whether a monitor, as alarms name it, was asked to stop a run earlier than it does by default."""
        usual = Monitors()
        if monitor == "closest":
            return bool(self.closest_A) or (self.closest_fraction or 0.0) > (usual.closest_fraction or 0.0)
        limit, default = getattr(self, monitor, None), getattr(usual, monitor, None)
        return isinstance(limit, float) and isinstance(default, float) and limit < default

    @field_validator("extrapolation_factor", "pair_distance", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is None or value is False else value  # YAML reads a plain off as false


@dataclass(frozen=True)
class Alarm:
    """What a monitor reported.

    ``atoms`` count from 0; ``value`` and ``limit`` are in the unit of the monitor's limit, ``distance`` in Å.
    """

    monitor: str
    message: str
    step: int
    time_ps: float
    atoms: tuple[int, ...] = ()
    distance: float | None = None
    value: float | None = None
    limit: float | None = None

    @property
    def is_outside(self) -> bool:
        """Whether the run was still sound, and only outside what its potential was fitted to."""
        return self.monitor.startswith("extrapolation")

    @property
    def is_watch(self) -> bool:
        """Whether nothing had broken yet, by what is known of the training data."""
        return self.is_outside or self.monitor == "pair_distance"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "atoms": list(self.atoms)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Alarm:
        """Return the alarm `to_dict` was made from."""
        return cls(**{**values, "atoms": tuple(values["atoms"])})


def outside_alarm(snapshot: Snapshot, message: str, atom: int, value: float, limit: float) -> Alarm:
    """Return the alarm of a structure too far outside what the potential was fitted to."""
    known = value if np.isfinite(value) else None
    return _alarm(snapshot, "extrapolation_factor", message, (atom,), value=known, limit=limit)


def close_alarm(snapshot: Snapshot, message: str, atoms: tuple[int, ...], distance: float, limit: float) -> Alarm:
    """Return the alarm of atoms that are far closer than in what the potential was fitted to."""
    return _alarm(snapshot, "pair_distance", message, atoms, distance=distance, value=distance, limit=limit)


def _alarm(
    snapshot: Snapshot, monitor: str, message: str, atoms: tuple[int, ...] = (), **values: float | None
) -> Alarm:
    step, time_ps = snapshot.step or 0, (snapshot.time or 0.0) / 1000.0
    return Alarm(monitor, f"{message} at step {step} ({time_ps:g} ps)", step, time_ps, atoms, **values)


@dataclass
class References:
    """What a run is compared with: all of it goes into checkpoints."""

    volume: float | None = None
    height: float | None = None
    temperature: float | None = None
    conserved: float | None = None


class Watch:
    """The monitors of one run.

    InputError if extrapolation grades are asked for and the potential has none, or a pair of elements is invalid.
    """

    def __init__(self, settings: Monitors, force_field: ForceField) -> None:
        self.settings = settings
        self.references = References()
        self._grading: Graded | None = None
        self._closest = {_pair(name): distance for name, distance in settings.closest_A.items()}
        if settings.extrapolation_grade is not None:
            if not (isinstance(force_field.potential, Graded) and force_field.potential.knows_grades):
                raise InputError(f"{force_field.name} has no extrapolation grades; leave the monitor out or fit a "
                                 "linear ACE", field="extrapolation_grade")  # fmt: skip
            self._grading = force_field.potential

    def begin(self, stage: Stage, snapshot: Snapshot) -> None:
        """Take the references of a stage from its first snapshot, and the volume from that of the run."""
        first, structure = self.references, snapshot.structure
        volume, height = first.volume or structure.volume, first.height or _height(snapshot)
        self.references = References(volume, height, snapshot.temperature, snapshot.conserved)

    def look(self, stage: Stage, target_K: float | None, snapshot: Snapshot) -> Alarm | None:
        """Return the first alarm; causes come before their consequences."""
        return next(self._alarms(stage, target_K, snapshot), None)

    def _alarms(self, stage: Stage, target_K: float | None, snapshot: Snapshot) -> Iterator[Alarm]:
        settings = self.settings
        broken = _not_finite(snapshot)
        if broken is not None:
            if settings.finite:
                yield broken
            return  # nothing else can be checked
        yield from _closest_pair(snapshot, settings.closest_fraction, self._closest)
        if settings.force_eV_per_A is not None:
            yield from _force(snapshot, settings.force_eV_per_A)
        if settings.temperature_factor is not None and stage.ensemble != "relax":
            reference = max(target_K or 0.0, self.references.temperature or 0.0)
            yield from _temperature(snapshot, reference, settings.temperature_factor)
        if settings.lost_A is not None and not snapshot.structure.pbc.all():
            yield from _lost(snapshot, settings.lost_A)
        if settings.volume_factor is not None and self.references.volume and snapshot.structure.pbc.all():
            yield from _volume(snapshot, self.references.volume, settings.volume_factor)
        if settings.thinning_factor is not None and self.references.height:
            yield from _thinning(snapshot, self.references.height, settings.thinning_factor)
        if settings.energy_drift_eV_per_atom is not None and stage.ensemble == "nve":
            yield from _drift(snapshot, self.references.conserved, settings.energy_drift_eV_per_atom)
        if self._grading is not None and settings.extrapolation_grade is not None:
            yield from _grade(snapshot, self._grading, settings.extrapolation_grade)


def _pair(name: str) -> tuple[int, int]:
    symbols = name.split("-")
    if len(symbols) != 2:
        raise InputError(f"{name!r} is not a pair of elements such as Si-O", field="closest_A")
    first, second = sorted(atomic_number(symbol, "closest_A") for symbol in symbols)
    return first, second


def name_of_atom(snapshot: Snapshot, atom: int) -> str:
    """Return the number of an atom and its element, as alarms name it."""
    return f"atom {atom} ({chemical_symbols[snapshot.structure.numbers[atom]]})"


def _not_finite(snapshot: Snapshot) -> Alarm | None:
    for what, values in (("position", snapshot.structure.positions), ("force", snapshot.forces)):
        if values is not None and not np.isfinite(values).all():
            atom = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            message = f"the {what} of {name_of_atom(snapshot, atom)} is {values[atom].tolist()}"
            return _alarm(snapshot, "finite", message, (atom,))
    if snapshot.energy is not None and not np.isfinite(snapshot.energy):
        return _alarm(snapshot, "finite", f"the energy is {snapshot.energy}")
    if not np.isfinite(snapshot.structure.cell).all():
        return _alarm(snapshot, "finite", "the cell is not finite")
    return None


def _force(snapshot: Snapshot, limit: float) -> Iterator[Alarm]:
    if snapshot.forces is None:
        return
    norms = np.linalg.norm(snapshot.forces, axis=1)
    atom = int(norms.argmax())
    if norms[atom] > limit:
        message = f"the force on {name_of_atom(snapshot, atom)} is {norms[atom]:.4g} eV/Å, above {limit:g}"
        yield _alarm(snapshot, "force_eV_per_A", message, (atom,), value=float(norms[atom]), limit=limit)


def _temperature(snapshot: Snapshot, reference: float, factor: float) -> Iterator[Alarm]:
    if snapshot.temperature is None or snapshot.velocities is None:
        return
    freedom = 3 * max(len(snapshot) - 1, 1)
    # The kinetic energy of few atoms fluctuates: relative variance 2 / freedom.
    limit = factor * max(reference, _COOL) * (1 + 5 * np.sqrt(2 / freedom))
    if snapshot.temperature > limit:
        speeds = snapshot.masses * np.sum(snapshot.velocities**2, axis=1)
        atom = int(speeds.argmax())
        kelvin = snapshot.temperature
        message = f"the temperature is {kelvin:.0f} K, above {limit:.0f} K, fastest {name_of_atom(snapshot, atom)}"
        yield _alarm(snapshot, "temperature_factor", message, (atom,), value=kelvin, limit=float(limit))


def _closest_pair(
    snapshot: Snapshot, fraction: float | None, absolute: Mapping[tuple[int, int], float]
) -> Iterator[Alarm]:
    numbers = snapshot.structure.numbers
    kinds = np.unique(numbers)
    limits = _distance_limits(kinds, fraction, absolute)
    if not limits.max() > 0:
        return
    from forcewright.neighbors import find_neighbors  # loads Numba, which LAMMPS's process does without

    pairs = find_neighbors(snapshot.structure, float(limits.max()))
    if not len(pairs.indices):
        return
    kind_of = np.searchsorted(kinds, numbers)
    centers, distances = pairs.centers, pairs.distances
    allowed = limits[kind_of[centers], kind_of[pairs.indices]]
    shares = distances / np.maximum(allowed, 1e-9)
    worst = int(shares.argmin())
    if shares[worst] < 1.0:
        i, j, distance = int(centers[worst]), int(pairs.indices[worst]), float(distances[worst])
        limit = float(allowed[worst])
        both = f"{name_of_atom(snapshot, i)} and {name_of_atom(snapshot, j)}"
        message = f"{both} are {distance:.3f} Å apart, closer than {limit:.3f} Å"
        yield _alarm(snapshot, "closest", message, (i, j), distance=distance, value=distance, limit=limit)


def _distance_limits(kinds: IntArray, fraction: float | None, absolute: Mapping[tuple[int, int], float]) -> FloatArray:
    """Return the smallest distance allowed between kinds of atoms (K, K); 0 where there is none."""
    radii = covalent_radii[kinds]
    limits: FloatArray = (fraction or 0.0) * (radii[:, None] + radii)
    for (first, second), distance in absolute.items():
        a, b = np.flatnonzero(kinds == first), np.flatnonzero(kinds == second)
        limits[np.ix_(a, b)] = limits[np.ix_(b, a)] = distance
    return limits


def _lost(snapshot: Snapshot, limit: float) -> Iterator[Alarm]:
    if len(snapshot) == 1:
        return
    from forcewright.neighbors import find_neighbors

    pairs = find_neighbors(snapshot.structure, limit)
    alone = np.flatnonzero(np.diff(pairs.starts) == 0)
    if len(alone):
        atom = int(alone[0])
        message = f"{name_of_atom(snapshot, atom)} has no other atom within {limit:g} Å; it is lost"
        yield _alarm(snapshot, "lost_A", message, tuple(alone.tolist()), limit=limit)


def _volume(snapshot: Snapshot, reference: float, factor: float) -> Iterator[Alarm]:
    ratio = snapshot.structure.volume / reference
    if not 1 / factor <= ratio <= factor:
        side, limit = ("above", factor) if ratio > 1 else ("below", 1 / factor)
        message = f"the volume is {ratio:.3f} times that at the start, {side} {limit:.3g}"
        yield _alarm(snapshot, "volume_factor", message, value=ratio, limit=limit)


def _height(snapshot: Snapshot) -> float | None:
    """Return the smallest distance between opposite faces of the cell in Å."""
    if not snapshot.structure.pbc.all():
        return None
    return float(1 / np.linalg.norm(np.linalg.inv(snapshot.structure.cell), axis=0).max())


def _thinning(snapshot: Snapshot, reference: float, factor: float) -> Iterator[Alarm]:
    height = _height(snapshot) or reference
    if height < reference / factor:
        thinned = f"only {height:.3g} Å thin, where it was {reference:.3g} Å"
        message = f"the cell is {thinned}; a liquid needs cell: isotropic"
        yield _alarm(snapshot, "thinning_factor", message, distance=height, value=reference / height, limit=factor)


def _drift(snapshot: Snapshot, reference: float | None, limit: float) -> Iterator[Alarm]:
    if snapshot.conserved is None or reference is None:
        return
    drift = (snapshot.conserved - reference) / len(snapshot)
    if abs(drift) > limit:
        message = f"the total energy has drifted by {drift:+.4g} eV/atom, more than {limit:g}"
        yield _alarm(snapshot, "energy_drift_eV_per_atom", message, value=drift, limit=limit)


def _grade(snapshot: Snapshot, potential: Graded, limit: float) -> Iterator[Alarm]:
    grades = potential.extrapolation_grades(snapshot.structure)
    atom = int(grades.argmax())
    if grades[atom] > limit:
        message = f"the extrapolation grade of {name_of_atom(snapshot, atom)} is {grades[atom]:.3g}, above {limit:g}"
        yield _alarm(snapshot, "extrapolation_grade", message, (atom,), value=float(grades[atom]), limit=limit)
