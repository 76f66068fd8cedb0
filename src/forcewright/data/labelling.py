"""Which key of a file is the energy, the forces, the stress, the group.

``REF_energy``, ``REF_forces``, ``REF_stress`` come first, then ``energy``, ``forces``, ``stress`` (also calculator
results), then VASP's ``e_fr_energy``; ``virial`` and ``virials`` stand for a stress of -virial/V. An explicit
mapping wins over all of them. ``forcewright_energy`` and its like are predictions, which `forcewright predict` wrote:
they become labels only by such a mapping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from forcewright.data.raw import RawFrame, plain
from forcewright.errors import InputError
from forcewright.structure import FloatArray, Labels, from_voigt

STANDARD: dict[str, tuple[str, ...]] = {
    "energy": ("REF_energy", "energy", "e_fr_energy"),
    "forces": ("REF_forces", "forces"),
    "stress": ("REF_stress", "stress"),
    "virial": ("REF_virial", "REF_virials", "virial", "virials"),
    "group": ("config_type", "group"),
}
#: What keys mean whose names do not say it, for the summary.
_MEANINGS = {
    "e_fr_energy": "VASP's free energy, whose derivatives the forces are",
    "e_0_energy": "VASP's energy extrapolated to zero smearing; the forces are derivatives of the free energy",
}
#: What the names begin with under which predictions of a potential are kept: they are labels only where named.
PREDICTED = "forcewright_"
#: What ASE calls the calculator of a potential of ours (`PotentialCalculator`), also in databases and trajectories.
OUR_CALCULATOR = "potentialcalculator"
_LABEL_KEYS = {key for name, keys in STANDARD.items() if name != "group" for key in keys}


@dataclass
class LabelSummary:
    """What was found while reading, and under which keys.

    ``keys`` counts, per property, the frames that carried it under each key; ``present`` counts every key of the
    files; ``dropped`` counts the per-atom columns that a Dataset does not carry.
    """

    frames: int = 0
    keys: dict[str, Counter[str]] = field(default_factory=dict)
    present: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def count(self, name: str) -> int:
        """Return the number of frames with this property."""
        return sum(self.keys.get(name, Counter()).values())

    def add(self, raw: RawFrame, used: Mapping[str, str]) -> None:
        """Count one frame."""
        self.frames += 1
        self.present.update([*raw.info, *raw.arrays])
        self.dropped.update(key for key in raw.arrays if key not in used.values() and key not in _LABEL_KEYS)
        for name, key in used.items():
            self.keys.setdefault(name, Counter())[key] += 1

    def __str__(self) -> str:
        lines = [f"{self.frames} frames"]
        for name in ("energy", "forces", "stress", "group"):
            counted = self.keys.get(name, Counter())
            keys = ", ".join(f"{key} ({count})" for key, count in counted.most_common())
            lines.append(f"  {name:7s} {self.count(name):6d}  {'from ' + keys if keys else 'not found'}")
            lines += [f"          {key} is {_MEANINGS[key]}" for key in counted if key in _MEANINGS]
            lines += [
                f"          {key} is what a potential predicted, not what a reference says"
                for key in counted if key.startswith(PREDICTED)
            ]  # fmt: skip
        if self.dropped:
            lines.append(f"  columns not read: {', '.join(sorted(self.dropped))}")
        return "\n".join(lines)


def check_mapping(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return the mapping as a dict, after checking what it asks for."""
    mapping = dict(labels or {})
    if unknown := set(mapping) - set(STANDARD):
        raise InputError(
            f"{', '.join(sorted(unknown))} cannot be mapped; allowed are {', '.join(STANDARD)}", field="labels"
        )
    if "stress" in mapping and "virial" in mapping:
        raise InputError("maps both stress and virial; give the one that is in the file", field="labels")
    return mapping


def label_frame(raw: RawFrame, mapping: Mapping[str, str]) -> tuple[Labels, dict[str, str]]:
    """Return the labels of a frame and, per property, the key they were found under.

    Raises `InputError` if a label has the wrong shape, is not made of numbers, or stress and virial disagree.
    """
    used: dict[str, str] = {}
    energy, forces = _energy(raw, mapping, used), _forces(raw, mapping, used)
    stress, group = _stress(raw, mapping, used), _group(raw, mapping, used)
    spoken_for = {*_LABEL_KEYS, *mapping.values(), used.get("group", "")}
    info = {key: plain(value) for key, value in raw.info.items() if key not in spoken_for}
    return Labels(energy, forces, stress, group, info), used


