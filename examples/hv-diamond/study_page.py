"""The page and result.json of the study: the tables of E. Thomas's thesis with the results of this study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forcewright import analyze
from forcewright.files import atomic_write
from forcewright.protocols.equation_of_state import EquationOfState
from forcewright.recipes import compare_page, provenance
from forcewright.recipes.analyze import Selection
from forcewright.recipes.compare import Comparison
from forcewright.recipes.select import Split
from forcewright.recipes.statistics import draw_histograms, draw_volumes
from forcewright.report import Card, PageContent, Section, write_report
from forcewright.report.drawing import COLOR_MAP, INK, SOFT, color_of, dress, new_figure
from forcewright.report.numbers import DASH, duration, significant
from forcewright.structure import Dataset, Structure
from forcewright.trajectory import read_thermo

# E. Thomas, Explorative dive into machine learned modeling of interatomic potentials and molecular dynamics of
# H-vacancy defects in diamond, master's thesis, Universiteit Hasselt, 2025.
THESIS_MODELS = {  # tables 1 and 2: RMSE, MAE (eV/atom), R² of the energy; RMSE, MAE (eV/Å), R² of the force norm
    "thesis: sGDML": (0.021, 0.016, -1.946, 18.917, 18.741, -143.027),
    "thesis: GemNet, model 05": (0.041, 0.029, 0.593, 0.897, 0.674, 0.912),
    "thesis: GemNet, model 10": (0.031, 0.023, 0.756, 0.812, 0.604, 0.928),
    "thesis: GemNet, model 12": (0.014, 0.0088, 0.953, 0.676, 0.509, 0.950),
}
THESIS_STATES = {"hv": (370.83, -555.59, 1065.65), "h2i": (366.24, -577.38, 1077.01)}  # table 3: Å³, eV, GPa
THESIS_SETS = {  # table S2.1: min, max, mean, standard deviation
    "hv_500K": {"energy": (-562.880, -555.303, -557.484, 0.768), "force_norm": (3.198, 26.208, 19.440, 1.576)},
    "hv_800K": {"energy": (-562.542, -547.709, -551.927, 1.375), "force_norm": (3.832, 32.532, 24.569, 2.052)},
    "h2i_500K": {"energy": (-578.607, -573.823, -575.819, 0.608), "force_norm": (8.622, 23.426, 19.321, 1.138)},
    "h2i_800K": {"energy": (-575.943, -549.431, -570.086, 2.333), "force_norm": (8.622, 50.497, 24.802, 2.079)},
}
NAMES = {"hv": "HV (C62H)", "h2i": "H2I (C64H2)"}
SHOWN_KELVIN = 500.0  # of the thesis's figures 13 and S5.1
VIEW_A = 3.5  # around hydrogen, in the figure of its path


@dataclass(frozen=True)
class Findings:
    """Results of the study: ``states`` by cell and potential, ``nvt`` by cell and temperature."""

    physics: str
    cells: Mapping[str, Structure]
    sets: Sequence[Any]
    volumes: Sequence[Any]
    parts: Split
    train: Dataset
    comparison: Comparison
    states: Mapping[str, Mapping[str, EquationOfState]]
    nvt: Mapping[str, Mapping[float, Any]]
    seconds: Mapping[str, float]
    written: Sequence[Path]

    @property
    def families(self) -> Mapping[str, Mapping[str, Any]]:
        """The comparison's results by family."""
        return self.comparison.summary["families"]  # type: ignore[no-any-return]


