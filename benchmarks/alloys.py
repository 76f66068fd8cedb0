"""NbMoTaW by default settings: errors, each binary left out in turn, and what the potential costs beside SNAP.

    python benchmarks/alloys.py [--step N] [--functions 300] [--in-domain]

Elements and binaries train (Li, Hu, Chen, Deng, Luo and Ong, npj Comput. Mater. 6, 70 (2020)); one set of weights for
all groups, 300 functions per element. Weights, ridge and smoothness are those of cross-validation within the training
data; with them, every binary is predicted by a fit that has seen none of it, and compared with the fit that has. The
published SNAP potential has force errors of 0.182 (Mo), 0.161 (Nb), 0.268 (Ta) and 0.175 eV/Å (W) on the elements.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import forcewright as fw
from forcewright.fitting.cost import time_per_atom

DATA = Path(__file__).parents[2] / "shared" / "data" / "alloys"
PUBLISHED = {"Mo": 0.182, "Nb": 0.161, "Ta": 0.268, "W": 0.175}  # eV/Å
ENERGY, FORCE = "energy_rmse_meV_per_atom", "force_rmse_eV_per_A"


def read(name: str, folder: Path) -> fw.Dataset:
    """Return the frames of one file of the set."""
    path = folder / f"{name}.extxyz"
    path.write_bytes(gzip.decompress((DATA / f"NbMoTaW_{name}.extxyz.gz").read_bytes()))
    return fw.read(path)


def main() -> None:
    """Fit, leave out, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--step", type=int, default=1, help="take every N-th training frame (1)")
    arguments.add_argument("--functions", type=int, default=300, help="of ACE, per element (300)")
    arguments.add_argument("--in-domain", action="store_true", help="leave out no binary")
    parsed = arguments.parse_args()
    step = parsed.step
    if not DATA.is_dir():
        raise SystemExit("needs the alloys of ../shared")
    with tempfile.TemporaryDirectory() as temporary:
        parts = [read(name, Path(temporary)) for name in (*(f"binaries_train_{i}" for i in range(3)), "elements_train")]
        test = read("test", Path(temporary))
    train = sum((part[::step] for part in parts[1:]), parts[0][::step])
    model: dict[str, Any] = {"kind": "ace", "functions": parsed.functions}
    start = time.process_time()
    fit = fw.fit(train, model=model, test=test, weights={"by": "all"}, workers=1)
    seconds = time.process_time() - start
    settings = fit.summary["settings"]
    weights = {"by": "all", **next(iter(settings["weights"].values()))}
    binaries = [] if parsed.in_domain else sorted(group for group in train.group_sizes if group.endswith("_SS"))
    seen, unseen = fit.validation.to_dict()["groups"], {}
    if binaries:
        left_out = fw.fit(
            train, model=settings["model"], weights=weights, ridge=settings["ridge"], prior=settings["prior"],
            workers=1, validation={"leave_out": {group: [group] for group in binaries}}, short_range="off",
        )  # fmt: skip
        unseen = left_out.validation.to_dict()["groups"]
    largest = max(test.structures, key=len)
    snap = fw.fit(train[:: max(1, 20 // step)], model={"kind": "snap", "twojmax": 6}, ridge=1e-8, workers=1,
                  weights={"energy": 100, "force": 1, "by": "all"}, short_range="off")  # fmt: skip

    console = Console(width=110)
    console.print(f"{len(train)} frames, {seconds:.0f} s CPU, {settings['model']['radial']}, {settings['prior']}")
    console.print(f"ridge {settings['ridge']:.2g}, weights {weights}")
    table = Table("binary", "seen: meV/atom", "eV/Å", "left out: meV/atom", "eV/Å", "ratios")
    for group in binaries:
        a, b = seen[group], unseen[group]
        ratios = f"{b[ENERGY] / a[ENERGY]:.1f}, {b[FORCE] / a[FORCE]:.1f}"
        table.add_row(group, *(f"{x:.3g}" for x in (a[ENERGY], a[FORCE], b[ENERGY], b[FORCE])), ratios)
    if binaries:
        console.print(table)
    overall = fit.test.overall
    console.print(f"cross-validation {fit.validation!r}")
    console.print(f"test {overall.energy_rmse_meV_per_atom:.2f} meV/atom, {overall.force_rmse_eV_per_A:.3f} eV/Å")
    errors = fit.test.to_dict()["groups"]
    for symbol, published in PUBLISHED.items():
        console.print(f"{symbol}: {errors[f'{symbol}_Test'][FORCE]:.3f} eV/Å on test (published SNAP {published})")
    cost = [time_per_atom(potential, largest) for potential in (fit.potential, snap.potential)]
    console.print(f"cost on {len(largest)} atoms: {cost[0]:.1f} µs/atom; SNAP with 2J = 6: {cost[1]:.1f} µs/atom")


if __name__ == "__main__":
    main()
