"""Frames of molecular dynamics that are far enough apart in time to be independent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from forcewright.errors import ForcewrightError, InputError
from forcewright.files import scratch_folder
from forcewright.generation.generated import Generated, generated
from forcewright.simulation import ForceField, Progress, RunSettings, Stage, TrajectorySettings, run
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.trajectory import Snapshot, snapshots


def sample_md(
    force_field: ForceField, start: Structure | Snapshot, stages: Sequence[Stage], rng: np.random.Generator, *,
    count: int, spacing_fs: float, equilibration_ps: float = 0.0, folder: str | Path | None = None,
    engine: str = "ase", trajectory: str = "md", group: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[Generated]:  # fmt: skip
    """Run stages of molecular dynamics and yield ``count`` frames, no two nearer in time than ``spacing_fs``.

    The times are drawn at random: equal intervals could sample the same phase of an oscillation every time, such as
    that of the volume under a barostat.

    Parameters
    ----------
    force_field
        Source of the forces.
    equilibration_ps
        Time at the start from which no frame is taken.
    folder
        Folder of the run, from which the same call continues it; temporary by default.
    trajectory
        Name of the run in all its frames (``info["trajectory"]``); splits keep them together.

    Raises
    ------
    InputError
        If the stages are too short for the frames, or invalid.
    ForcewrightError
        If a monitor stopped the run.
    """
    if count < 1 or not spacing_fs > 0 or equilibration_ps < 0:
        raise InputError("needs a count from 1 on, a spacing_fs above 0 and an equilibration_ps from 0 on", field="md")
    total = 1000.0 * sum(stage.time_ps or 0.0 for stage in stages) - 1000.0 * equilibration_ps
    if (count - 1) * spacing_fs > total:
        raise InputError(f"asks for {count} frames {spacing_fs:g} fs apart, {(count - 1) * spacing_fs / 1000:g} ps in "
                         f"all, of {max(total, 0.0) / 1000:g} ps of sampling; make the stages longer or count or "
                         "spacing_fs smaller", field="count")  # fmt: skip
    every = spacing_fs / 5  # a grid finer than the spacing, from which times are drawn
    settings = RunSettings(trajectory=TrajectorySettings(every_fs=every))
    seed = int(rng.integers(2**31))
    with scratch_folder("generate") as scratch:
        where = scratch / "md" if folder is None else Path(folder)
        result = run(
            force_field, start, stages, where, engine=engine, seed=seed, settings=settings, on_progress=on_progress
        )
        if not result.completed:
            raise ForcewrightError(f"the run {trajectory!r} that frames were to be taken from ended early: "
                                   f"{result.reason}")  # fmt: skip
        frames = [f for f in snapshots(result.trajectory) if (f.time or 0.0) >= 1000.0 * equilibration_ps]
    parent = start.structure if isinstance(start, Snapshot) else start
    for index in spaced_times(np.array([f.time or 0.0 for f in frames]), count, spacing_fs, rng):
        frame = frames[index]
        yield generated(
            frame.structure, "md", parent, group=group, trajectory=trajectory, time_fs=float(frame.time or 0.0),
            force_field=force_field.name,
        )  # fmt: skip


def spaced_times(times: FloatArray, count: int, spacing: float, rng: np.random.Generator) -> IntArray:
    """Return ascending indices of ``count`` of the rising ``times`` (T,), at random but at least ``spacing`` apart.

    Points are drawn uniformly from the time without the spacings, which are then put back in between.

    Raises
    ------
    InputError
        If there are fewer.
    """
    slack = times[-1] - times[0] - (count - 1) * spacing if len(times) else -1.0
    if len(times) < count or slack < -1e-6:
        raise InputError(f"does not hold {count} frames that are {spacing:g} fs apart", field="count")
    wanted = times[0] + np.sort(rng.uniform(0, max(slack, 0.0), count)) + spacing * np.arange(count)
    chosen: list[int] = []
    for rank, time in enumerate(wanted):
        # the frame at or before this time, but never nearer to the previous one than the spacing
        lowest = 0 if not chosen else int(np.searchsorted(times, times[chosen[-1]] + spacing - 1e-6))
        index = max(int(np.searchsorted(times, time + 1e-6)) - 1, lowest)
        if index >= len(times):
            raise InputError(f"does not hold {count} frames that are {spacing:g} fs apart, only {rank}", field="count")
        chosen.append(index)
    return np.array(chosen, dtype=np.int64)
