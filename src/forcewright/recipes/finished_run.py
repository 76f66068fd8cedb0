"""A finished run of `forcewright simulate` read back, with its potential and what that was fitted to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.configs import echo, validate
from forcewright.data import Sources
from forcewright.diagnosis import RunRecord, evenly
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import as_path
from forcewright.force_field import ForceField
from forcewright.models import potential_path
from forcewright.plain_data import parse_yaml, read_json, read_yaml
from forcewright.potential import Potential, Reference
from forcewright.protocols.growth import GrowthSettings
from forcewright.recipes.config import TuneConfig
from forcewright.recipes.force_fields import force_field
from forcewright.recipes.inputs import read_inputs
from forcewright.recipes.reading import read_structures
from forcewright.recipes.run_folder import read_config, with_absolute_paths
from forcewright.recipes.simulate import SimulateConfig
from forcewright.reference import ReferenceSettings, potential_reference, reference_from
from forcewright.simulation import SimulationResult, read_result
from forcewright.simulation.dense_frames import FILE as DENSE
from forcewright.simulation.distance_watch import TABLE as DISTANCES
from forcewright.simulation.extrapolation_watch import TABLE as UNCERTAINTIES
from forcewright.structure import Dataset
from forcewright.trajectory import Snapshot, read_thermo, snapshots

log = logging.getLogger("forcewright")

_MOST_FRAMES = 600  # of a trajectory; of longer ones every so many-th is taken

#: What names a reference: a file of settings, a potential, or YAML such as "xtb: GFN1-xTB" (see `any_reference`).
AnyReference = str | Path | Potential | Mapping[str, Any] | Reference


def read_run(
    folder: str | Path, *, potential: str | Path | Potential | Mapping[str, Any] | None = None,
    train: Sources | None = None, frames: int = _MOST_FRAMES,
) -> RunRecord:  # fmt: skip
    """Read a finished run.

    Parameters
    ----------
    folder
        Output folder of the run; of several runs that of one of them, ``run-0`` and so on.
    potential
        The potential, where it no longer lies where the run's config says.
    train
        What the potential was fitted to; by default what the study around the potential names.
    frames
        Frames of the trajectory that are looked at, at most, spread evenly; the dense ones come on top.

    Raises
    ------
    InputError
        If the folder holds no finished run, or the potential is not that of the run.
    """
    folder = as_path(folder, "run").resolve()
    if not (folder / "result.json").is_file():
        raise InputError("holds no finished run; give the output folder of `forcewright simulate`", file=folder)
    _refuse_other_results(folder)
    result, content = read_result(folder)
    settings, base = _settings(folder, content)
    source = settings.potential if potential is None else potential
    if potential is None and isinstance(source, str) and not (base / source).exists():
        problem = f"its potential {echo(source)} was in memory, or does not lie there any more; name it (--potential)"
        raise InputError(problem, file=folder, field="potential")
    field = force_field(source, Path.cwd() if potential is not None else base)
    _require_same(field, content, folder)
    plan = settings.plan()
    if isinstance(plan, GrowthSettings):
        raise InputError("is about growth from a template, which is not diagnosed; take its folder melt", file=folder)
    shots, stage_of = _frames(result, frames, {record.name: k for k, record in enumerate(result.stages)})
    tables = [_table(folder / name) for name in (DISTANCES, UNCERTAINTIES)]
    training = _training(source, base if potential is None else Path.cwd()) if train is None else read_structures(train)
    return RunRecord(
        folder, field, tuple(plan), tuple(record.name for record in result.stages), tuple(shots), stage_of,
        read_thermo(result.thermo), result.alarm, tables[0], tables[1], training,
        settings.run_settings().monitors,
    )  # fmt: skip


def _refuse_other_results(folder: Path) -> None:
    content = read_json(folder / "result.json")
    by = content.get("written_by") if isinstance(content, Mapping) else None
    if by not in (None, "simulate"):
        raise InputError(f"holds the results of `forcewright {by}`; give the folder of a simulation", file=folder)


def _settings(folder: Path, content: Mapping[str, Any]) -> tuple[SimulateConfig, Path]:
    """Return the settings of a run, and the folder that texts in them may be paths from."""
    for parent in (folder, folder.parent):
        if (parent / "config.resolved.yaml").is_file():
            settings, base, _ = read_config(SimulateConfig, parent / "config.resolved.yaml")
            return settings, Path(content.get("config_folder", base))
    raise InputError("has no config.resolved.yaml; is it the output folder of `forcewright simulate`?", file=folder)


def _require_same(field: ForceField, content: Mapping[str, Any], folder: Path) -> None:
    used = content.get("potential_hash")
    if used is not None and used != field.content_hash:
        raise InputError(
            f"was run with another potential than what now lies at {field.name}; name the one it was (--potential)",
            file=folder, field="potential",
        )  # fmt: skip


def _frames(
    result: SimulationResult, most: int, stages: Mapping[str, int]
) -> tuple[list[Snapshot], np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the frames of the trajectory, at most ``most``, and the dense ones by step, and the stage of each."""
    by_step: dict[int, Snapshot] = {}
    taken = _read(result.trajectory)
    for snapshot in [taken[k] for k in evenly(range(len(taken)), most)]:
        by_step[snapshot.step or 0] = snapshot
    if result.dense is not None:
        by_step |= {snapshot.step or 0: snapshot for snapshot in _read(result.folder / DENSE)}
    if not by_step:
        raise InputError("holds no frame that can be read", file=result.trajectory)
    ends = np.cumsum([record.done for record in result.stages])
    steps = sorted(by_step)
    stage_of = np.minimum(np.searchsorted(ends, steps), len(stages) - 1)
    return [by_step[step] for step in steps], stage_of.astype(np.int64)


