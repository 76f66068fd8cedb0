"""Teacher calls for each structure that rattle_relax_repeat keeps, and how far these lie from one another.

    python benchmarks/rattle_relax_repeat.py [POTENTIAL FRAMES] [--starts 3] [--count 24] [--temperature 500]

Without arguments silicon (64 atoms) by Tersoff's potential; else any potential and a file of structures to start from.
All other settings are the defaults. Printed are all calls, those for candidates that were not kept among them; energies
above the start; and the root mean square displacement from the nearest other structure, the cell's strain aside.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from ase.build import bulk

import forcewright as fw
from forcewright.generation import rattle_relax_repeat
from forcewright.reference import potential_reference, reference_from
from forcewright.structure import Structure


def main() -> None:
    """Grow the trees and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="a potential and a file of frames")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--temperature", type=float, default=500.0)
    asked = parser.parse_args()
    if asked.files:
        reference = potential_reference(asked.files[0])
        starts = list(fw.read(asked.files[1]).structures[: asked.starts])
    else:
        reference = reference_from({"lammps": {"pair_style": "tersoff", "pair_coeff": "* * Si.tersoff Si"}}, Path())
        starts = [Structure.from_ase(bulk("Si", cubic=True).repeat(2))]
    calls = kept = 0
    for start in starts:
        begun, rng = time.perf_counter(), np.random.default_rng(1)
        made = list(rattle_relax_repeat(start, reference.label, asked.count, rng, temperature_K=asked.temperature))
        fractions = np.array([s.positions @ np.linalg.inv(s.cell) for s in (start, *(m.structure for m in made))])
        moves = (fractions[:, None] - fractions[None]) @ start.cell
        moves -= moves.mean(axis=2, keepdims=True)
        distances = np.sqrt((moves**2).sum(axis=3).mean(axis=2)) + np.diag(np.full(len(fractions), np.inf))
        energies = [1e3 * m.info["energy_above_start_eV_per_atom"] for m in made]
        calls, kept = calls + int(made[-1].info["calls_so_far"]), kept + len(made)
        each, nearest = int(made[-1].info["calls_so_far"]) / len(made), np.median(distances.min(axis=1))
        generations = max(int(m.info["generation"]) for m in made)
        print(
            f"{start.formula}: {each:.2f} calls each, {np.mean(energies):.0f} (up to {max(energies):.0f}) meV/atom "
            f"above the start, nearest other at {nearest:.2f} Å, {generations} generations, "
            f"{time.perf_counter() - begun:.1f} s"
        )
    print(f"{calls / kept:.2f} teacher calls for each structure")


if __name__ == "__main__":
    main()
