"""Are the forces minus the gradients of the energies, and those of their atoms? Sign, unit, order, group by group.

The probe is fitted to the forces of a group alone; up to a constant it then knows the energies. Against the energy
labels of the same composition, the cosine says whether they belong together, its sign whether gradients were stored
instead of forces, and the ratio of lengths says the unit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forcewright.data.findings import Finding, locate
from forcewright.data.probe_fit import GroupSums, Probe, ProbeSample, fit
from forcewright.structure import FloatArray, Frame
from forcewright.units import BOHR, HARTREE, KCAL_PER_MOL, KJ_PER_MOL, RYDBERG

#: A verdict needs this many frames and this cosine; a unit is wrong outside of 1/RATIO ... RATIO (the smallest
#: mistake is a factor of 13.6; strains, which forces hardly see, may cost the probe a factor of two or three).
FRAMES, AGREEMENT, RATIO = 8, 0.9, 5.0
#: Nor does it say anything of a unit where what it says is uncertain by this share.
DOUBT = 0.15
#: Below this size (eV/Å) forces are too small for a verdict; beyond the second, forces of which it explains less than
#: this share are not those of the atoms they stand with (of displacements by 0.01 Å it explains little).
PULL, STRONG, EXPLAINED = 0.1, 0.3, 0.3
#: Forces that differ by this factor from what others say are of another unit.
FACTOR = 1.5
#: Frames in the smaller of two clusters.
CLUSTER = 3
_ALIKE = 0.7  # cosine between forces of one kind
#: Energies over the energies that the forces say, both as labelled.
_UNITS = {
    "energies in Hartree": 1 / HARTREE, "energies in Rydberg": 1 / RYDBERG, "energies in kcal/mol": 1 / KCAL_PER_MOL,
    "energies in kJ/mol": 1 / KJ_PER_MOL, "forces in Hartree/Bohr": HARTREE / BOHR,
    "forces in Rydberg/Bohr": RYDBERG / BOHR, "forces in kcal/mol/Å": KCAL_PER_MOL, "forces in kJ/mol/Å": KJ_PER_MOL,
    "forces in Hartree/Å": HARTREE,
}  # fmt: skip


def check_forces_against_energies(sample: ProbeSample) -> tuple[list[Finding], set[str]]:
    """Return findings on groups whose forces do not belong to their energies, and the groups whose forces do.

    Where gradients are found, groups that cannot be judged by their own forces are judged by those of the groups with
    the gradients: elsewhere, what other groups say of a group is too uncertain.
    """
    verdicts = {group: _check_group(sample, group, [group]) for group in sorted(sample.sums)}
    turned = [g for g, verdict in verdicts.items() if isinstance(verdict, Finding) and verdict.code == "force sign"]
    if turned:
        left = [group for group, verdict in verdicts.items() if verdict is None and _alike(sample, group, turned)]
        verdicts |= {group: _check_group(sample, group, turned) for group in left}
    findings = [verdict for verdict in verdicts.values() if isinstance(verdict, Finding)]
    return findings, {group for group, verdict in verdicts.items() if verdict is True}


def _alike(sample: ProbeSample, group: str, others: Sequence[str]) -> bool:
    """Whether the forces of a group are what a probe that is fitted to those of others says."""
    probe, sums = fit([sample.sums[other] for other in others], energies=False), sample.sums[group]
    if probe is None:
        return False
    return _compared(probe, sums)[0] > _ALIKE


def _check_group(sample: ProbeSample, group: str, sources: Sequence[str]) -> Finding | Literal[True] | None:
    """Return what is wrong with the forces of a group, True where nothing is, None where it cannot be judged.

    ``sources`` are the groups whose forces say what the energies should be.
    """
    members = [k for k in sample.members(group) if sample.frames[k].labels.energy is not None]
    probe = fit([sample.sums[source] for source in sources], energies=False)
    if len(members) < FRAMES or probe is None:
        return None
    atoms = np.array([len(sample.frames[k].structure) for k in members])
    rows, labelled = differences(sample, members)
    said = rows @ probe.coefficients
    lengths = np.linalg.norm(said), np.linalg.norm(labelled)
    agreement = float(said @ labelled / (lengths[0] * lengths[1] + 1e-300))
    ratio = float(lengths[1] / (lengths[0] + 1e-300))
    if abs(agreement) < AGREEMENT:
        return None
    evidence = f"(agreement {abs(agreement):.2f}, {len(members)} frames)"
    file = sample.frames[members[0]].origin.rpartition("#")[0] or None
    if agreement < 0:
        message = (
            f"group {group}: the energy rises along the forces {evidence}; these are gradients, "
            "forces are their negative: multiply by -1"
        )
        return Finding("error", "force sign", message, file=file, field="forces")
    if 1 / RATIO < ratio < RATIO:
        return True
    if np.linalg.norm(probe.doubt(rows)) > DOUBT * lengths[0]:
        return None
    factors = {**_UNITS, "energies per atom": 1 / atoms.mean()}
    near = {name: abs(np.log(ratio / factor)) for name, factor in factors.items()}
    guess = " or ".join(name for name, distance in near.items() if distance < min(min(near.values()) + 0.3, 0.8))
    message = (
        f"group {group}: energies vary {ratio:.3g} times as much as the forces say {evidence}; "
        f"{'these look like ' + guess if guess else 'their units differ'}, expected eV and eV/Å"
    )
    return Finding("error", "force unit", message, file=file, field="forces")


def differences(sample: ProbeSample, members: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Return energy rows (M, p) and labels (M,), per atom, against their means over frames of one composition.

    Only these differences are compared, because forces do not know the energy of an atom.
    """
    frames = [sample.frames[k] for k in members]
    atoms = np.array([len(frame.structure) for frame in frames])
    rows = np.array([sample.energy_rows[k] for k in members]) / atoms[:, None]
    labelled = np.array([frame.labels.energy for frame in frames]) / atoms
    same: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for position, (structure, labels, _) in enumerate(frames):
        species, counts = np.unique(structure.numbers, return_counts=True)
        fractions = zip(species.tolist(), (counts / counts.sum()).round(9).tolist(), strict=True)
        same[labels.group, *fractions].append(position)
    for positions in same.values():
        rows[positions] -= rows[positions].mean(axis=0)
        labelled[positions] -= labelled[positions].mean()
    return rows, labelled


