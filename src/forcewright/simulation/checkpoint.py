"""Checkpoints: where a run continues after its process was killed, and whether it is the same run.

Order of writing, so that a kill at any moment does no harm: frames and rows are synced to disk first, then the
checkpoint with the lengths of their files replaces the previous one. A run that continues cuts the files back to those
lengths and writes the rest again, identical to the last digit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.errors import InputError
from forcewright.files import read_arrays, write_arrays
from forcewright.force_field import ForceField
from forcewright.plain_data import parse_json
from forcewright.simulation.settings import RunSettings
from forcewright.simulation.stages import Stage
from forcewright.trajectory import Snapshot

_FORMAT = 1


def identity(
    force_field: ForceField, start: Snapshot, stages: Sequence[Stage], engine: str, seed: int, settings: RunSettings
) -> dict[str, str]:
    """Return hashes of everything that determines the numbers of a run, by names that a user understands."""
    velocities = b"" if start.velocities is None else np.ascontiguousarray(start.velocities).tobytes()
    held = [] if start.fixed is None else [_hash(np.ascontiguousarray(start.fixed).tobytes())]
    parts: dict[str, Any] = {
        "potential": force_field.content_hash,
        "structure": [start.structure.content_hash, _hash(velocities), _hash(start.masses.tobytes()), *held],
        "stages": [stage.model_dump(mode="json") for stage in stages], "engine": engine, "seed": seed,
        "settings of the run": _plain(settings), "version of checkpoints": _FORMAT,
    }  # fmt: skip
    return {name: _hash(json.dumps(part, sort_keys=True).encode()) for name, part in parts.items()}


def _plain(settings: RunSettings) -> dict[str, Any]:
    """Return the settings; what earlier versions do not know is left out at its default, so that their runs go on."""
    plain = settings.model_dump(mode="json")
    for holder, written, names in (
        (settings.monitors, plain["monitors"], ("extrapolation_factor", "pair_distance", "uncertainty")),
        (settings, plain, ("dense_frames",)),
    ):
        for name in names:
            if getattr(holder, name) == type(holder).model_fields[name].default:
                del written[name]
    return plain


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_identity(current: Mapping[str, str], stored: Mapping[str, str], folder: Path) -> None:
    """Refuse to mix two runs in one folder by an InputError that names what differs."""
    different = [name for name in current if current[name] != stored.get(name)]
    if different:
        raise InputError(f"holds another run, which differs in {', '.join(different)}; choose another output, or start "
                         "again with --fresh (fresh=True), which removes it", file=folder)  # fmt: skip


@dataclass
class Checkpoint:
    """The state of a run at a step of a stage, with the lengths of its files in bytes."""

    identity: dict[str, str]
    stage: int
    stage_step: int
    trajectory_bytes: int
    thermo_bytes: int
    references: dict[str, float | None]
    notes: list[str]
    wall_s: float
    cpu_s: float
    restarts: int
    state: Mapping[str, Any] = field(default_factory=dict)
    extrapolation_bytes: int = 0
    distances_bytes: int = 0

    @property
    def table_bytes(self) -> dict[str, int]:
        """Lengths of the tables of what a potential knows of its training data, by name."""
        return {"extrapolation.csv": self.extrapolation_bytes, "distances.csv": self.distances_bytes}

    def save(self, path: Path) -> None:
        """Replace the checkpoint at ``path`` atomically."""
        arrays = {f"state.{name}": value for name, value in self.state.items() if isinstance(value, np.ndarray)}
        plain = {name: value for name, value in self.state.items() if not isinstance(value, np.ndarray)}
        content = json.dumps({**asdict(replace(self, state={})), "state": plain})
        write_arrays(path, {"content": np.array(content), **arrays})

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint; InputError if the file is damaged."""
        try:
            arrays = read_arrays(path)
            content = parse_json(str(arrays.pop("content")))
            content["state"] |= {name.removeprefix("state."): array for name, array in arrays.items()}
            return cls(**content)
        except (InputError, ValueError, KeyError, TypeError) as error:
            said = error.problem if isinstance(error, InputError) else error
            raise InputError(f"is damaged ({said}); start again with --fresh", file=path) from None