def _candidates(raw: RawFrame, name: str, mapping: Mapping[str, str]) -> Iterator[str]:
    keys = (mapping[name],) if name in mapping else STANDARD[name]
    return (key for key in keys if key in raw.info or key in raw.arrays)


def _energy(raw: RawFrame, mapping: Mapping[str, str], used: dict[str, str]) -> float | None:
    for key in _candidates(raw, "energy", mapping):
        value = _numbers(raw.info.get(key, raw.arrays.get(key)), key)
        if value.size != 1:
            raise InputError(f"has shape {value.shape}, expected one number in eV for the whole cell", field=key)
        used["energy"] = key
        return float(value.ravel()[0])
    return None


def _forces(raw: RawFrame, mapping: Mapping[str, str], used: dict[str, str]) -> FloatArray | None:
    count = len(raw.structure)
    for key in _candidates(raw, "forces", mapping):
        value = _numbers(raw.arrays.get(key, raw.info.get(key)), key)
        if value.shape != (count, 3):
            raise InputError(f"has shape {value.shape}, expected ({count}, 3): one row of x, y, z per atom", field=key)
        used["forces"] = key
        return value
    return None


def _stress(raw: RawFrame, mapping: Mapping[str, str], used: dict[str, str]) -> FloatArray | None:
    mapped = [name for name in ("stress", "virial") if name in mapping]
    matrices: dict[str, FloatArray] = {}
    for name in mapped or ("stress", "virial"):
        for key in _candidates(raw, name, mapping):
            matrix = _symmetric(_numbers(raw.info.get(key, raw.arrays.get(key)), key), key)
            matrices[key] = matrix if name == "stress" else _from_virial(matrix, raw, key)
    if not matrices:
        return None
    preferred = {key: value for key, value in matrices.items() if key.startswith("REF_")} or matrices
    (first, stress), *others = preferred.items()
    for key, other in others:
        # Files carry about eight digits; anything beyond is another quantity, sign or unit.
        if np.isfinite(stress).all() and not np.allclose(stress, other, rtol=1e-4, atol=1e-6, equal_nan=True):
            raise InputError(
                f"disagrees with {first}: the stress from {key} is {_text(other)}, from {first} it is {_text(stress)} "
                "eV/Å³ (stress = -virial/volume); remove the wrong one or choose with labels={'stress': ...}",
                field=key,
            )
    used["stress"] = first
    return stress


def _group(raw: RawFrame, mapping: Mapping[str, str], used: dict[str, str]) -> str:
    for key in _candidates(raw, "group", mapping):
        used["group"] = key
        return str(plain(raw.info[key])) if key in raw.info else "default"
    return "default"


def _numbers(value: Any, key: str) -> FloatArray:
    try:
        if isinstance(value, bool):
            raise ValueError("a truth value")
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        shown = str(value)
        raise InputError(
            f"{shown if len(shown) < 40 else shown[:40] + '...'} is not made of numbers", field=key
        ) from None


def _symmetric(value: FloatArray, key: str) -> FloatArray:
    if value.size not in (6, 9):
        raise InputError(f"a stress or virial needs 6 numbers (xx yy zz yz xz xy) or 9, found {value.size}", field=key)
    matrix = from_voigt(value)
    # Codes print a few digits less in one triangle than in the other; more than that is not a stress.
    if np.isfinite(matrix).all() and not np.allclose(matrix, matrix.T, rtol=1e-3, atol=1e-3 * np.abs(matrix).max()):
        raise InputError(f"is not symmetric: {_text(matrix)}", field=key)
    return (matrix + matrix.T) / 2


def _from_virial(virial: FloatArray, raw: RawFrame, key: str) -> FloatArray:
    if raw.structure.volume == 0:
        raise InputError(
            "is a virial, which needs a cell with a volume to become a stress; the cell is zero", field=key
        )
    return -virial / raw.structure.volume


def _text(matrix: FloatArray) -> str:
    return "[" + " ".join(f"{value:.4g}" for value in matrix.ravel() + 0.0) + "]"  # no minus zeros
