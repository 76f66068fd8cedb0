"""Energies of a group that stand on two levels, though its structures and forces are of one kind.

The probe is fitted to the forces of a group alone; what the labels say beyond it should scatter around one value. Two
clusters of such residuals are two methods, settings or zeros of energy, unless the frames of the two differ otherwise
as well: a group that holds a crystal and its melt has two levels by right, and larger forces on one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from forcewright.data.findings import Finding, locate
from forcewright.data.force_audit import within_composition
from forcewright.data.probe_fit import ProbeSample, fit
from forcewright.structure import FloatArray

#: Frames that a verdict needs, and in each of two clusters.
FRAMES, CLUSTER = 12, 3
#: A gap between clusters counts beyond this (eV/atom), and beyond this multiple of the spread within them.
GAP, RATIO = 0.02, 10.0
#: Frames of two clusters are of one kind where the probability that a quantity is larger in one lies between these.
ALIKE = (0.15, 0.85)


def check_levels(sample: ProbeSample) -> Iterator[Finding]:
    """Yield groups in which some energies are off by an amount that nothing else tells."""
    for group in sorted(sample.sums):
        members = [k for k in sample.members(group) if sample.frames[k].labels.energy is not None]
        coefficients = fit([sample.sums[group]], energies=False)
        if len(members) < FRAMES or coefficients is None:
            continue
        frames = [sample.frames[k] for k in members]
        atoms = np.array([len(frame.structure) for frame in frames])
        said = np.array([sample.energy_rows[k] @ coefficients for k in members]) / atoms
        labelled = np.array([frame.labels.energy for frame in frames]) / atoms
        said, labelled = within_composition(frames, said, labelled)
        minority, distance, spread = _two_levels(labelled - said)
        if minority is None:
            continue
        strength = np.array([np.linalg.norm(np.asarray(frame.labels.forces)) for frame in frames]) / np.sqrt(atoms)
        if not all(_alike(values, minority) for values in (said, strength)):
            continue
        first = int(minority.argmax())
        message = (
            f"group {group}: {minority.sum()} of {len(frames)} frames that were looked at (this is the first) lie "
            f"{distance:+.3g} eV/atom off the others (usual: {spread:.2g}), though their forces are alike; are they of "
            "another method, other settings, or another zero of energy?"
        )
        index = int(frames[first].origin.rpartition("#")[2] or 0) if frames[first].origin else first
        yield Finding("warning", "energy level", message, field="energy", **locate(frames[first], index))


def _two_levels(residuals: FloatArray) -> tuple[np.ndarray | None, float, float]:
    """Return which residuals (M,) form a smaller cluster, how far it is off, and the spread within clusters."""
    order = np.argsort(residuals)
    ordered = residuals[order]
    gaps = np.diff(ordered)[CLUSTER - 1 : len(ordered) - CLUSTER]
    cut = int(np.argmax(gaps)) + CLUSTER
    parts = ordered[:cut], ordered[cut:]
    spread = max(1.4826 * float(np.median(np.abs(part - np.median(part)))) for part in parts)
    if gaps.max() < max(GAP, RATIO * spread):
        return None, 0.0, spread
    minority = np.zeros(len(residuals), dtype=bool)
    upper = len(parts[1]) <= len(parts[0])
    minority[order[cut:] if upper else order[:cut]] = True
    distance = float(np.median(parts[1]) - np.median(parts[0]))
    return minority, distance if upper else -distance, spread


def _alike(values: FloatArray, minority: np.ndarray) -> bool:
    """Whether values (M,) of a minority lie among those of the others (by the statistic of Mann and Whitney)."""
    larger = float(np.mean(values[minority][:, None] > values[~minority][None, :]))
    return ALIKE[0] < larger < ALIKE[1]