def _read(path: Path) -> list[Snapshot]:
    """Return the frames of a file up to the first that cannot be read, as where a run broke down."""
    frames: list[Snapshot] = []
    try:
        for snapshot in snapshots(path):
            frames.append(snapshot)
    except InputError as error:
        if not frames:
            raise
        log.warning("%s; the frames before are taken", error)
    return frames


def _table(path: Path) -> Mapping[str, Any]:
    try:
        return read_thermo(path)
    except InputError:  # the run wrote none
        return {}


def _training(source: object, base: Path) -> Dataset | None:
    """Return the training data of a potential that lies in the folder of its study; None where they are not there."""
    if not isinstance(source, str | Path):
        return None
    config = potential_path(base / source).parent / "config.resolved.yaml"
    if not config.is_file():
        return None
    try:
        settings, folder, _ = read_config(TuneConfig, config)
        return read_inputs(with_absolute_paths(settings, folder)).train
    except ForcewrightError as error:
        log.warning("the training data are not at hand: %s", error)
        return None


def any_reference(source: AnyReference) -> Reference:
    """Return a reference by whatever names it on a command line, or in Python.

    Parameters
    ----------
    source
        A YAML file of settings (what stands behind ``reference:``, or with that key, as for `forcewright label`), the
        path of a potential, YAML such as ``"xtb: GFN1-xTB"`` or ``"{lammps: {pair_style: …, pair_coeff: …}}"``, the
        settings themselves, or a reference.

    Raises
    ------
    InputError
        If it is none of these, or the reference cannot be used.
    """
    base = Path.cwd()
    if isinstance(source, str) and not Path(source).exists():
        try:
            content: Any = parse_yaml(source)
        except InputError:
            content = None
        if not isinstance(content, Mapping):
            raise InputError(
                f"{echo(source)} is neither a file nor settings such as 'xtb: GFN1-xTB'", field="reference"
            )
    elif isinstance(source, str | Path):
        path = Path(source)
        if path.suffix not in (".yaml", ".yml"):
            return reference_from({"potential": str(path.resolve())}, base)
        content, base = read_yaml(path), path.parent.resolve()
    elif isinstance(source, Mapping | ReferenceSettings):
        content = source
    else:
        return potential_reference(source) if isinstance(source, Potential) else source
    if isinstance(content, Mapping):
        try:
            content = validate(ReferenceSettings, content.get("reference", content))
        except InputError as error:
            field = ".".join(filter(None, ["reference", error.field]))
            raise InputError(error.problem, file=error.file, field=field) from None
    return reference_from(content, base)
