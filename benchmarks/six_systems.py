"""Six systems by default settings: errors, cost, curves of pairs, survival in dynamics, share of frames outside.

Each is fitted with nothing but its data, ``kind: ace`` and, where the data ask for it, one set of weights. Then the
potential is looked at where the data are silent: the energy of every pair of its elements from 0.4 Å on, and ten runs
of 20 ps of Langevin dynamics from frames of the training data, which no monitor may stop (that of extrapolation only
counts). A molecule has also to stay whole: heavy atoms keep their bonds, and every hydrogen atom stays bonded to some.

    python benchmarks/six_systems.py acetylacetone [--output runs/six] [--step N] [--runs 10] [--picoseconds 20]
    python benchmarks/six_systems.py   (the table of what has been measured)

What a system gave is kept in its folder, fit and runs too: repeated, the command goes on where it was.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from ase.data import chemical_symbols, covalent_radii
from rich.console import Console
from rich.table import Table

import forcewright as fw
from forcewright.data.closest_pairs import shortest_distances
from forcewright.features.ace.radial import zbl_repulsion
from forcewright.fitting.cost import time_per_atom
from forcewright.force_field import ForceField
from forcewright.neighbors import find_neighbors
from forcewright.potential import Potential
from forcewright.recipes.extrapolation import extrapolation_of
from forcewright.simulation import Monitors, RunSettings, SimulationResult, Stage, run
from forcewright.structure import Dataset, Structure

ROOT = Path(__file__).resolve().parents[1]
FIRST_A, STEP_A = 0.4, 0.01  # of the curves of pairs


@dataclass(frozen=True)
class System:
    """One of the six.

    ``start`` is a word that the groups of frames have from which runs start, and ``apart`` names further test sets.
    """

    train: tuple[str, ...]
    test: str
    kelvin: float
    timestep_fs: float
    start: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    molecular: bool = False
    apart: tuple[str, ...] = ()
    build: Callable[[int], Structure] | None = None


def quaternary(seed: int) -> Structure:
    """Return 54 atoms of bcc NbMoTaW in random order: the data hold elements and binaries alone."""
    atoms = bulk("Mo", "bcc", a=3.24, cubic=True) * (3, 3, 3)
    elements = np.random.default_rng(seed).permutation((["Nb", "Mo", "Ta", "W"] * 14)[: len(atoms)])
    atoms.set_chemical_symbols(elements.tolist())
    return Structure.from_ase(atoms)


SYSTEMS = {
    "water": System(
        ("water/water_rpbe_d3_train25.extxyz", "water/water_rpbe_d3_validation5.extxyz"),
        "water/water_rpbe_d3_test10.extxyz", 300, 0.5, molecular=True,
    ),
    "acetylacetone": System(
        ("acac/train_300K.xyz", "acac/isolated_atoms.xyz"), "acac/test_MD_300K.xyz", 300, 0.5, molecular=True,
        apart=("acac/test_MD_600K.xyz", "acac/test_dihedral.xyz", "acac/test_H_transfer.xyz"),
    ),
    "Mo": System(("zuo2020/Mo_train.extxyz",), "zuo2020/Mo_test.extxyz", 3000, 1.0, "AIMD"),
    "Si": System(("zuo2020/Si_train.extxyz",), "zuo2020/Si_test.extxyz", 2000, 1.0, "AIMD"),
    "diamond": System(
        (str(ROOT / "examples/hv-diamond/train.extxyz"),), str(ROOT / "examples/hv-diamond/test.extxyz"), 800, 0.5,
        "hv_800K",
    ),
    "alloys": System(
        tuple(f"alloys/NbMoTaW_{k}.extxyz.gz" for k in (*(f"binaries_train_{i}" for i in range(3)), "elements_train")),
        "alloys/NbMoTaW_test.extxyz.gz", 1500, 1.0, settings={"weights": {"by": "all"}}, build=quaternary,
    ),
}  # fmt: skip


def read(paths: tuple[str, ...], data: Path, folder: Path) -> Dataset:
    """Return the frames of files of the data."""
    found = []
    for path in paths:
        file = data / path
        if file.suffix == ".gz":
            file = folder / Path(path).stem
            file.write_bytes(gzip.decompress((data / path).read_bytes()))
        found.append(file)
    return fw.read(found)


# ----------------------------------------------------------------------------------- pairs


def pair_curves(potential: Potential, shortest: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return by pair what its energy does below its shortest distance in the data.

    ``deepest_eV`` is how far the energy falls at most on the way in, ``least_force`` the least repulsion (eV/Å),
    ``drop_eV_per_A`` by how much the repulsion falls at most on the way in, and ``zbl`` the ratio of the repulsion at
    0.4 Å to that of bare nuclei.
    """
    curves = {}
    for pair, last in shortest.items():
        numbers = np.array([chemical_symbols.index(symbol) for symbol in pair.split("-")])
        distances = np.arange(FIRST_A, last, STEP_A)[::-1]
        structures = [
            Structure(numbers, np.outer([0.0, r], [0, 0, 1]), np.zeros((3, 3)), np.zeros(3, bool)) for r in distances
        ]
        predictions = potential.predict(structures, stress=False)
        energies = np.array([p.energy for p in predictions])
        forces = np.array([p.forces[1, 2] for p in predictions if p.forces is not None])
        core = -float(zbl_repulsion(int(numbers[0]), int(numbers[1]), distances[-1:])[1][0])
        curves[pair] = {
            "shortest_A": last, "deepest_eV": float((np.maximum.accumulate(energies) - energies).max()),
            "least_force": float(forces.min()),
            "drop_eV_per_A": float((np.maximum.accumulate(forces) - forces).max()),
            "zbl": float(forces[-1] / core),
        }  # fmt: skip
    return curves


