"""Errors of predictions in one table, overall and per group, each with its standard error.

Errors of energies are given per atom, of whole cells and per √atom (du Toit 2025, eq. 3.3); of forces per component,
per vector (du Toit 2025, eq. 3.4) and of the norm over a structure (`forcewright.metrics.force_norm`); of stresses over
the six Voigt components. Every RMSE and MAE comes from sums per frame (see `forcewright.metrics`), as does its standard
error, a bootstrap over frames.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from forcewright import metrics
from forcewright.accuracy.parity import Parity, ParitySeries, locate, pair
from forcewright.errors import InputError
from forcewright.files import write_table
from forcewright.potential import Potential, Prediction
from forcewright.structure import Dataset, FloatArray, require_known_species
from forcewright.tables import Tabular


class _Measure(NamedTuple):
    key: str
    quantity: str  # field of Parity, or force_norm
    root: bool  # RMSE, else MAE
    scale: float = 1.0
    power_of_atoms: float = 0.0  # the error per atom is multiplied by N to this power
    entries: int = 1  # how many entries make one error: 3 where a force vector counts once


_MEASURES = (
    _Measure("energy_rmse_meV_per_atom", "energy", True, 1e3),
    _Measure("energy_mae_meV_per_atom", "energy", False, 1e3),
    _Measure("energy_total_rmse_eV", "energy", True, 1.0, 1.0),
    _Measure("energy_total_mae_eV", "energy", False, 1.0, 1.0),
    _Measure("energy_rmse_per_sqrt_atom_eV", "energy", True, 1.0, 0.5),
    _Measure("force_rmse_eV_per_A", "forces", True),
    _Measure("force_mae_eV_per_A", "forces", False),
    _Measure("force_vector_rmse_eV_per_A", "forces", True, entries=3),
    _Measure("force_norm_rmse_eV_per_A", "force_norm", True),
    _Measure("force_norm_mae_eV_per_A", "force_norm", False),
    _Measure("stress_rmse_GPa", "stress", True),
    _Measure("stress_mae_GPa", "stress", False),
)


@dataclass(frozen=True)
class Errors:
    """Errors over some frames; None where no frame has the label. ``standard_error`` has the RMSE and MAE keys."""

    frames: int
    energy_rmse_meV_per_atom: float | None = None
    energy_mae_meV_per_atom: float | None = None
    energy_r2: float | None = None
    energy_total_rmse_eV: float | None = None
    energy_total_mae_eV: float | None = None
    energy_rmse_per_sqrt_atom_eV: float | None = None
    force_rmse_eV_per_A: float | None = None
    force_mae_eV_per_A: float | None = None
    force_r2: float | None = None
    force_vector_rmse_eV_per_A: float | None = None
    force_norm_rmse_eV_per_A: float | None = None
    force_norm_mae_eV_per_A: float | None = None
    force_norm_r2: float | None = None
    stress_rmse_GPa: float | None = None
    stress_mae_GPa: float | None = None
    standard_error: Mapping[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return {**vars(self), "standard_error": dict(self.standard_error)}


@dataclass(frozen=True, eq=False, repr=False)
class ErrorTable(Tabular):
    """Errors over all frames and per group, and the values behind them."""

    overall: Errors
    groups: Mapping[str, Errors]
    parity: Parity

    @property
    def elements(self) -> dict[str, dict[str, float]]:
        """Errors of forces by the element of the atom: RMSE and MAE of components, and of vectors the largest error.

        Empty where there are no forces, or the elements are not known.
        """
        series, numbers = self.parity.forces, self.parity.elements
        if series is None or numbers is None:
            return {}
        errors = (series.predicted - series.reference).reshape(-1, 3)
        parts = {chemical_symbols[z]: errors[numbers == z] for z in np.unique(numbers)}
        return {
            symbol: {
                "atoms": len(part), "force_rmse_eV_per_A": float(np.sqrt(np.mean(part**2))),
                "force_mae_eV_per_A": float(np.mean(np.abs(part))),
                "largest_force_error_eV_per_A": float(np.linalg.norm(part, axis=1).max()),
            }
            for symbol, part in parts.items()
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON: the keys of `Errors`, ``groups`` and ``elements``."""
        groups = {name: errors.to_dict() for name, errors in self.groups.items()}
        return self.overall.to_dict() | {"groups": groups, "elements": self.elements}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], parity: Parity) -> ErrorTable:
        """Return the table of which `to_dict` gave the content."""
        overall = {key: value for key, value in content.items() if key not in ("groups", "elements")}
        return cls(Errors(**overall), {name: Errors(**errors) for name, errors in content["groups"].items()}, parity)

    def __str__(self) -> str:
        return format_table(self)

    def __repr__(self) -> str:
        known = [f"{title} {_with_error(self.overall, key)} {unit}" for title, unit, key in _COLUMNS
                 if getattr(self.overall, key) is not None]  # fmt: skip
        return f"ErrorTable({', '.join([f'{self.overall.frames} frames', *known])})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each group and one named ``overall``; every key, then its standard error."""
        return [_row(name, errors) for name, errors in [*self.groups.items(), ("overall", self.overall)]]

    def write_csv(self, path: str | Path) -> Path:
        """Write the rows of `to_rows`."""
        return write_table(Path(path), self.to_rows())


