"""Time of g(r) to 10 Å beside freud, and of rings, angles and S(q).

Frames are rattled crystals of 10,000 atoms. The programs take turns, a tenth of the frames at a time, on as many
threads; ratios are medians over the turns. Then the time of a frame of the other analyses, without a peer.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import freud
import numpy as np
from ase import Atoms
from ase.build import bulk
from rich.console import Console
from rich.table import Table

from forcewright import analyze
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

R_MAX, BINS = 10.0, 200


def crystals() -> dict[str, Atoms]:
    """Crystals of 10,000 atoms: a dense one, an open one, and one of two species."""
    return {
        "Cu (356 neighbors)": bulk("Cu", "fcc", 3.61, cubic=True).repeat((10, 10, 25)),
        "Si (209 neighbors)": bulk("Si", "diamond", 5.43, cubic=True).repeat((10, 5, 25)),
        "SiC, partials (405 neighbors)": bulk("SiC", "zincblende", 4.36, cubic=True).repeat((10, 5, 25)),
    }


def rattled(atoms: Atoms, frames: int) -> list[Snapshot]:
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.normal(size=(frames, len(atoms), 3))
    return [
        Snapshot(Structure(atoms.numbers, atoms.positions + shift, atoms.cell.array, [True] * 3))  # type: ignore[arg-type]
        for shift in noise
    ]


def freud_rdf(atoms: Atoms, frames: list[Snapshot]) -> Callable[[slice], object]:
    """g(r) of all atoms, and of each pair of species where there are two: freud takes a pair at a time."""
    box = freud.Box.from_matrix(atoms.cell.array.T)
    middle = atoms.cell.array.sum(axis=0) / 2
    points = [box.wrap((frame.structure.positions - middle).astype(np.float32)) for frame in frames]
    kinds = [atoms.numbers == z for z in np.unique(atoms.numbers)]
    pairs = [(a, b) for i, a in enumerate(kinds) for b in kinds[i:]]

    def run(part: slice) -> object:
        tables = [freud.density.RDF(BINS, R_MAX) for _ in pairs]
        for frame in points[part]:
            for table, (a, b) in zip(tables, pairs, strict=True):
                table.compute((box, frame[b]), query_points=None if a is b else frame[a], reset=False)
        return [table.rdf for table in tables]

    return run


def compare(name: str, atoms: Atoms, count: int, table: Table) -> None:
    frames = rattled(atoms, count)
    calls: dict[str, Callable[[slice], object]] = {
        "forcewright": lambda part: analyze.rdf(frames[part], R_MAX, BINS),
        "freud": freud_rdf(atoms, frames),
    }
    times: dict[str, list[float]] = {key: [] for key in calls}
    for call in calls.values():
        call(slice(0, 1))
    step = max(1, count // 10)
    for begin in range(0, count, step):
        for key, call in calls.items():
            start = time.perf_counter()
            call(slice(begin, begin + step))
            times[key].append(time.perf_counter() - start)
    for key, spent in times.items():
        ratio = median(theirs / ours for theirs, ours in zip(spent, times["forcewright"], strict=True))
        table.add_row(name, key, f"{sum(spent):.2f} s", f"{1e3 * median(spent) / step:.1f} ms", f"{ratio:.1f}")
    table.add_section()


def others(table: Table) -> None:
    network = bulk("Si", "diamond", 5.43, cubic=True).repeat(8)
    loose = network.copy()
    loose.rattle(0.3, seed=0)
    large = bulk("Si", "diamond", 5.43, cubic=True).repeat((10, 5, 25))
    large.rattle(0.1, seed=0)
    calls: dict[str, Callable[[], object]] = {
        "rings to 12, diamond, 4,096 atoms": lambda: analyze.rings([network], cutoff=2.8),
        "rings to 12, disordered, 4,096 atoms": lambda: analyze.rings([loose], cutoff=2.85),
        "adf, 10,000 atoms": lambda: analyze.adf([large], cutoff=2.8),
        "aligned_bonds to 4.2 Å, 10,000 atoms": lambda: analyze.aligned_bonds([large], r_max=4.2),
        "structure_factor to 12 1/Å, 10,000 atoms": lambda: analyze.structure_factor([large]),
        "coordination, 10,000 atoms": lambda: analyze.coordination([large], cutoff=2.8),
        "tetrahedral_order, 10,000 atoms": lambda: analyze.tetrahedral_order([large]),
        "steinhardt q6, 10,000 atoms": lambda: analyze.steinhardt([large], cutoff=2.8),
    }
    for name, call in calls.items():
        call()
        spent = []
        for _ in range(5):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
        table.add_row(name, f"{1e3 * median(spent):.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    freud.parallel.set_num_threads(arguments.threads)
    table = Table(title=f"g(r) to {R_MAX:g} Å, {arguments.frames} frames of 10,000 atoms, {arguments.threads} threads")
    for header in ("system", "program", "all frames", "per frame", "ratio"):
        table.add_column(header, justify="left" if header in ("system", "program") else "right")
    for name, atoms in crystals().items():
        compare(name, atoms, arguments.frames, table)
    Console().print(table)
    rest = Table(title="Other analyses, one frame")
    rest.add_column("analysis")
    rest.add_column("median of 5", justify="right")
    others(rest)
    Console().print(rest)


if __name__ == "__main__":
    main()
