"""Graph networks and sGDML really trained on a CPU: on hydrogen in diamond, and with --acac on acetylacetone.

Every graph network gets the same frames and the same number of epochs (with --minutes, at most so much time). Errors
are those of frames that no fit has seen. `--acac` judges what was fitted at 300 K on 300 K, 600 K, a dihedral scan and
a path of H transfer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import forcewright as fw
from forcewright.models import model_class
from forcewright.potential import Potential
from forcewright.structure import Dataset

HERE = Path(__file__).resolve().parent
DIAMOND = HERE.parent / "examples" / "hv-diamond"
ACAC = HERE.parents[1] / "shared" / "data" / "acac"
SMALL = {"batch_size": 1, "cutoff": 3.2}
FAMILIES: dict[str, dict[str, Any]] = {
    "SchNet": {"architecture": "schnet", "channels": 32, "radial_features": 20, "learning_rate": 0.01},
    "PaiNN": {"architecture": "painn", "channels": 16},
    "TensorNet": {"architecture": "tensornet", "channels": 8, "layers": 1, "learning_rate": 0.01},
    "NequIP": {"architecture": "nequip", "channels": 8, "radial_features": 8, "learning_rate": 0.01},
    "MACE": {"architecture": "mace", "channels": 8, "radial_features": 8, "lmax": 2, "learning_rate": 0.01},
}
console = Console(width=120)


def rmse(potential: Potential, data: Dataset) -> dict[str, float]:
    """Root mean square errors: energy in meV per atom and per structure, force component in meV/Å; µs per atom."""
    potential.predict(data.structures[:1])
    started = time.perf_counter()
    found = potential.predict(data.structures)
    seconds = time.perf_counter() - started
    pairs = list(zip(found, data, strict=True))
    energies = np.array([p.energy - f.labels.energy for p, f in pairs if f.labels.energy is not None])
    sizes = np.array([len(f.structure) for _, f in pairs if f.labels.energy is not None])
    forces = [(p.forces - f.labels.forces).ravel() for p, f in pairs if f.labels.forces is not None]
    return {
        "atom": 1e3 * float(np.sqrt(np.mean((energies / sizes) ** 2))),
        "energy": 1e3 * float(np.sqrt(np.mean(energies**2))),
        "force": 1e3 * float(np.sqrt(np.mean(np.concatenate(forces) ** 2))) if forces else float("nan"),
        "us": 1e6 * seconds / sum(len(structure) for structure in data.structures),
    }


def timed_fit(model: Any, train: Dataset, seed: int = 0) -> tuple[Potential, str]:
    """The potential, and wall and processor seconds of its fit."""
    started, busy = time.perf_counter(), time.process_time()
    potential = model.fit(train, rng=np.random.default_rng(seed))
    return potential, f"{time.perf_counter() - started:.0f} / {time.process_time() - busy:.0f}"


def diamond(epochs: int, minutes: float | None, frames: int, sgdml_frames: int) -> None:
    """C62H: a few frames of all kinds (volumes, strains, rattled, dynamics), judged on the held-out ones."""

    def one_cell(data: Dataset) -> Dataset:
        return data[[structure.formula == "C62H" for structure in data.structures]]

    train, test = one_cell(fw.read(DIAMOND / "train.extxyz")), one_cell(fw.read(DIAMOND / "test.extxyz"))
    train = train[np.sort(np.random.default_rng(0).permutation(len(train))[:frames])]
    table = Table(title=f"C62H: {frames} frames to train (sGDML: {sgdml_frames}), {len(test)} to judge")
    for name in ("family", "meV/atom", "meV/Å", "fit s / CPU s", "epochs", "µs/atom"):
        table.add_column(name, justify="left" if name == "family" else "right")
    forces = np.concatenate([labels.forces.ravel() for labels in test.labels])
    energies = np.array([labels.energy for labels in test.labels])
    table.add_row(
        "mean energy, no force", f"{1e3 * energies.std() / 63:.1f}", f"{1e3 * np.sqrt(np.mean(forces**2)):.0f}"
    )
    models = {
        n: model_class("graph")(**{**SMALL, "epochs": epochs, "max_minutes": minutes, **s}) for n, s in FAMILIES.items()
    }
    models["sGDML"] = model_class("sgdml")(n_train=sgdml_frames, sigmas=(10.0, 30.0))
    for name, model in models.items():
        potential, seconds = timed_fit(model, train)
        found = rmse(potential, test)
        run = str(potential.provenance.get("epochs", ""))  # type: ignore[attr-defined]
        row = (f"{found['atom']:.2f}", f"{found['force']:.0f}", seconds, run, f"{found['us']:.0f}")
        table.add_row(name, *row)
        console.print(f"{name}: {row}")
    console.print(table)


def acac(epochs: int, minutes: float | None) -> None:
    """Acetylacetone: two graph networks and linear ACE fitted at 300 K."""
    train = fw.read(ACAC / "train_300K.xyz") + fw.read(ACAC / "isolated_atoms.xyz")
    tests = {n: fw.read(ACAC / f"test_{n}.xyz") for n in ("MD_300K", "MD_600K", "dihedral", "H_transfer")}
    table = Table(title="acetylacetone, fitted at 300 K: RMSE of energy (meV) and of force components (meV/Å)")
    for name in ("family", *tests, "fit s / CPU s", "µs/atom"):
        table.add_column(name, justify="left" if name == "family" else "right")
    shared = {"max_minutes": minutes, "epochs": epochs, "cutoff": 4.0, "batch_size": 8}
    fits = {
        "PaiNN": lambda: timed_fit(model_class("graph")(architecture="painn", channels=32, **shared), train),
        "MACE": lambda: timed_fit(
            model_class("graph")(
                architecture="mace", channels=8, radial_features=8, lmax=2, learning_rate=0.01, **shared
            ),
            train,
        ),
        "ACE, linear": fit_ace,
    }
    for name, fit in fits.items():
        potential, seconds = fit()
        found = {test: rmse(potential, data) for test, data in tests.items()}
        cells = [
            f"{one['energy']:.0f}" + ("" if np.isnan(one["force"]) else f" / {one['force']:.0f}")
            for one in found.values()
        ]
        row = (*cells, seconds, f"{found['MD_300K']['us']:.0f}")
        table.add_row(name, *row)
        console.print(f"{name}: {row}")
    console.print(table)


def fit_ace() -> tuple[Potential, str]:
    """Fit linear ACE with its weights and ridge searched on five folds."""
    config = {
        "data": {"train": [str(ACAC / "train_300K.xyz"), str(ACAC / "isolated_atoms.xyz")]},
        "validation": {"kfold": 5},
        "model": {"kind": "ace", "functions": 400, "rcut": 4.0},
        "weights": {"energy": {"low": 1, "high": 1e4}, "force": {"low": 0.1, "high": 100}, "by": "all"},
    }
    with tempfile.TemporaryDirectory() as folder:
        started, busy = time.perf_counter(), time.process_time()
        fw.fit({**config, "output": str(Path(folder) / "ace")})
        seconds = f"{time.perf_counter() - started:.0f} / {time.process_time() - busy:.0f}"
        return fw.load(next(Path(folder).rglob("potential.json")).parent), seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--minutes", type=float, help="limit of the training time of each graph network")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--sgdml-frames", type=int, default=30)
    parser.add_argument("--acac", action="store_true", help="acetylacetone instead")
    given = parser.parse_args()
    if given.acac:
        acac(given.epochs, given.minutes)
    else:
        diamond(given.epochs, given.minutes, given.frames, given.sgdml_frames)
