"""Molten salt at constant pressure from data to tables: runs pipeline.yaml, then shows what was measured.

Run it again to go on where it was stopped; ``--only-tables`` runs nothing. ``--demo`` runs every stage with small
cells, short times and small potentials, in minutes: what it measures means nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase.units import kB
from reweighting import with_block_errors
from rich.console import Console
from scipy.stats import binomtest

import forcewright as fw
from forcewright import analyze
from forcewright.analyze.block_average import Mean
from forcewright.files import atomic_write, write_json
from forcewright.plain_data import read_json, read_yaml
from forcewright.recipes.analyze import Selection
from forcewright.report import PageContent, Section, write_report
from forcewright.report.drawing import color_of, dress, new_figure
from forcewright.report.numbers import with_error
from forcewright.trajectory import read_thermo, snapshots

HERE = Path(__file__).resolve().parent
ATM = 9869.233  # per GPa
KELVIN = 1400.0
console = Console(highlight=False)

Rows = list[list[str]]


def pressure_biases(runs: Path) -> Rows:
    """Return the bias of the pressure of each fit, from the frames that it had not seen."""
    rows = []
    for name, what in (
        ("one-e", "ACE: one, energies"), ("one-ef", "ACE: one, energies and forces"), ("one-v", "ACE: one, stresses"),
        ("one-efv", "ACE: one, all"), ("five-ef", "ACE: five, energies and forces"), ("five-efv", "ACE: five, all"),
        ("dense-v", "ACE: 34.8 Å³, stresses"), ("dense-efv", "ACE: 34.8 Å³, all"),
        ("dense-gap-v", "GAP: 34.8 Å³, stresses"), ("dense-gap-efv", "GAP: 34.8 Å³, all"),
    ):  # fmt: skip
        if (runs / name / "result.json").is_file():
            errors = read_json(runs / name / "result.json")["validation"]
            keys = ("energy_rmse_meV_per_atom", "force_rmse_eV_per_A", "pressure_bias_GPa")
            energy, force, bias = (np.nan if errors.get(key) is None else errors[key] for key in keys)
            its_error = errors["standard_error"].get("pressure_bias_GPa") or np.nan  # of few frames it is not known
            rows.append([what, f"{energy:.3g}", f"{force:.3g}", with_error(ATM * bias, ATM * its_error)])
    return rows


def ions_of(folder: Path) -> int:
    """Return the number of ions of a run."""
    return len(next(snapshots(folder / "final.extxyz")))


def volumes(runs: Path) -> Rows:
    """Return the volume per 200 ions of reference and potential, in equilibrium at 1 bar, with errors by blocks."""
    rows = []
    for size in (216, 1000):
        means: list[Mean] = []
        for name in ("reference", "ace"):
            folder = runs / (f"{name}-{size}" if name == "ace" or size == 1000 else name)
            if (folder / "final.extxyz").is_file():
                averages = analyze.thermodynamics(folder / "thermo.csv")
                ions = ions_of(folder)
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


def reweighted_volumes(runs: Path) -> Rows:
    """Return both volumes from the frames of both runs, each weighted by the energy that the other gives it."""
    samples = []
    for name, sign in (("ace-216", -1.0), ("reference", 1.0)):  # an error is that of the potential which ran
        labelled = runs / f"rerun-{name}"
        if not (labelled / "frames.csv").is_file():
            return []
        thermo = read_thermo(runs / name / "thermo.csv")
        since = float(np.min(thermo["time_ps"][thermo["stage"] == thermo["stage"][-1]]))
        table = np.genfromtxt(labelled / "frames.csv", delimiter=",", names=True)
        frames = fw.read(labelled / "rerun.extxyz")
        kept = table["time_ps"] >= since
        ions = len(frames[0].structure)
        apart = sign * ions / 1000.0 * table["energy_error_meV_per_atom"]
        volume = 200.0 / ions * np.array([frame.structure.volume for frame in frames])
        samples.append((apart[kept], volume[kept]))
    means, errors = with_block_errors(samples[0], samples[1], kB * KELVIN)
    (ace, reference, off), (ace_error, reference_error, off_error) = means, errors
    return [[f"{ions:,}", with_error(reference, reference_error), with_error(ace, ace_error),
             with_error(100 * off, 100 * off_error)]]  # fmt: skip


def diffusion(runs: Path) -> Rows:
    """Return self-diffusion by reference and potential: means over runs, with the error that their spread gives."""
    by_name: dict[str, dict[str, list[float]]] = {}
    for name in ("reference", "ace"):
        for finished in sorted((runs / f"{name}-diffusion").glob("run-*/result.json")):
            first = read_json(finished)["stages"][0]["steps"]  # in which it comes to its equilibrium
            thermo = read_thermo(finished.with_name("thermo.csv"))
            since = float(np.max(thermo["time_ps"][thermo["step"] <= first]))
            measured = analyze.diffusion(Selection(finished.with_name("trajectory.extxyz"), start_ps=since))
            for ion in ("Na", "Cl"):
                by_name.setdefault(name, {}).setdefault(ion, []).append(1e5 * measured.D[ion])
    rows = []
    for ion in ("Na", "Cl") if len(by_name) == 2 else ():
        means = [(np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))) for values in (
            by_name["reference"][ion], by_name["ace"][ion])]  # fmt: skip
        sigmas = abs(means[0][0] - means[1][0]) / np.hypot(means[0][1], means[1][1])
        counts = f"{len(by_name['reference'][ion])}, {len(by_name['ace'][ion])}"
        rows.append([ion, *(with_error(*mean) for mean in means), f"{sigmas:.1f}", counts])
    return rows


def pressures(runs: Path) -> Rows:
    """Return mean pressures of training data, run and rerun, and two deviations.

    That of the rerun from the training data is the thesis's; that of the run from the rerun, frame by frame, has a
    smaller error.
    """
    rows = []
    for name, what in (("gap-v", "GAP: stresses alone"), ("v", "ACE: stresses alone"),
                       ("gap-efv", "GAP: all three"), ("efv", "ACE: all three")):  # fmt: skip
        file = runs / f"rerun-{name}" / "result.json"
        if file.is_file():
            table = read_json(file)["pressures"]
            names = ("train", "run", "rerun", "bias")
            unknown = {"mean_GPa": np.nan, "error_GPa": np.nan}  # of too few frames at that density
            means = [tuple(ATM * (table[k] or unknown)[of] for of in ("mean_GPa", "error_GPa")) for k in names]
            (train, train_error), _, (again, again_error), bias = means
            moved = 100 * np.array([again / train - 1, np.hypot(train_error, again_error) / train])
            off = 100 * np.array(bias) / again
            rows.append([what, *(with_error(*mean) for mean in means[:3]), with_error(*moved), with_error(*off)])
    return rows


def mended(runs: Path) -> Rows:
    """Return why the potential of the crystal breaks, and how many runs survive once it has learned."""
    rows = []
    if (runs / "diagnosis" / "result.json").is_file():
        found = read_json(runs / "diagnosis" / "result.json")
        known = [a for a in found["anomalies"] if a["time_ps"] is not None]
        first = min(known, key=lambda a: a["time_ps"])["indicator"] if known else "nothing"
        rows.append(["before", "0", f"breaks at {found['end_ps']:.3g} ps: {found['verdict']['cause']}; first {first}"])
    if (runs / "mended" / "result.json").is_file():
        labels = read_json(runs / "learn" / "result.json")["labels"]
        runs_of = [read_json(file) for file in sorted((runs / "mended").glob("run-*/result.json"))]
        alive = sum(result["completed"] for result in runs_of)
        low, high = binomtest(alive, len(runs_of)).proportion_ci(0.95, method="wilson")
        rows.append(
            ["learned", str(labels), f"{alive} of {len(runs_of)} survive ({100 * low:.0f} to {100 * high:.0f} %)"]
        )
    return rows


Measure = Callable[[Path], Rows]
TABLES: dict[str, tuple[Measure, str]] = {
    "Bias of the pressure": (pressure_biases, "densities and labels, energy (meV/atom), force (eV/Å), bias (atm)"),
    "Volume per 200 ions at 1,400 K and 1 bar": (volumes, "ions, reference (Å³), ACE (Å³), deviation (%)"),
    "The same from the frames of both runs, reweighted": (
        reweighted_volumes, "ions, reference (Å³), ACE (Å³), deviation (%)",
    ),
    "Self-diffusion at 38.6 Å³ per ion": (
        diffusion, "ion, reference (1e-5 cm²/s), ACE (1e-5 cm²/s), standard errors apart, runs",
    ),
    "Mean pressure, as in tables 10.1 and 10.2 of the thesis": (
        pressures,
        "fitted to, training (atm), run (atm), rerun (atm), rerun against training (%), run against rerun (%)",
    ),
    "A potential of the crystal in the melt": (mended, "potential, labels, at 1 bar and 1400 K"),
}  # fmt: skip


def volume_figure(runs: Path) -> Any:
    """Return the volume over time of both models and both sizes, averaged over half a picosecond."""
    figure = new_figure(3.2, 6.8)
    ax = figure.subplots()
    labels = {"reference": "reference, 216", "ace-216": "ACE, 216", "reference-1000": "reference, 1,000",
              "ace-1000": "ACE, 1,000"}  # fmt: skip
    for k, (name, label) in enumerate(labels.items()):
        if (runs / name / "thermo.csv").is_file():
            table = read_thermo(runs / name / "thermo.csv")
            held = table["stage"] == table["stage"][-1]
            time, volume = table["time_ps"][held], 200 / ions_of(runs / name) * table["volume_A3"][held]
            width = max(1, round(0.5 / (time[1] - time[0])))
            smooth = np.convolve(volume, np.ones(width) / width, "valid")
            ax.plot(time[: len(smooth)] - time[0], smooth, color=color_of(k), lw=1, label=label)
    dress(ax, "time (ps)", "volume per 200 ions (Å³)")
    if ax.lines:
        ax.legend(frameon=False, fontsize=8, ncols=2)
    return figure


#: What the demo makes of numbers in configs, by their keys.
SMALLER: dict[str, Callable[[Any], Any]] = {
    "time_ps": lambda value: value / 20, "equilibration_ps": lambda value: value / 20,
    "spacing_fs": lambda value: value / 10, "every_fs": lambda value: value / 20,
    "thermo_every_fs": lambda value: value / 20, "count": lambda value: max(4, value // 4) if value > 10 else value,
    "repeat": lambda value: min(value, 2), "functions": lambda value: min(value, 40), "rcut": lambda value: 6.0,
    "cutoff": lambda value: 6.0, "n_sparse": lambda value: value // 10, "kfold": lambda value: 2,
    "runs": lambda value: min(value, 2), "index": lambda value: min(value, 2), "frames": lambda value: min(value, 30),
    "evaluations": lambda value: 5,
}  # fmt: skip


def smaller(content: Any) -> Any:
    """Return the content of a config with cells, times and potentials of the demo."""
    if isinstance(content, list):
        return [smaller(part) for part in content]
    if not isinstance(content, dict):
        return content
    made = {key: SMALLER[key](value) if key in SMALLER and isinstance(value, int | float) else smaller(value)
            for key, value in content.items()}  # fmt: skip
    return {**made, "stability": "off"} if "data" in content else made


def write_demo(folder: Path) -> None:
    """Write the configs of the demo to a folder, where those that are unchanged are left as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(HERE.glob("*.yaml")):
        text = yaml.safe_dump(smaller(read_yaml(file)), sort_keys=False, allow_unicode=True)
        atomic_write(folder / file.name, f"# {file.name} of the example, made small by study.py --demo\n{text}")


