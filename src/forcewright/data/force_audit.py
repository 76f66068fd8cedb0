"""Are the forces minus the gradients of the energies? Sign and unit, group by group.

The probe is fitted to the forces of a group alone; up to a constant it then knows the energies. Against the energy
labels of the same composition, the cosine says whether they belong together, its sign whether gradients were stored
instead of forces, and the ratio of lengths says the unit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from forcewright.data.findings import Finding
from forcewright.data.probe_fit import ProbeSample, fit
from forcewright.structure import FloatArray, Frame
from forcewright.units import BOHR, HARTREE, KCAL_PER_MOL, KJ_PER_MOL, RYDBERG

#: A verdict needs this many frames and this cosine; a unit is wrong outside of 1/RATIO ... RATIO (the smallest
#: mistake is a factor of 13.6; strains, which forces hardly see, may cost the probe a factor of two or three).
FRAMES, AGREEMENT, RATIO = 8, 0.9, 5.0
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
    coefficients, sums = fit([sample.sums[other] for other in others], energies=False), sample.sums[group]
    if coefficients is None:
        return False
    squares = float(coefficients @ sums.gram @ coefficients) * sums.squares
    return bool(coefficients @ sums.target > _ALIKE * np.sqrt(squares))


def _check_group(sample: ProbeSample, group: str, sources: Sequence[str]) -> Finding | Literal[True] | None:
    """Return what is wrong with the forces of a group, True where nothing is, None where it cannot be judged.

    ``sources`` are the groups whose forces say what the energies should be.
    """
    members = [k for k in sample.members(group) if sample.frames[k].labels.energy is not None]
    coefficients = fit([sample.sums[source] for source in sources], energies=False)
    if len(members) < FRAMES or coefficients is None:
        return None
    atoms = np.array([len(sample.frames[k].structure) for k in members])
    said = np.array([sample.energy_rows[k] @ coefficients for k in members]) / atoms
    labelled = np.array([sample.frames[k].labels.energy for k in members]) / atoms
    said, labelled = within_composition([sample.frames[k] for k in members], said, labelled)
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
    factors = {**_UNITS, "energies per atom": 1 / atoms.mean()}
    near = {name: abs(np.log(ratio / factor)) for name, factor in factors.items()}
    guess = " or ".join(name for name, distance in near.items() if distance < min(min(near.values()) + 0.3, 0.8))
    message = (
        f"group {group}: energies vary {ratio:.3g} times as much as the forces say {evidence}; "
        f"{'these look like ' + guess if guess else 'their units differ'}, expected eV and eV/Å"
    )
    return Finding("error", "force unit", message, file=file, field="forces")


def within_composition(frames: list[Frame], *columns: FloatArray) -> list[FloatArray]:
    """Subtract the mean over frames of one group and composition, because forces do not know the energy of an atom."""
    same: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for position, (structure, labels, _) in enumerate(frames):
        species, counts = np.unique(structure.numbers, return_counts=True)
        fractions = zip(species.tolist(), (counts / counts.sum()).round(9).tolist(), strict=True)
        same[labels.group, *fractions].append(position)
    centered = [column.copy() for column in columns]
    for positions in same.values():
        for column in centered:
            column[positions] -= column[positions].mean()
    return centered
