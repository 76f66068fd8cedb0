"""Graph networks and sGDML really trained on a CPU, by `forcewright compare`: hydrogen in diamond, or acetylacetone.

Every graph network gets the same frames and the same number of epochs (with --minutes, at most so much time). Errors
are those of frames that no fit has seen. `--acac` tests potentials fitted at 300 K on 300 K, 600 K, a dihedral scan and
a path of H transfer, beside linear ACE.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import forcewright as fw
from forcewright.structure import Dataset

HERE = Path(__file__).resolve().parent
DIAMOND = HERE.parent / "examples" / "hv-diamond"
ACAC = HERE.parents[1] / "shared" / "data" / "acac"
NETWORKS: dict[str, dict[str, Any]] = {
    "SchNet": {"architecture": "schnet", "channels": 32, "radial_features": 20, "learning_rate": 0.01},
    "PaiNN": {"architecture": "painn", "channels": 16},
    "TensorNet": {"architecture": "tensornet", "channels": 8, "layers": 1, "learning_rate": 0.01},
    "NequIP": {"architecture": "nequip", "channels": 8, "radial_features": 8, "learning_rate": 0.01},
    "MACE": {"architecture": "mace", "channels": 8, "radial_features": 8, "lmax": 2, "learning_rate": 0.01},
}
ACE = {
    "model": {"kind": "ace", "functions": 400, "rcut": 4.0},
    "weights": {"energy": {"low": 1, "high": 1e4}, "force": {"low": 0.1, "high": 100}, "by": "all"},
    "validation": {"kfold": 5},
}
console = Console(width=180)


def network(name: str, **changes: Any) -> dict[str, Any]:
    """A family of the comparison: one fit, with a tenth of the frames held out for validation."""
    return {"model": {"kind": "graph", **NETWORKS[name], **changes}, "validation": {"holdout": 0.1}}


def diamond(epochs: int, minutes: float | None, frames: int, sgdml_frames: int, folder: Path) -> dict[str, Any]:
    """C62H: a few frames of all kinds (volumes, strains, dynamics), tested on the held-out ones."""

    def one_cell(name: str) -> Dataset:
        data = fw.read(DIAMOND / f"{name}.extxyz")
        return data[[structure.formula == "C62H" for structure in data.structures]]

    train, test = one_cell("train"), one_cell("test")
    train = train[np.sort(np.random.default_rng(0).permutation(len(train))[:frames])]
    energies = np.array([labels.energy / 63 for labels in test.labels])
    forces = np.concatenate([np.ravel(labels.forces) for labels in test.labels])
    console.print(
        f"C62H: {frames} frames to train (sGDML: {sgdml_frames}), {len(test)} to test. A model of the mean energy and "
        f"no force has an energy RMSE of {1e3 * energies.std():.1f} meV/atom and a force RMSE of "
        f"{np.sqrt(np.mean(forces**2)):.2f} eV/Å."
    )
    families = {name: network(name, batch_size=1, cutoff=3.2, epochs=epochs, max_minutes=minutes) for name in NETWORKS}
    families["sGDML"] = {
        "model": {"kind": "sgdml", "n_train": sgdml_frames, "sigmas": [10, 30]}, "validation": {"holdout": 0.1},
    }  # fmt: skip
    data = {
        name: str(fw.write(frames_of, folder / f"{name}.extxyz"))
        for name, frames_of in (("train", train), ("test", test))
    }
    return {"data": data, "families": families, "output": str(folder / "out")}


def acac(epochs: int, minutes: float | None, folder: Path) -> dict[str, Any]:
    """Acetylacetone: two graph networks and linear ACE fitted at 300 K."""
    shared = {"epochs": epochs, "max_minutes": minutes, "cutoff": 4.0, "batch_size": 8}
    return {
        "data": {
            "train": [str(ACAC / "train_300K.xyz"), str(ACAC / "isolated_atoms.xyz")],
            "test": {
                name: str(ACAC / f"test_{file}.xyz")
                for name, file in (("300 K", "MD_300K"), ("600 K", "MD_600K"), ("dihedral", "dihedral"),
                                   ("H transfer", "H_transfer"))
            },
        },
        "families": {
            "PaiNN": network("PaiNN", **{**shared, "channels": 32}), "MACE": network("MACE", **shared),
            "ACE (linear)": ACE,
        },
        "output": str(folder / "out"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--minutes", type=float, help="limit of the training time of each graph network")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--sgdml-frames", type=int, default=30)
    parser.add_argument("--acac", action="store_true", help="acetylacetone instead")
    arguments = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.acac:
            config = acac(arguments.epochs, arguments.minutes, Path(scratch))
        else:
            config = diamond(
                arguments.epochs, arguments.minutes, arguments.frames, arguments.sgdml_frames, Path(scratch)
            )
        result = fw.compare(config, on_family=lambda name: console.print(name))
    console.print(str(result), soft_wrap=True, highlight=False, markup=False)
    sets = list(result.summary["sets"])
    for key in ("energy_rmse_meV_per_atom", "force_rmse_eV_per_A") if len(sets) > 1 else ():
        console.print(f"\n{key}: {', '.join(sets)}")
        for name, row in result.summary["families"].items():
            values = [row["sets"][test_set][key] for test_set in sets]
            cells = ["–" if value is None else f"{value:.3g}" for value in values]
            console.print(f"{name:14s}" + "".join(f"{text:>10s}" for text in cells), highlight=False)
    console.print(f"{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
