"""Published SNAP potentials: our errors against the published ones, our time per atom against LAMMPS alone."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import forcewright as fw
from forcewright.lammps_session import new_instance, write_lammps_data

PUBLISHED = {
    "Mo-snap": (9.25, 0.376), "Mo-qsnap": (4.04, 0.333), "Si-snap": (8.06, 0.205), "Si-qsnap": (5.51, 0.177),
}  # fmt: skip


def lammps_us_per_atom(potential, structure, folder: Path, steps: int = 20) -> float:
    """Time LAMMPS's own run of the exported input, per atom and step."""
    potential.save(folder)
    write_lammps_data(folder / "structure.data", structure, potential.species, potential.cutoff)
    lmp = new_instance()
    text = (folder / "in.lammps").read_text().split("velocity")[0].replace("structure.data", f"{folder}/structure.data")
    lmp.commands_string(text.replace("model.", f"{folder}/model."))
    lmp.command("fix nve all nve")
    start = time.perf_counter()
    lmp.command(f"run {steps} pre no post no")
    return 1e6 * (time.perf_counter() - start) / steps / len(structure)


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1] / "../shared/data")
    folder = parser.parse_args().data / "zuo2020"
    table = Table(title="published potentials on Zuo's test sets, one core")
    for heading in ("potential", "energy (meV/atom)", "published", "force (eV/Å)", "published", "µs/atom", "/ LAMMPS"):
        table.add_column(heading, justify="right")
    for name, (energy, force) in PUBLISHED.items():
        potential = fw.load(folder / "published-snap" / name)
        test = fw.read(folder / f"{name[:2]}_test.extxyz")
        errors = fw.evaluate(potential, test).overall
        structure = max(test.structures, key=len)
        times = []
        for _ in range(11):
            start = time.perf_counter()
            potential.predict([structure])
            times.append(1e6 * (time.perf_counter() - start) / len(structure))
        with tempfile.TemporaryDirectory() as scratch:
            alone = median(lammps_us_per_atom(potential, structure, Path(scratch)) for _ in range(3))
        table.add_row(
            name, f"{errors.energy_rmse_meV_per_atom:.2f}", f"{energy}",
            f"{errors.force_rmse_eV_per_A:.3f}", f"{force}",
            f"{median(times):.0f}", f"{median(times) / alone:.2f}",
        )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
