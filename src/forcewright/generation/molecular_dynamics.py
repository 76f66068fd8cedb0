"""Frames of molecular dynamics that are far enough apart in time to tell different things."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from forcewright.errors import ForcewrightError, InputError
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

    The times are drawn by chance: equal intervals would pick the same phase of an oscillation again and again, such as
    that of the volume under a barostat.

    Parameters
    ----------
    force_field
        Where the forces come from.
    equilibration_ps
        Time at the start from which no frame is taken.
    folder
        Where the run is kept, and gone on with by the same call; a temporary folder where not given.
    trajectory
        Name under which all frames tell what run they are from (``info["trajectory"]``); splits hold it together.

    Raises
    ------
    InputError
        If the stages are too short for the frames, or make no sense.
    ForcewrightError
        If a monitor stopped the run.
    """
    if count < 1 or not spacing_fs > 0 or equilibration_ps < 0:
        raise InputError("needs a count from 1 on, a spacing_fs above 0 and an equilibration_ps from 0 on", field="md")
    total = 1000.0 * sum(stage.time_ps or 0.0 for stage in stages) - 1000.0 * equilibration_ps
    if (count - 1) * spacing_fs > total:
        raise InputError(
            f"asks for {count} frames {spacing_fs:g} fs apart, {(count - 1) * spacing_fs / 1000:g} ps in all, of "
            f"{max(total, 0.0) / 1000:g} ps of sampling; make the stages longer or count or spacing_fs smaller",
            field="count",
        )
    every = spacing_fs / 5  # a grid finer than the spacing, from which times are drawn
    settings = RunSettings(trajectory=TrajectorySettings(every_fs=every))
    seed = int(rng.integers(2**31))
    with tempfile.TemporaryDirectory(prefix="forcewright-") as scratch:
        where = Path(scratch) / "md" if folder is None else Path(folder)
        result = run(
            force_field, start, stages, where, engine=engine, seed=seed, settings=settings, on_progress=on_progress
        )
        if not result.completed:
            raise ForcewrightError(
                f"the run {trajectory!r} that frames were to be taken from ended early: {result.reason}"
            )
        frames = [f for f in snapshots(result.trajectory) if (f.time or 0.0) >= 1000.0 * equilibration_ps]
    parent = start.structure if isinstance(start, Snapshot) else start
    for index in spaced_times(np.array([f.time or 0.0 for f in frames]), count, spacing_fs, rng):
        frame = frames[index]
        yield generated(
            frame.structure, "md", parent, group=group, trajectory=trajectory, time_fs=float(frame.time or 0.0),
            force_field=force_field.name,
        )  # fmt: skip


def spaced_times(times: FloatArray, count: int, spacing: float, rng: np.random.Generator) -> IntArray:
    """Return ascending indices of ``count`` of the rising ``times`` (T,), by chance but at least ``spacing`` apart.

    With the spacings cut out of the time, points drawn by chance are as good as any: they are put back in between.

    Raises
    ------
    InputError
        If there are not so many.
    """
    slack = times[-1] - times[0] - (count - 1) * spacing if len(times) else -1.0
    if len(times) < count or slack < -1e-6:
        raise InputError(f"holds no {count} frames that are {spacing:g} fs apart", field="count")
    wanted = times[0] + np.sort(rng.uniform(0, max(slack, 0.0), count)) + spacing * np.arange(count)
    chosen: list[int] = []
    for rank, moment in enumerate(wanted):
        # the frame at or before the moment, but never nearer to the one before than the spacing
        lowest = 0 if not chosen else int(np.searchsorted(times, times[chosen[-1]] + spacing - 1e-6))
        index = max(int(np.searchsorted(times, moment + 1e-6)) - 1, lowest)
        if index >= len(times):
            raise InputError(f"holds no {count} frames that are {spacing:g} fs apart; {rank} were found", field="count")
        chosen.append(index)
    return np.array(chosen, dtype=np.int64)
