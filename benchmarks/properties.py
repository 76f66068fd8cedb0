"""Held-back errors of properties that turn with a structure, on published data: `python benchmarks/properties.py`.

Data lie in ../shared/data/{nmr,dipoles} (its README names sources). Five folds by structure, drawn with seed 0; the
ridge, and the settings where there are several, are chosen by folds that the errors have not been measured on.
Names of sets as arguments restrict the table.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.data.properties import Target
from forcewright.data.property_reading import read_property
from forcewright.properties.tensor_errors import errors_of
from forcewright.properties.tensor_model import TensorSettings, fit_tensors

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CATIONS = ("Li", "Be", "Na", "Mg", "K", "Ca", "Rb", "Cs")
SILICA = TensorSettings(cutoff=4.5, degrees=(8, 10), nmax=8, lmax=6, groups=(("O",), ("Si",), CATIONS))
WATER = TensorSettings(cutoff=6.0, degrees=(10, 8, 5), nmax=10, lmax=4, decay=5.25)

SETS: dict[str, tuple[str, dict[str, Any], list[TensorSettings]]] = {
    "si29": ("nmr/si29_shielding.extxyz.gz", {"name": "shielding", "mask": "has_ms"}, [SILICA]),
    "dimer-dipole": ("dipoles/tensoap_water_dimer_coords_1000.extxyz.gz",
                     {"name": "dipole", "key": "mu", "unit": "a.u."}, [WATER]),
    "dimer-polarizability": ("dipoles/tensoap_water_dimer_coords_1000.extxyz.gz",
                             {"name": "polarizability", "key": "alpha", "unit": "a.u."}, [WATER]),
    "ccsdt-dipole": ("dipoles/ccsdt_h2o.xyz.gz", {"name": "dipole", "unit": "a.u."},
                     [WATER.model_copy(update={"cutoff": 4.0, "degrees": (12.0, 10.0, 6.0)})]),
}  # fmt: skip


def main(names: list[str]) -> None:
    """Print the table."""
    for name in names or SETS:
        file, target, candidates = SETS[name]
        begun = time.time()
        data = read_property(DATA / file, Target(**target))
        folds = np.random.default_rng(0).permutation(np.arange(len(data)) % 5)
        fit = fit_tensors(data, candidates, folds, standard_errors=False)
        seconds = time.time() - begun
        columns = ", ".join(f"{part} {len(c)}" for part, c in zip(fit.choices, fit.model.coefficients.values(),
                                                                  strict=True))  # fmt: skip
        print(f"{name}: {len(data)} frames, {data.count} values, {seconds:.0f} s; columns {columns}")
        for row in errors_of(fit):
            percent = "" if row["percent"] is None else f"{row['percent']:8.2f} %"
            print(f"    {row['part']:10s} MAE {row['mae']:.5g}  RMSE {row['rmse']:.5g} {data.target.unit} {percent}")
        print(f"    ridges and candidates by fold, and of the whole: {fit.choices}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
