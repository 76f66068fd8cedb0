"""Properties that need molecular dynamics: the liquid, energy conservation, survival."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from forcewright.analyze import adf, rdf
from forcewright.analyze.displacement import msd
from forcewright.analyze.result import Axes, Result
from forcewright.analyze.self_diffusion import diffusion
from forcewright.errors import ForcewrightError, InputError, StoppedError
from forcewright.files import scratch_folder
from forcewright.force_field import ForceField
from forcewright.plain_data import numbers, parse_json, real
from forcewright.protocols.structures import repeat_snapshot
from forcewright.protocols.survival import Survival, survival
from forcewright.simulation import Monitors, RunSettings, SimulationResult, TrajectorySettings, planned_stage, run
from forcewright.structure import FloatArray, Structure
from forcewright.trajectory import Snapshot, read_thermo, snapshots
from forcewright.validation.properties import Computed, Property, PropertySettings
from forcewright.validation.tolerance import Tolerance

Positive = Annotated[float, Field(gt=0)]
Picoseconds = Annotated[float, Field(gt=0, le=1e7)]
Repeat = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class DynamicSettings(PropertySettings):
    """The settings that all simulations of a validation share."""

    repeat: Repeat = (2, 2, 2)
    """How often the unit cell is repeated."""
    timestep_fs: Positive = 1.0
    """Time step."""
    engine: Literal["auto", "ase", "lammps"] = "auto"
    """What moves the atoms; auto takes LAMMPS if it evaluates the potential itself."""
    seed: int = Field(default=0, ge=0)
    """Seed of velocities."""

    def engine_for(self, force_field: ForceField) -> str:
        """Return the engine to use."""
        if self.engine != "auto":
            return self.engine
        return "ase" if force_field.pair_style is None else "lammps"


class LiquidSettings(DynamicSettings):
    """Settings of the liquid."""

    temperature_K: Positive
    """Temperature of the liquid."""
    melt_K: Positive | None = None
    """Temperature at which the crystal is melted at constant volume; 1.6 times the liquid's by default."""
    melt_ps: Picoseconds = 5.0
    """How long it is melted."""
    settle_ps: Picoseconds = 5.0
    """How long the liquid equilibrates, at zero pressure."""
    time_ps: Picoseconds = 20.0
    """How long it is sampled."""
    every_fs: Positive = 50.0
    """Time between sampled frames."""
    r_max_A: Positive = 6.0
    """g(r) is computed and compared up to here."""
    bins: int = Field(default=120, ge=10)
    """Bins of g(r)."""
    rdf: Path | None = None
    """A stored g(r) to compare with: .csv with columns r and g, or .json with r and g, or with a list of pairs under a
    name that ends in rdf."""


@dataclass(frozen=True, eq=False)
class Liquid(Result):
    """A liquid: g(r), distribution of angles, and mean square displacement.

    ``r`` (Å) and ``g``; ``angle`` (°) and ``p`` (1/°); ``time`` (fs) and ``msd`` (Å²); ``stored_r`` and ``stored_g``
    are the curve it was compared with, empty if there was none.
    """

    r: FloatArray
    g: FloatArray
    angle: FloatArray
    p: FloatArray
    time: FloatArray
    msd: FloatArray
    stored_r: FloatArray
    stored_g: FloatArray

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.r, self.g, label="g(r)")
        if len(self.stored_r):
            ax.plot(self.stored_r, self.stored_g, "--", color="black", label="stored")
            ax.legend(frameon=False)
        highest = max(np.max(line.get_ydata()) for line in ax.lines)  # including curves already in the figure
        ax.set(xlabel="r (Å)", ylabel="g(r)", xlim=(0, self.r[-1]), ylim=(0, 1.05 * highest))


