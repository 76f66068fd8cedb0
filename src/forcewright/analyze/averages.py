"""Averages of a simulation with their errors, and what fluctuations tell: heat capacity and bulk modulus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import units as ase_units

from forcewright.analyze.block_average import Mean, block_mean
from forcewright.analyze.frames import same_atoms
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.structure import FloatArray
from forcewright.trajectory import Frames, Snapshot, read_thermo
from forcewright.units import GPA

Ensemble = Literal["nve", "nvt", "npt"]
Columns = Mapping[str, FloatArray]

_KB = ase_units.kB
_G_PER_CM3 = ase_units._amu * 1e27  # g/cm³ in u/Å³
_AVERAGED = ("potential_eV", "kinetic_eV", "total_eV", "temperature_K", "pressure_GPa", "virial_eV", "volume_A3",
             "density_g_cm3")  # fmt: skip
_CONSTANT = 1e-6  # relative spread below which a volume is one
_TELLING = ("potential_eV", "volume_A3", "temperature_K")  # what tells whether a simulation is in equilibrium
_FEWEST_ROWS = 20  # in which equilibration is told apart
_SIGMAS = 4.0
_FEW = 5  # rows, of which no average is taken
_CONSERVED = 0.1  # of the spread of the potential energy: below, the total energy is conserved


@dataclass(frozen=True, eq=False)
class Thermodynamics(Result):
    """Averages over a simulation in equilibrium.

    ``mean``, ``error`` (standard errors of the means) and ``independent`` (the number of independent samples) are by
    column: potential_eV, kinetic_eV, total_eV, temperature_K, pressure_GPa, virial_eV (Σ r·f), volume_A3 and
    density_g_cm3, as far as they are known. ``columns`` has the series themselves.

    ``heat_capacity_eV_per_K``, of the cell, is at constant volume in NVE and NVT, at constant pressure in NPT;
    ``heat_capacity_kB`` is that per atom in k_B. ``bulk_modulus_GPa`` is the isothermal one, from NPT. What is not
    known is nan.

    ``equilibration`` is the number of rows at the start that were still on their way and have no part in the averages,
    ``equilibration_ps`` how long they last; ``equilibrated`` tells whether the rest has stopped drifting.
    """

    units = {"equilibration": "rows"}

    ensemble: str
    columns: dict[str, FloatArray]
    mean: dict[str, float]
    error: dict[str, float]
    independent: dict[str, float]
    heat_capacity_eV_per_K: float
    heat_capacity_error_eV_per_K: float
    heat_capacity_kB: float
    heat_capacity_error_kB: float
    bulk_modulus_GPa: float
    bulk_modulus_error_GPa: float
    equilibration: int = 0
    equilibration_ps: float = 0.0
    equilibrated: bool = True

    def _draw(self, ax: Axes) -> None:
        name = "potential_eV" if "potential_eV" in self.columns else next(iter(self.mean))
        values = self.columns[name]
        time = self.columns.get("time_ps", np.arange(len(values)))
        ax.plot(time, values, linewidth=0.6)
        if self.equilibration:
            ax.axvspan(time[0], time[self.equilibration], color="0.9", linewidth=0, label="equilibration, left out")
            ax.legend(frameon=False)
        mean, error = self.mean[name], self.error[name]
        ax.axhline(mean, color="black", linewidth=1)
        ax.axhspan(mean - error, mean + error, color="black", alpha=0.2, linewidth=0)
        ax.set(xlabel="time (ps)" if "time_ps" in self.columns else "frame", ylabel=name.replace("_", " (", 1) + ")")


def thermodynamics(
    source: Frames | Columns, *, ensemble: Ensemble | None = None, pressure_GPa: float | None = None,
    atoms: int | None = None, stage: str | None = None, skip_equilibration: bool = True,
) -> Thermodynamics:  # fmt: skip
    """Average a simulation in equilibrium, with errors by blocks, and take second derivatives from fluctuations.

    ========  ==================================================================  =============================
    ensemble  heat capacity                                                       bulk modulus
    ========  ==================================================================  =============================
    nvt       C_V = var(E) / k_B T²
    npt       C_P = var(E + p V) / k_B T²                                         k_B T ⟨V⟩ / var(V)
    nve       C_V from var(K) / ⟨K⟩² = 2/f - k_B / C_V, f = 3N - 3
    ========  ==================================================================  =============================

    (Allen & Tildesley, Computer Simulation of Liquids (1987), Section 2.5; nve: Lebowitz, Percus & Verlet, Phys. Rev.
    153, 250 (1967)). They hold for thermostats and barostats that sample the ensemble, not for Berendsen's. Without
    kinetic energies C_V is taken from the potential energy, plus f k_B / 2. Errors are from `block_mean`, those of
    fluctuations from the blocks of squared deviations.

    Parameters
    ----------
    source
        Frames, a ``thermo.csv``, or its columns.
    ensemble
        If None: npt where the volume changes, nve where the total energy is conserved, nvt otherwise.
    pressure_GPa
        Pressure of the barostat; the mean target pressure, or the mean pressure, if None.
    atoms
        How many there are, where columns do not say; needed for what is per atom.
    skip_equilibration
        Whether a start that drifts is left out: the potential energy (or else the volume or temperature) of those rows
        has another mean than that of the rest, beyond four standard errors, and leaving them out gives the most
        independent samples (Chodera, J. Chem. Theory Comput. 12, 1799 (2016)).
    stage
        Name of the stage of a ``thermo.csv`` to average; if None, the last one that has rows to average.

    Raises
    ------
    InputError
        If a file cannot be read, or there are fewer than two rows or no known column.
    """
    file = source if isinstance(source, str | Path) else None
    if file is not None and Path(file).suffix == ".csv":
        columns = _chosen(read_thermo(file), stage)
    elif isinstance(source, Mapping):
        columns = _chosen(source, stage)
    else:
        columns, atoms = _columns_of(source)
    numbers = {name: np.asarray(values, dtype=float) for name, values in columns.items() if name != "stage"}
    whole = {name: values for name, values in numbers.items() if np.isfinite(values).all()}
    telling = next((whole[name] for name in _TELLING if name in whole), np.zeros(0))
    start = _equilibration(telling) if skip_equilibration else 0
    known = {name: values[start:] for name, values in whole.items()}
    means = {name: block_mean(known[name]) for name in _AVERAGED if name in known and len(known[name]) > 1}
    if not means:
        raise InputError("holds fewer than two rows of energies, temperatures, pressures or volumes", file=file)
    ensemble = ensemble or _find_ensemble(known)
    heat, heat_error = _heat_capacity(known, means, ensemble, pressure_GPa, atoms)
    modulus, modulus_error = _bulk_modulus(known, means) if ensemble == "npt" else (np.nan, np.nan)
    per_atom = 1 / (atoms * _KB) if atoms else np.nan
    return Thermodynamics(
        ensemble=ensemble, columns=whole, mean={name: mean.value for name, mean in means.items()},
        error={name: mean.error for name, mean in means.items()},
        independent={name: mean.independent for name, mean in means.items()},
        heat_capacity_eV_per_K=heat, heat_capacity_error_eV_per_K=heat_error,
        heat_capacity_kB=heat * per_atom, heat_capacity_error_kB=heat_error * per_atom,
        bulk_modulus_GPa=modulus, bulk_modulus_error_GPa=modulus_error, equilibration=start,
        equilibration_ps=float(whole["time_ps"][start] - whole["time_ps"][0]) if "time_ps" in whole else np.nan,
        equilibrated=not _drifts(telling[start:], len(telling[start:]) // 2),
    )  # fmt: skip


def _equilibration(values: FloatArray) -> int:
    """Return how many values at the start are on their way to equilibrium."""
    if len(values) < _FEWEST_ROWS:
        return 0
    starts = [0, *np.unique(np.linspace(0.02, 0.5, 25) * len(values)).astype(int).tolist()]
    best = max(starts, key=lambda start: block_mean(values[start:]).independent)
    settled = not _drifts(values[best:], (len(values) - best) // 2)  # what goes on drifting has no equilibration
    return best if settled and _drifts(values, best) else 0


def _drifts(values: FloatArray, start: int) -> bool:
    """Return whether the mean of the first values, ``start`` of them, is not that of the others."""
    if start < 2 or len(values) - start < _FEW:
        return False
    rest = block_mean(values[start:])
    scatter = max(
        rest.error, float(values[start:].std()) / np.sqrt(len(values) - start)
    )  # blocks even out oscillations
    error = scatter * np.sqrt(1 + (len(values) - start) / start)  # of the difference, if both parts are alike
    return abs(float(values[:start].mean()) - rest.value) > float(_SIGMAS * error) + _CONSTANT * abs(rest.value)


def _chosen(columns: Columns, stage: str | None) -> Columns:
    """Return the rows of one stage: the last one that has some to average, where none is named."""
    stages = columns.get("stage")
    if stages is None or not len(stages):
        return columns
    named = np.asarray(stages).astype(str)
    names = list(dict.fromkeys(named.tolist()))
    if stage is not None and stage not in names:
        raise InputError(f"is {stage!r}; there are {', '.join(names)}", field="stage")
    long = [name for name in names if np.sum(named == name) >= _FEW]
    wanted = stage or (long or names)[-1]
    return {name: np.asarray(values)[named == wanted] for name, values in columns.items()}


def _total_energy(snapshot: Snapshot) -> float | None:
    kinetic = snapshot.kinetic_energy
    return None if snapshot.energy is None or kinetic is None else snapshot.energy + kinetic


def _virial(snapshot: Snapshot) -> float | None:
    return None if snapshot.stress is None else float(-np.trace(snapshot.stress) * snapshot.structure.volume)


def _density(snapshot: Snapshot) -> float | None:
    volume = snapshot.structure.volume
    return float(snapshot.masses.sum() * _G_PER_CM3 / volume) if volume else None


_OF_SNAPSHOT: dict[str, Callable[[Snapshot], Any]] = {
    "time_ps": lambda snapshot: None if snapshot.time is None else snapshot.time / 1000,
    "potential_eV": lambda snapshot: snapshot.energy,
    "kinetic_eV": lambda snapshot: snapshot.kinetic_energy,
    "total_eV": _total_energy,
    "temperature_K": lambda snapshot: snapshot.temperature,
    "pressure_GPa": lambda snapshot: None if snapshot.pressure is None else snapshot.pressure / GPA,
    "virial_eV": _virial,
    "volume_A3": lambda snapshot: snapshot.structure.volume or None,
    "density_g_cm3": _density,
}


def _columns_of(frames: Frames) -> tuple[dict[str, FloatArray], int]:
    rows, atoms = [], 0
    for snapshot in same_atoms(frames):
        atoms = len(snapshot)
        values = (quantity(snapshot) for quantity in _OF_SNAPSHOT.values())
        rows.append([np.nan if value is None else float(value) for value in values])
    table = np.array(rows).T
    return {name: column for name, column in zip(_OF_SNAPSHOT, table, strict=True) if np.isfinite(column).all()}, atoms


def _find_ensemble(columns: Columns) -> Ensemble:
    volume = columns.get("volume_A3")
    if volume is not None and np.ptp(volume) > _CONSTANT * abs(volume.mean()):
        return "npt"
    if {"total_eV", "potential_eV"} <= set(columns):
        return "nve" if columns["total_eV"].std() < _CONSERVED * columns["potential_eV"].std() else "nvt"
    return "nvt"


def _heat_capacity(
    columns: Columns, means: Mapping[str, Mean], ensemble: Ensemble, pressure_GPa: float | None, atoms: int | None
) -> tuple[float, float]:
    """Return the heat capacity of the cell in eV/K and its standard error, nan where too little is known."""
    if "temperature_K" not in means:
        return np.nan, np.nan
    kelvin = means["temperature_K"].value
    freedom = 3 * atoms - 3 if atoms and atoms > 1 else np.nan
    if ensemble == "nve":
        # f k_B / 2 C = 1 - (f / 2) var(T) / T²
        spread = _variance(columns["temperature_K"])
        rest = 1 - freedom / 2 * spread.value / kelvin**2
        heat = freedom * _KB / 2 / rest
        return heat, abs(heat / rest) * freedom / 2 * spread.error / kelvin**2
    if "total_eV" in columns:
        energy, ideal = columns["total_eV"], 0.0
    elif "potential_eV" in columns:
        energy, ideal = columns["potential_eV"], freedom * _KB / 2
    else:
        return np.nan, np.nan
    if ensemble == "npt":
        if pressure_GPa is None:
            known = [name for name in ("target_pressure_GPa", "pressure_GPa") if name in columns]
            pressure_GPa = float(columns[known[0]].mean()) if known else 0.0
        energy = energy + pressure_GPa * GPA * columns["volume_A3"]
    spread = _variance(energy)
    return spread.value / (_KB * kelvin**2) + ideal, spread.error / (_KB * kelvin**2)


def _bulk_modulus(columns: Columns, means: Mapping[str, Mean]) -> tuple[float, float]:
    if "temperature_K" not in means or "volume_A3" not in means:
        return np.nan, np.nan
    spread = _variance(columns["volume_A3"])
    if not spread.value > 0:
        return np.nan, np.nan
    modulus = _KB * means["temperature_K"].value * means["volume_A3"].value / spread.value / GPA
    return modulus, modulus * spread.error / spread.value


def _variance(values: FloatArray) -> Mean:
    return block_mean((values - values.mean()) ** 2)
