"""A potential as a reference: one trained here, or a LAMMPS pair style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ase.calculators.calculator import Calculator

from forcewright.errors import ForcewrightError, InputError, MissingExtraError
from forcewright.models import load
from forcewright.models.pair_style import PairStylePotential
from forcewright.potential import Failure, Potential
from forcewright.reference.checks import checked_labels, has_stress, unknown_elements
from forcewright.reference.identity import hash_files, hash_parts, hash_saved, potential_files, version_of
from forcewright.structure import Labels, Structure


@dataclass(frozen=True, eq=False)
class PotentialReference:
    """Labels structures with what a potential predicts.

    Parameters
    ----------
    potential
        The potential.
    name
        How reports call it.
    content_hash
        SHA-256 of everything that decides its numbers.
    """

    potential: Potential
    name: str
    content_hash: str

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers it knows, ascending."""
        return self.potential.species

    def calculator(self) -> Calculator:
        """Return a new ASE calculator."""
        return self.potential.calculator()

    def label(self, structures: Sequence[Structure]) -> list[Labels | Failure]:
        """Label every structure, in order."""
        return [unknown_elements(s, self.species) or self._predicted(s) for s in structures]

    def _predicted(self, structure: Structure) -> Labels | Failure:
        try:
            prediction = self.potential.predict([structure])[0]
        except MissingExtraError:
            raise
        except InputError as error:
            return Failure(str(error), repeatable=True)
        except ForcewrightError as error:
            return Failure(str(error))
        except Exception as error:  # packages of other families raise what they like
            return Failure(f"{type(error).__name__}: {' '.join(str(error).split())}")
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
    ours = version_of("forcewright")
    if isinstance(source, (str, Path)):
        path = Path(source)
        found = hash_parts([hash_files(potential_files(path)).encode(), ours.encode()]) if path.exists() else ""
        return PotentialReference(load(path), path.name, found)
    versions = [ours]
    name = type(source).__name__
    if isinstance(source, PairStylePotential):
        versions, name = [*versions, version_of("lammps")], source.name
    return PotentialReference(source, name, hash_parts(text.encode() for text in (hash_saved(source), *versions)))
