"""Time of an ACE potential per atom against python-ace's recursive evaluator, in one run, on one core.

"evaluator" is energies, forces and virial for known neighbors; "whole call" includes the neighbor search. Then the cost
per atom and the peak memory from 500 to a million atoms, one thread and two, and the first call of a fresh process
whose compiled code is on disk already. Medians; the two programs take turns.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from rich.console import Console
from rich.table import Table

from forcewright.features.ace.basis_functions import generate_functions
from forcewright.features.ace.conversion import to_products
from forcewright.features.ace.evaluator import AceEvaluator
from forcewright.features.ace.expansion import Bond, Embedding, Expansion
from forcewright.features.ace.yace import read_yace, write_yace
from forcewright.neighbors import find_neighbors
from forcewright.structure import Structure

SIZES = (500, 10_000, 100_000, 1_000_000)


def silicon(count: int) -> Atoms:
    """Rattled diamond-structure silicon of about ``count`` atoms."""
    edge = (count / 8) ** (1 / 3)
    shape = (max(1, round(edge)), max(1, round(edge)), max(1, round(count / 8 / max(1, round(edge)) ** 2)))
    atoms = bulk("Si", "diamond", 5.431, cubic=True).repeat(shape)
    atoms.rattle(0.1, seed=1)
    return atoms


def antimony_telluride(folder: Path) -> Atoms:
    """About a thousand atoms from the largest of the structures that go with the potential."""
    largest = max(ase.io.read(folder / "sb2te3.extxyz", ":"), key=len)
    atoms = largest.repeat(max(1, round((1000 / len(largest)) ** (1 / 3))))
    atoms.rattle(0.02, seed=2)
    return atoms


def molybdenum_potential(path: Path) -> Path:
    """A potential of 700 functions of ranks 1 to 5 with random coefficients and one density."""
    rng = np.random.default_rng(0)
    functions = generate_functions(["Mo"], nradmax=(15, 6, 4, 3, 2), lmax=(0, 4, 3, 2, 1), count=700)[0]
    decay = np.array([0.5**function.rank for function in functions])
    bond = Bond("SBessel", 5.0, rng.normal(size=(6, 5, 15)) / 4)
    products = to_products(functions, 0.02 * decay * rng.normal(size=len(functions)))
    expansion = Expansion(("Mo",), np.zeros(1), {(0, 0): bond}, (Embedding(),), (products,))
    return write_yace(path, expansion)


def take_turns(calls: dict[str, Callable[[], object]], repeats: int, warm: bool) -> dict[str, float]:
    """Return the median time of each call in seconds, after one round that does not count.

    If ``warm``, each also runs untimed at the start of its turn and so finds its own data in the caches, as from step
    to step of a simulation; else it finds there what the program before it left.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            if warm:
                call()
            start = time.perf_counter()
            call()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: median(taken) for name, taken in times.items()}


def compare(path: Path, atoms: Atoms, repeats: int, warm: bool) -> list[str]:
    """Return the cells of one line: times per atom in µs and ratios."""
    from pyace import ACECTildeBasisSet
    from pyace.atomicenvironment import aseatoms_to_atomicenvironment
    from pyace.calculator import ACECalculator
    from pyace.evaluator import ACERecursiveEvaluator

    peer, basis = ACERecursiveEvaluator(), ACECTildeBasisSet(str(path))
    peer.set_basis(basis)
    calculator = ACECalculator(peer)
    numbers = {element: index for index, element in enumerate(basis.elements_name)}

    def environment() -> object:
        return aseatoms_to_atomicenvironment(atoms, basis.cutoffmax, elements_mapper_dict=numbers)

    surroundings = environment()
    evaluator, structure = AceEvaluator(read_yace(path)), Structure.from_ase(atoms)
    species = evaluator.species(structure.numbers)
    neighbors = find_neighbors(structure, evaluator.cutoff, group_of=species, groups=evaluator.groups)
    times = take_turns(
        {
            "theirs": lambda: calculator.compute(surroundings),
            "ours": lambda: evaluator.evaluate(structure, neighbors=neighbors, threads=1),
            "their list and all": lambda: calculator.compute(environment()),
            "our list and all": lambda: evaluator.evaluate(Structure.from_ase(atoms), threads=1),
        },
        repeats,
        warm,
    )
    error = abs(evaluator.evaluate(structure, threads=1).energies.sum() - sum(calculator.energies)) / len(atoms)
    us = {name: 1e6 * seconds / len(atoms) for name, seconds in times.items()}
    return [
        path.stem, f"{len(atoms)}", f"{len(neighbors.indices) / len(atoms):.0f}",
        f"{us['theirs']:.1f}", f"{us['ours']:.2f}", f"{us['ours'] / us['theirs']:.3f}",
        f"{us['their list and all']:.1f}", f"{us['our list and all']:.2f}",
        f"{us['our list and all'] / us['their list and all']:.3f}", f"{error:.0e}",
    ]  # fmt: skip


