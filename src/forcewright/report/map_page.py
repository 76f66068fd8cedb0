"""A map of frames that opens without a network: points to hover, and the frame of each in three dimensions.

The same content is written as a file for chemiscope (Fraux, Cersonsky and Ceriotti, J. Open Source Softw. 5, 2117
(2020); https://chemiscope.org).
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from forcewright.files import atomic_write
from forcewright.report.drawing import MAIN, SECOND_RUN
from forcewright.structure import FloatArray, Structure

_MOST_ATOMS = 600_000  # in all frames of a page; of more, every so many-th frame can be seen in three dimensions


@dataclass(frozen=True, eq=False)
class FrameMap:
    """Frames as points.

    ===========  ==================================================================================
    title        of the page
    sets         names of the sets
    set_of       set of each frame (M,)
    points       coordinates (M, 2)
    axes         names of both
    structures   M frames
    properties   what a point shows when it is hovered: numbers (M,) or texts by name
    ===========  ==================================================================================
    """

    title: str
    sets: Sequence[str]
    set_of: Sequence[int]
    points: FloatArray
    axes: tuple[str, str]
    structures: Sequence[Structure]
    properties: Mapping[str, Sequence[float | str]]


def write_map(path: Path, content: FrameMap) -> Path:
    """Write the page; it loads nothing from elsewhere."""
    data = {
        "sets": list(content.sets), "colors": [MAIN, SECOND_RUN], "set_of": [int(k) for k in content.set_of],
        "points": np.round(content.points, 9).tolist(), "axes": list(content.axes),
        "properties": {name: [_shown(v) for v in values] for name, values in content.properties.items()},
        "structures": _structures(content.structures), "elements": _elements(content.structures),
    }  # fmt: skip
    # an element named script ends at "</": nothing in a text may look like one
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    environment = Environment(
        loader=PackageLoader("forcewright.report", "."), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("map.html").render(title=content.title, data=Markup(text))  # noqa: S704
    return atomic_write(path, page)


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else "" if not math.isfinite(value) else f"{value:.5g}"


def _structures(structures: Sequence[Structure]) -> list[Any]:
    """Return numbers, positions and cell of the frames in hundredths of an Å; None for those left out."""
    every = math.ceil(sum(map(len, structures)) / _MOST_ATOMS)
    shown: list[Any] = []
    for index, structure in enumerate(structures):
        if index % every:
            shown.append(None)
            continue
        atoms = structure.to_ase()
        if structure.pbc.any():
            atoms.wrap()  # type: ignore[no-untyped-call]
        positions = np.round(100.0 * atoms.positions).astype(int).ravel().tolist()
        cell = np.round(100.0 * structure.cell).astype(int).ravel().tolist() if structure.cell.any() else None
        shown.append([structure.numbers.tolist(), positions, cell])
    return shown


def _elements(structures: Sequence[Structure]) -> dict[str, Any]:
    kinds = sorted({int(z) for structure in structures for z in np.unique(structure.numbers)})
    colors = np.round(255 * jmol_colors[kinds]).astype(int).tolist()
    return {
        str(z): [chemical_symbols[z], float(np.round(covalent_radii[z], 2)), color]
        for z, color in zip(kinds, colors, strict=True)
    }  # fmt: skip


def write_chemiscope(path: Path, content: FrameMap, references: Sequence[str] = ()) -> Path:
    """Write the map for chemiscope, as JSON that is packed where the name ends in ``.gz``."""
    properties: dict[str, Any] = {
        name: {"target": "structure", "values": content.points[:, k].tolist()} for k, name in enumerate(content.axes)
    }
    properties["set"] = {"target": "structure", "values": [content.sets[k] for k in content.set_of]}
    for name, values in content.properties.items():
        numbers = all(isinstance(value, float | int) for value in values)
        if numbers and not all(math.isfinite(float(value)) for value in values):
            continue  # chemiscope takes no missing numbers
        properties[name] = {"target": "structure", "values": list(values)}
    data = {
        "meta": {"name": content.title, "references": list(references)},
        "structures": [_chemiscope_structure(structure) for structure in content.structures],
        "properties": properties,
        "settings": {
            "map": {
                "x": {"property": content.axes[0]}, "y": {"property": content.axes[1]}, "z": {"property": ""},
                "color": {"property": ""}, "symbol": "set",
            },
            "structure": [{"unitCell": True}],
        },
    }  # fmt: skip
    text = json.dumps(data, allow_nan=False).encode()
    return atomic_write(path, gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def _chemiscope_structure(structure: Structure) -> dict[str, Any]:
    x, y, z = np.round(structure.positions, 4).T.tolist()
    shown: dict[str, Any] = {
        "size": len(structure), "names": [chemical_symbols[number] for number in structure.numbers],
        "x": x, "y": y, "z": z,
    }  # fmt: skip
    if structure.cell.any():
        shown["cell"] = structure.cell.ravel().tolist()
    return shown
