"""Select frames, and split them into training and test sets."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.configs import did_you_mean
from forcewright.data import Sources, read_with_summary
from forcewright.data.leakage import NearCopy, near_copies
from forcewright.data.property_reading import write_with_columns
from forcewright.data.reference_energies import is_isolated_atom
from forcewright.data.split import SPLITTERS
from forcewright.errors import InputError
from forcewright.files import as_path
from forcewright.models import load
from forcewright.potential import Potential
from forcewright.selection import SELECTORS
from forcewright.structure import Dataset
from forcewright.tables import Tabular

log = logging.getLogger("forcewright.data")  # the command line shows this part of the log


def select(
    structures: Sources, output: str | Path | None = None, *, by: str = "fps", count: int = 100, seed: int = 0,
    potential: str | Path | Potential | None = None, labels: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None, on_read: Callable[[int], None] = lambda count: None,
    skip_broken: bool = False,
) -> Dataset:  # fmt: skip
    """Select frames and return them in the order they had; isolated atoms are among them.

    Parameters
    ----------
    structures, labels
        As `forcewright.read` takes them.
    output
        File to write; nothing is written where it is not given.
    by
        A key of `forcewright.selection.SELECTORS`.
    potential
        A potential with an active set, or where it is saved, for "novelty".
    options
        Further arguments of the selection, such as ``{"cutoff": 4.5}``.
    on_read
        Called with the number of frames there are.
    skip_broken
        Leave out frames that cannot be read, and warn of them.

    Raises
    ------
    InputError
        If a file cannot be read, the selection or an option is not known, or there are not enough frames.
    """
    arguments = dict(options or {})
    chosen_by = _function(SELECTORS, by, "selection", arguments)
    if "potential" in inspect.signature(chosen_by).parameters:
        if potential is None:
            raise InputError(f"{by} needs a potential; give --potential FOLDER", field="potential")
        arguments["potential"] = load(potential) if isinstance(potential, str | Path) else potential
    elif potential is not None:
        raise InputError(f"{by} uses no potential; leave it out", field="potential")
    dataset, summary = read_with_summary(structures, labels=labels, require_energy=False, strict=not skip_broken)
    on_read(len(dataset))
    # reference energies hang on isolated atoms: they are selected first
    alone = np.array([is_isolated_atom(frame) for frame in dataset], dtype=bool)
    kept = np.flatnonzero(alone) if alone.sum() < count and not alone.all() else np.zeros(0, dtype=np.int64)
    others = np.setdiff1d(np.arange(len(dataset)), kept)
    drawn = _call(chosen_by, dataset[others], count - len(kept), np.random.default_rng(seed), **arguments)
    selected = dataset[np.sort(np.concatenate([kept, others[np.asarray(drawn, dtype=np.int64)]]))]
    if lost := int(alone.sum()) - sum(map(is_isolated_atom, selected)):
        log.warning("%d isolated atoms, on which the reference energies hang, are not selected", lost)
    if not len(selected):
        raise InputError("no frame was selected; nothing is written", field="by")
    if output is not None:
        write_with_columns(selected, output, structures, summary, labels=labels)
    return selected


@dataclass(frozen=True, eq=False, repr=False)
class Split(Tabular):
    """The two sets, how many frames were left out in between, and near-copies across the split."""

    train: Dataset
    test: Dataset
    dropped: int
    copies: tuple[NearCopy, ...]

    def __repr__(self) -> str:
        return f"Split({self.lines()[0]}, {len(self.copies)} near-copies across the two)"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each frame, with the set it is in."""
        parts = {"train": self.train, "test": self.test}
        return [{"set": name, **row} for name, part in parts.items() for row in part.to_rows()]

    def lines(self) -> list[str]:
        """Return what happened, a sentence each; near-copies with file and frame."""
        said = [f"{len(self.train)} frames to train on, {len(self.test)} to test on, {self.dropped} left out in gaps"]
        if self.copies:
            said.append(
                f"warning: {len(self.copies)} of {len(self.test)} test frames are near-copies of training frames; the "
                "test errors would flatter. Use blocks of trajectories with a longer gap, or hold back whole groups"
            )
            said += [
                f"  {self.test[pair.test].origin} is nearly {self.train[pair.train].origin} ({pair.distance_A:.2g} Å, "
                f"{pair.scaled:.0%} of what independent frames differ by)"
                for pair in self.copies[:5]
            ]
        return said


def split(
    structures: Sources, output: Sequence[str | Path] | None = None, *, by: str = "blocks", test: float = 0.1,
    seed: int = 0, labels: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None,
    skip_broken: bool = False,
) -> Split:  # fmt: skip
    """Split frames into a training and a test set, and look for near-copies across the two.

    Parameters
    ----------
    structures, labels
        As `forcewright.read` takes them.
    output
        Files for training and for test; nothing is written where they are not given.
    by
        A key of `forcewright.data.split.SPLITTERS`.
    test
        Share of the frames to test on.
    options
        Further arguments of the split, such as ``{"gap": 5}``.
    skip_broken
        Leave out frames that cannot be read, and warn of them.

    Raises
    ------
    InputError
        If a file cannot be read, the way to split or an option is not known, or one side would be empty.
    """
    if output is not None and not _are_two_files(output):
        raise InputError("name two different files: one for training, one for test", field="output")
    arguments = dict(options or {})
    way = _function(SPLITTERS, by, "way to split", arguments)
    dataset, summary = read_with_summary(structures, labels=labels, require_energy=False, strict=not skip_broken)
    parts = _call(way, dataset, test, np.random.default_rng(seed), **arguments)
    train, held = dataset[parts.train], dataset[parts.test]
    result = Split(train, held, len(parts.dropped), tuple(near_copies(train, held)))
    for part, path in zip((train, held), output or (), strict=output is not None):
        write_with_columns(part, path, structures, summary, labels=labels)
    return result


def _are_two_files(output: object) -> bool:
    if isinstance(output, str) or not isinstance(output, Sequence) or len(output) != 2:
        return False
    first, second = (as_path(path).resolve() for path in output)
    return first != second


def _function(
    table: Mapping[str, Callable[..., Any]], name: str, what: str, options: Mapping[str, Any]
) -> Callable[..., Any]:
    """Return a function by its name, if it has these options; a potential is not one of them."""
    if name not in table:
        raise InputError(f"{name!r} is not a {what}; {did_you_mean(name, list(table))}", field="by")
    parameters = inspect.signature(table[name]).parameters.values()
    known = [p.name for p in parameters if p.kind == p.KEYWORD_ONLY and p.name != "potential"]
    for option in options:
        if option not in known:
            allowed = f"it has {', '.join(known)}" if known else "it has none"
            raise InputError(f"{name} has no option {option!r}; {allowed}", field=option)
    return table[name]


def _call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return function(*arguments, **options)
    except (TypeError, ValueError) as error:
        if not options:
            raise
        raise InputError(f"cannot use the options {options}: {error}", field="options") from error
