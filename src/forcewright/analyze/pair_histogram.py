"""Counts of pair distances in a periodic cell, without storing a pair.

The cell is divided into bins, a whole number along each vector, so that the bins of periodic images are copies. Each
pair is met once: a bin looks at itself and at the bins that follow it in lexicographic order of their offset. The bin
at offset ``o`` of bin b lies in the image ``floor((b + o) / n)``, which needs no minimum image convention: any cell,
any distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import njit

from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.threads import thread_count

_BINS_PER_RANGE = 2


@contextmanager
def worker_threads() -> Iterator[ThreadPoolExecutor]:
    """Give as many threads as `thread_count` says, for compiled loops that release the interpreter lock."""
    with ThreadPoolExecutor(thread_count()) as pool:
        yield pool


class PairHistogram:
    """Counts pairs (S, S, bins) of S kinds of atoms by distance up to ``r_max`` Å, for one frame after the other."""

    def __init__(self, r_max: float, bins: int, kinds: int, pool: ThreadPoolExecutor) -> None:
        self.r_max, self.bins, self.kinds, self.pool = float(r_max), int(bins), int(kinds), pool

    def count(self, structure: Structure, kind: IntArray) -> IntArray:
        """Return the number of ordered pairs (i, j) as ``[a, b, k]``: i of kind a, j of kind b, distance in bin k.

        Images of an atom itself count. The structure must be periodic in all directions; ``kind`` (N,) says 0 … S - 1.
        """
        shape, reach = _division(structure, self.r_max)
        fractions = structure.positions @ np.linalg.inv(structure.cell)
        order, starts, wrapped = _sort(fractions - np.floor(fractions), shape)
        points = np.ascontiguousarray((wrapped @ structure.cell).T)
        offsets = _forward_offsets(structure.cell, shape, reach, self.r_max)
        rows = (kind[order] * self.bins).astype(np.int32)
        total = len(starts) - 1
        edges = np.linspace(0, total, min(total, 4 * thread_count()) + 1).astype(np.int64)
        parts = self.pool.map(
            lambda low, high: _count(
                low, high, shape, starts, points, rows, structure.cell, offsets, self.r_max, self.bins, self.kinds
            ),
            edges[:-1], edges[1:],
        )  # fmt: skip
        once = np.sum(list(parts), axis=0).reshape(self.kinds, self.kinds, self.bins)
        both: IntArray = once + once.transpose(1, 0, 2)
        return both


def _division(structure: Structure, r_max: float) -> tuple[IntArray, IntArray]:
    """Return the number of bins along each cell vector (3,) and how many of them ``r_max`` spans at most (3,)."""
    heights = 1 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
    wanted = heights * _BINS_PER_RANGE / r_max
    wanted *= min(1.0, ((8 * len(structure) + 64) / wanted.prod()) ** (1 / 3))  # few atoms in a large cell
    shape = np.maximum(1, np.floor(wanted)).astype(np.int64)
    reach = np.ceil(r_max / (heights / shape) * (1 + 1e-12)).astype(np.int64)
    return shape, reach


def _forward_offsets(cell: FloatArray, shape: IntArray, reach: IntArray, r_max: float) -> IntArray:
    """Return the offsets (M, 3) after (0, 0, 0) of bins that can hold a point within ``r_max``."""
    axes = [np.arange(-n, n + 1) for n in reach]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    offsets = offsets[len(offsets) // 2 + 1 :]
    edges = cell / shape[:, None]
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    widest = np.linalg.norm(corners @ edges, axis=1).max()  # between two points of a bin
    apart = np.linalg.norm(offsets @ edges, axis=1) - widest
    metric = edges @ edges.T
    if np.allclose(metric, np.diag(np.diag(metric)), rtol=0, atol=1e-12 * metric.max()):
        apart = np.linalg.norm(np.maximum(np.abs(offsets) - 1, 0) @ edges, axis=1)
    return np.ascontiguousarray(offsets[apart <= r_max * (1 + 1e-12)])


@njit(cache=True, nogil=True)
def _sort(fractions: Any, shape: Any) -> Any:
    """Return the order of the atoms by bin, the start of each bin and the fractions in that order."""
    count = len(fractions)
    home = np.empty(count, np.int64)
    starts = np.zeros(shape[0] * shape[1] * shape[2] + 1, np.int64)
    for i in range(count):
        b = 0
        for d in range(3):
            b = b * shape[d] + min(int(fractions[i, d] * shape[d]), shape[d] - 1)
        home[i] = b
        starts[b + 1] += 1
    for b in range(len(starts) - 1):
        starts[b + 1] += starts[b]
    cursor = starts[:-1].copy()
    order = np.empty(count, np.int64)
    for i in range(count):
        order[cursor[home[i]]] = i
        cursor[home[i]] += 1
    return order, starts, fractions[order]


@njit(cache=True, nogil=True, error_model="numpy")
def _count(
    first: int, last: int, shape: Any, starts: Any, points: Any, rows: Any, cell: Any, offsets: Any, r_max: float,
    bins: int, kinds: int,
) -> Any:  # fmt: skip
    """Return counts (kinds · kinds · bins,) of the pairs that bins ``first`` to ``last`` meet."""
    counts = np.zeros(kinds * kinds * bins, np.int64)
    xs, ys, zs = points[0], points[1], points[2]
    scale, limit = bins / r_max, r_max * r_max
    room = 256
    x, y, z = np.empty(room), np.empty(room), np.empty(room)
    row, squares = np.empty(room, np.int32), np.empty(room)
    near, near_row = np.empty(room), np.empty(room, np.int32)
    for b in range(first, last):
        inside = starts[b + 1] - starts[b]
        if inside == 0:
            continue
        bx, by, bz = b // (shape[1] * shape[2]), (b // shape[2]) % shape[1], b % shape[2]
        filled = 0
        for m in range(-1, len(offsets)):
            cx, cy, cz = bx, by, bz
            sx, sy, sz = 0.0, 0.0, 0.0
            if m >= 0:
                cx, cy, cz = bx + offsets[m, 0], by + offsets[m, 1], bz + offsets[m, 2]
                ix, iy, iz = cx // shape[0], cy // shape[1], cz // shape[2]
                cx, cy, cz = cx - ix * shape[0], cy - iy * shape[1], cz - iz * shape[2]
                sx = ix * cell[0, 0] + iy * cell[1, 0] + iz * cell[2, 0]
                sy = ix * cell[0, 1] + iy * cell[1, 1] + iz * cell[2, 1]
                sz = ix * cell[0, 2] + iy * cell[1, 2] + iz * cell[2, 2]
            c = (cx * shape[1] + cy) * shape[2] + cz
            begin, end = starts[c], starts[c + 1]
            if filled + end - begin > room:
                room = 2 * (filled + end - begin)
                old_x, old_y, old_z, old_row = x, y, z, row
                x, y, z, row = np.empty(room), np.empty(room), np.empty(room), np.empty(room, np.int32)
                for k in range(filled):
                    x[k], y[k], z[k], row[k] = old_x[k], old_y[k], old_z[k], old_row[k]
                squares, near, near_row = np.empty(room), np.empty(room), np.empty(room, np.int32)
            for p in range(begin, end):
                x[filled], y[filled], z[filled] = xs[p] + sx, ys[p] + sy, zs[p] + sz
                row[filled] = rows[p]
                filled += 1
        for i in range(inside):
            xi, yi, zi = x[i], y[i], z[i]
            for k in range(i + 1, filled):
                dx, dy, dz = x[k] - xi, y[k] - yi, z[k] - zi
                squares[k] = dx * dx + dy * dy + dz * dz
            kept = 0
            for k in range(i + 1, filled):
                # Written always and kept if near: no branch to mispredict.
                near[kept], near_row[kept] = squares[k], row[k]
                kept += squares[k] < limit
            for k in range(kept):
                near_row[k] += min(np.int32(np.sqrt(near[k]) * scale), np.int32(bins - 1))
            base = row[i] * kinds
            for k in range(kept):
                counts[base + near_row[k]] += 1
    return counts
