"""A whole study on Zuo's Mo or Si, with the numbers others published beside ours."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

import forcewright as fw

PUBLISHED = {  # energy RMSE meV/atom, force-component RMSE eV/Å on the test sets
    "Mo": {"Zuo: GAP": (3.55, 0.16), "Zuo: qSNAP": (3.96, 0.33), "XPOT: qSNAP, selected on the test set": (3.51, 0.17)},
    "Si": {"Zuo: GAP": (4.18, 0.12), "Zuo: qSNAP": (6.28, 0.29), "XPOT: qSNAP, selected on the test set": (3.31, 0.11)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("element", choices=sorted(PUBLISHED))
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1] / "../shared/data")
    parser.add_argument("--protocol", choices=["honest", "xpot"], default="honest")
    parser.add_argument("--twojmax", type=int, default=6)
    parser.add_argument("--trials", "--settings", type=int, default=32)
    parser.add_argument("--alpha", type=float, default=0.75)
    parser.add_argument("--reference-energies", choices=["auto", "least_squares", "zero"], default="auto")
    parser.add_argument("--output", type=Path, help="keep the study's folder here")
    arguments = parser.parse_args()
    folder = (arguments.data / "zuo2020").resolve()
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as scratch:
        result = fw.tune(
            {
                "data": {
                    "train": str(folder / f"{arguments.element}_train.extxyz"),
                    "test": str(folder / f"{arguments.element}_test.extxyz"),
                },
                "validation": {"kfold": 5},
                "model": {
                    "kind": "snap", "twojmax": arguments.twojmax, "quadratic": True,
                    "rcut": {"low": 3.0, "high": 6.0}, "rfac0": {"low": 0.5, "high": 1.5},
                },
                "weights": {"energy": {"low": 100, "high": 15000}, "force": {"low": 0.1, "high": 500}, "by": "group"},
                "ridge": {"low": 1e-12, "high": 1e-3},
                "loss": {"alpha": arguments.alpha},
                "study": {"settings": arguments.trials, "initial": min(16, arguments.trials), "seed": 0},
                "protocol": arguments.protocol,
                "reference_energies": arguments.reference_energies,
                "output": str(arguments.output or scratch),
            },
            fresh=True,
            on_trial=lambda trial, wanted: console.print(f"{trial.index + 1}/{wanted} {trial.loss}", highlight=False),
        )  # fmt: skip
    summary, errors = result.summary, result.test.overall
    table = Table(title=f"{arguments.element} test set, protocol {arguments.protocol}")
    for heading in ("potential", "energy RMSE (meV/atom)", "force RMSE (eV/Å)", "energy ratio", "force ratio"):
        table.add_column(heading, justify="right")
    energy, force = errors.energy_rmse_meV_per_atom, errors.force_rmse_eV_per_A
    spread = errors.standard_error
    table.add_row(
        "this study",
        f"{energy:.2f} ± {spread['energy_rmse_meV_per_atom']:.2f}",
        f"{force:.3f} ± {spread['force_rmse_eV_per_A']:.3f}", "1", "1",
    )  # fmt: skip
    for name, (other_energy, other_force) in PUBLISHED[arguments.element].items():
        table.add_row(
            name, f"{other_energy}", f"{other_force}", f"{energy / other_energy:.2f}", f"{force / other_force:.2f}"
        )
    console.print(table)
    minutes = summary["wall_s"] / 60
    console.print(
        f"{summary['trials']} trials and {summary['evaluations']} weight/ridge trials in {summary['wall_s']:.0f} s "
        f"({summary['evaluations'] / minutes:.0f} a minute; XPOT: 3.85), {summary['cpu_s']:.0f} s CPU, peak "
        f"{summary['peak_memory_bytes'] / 1e6:.0f} MB; cross-validated "
        f"{result.validation.overall.energy_rmse_meV_per_atom:.2f} meV/atom, "
        f"{result.validation.overall.force_rmse_eV_per_A:.3f} eV/Å; isolated atoms "
        f"{summary['reference_energies']['isolated_atoms']}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
