"""One weight/ridge trial from normal equations against one full fit per trial, on one core, in one run.

The peer does what a fitting package driven as a black box does for every trial: it takes the design rows of all
structures, weights and stacks them, solves by LAPACK's SVD least squares, and predicts all frames. Its time is given
without and with the time to compute the rows, and without cross-validation, which it would pay k times.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
import scipy.linalg
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import forcewright as fw
from forcewright.data import isolated_or_fitted_energies, kfold
from forcewright.features.bispectrum import Bispectrum
from forcewright.fitting.linear_fit import LossWeights, linear_fit
from forcewright.fitting.normal_equations import accumulate, labelled_rows, training_row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1] / "../shared/data")
    parser.add_argument("--element", default="Mo", choices=["Mo", "Si"])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    train = fw.read(arguments.data / "zuo2020" / f"{arguments.element}_train.extxyz")
    basis = Bispectrum(train.species, 6, 4.6, 0.9, quadratic=True)
    energies = isolated_or_fitted_energies(train).per_species
    start = time.perf_counter()
    rows = [basis.rows(structure) for structure in train.structures]
    rows_s = time.perf_counter() - start
    start = time.perf_counter()
    folds = kfold(train, 5, rng=np.random.default_rng(0))
    equations = accumulate(train, rows.__getitem__, basis.size, energies, folds)
    nominal = np.log([1000.0 if term.property == "energy" else 10.0 for term in equations.terms])
    problem = linear_fit(equations, nominal, LossWeights(0.75, 0.25)).ridge
    fold_s = time.perf_counter() - start
    blocks = []
    for frame, row in zip(train, rows, strict=True):
        for name, block in labelled_rows(frame, row, energies, ("energy", "force")).items():
            weight = 1000.0 if name == "energy" else 10.0
            blocks.append((weight, training_row(name, block, len(frame.structure))))
    theta = np.append(nominal, np.log(1e-9))
    ours, with_gradient, peer = [], [], []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        for _ in range(10):
            problem.errors(problem.solutions(theta))
        ours.append((time.perf_counter() - start) / 10)
        start = time.perf_counter()
        for _ in range(10):
            problem.loss_and_gradient(theta)
        with_gradient.append((time.perf_counter() - start) / 10)
        start = time.perf_counter()
        stacked = np.vstack([weight * block for weight, block in blocks])
        solution = scipy.linalg.lstsq(stacked[:, :-1], stacked[:, -1], cond=1e-13, check_finite=False)[0]
        float(np.mean((stacked[:, :-1] @ solution - stacked[:, -1]) ** 2))
        peer.append(time.perf_counter() - start)
    table = Table(
        title=f"{arguments.element}, {basis.size} columns, {sum(t.rows for t in equations.terms)} rows, one core"
    )
    for heading in ("one trial", "ms (median)", "peer without rows / this", "peer with rows / this"):
        table.add_column(heading, justify="right")
    for name, times in (
        ("5-fold loss", ours), ("5-fold loss and gradient", with_gradient), ("peer: one fit, no folds", peer),
    ):  # fmt: skip
        mine = median(times)
        table.add_row(name, f"{1e3 * mine:.1f}", f"{median(peer) / mine:.0f}", f"{(median(peer) + rows_s) / mine:.0f}")
    console = Console(width=110)
    console.print(table)
    console.print(f"once per set of descriptors: rows {rows_s:.2f} s, normal equations {fold_s:.2f} s", highlight=False)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
