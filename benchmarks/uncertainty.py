"""Every kind of uncertainty against the true force errors of atoms, in the domain of the training data and outside it.

Where frames have energies alone, the root mean square of a frame's uncertainties stands against its energy error.

Molten NaCl by point charges (LAMMPS), Mo without its surfaces, acetylacetone with its dihedral scan.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from rich.console import Console
from rich.table import Table

import forcewright as fw
from forcewright.protocols.structures import StructureSettings, build_structure
from forcewright.recipes.force_fields import force_field
from forcewright.simulation import RunSettings, Stage, run
from forcewright.structure import Dataset, Frame, Labels
from forcewright.trajectory import snapshots
from forcewright.uncertainty import KINDS, judged, kinds_of, rank_correlation, uncertainty_of

#: The thesis's point charges: types Na and Cl, metal units.
NACL = {
    "pair_style": "born/coul/long 10.0", "kspace_style": "pppm 1.0e-5", "species": ["Na", "Cl"],
    "charges": {"Na": 1, "Cl": -1},
    "pair_coeff": [
        "1 1 424.097 0.317 0.0 1.05 0.499", "1 2 1256.31 0.317 0.0 7.0 8.676", "2 2 3488.998 0.317 0.0 72.5 145.427",
    ],
}  # fmt: skip


def molten(kelvin: float, volume_A3: float, frames: int, folder: Path, seed: int = 0, cells: int = 2) -> Dataset:
    """Return labelled frames of molten NaCl at a temperature and a volume per 200 ions, 200 fs apart."""
    atoms: Any = bulk("NaCl", "rocksalt", a=5.8, cubic=True).repeat(cells)
    atoms.set_cell(atoms.cell * (volume_A3 * len(atoms) / 200.0 / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    start = build_structure(StructureSettings(snapshot=next(snapshots([atoms]))), folder)
    hot = Stage(ensemble="nvt", time_ps=2.0, temperature_K=(4000.0, kelvin), timestep_fs=1.0)
    held = Stage(ensemble="nvt", time_ps=1.0 + 0.2 * frames, temperature_K=kelvin, timestep_fs=1.0)
    # nothing is wrong with hot salt, however close its ions come while it melts
    settings = RunSettings.model_validate({
        "trajectory": {"every_fs": 200, "forces": True}, "monitors": {"closest_fraction": None, "force_eV_per_A": None},
    })  # fmt: skip
    path = folder / f"{kelvin:.0f}-{volume_A3:.0f}-{seed}"
    result = run(
        force_field({"lammps": NACL}, folder), start, [hot, held], path, engine="lammps", seed=seed, settings=settings
    )
    labelled = [
        Frame(shot.structure, Labels(shot.energy, shot.forces, shot.stress, f"{kelvin:.0f} K"), f"#{k}")
        for k, shot in enumerate(snapshots(result.trajectory))
    ]
    return Dataset(tuple(labelled[-frames:]), "NaCl")


#: A GAP of few sparse points, as it is fitted twice.
GAP = {"kind": "gap", "soap": {"n_max": 6, "l_max": 4, "n_sparse": 100}}

System = tuple[str, Dataset, dict[str, Dataset], dict[str, Any]]


def systems(data: Path, folder: Path, names: list[str], most: int) -> Iterator[System]:
    """Yield name, training data, sets to judge, and model of each system."""
    if "NaCl" in names:
        train = molten(1400.0, 7725.0, 40, folder)
        sets = {
            "held back": molten(1400.0, 7725.0, 20, folder, seed=1), "2,600 K": molten(2600.0, 7725.0, 20, folder, 2),
            "3/4 of the volume": molten(1400.0, 5800.0, 20, folder, seed=3),
        }  # fmt: skip
        yield "NaCl", train, sets, {"kind": "ace", "rcut": 7.0}
    if "Mo" in names and (data / "zuo2020").is_dir():
        train, test = (fw.read(data / "zuo2020" / f"Mo_{part}.extxyz") for part in ("train", "test"))
        left_out = next(group for group in train.group_sizes if group.lower().startswith("surface"))
        inside = [k for k, group in enumerate(train.groups) if group != left_out]
        held = [k for k, group in enumerate(test.groups) if group != left_out][:40]
        out = [k for k, group in enumerate(train.groups) if group == left_out][:30]
        inside = np.random.default_rng(0).permutation(inside)[:most].tolist()
        yield "Mo", train[inside], {"held back": test[held], left_out: train[out]}, {"kind": "ace", "rcut": 4.8}
    if "acetylacetone" in names and (data / "acac").is_dir():
        train = fw.read(data / "acac" / "train_300K.xyz")
        sets = {
            "held back": fw.read(data / "acac" / "test_MD_300K.xyz")[::8][:60],
            "600 K": fw.read(data / "acac" / "test_MD_600K.xyz")[::8][:60],
            "dihedral scan": fw.read(data / "acac" / "test_dihedral.xyz"),
        }  # fmt: skip
        yield "acetylacetone", train[:most], sets, {"kind": "ace", "rcut": 5.0}


def errors_of(potential: Any, dataset: Dataset) -> tuple[np.ndarray, str]:
    """Return the force error of every atom, or the energy error of every frame where no forces are known, and RMSE."""
    predicted = potential.predict(dataset.structures)
    if dataset.labels[0].forces is None:
        differences = [p.energy - known.energy for p, known in zip(predicted, dataset.labels, strict=True)]
        return np.abs(differences), f"energy {1000 * np.sqrt(np.mean(np.square(differences))):.3g} meV"
    vectors = np.concatenate([p.forces - known.forces for p, known in zip(predicted, dataset.labels, strict=True)])
    return np.linalg.norm(vectors, axis=1), f"{np.sqrt(np.mean(vectors**2)):.3f}"


def new_table() -> Table:
    """Return the table of a system without rows."""
    table = Table(title="rank correlation of uncertainty and force error over all atoms; share of frames outside")
    for heading in ("system", "set", "force RMSE (eV/Å)", *KINDS):
        table.add_column(heading, justify="right")
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1] / "../shared/data")
    parser.add_argument("--systems", nargs="+", default=["NaCl", "Mo", "acetylacetone"])
    parser.add_argument("--functions", type=int, default=150, help="per element")
    parser.add_argument("--most", type=int, default=200, help="training frames of Mo and acetylacetone at most")
    parser.add_argument("--gap", action="store_true", help="the variance of a GAP as well, where quippy is installed")
    arguments = parser.parse_args()
    console = Console(width=130)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, train, sets, model in systems(arguments.data.resolve(), folder, arguments.systems, arguments.most):
            begin = time.process_time()
            fit = fw.fit(
                train, model={**model, "functions": arguments.functions}, committee=8, stability="off",
                uncertainty=["standard_error", "distance", "rematch"], search={"starts": 2, "evaluations": 25},
            )  # fmt: skip
            potentials = [fit.potential]
            if arguments.gap and find_spec("quippy"):
                gap = fw.fit(
                    train, model=GAP, validation={"holdout": 0.2}, stability="off"
                )  # folds would be five fits more
                potentials.append(gap.potential)
            console.print(f"{name}: {len(train)} frames fitted in {time.process_time() - begin:.0f} s of CPU")
            table = new_table()
            for label, dataset in sets.items():
                cells: dict[str, str] = {}
                first_rmse = ""
                for potential in potentials:
                    errors, rmse = errors_of(potential, dataset)
                    first_rmse = first_rmse or rmse
                    for kind in kinds_of(potential):
                        known = uncertainty_of(potential, kind)
                        assert known is not None
                        if kind in cells:
                            continue
                        values = [known.of(structure) for structure in dataset.structures]
                        of_frames = len(errors) == len(values)
                        compared = np.sqrt([np.mean(u**2) for u in values]) if of_frames else np.concatenate(values)
                        rho = rank_correlation(compared, errors)
                        outside = np.mean([judged(known, of_frame).is_outside for of_frame in values])
                        cells[kind] = f"{rho:.2f}  {100 * outside:.0f} %"
                table.add_row(name, label, first_rmse, *(cells.get(kind, "–") for kind in KINDS))
            console.print(table)


if __name__ == "__main__":
    main()
