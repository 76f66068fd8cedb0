"""Read SNAP potentials in LAMMPS's own format, a .snapcoeff/.snapparam pair.

The format is that of LAMMPS's documentation of ``pair_style snap``. Old parameter files carry ``diagonalstyle 3``,
which is what today's LAMMPS always does, and no ``quadraticflag``: the number of coefficients tells.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from forcewright.errors import InputError
from forcewright.models.snap.potential import SnapPotential, checked_bispectrum
from forcewright.models.storage import species_of
from forcewright.plain_data import number, real

_FIXED = {"diagonalstyle": 3.0, "switchflag": 1.0, "bnormflag": 0.0, "wselfallflag": 0.0, "chemflag": 0.0,
          "switchinnerflag": 0.0}  # fmt: skip
_KNOWN = {"rcutfac", "twojmax", "rfac0", "rmin0", "bzeroflag", "quadraticflag", "chunksize", "parallelthresh"}


def read_snap_files(path: str | Path) -> SnapPotential:
    """Read the pair that ``path`` names: one of the two files, or a folder that holds exactly one pair.

    Raises
    ------
    InputError
        If a file is missing or damaged, or the potential uses a variant of SNAP that is not supported.
    """
    coefficient_file, parameter_file = _find_pair(Path(path))
    parameters = _read_parameters(parameter_file)
    elements = _read_coefficients(coefficient_file)
    species = tuple(sorted(elements))
    try:
        bases = [
            checked_bispectrum(
                species, parameters["twojmax"], parameters["rcutfac"], parameters["rfac0"], parameters["rmin0"],
                quadratic, [elements[z][0] for z in species], [elements[z][1] for z in species],
                bool(parameters["bzeroflag"]),
            )
            for quadratic in (False, True)
        ]  # fmt: skip
    except ValueError as error:
        raise InputError(f"cannot be used: {error}", file=parameter_file) from None
    of_size = {basis.columns_per_species + 1: basis for basis in bases}
    lengths = {len(elements[z][2]) for z in species}
    if len(lengths) != 1 or (length := lengths.pop()) not in of_size:
        raise InputError(
            f"twojmax {bases[0].twojmax} needs {' or '.join(map(str, of_size))} coefficients per element",
            file=coefficient_file,
        )
    if (flag := parameters.get("quadraticflag")) is not None and bool(flag) != of_size[length].quadratic:
        raise InputError(
            f"quadraticflag {flag:g} contradicts the {length} coefficients per element of {coefficient_file.name}",
            file=parameter_file,
        )
    coefficients = np.concatenate([elements[z][2][1:] for z in species])
    energies = {z: elements[z][2][0] for z in species}
    return SnapPotential(of_size[length], coefficients, energies, provenance={"source": str(coefficient_file)})


def _find_pair(path: Path) -> tuple[Path, Path]:
    if path.is_dir():
        candidates = sorted(path.glob("*.snapcoeff"))
        if len(candidates) != 1:
            none = "no potential (no potential.json, 0 .snapcoeff files)"
            many = f"{len(candidates)} .snapcoeff files; name one of them" if candidates else none
            raise InputError(f"holds {many}", file=path)
        path = candidates[0]
    pair = path.with_suffix(".snapcoeff"), path.with_suffix(".snapparam")
    for file in pair:
        if not file.is_file():
            raise InputError("does not exist; a SNAP potential is a .snapcoeff and a .snapparam file", file=file)
    return pair


def _read_parameters(file: Path) -> dict[str, float]:
    read: set[str] = set()
    values: dict[str, float] = {"rfac0": 0.99363, "rmin0": 0.0, "bzeroflag": 1.0}
    for row, line in enumerate(_lines(file), start=1):
        words = line.split()
        try:
            key, value = words[0], real(words[1])
        except (IndexError, ValueError):
            raise InputError(f"line {row} ({line!r}) is not a name and a number", file=file) from None
        if len(words) > 2 and (key in _FIXED or key in _KNOWN):
            raise InputError(f"line {row} ({line!r}) holds more than a name and a number", file=file)
        if key in read:
            raise InputError(f"the parameter {key} stands twice; keep one of the two", file=file)
        read.add(key)
        if key in _FIXED:
            if value != _FIXED[key]:
                raise InputError(f"{key} {value:g} is a variant of SNAP that is not supported", file=file)
        elif key in _KNOWN:
            if key.endswith("flag") and value not in (0.0, 1.0):
                raise InputError(f"{key} is {value:g}, expected 0 or 1", file=file)
            values[key] = value
        else:
            raise InputError(f"unknown or unsupported parameter {key!r}", file=file)
    for key in ("rcutfac", "twojmax"):
        if key not in values:
            raise InputError(f"the parameter {key} is missing", file=file)
    return values


def _read_coefficients(file: Path) -> dict[int, tuple[float, float, list[float]]]:
    """Return radius, weight and coefficients of each element by atomic number."""
    lines = _lines(file)
    try:
        count, length = map(int, lines[0].split()[:2])
        elements = {}
        for index in range(count):
            start = 1 + index * (length + 1)
            symbol, radius, weight = lines[start].split()[:3]
            words = (line.split()[0] for line in lines[start + 1 : start + 1 + length])
            block = [number(real(word), f"a coefficient of {symbol}") for word in words]
            if len(block) != length:
                raise ValueError(f"{symbol} has {len(block)} of {length} coefficients")
            elements[species_of([symbol])[0]] = (real(radius), real(weight), block)
        if len(elements) != count or not elements:
            raise ValueError(f"it holds {len(elements)} of {count} elements")
        return elements
    except (IndexError, ValueError, InputError) as error:
        raise InputError(f"is not a SNAP coefficient file: {error}", file=file) from None


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as text ({error})", file=file) from None
    return [stripped for line in text.splitlines() if (stripped := line.split("#")[0].strip())]
