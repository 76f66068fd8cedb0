"""Densities of states of silicon and hot electrons, on structures held back: five folds by structure.

    python benchmarks/electronic_dos.py [--data ../shared/data/dos] [--output runs/electronic-dos] [--quick]

The figures that count are those of `forcewright tune`: part of the electrons that energies count from, cutoff, width of
the kernel and scaling of the functions are searched with trials that know nothing of errors; for each fold the trial,
and its ridge, are chosen by the other folds alone. Further rows have default settings, which were once picked with all
structures in view. Errors are %RMSE = 100 √⟨∫(D - D̂)²⟩/√⟨∫(D - D̄)²⟩ with D̄ the mean of the training data, with
energies as the model counts them and as the labels do.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from ase.build import bulk
from threadpoolctl import threadpool_limits

import forcewright as fw
from forcewright.data import Target, read_property
from forcewright.models.ace import AcePotential
from forcewright.properties.density_of_states import Components
from forcewright.properties.dos_model import DosData, DosSettings, cross_validate_dos, fit_dos
from forcewright.properties.electrons import electronic_state, exact_electronic_state
from forcewright.properties.environments import EnvironmentSettings
from forcewright.structure import Structure

SEED, FOLDS, FRAMES = 0, 5, 20
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


def study(folder: Path, smearing: float | None, output: Path) -> None:
    """Print the errors of a study by `forcewright tune`; one that has finished is read back."""
    target = {
        "name": "dos", "key": "dos_per_atom", "grid": {"low": -15.0, "high": 9.9, "step": 0.1, "zero": "fermi"},
        "reduce": "mean", "file": str(folder / "si_deepdos.npz"), **({"smearing_eV": smearing} if smearing else {}),
    }  # fmt: skip
    environment = {"cutoff": {"low": 5, "high": 7}, "length": {"low": 0.5, "high": 1.6, "log": True},
                   "scaling": {"low": 0.3, "high": 1.0}}  # fmt: skip
    result = fw.tune_property({
        "target": target, "data": {"train": str(folder / "si_deepdos.extxyz"), "skip_broken": True},
        "model": {"reference": "filling", "filling": {"low": 0.3, "high": 0.9}, "environment": environment},
        "study": {"trials": 16, "sampler": "hammersley"}, "folds": FOLDS, "seed": SEED, "output": str(output),
    })  # fmt: skip
    print(result.text())
    trials = {choice["trial"] for choice in result.summary["choices"]}
    print(f"         trials that the folds chose: {sorted(trials)}, the model: {result.summary['best_trial']}; "
          f"{result.summary['cpu_s']:.0f} s of CPU")  # fmt: skip
    held, electrons = np.load(output / "held_back.npz"), result.summary["electrons"]["Si"]
    for temperature in TEMPERATURES:
        wrong = [
            np.subtract(*(electronic_state(result.model.grid, row, electrons, temperature).free_energy_change
                          for row in pair)) for pair in zip(held["predicted"], held["reference"], strict=True)
        ]  # fmt: skip
        print(f"         A({temperature:.0f} K) - E(0): {1000 * np.sqrt(np.mean(np.square(wrong))):.2f} meV/atom RMS, "
              f"{1000 * np.abs(wrong).max():.2f} at most, against the labeled density")  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "dos")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "runs" / "electronic-dos")
    parser.add_argument("--quick", action="store_true", help="default settings alone, without a search")
    parser.add_argument("--time", action="store_true", help="how long predictions take, and nothing else")
    arguments = parser.parse_args()
    if arguments.time:
        time_predictions(silicon(arguments.data, 0.3))
        return
    for name, smearing in () if arguments.quick else (("smeared", 0.3), ("raw", None)):
        print(f"{name}, by forcewright tune")
        study(arguments.data, smearing, arguments.output / name)
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
            settings = DosSettings(reference=reference, target=target)
            result = cross_validate_dos(data, [settings], folds, rng=np.random.default_rng(SEED))
            errors, derived = result.errors, result.derived_errors()
            print(f"{name:8} {reference:14} {target:11} {errors.percent:6.1f} {errors.percent_occupied:9.1f} "
                  f"{result.label_errors.percent:10.1f} {errors.wasserstein:9.3f} {derived['fermi_eV']:7.3f} "
                  f"{derived['band_energy_eV']:9.3f} {time.process_time() - start:6.0f}", flush=True)  # fmt: skip
        if smearing and not arguments.quick:
            parts = Components.of(data.densities, 10)
            truncation = parts.truncation(data.grid, data.densities, data.densities.mean(axis=0))
            print(f"         ten components alone: {truncation.percent:.1f} %RMSE are cut off")
            time_predictions(data)
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


def time_predictions(data: DosData) -> None:
    """Print what densities of states cost along frames of 1,000 atoms, beside energies and forces of a potential.

    The potential is an ACE of 300 functions within 5 Å, whose coefficients do not matter for its time.
    """
    model = fit_dos(data, DosSettings(reference="filling"), rng=np.random.default_rng(SEED))
    basis = EnvironmentSettings(cutoff=5.0, functions=300).basis((14,))
    coefficients = np.random.default_rng(2).normal(scale=1e-3, size=basis.size)
    potential = AcePotential(basis.expansion(coefficients, {14: 0.0})).evaluator()
    atoms = bulk("Si", cubic=True).repeat((5, 5, 5))
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(FRAMES):
        moved = atoms.copy()
        moved.positions += rng.normal(scale=0.1, size=moved.positions.shape)
        frames.append(Structure.from_ase(moved))
    what = {
        "energies and forces by an ACE of 300 functions": potential,
        "local and total density of states, Fermi and band energy": lambda frame: electronic_state(
            model.grid, model.local(frame).sum(axis=0), model.electrons_of(frame), 0.0
        ),
        "gradient of the band energy": lambda frame: model.functional(frame, model.grid.points),
    }  # fmt: skip
    with threadpool_limits(1):
        for words, call in what.items():
            call(frames[0])  # compilation
            start = time.process_time()
            for frame in frames:
                call(frame)
            each = (time.process_time() - start) / FRAMES
            print(f"         {words}: {1e3 * each:.0f} ms of CPU for a frame of {len(atoms)} atoms, measured on "
                  f"{FRAMES} frames; {1000 * each:.0f} s for 1,000 (extrapolated)")  # fmt: skip


if __name__ == "__main__":
    main()
