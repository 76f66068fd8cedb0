"""Invariant functions as flat arrays, in the layout the loops of design.py read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcewright.features.ace.expansion import BasisFunction
from forcewright.structure import FloatArray, IntArray

_CHUNK = 4  # components added to a gradient in one pass, as design.py has it


@dataclass(frozen=True, eq=False)
class FunctionTable:
    """Functions of one center species as flat arrays for the kernels.

    ``leaves`` (V, 4) is (μ, n - 1, l, m), sorted by μ, l, m and n. Function f owns rows ``rows[f]:rows[f+1]``, row k
    factors ``factors[k]:factors[k+1]``, each a ``slot`` among the leaves f touches (``slots[f]:slots[f+1]`` in
    ``slot_leaf``) and a ``conjugate`` flag; the sign of the conjugates is in ``coupling`` already.
    ``chunks[f]:chunks[f+1]`` are quadruples of components and their places among the weights of all slots, filled up
    with the weight after the last one, which stays zero.
    """

    leaves: IntArray
    rows: IntArray
    factors: IntArray
    slot: IntArray
    conjugate: NDArray[np.bool_]
    coupling: FloatArray
    slots: IntArray
    slot_leaf: IntArray
    chunks: IntArray
    chunk_component: IntArray
    chunk_weight: IntArray

    @property
    def count(self) -> int:
        """Number of functions."""
        return len(self.rows) - 1

    @property
    def arrays(self) -> tuple[Any, ...]:
        """What the kernels take, in their order."""
        return tuple(getattr(self, entry.name) for entry in fields(self))


def _leaves(functions: Sequence[BasisFunction]) -> set[tuple[int, int, int, int]]:
    """Return every (μ, n - 1, l, m) with m ≥ 0 that occurs."""
    return {
        (mu, n - 1, l, abs(m))
        for f in functions
        for column, (mu, n, l) in enumerate(zip(f.species, f.ns, f.ls, strict=True))
        for m in np.unique(f.ms[:, column]).tolist()
    }


def tabulate_functions(functions: Sequence[BasisFunction]) -> FunctionTable:
    """Return functions of one center species as flat arrays."""
    ids = {leaf: k for k, leaf in enumerate(sorted(_leaves(functions), key=lambda leaf: (leaf[0], *leaf[2:], leaf[1])))}
    rows, factors, slot, conjugate, coupling = [0], [0], [], [], []
    slots, slot_leaf, chunks, chunk_component, chunk_weight = [0], [], [0], [], []
    for function in functions:
        touched: dict[tuple[int, int, int, int], int] = {}
        for ms, c in zip(function.ms.tolist(), function.coupling.tolist(), strict=True):
            sign = 1.0
            for mu, n, l, m in zip(function.species, function.ns, function.ls, ms, strict=True):
                slot.append(touched.setdefault((mu, n - 1, l, abs(m)), len(touched)))
                conjugate.append(m < 0)
                sign *= -1.0 if m < 0 and m % 2 else 1.0
            factors.append(len(slot))
            coupling.append(sign * c)
        rows.append(len(coupling))
        parts = [
            (2 * ids[leaf] + part, 2 * (slots[-1] + position) + part)
            for leaf, position in touched.items()
            for part in range(2 if leaf[3] else 1)
        ]
        parts += [(parts[0][0], -1)] * (-len(parts) % _CHUNK)
        for k in range(0, len(parts), _CHUNK):
            chunk_component.append([component for component, _ in parts[k : k + _CHUNK]])
            chunk_weight.append([position for _, position in parts[k : k + _CHUNK]])
        slot_leaf += [ids[leaf] for leaf in touched]
        slots.append(len(slot_leaf))
        chunks.append(len(chunk_component))

    def integers(values: Any, width: int = 0) -> IntArray:
        flat = np.array(values, dtype=np.int64)
        return flat.reshape(-1, width) if width else flat

    weights = integers(chunk_weight, _CHUNK)
    weights[weights < 0] = 2 * len(slot_leaf)
    return FunctionTable(
        integers(list(ids), 4), integers(rows), integers(factors), integers(slot),
        np.array(conjugate, dtype=np.bool_), np.array(coupling, dtype=np.float64), integers(slots), integers(slot_leaf),
        integers(chunks), integers(chunk_component, _CHUNK), weights,
    )  # fmt: skip