def _liquid(force_field: ForceField, structure: Structure, settings: LiquidSettings) -> Computed:
    stored = (np.zeros(0), np.zeros(0)) if settings.rdf is None else read_curve(settings.rdf)
    kelvin, melt = settings.temperature_K, settings.melt_K or 1.6 * settings.temperature_K
    held = {"ensemble": "npt", "temperature_K": kelvin, "pressure_GPa": 0.0, "timestep_fs": settings.timestep_fs}
    stages = [
        {"name": "melt", "ensemble": "nvt", "temperature_K": melt, "time_ps": settings.melt_ps,
         "timestep_fs": settings.timestep_fs},
        {"name": "settle", **held, "time_ps": settings.settle_ps},
        {"name": "liquid", **held, "time_ps": settings.time_ps},
    ]  # fmt: skip
    with scratch_folder("validate") as folder:
        result = _run(force_field, structure, settings, stages, folder, settings.every_fs)
        start = 1000.0 * (settings.melt_ps + settings.settle_ps)
        frames = [frame for frame in snapshots(result.trajectory) if (frame.time or 0.0) > start]
    pair = rdf(frames, r_max=settings.r_max_A, bins=settings.bins)
    angles, moved = adf(frames), msd(frames)
    diffused = diffusion(moved)
    numbers: dict[str, float | bool] = {
        "volume_A3_per_atom": 1.0 / pair.density,
        "first_peak_A": float(pair.r[np.argmax(pair.g)]),
        "mean_angle_degree": float(np.sum(angles.angle * angles.p) / np.sum(angles.p)),
        "diffusion_cm2_per_s": diffused.D["total"],
    }
    ideal = {}
    if len(stored[0]):
        numbers["stored_rdf_rms"], ideal["stored_rdf_rms"] = curve_rms((pair.r, pair.g), stored), 0.0
    curves = Liquid(pair.r, pair.g, angles.angle, angles.p, moved.time, moved.msd["total"], *stored)
    return Computed(numbers, {"liquid": curves}, ideal=ideal)


def _liquid_difference(ours: Computed, theirs: Computed) -> dict[str, float]:
    a, b = (computed.results["liquid"] for computed in (ours, theirs))
    assert isinstance(a, Liquid) and isinstance(b, Liquid)
    return {"rdf_rms": curve_rms((a.r, a.g), (b.r, b.g))}


def curve_rms(ours: tuple[FloatArray, FloatArray], stored: tuple[FloatArray, FloatArray]) -> float:
    """Return the root mean square of the difference of two curves (x, y) where both are known.

    The points are those of the second; the first is interpolated.
    """
    inside = (stored[0] >= ours[0][0]) & (stored[0] <= ours[0][-1])
    return float(np.sqrt(np.mean((np.interp(stored[0][inside], *ours) - stored[1][inside]) ** 2)))


def read_curve(path: Path) -> tuple[FloatArray, FloatArray]:
    """Read r (Å) and g(r) (`LiquidSettings.rdf`); InputError if the file does not hold such a curve."""
    try:
        if path.suffix == ".csv":
            rows = list(csv.DictReader(path.read_text().splitlines()))
            pairs: Sequence[Any] = [[real(row["r"]), real(row["g"])] for row in rows]
        else:
            pairs = _pairs(parse_json(path.read_text()))
        table = numbers([list(pair) for pair in pairs], "g(r)", (len(pairs), 2))
    except (OSError, AttributeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"does not hold g(r) ({error}); expected columns or lists r and g", file=path) from None
    if len(table) < 2:
        raise InputError("holds fewer than two points of g(r)", file=path)
    return table[:, 0], table[:, 1]


def _pairs(content: Mapping[str, Any]) -> Sequence[Any]:
    if "r" in content and "g" in content:
        return list(zip(content["r"], content["g"], strict=True))
    named = [value for key, value in content.items() if key.endswith("rdf")]
    if len(named) != 1:
        raise ValueError(f"{len(named)} names end in rdf")
    curve: Sequence[Any] = named[0]
    return curve


class EnergyConservationSettings(DynamicSettings):
    """Settings of energy conservation."""

    temperature_K: Positive = 300.0
    """Temperature at which the crystal is equilibrated before."""
    settle_ps: Picoseconds = 1.0
    """How long it is equilibrated."""
    time_ps: Picoseconds = 5.0
    """How long the energy is recorded."""


@dataclass(frozen=True, eq=False)
class EnergyConservation(Result):
    """Total energy per atom (eV) over time (ps) at constant energy, minus its mean."""

    time_ps: FloatArray
    deviation_eV_per_atom: FloatArray

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.time_ps, 1e3 * self.deviation_eV_per_atom)
        ax.set(xlabel="time (ps)", ylabel="total energy (meV/atom)")


