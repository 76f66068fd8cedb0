"""ASE atoms in memory as what a reader yields, so that they are labelled by the same rules as files."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from forcewright.data.labelling import OUR_CALCULATOR, PREDICTED
from forcewright.data.raw import RawFrame
from forcewright.errors import InputError
from forcewright.structure import Structure, results_of

_NO_LABELS = ("numbers", "positions")
#: Further results of a calculator that are read as properties.
_OF_STRUCTURE = ("dipole", "polarizability", "magmom", "dielectric_tensor")
_OF_ATOMS = ("charges", "magmoms", "born_effective_charges")


def raw_frame(atoms: Atoms) -> RawFrame:
    """Return structure, info and arrays of ASE atoms, and energy, forces, stress and properties of their calculator.

    Only results that are there are taken; nothing is computed. Those of a potential of ours are predictions, and stand
    under the names that those have in files (`forcewright.data.labelling.PREDICTED`). Raises `InputError` if they are
    of other positions, or of another cell, than the atoms have now.
    """
    info: dict[str, Any] = {str(key): value for key, value in atoms.info.items()}
    arrays = {key: value for key, value in atoms.arrays.items() if key not in _NO_LABELS}
    calculator: Any = atoms.calc
    results = {key: value for key, value in results_of(atoms).items() if value is not None}
    if results and getattr(calculator, "atoms", None) is not None and calculator.check_state(atoms):
        raise InputError(
            "the results of its calculator are of other positions or of another cell; compute them again "
            "(atoms.get_forces()), or take the calculator off (atoms.calc = None)",
            field="calculator",
        )
    before = PREDICTED if getattr(calculator, "name", None) == OUR_CALCULATOR else ""
    info |= {before + key: results[key] for key in ("energy", "stress") if key in results}
    arrays |= {before + key: np.asarray(results[key]) for key in ("forces",) if key in results}
    for held, names in ((info, _OF_STRUCTURE), (arrays, _OF_ATOMS)):
        held |= {before + key: np.asarray(results[key]) for key in names if key in results and key not in held}
    return RawFrame(Structure.from_ase(atoms), info, arrays)
