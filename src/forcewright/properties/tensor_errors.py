"""Errors of tensors: of all their components, of each irrep, and of their isotropic part."""

from __future__ import annotations

from typing import Any

import numpy as np

from forcewright.data.properties import Target
from forcewright.features.equivariant.spherical import Irrep, cartesian_basis
from forcewright.properties.tensor_model import TensorFit, irreps_of, rank_of
from forcewright.structure import FloatArray


def tensor_errors(labels: FloatArray, predicted: FloatArray, target: Target) -> list[dict[str, Any]]:
    """Return a row of errors for the whole property, for each irrep, and for the isotropic part of a tensor.

    MAE and RMSE are means over the components: Cartesian ones for the whole, orthonormal spherical ones for an irrep
    (their squares add up to those of the Cartesian part). ``percent`` is 100 RMSE over the root mean square of the
    labels about their mean; about zero for what has no mean in all directions.

    Parameters
    ----------
    labels, predicted
        Cartesian values (n, components).
    target
        The `Target` they belong to.
    """
    rank = rank_of(target)
    rows = [_row("all", labels, predicted, invariant=rank == 0)]
    for irrep in irreps_of(target):
        back = cartesian_basis(rank, Irrep(irrep.l, -1 if rank == 1 else 1)).T
        rows.append(_row(str(irrep), labels @ back, predicted @ back, invariant=irrep.l == 0))
    if rank == 2 and irreps_of(target)[0].l == 0:
        trace = np.eye(3).ravel() / 3
        rows.append(_row("isotropic", (labels @ trace)[:, None], (predicted @ trace)[:, None], invariant=True))
    if rank == 2:
        rows[0]["percent"] = None if not len(labels) else _percent(labels, predicted, target)
    return rows


def _row(name: str, labels: FloatArray, predicted: FloatArray, *, invariant: bool) -> dict[str, Any]:
    wrong = predicted - labels
    spread = labels - labels.mean(axis=0) if invariant else labels
    rmse = float(np.sqrt(np.mean(wrong**2)))
    scale = float(np.sqrt(np.mean(spread**2)))
    return {"part": name, "mae": float(np.mean(np.abs(wrong))), "rmse": rmse,
            "percent": 100 * rmse / scale if scale > 0 else None, "values": len(labels)}  # fmt: skip


def _percent(labels: FloatArray, predicted: FloatArray, target: Target) -> float:
    """Return 100 RMSE over the spread of a tensor: about the mean trace, and about zero for the rest."""
    trace = np.eye(3).ravel() / 3
    spread = labels - np.mean(labels @ trace) * np.eye(3).ravel()
    return 100 * float(np.sqrt(np.mean((predicted - labels) ** 2))) / max(float(np.sqrt(np.mean(spread**2))), 1e-300)


def errors_of(fit: TensorFit) -> list[dict[str, Any]]:
    """Return the held-back errors of a fit; see `tensor_errors`."""
    labels, predicted = fit.stacked()
    return tensor_errors(labels, predicted, fit.data.target)
