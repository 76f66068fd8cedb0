"""What a set of frames holds that the training data lack: elements together, densities, distances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from ase.data import chemical_symbols

from forcewright.data.closest_pairs import closest_pairs
from forcewright.data.findings import Finding, locate
from forcewright.structure import Dataset, Structure

_DENSER = 0.05  # of a volume per atom beyond those of the training data that counts as new
_CLOSER = 0.03  # of a shortest distance, likewise


@dataclass(frozen=True, eq=False)
class Coverage:
    """What training data hold, to tell what others hold beyond it."""

    train: Dataset

    @cached_property
    def _together(self) -> frozenset[frozenset[int]]:
        return frozenset(frozenset(structure.numbers.tolist()) for structure in self.train.structures)

    @cached_property
    def _volumes(self) -> tuple[float, float] | None:
        """Smallest and largest volume per atom in Å³ of cells that are periodic throughout."""
        volumes = [s.volume / len(s) for s in self.train.structures if s.pbc.all() and len(s) and s.volume > 0]
        return (min(volumes), max(volumes)) if volumes else None

    @cached_property
    def _shortest(self) -> Mapping[tuple[int, int], float]:
        return closest_pairs(self.train.structures)

    def lacks(self, structure: Structure) -> tuple[str, ...]:
        """Return in words what a structure holds and no training frame does."""
        words = []
        elements = frozenset(structure.numbers.tolist())
        if not any(elements <= known for known in self._together):
            words.append(f"elements {', '.join(chemical_symbols[z] for z in sorted(elements))} together")
        if self._volumes and structure.pbc.all() and structure.volume > 0:
            volume, (low, high) = structure.volume / len(structure), self._volumes
            if volume < low * (1 - _DENSER):
                words.append(f"volumes below the {low:.4g} Å³/atom of training")
            elif volume > high * (1 + _DENSER):
                words.append(f"volumes above the {high:.4g} Å³/atom of training")
        for pair, distance in closest_pairs([structure]).items():
            known = self._shortest.get(pair)
            if known is not None and distance < known * (1 - _CLOSER):
                names = "–".join(chemical_symbols[z] for z in pair)
                words.append(f"{names} distances below the {known:.3f} Å of training")
        return tuple(words)

    def unlike(self, dataset: Dataset) -> dict[str, list[int]]:
        """Return the frames of a dataset that hold something new, by what it is in words."""
        frames: dict[str, list[int]] = defaultdict(list)
        for index, structure in enumerate(dataset.structures):
            for words in self.lacks(structure):
                frames[words].append(index)
        return dict(frames)


def check_coverage(train: Dataset, test: Dataset) -> Iterator[Finding]:
    """Yield a warning for each kind of thing that test frames hold and training frames lack."""
    for words, frames in Coverage(train).unlike(test).items():
        count = f"{len(frames)} test frame{'s hold' if len(frames) > 1 else ' holds'}"
        message = f"{count} {words}, which no training frame has (this is the first)"
        yield Finding("warning", "test unlike training", message, **locate(test[frames[0]], frames[0]))
