"""A learning curve of SNAP on Mo, six sizes: CPU and wall time, and the errors, to compare two versions.

Run it with the interpreter of each version in turn (``--pair PYTHON`` does so: this version and the other one, one
after the other, as often as ``--repeats`` says, and prints the ratio of the least times).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve()


def measure(data: Path, quadratic: bool, repeats: int) -> dict[str, Any]:
    """Return the time of one learning curve and the mean force error by size."""
    from forcewright.recipes.learning_curve import learning_curve

    with tempfile.TemporaryDirectory() as scratch:
        begin = time.perf_counter()
        curve = learning_curve(
            {
                "data": {"train": str(data / "Mo_train.extxyz"), "test": str(data / "Mo_test.extxyz")},
                "families": {"snap": {"model": {"kind": "snap", "twojmax": 6, "rcut": 4.6, "quadratic": quadratic}}},
                "common": {"validation": {"kfold": 5}},
                "repeats": repeats, "seed": 0, "output": scratch,
            }
        )  # fmt: skip
        wall = time.perf_counter() - begin
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
    points = curve.summary["families"]["snap"]["points"]
    sizes = sorted({point["frames"] for point in points})
    errors = {
        size: [point["force_rmse_eV_per_A"] for point in points if point["frames"] == size] for size in sizes
    }  # fmt: skip
    return {"wall_s": wall, "cpu_s": cpu, "errors": {size: sum(e) / len(e) for size, e in errors.items()}}


def run(python: str, arguments: list[str]) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if python == sys.executable or key != "PYTHONPATH"}
    command = [python, str(HERE), "--json", *arguments]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return json.loads(told.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "../shared/data")
    parser.add_argument("--quadratic", action="store_true")
    parser.add_argument("--draws", type=int, default=3, help="draws of the subsets")
    parser.add_argument("--pair", help="interpreter of another version to compare with, in turn")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each version")
    parser.add_argument("--json", action="store_true", help="run once and print JSON")
    arguments = parser.parse_args()
    if arguments.json:
        data = (arguments.data / "zuo2020").resolve()
        print(json.dumps(measure(data, arguments.quadratic, arguments.draws)))
        return
    passed = ["--data", str(arguments.data), "--draws", str(arguments.draws)]
    passed += ["--quadratic"] if arguments.quadratic else []
    versions = {"this version": sys.executable, **({"the other one": arguments.pair} if arguments.pair else {})}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in versions}
    for _ in range(arguments.repeats):
        for name, python in versions.items():
            results[name].append(run(python, passed))
    table = Table(title="learning curve of SNAP on Mo, six sizes")
    for heading in ("version", "CPU (s)", "wall (s)", "force RMSE by number of frames (eV/Å)"):
        table.add_column(heading)
    least = {
        name: {key: min(result[key] for result in several) for key in ("cpu_s", "wall_s")}
        for name, several in results.items()
    }
    for name, several in results.items():
        errors = ", ".join(f"{size}: {error:.3f}" for size, error in several[0]["errors"].items())
        table.add_row(name, f"{least[name]['cpu_s']:.1f}", f"{least[name]['wall_s']:.1f}", errors)
    console = Console(width=130)
    console.print(table)
    if arguments.pair:
        this, other = least["this version"], least["the other one"]
        ratios = {key: other[key] / this[key] for key in ("cpu_s", "wall_s")}
        console.print(
            f"the other one takes {ratios['cpu_s']:.1f} times the CPU time, {ratios['wall_s']:.1f} the wall time"
        )


if __name__ == "__main__":
    main()