def scaling_line(potential: Path, count: int, threads: int) -> None:
    """Print time per atom (µs), peak memory (MB) and what of it came with the evaluation, from a separate process."""
    evaluator = AceEvaluator(read_yace(potential))
    evaluator.evaluate(Structure.from_ase(silicon(64)), threads=1)
    atoms = silicon(count)
    structure = Structure.from_ase(atoms)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = []
    for _ in range(max(3, min(21, 20_000 // count))):
        start = time.perf_counter()
        evaluator.evaluate(structure, threads=threads)
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(atoms)} {1e6 * median(times) / len(atoms):.2f} {peak:.0f} {peak - before:.0f}")


def first_call_line(potential: Path) -> None:
    """Print the time of imports, reading, tables and the first call of this process."""
    start = time.perf_counter()
    evaluator = AceEvaluator(read_yace(potential))
    ready = time.perf_counter()
    evaluator.evaluate(Structure.from_ase(bulk("Si", cubic=True)), threads=1)
    print(f"{ready - start:.2f} {time.perf_counter() - ready:.2f}")


def in_a_process(*arguments: object) -> tuple[list[str], float]:
    """Run this script with other arguments; return the words it prints and the time it took."""
    start = time.perf_counter()
    command = [sys.executable, __file__, *map(str, arguments)]
    words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return words, time.perf_counter() - start


def print_table(title: str, headings: str, lines: list[list[str]]) -> None:
    table = Table(title=title)
    for heading in headings.split("|"):
        table.add_column(heading.strip(), justify="right")
    for line in lines:
        table.add_row(*line)
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1] / "../shared/data")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--warm", action="store_true", help="an untimed call before each timed one")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="largest number of atoms of the second table")
    parser.add_argument("--scaling", nargs=2, type=int, metavar=("ATOMS", "THREADS"), help=argparse.SUPPRESS)
    parser.add_argument("--first-call", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.data.resolve() / "yace"
    silicon_potential = folder / "XPOT-Si.yace"
    if arguments.scaling:
        return scaling_line(silicon_potential, *arguments.scaling)
    if arguments.first_call:
        return first_call_line(silicon_potential)

    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    with tempfile.TemporaryDirectory() as scratch:
        molybdenum = bulk("Mo", cubic=True).repeat(8)
        molybdenum.rattle(0.1, seed=3)
        lines = [
            compare(path, atoms, arguments.repeats, arguments.warm)
            for path, atoms in (
                (silicon_potential, silicon(512)),
                (silicon_potential, silicon(4096)),
                (folder / "XPOT-Sb2Te3.yace", antimony_telluride(folder)),
                (molybdenum_potential(Path(scratch) / "Mo-700.yace"), molybdenum),
            )
        ]
    headings = (
        "potential | atoms | neighbors | python-ace | ours | ratio | python-ace, whole call | ours | ratio | ΔE/atom"
    )
    caches = "warm" if arguments.warm else "cold"
    print_table(f"energies, forces and virial, µs per atom on one core, {caches} caches", headings, lines)
    sizes = [size for size in SIZES if size <= arguments.largest]
    data = ("--data", arguments.data)
    lines = [[*in_a_process(*data, "--scaling", size, 1)[0]] for size in sizes]
    os.sched_setaffinity(0, processors)
    for line, size in zip(lines, sizes, strict=True):
        two = in_a_process(*data, "--scaling", size, 2)[0][1]
        line += [two, f"{float(line[1]) / float(two):.2f}"]
    headings = "atoms | µs/atom | peak MB | of it evaluation | µs/atom, 2 threads | speed-up"
    print_table(f"XPOT-Si, whole calls, {len(processors)} processors", headings, lines)
    words, seconds = in_a_process(*data, "--first-call")
    print(
        f"a fresh process: {seconds:.1f} s, of it {words[0]} s to read and tabulate and {words[1]} s for the first call"
    )


if __name__ == "__main__":
    main()
