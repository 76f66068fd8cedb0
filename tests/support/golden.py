"""What the reference evaluator gives for published and synthetic potentials (see the README of the shared data)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import ase.io
import numpy as np
from ase import Atoms

#: Potential and structures, relative to the folder ``yace`` of the shared data.
SETS = {
    "XPOT-Si.yace": "si.extxyz",
    "XPOT-Sb2Te3.yace": "sb2te3.extxyz",
    **{
        f"synth/{name}.yace": f"synth/{name}.extxyz"
        for name in (
            "chebexpcos-fs-density", "chebexpcos-fs-m2", "cheblinear-fs-linear", "chebpow-fsss-distance",
            "sbessel-fsss-zbl", "variant-density", "variant-density-rcutin", "variant-zbl-wide-switch",
        )
    },
}  # fmt: skip


class Golden(NamedTuple):
    """One structure and its energies (N,), forces (N, 3) and stress (3, 3), None where it has no cell."""

    atoms: Atoms
    energy: float
    energies: np.ndarray
    forces: np.ndarray
    stress: np.ndarray | None


def read_golden(folder: Path, potential: str) -> list[Golden]:
    """Return all structures that go with a potential."""
    result = []
    for atoms in ase.io.read(folder / "yace" / SETS[potential], ":"):
        found = atoms.calc.results
        stress = None
        if atoms.pbc.all():
            xx, yy, zz, yz, xz, xy = atoms.get_stress()
            stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        result.append(Golden(atoms, float(found["energy"]), found["energies"], found["forces"], stress))
    return result
