"""Densities of states of silicon and hot electrons, on structures held back: five folds by structure.

    python benchmarks/electronic_dos.py [--data ../shared/data/dos] [--quick]

The ridge, and with energies from a filling the kernel (linear or Gaussian, its width), are chosen for each fold by
folds of its training data alone. Errors are %RMSE = 100 √⟨∫(D - D̂)²⟩/√⟨∫(D - D̄)²⟩ with D̄ the mean of the training
data, with energies as the model counts them and as the labels do.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from forcewright.data import Target, read_property
from forcewright.properties.density_of_states import Components
from forcewright.properties.dos_model import DosData, DosSettings, cross_validate_dos, fit_dos
from forcewright.properties.electrons import electronic_state, exact_electronic_state
from forcewright.structure import Structure

SEED, FOLDS = 0, 5
TEMPERATURES = (1000.0, 3000.0, 5000.0)


def silicon(folder: Path, smearing: float | None) -> DosData:
    """Return the DeepDOS silicon structures; one label, all of whose numbers are 0, is left out."""
    target = Target(
        name="dos", key="dos_per_atom", grid={"low": -15.0, "high": 9.9, "step": 0.1, "zero": "fermi"}, reduce="mean",
        file=folder / "si_deepdos.npz", **({} if smearing is None else {"smearing_eV": smearing}),
    )  # fmt: skip
    properties = read_property(folder / "si_deepdos.extxyz", target, strict=False)
    held = [index for index, values in enumerate(properties.values) if np.any(values)]
    return DosData.of_properties(properties[held])


def candidates() -> list[DosSettings]:
    """Return the settings that folds choose from."""
    environments = ({"kernel": "linear"}, {"length": 0.7}, {"length": 1.0}, {"length": 1.5})
    return [DosSettings(environment=environment, reference="filling") for environment in environments]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "dos")
    parser.add_argument("--quick", action="store_true", help="energies from a filling, by the default settings alone")
    arguments = parser.parse_args()
    print(f"{'density':8} {'energies from':14} {'target':11} {'%RMSE':>6} {'occupied':>9} {'in labels':>10} "
          f"{'moved eV':>9} {'E_F eV':>7} {'E_band eV':>9} {'s CPU':>6}")  # fmt: skip
    for name, smearing in (("smeared", 0.3), ("raw", None)):
        data = silicon(arguments.data, smearing)
        folds = np.random.default_rng(SEED).permutation(np.arange(len(data)) % FOLDS)
        rows = [("filling", "values")]
        if not arguments.quick:
            rows += [("labels", "values")]
            rows += [("fermi", "values"), ("fitted", "values"), ("filling", "components")] if smearing else []
            rows += [("filling", "cumulative")] if smearing else []
        for reference, target in rows:
            start = time.process_time()
            choices = [DosSettings(reference=reference, target=target)]
            if (reference, target) == ("filling", "values") and not arguments.quick:
                choices = candidates()
            result = cross_validate_dos(data, choices, folds, rng=np.random.default_rng(SEED))
            errors, derived = result.errors, result.derived_errors()
            print(f"{name:8} {reference:14} {target:11} {errors.percent:6.1f} {errors.percent_occupied:9.1f} "
                  f"{result.label_errors.percent:10.1f} {errors.wasserstein:9.3f} {derived['fermi_eV']:7.3f} "
                  f"{derived['band_energy_eV']:9.3f} {time.process_time() - start:6.0f}", flush=True)  # fmt: skip
            if (reference, target) == ("filling", "values"):
                print("         chosen:", ", ".join(
                    f"{s.environment.kernel} {s.environment.length:g} (ridge {s.ridge:.0e})" for s in result.settings
                ))  # fmt: skip
                for temperature in TEMPERATURES:
                    rms, worst = result.free_energy_errors(temperature)
                    print(f"         A({temperature:.0f} K) - E(0): {1000 * rms:.2f} meV/atom RMS, "
                          f"{1000 * worst:.2f} at most, against the labeled density")  # fmt: skip
        if smearing and not arguments.quick:
            parts = Components.of(data.densities, 10)
            truncation = parts.truncation(data.grid, data.densities, data.densities.mean(axis=0))
            print(f"         ten components alone: {truncation.percent:.1f} %RMSE are cut off")
            _time(data)
    if not arguments.quick:
        approximations(arguments.data)


def approximations(folder: Path) -> None:
    """Print what smearing does to the free energy of electrons: 54 densities against their eigenvalues."""
    for smearing in (0.05, 0.3):
        target = Target(
            name="dos", grid={"low": -20.0, "high": 22.0, "step": 0.05}, smearing_eV=smearing,
            file=folder / "si_vasp_eigenvalues.npz",
            eigenvalues={"values": "eig_{frame}", "weights": "w_{frame}", "fermi": "fermi_energy_eV",
                         "electrons": "electrons"},
        )  # fmt: skip
        properties = read_property(folder / "si_vasp.extxyz", target, strict=False)
        data = DosData.of_properties(properties)
        for temperature in TEMPERATURES:
            wrong = []
            for structure, density, known in zip(data.structures, data.densities, properties.eigenvalues, strict=True):
                assert known is not None
                assert known.electrons is not None
                exact = exact_electronic_state(*known.states, known.electrons, temperature)[3] / len(structure)
                state = electronic_state(data.grid, density, known.electrons / len(structure), temperature)
                wrong.append(1000 * (state.free_energy_change - exact))
            size = np.abs(wrong)
            print(f"si_vasp smeared by {smearing} eV: A({temperature:.0f} K) - E(0) {np.median(size):.2f} meV/atom "
                  f"in the median, {size.max():.1f} at most, from that of the eigenvalues")  # fmt: skip


def _time(data: DosData) -> None:
    model = fit_dos(data, DosSettings(reference="filling"), rng=np.random.default_rng(SEED))
    atoms = data.structures[0].to_ase().repeat((5, 5, 5))
    atoms.positions += np.random.default_rng(1).normal(scale=0.1, size=atoms.positions.shape)
    structure = Structure.from_ase(atoms)
    model.density(structure)
    start = time.process_time()
    model.density(structure)
    seconds = time.process_time() - start
    each = 1e3 * seconds / len(structure)
    print(f"         density of states of {len(structure)} atoms: {seconds:.2f} s of CPU, {each:.2f} ms/atom")


if __name__ == "__main__":
    main()
