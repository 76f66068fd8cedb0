"""Crystal growth from a template: a crystal and its own melt in one cell, annealed (du Toit 2025, section 4.5.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from forcewright.analyze import steinhardt
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.neighbors import find_neighbors
from forcewright.simulation import ForceField, Progress, RunSettings, SimulationResult, Stage, planned_stage, run
from forcewright.structure import FloatArray, Structure
from forcewright.trajectory import Frames, Snapshot, snapshots

Positive = Annotated[float, Field(gt=0)]

_SLICE = 3.0  # Å along the axis, about a layer of atoms


class GrowthSettings(BaseModel):
    """How crystal and melt are made and annealed, and how crystalline atoms are recognized."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    temperature_K: Positive
    """Temperature of the growth, below the melting point."""
    time_ps: Positive
    """Duration of the growth."""
    melt_K: Positive
    """Temperature at which the other half is melted, far above the melting point."""
    melt_ps: Positive = 5.0
    """Duration of the melting."""
    pressure_GPa: float | None = 0.0
    """Pressure of the growth; null holds the volume constant."""
    timestep_fs: Positive = 1.0
    """Time step."""
    axis: Annotated[int, Field(ge=0, le=2)] = 2
    """Cell vector along which crystal and melt are stacked."""
    closest: Annotated[float, Field(gt=0, le=1)] = 0.85
    """Crystal and melt are placed so far apart that no distance between their atoms is shorter than this share of the
    shortest one in the crystal."""
    degree: int = Field(default=6, ge=2)
    """Degree l of the bond-orientational order that distinguishes crystal from melt."""

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        self.melting()
        self.growing()
        return self

    def melting(self) -> list[Stage]:
        """Return the stages that make the melt, at the volume of the crystal and back to the growth's temperature."""
        common = {"ensemble": "nvt", "timestep_fs": self.timestep_fs}
        melt = {"name": "melt", "temperature_K": self.melt_K, "time_ps": self.melt_ps}
        cool = {"name": "cool", "temperature_K": (self.melt_K, self.temperature_K), "time_ps": 1.0}
        return [planned_stage({**common, **stage}) for stage in (melt, cool)]

    def growing(self) -> list[Stage]:
        """Return the stages of the stack: atoms that are too close are pushed apart, then it is annealed."""
        ensemble = {"ensemble": "nvt"} if self.pressure_GPa is None else {
            "ensemble": "npt", "pressure_GPa": self.pressure_GPa, "cell": "full"}  # fmt: skip
        anneal = {"name": "grow", "temperature_K": self.temperature_K, "time_ps": self.time_ps,
                  "timestep_fs": self.timestep_fs, **ensemble}  # fmt: skip
        apart = {"name": "push apart", "ensemble": "relax", "fmax_eV_per_A": 1.0, "max_steps": 100}
        return [planned_stage(apart), planned_stage(anneal)]


