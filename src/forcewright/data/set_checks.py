"""What shows only against the other frames: missing labels, duplicates, outliers, energies off by a factor."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

import numpy as np

from forcewright.data.findings import Finding, Severity, locate
from forcewright.data.reference_energies import composition_matrix
from forcewright.structure import Dataset, FloatArray, IntArray, Labels, Structure
from forcewright.units import HARTREE, KCAL_PER_MOL, KJ_PER_MOL, RYDBERG

#: Labels of duplicates that differ by more than this conflict: energy in eV/atom, force components in eV/Å.
ENERGY_CONFLICT, FORCE_CONFLICT = 1e-3, 0.05
#: A frame's largest force is an outlier beyond this multiple of the 90th percentile of its group, and this (eV/Å).
FORCE_RATIO, FORCE_FLOOR, FORCE_LIMIT = 8.0, 5.0, 100.0
#: An energy is an outlier beyond this multiple of the spread, and this distance (eV/atom).
ENERGY_RATIO, ENERGY_FLOOR = 20.0, 2.0

_FACTORS = {
    "in Hartree": 1 / HARTREE, "in Rydberg": 1 / RYDBERG, "in kcal/mol": 1 / KCAL_PER_MOL, "in kJ/mol": 1 / KJ_PER_MOL,
    "in meV": 1e3,
}  # fmt: skip


def check_missing(dataset: Dataset) -> Iterator[Finding]:
    """Yield properties that some frames have and others lack, per property and group."""
    counts = dataset.count_labels()
    for name in ("energy", "forces", "stress"):
        lacking = [i for i, frame in enumerate(dataset) if getattr(frame.labels, name) is None]
        if name == "forces":  # a single atom has none worth speaking of
            lacking = [i for i in lacking if len(dataset[i].structure) > 1]
        if name == "stress":
            lacking = [i for i in lacking if dataset[i].structure.pbc.all()]
        if not lacking:
            continue
        if not counts[name]:
            severity: Severity = "error" if name == "energy" else "note"
            file = _file_of(dataset, 0)
            asked = "; a fit to energies alone must be asked for: labels: {forces: none}" if name == "forces" else ""
            yield Finding(severity, "missing labels", f"no frame has {_article(name)}{asked}", file=file, field=name)
            continue
        groups = Counter(dataset[i].labels.group for i in lacking)
        listed = ", ".join(f"{count} of {dataset.group_sizes[group]} in {group}" for group, count in groups.items())
        location = locate(dataset[lacking[0]], lacking[0])
        message = f"{len(lacking)} of {len(dataset)} frames have no {name} ({listed}); this is the first"
        yield Finding("note" if name == "stress" else "warning", "missing labels", message, field=name, **location)


def _article(name: str) -> str:
    return {"energy": "an energy", "forces": "forces", "stress": "a stress"}[name]


def check_duplicates(dataset: Dataset) -> Iterator[Finding]:
    """Yield frames that repeat an earlier one, perhaps moved as a whole or by lattice vectors."""
    seen: dict[str, int] = {}
    for index, frame in enumerate(dataset):
        key = translation_hash(frame.structure)
        if key not in seen:
            seen[key] = index
            continue
        earlier = dataset[seen[key]]
        conflict = _conflict(earlier.labels, frame.labels)
        at = locate(earlier, seen[key])
        message = f"is the same structure as frame {at['frame']} of {at['file']}"
        if conflict:
            message += f", but {conflict}; keep the right one"
            yield Finding("error", "conflicting duplicates", message, field="energy", **locate(frame, index))
        else:
            known = ", with the same labels" if _has_labels(earlier.labels) and _has_labels(frame.labels) else ""
            yield Finding("note", "duplicates", message + known, **locate(frame, index))


def _has_labels(labels: Labels) -> bool:
    return labels.energy is not None or labels.forces is not None


def _conflict(first: Labels, second: Labels) -> str:
    if first.energy is not None and second.energy is not None:
        atoms = len(first.forces) if first.forces is not None else 1
        if abs(first.energy - second.energy) > ENERGY_CONFLICT * atoms:
            return f"the energies are {second.energy:.6f} and {first.energy:.6f} eV"
    if first.forces is not None and second.forces is not None:
        # Atoms may stand in another order: compare what does not depend on it.
        difference = np.abs(np.sort(first.forces, axis=None) - np.sort(second.forces, axis=None)).max()
        if difference > FORCE_CONFLICT:
            return f"the forces differ by {difference:.3g} eV/Å"
    return ""


def translation_hash(structure: Structure) -> str:
    """Return a hash that is the same after moving all atoms, or one atom by a lattice vector (to about 1e-4 Å)."""
    relative = structure.positions - structure.positions[0]
    if structure.pbc.any() and structure.volume > 0 and np.isfinite(structure.cell).all():
        fractional = relative @ np.linalg.inv(structure.cell)
        grid = np.maximum(np.round(np.linalg.norm(structure.cell, axis=1) * 1e4), 1)
        steps = np.round(fractional * grid)
        steps = np.where(structure.pbc, np.mod(steps, grid), steps)
    else:
        steps = np.round(relative * 1e4)
    digest = hashlib.sha256()
    for array in (structure.numbers, steps + 0.0, np.round(structure.cell, 6) + 0.0, structure.pbc):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def check_forces(dataset: Dataset) -> Iterator[Finding]:
    """Yield frames whose largest force stands far outside the other frames of their group."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, frame in enumerate(dataset):
        if frame.labels.forces is not None and np.isfinite(frame.labels.forces).all():
            members[frame.labels.group].append(index)
    for group, indices in members.items():
        largest = np.array([np.linalg.norm(np.asarray(dataset[i].labels.forces), axis=1).max() for i in indices])
        common = _usual(largest)
        for position, index in enumerate(indices):
            # In a large group one frame does not move the percentile: spare the sorting.
            usual = common if len(indices) > 50 else _usual(np.delete(largest, position))
            if largest[position] <= max(FORCE_RATIO * usual, FORCE_FLOOR) and largest[position] <= FORCE_LIMIT:
                continue
            atom = int(np.linalg.norm(np.asarray(dataset[index].labels.forces), axis=1).argmax())
            tells = usual < largest[position]
            rest = f"; nine of ten other frames of the group {group!r} stay below {usual:.3g}" if tells else ""
            message = f"atom {atom} feels {largest[position]:.4g} eV/Å{rest}: check the frame, or leave it out"
            yield Finding("warning", "force outlier", message, field="forces", **locate(dataset[index], index))