def write_page(folder: Path, findings: Findings, config_text: str) -> Path:
    """Write result.json and report.html and return the page's path."""
    summary = summarize(findings)
    atomic_write(folder / "result.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    families = findings.families
    best = min(families, key=lambda name: families[name]["energy_mae_meV_per_atom"])
    page = PageContent(
        title="Hydrogen in diamond", kicker="Forcewright example",
        warnings=[f"{name} failed: {reason}" for name, reason in findings.comparison.summary["failed"].items()],
        summary=(
            "A hydrogen atom beside a vacancy (HV, C62H) and a pair of hydrogen interstitials (H2I, C64H2) in diamond: "
            "dynamics with a reference at two temperatures, families of potentials fitted to it, their elasticity, and "
            "dynamics with one of them. The study follows E. Thomas's master's thesis (UHasselt 2025); its numbers "
            "are shown with ours. Its reference was DFT (PBE), the one here is GFN1-xTB: energies, volumes "
            "and bulk moduli are not the same quantity, errors of potentials against their own reference are."
        ),
        cards=[
            Card("best energy MAE", significant(families[best]["energy_mae_meV_per_atom"]), "meV/atom",
                 f"{best}; thesis 8.8"),
            Card("its force-norm MAE", significant(families[best]["force_norm_mae_eV_per_A"]), "eV/Å", "thesis 0.509"),
            *(
                Card(f"bulk modulus of {NAMES.get(cell, cell)}", significant(moduli["potential"]), "GPa",
                     f"{findings.physics}; reference {significant(moduli['reference'])}")
                for cell, values in summary["cells"].items() if (moduli := values["bulk_modulus_GPa"]).get("reference")
                and moduli.get("potential")
            ),
            Card("the whole study", f"{sum(findings.seconds.values()) / 60:.0f}", "min"),
        ],
        sections=[
            tables_of_errors(findings), data_section(findings),
            *compare_page.sections(findings.comparison.summary, findings.comparison.tables),
            elasticity(findings), *dynamics(findings), cost(findings),
        ],
        result={
            **provenance.record(), "command": "python examples/hv-diamond/study.py",
            "data_hashes": findings.comparison.summary["data_hashes"],
        },
        config_text=config_text, citations=compare_page.citations(findings.comparison.summary),
    )  # fmt: skip
    return write_report(folder / "report.html", page)


def summarize(findings: Findings) -> dict[str, Any]:
    """Return the content of result.json."""
    cells = {}
    for cell, states in findings.states.items():
        moduli = {name: state.bulk_modulus_GPa for name, state in states.items()}
        cells[cell] = {
            "formula": findings.cells[cell].formula,
            "bulk_modulus_GPa": {
                "reference": moduli.get("reference"), "potential": moduli.get(findings.physics), "families": moduli,
            },
            "volume_A3": {name: state.volume_A3 * len(findings.cells[cell]) for name, state in states.items()},
        }  # fmt: skip
    nvt = {
        cell: {f"{kelvin:g}": {"completed": run.completed, "time_ps": run.time_ps, "wall_s": run.wall_s,
                               "reason": run.reason, "mean_temperature_K": mean_temperature(run)}
               for kelvin, run in runs.items()}
        for cell, runs in findings.nvt.items()
    }  # fmt: skip
    numbers = [key for key, *_ in compare_page.COLUMNS]
    return {
        "families": {name: {key: row[key] for key in numbers} for name, row in findings.families.items()},
        "failed": findings.comparison.summary["failed"],
        "physics": findings.physics, "cells": cells, "nvt": nvt,
        "frames": {"train": len(findings.train), "test": len(findings.parts.test),
                   "near_copies": len(findings.parts.copies), "train_groups": findings.train.group_sizes},
        "seconds": dict(findings.seconds), "versions": provenance.versions(), "machine": provenance.machine(),
    }  # fmt: skip


# ------------------------------------------------------------------------------------- tables of the thesis


def tables_of_errors(findings: Findings) -> Section:
    """Tables 1 and 2 of the thesis with our families below."""
    rows = [
        [name, *(significant(1000 * value) for value in numbers[:2]), significant(numbers[2], 3),
         *(significant(value) for value in numbers[3:5]), significant(numbers[5], 3)]
        for name, numbers in THESIS_MODELS.items()
    ]  # fmt: skip
    rows += [
        [name, significant(row["energy_rmse_meV_per_atom"]), significant(row["energy_mae_meV_per_atom"]),
         significant(row["r2_energy"], 5), significant(row["force_norm_rmse_eV_per_A"]),
         significant(row["force_norm_mae_eV_per_A"]), significant(row["r2_force_norm"], 5)]
        for name, row in findings.families.items()
    ]  # fmt: skip
    headings = [
        ("model", ""), ("energy RMSE", "meV/atom"), ("MAE", "meV/atom"), ("R²", ""), ("force-norm RMSE", "eV/Å"),
        ("MAE", "eV/Å"), ("R²", ""),
    ]  # fmt: skip
    text = (
        f"{len(findings.parts.test)} frames of held-out blocks of the trajectories, {findings.parts.dropped} frames "
        f"around them left out; {len(findings.parts.copies)} test frames are near-copies of training frames. Fitted to "
        f"{len(findings.train)} frames, {len(findings.parts.train)} of them of the same trajectories, the others "
        "distorted or visited by dynamics with earlier potentials. The thesis tested on random frames of the same "
        "trajectories as its training frames. The norm of the forces of a structure is equation 6 of the thesis."
    )
    return Section("Errors, and those of the thesis", text, [],
                   [{"headings": headings, "rows": rows, "style": "plain"}])  # fmt: skip


def data_section(findings: Findings) -> Section:
    """Table and figures S2 of the thesis."""
    tables = []
    for quantity, caption in (("energy", "total energy (eV)"), ("force_norm", "norm of the forces (eV/Å)")):
        rows = []
        for data in findings.sets:
            s = data.summaries[quantity]
            rows.append([data.name, str(data.frames), *(significant(v, 6) for v in (s.minimum, s.maximum, s.mean)),
                         significant(s.std)])  # fmt: skip
            if data.name in THESIS_SETS:
                *ends, spread = THESIS_SETS[data.name][quantity]
                rows.append([f"thesis: {data.name}", "", *(significant(v, 6) for v in ends), significant(spread)])
        headings = [("set", ""), ("frames", ""), ("min", ""), ("max", ""), ("mean", ""), ("standard deviation", "")]
        tables.append({"caption": caption, "headings": headings, "rows": rows, "style": "plain"})
    figures = [draw_histograms(findings.sets)] + ([draw_volumes(findings.volumes)] if findings.volumes else [])
    longest = max((series.correlation_length for series in findings.volumes), default=0)
    text = (
        "Energies of the two references have different zeros. The volume oscillates periodically, which "
        f"makes neighboring frames alike: its autocorrelation falls to 1/e within {longest} frames. Written as "
        f"{', '.join(path.name for path in findings.written)}."
    )
    return Section("The reference dynamics", text, figures, tables)


def elasticity(findings: Findings) -> Section:
    """Table 3 and figure 11 of the thesis."""
    rows = []
    for cell, states in findings.states.items():
        count, name = len(findings.cells[cell]), NAMES.get(cell, cell)
        if cell in THESIS_STATES:
            volume, energy, modulus = THESIS_STATES[cell]
            rows.append([f"{name}, thesis: GemNet, model 10", f"{volume:.2f}", f"{energy:.2f}", f"{modulus:.0f}", DASH])
        known = states.get("reference")
        for potential, state in states.items():
            off = DASH
            if known is not None and state is not known:
                off = f"{100 * (state.bulk_modulus_GPa / known.bulk_modulus_GPa - 1):+.1f}"
            rows.append([f"{name}, {potential}", f"{state.volume_A3 * count:.2f}", f"{state.energy_eV * count:.2f}",
                         f"{state.bulk_modulus_GPa:.1f}", off])  # fmt: skip
    headings = [("cell and potential", ""), ("V₀", "Å³"), ("E₀", "eV"), ("B", "GPa"), ("from the reference", "%")]
    text = (
        "Energies at volumes from -10 to +10 %, positions relaxed at each, and the Birch-Murnaghan form through them, "
        "by the reference and every family. The training set holds rattled and strained structures, none of these. A "
        "vacancy makes diamond softer. Diamond has 443 GPa (experiment) or 463 GPa (DFT, both as the thesis quotes); "
        "GFN1-xTB makes it stiffer."
    )
    return Section("Equation of state", text, [draw_states(findings)],
                   [{"headings": headings, "rows": rows, "style": "plain"}])  # fmt: skip


def draw_states(findings: Findings) -> Figure:
    figure = new_figure(3.6)
    for ax, (cell, states) in zip(
        figure.subplots(1, len(findings.states), squeeze=False)[0], findings.states.items(), strict=True
    ):
        for k, (name, state) in enumerate(states.items()):
            count = len(findings.cells[cell])
            energies = 1000 * (state.energies_eV - state.energies_eV.min())
            style = {"color": INK, "marker": "o", "ms": 5, "mfc": "none", "lw": 0} if name == "reference" else {
                "color": color_of(k - 1), "lw": 1.3}  # fmt: skip
            ax.plot(state.volumes_A3 * count, energies, label=name, **style)
        dress(ax, "volume (Å³)", "energy above the lowest (meV/atom)", NAMES.get(cell, cell))
        ax.legend(frameon=False, fontsize=8)
    return figure


# ------------------------------------------------------------------------------------------------ dynamics


def in_nvt(run: Any) -> dict[str, np.ndarray]:
    """Return the columns of thermo.csv in the second stage."""
    thermo = read_thermo(run.thermo)
    return {name: column[thermo["stage"] == "nvt"] for name, column in thermo.items()}


def mean_temperature(run: Any) -> float | None:
    """Return that of the second stage, None for a run that broke."""
    return float(in_nvt(run)["temperature_K"].mean()) if run.completed else None


def dynamics(findings: Findings) -> list[Section]:
    """Figures 12, 13 and S5.1 of the thesis, and the path of hydrogen."""
    broken = [
        f"{NAMES.get(cell, cell)} at {kelvin:g} K: {run.reason}"
        for cell, runs in findings.nvt.items() for kelvin, run in runs.items() if not run.completed
    ]  # fmt: skip
    wall = sum(run.wall_s for runs in findings.nvt.values() for run in runs.values())
    text = (
        f"Langevin dynamics with {findings.physics}: 1 fs, friction 0.001 in ASE's units, after 0.5 ps with a friction "
        f"200 times as strong that brings each run to its temperature. {duration(wall)} of processor time in all. "
        + (" ".join(f"{reason}." for reason in broken) if broken else "All runs were completed.")
        + " Figures show completed runs."
    )
    return [
        Section("NVT dynamics: total energy", text, [draw_energies(findings)], [table_of_runs(findings)]),
        Section(f"Total, potential and kinetic energy at {SHOWN_KELVIN:g} K", "", [draw_parts(findings)]),
        Section(
            "Distance from the center of mass",
            f"At {SHOWN_KELVIN:g} K. Atoms that stay at their sites keep their distance; those of hydrogen are drawn "
            "strong.", [draw_distances(findings)],
        ),
        Section(
            "The path of hydrogen",
            "First, how far each hydrogen atom is from where it started; then its path at the highest temperature, "
            "seen along the cell's third axis, from dark to bright. Rings are the carbon atoms nearby at the start.",
            [draw_displacements(findings), draw_paths(findings)],
        ),
    ]  # fmt: skip


def table_of_runs(findings: Findings) -> dict[str, Any]:
    rows = []
    for cell, runs in findings.nvt.items():
        for kelvin, run in runs.items():
            if not run.completed:
                rows.append([NAMES.get(cell, cell), f"{kelvin:g}", DASH, DASH, DASH, f"broke at {run.time_ps:.2g}"])
                continue
            thermo, count = in_nvt(run), len(findings.cells[cell])
            total = thermo["total_eV"] / count * 1000
            slope = np.polyfit(thermo["time_ps"], total, 1)[0]
            rows.append([NAMES.get(cell, cell), f"{kelvin:g}", f"{thermo['temperature_K'].mean():.0f}",
                         f"{total.std():.2f}", f"{slope:+.2f}",
                         f"{run.time_ps:g}"])  # fmt: skip
    headings = [
        ("cell", ""), ("bath", "K"), ("mean temperature", "K"), ("spread of the total energy", "meV/atom"),
        ("trend", "meV/atom/ps"), ("time", "ps"),
    ]  # fmt: skip
    return {"headings": headings, "rows": rows, "style": "plain"}


def panels(findings: Findings, height: float = 3.8) -> tuple[Figure, list[tuple[Any, str, Mapping[float, Any]]]]:
    """Return a figure with an axes for each cell, with its name and those of its runs that went to their end."""
    figure = new_figure(height)
    axes = figure.subplots(1, len(findings.nvt), squeeze=False)[0]
    whole = {
        cell: {kelvin: run for kelvin, run in runs.items() if run.completed} for cell, runs in findings.nvt.items()
    }
    return figure, [(ax, cell, runs) for ax, (cell, runs) in zip(axes, whole.items(), strict=True) if runs]


def at_shown_temperature(parts: Sequence[tuple[Any, str, Mapping[float, Any]]]) -> list[tuple[Any, str, Any]]:
    """Return axes, name and run of those cells that have a run at the temperature shown."""
    return [(ax, cell, runs[SHOWN_KELVIN]) for ax, cell, runs in parts if SHOWN_KELVIN in runs]


def legend_below(ax: Any) -> None:
    """Put the legend where no curve is."""
    ax.legend(
        frameon=False, fontsize=8, ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.16), handlelength=1.0,
        columnspacing=1.0,
    )  # fmt: skip


