"""Are the forces minus the gradients of the energies? Sign and unit, group by group.

The probe is fitted to the forces of a group alone; up to a constant it then knows the energies. Against the energy
labels of the same composition, the cosine says whether they belong together, its sign whether gradients were stored
instead of forces, and the ratio of lengths says the unit.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from forcewright.data.findings import Finding
from forcewright.data.probe_fit import ProbeSample, fit
from forcewright.structure import FloatArray, Frame
from forcewright.units import BOHR, HARTREE, KCAL_PER_MOL, KJ_PER_MOL, RYDBERG

#: A verdict needs this many frames and this cosine; a unit is wrong outside of 1/RATIO ... RATIO (the smallest
#: mistake is a factor of 13.6; strains, which forces hardly see, may cost the probe a factor of two or three).
FRAMES, AGREEMENT, RATIO = 8, 0.9, 5.0
#: Energies over the energies that the forces say, both as labelled.
_UNITS = {
    "energies in Hartree": 1 / HARTREE, "energies in Rydberg": 1 / RYDBERG, "energies in kcal/mol": 1 / KCAL_PER_MOL,
    "energies in kJ/mol": 1 / KJ_PER_MOL, "forces in Hartree/Bohr": HARTREE / BOHR,
    "forces in Rydberg/Bohr": RYDBERG / BOHR, "forces in kcal/mol/Å": KCAL_PER_MOL, "forces in kJ/mol/Å": KJ_PER_MOL,
    "forces in Hartree/Å": HARTREE,
}  # fmt: skip


def check_forces_against_energies(sample: ProbeSample) -> dict[str, Finding]:
    """Return a finding for each group whose forces do not belong to its energies."""
    by_group = {group: _check_group(sample, group) for group in sorted(sample.sums)}
    return {group: finding for group, finding in by_group.items() if finding is not None}


def _check_group(sample: ProbeSample, group: str) -> Finding | None:
    members = [k for k in sample.members(group) if sample.frames[k].labels.energy is not None]
    coefficients = fit([sample.sums[group]], energies=False)
    if len(members) < FRAMES or coefficients is None:
        return None
    atoms = np.array([len(sample.frames[k].structure) for k in members])
    said = np.array([sample.energy_rows[k] @ coefficients for k in members]) / atoms
    labelled = np.array([sample.frames[k].labels.energy for k in members]) / atoms
    said, labelled = _within_composition([sample.frames[k] for k in members], said, labelled)
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
        return None
    factors = {**_UNITS, "energies per atom": 1 / atoms.mean()}
    near = {name: abs(np.log(ratio / factor)) for name, factor in factors.items()}
    guess = " or ".join(name for name, distance in near.items() if distance < min(min(near.values()) + 0.3, 0.8))
    message = (
        f"group {group}: energies vary {ratio:.3g} times as much as the forces say {evidence}; "
        f"{'these look like ' + guess if guess else 'their units differ'}, expected eV and eV/Å"
    )
    return Finding("error", "force unit", message, file=file, field="forces")


def _within_composition(frames: list[Frame], *columns: FloatArray) -> list[FloatArray]:
    """Subtract the mean over the frames of the same composition, because forces do not know the energy of an atom."""
    same: dict[tuple[tuple[int, float], ...], list[int]] = defaultdict(list)
    for position, (structure, _, _) in enumerate(frames):
        species, counts = np.unique(structure.numbers, return_counts=True)
        same[tuple(zip(species.tolist(), (counts / counts.sum()).round(9).tolist(), strict=True))].append(position)
    centered = [column.copy() for column in columns]
    for positions in same.values():
        for column in centered:
            column[positions] -= column[positions].mean()
    return centered
