"""Molten salt at constant pressure from data to tables: runs pipeline.yaml, then shows what was measured.

Run it again to go on where it was stopped; ``--only-tables`` runs nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import forcewright as fw
from forcewright import analyze
from forcewright.analyze.block_average import Mean
from forcewright.files import write_json
from forcewright.plain_data import read_json
from forcewright.recipes.analyze import Selection
from forcewright.report import PageContent, Section, write_report
from forcewright.report.drawing import color_of, dress, new_figure
from forcewright.report.numbers import with_error
from forcewright.trajectory import read_thermo

HERE = Path(__file__).resolve().parent
RUNS = (HERE / "../../runs/nacl-npt").resolve()
ATM = 9869.233  # per GPa
EQUILIBRATION_PS = 3.0  # of the runs for diffusion, their first stage
console = Console(highlight=False)

Rows = list[list[str]]


def pressure_biases() -> Rows:
    """Return the bias of the pressure of each fit, from the frames that it had not seen."""
    rows = []
    for name, what in (("one-ef", "one, energies and forces"), ("one-efv", "one, with stresses"),
                       ("five-ef", "five, energies and forces"), ("five-efv", "five, with stresses")):  # fmt: skip
        if (RUNS / name / "result.json").is_file():
            errors = read_json(RUNS / name / "result.json")["validation"]
            rows.append(
                [what, f"{errors['energy_rmse_meV_per_atom']:.2f}", f"{errors['force_rmse_eV_per_A']:.3f}",
                 with_error(ATM * errors["pressure_bias_GPa"], ATM * errors["standard_error"]["pressure_bias_GPa"])]
            )  # fmt: skip
    return rows


def volumes() -> Rows:
    """Return the volume per 200 ions of reference and potential, in equilibrium at 1 bar, with errors by blocks."""
    rows = []
    for ions in (216, 1000):
        means: list[Mean] = []
        for name in ("reference", "ace"):
            folder = RUNS / (f"{name}-{ions}" if name == "ace" or ions == 1000 else name)
            if (folder / "thermo.csv").is_file():
                averages = analyze.thermodynamics(folder / "thermo.csv")
                scale = 200.0 / ions
                means.append(
                    Mean(scale * averages.mean["volume_A3"], scale * averages.error["volume_A3"],
                         averages.independent["volume_A3"])
                )  # fmt: skip
        if len(means) == 2:
            (reference, error, _), (ours, own_error, _) = means
            off, off_error = 100 * (ours / reference - 1), 100 * np.hypot(error / reference, own_error / ours)
            rows.append([f"{ions:,}", *map(with_error, (reference, ours, off), (error, own_error, off_error))])
    return rows


def diffusion() -> Rows:
    """Return self-diffusion by reference and potential: means over runs, with the error that their spread gives."""
    by_name: dict[str, dict[str, list[float]]] = {}
    for name in ("reference", "ace"):
        for finished in sorted((RUNS / f"{name}-diffusion").glob("run-*/result.json")):
            measured = analyze.diffusion(Selection(finished.with_name("trajectory.extxyz"), start_ps=EQUILIBRATION_PS))
            for ion in ("Na", "Cl"):
                by_name.setdefault(name, {}).setdefault(ion, []).append(1e5 * measured.D[ion])
    rows = []
    for ion in ("Na", "Cl") if len(by_name) == 2 else ():
        means = [(np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))) for values in (
            by_name["reference"][ion], by_name["ace"][ion])]  # fmt: skip
        sigmas = abs(means[0][0] - means[1][0]) / np.hypot(means[0][1], means[1][1])
        rows.append([ion, *(with_error(*mean) for mean in means), f"{sigmas:.1f}", str(len(by_name["ace"][ion]))])
    return rows


def pressures() -> Rows:
    """Return mean pressures of training data, run and rerun, and two deviations.

    That of the rerun from the training data is the thesis's; that of the run from the rerun, frame by frame, has a
    smaller error.
    """
    rows = []
    for name, what in (("v", "stresses alone"), ("efv", "energies, forces and stresses")):
        file = RUNS / f"rerun-{name}" / "result.json"
        if file.is_file():
            table = read_json(file)["pressures"]
            names = ("train", "run", "rerun", "bias")
            means = [(ATM * table[k]["mean_GPa"], ATM * table[k]["error_GPa"]) for k in names]
            (train, train_error), _, (again, again_error), bias = means
            moved = 100 * np.array([again / train - 1, np.hypot(train_error, again_error) / train])
            off = 100 * np.array(bias) / again
            rows.append([what, *(with_error(*mean) for mean in means[:3]), with_error(*moved), with_error(*off)])
    return rows


Measure = Callable[[], Rows]
TABLES: dict[str, tuple[Measure, str]] = {
    "Bias of the pressure": (pressure_biases, "densities and labels, energy (meV/atom), force (eV/Å), bias (atm)"),
    "Volume per 200 ions at 1,400 K and 1 bar": (volumes, "ions, reference (Å³), ACE (Å³), deviation (%)"),
    "Self-diffusion at 38.6 Å³ per ion": (
        diffusion, "ion, reference (1e-5 cm²/s), ACE (1e-5 cm²/s), standard errors apart, runs",
    ),
    "Mean pressure, as in tables 10.1 and 10.2 of the thesis": (
        pressures,
        "fitted to, training (atm), run (atm), rerun (atm), rerun against training (%), run against rerun (%)",
    ),
}  # fmt: skip


def volume_figure() -> Any:
    """Return the volume over time of both models and both sizes, averaged over half a picosecond."""
    figure = new_figure(3.2, 6.8)
    ax = figure.subplots()
    labels = {"reference": "reference, 216", "ace-216": "ACE, 216", "reference-1000": "reference, 1,000",
              "ace-1000": "ACE, 1,000"}  # fmt: skip
    for k, (name, label) in enumerate(labels.items()):
        if (RUNS / name / "thermo.csv").is_file():
            table = read_thermo(RUNS / name / "thermo.csv")
            held = table["stage"] == table["stage"][-1]
            ions = 1000 if name.endswith("1000") else 216
            time, volume = table["time_ps"][held], 200 / ions * table["volume_A3"][held]
            width = max(1, round(0.5 / (time[1] - time[0])))
            smooth = np.convolve(volume, np.ones(width) / width, "valid")
            ax.plot(time[: len(smooth)] - time[0], smooth, color=color_of(k), lw=1, label=label)
    dress(ax, "time (ps)", "volume per 200 ions (Å³)")
    if ax.lines:
        ax.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def main() -> None:
    """Run what has not been run, and show the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-tables", action="store_true", help="of what has been run")
    arguments = parser.parse_args()
    if not arguments.only_tables:
        fw.pipeline(HERE / "pipeline.yaml", on_stage=lambda stage, state: console.print(f"{stage}: {state}"))
    tables = {title: (headings.split(", "), measure()) for title, (measure, headings) in TABLES.items()}
    sections = []
    for title, (headings, rows) in tables.items():
        console.print(f"\n{title}\n")
        for cells in (headings, ["---"] * len(headings), *rows):
            console.print(f"| {' | '.join(cells)} |", soft_wrap=True)
        figures = [volume_figure()] if title.startswith("Volume") else []
        cells_of_page = {"headings": [(heading, "") for heading in headings], "rows": rows, "style": "plain"}
        sections.append(Section(title, "", figures, [cells_of_page]))
    page = PageContent(
        title="Molten salt at constant pressure", kicker="Forcewright example", sections=sections,
        summary="NaCl at 1,400 K by point charges (the reference) and by ACE fitted to it; errors are by blocks or "
        "between runs. The thesis this follows has 7,771 Å³ for its reference, deviations of 1.2 and 2.8 % for 200 "
        "and 1,000 ions, and 42 % and 17 % between run and rerun.",
        result={"command": "python examples/nacl-npt/study.py"},
    )  # fmt: skip
    write_report(RUNS / "report.html", page)
    write_json(RUNS / "measured.json", {title: rows for title, (_, rows) in tables.items()})
    console.print(f"\nwritten to {RUNS / 'report.html'}", soft_wrap=True)


if __name__ == "__main__":
    main()