def check_order_of_forces(sample: ProbeSample) -> Iterator[Finding]:
    """Yield groups, and frames, whose forces are not those of the atoms they stand with.

    Any short-range model explains some of the forces; of rows that belong to another order of atoms, or to another
    frame, none explains anything. Where all forces of a group are in another unit, they are a multiple of what the
    other groups say.
    """
    yield from _check_slopes(sample)
    for group in sorted(sample.sums):
        sums, members = sample.sums[group], sample.members(group)
        strength = float(np.sqrt(sums.squares / max(sums.count, 1)))
        probe = fit([sums], energies=False, quality=-np.inf) or fit(
            sample.sums.values(), energies=False, quality=EXPLAINED
        )
        if probe is None or strength < PULL:
            continue
        first = sample.frames[members[0]]
        if probe.explained < EXPLAINED:
            if strength < STRONG:
                continue
            message = (
                f"group {group}: of the forces, {max(probe.explained, 0):.0%} are explained by where the atoms stand, "
                "where it should be most; do their rows belong to another order of the atoms, or to other frames?"
            )
            file = first.origin.rpartition("#")[0] or None
            yield Finding("warning", "order of forces", message, file=file, field="forces")
            continue
        kept = [k for k in members if k < len(sample.force_rows)]
        labelled = [np.asarray(sample.frames[k].labels.forces).ravel() for k in kept]
        rows = [sample.force_rows[k] for k in kept]
        yield from _check_frames(group, [sample.frames[k] for k in kept], labelled, rows, probe)


