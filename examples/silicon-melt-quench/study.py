"""Tune on Zuo's silicon, validate, melt and quench; the same with Stillinger-Weber and Tersoff; one page on all."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import ase.build
import numpy as np
import yaml
from rich.console import Console

import forcewright as fw
from forcewright import analyze
from forcewright.files import atomic_write
from forcewright.protocols.relaxation import relax
from forcewright.recipes.analyze import Selection
from forcewright.recipes.force_fields import force_field
from forcewright.recipes.validate import sections as physics_sections
from forcewright.report import Card, PageContent, Section, write_report
from forcewright.report.drawing import color_of, dress, new_figure
from forcewright.trajectory import read_thermo

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "../../runs/silicon-melt-quench"
CLASSICAL = {
    "Stillinger-Weber": {"lammps": {"pair_style": "sw", "pair_coeff": "* * Si.sw Si"}},
    "Tersoff": {"lammps": {"pair_style": "tersoff", "pair_coeff": "* * SiC.tersoff Si"}},
}
BOND = 2.9  # Å, near the first minimum of g(r) in the glass
REFERENCE = HERE / "../../../shared/data/si-castep/model-CASTEP_ASE-test-liquid-properties.json"
console = Console()


def quench(name: str, config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Melt and quench with one potential; return the run and the analyses of its phases."""
    console.print(f"melt and quench with {name}")
    result = fw.simulate({**config, "output": str(folder)})
    console.print(f"  {result.reason}: {result.time_ps:g} ps, {result.wall_s:.0f} s", highlight=False)
    source = force_field(config["potential"], HERE)
    crystal = relax(source.calculator, ase.build.bulk("Si", cubic=True), cell="isotropic")
    run: dict[str, Any] = {
        "name": name, "result": result, "thermo": read_thermo(result.thermo), "crystal_eV": crystal.energy_eV / 8,
    }  # fmt: skip
    for phase, stage in (("liquid", "liquid"), ("glass", "anneal")):
        frames = second_half(run, stage)
        if frames is not None:
            run[phase] = {
                "g(r)": analyze.rdf(frames, r_max=8.0, bins=160), "angles": analyze.adf(frames, cutoff=BOND),
                "neighbors": analyze.coordination(frames, cutoff=BOND), "rings": analyze.rings(frames, cutoff=BOND),
                "S(q)": analyze.structure_factor(frames, q_max=10.0),
            }  # fmt: skip
    return run


def second_half(run: dict[str, Any], stage: str) -> Selection | None:
    """Return the frames of the second half of a stage, None if the run did not get there."""
    times = run["thermo"]["time_ps"][run["thermo"]["stage"] == stage]
    if len(times) < 2 or not run["result"].completed:
        return None
    return Selection(run["result"].trajectory, start_ps=0.5 * (times[0] + times[-1]), end_ps=times[-1])


def row(run: dict[str, Any]) -> list[str]:
    """Return a row of text about the quench with one potential."""
    result, thermo = run["result"], run["thermo"]
    if not result.completed:
        return [run["name"], *["–"] * 6, f"broke at {result.time_ps:.1f} ps", f"{result.wall_s:.0f}"]
    last = thermo["stage"] == "relax"
    density = thermo["density_g_cm3"][last][-1]
    energy = thermo["potential_eV"][last][-1] / len(result.final) - run["crystal_eV"]
    glass, liquid = run["glass"], run["liquid"]
    shares = glass["neighbors"].distribution_total
    fourfold = 100.0 * shares[list(glass["neighbors"].neighbors).index(4)]
    return [
        run["name"], f"{liquid['neighbors'].mean_total:.2f}", f"{glass['neighbors'].mean_total:.2f}",
        f"{fourfold:.0f}", f"{energy:.3f}", f"{density:.2f}", f"{width(glass['angles']):.1f}",
        "survived", f"{result.wall_s:.0f}",
    ]  # fmt: skip


def width(angles: Any) -> float:
    """Return the standard deviation of the angles in degrees."""
    mean = np.average(angles.angle, weights=angles.p)
    return float(np.sqrt(np.average((angles.angle - mean) ** 2, weights=angles.p)))


CURVES = {
    "g(r)": ("r", "g", "r (Å)", "g(r)"), "angles": ("angle", "p", "angle (°)", "density (1/°)"),
    "S(q)": ("q", "s", "q (1/Å)", "S(q)"), "rings": ("size", "rings_per_atom", "atoms in the ring", "rings per atom"),
}  # fmt: skip


def draw(runs: list[dict[str, Any]], phase: str) -> list[Any]:
    """Draw the curves of all potentials in one phase, a figure for each analysis."""
    figures = []
    for name, (x, y, x_label, y_label) in CURVES.items():
        figure = new_figure(3.0, 4.7)
        ax = figure.subplots()
        for k, run in enumerate(runs):
            if phase in run:
                analysis = run[phase][name]
                ax.plot(getattr(analysis, x), getattr(analysis, y), color=color_of(k), lw=1.2, label=run["name"],
                        marker="o" if name == "rings" else "", ms=3)  # fmt: skip
        if phase == "liquid" and name == "g(r)" and REFERENCE.exists():
            curve = np.array(json.loads(REFERENCE.read_text())["liquid_rdf"])
            near = curve[:, 0] < 5.2  # beyond, the small cell of the reference cuts it off
            ax.plot(*curve[near].T, "--", color="black", lw=1, label="DFT, 2,500 K")
        dress(ax, x_label, y_label)
        ax.legend(frameon=False, fontsize=8)
        figures.append(figure)
    return figures


