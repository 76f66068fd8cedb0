"""A potential as a reference: one trained here, or a LAMMPS pair style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forcewright.force_field import ForceField
from forcewright.models.pair_style import PairStylePotential
from forcewright.potential import Failure, Potential
from forcewright.reference.checks import checked_labels, failure_of, has_stress, unknown_elements
from forcewright.reference.identity import hash_parts, identify, version_of
from forcewright.structure import Labels, Structure


@dataclass(frozen=True, eq=False)
class PotentialReference(ForceField):
    """Labels structures with what its potential predicts."""

    def label(self, structures: Sequence[Structure]) -> list[Labels | Failure]:
        """Label every structure, in order."""
        return [unknown_elements(s, self.species) or self._predicted(s) for s in structures]

    def _predicted(self, structure: Structure) -> Labels | Failure:
        assert self.potential is not None
        try:
            prediction = self.potential.predict([structure])[0]
        except Exception as error:  # packages of other families raise what they like
            return failure_of(error)
        if prediction.forces is None:
            return Failure(f"{self.name} predicts no forces", repeatable=True)
        stress = prediction.stress if has_stress(structure) else None
        return checked_labels(structure, prediction.energy, prediction.forces, stress)


def potential_reference(source: Potential | str | Path) -> PotentialReference:
    """Return a potential, or what lies at a path, as a reference.

    Raises
    ------
    InputError
        If nothing that can be read lies at the path.
    """
    potential, name, saved = identify(source)
    versions = [version_of("forcewright")]
    if isinstance(source, PairStylePotential):
        versions.append(version_of("lammps"))
    return PotentialReference.of_potential(potential, name, hash_parts(text.encode() for text in (saved, *versions)))