def evaluate(
    potential: Potential, dataset: Dataset, *, rng: np.random.Generator | None = None, resamples: int = 1000
) -> ErrorTable:
    """Predict every frame of ``dataset`` and compare with its labels; see `compare`.

    Raises
    ------
    InputError
        If a frame has an element unknown to the potential.
    """
    check_species(potential, dataset)
    count = dataset.count_labels()
    predictions = potential.predict(dataset.structures, forces=count["forces"] > 0, stress=count["stress"] > 0)
    return compare(dataset, predictions, rng=rng, resamples=resamples)


def check_species(potential: Potential, dataset: Dataset) -> None:
    """Raise an InputError that names the first frame with an element unknown to the potential."""
    for index, structure in enumerate(dataset.structures):
        try:
            require_known_species(structure, potential.species)
        except InputError as error:
            file, frame = locate(dataset, index)
            advice = "leave the frame out or fit on data with these elements"
            raise InputError(f"{error.problem}; {advice}", file=file, frame=frame, field=error.field) from None


def compare(
    dataset: Dataset, predictions: Sequence[Prediction], *, rng: np.random.Generator | None = None,
    resamples: int = 1000,
) -> ErrorTable:  # fmt: skip
    """Compare predictions with the labels of ``dataset``, overall and per group.

    Parameters
    ----------
    predictions
        One per frame, in order.
    rng
        Draws the bootstrap resamples of frames behind the standard errors; without it there are none.

    Raises
    ------
    InputError
        If there is no frame, not one prediction per frame, or a number is not finite.
    """
    if len(dataset) == 0:
        raise InputError("there is no frame to compare predictions with; give at least one", field="dataset")
    parity = pair(dataset, predictions)
    sums, counts = _sum_per_frame(parity)
    group = np.array(dataset.groups)

    def errors(chosen: NDArray[np.bool_]) -> Errors:
        return _errors(parity, sums, counts, chosen, rng=rng, resamples=resamples)

    groups = {name: errors(group == name) for name in dataset.group_sizes}
    return ErrorTable(errors(np.ones(len(dataset), dtype=bool)), groups, parity)


def _sum_per_frame(parity: Parity) -> tuple[FloatArray, FloatArray]:
    """Return sums of errors and how many were summed, both (frames, measures)."""
    sums = np.zeros((len(parity.atoms), len(_MEASURES)))
    counts = np.zeros_like(sums)
    for column, measure in enumerate(_MEASURES):
        series = force_norms(parity) if measure.quantity == "force_norm" else getattr(parity, measure.quantity)
        if series is None:
            continue
        errors = (series.predicted - series.reference) * parity.atoms[series.frame] ** measure.power_of_atoms
        errors = errors**2 if measure.root else np.abs(errors)
        sums[:, column] = np.bincount(series.frame, weights=errors, minlength=len(sums))
        counts[:, column] = np.bincount(series.frame, minlength=len(sums)) / measure.entries
    return sums, counts


