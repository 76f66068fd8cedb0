"""Spectra of silicon in oxides: held-back tensors of two models, and cristobalite in motion.

    forcewright pipeline examples/silicate-nmr/pipeline.yaml
    python examples/silicate-nmr/study.py [--folder runs/silicate-nmr]

Prints what motion makes of the tensors of α- and β-cristobalite. With mrsimulator (extra nmr) it draws spectra.png:
static and spinning spectra of both and of their mixture, and those of the 360 oxides by labels and by both models.
"""

from __future__ import annotations

import argparse
import csv
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from forcewright import analyze
from forcewright.analyze import NuclearResonance
from forcewright.properties.powder_spectra import PowderSpectrum, Sites, mixed, powder_spectra
from forcewright.recipes.analyze import Selection
from forcewright.structure import FloatArray

ROOT = Path(__file__).parents[2]
ALPHA_PPM = (
    -108.5
)  # measured shift of α-cristobalite (Spearing, Farnan and Stebbins, Phys. Chem. Miner. 19, 307 (1992))
FIELD_T = 9.4
COLORS = ("#1f4e79", "#b5482a", "#4f7a3a", "#8a9099")


def averages(folder: Path) -> dict[str, NuclearResonance]:
    """Return averages over the runs of both forms, and print them."""
    made = {}
    for name in ("alpha", "beta"):
        frames = Selection(folder / name / "trajectory.extxyz", start_ps=2.0)
        made[name] = analyze.nmr(frames, model=folder / "shielding")
        still, moving = made[name].single_frames, made[name].averaged_tensors
        print(f"{name}: {moving['isotropic_ppm']:.1f} ppm; span of single frames {still['span_ppm']:.0f} ppm, of "
              f"averaged tensors {moving['span_ppm']:.0f} ppm")  # fmt: skip
    return made


def of_cristobalite(folder: Path, reference: float) -> dict[str, dict[str, PowderSpectrum]]:
    """Return static and spinning spectra of averaged tensors, of frozen ones, and of a mixture of both forms."""
    spectra: dict[str, dict[str, PowderSpectrum]] = {}
    for title, spinning in (("static", 0.0), ("spinning at the magic angle", float("inf"))):
        made: dict[str, PowderSpectrum] = {}
        for name in ("alpha", "beta"):
            for motion in ("fast", "frozen"):
                frames = Selection(folder / name / "trajectory.extxyz", start_ps=2.0)
                result = analyze.nmr_spectrum(
                    frames, isotope="29Si", model=folder / "shielding", reference_ppm=reference, motion=motion,
                    spinning_kHz=spinning, linewidth_ppm=1.0, range_ppm=(-170, -50), field_T=FIELD_T,
                )  # fmt: skip
                made[f"{name}, {motion}"] = PowderSpectrum(
                    result.shift_ppm, result.intensity["model"], np.zeros(0), np.zeros((0, 0))
                )
        greek = {"alpha, fast": "α", "beta, fast": "β", "beta, frozen": "β if nothing moved"}
        spectra[title] = {greek[key]: part for key, part in made.items() if key in greek}
        spectra[title]["half α, half β"] = mixed([made["alpha, fast"], made["beta, fast"]], [50, 50])
    return spectra


def tensors(table: Path) -> tuple[FloatArray, FloatArray]:
    """Return labels and held-back predictions (n, 9) of a study."""
    with table.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["set"] == "held back"]
    axes = [f"_{a}{b}" for a in "xyz" for b in "xyz"]
    parts = [
        np.array([[float(row[f"{part}{axis}"]) for axis in axes] for row in rows]) for part in ("label", "predicted")
    ]
    return parts[0], parts[1]


def draw(folder: Path, reference: float) -> None:
    """Draw spectra of cristobalite, and of all oxides by labels and by models."""
    figure = Figure(figsize=(10.5, 7.6), layout="constrained")
    panels = figure.subplots(2, 2)
    for ax, (title, parts) in zip(panels[0], of_cristobalite(folder, reference).items(), strict=True):
        stack(ax, parts, f"cristobalite, {title}")
    labels, large = tensors(folder / "shielding" / "predictions.csv")
    _, small = tensors(folder / "small" / "predictions.csv")
    sets = {"DFT": labels, "model": large, "small model": small}
    sites = {name: Sites("29Si", values, reference_ppm=reference) for name, values in sets.items()}
    stack(panels[1, 0], powder_spectra(sites, spinning_kHz=float("inf"), linewidth_ppm=2.0, field_T=FIELD_T),
          f"all {len(labels)} sites of the data, spinning")  # fmt: skip
    panels[1, 0].set_xlim(-70, -180)
    maps = powder_spectra(
        {name: sites[name] for name in ("DFT", "model")}, map="anisotropy", linewidth_ppm=2.0, points=256
    )
    ax = panels[1, 1]
    for (name, part), color in zip(maps.items(), COLORS, strict=False):
        levels = part.map.max() * np.geomspace(0.01, 0.9, 7)
        ax.contour(part.shift_ppm, part.second_ppm, part.map, levels=levels, colors=color, linewidths=0.8)
        ax.plot([], [], color=color, label=name)
    ax.set(xlabel="isotropic shift (ppm)", ylabel="anisotropic shift (ppm)", xlim=(-60, -150), ylim=(60, -60))
    ax.set_title("all sites, a map of both shifts", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "spectra.png", dpi=150)
    print(f"drawn: {folder / 'spectra.png'}")


def stack(ax: object, parts: dict[str, PowderSpectrum], title: str) -> None:
    """Draw spectra above one another, each as high as the highest."""
    for k, ((name, part), color) in enumerate(zip(parts.items(), COLORS, strict=False)):
        ax.plot(part.shift_ppm, part.intensity / part.intensity.max() - 1.1 * k, color=color, linewidth=1.3, label=name)
    first = next(iter(parts.values()))
    ax.set(xlabel="shift (ppm)", yticks=[], xlim=(first.shift_ppm[-1], first.shift_ppm[0]))
    ax.set_title(title, fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper left")


def main() -> None:
    """Print averages, and draw the spectra."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "silicate-nmr")
    folder = parser.parse_args().folder
    missing = [name for name in ("shielding/model", "small/model", "alpha/trajectory.extxyz", "beta/trajectory.extxyz")
               if not (folder / name).exists()]  # fmt: skip
    if missing:
        sys.exit(f"{folder / missing[0]} does not exist; run forcewright pipeline examples/silicate-nmr/pipeline.yaml "
                 "first (its data are looked for in shared/data/nmr beside the repository)")  # fmt: skip
    made = averages(folder)
    reference = ALPHA_PPM + made["alpha"].averaged_tensors["isotropic_ppm"]
    print(f"shielding at 0 ppm, from the measured shift of alpha: {reference:.1f} ppm; beta then at "
          f"{reference - made['beta'].averaged_tensors['isotropic_ppm']:.1f} ppm")  # fmt: skip
    if find_spec("mrsimulator") is None:
        print('no spectra: mrsimulator is not installed; install it with: pip install "forcewright[nmr]"')
        return
    draw(folder, reference)


if __name__ == "__main__":
    main()
