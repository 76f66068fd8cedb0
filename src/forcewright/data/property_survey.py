"""Which properties files hold beside energies, forces and stresses: under which key, of what shape, in which range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from forcewright.data.properties import PropertySet, tensor_parts
from forcewright.data.raw import RawFrame
from forcewright.structure import FloatArray

#: What of a tensor is nothing, relative to its length: files hold a few digits.
NOTHING = 1e-5


@dataclass
class Surveyed:
    """One key of the files: whose values it holds, how many numbers each, and their range.

    ``parts`` are the largest lengths of the isotropic, antisymmetric and symmetric traceless parts of tensors.
    """

    per: str
    numbers: set[int] = field(default_factory=set)
    frames: int = 0
    low: float = np.inf
    high: float = -np.inf
    flags: int = 0
    of_flags: int = 0
    parts: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    @property
    def meaning(self) -> str:
        """What the numbers may be."""
        if self.of_flags:
            return f"{self.flags} of {self.of_flags} {self.per}s true: a mask"
        if len(self.numbers) > 1:
            return f"{min(self.numbers)} to {max(self.numbers)} numbers, as many as frames differ in"
        (count,) = self.numbers
        if count == 9:
            length = max(self.parts)
            known = [order for order in (0, 1, 2) if self.parts[order] > NOTHING * length]
            orders = known if known in ([2], [0, 2]) else [0, 1, 2]
            return f"9 numbers, a tensor ({'+'.join(f'{order}e' for order in orders)})"
        return {1: "1 number (0e)", 3: "3 numbers, a vector (1o or 1e)"}.get(count, f"{count} numbers")


class Survey:
    """What frames hold, as they come in."""

    def __init__(self) -> None:
        self.keys: dict[str, Surveyed] = {}
        self.holds: Counter[str] = Counter()
        self.frames = 0

    def add(self, raw: RawFrame, without: Collection[str]) -> None:
        """Look at one frame; ``without`` are keys of labels."""
        self.frames += 1
        self.holds.update(raw.holds)
        for per, held in (("atom", raw.arrays), ("structure", raw.info)):
            for key, value in held.items():
                if key not in without:
                    self._take(key, per, value, len(raw.structure))

    def _take(self, key: str, per: str, value: Any, atoms: int) -> None:
        if isinstance(value, (str, dict)):
            return
        try:
            array = np.asarray(value)
        except ValueError:  # rows of several lengths
            return
        if not array.size or array.dtype.kind not in ("iufb" if per == "atom" else "iuf"):
            return
        rows = array.reshape(atoms, -1) if per == "atom" else array.reshape(1, -1)
        if array.dtype.kind in "iu" and rows.shape[1] == 1:  # a number of something, or a name
            return
        known = self.keys.setdefault(key, Surveyed(per))
        known.frames += 1
        if array.dtype.kind == "b":
            known.flags, known.of_flags = known.flags + int(rows.sum()), known.of_flags + rows.size
            return
        known.numbers.add(rows.shape[1])
        finite = rows[np.isfinite(rows)]
        if finite.size:
            known.low, known.high = min(known.low, float(finite.min())), max(known.high, float(finite.max()))
        if rows.shape[1] == 9 and finite.size == rows.size:
            for order, part in tensor_parts(rows):
                known.parts[order] = max(known.parts[order], float(np.abs(part).max()))

    def lines(self) -> list[str]:
        """Return a line for each key, those of the most frames first."""
        ordered = sorted(self.keys.items(), key=lambda item: -item[1].frames)
        texts = [
            f"  property {key}: per {known.per}, {known.meaning}, {known.frames} of {self.frames} frames"
            + ("" if known.of_flags or known.low > known.high else f", {known.low:.4g} to {known.high:.4g}")
            for key, known in ordered
        ]
        return texts + [
            f"  property {name}: {count} of {self.frames} frames; a target with a grid reads it"
            for name, count in self.holds.items()
        ]


@dataclass(frozen=True)
class PropertySummary:
    """What a set of values holds, in one line.

    ``measure`` is what of a value the range, mean and standard deviation are of: the length of vectors, the isotropic
    part of tensors, the Frobenius norm of tensors that have none, the integral of a density of states.
    """

    name: str
    key: str
    kind: str
    per: str
    unit: str
    frames: int
    of_frames: int
    count: int
    measure: str
    minimum: float
    maximum: float
    mean: float
    std: float

    @classmethod
    def of(cls, values: PropertySet) -> PropertySummary:
        """Summarize at least one value."""
        target = values.target
        measure, numbers = _measured(values)
        kind = f"{target.components} energies" if target.grid else str(target.irreps)
        return cls(
            target.name, target.where, kind, target.per, target.unit or "unit not stated", len(values),
            len(values) + len(values.left_out), values.count, measure, float(numbers.min()), float(numbers.max()),
            float(numbers.mean()), float(numbers.std()),
        )  # fmt: skip

    def __str__(self) -> str:
        several = "atoms" if self.per == "atom" else "structures"
        return (
            f"property {self.name} ({self.key}): {self.kind}, {self.frames} of {self.of_frames} frames, {self.count} "
            f"{several}; {self.measure} {self.minimum:.4g} to {self.maximum:.4g}, mean {self.mean:.4g}, "
            f"std {self.std:.3g}, {self.unit}"
        )


def _measured(values: PropertySet) -> tuple[str, FloatArray]:
    target, stacked = values.target, values.stacked()
    if target.grid is not None:
        return "integral over energies in eV", np.trapezoid(stacked, target.grid.points, axis=1).reshape(-1)
    if target.components == 1:
        return "value", stacked[:, 0]
    if target.components == 9 and 0 in target.orders:
        return "isotropic part", stacked[:, [0, 4, 8]].mean(axis=1)
    return "length" if target.components == 3 else "norm", np.sqrt((stacked**2).sum(axis=1))


def describe_target(values: PropertySet) -> Iterator[str]:
    """Yield the line of a property, and one more for what was left out."""
    if values.count:
        yield str(PropertySummary.of(values))
    if values.left_out:
        yield f"  left out: {len(values.left_out)} frames without a usable value"
