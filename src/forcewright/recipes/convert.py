"""Convert: labelled structures of any known format into another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from forcewright.data import LabelSummary, Sources, read_with_summary
from forcewright.data.property_reading import kept_columns, write_with_columns
from forcewright.structure import Dataset


def convert(
    structures: Sources, output: str | Path, *, format: str | None = None, labels: Mapping[str, str] | None = None,
    on_read: Callable[[LabelSummary], None] = lambda summary: None, skip_broken: bool = False, **options: Any,
) -> Dataset:  # fmt: skip
    """Write what `forcewright.read` reads to a file whose ending decides the format, and return it.

    Further real numbers and truth values of atoms, such as shieldings and their mask, are kept by .extxyz and .db.

    Parameters
    ----------
    structures, format, labels, **options
        As `forcewright.read` takes them.
    skip_broken
        Leave out frames that cannot be read, and warn of them.
    on_read
        Called with the keys that the labels were found under, before anything is written.

    Raises
    ------
    InputError
        If a file cannot be read, or the other format cannot hold these frames.
    """
    dataset, summary = read_with_summary(
        structures, format=format, labels=labels, require_energy=False, strict=not skip_broken, **options
    )
    for name in kept_columns(output, summary):
        summary.dropped.pop(name, None)
    on_read(summary)
    write_with_columns(dataset, output, structures, summary, labels=labels, format=format)
    return dataset