def _usual(others: FloatArray) -> float:
    return float(np.quantile(others, 0.9)) if len(others) >= 4 else np.inf


def check_energies(dataset: Dataset) -> Iterator[Finding]:
    """Yield energies that are off by a factor (per atom, another unit) or far away from all others."""
    chosen = [i for i, f in enumerate(dataset) if f.labels.energy is not None and np.isfinite(f.labels.energy)]
    chosen = [i for i in chosen if len(dataset[i].structure) > 1]  # an isolated atom is bound to nothing
    if len(chosen) < 4:
        return
    energies = np.array([dataset[i].labels.energy for i in chosen], dtype=np.float64)
    counts = composition_matrix(dataset[chosen], dataset.species)
    atoms = counts.sum(axis=1)
    if _all_per_atom(energies, counts):
        message = (
            "the energies do not grow with the number of atoms, so they look like energies per atom; "
            "energies must be those of the whole cell"
        )
        yield Finding("error", "energy per atom", message, file=_file_of(dataset, chosen[0]), field="energy")
        return
    expected = median_energies(energies / atoms, counts / atoms[:, None])
    residual = energies / atoms - expected
    spread = float(np.median(np.abs(residual))) + 1e-6
    # Ratios say nothing where energies lie around zero (binding energies).
    meaningful = np.abs(expected) > 5 * spread
    ratio = np.divide(energies / atoms, expected, out=np.zeros_like(expected), where=meaningful)
    off = [k for k in np.flatnonzero(meaningful & (np.abs(residual) > 5 * spread)) if _is_factor(ratio[k])]
    explained: set[int] = set()
    for group in sorted({dataset[chosen[k]].labels.group for k in off}):
        members = [int(k) for k in off if dataset[chosen[k]].labels.group == group]
        for names, frames in _explain(ratio, atoms, members):
            explained.update(frames)
            share = f"{len(frames)} of {dataset.group_sizes[group]} frames of the group {group!r}"
            others = f"; {share} are like this" if len(frames) > 1 else ""
            message = _factor_message(names, energies[frames[0]], expected[frames[0]] * atoms[frames[0]]) + others
            location = locate(dataset[chosen[frames[0]]], chosen[frames[0]])
            yield Finding("error", "energy factor", message, field="energy", **location)
    for k, index in enumerate(chosen):
        if k not in explained and abs(residual[k]) > max(ENERGY_RATIO * spread, ENERGY_FLOOR):
            message = (
                f"{energies[k]:.6g} eV is {residual[k]:+.3g} eV/atom away from what its composition lets expect "
                f"(usual: {spread:.2g}); check the frame, or leave it out"
            )
            yield Finding("warning", "energy outlier", message, field="energy", **locate(dataset[index], index))


def _all_per_atom(energies: FloatArray, counts: IntArray) -> bool:
    """Whether energies of one composition stay the same while the number of atoms grows at least twofold."""
    atoms = counts.sum(axis=1)
    if atoms.max() < 2 * atoms.min() or len({tuple(row) for row in np.round(counts / atoms[:, None], 6)}) > 1:
        return False

    whole, single = energies / np.median(energies), energies / atoms / np.median(energies / atoms)
    other_size = np.abs(np.log(atoms / np.median(atoms))) > np.log(1.5)
    alike = np.abs(whole - 1) < 0.2
    # Where most frames have the same size, only the others can tell the two apart.
    telling = alike[other_size] & (np.abs(single[other_size] - 1) > 0.3)
    return bool(np.mean(alike) > 0.9 and np.mean(telling) > 0.9) if other_size.any() else False


