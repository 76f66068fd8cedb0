"""Checks of a protocol against a structure, before anything moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forcewright.errors import InputError
from forcewright.open_cell import compact, heights
from forcewright.simulation.settings import RunSettings
from forcewright.simulation.stages import Stage
from forcewright.trajectory import Snapshot

_LIGHT = 4.0  # u
_LONGEST_LIGHT_FS = 3.0  # an O-H bond vibrates once in 9 fs
_THINNEST = 1.5  # Å


def check_protocol(stages: Sequence[Stage], start: Snapshot, settings: RunSettings, engine: str = "ase") -> None:
    """Raise InputError where stages or output intervals are invalid for a starting structure; says in which stage."""
    if not stages:
        raise InputError("there is nothing to do; give at least one stage", field="stages")
    _check_start(start)
    _check_held(start, engine)
    for index, stage in enumerate(stages):
        position = f"stages[{index}]"
        _check_timestep(stage, start, position)
        _check_stage_of_held(stage, start, position)
        if (stage.ensemble == "npt" or stage.pressure_GPa is not None) and not start.structure.pbc.all():
            raise InputError(f"{stage.ensemble} at a pressure needs a structure that is periodic in all directions; "
                             "use nvt, or leave pressure_GPa out", field=position)  # fmt: skip
    _check_velocities(stages, start)
    whole = 1000.0 * sum(stage.time_ps or 0.0 for stage in stages)
    if whole and settings.trajectory.every_fs > whole:
        raise InputError(
            f"is {settings.trajectory.every_fs:g}, but the whole run lasts {whole:g} fs; give less to get frames",
            field="trajectory.every_fs",
        )


def _check_start(start: Snapshot) -> None:
    structure = start.structure
    if not np.isfinite(structure.positions).all() or not np.isfinite(structure.cell).all():
        raise InputError("holds positions or a cell that are not finite", field="structure")
    if start.velocities is not None and not np.isfinite(start.velocities).all():
        raise InputError("holds velocities that are not finite", field="structure")
    if structure.pbc.all():
        if structure.volume < 1e-6:
            raise InputError("is periodic, but its cell has no volume", field="structure")
        thinnest = heights(compact(structure.cell, structure.pbc)).min()
        if thinnest < _THINNEST:
            raise InputError(f"has a cell only {thinnest:.3g} Å thin, so that atoms almost touch their own "
                             "images; repeat it", field="structure")  # fmt: skip


def _check_held(start: Snapshot, engine: str) -> None:
    """Refuse constraints that would not be kept."""
    if start.fixed is None:
        return
    count = int(start.fixed.all(axis=1).sum())
    if partly := int(start.fixed.any(axis=1).sum()) - count:
        raise InputError(f"holds {partly} atoms along some directions only, which is not known; hold whole atoms, or "
                         "take the constraint off", field="structure")  # fmt: skip
    if count == len(start):
        raise InputError(f"holds all {count} atoms fixed, so that nothing can move", field="structure")
    if engine != "ase":
        raise InputError(f"{count} atoms are fixed in the structure, which the engine {engine} does not know; use the "
                         "engine ase, or take the constraint off", field="engine")  # fmt: skip


def _check_stage_of_held(stage: Stage, start: Snapshot, position: str) -> None:
    if start.fixed is None:
        return
    if stage.ensemble == "npt" or stage.pressure_GPa is not None:
        count = int(start.fixed.any(axis=1).sum())
        raise InputError(f"{count} atoms are fixed in the structure, and a pressure would move them with the cell; "
                         "keep the volume, or take the constraint off", field=position)  # fmt: skip


def _check_timestep(stage: Stage, start: Snapshot, position: str) -> None:
    if stage.ensemble == "relax":
        return
    lightest = float(start.masses.min())
    if lightest < _LIGHT and stage.timestep_fs > _LONGEST_LIGHT_FS:
        raise InputError(f"timestep_fs is {stage.timestep_fs:g}, too long for atoms of {lightest:.3g} u, whose bonds "
                         f"vibrate once in 10 fs; 0.5 is usual, {_LONGEST_LIGHT_FS:g} the maximum",
                         field=position)  # fmt: skip
    times = {"thermostat_time_fs": stage.ensemble in ("nvt", "npt"), "barostat_time_fs": stage.ensemble == "npt"}
    for name in (name for name, used in times.items() if used):
        if getattr(stage, name) < 2 * stage.timestep_fs:
            raise InputError(f"{name} is {getattr(stage, name):g}, hardly more than a step of {stage.timestep_fs:g} "
                             "fs; 50 to 1000 steps are usual", field=position)  # fmt: skip


def _check_velocities(stages: Sequence[Stage], start: Snapshot) -> None:
    """Refuse an nve stage without velocities, which it cannot draw because it has no temperature."""
    moving = start.velocities is not None
    for index, stage in enumerate(stages):
        if stage.ensemble == "nve" and not moving:
            raise InputError("an nve stage conserves the initial energy, but there are no velocities; put an nvt stage "
                             "before it", field=f"stages[{index}]")  # fmt: skip
        moving = stage.ensemble != "relax" and (moving or stage.temperature_K is not None)
