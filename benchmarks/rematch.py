"""REMatch kernels with SOAP given: pairs a second beside DScribe, the difference of the two, and a large matrix.

Frames of 64 atoms, crystals far above melting (each atom displaced by 0.6 Å in every direction), γ = 0.1, our sums of
rows and columns and DScribe's changes of the factors converged to 1e-12. The programs take turns on as many threads;
ratios are medians over the turns.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from ase import Atoms
from ase.build import bulk
from dscribe.kernels import REMatchKernel
from rich.console import Console
from rich.table import Table

from forcewright.descriptors import Soap, StructureKernel
from forcewright.structure import FloatArray, Structure
from forcewright.threads import thread_count


def spectra(symbol: str, count: int, seed: int) -> list[FloatArray]:
    """Return SOAP spectra (64, D), of length 1, of hot crystals."""
    crystal: Atoms = (
        bulk("NaCl", "rocksalt", 5.9, cubic=True).repeat((2, 2, 2)) if symbol == "NaCl"
        else bulk(symbol, "fcc", 5.6, cubic=True).repeat((2, 2, 4))
    )  # fmt: skip
    soap = Soap(tuple(np.unique(crystal.numbers).tolist()), cutoff=6.0)
    noise = 0.6 * np.random.default_rng(seed).normal(size=(count, 64, 3))
    return [
        soap.rows(Structure(crystal.numbers, crystal.positions + shift, crystal.cell.array, [True] * 3))  # type: ignore[arg-type]
        for shift in noise
    ]


def timed(make: object, *arguments: object) -> tuple[FloatArray, FloatArray]:
    """Return the wall time, the CPU time and the result."""
    start, cpu = time.perf_counter(), time.process_time()
    result = make(*arguments)  # type: ignore[operator]
    return np.array([time.perf_counter() - start, time.process_time() - cpu]), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200, help="of each of the two sets that both programs compare")
    parser.add_argument("--peer-frames", type=int, default=12, help="of each set that DScribe sees in a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--large", type=int, default=0, help="frames of each set of a matrix without a peer, as 1000")
    options = parser.parse_args()
    ours, theirs = StructureKernel("rematch", 0.1), REMatchKernel(metric="linear", alpha=0.1, threshold=1e-12)
    ours.matrix(spectra("Ar", 2, 0))  # compiled before the clock runs
    table = Table("system", "numbers an atom", "pairs/s", "DScribe", "ratio", "ratio by CPU time", "largest difference")
    for symbol in ("Ar", "NaCl"):
        first, second = spectra(symbol, options.frames, 1), spectra(symbol, options.frames, 2)
        speeds: list[FloatArray] = []
        few = options.peer_frames
        for _ in range(options.turns):
            seconds, matrix = timed(ours.matrix, first, second)
            peer_seconds, peer = timed(theirs.create, first[:few], second[:few])
            # both also match every frame with itself
            mine, its = (len(matrix) ** 2 + 2 * len(matrix)) / seconds, (few**2 + 2 * few) / peer_seconds
            speeds.append(np.array([mine[0], its[0], *(mine / its)]))
        speed, peer_speed, ratio, cpu_ratio = np.median(speeds, axis=0)
        table.add_row(
            symbol, str(first[0].shape[1]), f"{speed:.0f}", f"{peer_speed:.0f}", f"{ratio:.1f}", f"{cpu_ratio:.1f}",
            f"{np.abs(matrix[:few, :few] - peer).max():.1e}",
        )  # fmt: skip
    console = Console()
    console.print(f"{options.frames} × {options.frames} frames of 64 atoms, {thread_count()} threads")
    console.print(table)
    if options.large:
        first, second = spectra("NaCl", options.large, 3), spectra("NaCl", options.large, 4)
        (seconds, cpu), _ = timed(ours.matrix, first, second)
        console.print(
            f"{options.large} × {options.large} frames of NaCl: {seconds / 60:.1f} min, {cpu / 60:.1f} min of CPU"
        )


if __name__ == "__main__":
    main()
