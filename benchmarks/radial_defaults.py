"""Which radial functions of ACE are good on metals, covalent crystals, liquids and molecules alike?

A short search in closed form: small bases fitted to few frames of each system with every family and λ, cross-validated;
no test set is touched. The errors are those of frames that the fit has not seen. To compare over all systems, force
errors are divided by the least of each system; the last columns are the largest and the mean of these ratios.

    python benchmarks/radial_defaults.py [--functions 150] [--full auto SBessel]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import forcewright as fw

ROOT = Path(__file__).resolve().parents[1]
CANDIDATES = (
    "SBessel", "ChebLinear", "ChebPow:1.5", "ChebPow:2.5", "ChebPow:4", "ChebPow:6", "ChebExpCos:1.5", "ChebExpCos:3",
    "ChebExpCos:5.25", "ChebExpCos:8", "ChebExpCos:12",
)  # fmt: skip


def systems(data: Path, few: bool) -> dict[str, fw.Dataset]:
    """Return training frames by system, all of them or a few spread evenly."""
    files = {
        "Mo": [data / "zuo2020" / "Mo_train.extxyz"], "Si": [data / "zuo2020" / "Si_train.extxyz"],
        "water": [data / "water" / "water_rpbe_d3_train25.extxyz"],
        "acetylacetone": [data / "acac" / "train_300K.xyz", data / "acac" / "isolated_atoms.xyz"],
        "H in diamond": [ROOT / "examples" / "hv-diamond" / "train.extxyz"],
    }  # fmt: skip
    counts = {"Mo": 50, "Si": 50, "water": 8, "acetylacetone": 100, "H in diamond": 30}
    chosen = {}
    for name, paths in files.items():
        dataset = fw.read([path.resolve() for path in paths])
        alone = [i for i, structure in enumerate(dataset.structures) if len(structure) == 1]
        others = [i for i in range(len(dataset)) if i not in alone]
        if few:
            others = np.array(others)[np.linspace(0, len(others) - 1, counts[name]).astype(int)].tolist()
        chosen[name] = dataset[others + alone]
    return chosen


def fit(train: fw.Dataset, candidate: str, functions: int, few: bool) -> Any:
    """Return the cross-validated errors of a fit with one family and λ, and what auto has chosen."""
    family, _, decay = candidate.partition(":")
    model: dict[str, Any] = {"kind": "ace", "functions": functions, "radial": family}  # auto: as by default
    if decay:
        model["decay"] = float(decay)
    settings: dict[str, Any] = {"weights": {"by": "all"}, "search": {"starts": 1, "evaluations": 15}} if few else {}
    result = fw.fit(train, model=model, validation=4 if few else 5, **settings)
    return result.validation.overall, result.summary["model_search"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--functions", type=int, default=150)
    parser.add_argument("--candidates", nargs="+", default=CANDIDATES, help="families, or families with a λ, as above")
    parser.add_argument("--systems", nargs="+", help="only these")
    parser.add_argument(
        "--full", nargs="+", help="only these candidates, on all frames, with 300 functions and defaults"
    )
    arguments = parser.parse_args()
    few, console = arguments.full is None, Console(width=150)
    candidates = arguments.full or arguments.candidates
    functions = arguments.functions if few else 300
    frames = {
        name: dataset for name, dataset in systems(arguments.data, few).items()
        if arguments.systems is None or name in arguments.systems
    }  # fmt: skip
    errors: dict[tuple[str, str], Any] = {}
    for name, dataset in frames.items():
        for candidate in candidates:
            start = time.process_time()
            one, choice = fit(dataset, candidate, functions, few)
            errors[name, candidate] = one
            called = candidate if choice is None else f"{candidate} ({choice['chosen']} on {choice['frames']} frames)"
            console.print(
                f"{name}, {called}: {one.energy_rmse_meV_per_atom:.3g} meV/atom, {one.force_rmse_eV_per_A:.4g} eV/Å "
                f"({time.process_time() - start:.0f} s)", highlight=False,
            )  # fmt: skip
    table = Table(title=f"cross-validated meV/atom / eV/Å, {functions} functions per element, cutoff 5 Å")
    for heading in ("family:λ", *(f"{name} ({len(dataset)})" for name, dataset in frames.items()), "worst", "mean"):
        table.add_column(heading, justify="right")
    least = {name: min(errors[name, c].force_rmse_eV_per_A for c in candidates) for name in frames}
    for candidate in candidates:
        found = [errors[name, candidate] for name in frames]
        ratios = [one.force_rmse_eV_per_A / least[name] for name, one in zip(frames, found, strict=True)]
        cells = [f"{one.energy_rmse_meV_per_atom:.3g} / {one.force_rmse_eV_per_A:.3g}" for one in found]
        table.add_row(candidate, *cells, f"{max(ratios):.2f}", f"{np.exp(np.mean(np.log(ratios))):.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