def draw_quench(runs: list[dict[str, Any]]) -> Any:
    """Draw energy above the crystal and density over temperature, or up to where a run broke."""
    figure = new_figure(3.2)
    for ax, (column, label) in zip(
        figure.subplots(1, 2),
        (("potential_eV", "energy above the crystal (eV/atom)"), ("density_g_cm3", "density (g/cm³)")),
        strict=True,
    ):
        for k, run in enumerate(runs):
            thermo = run["thermo"]
            cooling = thermo["stage"] == "quench"
            values = thermo[column][cooling]
            if column == "potential_eV":
                values = values / len(run["result"].final) - run["crystal_eV"]
            smooth = np.ones(100) / 100
            if len(values) > 200:
                ax.plot(np.convolve(thermo["target_temperature_K"][cooling], smooth, "valid"),
                        np.convolve(values, smooth, "valid"), color=color_of(k), lw=1.2, label=run["name"])  # fmt: skip
        dress(ax, "temperature (K)", label)
    ax.legend(frameon=False, fontsize=8)
    return figure


def write_page(runs: list[dict[str, Any]], tuned: Any, physics: Any, seconds: float) -> None:
    """Write the page and result.json."""
    headings = [
        ("potential", ""), ("neighbors in the liquid", ""), ("in the glass", ""), ("fourfold", "%"),
        ("relaxed, above the crystal", "eV/atom"), ("density, relaxed", "g/cm³"), ("width of angles", "°"),
        ("run", ""), ("wall time", "s"),
    ]  # fmt: skip
    rows = [row(run) for run in runs]
    table = {"headings": headings, "rows": rows, "style": "plain"}
    test = tuned.test.overall
    broken = [f"{run['name']}: {run['result'].reason}" for run in runs if not run["result"].completed]
    page = PageContent(
        title="Silicon: melt and quench", kicker="Forcewright example", warnings=broken,
        summary=(
            "512 atoms are melted at 4,000 K, held as a liquid at 2,000 K and zero pressure, quenched to 500 K at "
            "1e13 K/s, annealed and relaxed: with an ACE tuned on Zuo's silicon, and with two classical potentials.\n\n"
            "Zuo's data hold crystals, surfaces, vacancies and molecular dynamics at the volume of the crystal; an "
            "amorphous solid is outside of what the tuned potential was shown. Experiment finds 3.9 neighbors, a "
            "density of 2.28 g/cm³ and angles spread by 10 to 11° in amorphous silicon; a quench this fast leaves "
            "more defects."
        ),
        cards=[
            Card("energy error, test set", f"{test.energy_rmse_meV_per_atom:.2f}", "meV/atom"),
            Card("force error, test set", f"{test.force_rmse_eV_per_A:.3f}", "eV/Å"),
            Card("physics within tolerance", str(physics.count("pass")), "", f"{physics.count('fail')} outside"),
            Card("the whole study", f"{seconds / 60:.0f}", "min"),
        ],
        sections=[
            Section("Melt and quench", "", [draw_quench(runs)], [table]),
            Section("The liquid at 2,000 K", "", draw(runs, "liquid"), paired=True),
            Section("The glass at 500 K", "", draw(runs, "glass"), paired=True),
            *(section._replace(title=f"Physics: {section.title.lower()}") for section in physics_sections(physics)),
        ],
        result={"command": "python examples/silicon-melt-quench/study.py"},
    )  # fmt: skip
    write_report(OUTPUT / "report.html", page)
    summary = {
        "seconds": seconds, "rows": [dict(zip((h for h, _ in headings), cells, strict=True)) for cells in rows],
        "physics": [vars(row) for row in physics.rows],
    }  # fmt: skip
    atomic_write(OUTPUT / "result.json", json.dumps(summary, indent=1, default=float) + "\n")


def main() -> None:
    start = time.perf_counter()
    if not (HERE / "../../../shared/data/zuo2020/Si_train.extxyz").exists():
        sys.exit("this example needs Zuo's silicon data: change the paths in tune.yaml to where they lie")
    console.print("tune")
    tuned = fw.tune(HERE / "tune.yaml")
    console.print("validate against DFT")
    physics = fw.validate(HERE / "validate.yaml", potential=OUTPUT / "tune" / "potential")
    console.print(str(physics), highlight=False, markup=False)
    config = yaml.safe_load((HERE / "quench.yaml").read_text())
    config["potential"] = str((HERE / config["potential"]).resolve())
    runs = [quench("tuned ACE", config, OUTPUT / "ace")]
    for name, potential in CLASSICAL.items():
        folder = OUTPUT / name.lower().replace("-", "_")
        runs.append(quench(name, {**config, "potential": potential, "engine": "lammps"}, folder))
    write_page(runs, tuned, physics, time.perf_counter() - start)
    console.print(f"written to {(OUTPUT / 'report.html').resolve()}", soft_wrap=True)


if __name__ == "__main__":
    main()
