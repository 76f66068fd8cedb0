"""Quantum ESPRESSO's ``data-file-schema.xml`` (pw.x 6 and later): the last structure, its labels and eigenvalues.

The file is in Hartree atomic units (https://www.quantum-espresso.org/Doc/ns/qes/). ``etot`` is the free energy, whose
derivatives the forces are. The stress is positive when compressed; here it is eV/Å³ with the ASE sign. k-weights add up
to two where there is one spin channel; here to one. With fixed occupations the highest occupied level is the Fermi
level.
"""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
from ase.data import atomic_numbers

from forcewright.configs import echo
from forcewright.data.eigenvalues import Eigenvalues
from forcewright.data.raw import RawFrame, RawFrames
from forcewright.errors import InputError
from forcewright.plain_data import real
from forcewright.structure import FloatArray, Structure, atomic_number
from forcewright.units import BOHR, HARTREE


def read_quantum_espresso(path: Path) -> RawFrames:
    """Yield the last structure of a run with energy, forces, stress and eigenvalues, as far as they are there."""
    output = _output(path)
    try:
        yield _frame(output, path.name)
    except InputError as error:
        yield InputError(error.problem, file=path, frame=0, field=error.field)


def is_quantum_espresso(path: Path) -> bool:
    """Whether an XML file begins as Quantum ESPRESSO's do; false for what cannot be read."""
    try:
        with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as stream:
            start = stream.read(2000)
    except (OSError, EOFError, zlib.error):
        return False
    return re.search(rb"<(\w+:)?espresso\b", start) is not None


def _output(path: Path) -> ElementTree.Element:
    """Return the part of the file that says what came out; all others are dropped as they come."""
    depth = 0
    root = ""
    try:
        with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as stream:
            for event, element in ElementTree.iterparse(stream, events=("start", "end")):
                if event == "start":
                    depth += 1
                    if depth == 1:
                        root = element.tag.rpartition("}")[2]
                        if root != "espresso":
                            raise InputError(
                                f"is not of Quantum ESPRESSO: the root is <{root}>, expected <espresso>", file=path
                            )
                    continue
                depth -= 1
                if depth == 1 and element.tag == "output":
                    return cast(ElementTree.Element, element)
                if depth == 1:
                    element.clear()
    except gzip.BadGzipFile as error:
        raise InputError(f"is not a gzip file though its name ends in .gz ({error})", file=path) from None
    except (ElementTree.ParseError, EOFError, zlib.error) as error:
        if not root:
            raise InputError(f"is not XML ({error})", file=path) from None
        raise InputError(
            f"the XML breaks off or is damaged ({error}); the run was cut off: repeat it", file=path, field="output"
        ) from None
    except (LookupError, ValueError) as error:  # an encoding that the parser does not know
        raise InputError(f"cannot be read as XML ({error})", file=path) from None
    raise InputError("has no <output>; the run did not finish", file=path, field="output")


def _frame(output: ElementTree.Element, name: str) -> RawFrame:
    atoms = output.findall("atomic_structure/atomic_positions/atom")
    if not atoms:
        raise InputError("has no atomic positions", field="atomic_positions")
    symbols = [_symbol(atom.get("name") or "") for atom in atoms]
    positions = np.array([_numbers(atom, "atomic_positions", 3) for atom in atoms]) * BOHR
    vectors = [output.find(f"atomic_structure/cell/a{index}") for index in (1, 2, 3)]
    if any(vector is None for vector in vectors):
        raise InputError("has no cell", field="cell")
    cell = np.array([_numbers(vector, "cell", 3) for vector in vectors if vector is not None]) * BOHR
    structure = Structure(
        np.array([atomic_number(symbol, "atom") for symbol in symbols]), positions, cell, np.ones(3, dtype=bool)
    )
    info: dict[str, Any] = {"trajectory": name}
    energy = output.find("total_energy/etot")
    if energy is not None:
        info["energy"] = float(_numbers(energy, "etot", 1)[0]) * HARTREE
    stress = output.find("stress")
    if stress is not None:
        tensor = _numbers(stress, "stress", 9).reshape(3, 3)
        info["stress"] = -(tensor + tensor.T) / 2 * HARTREE / BOHR**3
    if (output.findtext("convergence_info/scf_conv/convergence_achieved") or "true").strip().lower() == "false":
        info["scf_converged"] = False
    arrays = {}
    forces = output.find("forces")
    if forces is not None:
        arrays["forces"] = _numbers(forces, "forces", 3 * len(atoms)).reshape(-1, 3) * HARTREE / BOHR
    bands = output.find("band_structure")
    eigenvalues = None if bands is None else _eigenvalues(bands)
    return RawFrame(
        structure, info, arrays, eigenvalues=eigenvalues, holds=() if eigenvalues is None else ("eigenvalues",)
    )