@dataclass(frozen=True, eq=False)
class Growth(Result):
    """How a crystal grew into its melt.

    ================================  =================================================================================
    time_ps                           of each frame (T,)
    crystalline_share                 share of the atoms that are crystal-like (T,)
    profile                           the same in slices of about 3 Å along the axis (T, S), from the start of the cell
                                      to its end
    threshold                         order above which an atom counts as crystal: halfway between the medians of
                                      template and melt at the start
    order_of_template, order_of_melt  those medians
    ================================  =================================================================================
    """

    time_ps: FloatArray
    crystalline_share: FloatArray
    profile: FloatArray
    threshold: float
    order_of_template: float
    order_of_melt: float

    @property
    def grew(self) -> float:
        """Change of the crystalline share, last tenth of the frames less the first frame."""
        tail = max(1, len(self.time_ps) // 10)
        return float(self.crystalline_share[-tail:].mean() - self.crystalline_share[0])

    def _draw(self, ax: Axes) -> None:
        edges = np.linspace(0.0, 1.0, self.profile.shape[1] + 1)
        step = np.diff(self.time_ps).mean() if len(self.time_ps) > 1 else 1.0
        times = np.append(self.time_ps, self.time_ps[-1] + step)
        mesh = ax.pcolormesh(edges, times, self.profile, vmin=0.0, vmax=1.0, cmap="viridis", rasterized=True)
        ax.set(xlabel="fractional position along the axis", ylabel="time (ps)")
        ax.figure.colorbar(mesh, ax=ax, label="share of crystal-like atoms")


def stack_on_melt(crystal: Structure, melt: Snapshot, *, axis: int = 2, closest: float = 0.85) -> Snapshot:
    """Return crystal and melt, which have the same cell, stacked along one cell vector, at rest; the crystal is first.

    InputError if the two cells differ, or a direction is open.
    """
    if not crystal.pbc.all():
        raise InputError("growth needs a crystal that is periodic in all directions", field="structure")
    if not np.allclose(crystal.cell, melt.structure.cell):
        raise InputError("crystal and melt have different cells; melt the crystal at constant volume", field="cell")
    # The melt is wrapped into the cell first: stacking needs it in one piece.
    fractions = melt.structure.positions @ np.linalg.inv(crystal.cell)
    wrapped = (fractions - np.floor(fractions)) @ crystal.cell
    shortest = _shortest(crystal, np.zeros(len(crystal)), across=False)
    halves = np.repeat([0, 1], len(crystal))
    gap = 0.0  # Å at both interfaces
    while True:
        shift = crystal.cell[axis] * (1.0 + gap / np.linalg.norm(crystal.cell[axis]))
        cell = np.array(crystal.cell)
        cell[axis] = 2.0 * shift
        positions = np.vstack([crystal.positions, wrapped + shift])
        stacked = Structure(np.tile(crystal.numbers, 2), positions, cell, crystal.pbc)
        if _shortest(stacked, halves, across=True) >= closest * shortest:
            return Snapshot(stacked)
        gap += 0.05


def _shortest(structure: Structure, part: FloatArray, *, across: bool) -> float:
    """Return the shortest distance in Å, or that between atoms of different parts; infinity if it exceeds 4 Å."""
    pairs = find_neighbors(structure, 4.0)
    kept = (part[pairs.centers] != part[pairs.indices]) if across else np.ones(len(pairs.indices), dtype=bool)
    return float(pairs.distances[kept].min(initial=np.inf))


def growth(
    force_field: ForceField, crystal: Snapshot, folder: Path, settings: GrowthSettings, *, engine: str = "ase",
    seed: int = 0, run_settings: RunSettings | None = None, fresh: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[SimulationResult, Growth | None]:  # fmt: skip
    """Melt a copy of the crystal, stack it on the crystal, anneal both, and follow the crystalline share.

    The runs lie in the folders melt and growth of ``folder`` and are resumed like any other.

    Returns
    -------
    result
        The run of the growth, or that of the melting if a monitor stopped it.
    growth
        How the crystal grew, None if the melting failed.
    """
    common = {"engine": engine, "seed": seed, "settings": run_settings, "fresh": fresh, "on_progress": on_progress}
    melted = run(force_field, crystal, settings.melting(), folder / "melt", **common)  # type: ignore[arg-type]
    if not melted.completed:
        return melted, None
    start = stack_on_melt(crystal.structure, melted.final, axis=settings.axis, closest=settings.closest)
    grown = run(force_field, start, settings.growing(), folder / "growth", **common)  # type: ignore[arg-type]
    return grown, follow_growth(grown.trajectory, len(crystal), axis=settings.axis, degree=settings.degree)


def follow_growth(frames: Frames, template: int, *, axis: int = 2, degree: int = 6) -> Growth:
    """Return the share of crystal-like atoms over time, by the averaged bond order of each atom.

    Parameters
    ----------
    frames
        The first ``template`` atoms are the crystal at the start, the others the melt.
    axis
        Cell vector along which the profile is taken.
    degree
        l of the bond order (`forcewright.analyze.steinhardt`).
    """
    first, times, shares, profiles = True, [], [], []
    threshold, of_crystal, of_melt, slices = 0.0, 0.0, 0.0, 2
    for snapshot in snapshots(frames):
        order = steinhardt([snapshot], degree=degree, average=True).last
        if first:
            of_crystal, of_melt = float(np.median(order[:template])), float(np.median(order[template:]))
            threshold, first = 0.5 * (of_crystal + of_melt), False
            slices = max(2, int(np.linalg.norm(snapshot.structure.cell[axis]) / _SLICE))
        crystalline = order > threshold if of_crystal > of_melt else order < threshold
        times.append((snapshot.time or 0.0) / 1000.0)
        shares.append(crystalline.mean())
        profiles.append(_profile(snapshot.structure, crystalline, axis, slices))
    return Growth(np.array(times), np.array(shares), np.array(profiles), threshold, of_crystal, of_melt)


def _profile(structure: Structure, crystalline: NDArray[np.bool_], axis: int, slices: int) -> FloatArray:
    """Return the share of crystal-like atoms in slices along a cell vector (S,), NaN in empty ones."""
    fractions = (structure.positions @ np.linalg.inv(structure.cell))[:, axis]
    slice_of = np.minimum((slices * (fractions - np.floor(fractions))).astype(int), slices - 1)
    atoms = np.bincount(slice_of, minlength=slices)
    inside = np.bincount(slice_of, weights=crystalline.astype(float), minlength=slices)
    shares: FloatArray = np.divide(inside, atoms, out=np.full(slices, np.nan), where=atoms > 0)
    return shares
