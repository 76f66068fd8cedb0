"""Silicon with hot electrons, from data at 0 K: free energy, equation of state, heat capacity.

    forcewright tune examples/silicon-dos/dos.yaml       # fits the model of densities of states
    python examples/hot-electrons/study.py [--dos runs/silicon-dos/model] [--output runs/hot-electrons]

The ground potential is Stillinger-Weber, through LAMMPS; any potential will do, as the electrons come from the
densities of states alone. Saves the two together as a potential for `forcewright simulate` (dynamics.yaml), and draws
the free energy of diamond and of a disordered structure, their heat capacities, and the equation of state of diamond.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.units import kB
from matplotlib.figure import Figure

from forcewright.analyze.heat_capacity import heat_capacity_by_difference
from forcewright.models.pair_style import pair_style_potential
from forcewright.properties.dos_model import DosModel
from forcewright.properties.hot_electrons import HotElectronPotential
from forcewright.structure import Structure
from forcewright.trajectory import snapshots
from forcewright.units import GPA

ROOT = Path(__file__).parents[2]
TEMPERATURES = np.array([300.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0])
COLORS = ("#8a9099", "#332288", "#CC6677")


def structures() -> dict[str, Structure]:
    """Return diamond and a disordered, denser structure, which conducts."""
    crystal = bulk("Si", cubic=True)
    disordered = bulk("Si", cubic=True).repeat((2, 2, 1))
    disordered.set_cell(disordered.cell * 0.96, scale_atoms=True)
    disordered.positions += np.random.default_rng(4).normal(scale=0.35, size=disordered.positions.shape)
    return {"diamond": Structure.from_ase(crystal), "disordered, 13 % denser": Structure.from_ase(disordered)}


def equation_of_state(hot: HotElectronPotential, temperature: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return volumes (Å³/atom), free energies (eV/atom) and pressures (GPa) of diamond at an electronic temperature."""
    volumes, energies, pressures = [], [], []
    for factor in np.linspace(0.97, 1.03, 13):
        atoms = bulk("Si", cubic=True)
        atoms.set_cell(atoms.cell * factor, scale_atoms=True)
        (predicted,) = hot.at(temperature).predict([Structure.from_ase(atoms)])
        assert predicted.stress is not None
        volumes.append(atoms.get_volume() / len(atoms))
        energies.append(predicted.energy / len(atoms))
        pressures.append(-np.trace(predicted.stress) / 3.0 / GPA)
    return np.array(volumes), np.array(energies), np.array(pressures)


def heat_capacity(hot: HotElectronPotential, folder: Path) -> None:
    """Print C_v of the simulations of dynamics.yaml at two temperatures, in which atoms are as hot as electrons."""
    energies = []
    for temperature in (1000.0, 1200.0):
        potential = hot.at(temperature)
        shots = list(snapshots(folder / f"{temperature:.0f}" / "trajectory.extxyz"))[20:]
        kinetic = np.array([shot.kinetic_energy for shot in shots])
        energies.append(potential.internal_energies([shot.structure for shot in shots]) + kinetic)
    count = len(shots[0].structure)
    difference = heat_capacity_by_difference(*energies, 200.0)
    print(f"C_v of {count} atoms from 1,000 and 1,200 K: {difference.value / count / kB:.2f} ± "
          f"{difference.standard_error / count / kB:.2f} k_B per atom (3 is Dulong and Petit)")  # fmt: skip


def main() -> None:
    """Compute, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dos", type=Path, default=ROOT / "runs" / "silicon-dos" / "model")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "hot-electrons")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    hot = HotElectronPotential(pair_style_potential("sw", "* * Si.sw Si", Path()), DosModel.load(arguments.dos), 5000.0)
    print("Saved", hot.save(arguments.output / "potential"))
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for (name, structure), color in zip(structures().items(), COLORS[1:], strict=True):
        count = len(structure)
        states = [hot.dos.electronic_state(structure, temperature) for temperature in TEMPERATURES]
        left.plot(TEMPERATURES, [1000 * s.free_energy_change / count for s in states], "o-", color=color, label=name)
        middle.plot(TEMPERATURES, [s.heat_capacity / count / kB for s in states], "o-", color=color)
        print(f"{name}: D(E_F) {states[0].at_fermi / count:.3f} per eV and atom")
        for temperature, state in zip(TEMPERATURES, states, strict=True):
            error = hot.dos.derived_errors(structure, state)["free_energy_change"]
            change = 1000 * state.free_energy_change / count
            print(f"  {temperature:6.0f} K: A - E(0) {change:8.2f} ± {1000 * error:.2f} meV/atom, "
                  f"C {state.heat_capacity / count / kB:.4f} k_B/atom, "
                  f"mu - E_F {state.mu - state.fermi:+.3f} eV")  # fmt: skip
    for temperature, color in zip((0.0, 3000.0, 6000.0), COLORS, strict=True):
        volumes, energies, pressures = equation_of_state(hot, temperature)
        right.plot(volumes, pressures, color=color, label=f"{temperature:,.0f} K")
        least = int(np.argmin(energies))
        print(f"diamond at {temperature:.0f} K (electrons): free energy smallest at {volumes[least]:.2f} Å³/atom, "
              f"pressure at {volumes[6]:.2f} Å³/atom {pressures[6]:+.2f} GPa")  # fmt: skip
    left.set(xlabel="electronic temperature (K)", ylabel="A(T) - E(0) (meV/atom)")
    middle.set(xlabel="electronic temperature (K)", ylabel="electronic heat capacity (k_B/atom)")
    right.set(xlabel="volume (Å³/atom)", ylabel="pressure (GPa)")
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8)
    figure.savefig(arguments.output / "hot-electrons.png", dpi=150)
    if (arguments.output / "1200" / "trajectory.extxyz").is_file():
        heat_capacity(hot, arguments.output)


if __name__ == "__main__":
    main()
