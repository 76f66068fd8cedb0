"""Watches whether atoms of a run come closer than any of their pair do in the data its potential was fitted to.

Where they do, the potential has never been shown what it predicts, and it is told so long before forces or volumes say
anything. The shortest distance of every pair goes to ``distances.csv`` at each look, and the first structure below to
``first_close.extxyz``.
"""

from __future__ import annotations

import csv
import logging
import math
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from forcewright.errors import ForcewrightError
from forcewright.files import atomic_write
from forcewright.force_field import ForceField
from forcewright.simulation.monitors import Alarm, close_alarm, name_of_atom
from forcewright.structure import Structure
from forcewright.training_record import TrainingRecord, training_record_of
from forcewright.trajectory import Snapshot
from forcewright.trajectory.extxyz import frame_text

log = logging.getLogger("forcewright")

TABLE, FIRST = "distances.csv", "first_close.extxyz"
_BEYOND = 1.2  # times the longest of the shortest distances: how far pairs are looked for


class Closest(NamedTuple):
    """The closest atoms of a pair of elements in one structure, and their distance in Å."""

    first: int
    second: int
    distance: float


def closest_of_pairs(structure: Structure, reach: float) -> dict[tuple[int, int], Closest]:
    """Return the closest atoms of each pair of atomic numbers, the smaller one first, that come within ``reach`` Å."""
    from forcewright.neighbors import find_neighbors  # loads Numba, which LAMMPS's process does without

    pairs = find_neighbors(structure, reach)
    numbers = structure.numbers
    once = pairs.centers <= pairs.indices  # a pair stands twice, and with an image of its own atom as well
    centers, others, distances = pairs.centers[once], pairs.indices[once], pairs.distances[once]
    order = np.argsort(distances, kind="stable")
    low, high = np.sort([numbers[centers[order]], numbers[others[order]]], axis=0)
    _, first = np.unique(1000 * low + high, return_index=True)
    closest = {}
    for k in first.tolist():
        i, j = int(centers[order[k]]), int(others[order[k]])
        closest[int(low[k]), int(high[k])] = Closest(i, j, float(distances[order[k]]))
    return closest


class DistanceWatch:
    """The distances of one run against those of the training data.

    Parameters
    ----------
    record
        What the potential remembers of its training data.
    factor
        Share of a shortest distance below which the run is to be stopped; None for never.
    folder
        Where the run writes.
    """

    table = TABLE

    def __init__(self, record: TrainingRecord, factor: float | None, folder: Path) -> None:
        self.limits, self.factor, self.folder = record.pairs(), factor, folder
        self.reach = _BEYOND * max(self.limits.values())
        self._names = {pair: "-".join(chemical_symbols[z] for z in pair) for pair in self.limits}
        self.looks, self.below = 0, 0
        self._nearest = math.inf  # share of the shortest distance
        self._nearest_name = ""
        self._file: IO[bytes] | None = None

    def open(self, file: IO[bytes]) -> None:
        """Write to this file, an opened distances.csv, and take into account what it already holds."""
        self._file = file
        if file.tell() == 0:
            file.write((",".join(["step", "time_ps", *self._names.values()]) + "\n").encode())
            return
        pairs = {name: pair for pair, name in self._names.items()}
        for row in csv.DictReader((self.folder / TABLE).read_text(encoding="utf-8").splitlines()):
            self._count({pairs[name]: float(row[name]) for name in pairs if row[name]})

    def _count(self, distances: dict[tuple[int, int], float]) -> None:
        self.looks += 1
        shares = {pair: distance / self.limits[pair] for pair, distance in distances.items()}
        self.below += any(share < 1.0 for share in shares.values())
        for pair, share in shares.items():
            if share < self._nearest:
                self._nearest, self._nearest_name = share, self._names[pair]

    def look(self, snapshot: Snapshot) -> Alarm | None:
        """Record a structure; return an alarm where the run is to be stopped for it."""
        try:
            closest = closest_of_pairs(snapshot.structure, self.reach)
        except (ForcewrightError, ValueError, ArithmeticError):  # structures that other monitors stop the run for
            return None
        known = {pair: closest[pair] for pair in self.limits if pair in closest}
        distances = {pair: float(f"{pair_of.distance:.8g}") for pair, pair_of in known.items()}  # as they are written
        assert self._file is not None
        cells = [f"{distances[pair]:.8g}" if pair in distances else "" for pair in self._names]
        time_ps = (snapshot.time or 0.0) / 1000.0
        self._file.write((",".join([str(snapshot.step or 0), f"{time_ps:.12g}", *cells]) + "\n").encode())
        before = self.below
        self._count(distances)
        if self.below == before:
            return None
        worst = min(known, key=lambda pair: known[pair].distance / self.limits[pair])
        message = self._describe(snapshot, worst, known[worst])
        if before == 0:
            atomic_write(self.folder / FIRST, frame_text(snapshot))
            log.warning("%s at %g ps; see %s", message, time_ps, FIRST)
        limit = (self.factor or 0.0) * self.limits[worst]
        if not known[worst].distance < limit:
            return None
        return close_alarm(snapshot, message, known[worst][:2], known[worst].distance, limit)

    def _describe(self, snapshot: Snapshot, pair: tuple[int, int], closest: Closest) -> str:
        shortest = self.limits[pair]
        return (
            f"{name_of_atom(snapshot, closest.first)} and {name_of_atom(snapshot, closest.second)} are "
            f"{closest.distance:.3f} Å apart, {closest.distance / shortest:.3g} times the shortest "
            f"{self._names[pair].replace('-', '–')} distance of {shortest:.3f} Å in the training data"
        )

    def note(self) -> str:
        """Return in a sentence how often atoms came closer than in the training data; empty where they never did."""
        if not self.below:
            return ""
        share = 100.0 * self.below / self.looks
        return (
            f"in {self.below} of {self.looks} structures looked at ({share:.3g} %) atoms are closer than any of their "
            f"pair in the training data, at most {self._nearest_name.replace('-', '–')} at {self._nearest:.3g} times "
            f"the shortest distance there; the first is in {FIRST}"
        )


def distance_watch(
    force_field: ForceField, start: Structure, factor: float | Literal["warn", "off"], folder: Path
) -> DistanceWatch | None:
    """Return the watch of a run; None where it is off, or the potential remembers no distances of the run's elements.

    ``start`` is what the run begins with.
    """
    record = None if factor == "off" else training_record_of(force_field.potential)
    if record is None:
        return None
    elements = {chemical_symbols[z] for z in start.numbers.tolist()}
    present = {pair: distance for pair, distance in record.shortest_A.items() if set(pair.split("-")) <= elements}
    if not present:
        return None
    return DistanceWatch(
        TrainingRecord(record.frames, record.atoms, record.reach_A, present),
        None if isinstance(factor, str) else factor, folder,
    )  # fmt: skip
