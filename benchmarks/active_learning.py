"""Active learning beside chance: a potential that breaks, mended with so many labels, and as many chosen otherwise.

Point charges or Lennard-Jones atoms stand for an expensive reference. By default settings a potential is fitted to few
frames of a crystal, and runs of several seeds begin from the melt at its mean volume. What breaks a run are the
monitors of physics alone (volume, forces, temperature, distances); uncertainty stops none. Then a learner labels at
most so many frames. Controls are given as many: drawn at random, or evenly in energy, another draw for every seed, from
a run of the reference under the conditions that are to be survived, which is more than a learner has. Parts are resumed
where they were stopped and may run at the same time, after ``start``: ``active_learning.py nacl learned random``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

import forcewright as fw
from forcewright.files import write_json
from forcewright.potential import Potential
from forcewright.protocols.structures import StructureSettings, build_structure
from forcewright.recipes.force_fields import force_field
from forcewright.selection import SELECTORS
from forcewright.simulation import RunSettings, Stage, run
from forcewright.structure import Dataset, Frame, Labels
from forcewright.trajectory import Snapshot, read_thermo, snapshots

NACL = {
    "pair_style": "born/coul/long 8.0", "kspace_style": "pppm 1.0e-5", "species": ["Na", "Cl"],
    "charges": {"Na": 1, "Cl": -1},
    "pair_coeff": [
        "1 1 424.097 0.317 0.0 1.05 0.499", "1 2 1256.31 0.317 0.0 7.0 8.676", "2 2 3488.998 0.317 0.0 72.5 145.427",
    ],
}  # fmt: skip
ARGON = {"pair_style": "lj/cut 8.5", "pair_coeff": "1 1 0.010325 3.405", "species": ["Ar"]}

#: of each system: reference, crystal, temperatures of start and of what is to be survived, cutoff, time step
SYSTEMS: dict[str, dict[str, Any]] = {
    "nacl": {
        "reference": NACL, "crystal": {"name": "NaCl", "crystalstructure": "rocksalt", "a": 5.8, "cubic": True},
        "melt_a": 6.76, "repeat": 2, "cool": 900.0, "hot": 1400.0, "rcut": 6.5, "timestep_fs": 4.0, "ensemble": "npt",
    },
    "argon": {
        "reference": ARGON, "crystal": {"name": "Ar", "cubic": True, "a": 5.4}, "melt_a": 5.68, "repeat": 2,
        "cool": 20.0, "hot": 200.0, "rcut": 6.5, "timestep_fs": 5.0, "ensemble": "nvt",
    },
}  # fmt: skip
PARTS = ("start", "learned", "random", "energy", "reference", "long")


class Case:
    """One system, and what its runs have in common."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.of, self.arguments = SYSTEMS[arguments.system], arguments
        self.folder: Path = arguments.output.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.reference = {"lammps": self.of["reference"]}
        self.model = {"kind": "ace", "functions": arguments.functions, "rcut": self.of["rcut"]}

    def sampled(self, kelvin: float, frames: int, every_ps: float, name: str, seed: int, melted: bool) -> Dataset:
        """Return labelled frames of a run of the reference, of the crystal or its melt."""
        path = self.folder / f"{name}.extxyz"
        if not path.exists():
            atoms: Any = bulk(**{**self.of["crystal"], **({"a": self.of["melt_a"]} if melted else {})})
            atoms = atoms.repeat(self.of["repeat"])
            atoms.rattle(0.05, seed=seed)
            start = build_structure(StructureSettings(snapshot=next(snapshots([atoms]))), self.folder)
            first = 2.2 * kelvin if melted else kelvin
            stages = [
                Stage(ensemble="nvt", time_ps=4.0, temperature_K=(first, kelvin), timestep_fs=2.0),
                self.held(6.0 + every_ps * frames, kelvin, 2.0),
            ]
            settings = RunSettings.model_validate({
                "trajectory": {"every_fs": 1000 * every_ps, "forces": True},
                "monitors": {"closest_fraction": None, "force_eV_per_A": None, "volume_factor": None},
            })  # fmt: skip
            field = force_field(self.reference, self.folder)
            result = run(field, start, stages, self.folder / f"sampled-{name}", engine="lammps", seed=seed,
                         settings=settings)  # fmt: skip
            labelled = [
                Frame(shot.structure, Labels(shot.energy, shot.forces, shot.stress, name), f"{name}#{k}")
                for k, shot in enumerate(snapshots(result.trajectory))
            ]
            fw.write(Dataset(tuple(labelled[-frames:]), name), path)
        return fw.read(path)

    def held(self, time_ps: float, kelvin: float, timestep_fs: float) -> Stage:
        """Return a stage at a temperature, and at 1 bar where the volume may change."""
        pressure = 1e-4 if self.of["ensemble"] == "npt" else None
        return Stage(ensemble=self.of["ensemble"], time_ps=time_ps, temperature_K=kelvin, pressure_GPa=pressure,
                     timestep_fs=timestep_fs)  # fmt: skip

    def survived(self, potential: Any, start: Snapshot, name: str, seed: int, time_ps: float) -> dict[str, Any]:
        """Return how long a run lasted, why it ended, and its mean volume; uncertainty does not stop it."""
        settings = RunSettings.model_validate({
            "trajectory": {"every_fs": 1000}, "thermo_every_fs": 100, "checkpoint_every_ps": 10,
            "monitors": {"extrapolation_factor": "off", "pair_distance": "off"},
        })  # fmt: skip
        engine = "lammps" if potential is self.reference else "ase"
        folder = self.folder / "runs" / name / str(seed)
        stages = [self.held(time_ps, self.of["hot"], self.of["timestep_fs"])]
        result = run(
            force_field(potential, self.folder), start, stages, folder, seed=seed, settings=settings, engine=engine
        )
        volume = read_thermo(folder / "thermo.csv")["volume_A3"] / len(start.structure)
        return {
            "lasted_ps": time_ps if result.completed else result.time_ps, "reason": result.reason,
            "volume_A3": float(np.mean(volume[len(volume) // 4 :])),
        }  # fmt: skip

    def judge(self, name: str, potentials: list[Any], frames: int, fixed: Dataset, start: Snapshot) -> None:
        """Run the seeds, each with a potential of its own or all with the same, and keep how long they lasted."""
        time_ps = 5.0 * self.arguments.time_ps if name == "long" else self.arguments.time_ps
        count = 1 if name == "long" else self.arguments.seeds
        errors = [fw.evaluate(p, fixed).overall.force_rmse_eV_per_A for p in potentials if isinstance(p, Potential)]
        row: dict[str, Any] = {"frames": frames, "time_ps": time_ps, "force_rmse_eV_per_A": errors, "runs": []}
        for seed in range(count):
            row["runs"].append(self.survived(potentials[seed % len(potentials)], start, name, seed, time_ps))
            write_json(self.folder / f"survival-{name}.json", row)
            print(name, seed, row["runs"][-1], flush=True)

    def fitted(self, name: str, data: Dataset) -> Potential:
        """Return a potential fitted to frames by default settings, as read back from its folder."""
        path = self.folder / "potentials" / name
        if not path.exists():
            fw.fit(data, model=self.model, stability="off").potential.save(path)
        return fw.load(path)


def main() -> None:
    """Print and save how long runs last: before, after learning, and with as many labels chosen otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "table"], default=[*PARTS])
    parser.add_argument("--functions", type=int, default=80)
    parser.add_argument("--start", type=int, default=10, help="frames to begin with")
    parser.add_argument("--labels", type=int, default=33)
    parser.add_argument("--time-ps", type=float, default=100.0, help="the long run lasts five times as long")
    parser.add_argument("--walk-ps", type=float, default=25.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--novelty", default="committee")
    parser.add_argument("--learn-seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("active-learning"))
    arguments = parser.parse_args()
    case = Case(arguments)
    hot = case.of["hot"]
    start = case.sampled(case.of["cool"], arguments.start, 0.2, "start", 0, melted=False)
    pool = case.sampled(hot, 200, 0.5, "pool", 1, melted=True)
    fixed = case.sampled(hot, 40, 0.5, "fixed", 2, melted=True)
    volumes = np.array([frame.structure.volume for frame in pool])
    begin = next(snapshots([pool[int(np.argmin(np.abs(volumes - volumes.mean())))].structure.to_ase()]))
    for part in arguments.parts:
        if part == "start":
            case.judge("start", [case.fitted("start", start)], len(start), fixed, begin)
        elif part in ("learned", "long"):
            if not (case.folder / "learn" / "result.json").exists():
                learn(case, begin)
            frames = fw.read(case.folder / "learn" / "train.extxyz")
            case.judge(part, [fw.load(case.folder / "learn" / "potential")], len(frames), fixed, begin)
        elif part == "reference":
            case.judge("reference", [case.reference], 0, fixed, begin)
        elif part in ("random", "energy"):
            potentials = []
            for seed in range(arguments.seeds):
                indices = SELECTORS[part](pool, arguments.labels, np.random.default_rng(seed))
                potentials.append(case.fitted(f"{part}-{seed}", start + pool[np.sort(indices)]))
            case.judge(part, potentials, len(start) + arguments.labels, fixed, begin)
    show(case)


def learn(case: Case, begin: Snapshot) -> None:
    """Learn by the defaults of the learner."""
    arguments = case.arguments
    stage = case.held(arguments.walk_ps, case.of["hot"], case.of["timestep_fs"]).model_dump(exclude_defaults=True)
    learned = fw.learn(
        {
            "model": case.model, "start": case.folder / "start.extxyz", "reference": case.reference,
            "validation": case.folder / "fixed.extxyz", "workers": 0, "seed": arguments.learn_seed,
            "walkers": [{"name": "hot", "structure": begin.structure.to_ase(), "copies": 2, "stages": [stage]}],
            "novelty": {"kind": arguments.novelty}, "policy": {"frames": 3, "max_labels": arguments.labels},
            "output": case.folder / "learn",
        },
        on_step=lambda words: print(words, flush=True),
    )  # fmt: skip
    print(learned)


def show(case: Case) -> None:
    """Print the table of all parts that there are."""
    table = Table(title=f"{case.arguments.system} at {case.of['hot']:g} K")
    for heading in (
        "potential", "frames", "force RMSE (eV/Å)", "survived", "of (ps)", "95 % (Wilson)", "lasted (ps)", "Å³/atom"
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for name in PARTS:
        path = case.folder / f"survival-{name}.json"
        if not path.exists():
            continue
        row = json.loads(path.read_text())
        lasted = [of["lasted_ps"] for of in row["runs"]]
        count = sum(time_ps >= row["time_ps"] for time_ps in lasted)
        interval = binomtest(count, len(lasted)).proportion_ci(0.95, method="wilson")
        errors = row["force_rmse_eV_per_A"]
        table.add_row(
            name, str(row["frames"]), " to ".join(f"{x:.4f}" for x in sorted({min(errors), max(errors)}))
            if errors else "", f"{count} of {len(lasted)}", f"{row['time_ps']:g}",
            f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %", ", ".join(f"{x:.3g}" for x in lasted),
            ", ".join(f"{of['volume_A3']:.3g}" for of in row["runs"]),
        )  # fmt: skip
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