def main() -> None:
    """Run what has not been run, and show the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-tables", action="store_true", help="of what has been run")
    parser.add_argument("--demo", action="store_true", help="everything small, in runs/nacl-npt-demo")
    arguments = parser.parse_args()
    configs = (HERE / "../../runs/nacl-npt-demo/examples/nacl-npt").resolve() if arguments.demo else HERE
    runs = (configs / "../../runs/nacl-npt").resolve()
    if arguments.demo:
        write_demo(configs)
    if not arguments.only_tables:
        fw.pipeline(configs / "pipeline.yaml", on_stage=lambda stage, state: console.print(f"{stage}: {state}"))
    tables = {title: (headings.split(", "), measure(runs)) for title, (measure, headings) in TABLES.items()}
    sections = []
    for title, (headings, rows) in tables.items():
        console.print(f"\n{title}\n")
        for cells in (headings, ["---"] * len(headings), *rows):
            console.print(f"| {' | '.join(cells)} |", soft_wrap=True)
        figures = [volume_figure(runs)] if title.startswith("Volume") else []
        cells_of_page = {"headings": [(heading, "") for heading in headings], "rows": rows, "style": "plain"}
        sections.append(Section(title, "", figures, [cells_of_page]))
    page = PageContent(
        title="Molten salt at constant pressure", kicker="Forcewright example", sections=sections,
        summary="NaCl at 1,400 K by point charges (the reference) and by ACE fitted to it; errors are by blocks or "
        "between runs. The thesis this follows has 7,771 Å³ for its reference, deviations of 1.2 and 2.8 % for 200 "
        "and 1,000 ions, and 42 % and 17 % between run and rerun.",
        result={"command": "python examples/nacl-npt/study.py"},
    )  # fmt: skip
    write_report(runs / "report.html", page)
    write_json(runs / "measured.json", {title: rows for title, (_, rows) in tables.items()})
    console.print(f"\nwritten to {runs / 'report.html'}", soft_wrap=True)


if __name__ == "__main__":
    main()
