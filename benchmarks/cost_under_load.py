"""Does the cost of a potential depend on what else the machine does? Measured again and again while all cores are busy.

The measure is what studies use: CPU time of the calling thread, the least of several evaluations. The peer is the wall
time of one evaluation, the median of five, which studies used before.

    python benchmarks/cost_under_load.py [--repeats 8] [--busy 4]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import forcewright as fw
from forcewright.fitting.cost import THREADS, time_per_atom
from forcewright.potential import Potential
from forcewright.structure import Structure

MODELS = {
    "SNAP, twojmax 6": {"kind": "snap", "twojmax": 6, "rcut": 4.6},
    "ACE, 300 functions": {"kind": "ace", "functions": 300, "rcut": 4.6},
}


def spin(seconds: float) -> None:
    """Keep a core and its memory busy."""
    end, values = time.monotonic() + seconds, np.random.default_rng(0).random(2_000_000)
    while time.monotonic() < end:
        values = np.sort(values[::-1])


@contextmanager
def busy(processes: int) -> Iterator[None]:
    started = [multiprocessing.Process(target=spin, args=(600.0,)) for _ in range(processes)]
    for process in started:
        process.start()
    time.sleep(1.0)
    try:
        yield
    finally:
        for process in started:
            process.terminate()
            process.join()


def wall_time_per_atom(potential: Potential, structure: Structure) -> float:
    """Return the median wall time of five evaluations in µs per atom."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        potential.predict([structure])
        times.append(time.perf_counter() - start)
    return float(1e6 * np.median(times[1:]) / len(structure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1] / "../shared/data")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--busy", type=int, default=2 * (os.cpu_count() or 1), help="processes that compete")
    arguments = parser.parse_args()
    train = fw.read((arguments.data / "zuo2020" / "Mo_train.extxyz").resolve())
    structure = max(train.structures, key=len)
    quick = {"search": {"starts": 1, "evaluations": 5}}
    potentials = {name: fw.fit(train[::6], model=model, **quick).potential for name, model in MODELS.items()}
    table = Table(
        title=f"µs per atom, {len(structure)} atoms, {THREADS} thread; least to largest of {arguments.repeats}"
    )
    for heading in ("potential", "busy processes", "CPU time", "spread (%)", "wall time", "spread (%)"):
        table.add_column(heading, justify="right")
    for processes in (0, arguments.busy):
        with busy(processes):
            for name, potential in potentials.items():
                row = [name, str(processes)]
                for measure in (time_per_atom, wall_time_per_atom):
                    values = [measure(potential, structure) for _ in range(arguments.repeats)]
                    row += [f"{min(values):.1f} to {max(values):.1f}", f"{100 * (max(values) / min(values) - 1):.0f}"]
                table.add_row(*row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
