"""A whole ACE study on Zuo's Mo or Si: tuned by k-fold on the training set, the test set touched once."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import ase.build
import numpy as np
from rich.console import Console
from rich.table import Table

import forcewright as fw

GAP = {"Mo": (3.55, 0.16), "Si": (4.18, 0.12)}  # Zuo et al. 2020, test set: meV/atom, eV/Å; about 1,700 µs/atom
MODELS: dict[str, dict[str, Any]] = {
    "Mo": {"rcut": {"low": 4.0, "high": 4.8}, "l_weight": {"low": 0.4, "high": 0.7}},
    "Si": {"rcut": {"low": 4.8, "high": 5.6}, "l_weight": {"low": 0.4, "high": 0.7}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("element", choices=sorted(GAP))
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1] / "../shared/data")
    parser.add_argument("--functions", type=int, default=2000)
    parser.add_argument("--products", type=int, help="prune to as many multiplications")
    parser.add_argument("--densities", type=int, default=1)
    parser.add_argument("--rcut", type=float, help="fixed, in place of the range")
    parser.add_argument("--trials", "--settings", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=6.5, help="after which no further trial is started")
    parser.add_argument("--output", type=Path, help="keep the study's folder here")
    arguments = parser.parse_args()
    folder = (arguments.data / "zuo2020").resolve()
    console = Console(width=110)
    model = {"kind": "ace", "functions": arguments.functions, "densities": arguments.densities}
    model |= MODELS[arguments.element] if arguments.rcut is None else {"rcut": arguments.rcut}
    if arguments.products:
        model["prune"] = {"products": arguments.products}
    with tempfile.TemporaryDirectory() as scratch:
        output = arguments.output or Path(scratch)
        result = fw.tune(
            {
                "data": {
                    "train": str(folder / f"{arguments.element}_train.extxyz"),
                    "test": str(folder / f"{arguments.element}_test.extxyz"),
                },
                "validation": {"kfold": 5},
                "model": model,
                "weights": {
                    "energy": {"low": 10, "high": 10000}, "force": {"low": 1, "high": 100},
                    "stress": {"low": 1, "high": 300}, "by": "group",
                },
                "ridge": {"low": 1e-12, "high": 1e-3},
                "search": {"starts": 1, "evaluations": 15},
                "study": {
                    "settings": arguments.trials, "initial": min(6, arguments.trials), "seed": 0,
                    "timeout_s": 60 * arguments.minutes,
                },
                "output": str(output),
            },
            fresh=True,
            on_trial=lambda trial, wanted: console.print(
                f"{trial.index + 1}/{wanted} {trial.params} {trial.loss if trial.error is None else trial.error} "
                f"({trial.seconds:.0f} s)", highlight=False,
            ),
        )  # fmt: skip
        os.environ["OMP_NUM_THREADS"] = "1"
        ours = _microseconds(arguments.element, fw.load(output / "potential").calculator())
        reference = _reference(output / "potential" / "model.yace")
        theirs = None if reference is None else _microseconds(arguments.element, reference)
    _print_errors(console, arguments.element, result)
    summary = result.summary
    chosen = {name: summary["settings"]["model"][name] for name in ("rcut", "l_weight", "radial")}
    reference = "not installed" if theirs is None else f"{theirs:.0f} µs/atom (ratio {ours / theirs:.3f})"
    console.print(
        f"cost of energy, forces and stress of 1,000 atoms, neighbor list included, one core: {ours:.1f} µs/atom; "
        f"python-ace with the exported potential: {reference}", highlight=False,
    )  # fmt: skip
    console.print(
        f"{summary['trials']} trials in {summary['wall_s']:.0f} s, {summary['cpu_s']:.0f} s CPU, peak "
        f"{summary['peak_memory_bytes'] / 1e6:.0f} MB; chosen {chosen}; isolated atoms "
        f"{summary['reference_energies']['isolated_atoms']}", highlight=False,
    )  # fmt: skip


def _print_errors(console: Console, element: str, result: Any) -> None:
    table = Table(title=f"{element}, selected by 5-fold cross-validation")
    for heading in ("frames", "energy RMSE (meV/atom)", "force RMSE (eV/Å)", "stress RMSE (GPa)"):
        table.add_column(heading, justify="right")
    for name, errors in (("cross-validation", result.validation), ("test", result.test)):
        for group, values in {"all": errors.overall, **errors.groups}.items():
            table.add_row(
                f"{name}: {group} ({values.frames})", *(
                    _told(values, key)
                    for key in ("energy_rmse_meV_per_atom", "force_rmse_eV_per_A", "stress_rmse_GPa")
                )
            )  # fmt: skip
    energy, force = GAP[element]
    table.add_row("Zuo: GAP, test", f"{energy}", f"{force}", "")
    console.print(table)


def _told(errors: Any, key: str) -> str:
    value, spread = getattr(errors, key), errors.standard_error.get(key)
    if value is None:
        return ""
    return f"{value:.3f} ± {spread:.3f}" if spread is not None and np.isfinite(spread) else f"{value:.3f}"


def _cell(element: str) -> Any:
    atoms = ase.build.bulk(element, cubic=True) * ((8, 8, 8) if element == "Mo" else (5, 5, 5))
    atoms.rattle(0.1, seed=0)
    return atoms


def _microseconds(element: str, calculator: Any, repeats: int = 5) -> float:
    """Return the median time of a calculator call on about 1,000 atoms in µs/atom, new positions each time."""
    atoms, times = _cell(element), []
    for seed in range(repeats + 1):
        moved = atoms.copy()
        moved.rattle(0.3, seed=seed + 1)
        moved.calc = calculator
        start = time.perf_counter()
        moved.get_potential_energy()
        times.append(time.perf_counter() - start)
    return float(1e6 * np.median(times[1:]) / len(atoms))


def _reference(file: Path) -> Any:
    """Return python-ace's calculator with its fast evaluator, or None where it is not installed."""
    try:
        from pyace import PyACECalculator
    except ImportError:
        return None
    return PyACECalculator(str(file), recursive_evaluator=True)


if __name__ == "__main__":
    main()
