"""A committee of linear ACE potentials on Mo: its CPU time beside that of one fit with its search, in the same run."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import forcewright as fw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1] / "../shared/data")
    parser.add_argument("--functions", type=int, default=300)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    folder = (arguments.data / "zuo2020").resolve()
    train, test = (fw.read(folder / f"Mo_{part}.extxyz") for part in ("train", "test"))
    model = {"kind": "ace", "functions": arguments.functions, "rcut": 4.6}
    results = {}

    def one_fit() -> None:
        results["one"] = fw.fit(train, model=model)

    def with_committee() -> None:
        results["committee"] = fw.fit(train, model=model, committee={"members": arguments.members})

    def cpu_seconds(run: Callable[[], None]) -> float:
        begin = time.process_time()
        run()
        return time.process_time() - begin

    one_fit()  # compiles
    times: dict[str, list[float]] = {"one": [], "committee": []}
    for _ in range(arguments.repeats):
        times["one"].append(cpu_seconds(one_fit))
        times["committee"].append(cpu_seconds(with_committee))
    committee = results["committee"].committee
    errors, spreads = [], []
    for (structure, labels, _), prediction, spread in zip(
        test, committee.predict(test), committee.spread(test), strict=True
    ):
        if labels.forces is not None and len(structure) > 1:
            errors += np.linalg.norm(prediction.forces - labels.forces, axis=1).tolist()
            spreads += spread.forces.tolist()
    table = Table(title=f"linear ACE of {arguments.functions} functions on Mo, least of {arguments.repeats} runs")
    for heading in ("", "CPU (s)", "ratio"):
        table.add_column(heading, justify="right")
    one, many = min(times["one"]), min(times["committee"])
    table.add_row("one fit with its search", f"{one:.1f}", "1")
    table.add_row(f"the same with a committee of {arguments.members}", f"{many:.1f}", f"{many / one:.2f}")
    console = Console(width=110)
    console.print(table)
    correlation = np.corrcoef(np.log(spreads), np.log(errors))[0, 1]
    console.print(
        f"test forces: error {np.sqrt(np.mean(np.square(errors))):.3f} eV/Å, spread "
        f"{np.sqrt(np.mean(np.square(spreads))):.3f} eV/Å (root mean squares of vectors); correlation of their "
        f"logarithms {correlation:.2f}"
    )


if __name__ == "__main__":
    main()
