"""Molecular dynamics of bcc Mo with a saved potential: NPT at 300 K, then at 3,500 K from the crystal and from a melt.

Nothing may be lost: no atom closer to another than 1 Å, no position that is not finite, no cell beyond 1.5 times its
volume. The largest extrapolation grade of any atom is reported where the potential knows it.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.build
import numpy as np
from ase import Atoms, units
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from rich.console import Console
from rich.table import Table

import forcewright as fw
from forcewright.neighbors import find_neighbors
from forcewright.potential import Graded, Potential
from forcewright.structure import Structure

CLOSEST = 1.0  # Å
LOOK = 100  # steps between looks
GPA = units.GPa


@dataclass
class Record:
    """What was seen along a run."""

    name: str
    reference_volume: float
    temperatures: list[float] = field(default_factory=list)
    pressures: list[float] = field(default_factory=list)
    volumes: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    grades: list[float] = field(default_factory=list)
    lost: str = ""
    steps: int = 0
    seconds: float = 0.0

    def look(self, atoms: Atoms, potential: Potential) -> bool:
        """Take note of the state; whether everything is still there."""
        structure = Structure.from_ase(atoms)
        if not np.isfinite(atoms.positions).all():
            self.lost = "positions are not finite"
            return False
        self.temperatures.append(float(atoms.get_temperature()))
        self.pressures.append(float(-atoms.get_stress(include_ideal_gas=True)[:3].mean() / GPA))
        self.volumes.append(float(atoms.get_volume() / len(atoms)))
        self.distances.append(float(find_neighbors(structure, 4.0).distances.min(initial=4.0)))
        if isinstance(potential, Graded):
            self.grades.append(float(potential.extrapolation_grades(structure).max()))
        if self.distances[-1] < CLOSEST:
            self.lost = f"two atoms {self.distances[-1]:.2f} Å apart"
        if not 1 / 1.5 < self.volumes[-1] / self.reference_volume < 1.5:
            self.lost = f"{self.volumes[-1]:.1f} Å³ per atom"
        return not self.lost


def run(atoms: Atoms, potential: Potential, name: str, kelvin: float, ps: float, fs: float, console: Console) -> Record:
    """Run NPT at zero pressure and return what was seen."""
    record = Record(name, float(atoms.get_volume() / len(atoms)))
    dynamics = IsotropicMTKNPT(
        atoms, fs * units.fs, temperature_K=kelvin, pressure_au=0.0, tdamp=100 * units.fs, pdamp=1000 * units.fs
    )
    wanted = round(1000 * ps / fs)
    while record.steps < wanted and not record.lost:
        start = time.perf_counter()
        dynamics.run(min(LOOK, wanted - record.steps))
        record.seconds += time.perf_counter() - start
        record.steps += min(LOOK, wanted - record.steps)
        if not record.look(atoms, potential):
            console.print(f"{name}: lost after {record.steps * fs / 1000:.2f} ps: {record.lost}")
        elif record.steps % (50 * LOOK) == 0:
            progress = f"{record.steps * fs / 1000:.0f} of {ps:g} ps, {record.temperatures[-1]:.0f} K"
            console.print(f"{name}: {progress}, {record.volumes[-1]:.2f} Å³/atom", highlight=False)
    return record


def drift(atoms: Atoms, fs: float, ps: float) -> float:
    """Return the change of the total energy in meV/atom per ps along an NVE run, by a straight line."""
    dynamics, energies, times = VelocityVerlet(atoms, fs * units.fs), [], []
    for step in range(round(1000 * ps / fs) // 10):
        dynamics.run(10)
        times.append(10 * (step + 1) * fs / 1000)
        energies.append(1000 * atoms.get_total_energy() / len(atoms))
    return float(np.polyfit(times, energies, 1)[0])


def start(calculator: Any, kelvin: float, seed: int) -> Atoms:
    """Return 250 atoms of bcc Mo with velocities."""
    atoms = ase.build.bulk("Mo", "bcc", a=3.17, cubic=True) * (5, 5, 5)
    atoms.calc = calculator
    thermalize_momenta(atoms, temperature_K=kelvin, rng=np.random.default_rng(seed))
    Stationary(atoms)
    return atoms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("potential", type=Path, help="folder of a saved potential, or a .yace file")
    parser.add_argument("--cold-ps", type=float, default=100.0)
    parser.add_argument("--hot-ps", type=float, default=20.0)
    arguments = parser.parse_args()
    console = Console(width=110)
    potential = fw.load(arguments.potential)
    calculator = potential.calculator()

    atoms = start(calculator, 300.0, 0)
    conserved = drift(atoms, 2.0, min(2.0, arguments.cold_ps))
    records = [run(atoms, potential, "bcc, 300 K", 300.0, arguments.cold_ps, 2.0, console)]
    atoms = start(calculator, 3500.0, 1)
    records.append(run(atoms, potential, "from bcc, 3,500 K", 3500.0, arguments.hot_ps, 1.0, console))
    atoms = start(calculator, 12000.0, 2)
    records.append(run(atoms, potential, "melting, 6,000 K", 6000.0, arguments.hot_ps / 4, 1.0, console))
    records.append(run(atoms, potential, "melted, 3,500 K", 3500.0, arguments.hot_ps, 1.0, console))

    table = Table(title=f"250 atoms; NVE drift {conserved:+.4f} meV/atom/ps at 2 fs")
    for heading in ("run", "ps", "µs/atom/step", "T (K)", "p (GPa)", "Å³/atom", "closest (Å)", "largest γ", "lost"):
        table.add_column(heading, justify="right")
    fs = {"bcc, 300 K": 2.0}
    for record in records:
        half = len(record.temperatures) // 2
        table.add_row(
            record.name, f"{record.steps * fs.get(record.name, 1.0) / 1000:g}",
            f"{1e6 * record.seconds / record.steps / len(atoms):.1f}",
            *(f"{np.mean(values[half:]):.{digits}f}" for values, digits in (
                (record.temperatures, 0), (record.pressures, 2), (record.volumes, 2))),
            f"{min(record.distances):.2f}", f"{max(record.grades):.2f}" if record.grades else "unknown",
            record.lost or "nothing",
        )  # fmt: skip
    console.print(table)
    if any(record.lost or not np.isfinite(record.grades).all() for record in records):
        sys.exit(1)


if __name__ == "__main__":
    main()
