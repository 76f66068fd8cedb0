"""CPU time of a linear ACE fit on Zuo's Mo: rows, normal equations and solve; python-ace's rows in the same run."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is loaded: the CPU time of one core is measured

import ase.io
import numpy as np
from rich.console import Console
from rich.table import Table

import forcewright as fw
from forcewright.fitting.linear_fit import LossWeights, linear_fit
from forcewright.fitting.normal_equations import accumulate
from forcewright.models.ace import AceModel

EVERY = 10  # python-ace computes the rows of every tenth frame


def ours(train: fw.Dataset, functions: int, rcut: float) -> dict[str, float]:
    """Return the CPU seconds of the three parts for the whole training set."""
    basis = AceModel(functions=functions, rcut=rcut, repulsion=None).basis((42,))
    basis.rows(train.structures[0])  # compiles, or loads what is compiled
    start = time.process_time()
    rows = [basis.rows(structure) for structure in train.structures]
    computed = time.process_time()
    folds = np.arange(len(train)) % 5
    equations = accumulate(
        train, rows.__getitem__, basis.size, {42: 0.0}, folds, ("energy", "force", "stress"), free_species=(42,)
    )
    done = time.process_time()
    nominal = np.log([{"energy": 300.0, "force": 5.0, "stress": 30.0}[term.property] for term in equations.terms])
    problem = linear_fit(equations, nominal, LossWeights(0.75, 0.25))
    problem.fit_everything(np.append(nominal, np.log(1e-8)))
    return {"rows": computed - start, "normal equations": done - computed, "solve": time.process_time() - done}


def reference(path: Path, functions: int, rcut: float) -> float | None:
    """Return python-ace's CPU seconds for the rows, from every tenth frame; None if it is not installed."""
    try:
        from pyace import ACEBEvaluator, ACECalculator, create_multispecies_basis_config
        from pyace.atomicenvironment import aseatoms_to_atomicenvironment
        from pyace.basis import ACEBBasisSet
    except ImportError:
        return None
    config = {
        "deltaSplineBins": 0.001, "elements": ["Mo"],
        "embeddings": {"ALL": {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1], "ndensity": 1}},
        "bonds": {"ALL": {
            "radbase": "SBessel", "radparameters": [5.25], "rcut": rcut, "dcut": 0.01, "NameOfCutoffFunction": "cos",
        }},
        "functions": {
            "number_of_functions_per_element": functions,
            "ALL": {"nradmax_by_orders": [15, 8, 8, 6, 4], "lmax_by_orders": [0, 5, 5, 4, 2]},
        },
    }  # fmt: skip
    basis = ACEBBasisSet(create_multispecies_basis_config(config))
    evaluator = ACEBEvaluator(basis)  # python-ace keeps no reference to either: they must outlive the calculator
    calculator = ACECalculator(evaluator)
    frames = ase.io.read(path, ":")
    chosen = frames[::EVERY]
    start = time.process_time()
    for atoms in chosen:
        environment = aseatoms_to_atomicenvironment(atoms, cutoff=rcut, elements_mapper_dict={"Mo": 0})
        calculator.compute(environment, compute_projections=True, compute_b_grad=True)
        np.array(calculator.forces_bfuncs)
    atoms_all, atoms_chosen = (sum(map(len, atoms_of)) for atoms_of in (frames, chosen))
    return (time.process_time() - start) * atoms_all / atoms_chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1] / "../shared/data")
    parser.add_argument("--functions", type=int, default=700)
    parser.add_argument("--rcut", type=float, default=5.2)
    arguments = parser.parse_args()
    path = (arguments.data / "zuo2020/Mo_train.extxyz").resolve()
    parts = ours(fw.read(path), arguments.functions, arguments.rcut)
    theirs = reference(path, arguments.functions, arguments.rcut)
    table = Table(title=f"Mo, {arguments.functions} functions, cutoff {arguments.rcut} Å: CPU seconds on one core")
    for heading in (*parts, "together", "rows by python-ace", "ratio of rows"):
        table.add_column(heading, justify="right")
    comparison = ("not installed", "") if theirs is None else (f"{theirs:.1f}", f"{parts['rows'] / theirs:.3f}")
    table.add_row(*(f"{value:.2f}" for value in parts.values()), f"{sum(parts.values()):.2f}", *comparison)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
