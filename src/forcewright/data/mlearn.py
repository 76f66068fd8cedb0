"""The JSON of mlearn and maml: pymatgen structures with VASP outputs (Zuo et al., J. Phys. Chem. A 124, 731 (2020)).

``outputs.virial_stress`` holds six numbers in kbar with VASP's sign (positive = compressed). The order of the three
off-diagonals differs between the groups of the published sets and is written nowhere, so it is a parameter; the
audit finds the order that agrees with the forces.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.configs import echo
from forcewright.data.raw import RawFrame, RawFrames
from forcewright.errors import InputError
from forcewright.plain_data import parse_json, real_array
from forcewright.structure import FloatArray, Structure, atomic_number
from forcewright.units import KBAR

DEFAULT_ORDER = "xy yz zx"  #: as VASP writes OUTCAR
_AXES = {"xy": (0, 1), "yx": (0, 1), "yz": (1, 2), "zy": (1, 2), "zx": (0, 2), "xz": (0, 2)}


def read_mlearn(path: Path, *, stress_order: str | Mapping[str, str] = DEFAULT_ORDER) -> RawFrames:
    """Yield the entries.

    Parameters
    ----------
    stress_order
        Order of the off-diagonals, such as ``"xy zx yz"``, or one order per group with ``"*"`` for all others.
    """
    try:
        entries = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"is not JSON ({error})", file=path) from None
    if not isinstance(entries, list) or not entries:
        raise InputError("is not an mlearn file: expected a list of entries with structure and outputs", file=path)
    for index, entry in enumerate(entries):
        try:
            yield _frame(entry, stress_order)
        except InputError as error:
            yield InputError(error.problem, file=path, frame=index, field=error.field)


def _frame(entry: Any, stress_order: str | Mapping[str, str]) -> RawFrame:
    structure = _structure(_part(entry, "structure"))
    outputs = _part(entry, "outputs")
    group = str(entry.get("group", "default"))
    info: dict[str, Any] = {"config_type": group, **{key: entry[key] for key in ("description", "tag") if key in entry}}
    if outputs.get("energy") is not None:
        info["energy"] = outputs["energy"]
    if outputs.get("virial_stress") is not None:
        order = _order_of(group, stress_order)
        info["stress"] = _stress(outputs["virial_stress"], order)
        info["stress_order"] = order
    return RawFrame(structure, info, {} if outputs.get("forces") is None else {"forces": _forces(outputs["forces"])})


def _forces(rows: Any) -> FloatArray:
    try:
        return real_array(rows, "forces")
    except ValueError:
        raise InputError("is not one row of three numbers per atom", field="forces") from None


def _part(entry: Any, key: str) -> dict[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get(key), dict):
        present = ", ".join(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
        raise InputError(f"is missing; an mlearn entry holds structure, outputs and group, found {present}", field=key)
    return dict(entry[key])


def _structure(record: dict[str, Any]) -> Structure:
    try:
        cell = real_array(record["lattice"]["matrix"], "the lattice")
        positions = real_array([site["xyz"] for site in record["sites"]], "xyz")
        symbols = [_element(site) for site in record["sites"]]
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, ArithmeticError) as error:
        raise InputError(
            f"is not a pymatgen structure with lattice.matrix and sites ({type(error).__name__}: {error})",
            field="structure",
        ) from None
    return Structure(
        np.array([atomic_number(symbol, "species") for symbol in symbols]), positions, cell, np.ones(3, dtype=bool)
    )


def _element(site: dict[str, Any]) -> str:
    species = site["species"]
    if len(species) != 1 or species[0].get("occu", 1) != 1:
        raise InputError("a site is shared by several elements; a potential needs whole atoms", field="species")
    return str(species[0]["element"])


def _order_of(group: str, stress_order: str | Mapping[str, str]) -> str:
    if isinstance(stress_order, str):
        return stress_order
    return stress_order.get(group, stress_order.get("*", DEFAULT_ORDER))


def _stress(values: Any, order: str) -> FloatArray:
    words = order.replace(",", " ").split()
    if len(words) != 3 or any(word not in _AXES for word in words) or len({_AXES[word] for word in words}) != 3:
        raise InputError(f"{order!r} is not an order of xy, yz and zx such as 'xy zx yz'", field="stress_order")
    try:
        numbers = real_array(values, "stress")
    except ValueError:
        raise InputError(f"{echo(values)} is not six numbers", field="virial_stress") from None
    if numbers.shape != (6,):
        raise InputError(f"has shape {numbers.shape}, expected six numbers in kbar", field="virial_stress")
    matrix = np.diag(numbers[:3])
    for word, value in zip(words, numbers[3:], strict=True):
        i, j = _AXES[word]
        matrix[i, j] = matrix[j, i] = value
    return -KBAR * matrix