def draw_energies(findings: Findings) -> Figure:
    figure, parts = panels(findings)
    for ax, cell, runs in parts:
        for k, (kelvin, run) in enumerate(runs.items()):
            thermo = in_nvt(run)
            lowest = findings.states[cell].get(findings.physics)
            zero = lowest.energies_eV.min() if lowest is not None else 0.0
            ax.plot(thermo["time_ps"], 1000 * (thermo["total_eV"] / len(findings.cells[cell]) - zero),
                    color=color_of(k), lw=0.9, label=f"{kelvin:g} K")  # fmt: skip
        dress(ax, "time (ps)", "total energy above the crystal (meV/atom)", NAMES.get(cell, cell))
        legend_below(ax)
    return figure


def draw_parts(findings: Findings) -> Figure:
    figure, parts = panels(findings)
    for ax, cell, run in at_shown_temperature(parts):
        thermo, count = in_nvt(run), len(findings.cells[cell])
        lowest = thermo["potential_eV"].min()
        for k, (name, values) in enumerate((
            ("total", thermo["total_eV"] - lowest), ("potential", thermo["potential_eV"] - lowest),
            ("kinetic", thermo["kinetic_eV"]),
        )):  # fmt: skip
            ax.plot(thermo["time_ps"], 1000 * values / count, color=color_of(k), lw=0.8, label=name)
        dress(ax, "time (ps)", "energy (meV/atom)", NAMES.get(cell, cell))
        legend_below(ax)
    return figure