def _energy_conservation(
    force_field: ForceField, structure: Structure, settings: EnergyConservationSettings
) -> Computed:
    step = {"timestep_fs": settings.timestep_fs}
    stages = [
        {"ensemble": "nvt", "temperature_K": settings.temperature_K, "time_ps": settings.settle_ps, **step},
        {"ensemble": "nve", "time_ps": settings.time_ps, **step},
    ]
    with scratch_folder("validate") as folder:
        result = _run(force_field, structure, settings, stages, folder, 1000.0 * settings.time_ps)
        table = read_thermo(result.thermo)
    kept = table["time_ps"] > settings.settle_ps
    time, energy = table["time_ps"][kept], table["total_eV"][kept] / len(result.final)
    slope, _ = np.polyfit(time, energy, 1)
    deviations = EnergyConservation(time, energy - energy.mean())
    numbers = {"drift_eV_per_atom_per_ps": float(slope), "spread_eV_per_atom": float(energy.std())}
    return Computed(numbers, {"energy conservation": deviations}, ideal={"drift_eV_per_atom_per_ps": 0.0})


class SurvivalSettings(DynamicSettings):
    """Settings of survival."""

    temperature_K: Positive
    """Temperature of the runs, high enough to be demanding."""
    time_ps: Picoseconds = 10.0
    """How long each run is."""
    runs: int = Field(default=5, ge=2, le=100_000)
    """Number of independent runs."""
    pressure_GPa: float | None = None
    """Pressure that is held; without it the volume is held."""
    monitors: Monitors = Monitors()
    """What ends a run."""


def _survival(force_field: ForceField, structure: Structure, settings: SurvivalSettings) -> Computed:
    stage = {"temperature_K": settings.temperature_K, "time_ps": settings.time_ps, "timestep_fs": settings.timestep_fs}
    held = {"ensemble": "nvt"} if settings.pressure_GPa is None else {
        "ensemble": "npt", "pressure_GPa": settings.pressure_GPa}  # fmt: skip
    with scratch_folder("validate") as folder:
        runs: Survival = survival(
            force_field, repeat_snapshot(Snapshot(structure), settings.repeat),
            [planned_stage({**stage, **held})], folder, runs=settings.runs, seed=settings.seed,
            engine=settings.engine_for(force_field), settings=RunSettings(monitors=settings.monitors),
        )  # fmt: skip
    notes = {}
    if runs.outside:
        notes["share"] = (
            f"{runs.outside} of {len(runs.completed)} runs were stopped outside the training data, unbroken"
        )
    return Computed({"share": runs.share}, {"survival": runs}, ideal={"share": 1.0}, notes=notes)


def _run(
    force_field: ForceField, structure: Structure, settings: DynamicSettings, stages: Sequence[Mapping[str, Any]],
    folder: Path, every_fs: float,
) -> SimulationResult:  # fmt: skip
    """Run stages from the repeated unit cell; ForcewrightError if a monitor stops them."""
    result = run(
        force_field, repeat_snapshot(Snapshot(structure), settings.repeat),
        [planned_stage(stage) for stage in stages], folder / "run", seed=settings.seed,
        engine=settings.engine_for(force_field),
        settings=RunSettings(trajectory=TrajectorySettings(every_fs=every_fs, format="h5")),
    )  # fmt: skip
    if not result.completed and result.alarm is not None and result.alarm.is_outside:
        raise StoppedError(f"nothing broke, and nothing was measured: {result.reason}")
    if not result.completed:
        raise ForcewrightError(f"the simulation was stopped: {result.reason}")
    return result


DYNAMIC_PROPERTIES = (
    Property(
        "liquid", LiquidSettings, _liquid,
        {
            "": Tolerance(0.03, relative=True), "rdf_rms": Tolerance(0.05, relative=False),
            "first_peak_A": Tolerance(0.08, relative=False), "mean_angle_degree": Tolerance(2.0, relative=False),
            "diffusion_cm2_per_s": Tolerance(0.3, relative=True),
        },
        differences=_liquid_difference,
        meaning="The melted crystal, by molecular dynamics: g(r), angles, volume, diffusion.",
    ),
    Property(
        "energy_conservation", EnergyConservationSettings, _energy_conservation,
        {"": Tolerance(1e-5, relative=False), "spread_eV_per_atom": Tolerance(1e-3, relative=False)},
        better={"spread_eV_per_atom": "lower"},
        meaning="Drift and spread of the total energy in molecular dynamics at constant energy.",
    ),
    Property(
        "survival", SurvivalSettings, _survival, {"": Tolerance(0.0, relative=False)}, better={"share": "higher"},
        meaning="Share of independent runs of molecular dynamics that come to their end.",
    ),
)  # fmt: skip
