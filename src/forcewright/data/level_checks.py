"""Energies on another level than those of the other frames of a group, or than those of other groups.

The probe is fitted to the forces of a group alone; what the labels say beyond it should scatter around one value. Two
clusters of such residuals are two methods, settings or zeros of energy, unless the frames of the two differ otherwise
as well: a group that holds a crystal and its melt has two levels by right, and larger forces on one of them. Between
groups the probe, which then knows differences within groups too, has to be certain of what it says.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from forcewright.data.findings import Finding, locate
from forcewright.data.force_audit import (
    CLUSTER,
    agreement_with_others,
    differences,
    number_of,
    two_levels,
)
from forcewright.data.probe_fit import ENERGY_WEIGHT, ProbeSample, fit
from forcewright.data.reference_energies import composition_matrix
from forcewright.data.set_checks import median_energies
from forcewright.structure import Dataset, FloatArray

#: Frames that a verdict needs.
FRAMES = 12
#: A gap between clusters counts beyond this (eV/atom), and beyond this multiple of the spread within them; single
#: frames that are off count beyond the third, and beyond what the probe is in doubt of.
GAP, RATIO, FAR_RATIO, DOUBTS = 0.02, 10.0, 15.0, 6.0
#: Where the forces of other groups agree with those of a group by the first, its energies are off beyond the second
#: (eV/atom). Of sound sets none comes nearer than two thirds of it.
OFFSETS = ((0.995, 0.05), (0.95, 0.25), (-1.0, 0.75))
#: Frames of two clusters are of one kind where the probability that a quantity is larger in one lies between these.
ALIKE = (0.15, 0.85)


def check_levels(sample: ProbeSample) -> Iterator[Finding]:
    """Yield groups in which some energies are off by an amount that nothing else tells."""
    for group in sorted(sample.sums):
        members = [k for k in sample.members(group) if sample.frames[k].labels.energy is not None]
        probe = fit([sample.sums[group]], energies=False)
        if len(members) < FRAMES or probe is None:
            continue
        frames = [sample.frames[k] for k in members]
        atoms = np.array([len(frame.structure) for frame in frames])
        rows, labelled = differences(sample, members)
        said = rows @ probe.coefficients
        strength = np.array([np.linalg.norm(np.asarray(frame.labels.forces)) for frame in frames]) / np.sqrt(atoms)
        off, distance, spread = two_levels(labelled - said, GAP, RATIO)
        if off is None or not all(_alike(values, off) for values in (said, strength)):
            off, distance, spread = _outliers(labelled - said, probe.doubt(rows))
            off &= _inside(said, off) & _inside(strength, off)
        if not off.any():
            continue
        first = frames[int(off.argmax())]
        message = (
            f"group {group}: {off.sum()} of {len(frames)} frames that were looked at (this is the first) "
            f"{'lie' if off.sum() > 1 else 'lies'} {distance:+.3g} eV/atom off the others (usual: {spread:.2g}), "
            "though the forces are alike; another method, other settings, or another zero of energy?"
        )
        yield Finding("warning", "energy level", message, field="energy", **locate(first, number_of(first)))


def check_levels_of_groups(sample: ProbeSample) -> Iterator[Finding]:
    """Yield groups whose energies are off by what neither composition nor the forces of all groups tell."""
    members = {
        group: [k for k in sample.members(group) if sample.frames[k].labels.energy is not None]
        for group in sorted(sample.sums)
    }
    members = {group: frames for group, frames in members.items() if len(frames) >= CLUSTER}
    if len(members) < 2:
        return
    order = [k for frames in members.values() for k in frames]
    rows, labelled = differences(sample, order)
    weighted = ENERGY_WEIGHT**2 * rows.T
    probe = fit(sample.sums.values(), energies=False, differences=(weighted @ rows, weighted @ labelled))
    if probe is None:
        return
    group_of = np.concatenate([np.full(len(frames), i) for i, frames in enumerate(members.values())])
    atoms = np.array([len(sample.frames[k].structure) for k in order])
    whole = np.array([sample.energy_rows[k] for k in order]) / atoms[:, None]
    data = Dataset(tuple(sample.frames[k] for k in order))
    species = data.species
    whole[:, :: whole.shape[1] // len(species)] = 0.0  # the energies of the atoms, which composition tells
    energies = np.array([sample.frames[k].labels.energy for k in order], dtype=np.float64) / atoms
    fractions = composition_matrix(data, species) / atoms[:, None]
    residuals = energies - whole @ probe.coefficients
    left = residuals - median_energies(residuals, fractions)
    for i, group in enumerate(members):
        those = group_of == i
        offset = float(np.median(left[those]))
        spread = 1.4826 * float(np.median(np.abs(left[those] - offset)))
        between = whole[those].mean(axis=0) - whole[~those].mean(axis=0)
        alike = agreement_with_others(sample, group)
        least = next(gap for share, gap in OFFSETS if alike >= share)
        if abs(offset) < least + 5.0 * spread + DOUBTS * float(probe.doubt(between[None])[0]):
            continue
        first = sample.frames[members[group][0]]
        message = (
            f"group {group}: its energies lie {offset:+.3g} eV/atom off what composition and the forces of all groups "
            "let expect from the others; another method, other settings, or another zero of energy?"
        )
        file = first.origin.rpartition("#")[0] or None
        yield Finding("warning", "energy level", message, file=file, field="energy")


def _outliers(residuals: FloatArray, doubt: FloatArray) -> tuple[NDArray[np.bool_], float, float]:
    """Return which of the residuals (M,) are far off, fewer than make a cluster, how far, and the usual spread."""
    offset = residuals - np.median(residuals)
    spread = 1.4826 * float(np.median(np.abs(offset)))
    off = np.abs(offset) > np.maximum(max(GAP, FAR_RATIO * spread), DOUBTS * doubt)
    if not 0 < off.sum() < CLUSTER:
        return np.zeros(len(off), dtype=bool), 0.0, spread
    return off, float(offset[off][0]), spread


def _inside(values: FloatArray, off: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each of the values (M,) lies within the range of those that are not off."""
    return np.asarray((values >= values[~off].min()) & (values <= values[~off].max()))


def _alike(values: FloatArray, minority: NDArray[np.bool_]) -> bool:
    """Whether values (M,) of a minority lie among those of the others (by the statistic of Mann and Whitney)."""
    larger = float(np.mean(values[minority][:, None] > values[~minority][None, :]))
    return ALIKE[0] < larger < ALIKE[1]
