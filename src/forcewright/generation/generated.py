"""What every function of this package yields: a structure and its provenance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame, Labels, Structure

_HASH_DIGITS = 12


class Generated(NamedTuple):
    """A new structure and its provenance.

    ``info`` holds plain text and numbers: ``config_type`` (the group), ``recipe``, ``parent`` (formula and first digits
    of the content hash of the structure it was made from, where there is one) and the parameters of the recipe with
    their units in their names.
    """

    structure: Structure
    info: dict[str, Any]


def generated(
    structure: Structure, recipe: str, parent: Structure | None = None, *, group: str | None = None, **parameters: Any
) -> Generated:
    """Return a structure with its provenance; the group is the name of the recipe by default."""
    origin = {} if parent is None else {"parent": f"{parent.formula}-{parent.content_hash[:_HASH_DIGITS]}"}
    return Generated(structure, {"config_type": group or recipe, "recipe": recipe, **origin, **parameters})


def as_dataset(made: Iterable[Generated], name: str = "generated") -> Dataset:
    """Return generated structures as a dataset without labels, with groups and provenance."""
    frames = []
    for index, (structure, info) in enumerate(made):
        provenance = {key: value for key, value in info.items() if key != "config_type"}
        frames.append(Frame(structure, Labels(group=str(info["config_type"]), info=provenance), f"#{index}"))
    return Dataset(tuple(frames), name)


def require_periodic(structure: Structure, purpose: str) -> None:
    """Raise unless the structure is periodic along all three vectors of a cell that has a volume."""
    if not structure.pbc.all() or structure.volume <= 0:
        raise InputError(f"{purpose} needs a cell that is periodic in all three directions", field="structure")


MOST_STRUCTURES = 1_000_000


def require_count(count: int) -> None:
    """Raise unless at least one structure is asked for, and no more than anybody can label."""
    if not 1 <= count <= MOST_STRUCTURES:
        raise InputError(f"is {count}; ask for 1 to {MOST_STRUCTURES:,}", field="count")
