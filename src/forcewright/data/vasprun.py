"""VASP's vasprun.xml and vasprun.xml.gz: every ionic step, in memory bounded by one step.

The energy is VASP's free energy, ``e_fr_energy``, because the forces and the stress are its derivatives. The value
extrapolated to zero smearing (ASE's ``energy``) travels in ``info["e_0_energy"]``; ``labels={"energy": "e_0_energy"}``
makes it the energy. VASP writes the stress in kbar, positive when compressed; here it is eV/Å³ with the ASE sign.

Eigenvalues and densities of states, which can be most of the file, are read where they are asked for.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from ase.data import atomic_masses, chemical_symbols

from forcewright.data.eigenvalues import DensityOfStates, Eigenvalues
from forcewright.data.raw import RawFrame, RawFrames
from forcewright.errors import InputError
from forcewright.plain_data import real
from forcewright.structure import FloatArray, Structure, atomic_number
from forcewright.units import KBAR

#: Parts of the file, and of an ionic step, that are read; all others are dropped as they come. A density of states or
#: projected bands can be most of the file.
_PARTS = frozenset({"atominfo", "parameters", "calculation"})
_STEP_PARTS = frozenset({"scstep", "structure", "varray", "energy"})
_ELECTRONIC_PARTS = frozenset({"eigenvalues", "dos"})
#: VASP writes energies, and EDIFF, with eight decimals.
_LAST_DECIMAL = 1.5e-8
_KEEP_THE_REST = (
    "or keep only the finished steps (--skip-broken; data: {skip_broken: true} in a config, strict=False in Python)"
)
_STARS = f"(VASP writes stars where it overflows): repeat the run, {_KEEP_THE_REST}"


def read_vasprun(path: Path) -> RawFrames:
    """Yield the ionic steps; a step without energy, and the place where a file is cut off, yield an error.

    Steps whose electronic loop ran to NELM, its last change of energy above EDIFF, carry
    ``info["scf_converged"] = False``.
    """
    return _read(path, _PARTS, _STEP_PARTS)


def read_vasprun_with_eigenvalues(path: Path) -> RawFrames:
    """Yield the ionic steps with their eigenvalues and density of states; VASP may write only those of the last."""
    return _read(path, _PARTS | {"kpoints"}, _STEP_PARTS | _ELECTRONIC_PARTS)


def _read(path: Path, parts: frozenset[str], step_parts: frozenset[str]) -> RawFrames:
    opener = gzip.open if path.suffix == ".gz" else open
    header: dict[str, Any] = {"PSTRESS": 0.0, "NELM": 0.0, "EDIFF": 1e-4, "holds": set()}
    index = 0
    try:
        with opener(path, "rb") as stream:
            for element in _parts(stream, path, parts, step_parts, header["holds"]):
                if element.tag == "atominfo":
                    header["numbers"] = _of_file(path, _numbers, element)
                elif element.tag == "parameters":
                    _of_file(path, _take_parameters, element, header)
                elif element.tag == "kpoints":
                    header["weights"] = _of_file(path, _column, element, "varray[@name='weights']", "weights")
                elif element.tag == "calculation":
                    try:
                        yield _step(element, header, path.name)
                    except InputError as error:
                        yield InputError(error.problem, file=path, frame=index, field=error.field)
                    index += 1
    except (ElementTree.ParseError, EOFError, zlib.error) as error:
        if isinstance(error, _NoXmlError):  # as a rule, the file is another one
            raise InputError(f"is not XML, and so no vasprun.xml ({error})", file=path) from None
        yield InputError(
            f"the XML breaks off or is damaged after {index} finished ionic steps ({error}); "
            f"the run was cut off: repeat it, {_KEEP_THE_REST}",
            file=path, frame=index, field="calculation",
        )  # fmt: skip
        return
    except gzip.BadGzipFile as error:
        raise InputError(f"is not a gzip file though its name ends in .gz ({error})", file=path) from None
    except (LookupError, ValueError) as error:  # an encoding that the parser does not know
        raise InputError(f"cannot be read as XML ({error})", file=path) from None
    if not index:
        raise InputError("holds no ionic step (<calculation>)", file=path, field="calculation")


def _of_file(path: Path, take: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return take(*arguments)
    except InputError as error:
        raise InputError(error.problem, file=path, field=error.field) from None


class _NoXmlError(ElementTree.ParseError):
    """Not even the first tag can be read."""


def _parts(
    stream: Any, path: Path, parts: frozenset[str], step_parts: frozenset[str], holds: set[str]
) -> Iterator[ElementTree.Element]:
    """Yield each finished part of the file, and drop it and everything that is not needed at once.

    ``holds`` takes which electronic parts the step has that is yielded.
    """
    open_elements: list[ElementTree.Element] = []
    try:
        for event, element in ElementTree.iterparse(stream, events=("start", "end")):
            if event == "start":
                if not open_elements and element.tag != "modeling":
                    problem = f"is not a vasprun.xml: the root is <{element.tag}>, expected <modeling>"
                    raise InputError(problem, file=path)
                open_elements.append(element)
                continue
            open_elements.pop()
            tags = [parent.tag for parent in open_elements[1:3]] + [element.tag]
            is_part = len(open_elements) == 1
            if len(open_elements) == 2 and element.tag in _ELECTRONIC_PARTS:
                holds.add(element.tag)
            if is_part and element.tag in parts:
                yield element
                holds.clear()
            if open_elements and (is_part or not _is_needed(tags, parts, step_parts)):
                open_elements[-1].remove(element)  # it alone: the parser is ahead of its events
    except ElementTree.ParseError as error:
        if not open_elements:
            raise _NoXmlError(str(error)) from None
        raise


def _is_needed(tags: Sequence[str], parts: frozenset[str], step_parts: frozenset[str]) -> bool:
    """Whether an element with these ancestors below the root, and its own tag, belongs to something that is read."""
    return tags[0] in parts and (tags[0] != "calculation" or len(tags) < 2 or tags[1] in step_parts)


def _numbers(element: ElementTree.Element) -> list[int]:
    symbols = [(row.findtext("c") or "").strip() for row in element.iterfind("array[@name='atoms']/set/rc")]
    types = [[cell.text or "" for cell in row] for row in element.iterfind("array[@name='atomtypes']/set/rc")]
    names = {symbol: _right_symbol(symbol, types) for symbol in dict.fromkeys(symbols)}
    return [atomic_number(names[symbol], "atominfo") for symbol in symbols]


def _right_symbol(symbol: str, types: Sequence[Sequence[str]]) -> str:
    """Return what the mass says where old VASP writes half a symbol: ``r`` for zirconium, ``X`` for xenon."""
    if symbol in chemical_symbols[1:]:
        return symbol
    for words in types:  # number of atoms, element, mass, valence, potential
        if len(words) > 2 and words[1].strip() == symbol and (mass := _mass(words[2])) is not None:
            fitting = [
                name for name, known in zip(chemical_symbols[1:], atomic_masses[1:], strict=False)
                if symbol.lower() in name.lower() and abs(known - mass) < 0.5
            ]  # fmt: skip
            if len(fitting) == 1:
                return fitting[0]
    return "Zr" if symbol == "r" else symbol


def _mass(text: str) -> float | None:
    try:
        return real(text)
    except ValueError:
        return None


def _take_parameters(element: ElementTree.Element, header: dict[str, Any]) -> None:
    for name in ("PSTRESS", "NELM", "EDIFF", "NELECT"):
        parameter = next((item for item in element.iter("i") if item.get("name") == name), None)
        if parameter is not None and parameter.text:
            try:
                header[name] = real(parameter.text)
            except ValueError:
                raise InputError(f"{parameter.text.strip()!r} is not a number; correct the file", field=name) from None
    spinors = next((item for item in element.iter("i") if item.get("name") == "LNONCOLLINEAR"), None)
    header["spinors"] = spinors is not None and (spinors.text or "").strip().startswith("T")


def _step(element: ElementTree.Element, header: dict[str, Any], name: str) -> RawFrame:
    if "numbers" not in header:
        raise InputError("there is no list of atoms before the first step", field="atominfo")
    numbers = np.array(header["numbers"])
    cell = _varray(element, "structure/crystal/varray[@name='basis']", "basis", (3, 3))
    fractional = _varray(element, "structure/varray[@name='positions']", "positions", (len(numbers), 3))
    if cell is None or fractional is None:
        raise InputError("the step has no cell or no positions; it is unfinished", field="structure")
    structure = Structure(numbers, fractional @ cell, cell, np.ones(3, dtype=bool))
    info = _energies(element, header, float(np.linalg.det(cell)))
    if not _converged(element.findall("scstep"), int(header["NELM"]), header["EDIFF"]):
        info["scf_converged"] = False
    info["trajectory"] = name
    stress = _varray(element, "varray[@name='stress']", "stress", (3, 3))
    if stress is not None:
        info["stress"] = -KBAR * (stress + stress.T) / 2
    forces = _varray(element, "varray[@name='forces']", "forces", (len(numbers), 3))
    density = _density(element.find("dos"), len(numbers))
    eigenvalues = _eigenvalues(element.find("eigenvalues"), header, None if density is None else density.fermi)
    labels = {} if forces is None else {"forces": forces}
    holds = tuple(sorted(header["holds"], reverse=True))
    return RawFrame(structure, info, labels, eigenvalues=eigenvalues, density=density, holds=holds)


def _eigenvalues(
    element: ElementTree.Element | None, header: dict[str, Any], fermi: float | None
) -> Eigenvalues | None:
    """Return the eigenvalues of a step; None where VASP wrote none."""
    if element is None:
        return None
    spins = [
        [[(row.text or "").split() for row in point.iterfind("r")] for point in spin.iterfind("set")]
        for spin in element.iterfind("array/set/set")
    ]
    table = _table(spins, "eigenvalues", 2)  # energy and occupation
    return Eigenvalues.of(
        table[..., 0], header.get("weights"), fermi=fermi, electrons=header.get("NELECT"),
        occupations=table[..., 1], spinors=header.get("spinors", False),
    )  # fmt: skip


def _density(element: ElementTree.Element | None, atoms: int) -> DensityOfStates | None:
    """Return the density of states of a step; None where there is none."""
    total = None if element is None else element.find("total/array")
    if element is None or total is None:
        return None
    spins = [[(row.text or "").split() for row in spin.iterfind("r")] for spin in total.iterfind("set/set")]
    table = _table(spins, "dos", 3)  # energy, density and its integral
    fermi = _number(element, "i[@name='efermi']", "efermi")
    partial = element.find("partial/array")
    if partial is None:
        return DensityOfStates(table[0, :, 0], table[:, :, 1], fermi)
    names = [(field.text or "").strip() for field in partial.iterfind("field")][1:]
    ions = [
        [[(row.text or "").split() for row in spin.iterfind("r")] for spin in ion.iterfind("set")]
        for ion in partial.iterfind("set/set")
    ]
    projected = _table(ions, "partial", len(names) + 1)[..., 1:].transpose(0, 1, 3, 2)
    if len(projected) != atoms:
        raise InputError(f"holds {len(projected)} ions, expected {atoms}", field="partial")
    return DensityOfStates(table[0, :, 0], table[:, :, 1], fermi, projected, tuple(names))


def _table(rows: Sequence[Any], field: str, width: int) -> FloatArray:
    """Return nested lists of words as an array whose last axis has some width."""
    try:
        values = np.array(rows, dtype=np.float64)
    except ValueError:
        raise InputError(f"a row does not hold numbers, or rows are missing {_STARS}", field=field) from None
    if not values.size or values.ndim != {"dos": 3}.get(field, 4) or values.shape[-1] != width:
        raise InputError(f"has shape {values.shape}, expected {width} numbers in each row", field=field)
    if not np.isfinite(values).all():
        raise InputError("holds NaN or infinity; the electronic loop went wrong, repeat the run", field=field)
    return values


def _column(element: ElementTree.Element, where: str, field: str) -> FloatArray | None:
    """Return the numbers of a column of one number a row; None where it is not there."""
    varray = element.find(where)
    if varray is None:
        return None
    try:
        return np.array([real((row.text or "").strip()) for row in varray.iterfind("v")])
    except ValueError:
        raise InputError(f"a row does not hold a number {_STARS}", field=field) from None


def _converged(steps: Sequence[ElementTree.Element], longest: int, threshold: float) -> bool:
    """Whether the electronic loop ended because the energy had settled, and not because it was out of steps.

    VASP may converge in the last step that is allowed. Steps of linear response follow those of the ground state, so
    that there may be more of them than NELM.
    """
    if not longest or len(steps) < longest:
        return True
    energies: list[float | None] = []
    for step in steps[:longest]:
        try:
            energies.append(_number(step, "energy/i[@name='e_fr_energy']", "e_fr_energy"))
        except InputError:
            energies.append(None)
    enough = max(abs(threshold), _LAST_DECIMAL)
    settled = [
        before is not None and after is not None and abs(after - before) < enough
        for before, after in zip(energies, energies[1:], strict=False)
    ]
    return any(settled) if len(steps) > longest else bool(settled) and settled[-1]


def _energies(element: ElementTree.Element, header: dict[str, Any], volume: float) -> dict[str, Any]:
    free = _number(element, "energy/i[@name='e_fr_energy']", "e_fr_energy")
    if free is None:
        raise InputError("the ionic step has no energy: it is unfinished", field="e_fr_energy")
    # The outer e_fr_energy is an enthalpy under PSTRESS (https://gitlab.com/ase/ase/-/merge_requests/2685).
    free -= header["PSTRESS"] * KBAR * volume
    info: dict[str, Any] = {"e_fr_energy": free}
    # The outer e_0_energy is wrong in some VASP versions: the difference of the last electronic step is right.
    last = element.findall("scstep/energy")[-1:]
    if last:
        at_zero, smeared = (_number(last[0], f"i[@name='{key}']", key) for key in ("e_0_energy", "e_fr_energy"))
        if at_zero is not None and smeared is not None:
            info["e_0_energy"] = free + at_zero - smeared
    return info


def _number(element: ElementTree.Element, where: str, field: str) -> float | None:
    text = element.findtext(where)
    if text is None:
        return None
    try:
        value = real(text)
    except ValueError:
        raise InputError(f"{text.strip()!r} is not a number {_STARS}", field=field) from None
    if not np.isfinite(value):
        raise InputError(f"is {text.strip()}; the electronic loop went wrong, repeat the run", field=field)
    return value


def _varray(element: ElementTree.Element, where: str, field: str, shape: tuple[int, int]) -> FloatArray | None:
    varray = element.find(where)
    if varray is None:
        return None
    try:
        rows = [(row.text or "").split() for row in varray.iterfind("v")]
        if "_" in (together := "".join(chain.from_iterable(rows))) or not together.isascii():
            raise ValueError("1_000 and digits of other scripts, which NumPy takes")
        values = np.array(rows, dtype=np.float64)
    except ValueError:
        raise InputError(f"a row does not hold numbers {_STARS}", field=field) from None
    if values.shape != shape:
        raise InputError(f"has shape {values.shape}, expected {shape}", field=field)
    if not np.isfinite(values).all():
        raise InputError("holds NaN or infinity; the electronic loop went wrong, repeat the run", field=field)
    return values