# ----------------------------------------------------------------------------------- dynamics


def start_of(system: System, train: Dataset, seed: int) -> Structure:
    """Return the structure that a run starts from."""
    if system.build is not None:
        return system.build(seed)
    usual = np.bincount([len(s) for s, group in zip(train.structures, train.groups, strict=True) if len(s) > 1
                         and system.start in group]).argmax()  # fmt: skip
    frames = [
        s for s, group in zip(train.structures, train.groups, strict=True) if len(s) == usual and system.start in group
    ]
    return frames[int(np.random.default_rng([17, seed]).integers(len(frames)))]


def broken_bonds(start: Structure, end: Structure) -> list[str]:
    """Return bonds between heavy atoms that are gone, and hydrogen atoms that are bonded to none."""
    radii = covalent_radii[start.numbers]

    def bonds(structure: Structure, stretch: float) -> set[tuple[int, int]]:
        pairs = find_neighbors(structure, 2 * stretch * float(radii.max()))
        near = pairs.distances < stretch * (radii[pairs.centers] + radii[pairs.indices])
        return {(int(i), int(j)) for i, j in zip(pairs.centers[near], pairs.indices[near], strict=True)}

    heavy = start.numbers > 1
    now = bonds(end, 1.6)
    gone = [(i, j) for i, j in bonds(start, 1.25) if i < j and heavy[i] and heavy[j] and (i, j) not in now]
    free = [i for i in np.flatnonzero(~heavy).tolist() if not any(a == i and heavy[b] for a, b in now)]
    return [f"bond {i}-{j}" for i, j in gone] + [f"hydrogen atom {i} free" for i in free]


def dynamics(
    system: System, potential: Potential, train: Dataset, folder: Path, runs: int, ps: float
) -> list[dict[str, Any]]:
    """Run and return what became of each run."""
    source = ForceField.of_potential(potential, "the potential", "measured")
    rows = []
    for seed in range(runs):
        start = start_of(system, train, seed)
        stage = Stage.model_validate(
            {"ensemble": "nvt", "thermostat": "langevin", "temperature_K": system.kelvin, "time_ps": ps,
             "timestep_fs": system.timestep_fs}
        )  # fmt: skip
        settings = RunSettings(monitors=Monitors(extrapolation_factor="warn", every_fs=50.0))
        began = time.process_time()
        result = run(source, start, [stage], folder / f"run-{seed}", seed=seed, settings=settings)
        broken = broken_bonds(start, result.final.structure) if system.molecular and result.completed else []
        rows.append(
            {"completed": result.completed, "time_ps": result.time_ps, "reason": result.reason, "broken": broken,
             "survived": result.completed and not broken, **looked(result), "cpu_s": time.process_time() - began}
        )  # fmt: skip
        print(f"run {seed}: {rows[-1]}", flush=True)
    return rows


def looked(result: SimulationResult) -> dict[str, Any]:
    """Return how often a run was looked at and outside, when first, and the furthest in units of the limit."""
    table = np.genfromtxt(result.folder / "extrapolation.csv", delimiter=",", names=True, ndmin=1)
    ratio = table["largest"] / table["limit"]
    outside = ~(ratio <= 1.0)
    first = float(table["time_ps"][outside][0]) if outside.any() else None
    stops = ~(ratio <= 10.0)
    return {
        "looks": len(ratio), "outside": int(outside.sum()), "first_outside_ps": first, "furthest": float(ratio.max()),
        "stopped_by_default_ps": float(table["time_ps"][stops][0]) if stops.any() else None,
    }  # fmt: skip


