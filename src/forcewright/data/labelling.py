"""Which key of a file is the energy, the forces, the stress, the group.

``REF_energy``, ``REF_forces``, ``REF_stress`` come first, then ``energy``, ``forces`` (or ``force``), ``stress`` (also
calculator results), then VASP's ``e_fr_energy``; ``virial`` and ``virials`` stand for a stress of -virial/V. Upper and
lower case make no difference. An explicit mapping wins over all of them, and ``none`` in it leaves a label unread. What
looks like a label under another name (``dft_forces``) is never passed over in silence. ``forcewright_energy`` and its
like are predictions, which `forcewright predict` wrote: they become labels only by such a mapping.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from forcewright.data.declared_units import DeclaredUnits, declared_units
from forcewright.data.findings import Finding
from forcewright.data.property_survey import Survey
from forcewright.data.raw import RawFrame, plain
from forcewright.errors import InputError
from forcewright.structure import FloatArray, Labels, from_voigt

STANDARD: dict[str, tuple[str, ...]] = {
    "energy": ("REF_energy", "energy", "e_fr_energy"),
    "forces": ("REF_forces", "REF_force", "forces", "force"),
    "stress": ("REF_stress", "stress", "stresses"),
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
#: Keys that hold energies, forces and stresses, in lower case.
LABEL_KEYS = {key.lower() for name, keys in STANDARD.items() if name != "group" for key in keys}
#: Names that labels have in files of others, in lower case.
_LOOKALIKES = {
    "energy": re.compile(r"(?:[a-z0-9.]+[_-])?(?:total[_-]?|potential[_-]?|free[_-]?)?energy"),
    "forces": re.compile(r"(?:.*[^a-z])?(?:dft|ref)?(?:forces?|gradients?|grad)|forces?[^a-z].*"),
    "stress": re.compile(r"(?:.*[^a-z])?(?:dft|ref)?(?:stress|stresses|virial|virials)"),
}
#: What these begin with are no labels: parts of an energy, and what this program predicted.
_NO_LABEL = re.compile(
    r"(?:kinetic|formation|atomization|atomisation|adsorption|binding|cohesive|zero|zpe|e_0|fermi|forcewright)[_-]?.*"
)
#: Two keys of one frame differ beyond these: eV/atom, eV/Å.
_DIFFERING = {"energy": 1e-3, "forces": 0.02}
#: What a mapping says of a label that is to be left unread.
UNREAD = "none"


@dataclass(frozen=True)
class Labelled:
    """The labels of a frame and how they were come by.

    ``used`` names, per property, the key it stood under; ``unread`` a key that looks like a property that was not
    found; ``differing`` how far another key of the property is from the one that was taken (eV/atom, eV/Å).
    """

    labels: Labels
    used: Mapping[str, str]
    unread: Mapping[str, str] = field(default_factory=dict)
    differing: Mapping[tuple[str, str, str], float] = field(default_factory=dict)


@dataclass
class LabelSummary:
    """What was found while reading, and under which keys.

    ``keys`` counts, per property, the frames that carried it under each key; ``present`` counts every key of the
    files; ``dropped`` counts the per-atom columns that a Dataset does not carry. ``unread`` holds the first frame and
    the count of what looks like a label and is not read as one, ``differing`` the largest difference between two keys
    of one property and in how many frames they differ. ``left_out`` counts broken frames, and ``survey`` holds
    what else there is.
    """

    frames: int = 0
    keys: dict[str, Counter[str]] = field(default_factory=dict)
    present: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    unread: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    differing: dict[tuple[str, str, str], tuple[float, int]] = field(default_factory=dict)
    left_out: int = 0
    survey: Survey = field(default_factory=Survey)

    def count(self, name: str) -> int:
        """Return the number of frames with this property."""
        return sum(self.keys.get(name, Counter()).values())

    def add(self, raw: RawFrame, labelled: Labelled, origin: str = "") -> None:
        """Count one frame."""
        self.frames += 1
        self.present.update([*raw.info, *raw.arrays])
        used = labelled.used
        self.survey.add(raw, {*used.values(), *(key for key in raw.info if key.lower() in LABEL_KEYS)})
        self.dropped.update(key for key in raw.arrays if key not in used.values() and key.lower() not in LABEL_KEYS)
        for name, key in used.items():
            self.keys.setdefault(name, Counter())[key] += 1
        for pair in labelled.unread.items():
            first, count = self.unread.get(pair, (origin, 0))
            self.unread[pair] = (first, count + 1)
        for keys, difference in labelled.differing.items():
            largest, count = self.differing.get(keys, (0.0, 0))
            self.differing[keys] = (max(largest, difference), count + 1)

    def doubts(self) -> Iterator[Finding]:
        """Yield what makes labels doubtful: names that look like labels, and one property under two keys."""
        for (name, key), (origin, count) in self.unread.items():
            file, _, number = origin.rpartition("#")
            sign = ", if it is minus the gradient, " if "grad" in key.lower() else " "
            target = "virial" if name == "stress" and "virial" in key.lower() else name
            message = (
                f"looks like {_ARTICLES[name]} and is not read ({count} frame{'s' * (count > 1)}, this is the first); "
                f"take it{sign}by --label {target}={key} (labels: {{{target}: {key}}} in a config), or say that it is "
                f"none by --label {target}={UNREAD}"
            )
            frame = int(number) if number.isdigit() else None
            yield Finding("error", "label not read", message, file=file or None, frame=frame, field=key)
        for name in ("energy", "forces", "stress"):
            counted = self.keys.get(name, Counter())
            if len(counted) > 1:
                listed = " and ".join(f"{key} in {count} frames" for key, count in counted.most_common())
                verb = "stand" if name == "forces" else "stands"
                message = f"the {name} {verb} under {listed}; is it one quantity, of one level of theory?"
                yield Finding("warning", "two keys", message, field=name)
        for (name, key, other), (largest, count) in self.differing.items():
            unit = "eV/atom" if name == "energy" else "eV/Å"
            meaning = "; forces are derivatives of the free energy" if "free" in f"{key} {other}".lower() else ""
            message = (
                f"is taken for the {name}, and {other} of the same frames differs by up to {largest:.3g} {unit} "
                f"({count} frames){meaning}: --label {name}={other} takes that one"
            )
            yield Finding("warning", "two keys", message, field=key)

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
        if self.left_out:
            lines.append(f"  left out: {self.left_out} broken frame{'s' * (self.left_out > 1)}")
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


_ARTICLES = {"energy": "an energy", "forces": "forces", "stress": "a stress or virial"}


def label_frame(raw: RawFrame, mapping: Mapping[str, str]) -> Labelled:
    """Return the labels of a frame in eV, eV/Å and eV/Å³, and where they stood.

    Raises `InputError` if a label has the wrong shape, is not made of numbers, is of an unknown unit, or stress and
    virial disagree.
    """
    used: dict[str, str] = {}
    differing: dict[tuple[str, str, str], float] = {}
    units = declared_units(raw.info)
    energy = _energy(raw, mapping, units, used, differing)
    forces = _forces(raw, mapping, units, used, differing)
    stress, group = _stress(raw, mapping, units, used), _group(raw, mapping, used)
    spoken_for = {*mapping.values(), *units.keys, used.get("group", "")}
    info = {
        key: plain(value) for key, value in raw.info.items() if key not in spoken_for and key.lower() not in LABEL_KEYS
    }
    return Labelled(Labels(energy, forces, stress, group, info), used, _unread(raw, mapping, used), differing)


def _candidates(raw: RawFrame, name: str, mapping: Mapping[str, str]) -> Iterator[str]:
    """Yield the keys of a frame that a property may stand under, in any case, the first choice first."""
    if mapping.get(name) == UNREAD:
        return
    keys = (mapping[name],) if name in mapping else STANDARD[name]
    present = [*raw.info, *(key for key in raw.arrays if key not in raw.info)]
    for key in keys:
        if key in present:
            yield key
        yield from (other for other in present if other != key and other.lower() == key.lower())


def _unread(raw: RawFrame, mapping: Mapping[str, str], used: Mapping[str, str]) -> dict[str, str]:
    """Return, of the properties that were not found, a key that looks like one."""
    unread: dict[str, str] = {}
    count = len(raw.structure)
    for name, pattern in _LOOKALIKES.items():
        if name in used or mapping.get(name) == UNREAD or (name == "stress" and mapping.get("virial") == UNREAD):
            continue
        shapes = {"energy": ((), (1,)), "forces": ((count, 3),), "stress": ((3, 3), (6,), (9,))}[name]
        values = {**raw.info, **raw.arrays} if name == "forces" else raw.info
        for key, value in values.items():
            lower = key.lower()
            if key in mapping.values() or lower in LABEL_KEYS or _NO_LABEL.fullmatch(lower):
                continue
            if pattern.fullmatch(lower) and _is_numeric(value) and np.shape(value) in shapes:
                unread[name] = key
                break
    return unread


def _is_numeric(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "iuf"
    except ValueError:  # rows of several lengths
        return False


def _energy(
    raw: RawFrame, mapping: Mapping[str, str], units: DeclaredUnits, used: dict[str, str],
    differing: dict[tuple[str, str, str], float],
) -> float | None:  # fmt: skip
    energy = None
    others = [key for key in raw.info if key.lower() == "free_energy"] if "energy" not in mapping else []
    for key in (*_candidates(raw, "energy", mapping), *others):
        if key in others and (energy is None or not _is_numeric(raw.info[key])):
            continue
        value = _numbers(raw.info.get(key, raw.arrays.get(key)), key)
        if value.size != 1:
            raise InputError(f"has shape {value.shape}, expected one number in eV for the whole cell", field=key)
        number = float(value.ravel()[0]) * units.factor("energy", key)
        if energy is None:
            energy, used["energy"] = number, key
        elif abs(number - energy) > _DIFFERING["energy"] * len(raw.structure):
            differing["energy", used["energy"], key] = abs(number - energy) / len(raw.structure)
    return energy


def _forces(
    raw: RawFrame, mapping: Mapping[str, str], units: DeclaredUnits, used: dict[str, str],
    differing: dict[tuple[str, str, str], float],
) -> FloatArray | None:  # fmt: skip
    count, forces = len(raw.structure), None
    for key in _candidates(raw, "forces", mapping):
        value = _numbers(raw.arrays.get(key, raw.info.get(key)), key)
        if value.shape != (count, 3):
            raise InputError(f"has shape {value.shape}, expected ({count}, 3): one row of x, y, z per atom", field=key)
        value = value * units.factor("forces", key)
        if forces is None:
            forces, used["forces"] = value, key
        elif (difference := float(np.abs(value - forces).max())) > _DIFFERING["forces"]:
            differing["forces", used["forces"], key] = difference
    return forces


def _stress(raw: RawFrame, mapping: Mapping[str, str], units: DeclaredUnits, used: dict[str, str]) -> FloatArray | None:
    mapped = [name for name in ("stress", "virial") if name in mapping]
    matrices: dict[str, FloatArray] = {}
    for name in mapped or ("stress", "virial"):
        for key in _candidates(raw, name, mapping):
            if key.lower() == "stresses" and "stress" not in mapping and np.size(raw.info.get(key, ())) not in (6, 9):
                continue  # those of each atom
            numbers = _numbers(raw.info.get(key, raw.arrays.get(key)), key) * units.factor(name, key)
            matrix = _symmetric(numbers, key)
            matrices[key] = matrix if name == "stress" else _from_virial(matrix, raw, key)
    if not matrices:
        return None
    preferred = {key: value for key, value in matrices.items() if key.upper().startswith("REF_")} or matrices
    (first, stress), *others = preferred.items()
    for key, other in others:
        # Files carry about eight digits; anything beyond is another quantity, sign or unit.
        if not stress.any() and other.any():
            virial = "virial" in key.lower()
            raise InputError(
                f"holds only zeros, as a placeholder does, beside {key}; take that by --label "
                f"{'virial' if virial else 'stress'}={key} (labels: {{{'virial' if virial else 'stress'}: {key}}})",
                field=first,
            )
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
        array = np.asarray(value)
        if array.dtype.kind not in "iufO" or _holds_truth(value):  # NumPy makes numbers of text and of truth values
            raise ValueError("text or a truth value")
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        shown = str(value)
        raise InputError(
            f"{shown if len(shown) < 40 else shown[:40] + '...'} is not made of numbers", field=key
        ) from None


def _holds_truth(value: Any) -> bool:
    return any(map(_holds_truth, value)) if isinstance(value, list | tuple) else isinstance(value, bool | str)


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