def _eigenvalues(bands: ElementTree.Element) -> Eigenvalues | None:
    points = bands.findall("ks_energies")
    if not points:
        return None
    spins = 2 if _is_true(bands, "lsda") else 1
    up, down = bands.findtext("nbnd_up"), bands.findtext("nbnd_dw")
    if spins == 2 and up is not None and down is not None and up.strip() != down.strip():
        raise InputError(f"there are {up.strip()} bands of spin up and {down.strip()} of spin down; run pw.x with as "
                         "many of both", field="nbnd_up")  # fmt: skip
    arrays: dict[str, FloatArray | None] = {}
    for tag in ("eigenvalues", "occupations"):
        rows = [point.find(tag) for point in points]
        known = [_numbers(row, tag) for row in rows if row is not None]
        if len(known) < len(points):
            arrays[tag] = None
        elif len({len(row) for row in known}) > 1 or len(known[0]) % spins:
            raise InputError("have not the same number of bands at every k-point", field=tag)
        else:
            arrays[tag] = np.array(known).reshape(len(points), spins, -1).transpose(1, 0, 2)
    if arrays["eigenvalues"] is None:
        return None
    weights = np.array([_weight(point) for point in points])
    if weights.sum() <= 0:
        raise InputError("weights of the k-points add up to nothing", field="k_point")
    electrons = bands.find("nelec")
    levels = [bands.find(tag) for tag in ("fermi_energy", "highestOccupiedLevel")]
    level = next((element for element in levels if element is not None), None)
    return Eigenvalues(
        arrays["eigenvalues"] * HARTREE, weights / weights.sum(),
        None if level is None else float(_numbers(level, level.tag, 1)[0]) * HARTREE,
        None if electrons is None else float(_numbers(electrons, "nelec", 1)[0]),
        arrays["occupations"], spinors=_is_true(bands, "noncolin"),
    )  # fmt: skip


def _weight(point: ElementTree.Element) -> float:
    element = point.find("k_point")
    return _real((element.get("weight") if element is not None else None) or "1", "k_point")


def _is_true(element: ElementTree.Element, tag: str) -> bool:
    return (element.findtext(tag) or "").strip().lower() in ("true", ".true.", "t", "1")


def _numbers(element: ElementTree.Element, field: str, count: int | None = None) -> FloatArray:
    values = np.array([_real(word, field) for word in (element.text or "").split()])
    if count is not None and len(values) != count:
        raise InputError(f"holds {len(values)} numbers, expected {count}", field=field)
    if not np.isfinite(values).all():
        raise InputError("holds NaN or infinity; repeat the run", field=field)
    return values


def _real(word: str, field: str) -> float:
    try:
        return real(word)
    except ValueError:
        raise InputError(f"{echo(word)} is not a number; correct the file or repeat the run", field=field) from None


def _symbol(name: str) -> str:
    """Return the element of a label such as Fe1, Si_bulk or O-h, as pw.x takes it."""
    letters = re.match(r"[A-Za-z]{0,2}", name)
    text = (letters[0] if letters else "").capitalize()
    return text if text in atomic_numbers else text[:1] if text[:1] in atomic_numbers else name
