"""Densities of states of silicon: a model of them, a map of environments, and 1,000 atoms from the melt to 20 GPa.

    python examples/silicon-dos/study.py [--demo]

Runs `dos.yaml` (a model of densities of states), `ace.yaml` (a potential) and `compress.yaml` (melt, quench, and
compression with that potential), and draws two figures: atoms of the compressed glass by coordination, with what the
model says of them, and a map of their environments by principal components. Every step goes on where it was stopped.
``--demo`` does it in a minute with 64 atoms and small models, to see how it works; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

import forcewright as fw
from forcewright import analyze
from forcewright.analyze.electronic_structure import ElectronicDensity
from forcewright.neighbors import find_neighbors
from forcewright.plain_data import read_yaml
from forcewright.properties.dos_model import DosModel
from forcewright.recipes.analyze import Selection
from forcewright.report.drawing import PALETTE, dress, new_figure
from forcewright.structure import FloatArray, Structure
from forcewright.trajectory import Snapshot, read_thermo, snapshots

HERE = Path(__file__).resolve().parent
BONDED = 2.85  # Å: up to the first minimum of g(r) of amorphous silicon
CLASSES = (4, 8)  # neighbors that are told apart
ENDS = 3  # frames that are averaged at either end of the compression


def configs(demo: bool, output: Path, data: Path) -> tuple[dict[str, Any], ...]:
    """Return the three configs with absolute paths, made small for a demonstration."""
    dos, ace, run = (dict(read_yaml(HERE / f"{name}.yaml")) for name in ("dos", "ace", "compress"))
    dos["target"]["file"] = str(data / "dos" / "si_deepdos.npz")
    dos["data"]["train"] = str(data / "dos" / "si_deepdos.extxyz")
    ace["data"] = {name: str(data / "zuo2020" / Path(file).name) for name, file in ace["data"].items()}
    dos["output"], ace["output"], run["output"] = str(output), str(output / "ace"), str(output / "compress")
    run["potential"] = str(output / "ace" / "potential")
    if demo:
        small = {"functions": 60, "nradmax": [6, 3], "lmax": [0, 3], "environments": 200}
        dos["model"], dos["study"] = {"reference": "filling", "environment": small}, {"trials": 2}
        ace["model"]["functions"] = 60
        ace["search"] = {"starts": 1, "evaluations": 10}
        run["structure"]["repeat"] = 2
        for stage in run["stages"]:
            stage["time_ps"] /= 10
        run["trajectory"] = {"every_fs": 100}
    return dos, ace, run


def compression(folder: Path) -> tuple[list[Snapshot], FloatArray]:
    """Return the frames of the compression and the pressure in GPa that was asked for in each."""
    thermo = read_thermo(folder / "thermo.csv")
    stage = dict(zip(thermo["step"], thermo["stage"], strict=True))
    target = dict(zip(thermo["step"], thermo["target_pressure_GPa"], strict=True))
    shots = [shot for shot in snapshots(folder / "trajectory.extxyz") if stage.get(shot.step) == "compress"]
    return shots, np.array([target[shot.step] for shot in shots])


def draw_pressure(model: DosModel, shots: list[Snapshot], pressures: FloatArray, path: Path) -> None:
    """Draw densities of atoms by coordination at both ends of the compression, and what changes on the way."""
    whole, *ends = (analyze.dos(part, model, cutoff=BONDED, classes=CLASSES)
                    for part in (shots, shots[:ENDS], shots[-ENDS:]))  # fmt: skip
    names = sorted(whole.share, key=lambda name: int(name.split()[0]))
    colors = dict(zip(names, PALETTE, strict=False))
    figure = new_figure(3.3, 12.0)
    panels = figure.subplots(1, 4)
    for ax, part, pressure in zip(panels, ends, (pressures[:ENDS].mean(), pressures[-ENDS:].mean()), strict=False):
        draw_classes(ax, part, colors, f"{len(shots[0])} atoms at {pressure:.0f} GPa")
    for name, values in whole.shares.items():
        panels[2].plot(pressures, 100 * values, color=colors[name], label=name)
    for name, values in whole.at_fermi_by_class.items():
        panels[3].plot(pressures, values, color=colors[name], label=name)
    panels[3].plot(pressures, whole.at_fermi_level, color="black", linestyle="--", label="all")
    dress(panels[2], "pressure (GPa)", "share of atoms (%)", "neighbors")
    panels[2].set_ylim(0, 100)
    dress(panels[3], "pressure (GPa)", "states/eV", "an atom at the Fermi level")
    for ax in panels:
        ax.legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=150)
    print("pressure   E_F   E_band  D(E_F)  " + "  ".join(f"{name:>10}" for name in whole.shares))
    for k in np.unique(np.linspace(0, len(shots) - 1, 6).astype(int)):
        parts = "  ".join(f"{100 * values[k]:8.0f} %" for values in whole.shares.values())
        print(f"{pressures[k]:4.0f} GPa {whole.fermi_level_eV[k]:6.3f} {whole.band_energy_eV[k]:7.3f} "
              f"{whole.at_fermi_level[k]:7.3f}  {parts}")  # fmt: skip


def draw_classes(ax: Any, part: ElectronicDensity, colors: dict[str, str], title: str) -> None:
    """Draw the mean density of an atom by its number of neighbors."""
    energies = part.energies_eV - part.mean_fermi_level_eV
    for name, density in part.by_coordination.items():
        ax.plot(energies, density, color=colors[name], linewidth=1.3, label=f"{name} ({100 * part.share[name]:.0f} %)")
    ax.axvline(0.0, color="0.6", linewidth=0.8, linestyle=":")
    ax.set(xlim=(-14, 6), ylim=(0, 0.75))
    dress(ax, "energy from the Fermi level (eV)", "states/eV of an atom", title)


def draw_map(model: DosModel, structures: list[Structure], words: list[str], path: Path) -> None:
    """Draw environments by two principal components, colored by what the model says, by coordination, by frame."""
    rows, levels, bonds, frame = [], [], [], []
    for number, structure in enumerate(structures):
        pairs = model.environments.basis.pairs(structure)
        rows.append(model.environments.scaled(model.environments.basis.values(pairs), pairs.species))
        fermi = model.electronic_state(structure, 0.0).fermi
        levels.append([np.interp(fermi, model.grid.points, row) for row in model.local(structure)])
        bonds.append(np.diff(find_neighbors(structure, BONDED).starts))
        frame.append(np.full(len(structure), number))
    z = np.concatenate(rows)
    z = z - z.mean(axis=0)
    _, sizes, vectors = np.linalg.svd(z, full_matrices=False)
    xy = z @ vectors[:2].T
    part = 100 * sizes[:2] ** 2 / np.sum(sizes**2)
    figure = new_figure(3.6, 12.0)
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    several = zip(panels, (np.concatenate(levels), np.concatenate(bonds)), ("D of the atom at E_F (1/eV)", "neighbors"),
                  strict=False)  # fmt: skip
    for ax, values, title in several:
        low, high = np.quantile(values, (0.005, 0.995))
        shown = ax.scatter(*xy.T, c=values, s=3, cmap="viridis", linewidths=0, vmin=low, vmax=high)
        figure.colorbar(shown, ax=ax, ticks=MaxNLocator(6, integer=title == "neighbors"))
        dress(ax, f"first component ({part[0]:.0f} % of the variance)", f"second ({part[1]:.0f} %)", title)
    for number, name in enumerate(words):
        chosen = np.concatenate(frame) == number
        panels[2].scatter(*xy[chosen].T, s=3, color=PALETTE[number], linewidths=0, label=name)
    dress(panels[2], f"first component ({part[0]:.0f} % of the variance)", "", "where from")
    panels[2].legend(frameon=False, fontsize=8, markerscale=3)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Fit, simulate, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE / "../../../shared/data")
    parser.add_argument("--output", type=Path, default=HERE / "../../runs/silicon-dos")
    parser.add_argument("--demo", action="store_true", help="64 atoms and small models")
    arguments = parser.parse_args()
    output = arguments.output.resolve() / ("demo" if arguments.demo else "")
    dos, ace, run = configs(arguments.demo, output, arguments.data.resolve())
    study = fw.tune_property(dos)
    print(study.text())
    print("ACE:", fw.tune(ace))
    print("Melt, quench, compression:", fw.simulate(run))
    shots, pressures = compression(output / "compress")
    model = study.model
    draw_pressure(model, shots, pressures, output / "pressure.png")
    chosen = [0, len(shots) // 2, len(shots) - 1]
    liquid = next(iter(Selection(output / "compress" / "trajectory.extxyz", start_ps=run["stages"][0]["time_ps"])))
    structures = [liquid.structure, *(shots[k].structure for k in chosen)]
    draw_map(model, structures, ["melt", *(f"{pressures[k]:.0f} GPa" for k in chosen)], output / "map.png")
    print(f"pressure.png and map.png are in {output}")


if __name__ == "__main__":
    main()
