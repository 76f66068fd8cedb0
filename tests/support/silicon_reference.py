"""Silicon by two published potentials, and what another program (libAtoms/silicon-testing-framework) says of them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from forcewright.models.pair_style import PairStylePotential, pair_style_potential

#: That program scales Stillinger-Weber to ε = 2.1675 eV (4.335 eV/atom), LAMMPS's file has the published 2.1683 eV.
SW_ENERGY_RATIO = 2.1675 / 2.1683


@lru_cache
def potential(name: str) -> PairStylePotential:
    """Stillinger and Weber (1985), or Tersoff's third potential as of 1989, "Si(D)" in LAMMPS's file."""
    if name == "SW":
        return pair_style_potential("sw", "* * Si.sw Si", Path())
    return pair_style_potential("tersoff", "* * SiCGe.tersoff Si(D)", Path(), species=["Si"])


def reference(folder: Path, model: str, test: str) -> dict[str, Any]:
    return json.loads((folder / "si-castep" / f"model-{model}-test-{test}-properties.json").read_text())