def frames_of(run: Any) -> Selection:
    """Return the frames of the second stage."""
    return Selection(run.trajectory, start_ps=float(in_nvt(run)["time_ps"][0]))


def hydrogens(structure: Structure) -> list[int]:
    return np.flatnonzero(structure.numbers == 1).tolist()


def draw_distances(findings: Findings) -> Figure:
    figure, parts = panels(findings)
    for ax, cell, run in at_shown_temperature(parts):
        structure = findings.cells[cell]
        light = hydrogens(structure)
        others = np.flatnonzero(structure.numbers != 1)[:: max(1, len(structure) // 8)]
        distances = analyze.distance_from_center(frames_of(run), [*light, *others.tolist()])
        for column, (atom, symbol) in enumerate(zip(distances.atoms, distances.symbols, strict=True)):
            strong = atom in light
            ax.plot(distances.time / 1000, distances.distance[:, column], lw=1.2 if strong else 0.6,
                    color=color_of(4 + light.index(atom)) if strong else SOFT, zorder=3 if strong else 2,
                    label=f"{symbol} {atom}" if strong else None)  # fmt: skip
        dress(ax, "time (ps)", "distance (Å)", NAMES.get(cell, cell))
        legend_below(ax)
    return figure


def paths_of(run: Any, atoms: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return times in ps and positions (F, M, 3) of atoms, the center of mass at rest."""
    times, positions = [], []
    for snapshot in frames_of(run):
        center = snapshot.masses @ snapshot.structure.positions / snapshot.masses.sum()
        times.append((snapshot.time or 0.0) / 1000)
        positions.append(snapshot.structure.positions[list(atoms)] - center)
    return np.array(times), np.array(positions)


def draw_displacements(findings: Findings) -> Figure:
    figure, parts = panels(findings)
    for ax, cell, runs in parts:
        for k, (kelvin, run) in enumerate(runs.items()):
            times, positions = paths_of(run, hydrogens(findings.cells[cell]))
            away = np.linalg.norm(positions - positions[0], axis=-1)
            for column in range(away.shape[1]):
                ax.plot(
                    times, away[:, column], color=color_of(k), lw=0.9, label=f"{kelvin:g} K" if not column else None
                )
        dress(ax, "time (ps)", "distance of H from its start (Å)", NAMES.get(cell, cell))
        legend_below(ax)
    return figure


def draw_paths(findings: Findings) -> Figure:
    figure, parts = panels(findings, 4.6)
    for ax, cell, runs in parts:
        run, structure = runs[max(runs)], findings.cells[cell]
        times, positions = paths_of(run, range(len(structure)))
        light = hydrogens(structure)
        origin = positions[:, light[0]].mean(axis=0)
        # each atom at its image nearest to the first hydrogen atom, which may be near a face of the cell
        shift = np.rint((positions[0] - origin) @ np.linalg.inv(structure.cell)) @ structure.cell
        carbon = (positions[0] - shift)[structure.numbers != 1] - origin
        near = carbon[np.linalg.norm(carbon, axis=1) < VIEW_A]
        ax.scatter(near[:, 0], near[:, 1], s=90, facecolors="none", edgecolors=SOFT)
        for atom in light:
            path = positions[:, atom] - shift[atom] - origin
            ax.plot(path[:, 0], path[:, 1], color=SOFT, lw=0.3, zorder=2)
            drawn = ax.scatter(path[:, 0], path[:, 1], c=times, s=5, cmap=COLOR_MAP, zorder=3)
        bar = figure.colorbar(drawn, ax=ax, shrink=0.8)
        dress(bar.ax, "", "time (ps)")
        ax.set(xlim=(-VIEW_A, VIEW_A), ylim=(-VIEW_A, VIEW_A), box_aspect=1)
        dress(ax, "x (Å)", "y (Å)", f"{NAMES.get(cell, cell)}, {max(runs):g} K")
    return figure


# ---------------------------------------------------------------------------------------------------- cost


def cost(findings: Findings) -> Section:
    """What the study took: the thesis's frugal computing."""
    rows = [[step, duration(seconds)] for step, seconds in findings.seconds.items()]
    rows.append(["all", duration(sum(findings.seconds.values()))])
    total = sum(row["energy_used_kWh"] or 0.0 for row in findings.families.values())
    power = findings.comparison.summary["power_W_per_core"]
    text = (
        f"Wall time of each step. All families together took {significant(total)} kWh to choose and fit, counted as "
        f"processor time at {power:g} W per core; processor time and peak memory of each stand in the table of "
        "families. The thesis's best model took 17 hours of training on dedicated hardware."
    )
    return Section("What it cost", text, [], [{"headings": [("step", ""), ("wall time", "")], "rows": rows}])
