"""Structures from any file: of labelled structures, of a simulation, or of whatever else ASE reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from forcewright.data import Sources, dataset_of
from forcewright.data.formats import as_sources, find_format
from forcewright.data.properties import PropertySet, Target
from forcewright.data.property_reading import read_structures_with_property
from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame, Labels
from forcewright.trajectory import snapshots


def read_structures(structures: Sources, *, labels: Mapping[str, str] | None = None) -> Dataset:
    """Return structures with what labels they have, from anything `forcewright.read` takes, and cif, POSCAR, H5MD ...

    Raises
    ------
    InputError
        If a file does not exist or cannot be read, or a frame is not usable; names file, frame and field.
    """
    if not _any_foreign(structures):
        return dataset_of(structures, labels=labels)
    frames: list[Frame] = []
    sources = as_sources(structures)
    for source in sources:
        if not isinstance(source, Path) or not _is_foreign(source):
            frames += dataset_of(source, labels=labels)
            continue
        for index, shot in enumerate(snapshots(source)):
            known = Labels(shot.energy, shot.forces, shot.stress)
            frames.append(Frame(shot.structure, known, f"{source}#{index}"))
    files = [source for source in sources if isinstance(source, Path)]
    return dataset_of(Dataset(tuple(frames), files[0].stem, ", ".join(map(str, files))))


def read_with_property(structures: Sources, target: Target) -> tuple[Dataset, PropertySet | None]:
    """Return structures as `read_structures` does, with the values of a property where all have one that can be used.

    Raises
    ------
    InputError
        As `read_structures`.
    """
    if _any_foreign(structures):  # formats without values, such as cif
        return read_structures(structures), None
    return read_structures_with_property(structures, target)


def _any_foreign(structures: Sources) -> bool:
    return not isinstance(structures, Dataset) and any(map(_is_foreign, as_sources(structures)))


def _is_foreign(source: object) -> bool:
    """Whether a source is a file that no reader of labelled structures takes."""
    if not isinstance(source, Path):
        return False
    try:
        find_format(source, None)
    except InputError:
        return source.is_file()
    return False
