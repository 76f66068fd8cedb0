"""Active learning beside chance: a potential that breaks, mended with so many labels, and as many chosen otherwise.

Point charges or Lennard-Jones atoms stand for an expensive reference. A potential is fitted to few frames of a cool
crystal, and runs with several seeds at a temperature at which it melts. Then a learner labels at most so many frames.
Controls are given as many: drawn at random, or uniformly in energy, from a run of the reference under the conditions
that are to be survived, which is more than a learner has.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

import forcewright as fw
from forcewright.potential import Potential
from forcewright.protocols.structures import StructureSettings, build_structure
from forcewright.recipes.force_fields import force_field
from forcewright.selection import SELECTORS
from forcewright.simulation import RunSettings, Stage, run
from forcewright.structure import Dataset, Frame, Labels
from forcewright.trajectory import Snapshot, snapshots

NACL = {
    "pair_style": "born/coul/long 8.0", "kspace_style": "pppm 1.0e-5", "species": ["Na", "Cl"],
    "charges": {"Na": 1, "Cl": -1},
    "pair_coeff": [
        "1 1 424.097 0.317 0.0 1.05 0.499", "1 2 1256.31 0.317 0.0 7.0 8.676", "2 2 3488.998 0.317 0.0 72.5 145.427",
    ],
}  # fmt: skip
ARGON = {"pair_style": "lj/cut 8.5", "pair_coeff": "1 1 0.010325 3.405", "species": ["Ar"]}

#: of each system: reference, crystal, temperatures of start and of what is to be survived, cutoff, timestep
SYSTEMS: dict[str, dict[str, Any]] = {
    "nacl": {
        "reference": NACL, "crystal": {"name": "NaCl", "crystalstructure": "rocksalt", "a": 6.3, "cubic": True},
        "repeat": 2, "cool": 300.0, "hot": 1600.0, "rcut": 6.5, "timestep_fs": 2.0, "ensemble": "npt",
    },
    "argon": {
        "reference": ARGON, "crystal": {"name": "Ar", "cubic": True, "a": 5.68}, "repeat": 2, "cool": 20.0,
        "hot": 200.0, "rcut": 6.5, "timestep_fs": 5.0, "ensemble": "nvt",
    },
}  # fmt: skip


class Case:
    """One system, and what its runs have in common."""

    def __init__(self, name: str, arguments: argparse.Namespace, folder: Path) -> None:
        self.of, self.arguments, self.folder = SYSTEMS[name], arguments, folder
        self.reference = {"lammps": self.of["reference"]}
        self.model = {"kind": "ace", "functions": arguments.functions, "rcut": self.of["rcut"]}

    def sampled(
        self, kelvin: float, frames: int, every_ps: float, name: str, seed: int, melted: bool = True
    ) -> Dataset:
        """Return labelled frames of a run of the reference, of the crystal or its melt."""
        atoms: Any = bulk(**self.of["crystal"]).repeat(self.of["repeat"])
        atoms.rattle(0.05, seed=seed)
        start = build_structure(StructureSettings(snapshot=next(snapshots([atoms]))), self.folder)
        first = 2.5 * kelvin if melted else kelvin
        melt = Stage(ensemble="nvt", time_ps=3.0, temperature_K=(first, kelvin), timestep_fs=1.0)
        held = Stage(
            ensemble=self.of["ensemble"], time_ps=3.0 + every_ps * frames, temperature_K=kelvin, timestep_fs=1.0
        )
        settings = RunSettings.model_validate({
            "trajectory": {"every_fs": 1000 * every_ps, "forces": True},
            "monitors": {"closest_fraction": None, "force_eV_per_A": None, "volume_factor": None},
        })  # fmt: skip
        field = force_field(self.reference, self.folder)
        result = run(field, start, [melt, held], self.folder / name, engine="lammps", seed=seed, settings=settings)
        labelled = [
            Frame(shot.structure, Labels(shot.energy, shot.forces, shot.stress, name), f"{name}#{k}")
            for k, shot in enumerate(snapshots(result.trajectory))
        ]
        return Dataset(tuple(labelled[-frames:]), name)

    def stages(self, time_ps: float) -> list[Stage]:
        """Return what is to be survived."""
        return [
            Stage(
                ensemble=self.of["ensemble"], time_ps=time_ps, temperature_K=self.of["hot"],
                timestep_fs=self.of["timestep_fs"],
            )
        ]  # fmt: skip

    def survival(self, potential: Potential, start: Snapshot, name: str, time_ps: float) -> list[float]:
        """Return how long (ps) runs of several seeds lasted."""
        settings = RunSettings.model_validate({"trajectory": {"every_fs": 1000}, "monitors": {
            "extrapolation_factor": "off", "pair_distance": "off"}})  # fmt: skip
        field = force_field(potential, self.folder)
        lasted = []
        for seed in range(self.arguments.seeds):
            result = run(
                field, start, self.stages(time_ps), self.folder / name / str(seed), seed=seed, settings=settings
            )
            lasted.append(time_ps if result.completed else result.time_ps)
        return lasted

    def fit(self, data: Dataset) -> Potential:
        """Return a potential fitted to frames."""
        return fw.fit(data, model=self.model, stability="off", **FIT).potential


#: pairs are not kept apart at short range: with that, hardly any potential breaks
FIT = {"search": {"starts": 2, "evaluations": 25}, "short_range": "off"}


def main() -> None:
    """Print and save how long runs last: before, after learning, and with as many labels chosen otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("--functions", type=int, default=80)
    parser.add_argument("--start", type=int, default=8, help="frames to begin with")
    parser.add_argument("--labels", type=int, default=33)
    parser.add_argument("--time-ps", type=float, default=100.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--novelty", default="committee")
    parser.add_argument("--factor", type=float, default=2.0)
    parser.add_argument("--output", type=Path, default=Path("active-learning"))
    arguments = parser.parse_args()
    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    case = Case(arguments.system, arguments, folder)
    cool, hot = case.of["cool"], case.of["hot"]
    start = case.sampled(cool, arguments.start, 0.2, "cool", 0, melted=False)
    pool = case.sampled(hot, 200, 0.5, "hot", 1)
    fixed = case.sampled(hot, 40, 0.5, "fixed", 2)
    for name, dataset in {"start": start, "fixed": fixed}.items():
        fw.write(dataset, folder / f"{name}.extxyz")
    begin = next(snapshots([start[-1].structure.to_ase()]))
    rows: dict[str, dict[str, Any]] = {}

    def judge(name: str, potential: Potential, frames: int, seconds: float) -> None:
        """Run the seeds with a potential, and keep how long they lasted."""
        lasted = case.survival(potential, begin, f"runs-{name}", arguments.time_ps)
        error = fw.evaluate(potential, fixed).overall.force_rmse_eV_per_A
        rows[name] = {"frames": frames, "lasted_ps": lasted, "force_rmse_eV_per_A": error, "fit_s": seconds}
        (folder / f"survival-{arguments.system}.json").write_text(json.dumps(rows, indent=1))
        print(name, rows[name], flush=True)

    began = time.perf_counter()
    judge("start", case.fit(start), len(start), time.perf_counter() - began)
    if not (folder / "learn" / "rounds").exists():
        shutil.rmtree(folder / "learn", ignore_errors=True)
    began = time.perf_counter()
    learned = fw.learn(
        {
            "model": case.model, "fit": FIT, "start": folder / "start.extxyz",
            "reference": case.reference, "validation": folder / "fixed.extxyz", "workers": 0,
            "walkers": [{
                "name": "hot", "structure": begin.structure.to_ase(), "copies": 2,
                "stages": [stage.model_dump(exclude_defaults=True) for stage in case.stages(arguments.time_ps / 4)],
            }],
            "novelty": {"kind": arguments.novelty, "factor": arguments.factor},
            "policy": {"frames": 3, "max_labels": arguments.labels}, "output": folder / "learn",
        },
        on_step=lambda words: print(words, flush=True),
    )  # fmt: skip
    print(learned, f"in {time.perf_counter() - began:.0f} s")
    taken = len(learned.data) - len(start)
    judge("learned", learned.potential, len(learned.data), sum(done["fit"]["wall_s"] for done in learned.rounds))
    for by in ("random", "energy"):
        indices = SELECTORS[by](pool, taken, np.random.default_rng(0))
        data = start + pool[np.sort(indices)]
        judge(by, case.fit(data), len(data), 0.0)
    table = Table(title=f"{arguments.system}: {arguments.time_ps:g} ps at {hot:g} K, {arguments.seeds} seeds")
    for heading in ("potential", "frames", "force RMSE (eV/Å)", "survived", "95 % (Wilson)", "lasted (ps)"):
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        survived = sum(lasted >= arguments.time_ps for lasted in row["lasted_ps"])
        interval = binomtest(survived, arguments.seeds).proportion_ci(0.95, method="wilson")
        table.add_row(
            name, str(row["frames"]), f"{row['force_rmse_eV_per_A']:.4f}", f"{survived} of {arguments.seeds}",
            f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %",
            ", ".join(f"{lasted:.3g}" for lasted in row["lasted_ps"]),
        )  # fmt: skip
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