# ----------------------------------------------------------------------------------- one system


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fit, measure and return everything about a system."""
    system, folder = SYSTEMS[name], arguments.output / name
    folder.mkdir(parents=True, exist_ok=True)
    train, test = (read(paths, arguments.data, folder) for paths in (system.train, (system.test,)))
    if arguments.step > 1:
        alone = [i for i, structure in enumerate(train.structures) if len(structure) == 1]
        train = train[sorted({*range(0, len(train), arguments.step), *alone})]
    potential_folder = folder / "fit" / "potential"
    if not potential_folder.is_dir():
        began = time.process_time()
        fit = fw.fit(train, model={"kind": "ace"}, test=test, workers=1, output=folder / "fit", **system.settings)
        (folder / "cpu.json").write_text(json.dumps(time.process_time() - began))
        print(fit, fit.summary["warnings"], sep="\n", flush=True)
    summary = json.loads((folder / "fit" / "result.json").read_text())
    potential = fw.load(potential_folder)
    errors = fw.evaluate(potential, test).overall
    outside = {}
    for file in (system.test, *system.apart):
        frames = extrapolation_of(potential, read((file,), arguments.data, folder))
        if frames is not None:
            outside[Path(file).name.split(".")[0]] = [frames.outside, len(frames.frames)]
    largest = max(train.structures, key=len)
    measured = {
        "system": name, "frames": len(train), "step": arguments.step, "kelvin": system.kelvin,
        "atoms": len(start_of(system, train, 0)), "fit_cpu_s": json.loads((folder / "cpu.json").read_text()),
        "radial": summary["settings"]["model"]["radial"], "warnings": summary["warnings"],
        "energy_meV_per_atom": errors.energy_rmse_meV_per_atom, "force_eV_per_A": errors.force_rmse_eV_per_A,
        "cost_us_per_atom": time_per_atom(potential, largest), "outside": outside,
        "pairs": pair_curves(potential, dict(shortest_distances(train))),
        "probed": {k: v for k, v in summary["stability"].items() if k in ("runs", "packings", "cut")},
        "picoseconds": arguments.picoseconds,
    }  # fmt: skip
    print(json.dumps({k: v for k, v in measured.items() if k != "probed"}, indent=1), flush=True)
    measured["runs"] = dynamics(system, potential, train, folder, arguments.runs, arguments.picoseconds)
    (folder / "measured.json").write_text(json.dumps(measured, indent=1))
    return measured


def show(measured: list[dict[str, Any]]) -> None:
    """Print the table."""
    console = Console(width=170)
    table = Table(title="default settings; test errors, pairs below their shortest distance, NVT runs, frames outside")
    for heading in ("system", "frames", "meV/atom", "eV/Å", "µs/atom", "deepest well", "force falls by", "survived",
                    "outside: test", "outside: runs", "further tests"):  # fmt: skip
        table.add_column(heading, justify="right")
    for row in measured:
        pairs, runs, outside = row["pairs"].values(), row["runs"], list(row["outside"].items())
        looks = sum(r["looks"] for r in runs)
        shares = [f"{name} {100 * a / n:.3g} %" for name, (a, n) in outside]
        table.add_row(
            row["system"], str(row["frames"]), f"{row['energy_meV_per_atom']:.2f}", f"{row['force_eV_per_A']:.3f}",
            f"{row['cost_us_per_atom']:.1f}", f"{max(p['deepest_eV'] for p in pairs):.2g} eV",
            f"{max(p['drop_eV_per_A'] for p in pairs):.2g} eV/Å",
            f"{sum(r['survived'] for r in runs)} of {len(runs)} ({row['atoms']} atoms, {row['kelvin']:g} K)",
            shares[0].split()[-2] + " %", f"{100 * sum(r['outside'] for r in runs) / max(looks, 1):.3g} %",
            ", ".join(shares[1:]),
        )  # fmt: skip
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", choices=[[], *SYSTEMS], help="all that have been measured if none")
    parser.add_argument("--output", type=Path, default=Path("runs/six"))
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--step", type=int, default=1, help="take every N-th training frame")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--picoseconds", type=float, default=20.0)
    arguments = parser.parse_args()
    arguments.data = arguments.data.resolve()
    for name in arguments.systems:
        measure(name, arguments)
    found = [arguments.output / name / "measured.json" for name in SYSTEMS]
    show([json.loads(path.read_text()) for path in found if path.exists()])


if __name__ == "__main__":
    main()
