"""The frames that a potential predicts worst."""

from __future__ import annotations

from typing import Any

import numpy as np

from forcewright.accuracy.parity import Parity, ParitySeries, locate
from forcewright.structure import Dataset, FloatArray

_LARGEST_STORED = 2000  # atoms of a structure that is kept to be drawn


def worst_frames(dataset: Dataset, parity: Parity, count: int = 10) -> list[dict[str, Any]]:
    """Return the frames with the largest errors, worst first, as plain data.

    Frames are compared by their errors of the energy per atom and of the forces, each divided by the RMSE of all
    frames; the larger of the two counts.

    Parameters
    ----------
    dataset, parity
        The frames, and what `forcewright.accuracy.parity.pair` made of them and their predictions.

    Returns
    -------
    list
        For each frame: ``file``, ``frame``, ``group``, ``formula``, ``energy_error_meV_per_atom`` and
        ``force_rmse_eV_per_A`` (None without labels), ``atom`` with the largest force error and that error,
        ``force_error_eV_per_A``, and ``structure`` to be drawn, unless it is large: numbers, positions, cell, pbc.
    """
    energy, forces = _per_frame(parity.energy, len(dataset)), _per_frame(parity.forces, len(dataset))
    scores = np.fmax(*(part / (np.sqrt(np.nanmean(part**2)) or 1.0) if np.isfinite(part).any() else part
                       for part in (energy, forces)))  # fmt: skip
    order = [int(i) for i in np.argsort(-np.nan_to_num(scores, nan=-1.0), kind="stable") if scores[i] > 0][:count]
    return [_described(dataset, parity, index, energy, forces) for index in order]


def _per_frame(series: ParitySeries | None, frames: int) -> FloatArray:
    """Return the root mean square error of each frame (n,), nan where it has none."""
    if series is None:
        return np.full(frames, np.nan)
    squares = np.bincount(series.frame, weights=(series.predicted - series.reference) ** 2, minlength=frames)
    counts = np.bincount(series.frame, minlength=frames)
    means: FloatArray = np.divide(squares, counts, out=np.full(frames, np.nan), where=counts > 0)
    roots: FloatArray = np.sqrt(means)
    return roots


def _described(dataset: Dataset, parity: Parity, index: int, energy: FloatArray, forces: FloatArray) -> dict[str, Any]:
    structure, labels, _ = dataset[index]
    file, number = locate(dataset, index)
    described: dict[str, Any] = {
        "file": file, "frame": number, "group": labels.group, "formula": structure.formula,
        "energy_error_meV_per_atom": None, "force_rmse_eV_per_A": None, "atom": None, "force_error_eV_per_A": None,
        "structure": None,
    }  # fmt: skip
    if parity.energy is not None and np.isfinite(energy[index]):
        at = parity.energy.frame == index
        error = float((parity.energy.predicted[at] - parity.energy.reference[at])[0])
        described["energy_error_meV_per_atom"] = 1e3 * error
    if parity.forces is not None and np.isfinite(forces[index]):
        at = parity.forces.frame == index
        vectors = (parity.forces.predicted[at] - parity.forces.reference[at]).reshape(-1, 3)
        lengths = np.linalg.norm(vectors, axis=1)
        described |= {
            "force_rmse_eV_per_A": float(forces[index]), "atom": int(np.argmax(lengths)),
            "force_error_eV_per_A": float(lengths.max()),
        }  # fmt: skip
    if len(structure) <= _LARGEST_STORED:
        described["structure"] = {
            "numbers": structure.numbers.tolist(), "positions": np.round(structure.positions, 4).tolist(),
            "cell": np.round(structure.cell, 4).tolist(), "pbc": structure.pbc.tolist(),
        }  # fmt: skip
    return described
