"""The last frames of a run, closer to one another than those of its trajectory: kept in memory, written if it breaks.

What breaks a run takes some tens of femtoseconds, less than lies between two frames of a usual trajectory. Checkpoints
hold these frames, too, so that a run which was killed meanwhile writes the same ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcewright.files import atomic_write
from forcewright.trajectory import Snapshot
from forcewright.trajectory.extxyz import frame_text

FILE = "dense.extxyz"
_LARGEST = 40_000_000  # bytes that are kept, and written with every checkpoint
_BYTES_OF_ATOM = 72  # positions, velocities, forces
_FEWEST = 3


class DenseFrames:
    """The last snapshots of a run.

    Parameters
    ----------
    count
        How many, fewer where the atoms are so many that they would take too much memory.
    atoms
        Their number.
    """

    def __init__(self, count: int, atoms: int) -> None:
        affordable = max(_FEWEST, _LARGEST // (_BYTES_OF_ATOM * atoms))
        self._frames: deque[tuple[Snapshot, str]] = deque(maxlen=min(count, affordable))

    def add(self, snapshot: Snapshot, stage: str) -> None:
        """Take a snapshot, unless it is the last one already."""
        if self._frames and self._frames[-1][0].step == snapshot.step and self._frames[-1][1] == stage:
            return
        self._frames.append((snapshot, stage))

    def write(self, folder: Path) -> Path | None:
        """Write the snapshots with velocities and forces to a folder; None where there are none."""
        frames = [frame_text(snapshot, stage=stage) for snapshot, stage in self._frames]
        return atomic_write(folder / FILE, "".join(frames)) if frames else None

    def state(self) -> dict[str, Any]:
        """Return the snapshots as arrays and plain values, by name."""
        if not self._frames:
            return {}
        snapshots = [snapshot for snapshot, _ in self._frames]
        arrays: dict[str, Any] = {
            "step": np.array([s.step or 0 for s in snapshots]), "time": np.array([s.time or 0.0 for s in snapshots]),
            "cell": np.array([s.structure.cell for s in snapshots]),
            "positions": np.array([s.structure.positions for s in snapshots]),
        }  # fmt: skip
        for name in ("velocities", "forces", "stress", "energy"):
            known = [getattr(s, name) for s in snapshots]
            if all(value is not None for value in known):
                arrays[name] = np.array(known)
        return {**{f"dense.{name}": array for name, array in arrays.items()}, "dense": [s for _, s in self._frames]}

    def restore(self, state: Mapping[str, Any], like: Snapshot) -> None:
        """Take back what `state` returned; ``like`` has the atoms, their masses and which of them are held."""
        stages = state.get("dense", [])
        arrays: dict[str, NDArray[Any]] = {
            name.removeprefix("dense."): values for name, values in state.items() if name.startswith("dense.")
        }
        numbers, pbc = like.structure.numbers, like.structure.pbc
        for k, stage in enumerate(stages):
            structure = type(like.structure)(numbers, arrays["positions"][k], arrays["cell"][k], pbc)
            energy = float(arrays["energy"][k]) if "energy" in arrays else None
            vectors = [arrays[name][k] if name in arrays else None for name in ("velocities", "forces", "stress")]
            self._frames.append(
                (
                    Snapshot(
                        structure, int(arrays["step"][k]), float(arrays["time"][k]), vectors[0], energy, vectors[1],
                        vectors[2], None, like.masses, like.fixed,
                    ),
                    stage,
                )
            )  # fmt: skip