def median_energies(per_atom: FloatArray, fractions: FloatArray) -> FloatArray:
    """Return the energy per atom expected from the composition: least absolute deviations by reweighting."""
    weights = np.ones(len(per_atom))
    expected = np.full(len(per_atom), float(np.median(per_atom)))
    if np.ptp(fractions, axis=0).max() < 1e-9:
        return expected
    for _ in range(50):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(fractions * root[:, None], per_atom * root, rcond=1e-10)[0]
        expected = fractions @ solution
        weights = 1 / np.maximum(np.abs(per_atom - expected), 1e-6)
    return expected


def _is_factor(ratio: float) -> bool:
    return bool(ratio > 0 and abs(np.log(ratio)) > np.log(1.6))


def _explain(ratio: FloatArray, atoms: IntArray, members: list[int]) -> Iterator[tuple[list[str], list[int]]]:
    """Yield the mistakes that explain most of the members, and whom they explain, until none explains any.

    Names in brackets are mistakes of the other frames, should those be the ones that are wrong.
    """
    per_atom = {"per atom": 1.0 / atoms, "[per atom]": np.full(len(atoms), float(np.median(atoms)))}
    units = {name: np.full(len(atoms), factor) for name, factor in _FACTORS.items()}
    factors = {**units, **per_atom, **{f"[{name}]": 1 / factor for name, factor in units.items()}}
    distance = {name: np.abs(np.log(np.maximum(ratio, 1e-300) / factor)) for name, factor in factors.items()}
    left = list(members)
    while left:
        fitting = {name: _fitting(name, distance[name], atoms, left) for name in factors}
        # That all others are wrong is believed only where it fits clearly better, and never of one or two frames.
        score = {
            n: float(np.median(distance[n][frames])) + 0.1 * ("[" in n)
            for n, frames in fitting.items() if len(frames) > (2 if "[" in n else 0)
        }  # fmt: skip
        if not score:
            return
        best = min(score, key=lambda name: (-len(fitting[name]), score[name]))
        close = [n for n in score if len(fitting[n]) == len(fitting[best]) and score[n] < score[best] + 0.05]
        yield close, fitting[best]
        left = [k for k in left if k not in fitting[best]]


def _fitting(name: str, distance: FloatArray, atoms: IntArray, members: list[int]) -> list[int]:
    # Half or a third of the energy per atom is also what a dimer or trimer has: there only an exact ratio counts.
    loose = [k for k in members if distance[k] < (0.02 if name == "per atom" and atoms[k] < 6 else 0.25)]
    return loose if len(loose) > 2 else [k for k in loose if distance[k] < 0.1]


def _factor_message(names: list[str], energy: float, expected: float) -> str:
    straight = " or ".join(name for name in names if "[" not in name)
    inverted = " or ".join(name.strip("[]") for name in names if "[" in name)
    if straight:
        doubt = f" (or else they are {inverted})" if inverted else ""
        return f"{energy:.6g} looks like an energy {straight}: the others let expect about {expected:.6g} eV{doubt}"
    times = f"{energy:.6g} eV is {energy / expected:.3g} times what the others let expect"
    return f"{times}: they look like energies {inverted}"


def check_unseen(train: Dataset, test: Dataset) -> Iterator[Finding]:
    """Yield groups and species of the test set that training lacks, and structures that stand in both."""
    for group in sorted(set(test.groups) - set(train.groups)):
        message = f"the group {group!r} is in the test set ({test.group_sizes[group]} frames) and not in training"
        yield Finding("warning", "unseen group", message, field="config_type")
    unseen = sorted(set(test.species) - set(train.species))
    if unseen:
        message = f"the test set has elements that training lacks (atomic numbers {unseen}); no potential can know them"
        yield Finding("error", "unseen species", message, field="species")
    known = {translation_hash(structure) for structure in train.structures}
    leaked = [i for i, structure in enumerate(test.structures) if translation_hash(structure) in known]
    if leaked:
        message = f"{len(leaked)} test frames are also in training (this is the first); the test errors would flatter"
        yield Finding("warning", "test in training", message, **locate(test[leaked[0]], leaked[0]))


def _file_of(dataset: Dataset, index: int) -> str | None:
    return dataset[index].origin.rpartition("#")[0] or None


#: All checks of a whole dataset, in the order in which they are reported.
SET_CHECKS: tuple[Callable[[Dataset], Iterator[Finding]], ...] = (
    check_missing, check_duplicates, check_forces, check_energies,
)  # fmt: skip
