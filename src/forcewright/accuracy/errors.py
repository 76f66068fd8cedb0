"""Errors of predictions in one table, overall and per group, each with its standard error.

Errors of energies are given per atom, of whole cells and per √atom (du Toit 2025, eq. 3.3); of forces per component,
per vector (du Toit 2025, eq. 3.4) and of the norm over a structure (`forcewright.metrics.force_norm`); of stresses over
the six Voigt components. A bias is the mean of errors with their sign: what is left of them in a simulation, where the
others average out. Pressures are those of the stress, without the kinetic part. Every RMSE, MAE and bias comes from
sums per frame (see `forcewright.metrics`), as does its standard error, a bootstrap over frames.
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


class Measure(NamedTuple):
    """How one kind of error is computed; ``key`` is its name in `Errors`."""

    key: str
    quantity: str  # field of Parity, force_norm or pressure
    root: bool  # RMSE, else MAE, or the bias
    scale: float = 1.0
    power_of_atoms: float = 0.0  # the error per atom is multiplied by N to this power
    entries: int = 1  # how many entries make one error: 3 where a force vector counts once
    signed: bool = False  # the bias


MEASURES = (
    Measure("energy_rmse_meV_per_atom", "energy", True, 1e3),
    Measure("energy_mae_meV_per_atom", "energy", False, 1e3),
    Measure("energy_total_rmse_eV", "energy", True, 1.0, 1.0),
    Measure("energy_total_mae_eV", "energy", False, 1.0, 1.0),
    Measure("energy_rmse_per_sqrt_atom_eV", "energy", True, 1.0, 0.5),
    Measure("force_rmse_eV_per_A", "forces", True),
    Measure("force_mae_eV_per_A", "forces", False),
    Measure("force_vector_rmse_eV_per_A", "forces", True, entries=3),
    Measure("force_norm_rmse_eV_per_A", "force_norm", True),
    Measure("force_norm_mae_eV_per_A", "force_norm", False),
    Measure("stress_rmse_GPa", "stress", True),
    Measure("stress_mae_GPa", "stress", False),
    Measure("energy_bias_meV_per_atom", "energy", False, 1e3, signed=True),
    Measure("pressure_rmse_GPa", "pressure", True),
    Measure("pressure_bias_GPa", "pressure", False, signed=True),
)
_MOST_DENSITIES = 10  # that are told one by one; of more, as many ranges as there are below
_RANGES = 5
_SAME_DENSITY = 1e-3  # relative difference of volumes per atom that are the same


@dataclass(frozen=True)
class Errors:
    """Errors over some frames; None where no frame has the label.

    ``standard_error`` has the keys of RMSE, MAE and bias. A bias above 0 is a prediction that is too high on average.
    """

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
    energy_bias_meV_per_atom: float | None = None
    pressure_rmse_GPa: float | None = None
    pressure_bias_GPa: float | None = None
    standard_error: Mapping[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return {**vars(self), "standard_error": dict(self.standard_error)}


@dataclass(frozen=True, eq=False, repr=False)
class ErrorTable(Tabular):
    """Errors over all frames, per group and per density, and the values behind them.

    ``densities`` holds pairs of the range of volumes per atom in Å³ and the errors there, from dense to dilute; it is
    empty where all frames have one density, or where they have no volume.
    """

    overall: Errors
    groups: Mapping[str, Errors]
    parity: Parity
    densities: tuple[tuple[tuple[float, float], Errors], ...] = ()

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
        """Return plain data, ready for JSON: the keys of `Errors`, ``groups``, ``elements`` and ``densities``."""
        groups = {name: errors.to_dict() for name, errors in self.groups.items()}
        densities = [{"volume_per_atom_A3": list(ends), **errors.to_dict()} for ends, errors in self.densities]
        return self.overall.to_dict() | {"groups": groups, "elements": self.elements, "densities": densities}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], parity: Parity) -> ErrorTable:
        """Return the table of which `to_dict` gave the content."""
        overall = {key: value for key, value in content.items() if key not in ("groups", "elements", "densities")}
        densities = []
        for row in content.get("densities", ()):
            low, high = row["volume_per_atom_A3"]
            errors = Errors(**{key: value for key, value in row.items() if key != "volume_per_atom_A3"})
            densities.append(((float(low), float(high)), errors))
        groups = {name: Errors(**errors) for name, errors in content["groups"].items()}
        return cls(Errors(**overall), groups, parity, tuple(densities))

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
    sums, counts = sum_per_frame(parity)
    group = np.array(dataset.groups)

    def errors(chosen: NDArray[np.bool_]) -> Errors:
        return _errors(parity, sums, counts, chosen, rng=rng, resamples=resamples)

    groups = {name: errors(group == name) for name in dataset.group_sizes}
    overall = errors(np.ones(len(dataset), dtype=bool))
    densities = tuple((ends, errors(chosen)) for ends, chosen in _densities(parity))
    return ErrorTable(overall, groups, parity, densities)


def _densities(parity: Parity) -> list[tuple[tuple[float, float], NDArray[np.bool_]]]:
    """Return the volumes per atom between which frames lie, and which these are: densities, or ranges of many."""
    volumes = parity.volumes
    if volumes is None or not np.isfinite(volumes).any():
        return []
    known = np.sort(volumes[np.isfinite(volumes)])
    starts = np.flatnonzero(np.diff(known, prepend=0.0) > _SAME_DENSITY * known)
    if len(starts) > _MOST_DENSITIES:
        starts = np.unique(np.linspace(0, len(known), _RANGES, endpoint=False).astype(int))
    if len(starts) < 2:
        return []
    ends = [(float(part[0]), float(part[-1])) for part in np.split(known, starts[1:])]
    lower = [*(low for low, _ in ends), np.inf]
    masks = [(volumes >= low) & (volumes < lower[index + 1]) for index, (low, _) in enumerate(ends)]
    return [(pair, mask) for pair, mask in zip(ends, masks, strict=True) if mask.any()]


def pressures(parity: Parity) -> ParitySeries | None:
    """Return the pressure of each structure that has a stress, in GPa, without its kinetic part; None without any."""
    series = parity.stress
    if series is None:
        return None
    reference, predicted = (
        -values.reshape(-1, 6)[:, :3].mean(axis=1) for values in (series.reference, series.predicted)
    )
    return ParitySeries(reference, predicted, series.frame[::6], series.group[::6], series.names)


def _series_of(parity: Parity, quantity: str) -> ParitySeries | None:
    if quantity in ("force_norm", "pressure"):
        return force_norms(parity) if quantity == "force_norm" else pressures(parity)
    series: ParitySeries | None = getattr(parity, quantity)
    return series


def sum_per_frame(parity: Parity) -> tuple[FloatArray, FloatArray]:
    """Return sums of errors and how many were summed, both (frames, measures): a column for each of `MEASURES`."""
    sums = np.zeros((len(parity.atoms), len(MEASURES)))
    counts = np.zeros_like(sums)
    for column, measure in enumerate(MEASURES):
        series = _series_of(parity, measure.quantity)
        if series is None:
            continue
        errors = (series.predicted - series.reference) * parity.atoms[series.frame] ** measure.power_of_atoms
        if not measure.signed:
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
    root = np.array([measure.root for measure in MEASURES])
    scale = np.array([measure.scale for measure in MEASURES])
    means = metrics.pool(sums[chosen], counts[chosen])
    values = scale * np.where(root, np.sqrt(np.abs(means)), means)  # of signed means no root is taken
    deviations = np.full(len(scale), np.nan)
    if rng is not None:
        spread = metrics.standard_errors(sums[chosen], counts[chosen], rng=rng, root=root, resamples=resamples)
        deviations = scale * spread
    return Errors(
        frames=int(chosen.sum()), energy_r2=_r2(parity.energy, chosen), force_r2=_r2(parity.forces, chosen),
        force_norm_r2=_r2(force_norms(parity), chosen), standard_error=_by_key(deviations), **_by_key(values),
    )  # fmt: skip


def _by_key(values: FloatArray) -> dict[str, float | None]:
    return {measure.key: _known(value) for measure, value in zip(MEASURES, values, strict=True)}


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
_PRESSURES = (("pressure bias", "GPa", "pressure_bias_GPa"), ("pressure RMSE", "GPa", "pressure_rmse_GPa"))


def format_table(table: ErrorTable) -> str:
    """Return an aligned text table: a row per group and one for all frames, each RMSE ± its standard error.

    A second one tells the bias of the pressure, where there are stresses: by group and by density.
    """
    groups = list(table.groups.items())
    text = _aligned(groups, table.overall, _COLUMNS)
    if table.overall.pressure_bias_GPa is None:
        return text
    densities = [(density_name(ends), errors) for ends, errors in table.densities]
    return f"{text}\n\n{_aligned([*groups, *densities], table.overall, _PRESSURES)}"


def _aligned(parts: Sequence[tuple[str, Errors]], overall: Errors, among: Sequence[tuple[str, str, str]]) -> str:
    """Return a table of some columns: a row for each part, and one for all frames."""
    columns = [column for column in among if getattr(overall, column[2]) is not None]
    named = [*parts, ("overall", overall)]
    rows = [["group", "frames", *(title for title, _, _ in columns)], ["", "", *(unit for _, unit, _ in columns)]]
    rows += [[name, str(e.frames), *(_with_error(e, key) for _, _, key in columns)] for name, e in named]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
             for row in rows]  # fmt: skip
    rule = "-" * len(lines[0])
    return "\n".join([*lines[:2], rule, *lines[2:-1], rule, lines[-1]])


def density_name(ends: tuple[float, float]) -> str:
    """Return what a density, or a range of them, is called: by its volume per atom."""
    low, high = ends
    digits = f"{low:.4g}" if high - low <= _SAME_DENSITY * high else f"{low:.4g} to {high:.4g}"
    return f"{digits} Å³/atom"


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
