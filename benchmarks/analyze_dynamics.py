"""Time of mean squared displacements beside freud's in the same run, and memory of trajectories of several lengths."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from forcewright.analyze.displacement import displacements, msd
from forcewright.analyze.self_diffusion import diffusion
from forcewright.analyze.unwrapping import unwrapped_positions
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

BOX = 25.0


def walk(frames: int, atoms: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform(0, BOX, (atoms, 3)) + np.cumsum(rng.normal(0, 0.1, (frames, atoms, 3)), axis=0)


def snapshots_of(positions: np.ndarray) -> list[Snapshot]:
    numbers = [3] * (positions.shape[1] // 2) + [16] * (positions.shape[1] - positions.shape[1] // 2)
    return [
        Snapshot(Structure(numbers, x, np.eye(3) * BOX, (True,) * 3), time=10.0 * k) for k, x in enumerate(positions)
    ]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def streamed(frames: int, atoms: int) -> Iterator[Snapshot]:
    """Yield frames that are made when they are asked for."""
    rng, position = np.random.default_rng(0), np.zeros((atoms, 3))
    for k in range(frames):
        position = position + rng.normal(0, 0.1, (atoms, 3))
        yield Snapshot(Structure([3] * atoms, position % BOX, np.eye(3) * BOX, (True,) * 3), time=10.0 * k)


def own_memory() -> int:
    """Memory of this process in bytes, without pages of files."""
    info = psutil.Process().memory_info()
    return info.rss - getattr(info, "shared", 0)


def peak_memory(frames: int, atoms: int) -> None:
    """Print how much memory the displacements of a streamed trajectory take in this process, in MB."""
    msd(streamed(10, 10))
    before, highest, done = own_memory(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            highest[0] = max(highest[0], own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    msd(streamed(frames, atoms))
    done.set()
    watcher.join()
    print(round((highest[0] - before) / 2**20))


def measure_memory(frames: int, atoms: int) -> str:
    command = [sys.executable, __file__, "--memory-of", str(frames), "--atoms", str(atoms)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def compare(frames: int, atoms: int, repeats: int) -> Table:
    import freud

    positions = walk(frames, atoms)
    snapshots = snapshots_of(positions % BOX)
    gathered = unwrapped_positions(snapshots)
    works: dict[str, Callable[[], object]] = {
        "freud.msd.MSD, window mode: MSD": lambda: freud.msd.MSD(mode="window").compute(positions).msd,
        "msd: unwrap, MSD by species and direction, NGP, errors": lambda: msd(snapshots),
        "  of that gathering and unwrapping": lambda: unwrapped_positions(snapshots),
        "  of that MSD, NGP and errors": lambda: displacements(gathered),
        "diffusion: all of that, regime and fit": lambda: diffusion(snapshots),
    }
    for work in works.values():
        work()  # compiles, or loads what is compiled
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(repeats)]
    first = next(iter(works))
    table = Table(title=f"{frames:,} frames of {atoms:,} atoms, median of {repeats} rounds")
    table.add_column("work")
    for heading in ("seconds", "times freud"):
        table.add_column(heading, justify="right")
    for name in works:
        ratio = statistics.median(times[name] / times[first] for times in rounds)
        table.add_row(name, f"{statistics.median(times[name] for times in rounds):.2f}", f"{ratio:.2f}")
    table.add_section()
    for count in (frames // 4, frames, 4 * frames):
        table.add_row(f"memory of msd, {count:,} frames read one at a time", f"{measure_memory(count, atoms)} MB", "")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10000)
    parser.add_argument("--atoms", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        peak_memory(arguments.memory_of, arguments.atoms)
    else:
        Console(width=110).print(compare(arguments.frames, arguments.atoms, arguments.repeats))


if __name__ == "__main__":
    main()
