"""Elastic constants with and without stresses in the fit: README's study of Mo or Si, or one fit, on Zuo's data.

The constants are least squares on the stresses of the Elastic frames whose strain is at most 0.02: once on the labels,
once on what the potential predicts for the same frames. Besides, B, C11, C12 and C44 of the relaxed crystal. A frame's
strain is the right stretch of its cell (polar decomposition) from a box of reference cubes, whose length is fitted.

    python benchmarks/elasticity.py Si [--kind ace] [--rcut 5.0] [--trials 8] [--without-stress] [--data ../shared/data]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from rich.console import Console
from rich.table import Table
from scipy.linalg import polar
from scipy.optimize import minimize_scalar

import forcewright as fw
from forcewright.protocols.elastic import elastic_constants
from forcewright.structure import Structure, to_voigt
from forcewright.units import GPA

ATOMS = {"Mo": 2, "Si": 8}  # in the cube
LENGTH = {"Mo": 3.16, "Si": 5.45}  # Å, near that of the relaxed crystal
LARGEST = 0.02
CASTEP = {"Si": (88.6, 153.0, 56.0, 72.0)}  # B, C11, C12, C44 of the relaxed crystal (GPa), silicon-testing-framework
CUTOFF = {"Mo": 4.6, "Si": 5.0}  # Å, of a single fit
SNAP = {
    "kind": "snap", "twojmax": 6, "quadratic": True,
    "rcut": {"low": 3.0, "high": 6.0}, "rfac0": {"low": 0.5, "high": 1.5},
}  # fmt: skip


def deformation(structure: Structure, length: float, atoms: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return strain from cubes of a length and rotation, both (3, 3); None where the cell is no box of cubes."""
    counts = np.round(np.linalg.norm(structure.cell, axis=1) / length).astype(int)
    if counts.min() < 1 or atoms * int(np.prod(counts)) != len(structure):
        return None
    gradient = (np.linalg.inv(np.diag(counts * length)) @ structure.cell).T  # columns are what cube axes become
    rotation, stretch = polar(gradient)
    return stretch - np.eye(3), rotation


def cubic_constants(
    structures: Sequence[Structure], stresses: Sequence[np.ndarray], element: str
) -> tuple[dict[str, float], int]:
    """Return B, C11, C12, C44 in GPa and the cube's length by least squares, and the number of frames they rest on.

    The length is the one at which the linear law, without a stress at rest, fits best.
    """

    def fit(length: float) -> tuple[float, np.ndarray, int]:
        rows, targets, frames = [], [], 0
        for structure, stress in zip(structures, stresses, strict=True):
            found = deformation(structure, length, ATOMS[element])
            if found is None or np.abs(found[0]).max() > 1.02 * LARGEST:
                continue
            strain, rotation = found
            turned = to_voigt(rotation.T @ stress @ rotation) / GPA
            trace = np.trace(strain)
            normal = np.diag(strain)
            for k in range(3):
                rows.append([normal[k], trace - normal[k], 0.0])
            for i, j in ((1, 2), (0, 2), (0, 1)):
                rows.append([0.0, 0.0, 2 * strain[i, j]])
            targets += turned.tolist()
            frames += 1
        table, goal = np.array(rows), np.array(targets)
        solution = np.linalg.lstsq(table, goal, rcond=None)[0]
        return float(np.mean((table @ solution - goal) ** 2)), solution, frames

    near = LENGTH[element]
    best = minimize_scalar(lambda length: fit(length)[0], bounds=(0.99 * near, 1.01 * near), method="bounded")
    _, (c11, c12, c44), frames = fit(best.x)
    return {"B": (c11 + 2 * c12) / 3, "C11": c11, "C12": c12, "C44": c44, "a0": best.x}, frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("element", choices=sorted(ATOMS))
    parser.add_argument(
        "--kind", choices=["snap", "ace"], default="snap", help="README's quadratic SNAP, or linear ACE"
    )
    parser.add_argument("--functions", type=int, default=300, help="of ACE")
    parser.add_argument("--trials", type=int, default=1, help="1: one fit with the cutoff given; README has 32")
    parser.add_argument("--rcut", type=float, help="cutoff in Å of one fit")
    parser.add_argument("--without-stress", action="store_true", help="leave stresses aside, as before")
    parser.add_argument("--loss-stress", type=float, help="coefficient in the loss in place of auto")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1] / "../shared/data")
    arguments = parser.parse_args()
    element, folder = arguments.element, (arguments.data / "zuo2020").resolve()
    cutoff = arguments.rcut or CUTOFF[element]
    model: dict[str, Any] = {"kind": "ace", "functions": arguments.functions, "rcut": cutoff}
    if arguments.kind == "snap":
        model = SNAP if arguments.trials > 1 else {**SNAP, "rcut": cutoff, "rfac0": 0.99}
    settings: dict[str, Any] = {"validation": 5}
    if arguments.without_stress:
        settings["weights"] = {"stress": None}
    if arguments.loss_stress is not None:
        settings["loss"] = {"stress": arguments.loss_stress}
    train = fw.read(folder / f"{element}_train.extxyz")
    test = fw.read(folder / f"{element}_test.extxyz")
    console = Console(width=110)
    if arguments.kind == "ace" or arguments.trials == 1:
        result = fw.fit(train, model=model, test=test, **settings)
    else:
        study = {"trials": arguments.trials, "initial": min(16, arguments.trials), "sampler": "gp", "seed": 0}
        result = fw.tune(train, model=model, test=test, study=study, **settings)

    elastic = train[[i for i, group in enumerate(train.groups) if group == "Elastic"]]
    labelled, frames = cubic_constants(elastic.structures, [labels.stress for labels in elastic.labels], element)
    predictions = result.potential.predict(elastic.structures)
    predicted, _ = cubic_constants(elastic.structures, [p.stress for p in predictions], element)
    crystal = elastic_constants(result.potential.calculator, bulk(element))
    values = (crystal.bulk_modulus_GPa, crystal.c11_GPa, crystal.c12_GPa, crystal.c44_GPa)
    table = Table(title=f"{element}: {frames} Elastic frames with strains up to {LARGEST}; constants in GPa")
    for heading in ("", "labels", "potential", "deviation (%)", "relaxed crystal", "CASTEP"):
        table.add_column(heading, justify="right")
    for k, name in enumerate(("B", "C11", "C12", "C44")):
        deviation = 100 * (predicted[name] / labelled[name] - 1)
        table.add_row(
            name, f"{labelled[name]:.1f}", f"{predicted[name]:.1f}", f"{deviation:+.1f}", f"{values[k]:.1f}",
            f"{CASTEP[element][k]:.1f}" if element in CASTEP else "",
        )  # fmt: skip
    table.add_row("a0 (Å)", f"{labelled['a0']:.4f}", f"{predicted['a0']:.4f}")
    console.print(table)
    for name, errors in (("cross-validated", result.validation.overall), ("test", result.test.overall)):
        spread = errors.standard_error
        console.print(
            f"{name}: {errors.energy_rmse_meV_per_atom:.2f} ± {spread['energy_rmse_meV_per_atom']:.2f} meV/atom, "
            f"{errors.force_rmse_eV_per_A:.3f} ± {spread['force_rmse_eV_per_A']:.3f} eV/Å, "
            f"{errors.stress_rmse_GPa:.2f} GPa", highlight=False,
        )  # fmt: skip
    summary = result.summary
    console.print(
        f"loss {summary['settings']['loss']}, {summary['wall_s']:.0f} s, "
        f"isolated atoms {summary['reference_energies']['isolated_atoms']}", highlight=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
