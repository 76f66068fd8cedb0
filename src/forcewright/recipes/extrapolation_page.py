"""What the page of a simulation shows of how far it left what its potential was fitted to."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.neighbors import find_neighbors
from forcewright.report import Section, draw_extrapolation, draw_structure
from forcewright.simulation.extrapolation_watch import FIRST, TABLE
from forcewright.structure import Structure
from forcewright.trajectory import read_thermo, snapshots

_NEAREST = 6  # neighbors of the atom that are listed
_REACH = 6.0  # Å within which they are looked for


def extrapolation_sections(folder: Path) -> list[Section]:
    """Return the section of a run's uncertainty over time, with the first structure outside; none where none is known.

    ``folder`` is where the run wrote.
    """
    try:
        table = read_thermo(folder / TABLE)
    except InputError:  # the potential knows none
        return []
    values, limits = table["largest"].astype(float), table["limit"].astype(float)
    outside = ~(values <= limits)
    text = (
        f"The uncertainty of the most uncertain atom, over the limit that 1 % of frames like the training data exceed: "
        f"{int(outside.sum())} of {len(values)} structures looked at are outside, the furthest at "
        f"{float(np.max(values / limits)):.3g} times the limit."
    )
    over_time = draw_extrapolation(table["time_ps"], values / limits)
    figures, tables = [] if over_time is None else [over_time], []
    if outside.any():
        with suppress(InputError):  # not a file of ours
            structure = next(iter(snapshots(folder / FIRST))).structure
            first = int(np.flatnonzero(outside)[0])
            text += f" The first of them, at {float(table['time_ps'][first]):.4g} ps, lies in {FIRST}."
            atom = int(table["atom"][first])
            figures.append(draw_structure(vars(structure), [atom], "the first outside"))
            tables.append(_neighbors_of(structure, atom))
    return [Section("Extrapolation", text, figures, tables)]


def _neighbors_of(structure: Structure, atom: int) -> dict[str, Any]:
    """Return the table of the nearest neighbors of an atom."""
    pairs = find_neighbors(structure, _REACH)
    around = np.flatnonzero(pairs.centers == atom)
    around = around[np.argsort(pairs.distances[around], kind="stable")][:_NEAREST]
    symbols = [chemical_symbols[z] for z in structure.numbers]
    rows = [
        [f"{j} ({symbols[j]})", f"{d:.3f}"]
        for j, d in zip(pairs.indices[around].tolist(), pairs.distances[around].tolist(), strict=True)
    ]
    return {
        "caption": f"Nearest neighbors of atom {atom} ({symbols[atom]}), the most uncertain of the first one outside",
        "headings": [("atom", ""), ("distance", "Å")], "rows": rows, "style": "plain",
    }  # fmt: skip
