"""Potentials made to fail in five ways: what a diagnosis says, and how long before the break each indicator spoke.

References are Stillinger-Weber silicon, Tersoff carbon and Lennard-Jones argon, all by LAMMPS; potentials are linear
ACE. Everything lies in a folder and is taken from there when run again; `--only` names cases.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import forcewright as fw
from forcewright.trajectory import snapshots

SILICON = {"lammps": {"pair_style": "sw", "pair_coeff": "* * Si.sw Si"}}
CARBON = {"lammps": {"pair_style": "tersoff", "pair_coeff": "* * SiC.tersoff C"}}
ARGON = {"lammps": {"pair_style": "lj/cut 12.0", "pair_coeff": "* * 0.010325 3.405", "species": ["Ar"]}}

LIQUID = [
    {"ensemble": "nvt", "temperature_K": [4000, 3500], "time_ps": 3, "timestep_fs": 1},
    {"ensemble": "npt", "temperature_K": [3500, 2200], "time_ps": 3, "timestep_fs": 1},
    {"ensemble": "npt", "temperature_K": 2200, "time_ps": 12, "timestep_fs": 1},
]

#: Name, cause expected, reference, where data come from (structure, stages, from which time on in ps, every, at most),
#: what is fitted, and what is run.
CASES: dict[str, dict[str, Any]] = {
    "few frames": {
        "cause": "too few data", "reference": SILICON, "structure": {"bulk": "Si", "cubic": True, "repeat": [2, 2, 2]},
        "reference_run": LIQUID, "start_ps": 8.0, "frames": 6, "functions": 300,
        "stages": [{"ensemble": "npt", "temperature_K": 2200, "time_ps": 10}],
    },
    "no core": {
        "cause": "no repulsive core", "reference": SILICON,
        "structure": {"bulk": "Si", "cubic": True, "repeat": [2, 2, 2]},
        "reference_run": LIQUID, "start_ps": 8.0, "frames": 95, "functions": 200, "model": {"repulsion": None},
        "fit": {"short_range": "off"}, "stages": [{"ensemble": "nvt", "temperature_K": 2200, "time_ps": 10}],
    },
    "one density, no stress": {
        "cause": "one density or no stresses", "reference": ARGON,
        "structure": {"bulk": "Ar", "cubic": True, "a_A": 5.9, "repeat": [3, 3, 3]},
        "reference_run": [
            {"ensemble": "nvt", "temperature_K": [250, 90], "time_ps": 10, "timestep_fs": 5},
            {"ensemble": "npt", "temperature_K": 90, "time_ps": 20, "timestep_fs": 5},
            {"ensemble": "nvt", "temperature_K": 90, "time_ps": 30, "timestep_fs": 5},
        ],
        "start_ps": 32.0, "frames": 56, "functions": 40, "rcut": 6.0, "fit": {"weights": {"stress": None}},
        "stages": [{"ensemble": "npt", "temperature_K": 90, "time_ps": 20, "timestep_fs": 4}],
    },
    "high temperature": {
        "cause": "hotter than the data", "reference": SILICON,
        "structure": {"bulk": "Si", "cubic": True, "repeat": [2, 2, 2]},
        "reference_run": [{"ensemble": "nvt", "temperature_K": 600, "time_ps": 4, "timestep_fs": 1}],
        "start_ps": 0.5, "frames": 36, "functions": 100,
        "stages": [{"ensemble": "nvt", "temperature_K": 3000, "time_ps": 10}],
    },
    "long time step": {
        "cause": "too long a time step", "reference": CARBON,
        "structure": {"bulk": "C", "cubic": True, "repeat": [2, 2, 2]},
        "reference_run": [{"ensemble": "nvt", "temperature_K": 1000, "time_ps": 3, "timestep_fs": 1}],
        "start_ps": 0.5, "frames": 26, "functions": 60, "rcut": 3.5,
        "stages": [{"ensemble": "nvt", "temperature_K": 1000, "time_ps": 3, "timestep_fs": 6}],
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/diagnosis"))
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), default=list(CASES))
    arguments = parser.parse_args()
    logging.getLogger("forcewright").setLevel(logging.ERROR)
    made = {name: diagnosed(name, CASES[name], arguments.folder.resolve()) for name in arguments.only}
    table = Table(title="what a diagnosis says of potentials made to fail")
    for heading in ("made to fail by", "broke at (ps)", "cause named", "", "first anomaly", "lead (fs)"):
        table.add_column(heading)
    for name, result in made.items():
        broke, first, verdict = result.diagnosis.broke, result.diagnosis.first, result.diagnosis.verdict
        assert broke is not None and first is not None and first.lead_ps is not None
        right = "right" if verdict.cause == CASES[name]["cause"] else "WRONG"
        table.add_row(
            name, f"{broke.time_ps:.4g}", f"{verdict.cause} ({verdict.quadrant})", right, first.indicator,
            f"{1000 * first.lead_ps:.0f}",
        )  # fmt: skip
    Console(width=150).print(table)
    Console(width=190).print(leads(made))


def leads(made: dict[str, Any]) -> Table:
    """Return the lead of every indicator before the break, in fs; a dash where it never spoke."""
    table = Table(title="lead before the break (fs)")
    table.add_column("indicator")
    rows: dict[str, dict[str, str]] = {}
    for name, result in made.items():
        table.add_column(name)
        for anomaly in result.diagnosis.anomalies:
            kind = "pair distance" if anomaly.indicator.endswith(" distance") else anomaly.indicator
            lead = "–" if anomaly.lead_ps is None else f"{1000 * anomaly.lead_ps:.0f}"
            rows.setdefault(kind, {})[name] = lead
    for kind, by_case in rows.items():
        table.add_row(kind, *[by_case.get(name, "") for name in made])
    return table


def diagnosed(name: str, case: dict[str, Any], folder: Path) -> Any:
    """Return the diagnosis of a case."""
    plain = name.replace(" ", "-").replace(",", "")
    final, data = training_data(case, plain, folder)
    model = {"kind": "ace", "functions": case["functions"], "rcut": case.get("rcut", 4.5), "radial": "ChebPow"}
    fw.fit(
        {
            "data": {"train": str(data)}, "model": {**model, **case.get("model", {})}, "stability": "off",
            "validation": {"kfold": 3}, "workers": 1, "output": str(folder / f"fit-{plain}"), **case.get("fit", {}),
        }
    )  # fmt: skip
    fw.simulate(
        {
            "potential": str(folder / f"fit-{plain}"), "structure": {"file": str(final)}, "stages": case["stages"],
            "trajectory": {"every_fs": 50}, "dense_frames": {"every_fs": 2, "count": 150},
            "monitors": {"pair_distance": "warn", "extrapolation_factor": "warn"},
            "output": str(folder / f"run-{plain}"),
        }
    )  # fmt: skip
    return fw.diagnose(folder / f"run-{plain}", case["reference"])


def training_data(case: dict[str, Any], plain: str, folder: Path) -> tuple[Path, Path]:
    """Return the end of a run with the reference, and labelled frames of it."""
    stem = "".join(case["structure"]["bulk"].split()) + f"-{case['reference_run'][0]['temperature_K']}".replace(
        ", ", "-"
    )
    stem = stem.replace("[", "").replace("]", "")
    run = fw.simulate(
        {
            "potential": case["reference"], "structure": case["structure"], "stages": case["reference_run"],
            "engine": "lammps", "seed": 1, "thermo_every_fs": 100, "monitors": {"every_fs": 100},
            "trajectory": {"every_fs": 50}, "dense_frames": {"count": 0}, "output": str(folder / f"reference-{stem}"),
        }
    )  # fmt: skip
    later = [s.structure for s in snapshots(run.trajectory) if (s.time or 0.0) >= 1000 * case["start_ps"]]
    chosen = spread(later, case["frames"])
    frames = [fw.Frame(structure, fw.Labels(), f"#{k}") for k, structure in enumerate(chosen)]
    data = folder / f"data-{plain}.extxyz"
    fw.label(
        {"reference": case["reference"], "structures": fw.Dataset(tuple(frames)), "output": str(data),
         "cache": str(folder / "labels")}
    )  # fmt: skip
    return run.folder / "final.extxyz", data


def spread(structures: Sequence[Any], count: int) -> list[Any]:
    return [structures[k] for k in np.unique(np.linspace(0, len(structures) - 1, count).round().astype(int)).tolist()]


if __name__ == "__main__":
    main()
