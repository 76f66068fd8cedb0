"""Densities of states of silicon: held-back structures, a map of environments, and silicon under pressure.

    python examples/silicon-dos/study.py [--data ../shared/data/dos] [--output runs/silicon-dos]

Fits D = Σ L of atoms to the 262 structures of DeepDOS, saves the model, and draws three figures: predicted and labeled
densities of structures held back; environments by their principal components, colored by the density of states that
the model gives the atom at the Fermi level; and, where the simulation of compress.yaml has been run, the same of atoms
under pressure by coordination.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from forcewright.data import Target, read_property
from forcewright.neighbors import find_neighbors
from forcewright.properties.dos_model import DosData, DosModel, DosSettings, HeldBack, cross_validate_dos, fit_dos
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.trajectory import read_thermo, snapshots

ROOT = Path(__file__).parents[2]
SMEARING = 0.3  # eV
BONDED = 2.85  # Å: up to the first minimum of g(r) of amorphous silicon


def read(folder: Path) -> DosData:
    """Return the structures with their densities; one of the 262 labels is empty and is left out."""
    target = Target(
        name="dos", key="dos_per_atom", grid={"low": -15.0, "high": 9.9, "step": 0.1, "zero": "fermi"}, reduce="mean",
        file=folder / "si_deepdos.npz", smearing_eV=SMEARING,
    )  # fmt: skip
    properties = read_property(folder / "si_deepdos.extxyz", target, strict=False)
    return DosData.of_properties(properties[[k for k, values in enumerate(properties.values) if np.any(values)]])


def draw_held_back(result: HeldBack, path: Path) -> None:
    """Draw labels and predictions of the structures at six quantiles of the error."""
    points = result.data.grid.points
    order = np.argsort(np.square(result.predicted - result.reference).sum(axis=1))
    chosen = [order[int(part * (len(order) - 1))] for part in (0.05, 0.25, 0.5, 0.75, 0.9, 1.0)]
    figure = Figure(figsize=(9.6, 5.0), layout="constrained")
    for ax, index in zip(figure.subplots(2, 3, sharex=True, sharey=True).ravel(), chosen, strict=True):
        ax.plot(points, result.reference[index], color="#8a9099", linewidth=2.5, label="DFT")
        ax.plot(points, result.predicted[index], color="#1f4e79", linewidth=1.2, label="predicted")
        rank = 100 * (np.flatnonzero(order == index)[0] + 1) / len(order)
        ax.set_title(f"{len(result.data.structures[index])} atoms, error above that of {rank:.0f} %", fontsize=9)
        ax.set_xlim(-14, 7)
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.supxlabel("energy (eV)", fontsize=9)
    figure.supylabel("states per eV and atom", fontsize=9)
    figure.savefig(path, dpi=150)


def at_fermi(model: DosModel, structure: Structure) -> FloatArray:
    """Return L of every atom (N,) at the Fermi level of the structure."""
    local = model.local(structure)
    level = model.electronic_state(structure, 0.0).fermi
    return np.array([np.interp(level, model.grid.points, row) for row in local])


def coordination(structure: Structure) -> IntArray:
    """Return the number of neighbors of every atom (N,) within 2.85 Å."""
    return np.diff(find_neighbors(structure, BONDED).starts)


def draw_map(model: DosModel, structures: tuple[Structure, ...], path: Path) -> None:
    """Draw environments by two principal components of their scaled invariants."""
    rows, colors, bonds = [], [], []
    for structure in structures:
        pairs = model.environments.basis.pairs(structure)
        rows.append(model.environments.scaled(model.environments.basis.values(pairs), pairs.species))
        colors.append(at_fermi(model, structure))
        bonds.append(coordination(structure))
    z = np.concatenate(rows)
    z = z - z.mean(axis=0)
    _, sizes, vectors = np.linalg.svd(z, full_matrices=False)
    xy = z @ vectors[:2].T
    part = sizes[:2] ** 2 / np.sum(sizes**2)
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    for ax, values, words in zip(
        figure.subplots(1, 2), (np.concatenate(colors), np.concatenate(bonds)),
        ("D of the atom at the Fermi level (1/eV)", "neighbors within 2.85 Å"), strict=True,
    ):  # fmt: skip
        shown = ax.scatter(*xy.T, c=values, s=3, cmap="viridis", linewidths=0, vmax=np.quantile(values, 0.995))
        figure.colorbar(shown, ax=ax, label=words)
        ax.set_xlabel(f"first component ({100 * part[0]:.0f} % of the variance)")
        ax.set_ylabel(f"second ({100 * part[1]:.0f} %)")
    figure.savefig(path, dpi=150)


def draw_pressure(model: DosModel, folder: Path, path: Path) -> None:
    """Draw densities of atoms by coordination, and D at the Fermi level, along the compression."""
    thermo = read_thermo(folder / "thermo.csv")
    target = dict(zip(thermo["step"], thermo["target_pressure_GPa"], strict=True))
    start = max(step for step, pressure in target.items() if pressure == 0)  # the compression begins
    last = [shot for shot in snapshots(folder / "trajectory.extxyz") if shot.step >= start - 1]
    pressures = np.array([target[shot.step] for shot in last])
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    classes = {"3 or fewer": (0, 3), "4": (4, 4), "5": (5, 5), "6 or more": (6, 99)}
    colors = ("#88CCEE", "#332288", "#DDCC77", "#CC6677")
    table: dict[str, list[float]] = {name: [] for name in classes}
    parts: dict[str, list[float]] = {name: [] for name in classes}
    shown = np.unique(np.linspace(0, len(last) - 1, 6).astype(int))
    for index in shown:
        structure = last[index].structure
        local, bonds = model.local(structure), coordination(structure)
        level = model.electronic_state(structure, 0.0).fermi
        values = np.array([np.interp(level, model.grid.points, row) for row in local])
        for name, (low, high) in classes.items():
            inside = (bonds >= low) & (bonds <= high)
            table[name].append(float(values[inside].mean()) if inside.sum() >= 5 else np.nan)
            parts[name].append(100 * float(inside.mean()))
        if index == shown[-1]:
            for (name, (low, high)), color in zip(classes.items(), colors, strict=True):
                inside = (bonds >= low) & (bonds <= high)
                if inside.sum() >= 5:
                    label = f"{name} neighbors ({inside.sum()} atoms)"
                    left.plot(model.grid.points - level, local[inside].mean(axis=0), color=color, label=label)
            left.set_title(f"{len(structure)} atoms at {pressures[index]:.0f} GPa", fontsize=9)
        print(f"{pressures[index]:5.0f} GPa: D(E_F) {values.mean():.3f} per eV and atom; atoms with "
              + ", ".join(f"{name} neighbors {parts[name][-1]:.0f} %" for name in classes))  # fmt: skip
    for (name, values_of), color in zip(table.items(), colors, strict=True):
        right.plot(pressures[shown], values_of, "o-", color=color, markersize=4, label=f"{name} neighbors")
    left.set(xlabel="energy from the Fermi level (eV)", ylabel="states per eV and atom", xlim=(-14, 6))
    right.set(xlabel="pressure (GPa)", ylabel="D of an atom at the Fermi level (1/eV)")
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Fit, print errors, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "dos")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "silicon-dos")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    data = read(arguments.data)
    for words in data.warnings():
        print("Note:", words)
    settings = DosSettings(reference="filling")
    folds = np.random.default_rng(0).permutation(np.arange(len(data)) % 5)
    result = cross_validate_dos(data, [settings], folds, rng=np.random.default_rng(0))
    print("Five folds held back:", result.errors)
    print("The same with energies as in the labels:", result.label_errors)
    draw_held_back(result, arguments.output / "held-back.png")
    errors = {"percent": result.errors.percent, **result.derived_errors()}
    model = fit_dos(data, settings, rng=np.random.default_rng(0), about={"held_back": errors})
    model.save(arguments.output / "model")
    print(model)
    draw_map(model, data.structures, arguments.output / "map.png")
    compressed = arguments.output / "compress"
    if (compressed / "trajectory.extxyz").is_file():
        draw_pressure(model, compressed, arguments.output / "pressure.png")
    else:
        print("Run `forcewright simulate compress.yaml` and this again for the figure of silicon under pressure.")


if __name__ == "__main__":
    main()