def _check_slopes(sample: ProbeSample) -> Iterator[Finding]:
    """Yield the group whose forces are a multiple of what those of all others say, if there is one."""
    slopes: dict[str, float] = {}
    for group, sums in sample.sums.items():
        probe = fit([part for other, part in sample.sums.items() if other != group], energies=False)
        if probe is None or sums.squares < PULL**2 * sums.count or len(sample.members(group)) < FRAMES:
            continue
        agreement, slope = _compared(probe, sums)
        if agreement > AGREEMENT and abs(np.log(slope)) > np.log(FACTOR):
            slopes[group] = slope
    if slopes:
        group = max(slopes, key=lambda name: abs(np.log(slopes[name])))
        file = sample.frames[sample.members(group)[0]].origin.rpartition("#")[0] or None
        message = (
            f"group {group}: the forces are {slopes[group]:.2g} times what those of the other groups say; are they, or "
            "those, of another unit or method?"
        )
        yield Finding("warning", "force factor", message, file=file, field="forces")


def _compared(probe: Probe, sums: GroupSums) -> tuple[float, float]:
    """Return the cosine between the forces of a group and what a probe says of them, and the slope of the former."""
    c = probe.coefficients
    product, square = float(c @ sums.target), float(c @ sums.gram @ c)
    return product / (np.sqrt(square * sums.squares) + 1e-300), product / (square + 1e-300)


def agreement_with_others(sample: ProbeSample, group: str) -> float:
    """Return the cosine between the forces of a group and what those of all other groups say; -1 where they cannot."""
    probe = fit([sums for other, sums in sample.sums.items() if other != group], energies=False)
    return -1.0 if probe is None else max(-1.0, _compared(probe, sample.sums[group])[0])


def _check_frames(
    group: str, frames: Sequence[Frame], labelled: Sequence[FloatArray], rows: Sequence[NDArray[np.float32]],
    probe: Probe,
) -> Iterator[Finding]:  # fmt: skip
    """Yield frames whose forces fit their atoms much worse than those of the other frames, or are off by a factor."""
    if len(frames) < FRAMES:
        return
    said = [row @ probe.coefficients for row in rows]
    lengths = np.array([[np.linalg.norm(a), np.linalg.norm(b)] for a, b in zip(labelled, said, strict=True)])
    products = np.array([a @ b for a, b in zip(labelled, said, strict=True)])
    strong = lengths.min(axis=1) > 0.3 * np.median(lengths, axis=0).min()
    agreement = products / np.maximum(lengths.prod(axis=1), 1e-300)
    usual = float(np.median(agreement[strong])) if strong.any() else 0.0
    odd = np.flatnonzero(strong & (agreement < 0.5 * usual))
    if usual > _ALIKE and 0 < len(odd) < len(frames) / 2:
        frame = frames[odd[0]]
        message = (
            f"group {group}: in {len(odd)} of {len(frames)} frames that were looked at (this is the first) the forces "
            f"do not belong to where the atoms stand (agreement {agreement[odd].max():.2f} at most, elsewhere "
            f"{usual:.2f}); are the rows in another order, or the frames in one?"
        )
        yield Finding("warning", "order of forces", message, field="forces", **locate(frame, number_of(frame)))


def number_of(frame: Frame) -> int:
    """Return the number of a frame within its file."""
    return int(number) if (number := frame.origin.rpartition("#")[2]).isdigit() else 0


def two_levels(values: FloatArray, gap: float, ratio: float) -> tuple[NDArray[np.bool_] | None, float, float]:
    """Return which values (M,) form a smaller cluster, how far it is off, and the spread within clusters.

    There are two where they lie apart by ``gap``, and by ``ratio`` times the spread within them; else None.
    """
    order = np.argsort(values)
    ordered = values[order]
    gaps = np.diff(ordered)[CLUSTER - 1 : len(ordered) - CLUSTER]
    cut = int(np.argmax(gaps)) + CLUSTER
    parts = ordered[:cut], ordered[cut:]
    spread = max(1.4826 * float(np.median(np.abs(part - np.median(part)))) for part in parts)
    if gaps.max() < max(gap, ratio * spread):
        return None, 0.0, spread
    minority = np.zeros(len(values), dtype=bool)
    upper = len(parts[1]) <= len(parts[0])
    minority[order[cut:] if upper else order[:cut]] = True
    distance = float(np.median(parts[1]) - np.median(parts[0]))
    return minority, distance if upper else -distance, spread
