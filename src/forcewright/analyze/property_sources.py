"""What gives dipoles, polarizabilities, charges or NMR tensors: a property model, or an ASE calculator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from forcewright.data.properties import KNOWN, Target, parse_irreps
from forcewright.data.property_units import unit_factor
from forcewright.errors import ForcewrightError, InputError
from forcewright.properties.tensor_model import TensorModel
from forcewright.reference.properties import field_polarizability, is_tblite
from forcewright.structure import FloatArray, Structure, require_known_species

#: What ASE calls properties, and in which unit they are.
_OF_ASE = {
    "dipole": ("dipole", "e*Å"), "polarizability": ("polarizability", "Å^3"), "charges": ("charges", "e"),
    "born_charges": ("born_effective_charges", "e"), "shielding": ("shielding", "ppm"), "efg": ("efg", "a.u."),
}  # fmt: skip
#: The unit that values are returned in.
_UNITS = {"dipole": "e*Å", "polarizability": "Å^3", "charges": "e", "born_charges": "e", "shielding": "ppm",
          "efg": "a.u."}  # fmt: skip


@dataclass(frozen=True)
class PropertySource:
    """A property of structures.

    Attributes
    ----------
    kind
        dipole, polarizability, charges, born_charges, shielding or efg.
    values
        Returns it: (components,), or (N, components) of a property per atom, NaN at atoms without; in e·Å, Å³, e, ppm,
        or atomic units of a field gradient.
    local
        Whether what is made of it does not depend on where a periodic cell begins; charges times positions do, and
        dipoles that a program computes of a cell.
    """

    kind: str
    values: Callable[[Structure | Atoms], FloatArray]
    local: bool


def load_property_model(path: str | Path) -> TensorModel:
    """Return a saved property model, by its folder or that of its study; `InputError` if there is none."""
    folder = Path(path)
    if not any((part / "potential.json").is_file() for part in (folder, folder / "model")):
        raise InputError("holds no property model; give the folder of one, or that of its study", file=folder)
    return TensorModel.load(folder / "model" if (folder / "model").is_dir() else folder)


def property_source(source: Any, kinds: Sequence[str], field: str = "model") -> PropertySource:
    """Return what gives one of some kinds of properties.

    Parameters
    ----------
    source
        Folder of a property model or of its study, a model (``target``, ``predict``), or an ASE calculator, or a
        function that makes one.
    kinds
        Those that will do, best first.

    Raises
    ------
    InputError
        If it gives none of them, or in no unit that is known.
    """
    if isinstance(source, str | Path):
        source = load_property_model(source)
    if hasattr(source, "target") and hasattr(source, "predict"):
        return _of_model(source, kinds, field)
    if callable(source) and not isinstance(source, BaseCalculator):
        source = source()
    if hasattr(source, "implemented_properties") and hasattr(source, "get_property"):
        return _of_calculator(source, kinds, field)
    raise InputError(f"is {source!r}; give the folder of a property model, a model, or an ASE calculator", field=field)


def _of_model(model: Any, kinds: Sequence[str], field: str) -> PropertySource:
    target: Target = model.target
    kind = next((kind for kind in kinds if _is(target, kind)), None)
    if kind is None:
        what = "densities of states" if target.irreps is None else f"irreps {target.irreps}, per {target.per}"
        raise InputError(f"predicts {target.name} ({what}); what is needed is {_either(kinds)}", field=field)
    if target.unit is None and kind not in ("charges", "born_charges"):
        raise InputError(f"predicts {target.name} in a unit that its target does not name; fit it again with a unit",
                         field=field)  # fmt: skip
    factor = unit_factor(target.unit or "e", _UNITS[kind])

    def values(structure: Structure | Atoms) -> FloatArray:
        structure = Structure.from_ase(structure) if isinstance(structure, Atoms) else structure
        require_known_species(structure, model.species, knower=f"the model of {target.name}")
        many = len(structure) if target.per == "structure" and target.reduce == "mean" else 1
        return np.asarray(model.predict(structure), dtype=np.float64) * (factor * many)

    return PropertySource(kind, values, local=kind != "charges")


def _is(target: Target, kind: str) -> bool:
    """Whether a target is a property of some kind: named so, or of its irreps and unit."""
    if target.irreps is None or target.per != KNOWN[kind]["per"]:
        return False
    if target.name in KNOWN:
        return target.name == kind
    if set(target.orders) != set(parse_irreps(str(KNOWN[kind]["irreps"]))[0]) or target.unit is None:
        return False
    try:
        unit_factor(target.unit, _UNITS[kind])
    except InputError:
        return False
    return True


def _of_calculator(calculator: Any, kinds: Sequence[str], field: str) -> PropertySource:
    offered = set(calculator.implemented_properties)
    if is_tblite(calculator):
        offered |= {"dipole", "charges", "polarizability"}
    kind = next((kind for kind in kinds if _OF_ASE[kind][0] in offered), None)
    if kind is None:
        raise InputError(f"{type(calculator).__name__} gives no {_either(kinds)}; it gives "
                         f"{', '.join(sorted(offered))}", field=field)  # fmt: skip
    name = _OF_ASE[kind][0]

    def values(structure: Structure | Atoms) -> FloatArray:
        atoms: Any = structure if isinstance(structure, Atoms) else structure.to_ase()
        try:
            if kind == "polarizability" and is_tblite(calculator):
                return field_polarizability(atoms, calculator).ravel()
            made = np.asarray(calculator.get_property(name, atoms), dtype=np.float64)
        except ForcewrightError:
            raise
        except Exception as error:  # calculators raise anything
            raise ForcewrightError(
                f"{type(calculator).__name__} gives no {name} of this structure ({error})"
            ) from error
        if KNOWN[kind]["per"] == "structure":
            return made.ravel()
        return made.reshape(len(structure), -1)

    return PropertySource(kind, values, local=kind in ("born_charges", "shielding", "efg"))


def _either(kinds: Sequence[str]) -> str:
    return " or ".join(kind.replace("efg", "electric field gradients").replace("_", " ") for kind in kinds)