def force_norms(parity: Parity) -> ParitySeries | None:
    """Return the norm of the forces of each structure that has them, in eV/Å; None without forces."""
    series = parity.forces
    if series is None:
        return None
    frames, first = np.unique(series.frame, return_index=True)
    reference, predicted = (
        np.sqrt(np.bincount(series.frame, weights=values**2, minlength=len(parity.atoms))[frames])
        for values in (series.reference, series.predicted)
    )
    return ParitySeries(reference, predicted, frames, series.group[first], series.names)


def _errors(
    parity: Parity, sums: FloatArray, counts: FloatArray, chosen: NDArray[np.bool_],
    *, rng: np.random.Generator | None, resamples: int,
) -> Errors:  # fmt: skip
    root = np.array([measure.root for measure in _MEASURES])
    scale = np.array([measure.scale for measure in _MEASURES])
    means = metrics.pool(sums[chosen], counts[chosen])
    values = scale * np.where(root, np.sqrt(means), means)
    deviations = np.full(len(scale), np.nan)
    if rng is not None:
        spread = metrics.standard_errors(sums[chosen], counts[chosen], rng=rng, root=root, resamples=resamples)
        deviations = scale * spread
    return Errors(
        frames=int(chosen.sum()), energy_r2=_r2(parity.energy, chosen), force_r2=_r2(parity.forces, chosen),
        force_norm_r2=_r2(force_norms(parity), chosen), standard_error=_by_key(deviations), **_by_key(values),
    )  # fmt: skip


def _by_key(values: FloatArray) -> dict[str, float | None]:
    return {measure.key: _known(value) for measure, value in zip(_MEASURES, values, strict=True)}


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _r2(series: ParitySeries | None, chosen: NDArray[np.bool_]) -> float | None:
    if series is None:
        return None
    inside = chosen[series.frame]
    return _known(metrics.r2(series.reference[inside], series.predicted[inside])) if inside.any() else None


def _row(name: str, errors: Errors) -> dict[str, Any]:
    values = errors.to_dict()
    deviations = values.pop("standard_error")
    return {"group": name} | values | {f"{key}_standard_error": value for key, value in deviations.items()}


_COLUMNS = (
    ("energy RMSE", "meV/atom", "energy_rmse_meV_per_atom"),
    ("force RMSE", "eV/Å", "force_rmse_eV_per_A"),
    ("stress RMSE", "GPa", "stress_rmse_GPa"),
)


def format_table(table: ErrorTable) -> str:
    """Return an aligned text table: a row per group and one for all frames, each RMSE ± its standard error."""
    columns = [column for column in _COLUMNS if getattr(table.overall, column[2]) is not None]
    named = [*table.groups.items(), ("overall", table.overall)]
    rows = [["group", "frames", *(title for title, _, _ in columns)], ["", "", *(unit for _, unit, _ in columns)]]
    rows += [[name, str(e.frames), *(_with_error(e, key) for _, _, key in columns)] for name, e in named]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
             for row in rows]  # fmt: skip
    rule = "-" * len(lines[0])
    return "\n".join([*lines[:2], rule, *lines[2:-1], rule, lines[-1]])


def _with_error(errors: Errors, key: str) -> str:
    """Return value ± standard error, both to the decimals at which the error has two significant digits."""
    value, deviation = getattr(errors, key), errors.standard_error.get(key)
    if value is None:
        return "-"
    if not deviation:
        return f"{value:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(deviation)))
    if decimals > 6:
        return f"{value:.4g} ± {deviation:.1g}"
    return f"{value:.{decimals}f} ± {deviation:.{decimals}f}"
