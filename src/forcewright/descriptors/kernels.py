"""How alike structures are: kernels between their sets of environments, and distances.

Rows of environments (N, D) are of length 1, their products C_ij the local similarities. Structures may have different
numbers of atoms. With a kernel K that is normalized, K(A, A) = 1, the distance is ``√(2 - 2 K(A, B))``.

============  =========================================================================================
``average``   Σ C_ij / (N M)
``best``      the largest Σ P_ij C_ij of all P with row sums 1/N and column sums 1/M; for N = M the best
              assignment of the environments to one another
``rematch``   the same with an entropy γ that rounds it off (`forcewright.descriptors.rematch`): from ``best``
              (γ → 0) to ``average`` (γ → ∞)
============  =========================================================================================

(De, Bartók, Csányi and Ceriotti, Phys. Chem. Chem. Phys. 18, 13754 (2016).) All three dilute what happens at one atom
by 1/N; `largest_atomic_distance` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import coo_array
from threadpoolctl import threadpool_limits

from forcewright.descriptors.descriptor import unit_rows
from forcewright.descriptors.rematch import add_single, farthest_nearest, match_blocks, scratch
from forcewright.errors import InputError
from forcewright.structure import FloatArray, IntArray
from forcewright.threads import thread_count

Kind = Literal["average", "best", "rematch"]

_BLOCK_ROWS = 512  # of environments on each side that are compared at once: their similarities stay in the cache
_SMALLEST_GAMMA = 1e-6
_MOST_ITERATIONS = 1000
#: Leading principal components of which products are taken in double precision. Where what they leave of a row's
#: squared length is short, products of that are taken in single precision, twice as fast: the error of a local
#: similarity is then some 1e-10, seldom 1e-8, that of a match 1e-11.
_LEADING, _SHORT = 32, 0.02
_FEWEST_COLUMNS, _FEWEST_ROWS = 96, 2000  # for which this is worth its making
_SAMPLE = 4000  # rows that the components are made from
_TOLERANCE = 1e-12  # of the sums of rows and columns of the match

#: Fills the part of the result that belongs to blocks of structures, from their local similarities.
_Fill = Callable[[FloatArray, "_Blocks", "_Blocks", tuple[FloatArray, ...]], None]


@dataclass(frozen=True)
class StructureKernel:
    """A kernel between structures; see the table at the top of this module.

    Parameters
    ----------
    gamma
        Entropy γ of ``rematch``.
    zeta
        Whole power of the local similarities, which spreads those that are all near 1.
    normalized
        Whether ``K(A, B) / √(K(A, A) K(B, B))`` is returned.

    Raises
    ------
    InputError
        If an argument is invalid.
    """

    kind: Kind = "rematch"
    gamma: float = 0.1
    zeta: int = 1
    normalized: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("average", "best", "rematch"):
            raise InputError(f"is {self.kind!r}; it must be 'average', 'best' or 'rematch'", field="kernel")
        if not (np.isfinite(self.gamma) and self.gamma > 0):
            raise InputError(f"is {self.gamma}; it must be above 0", field="gamma")
        if self.gamma < _SMALLEST_GAMMA:  # beyond which iterations come to no end
            raise InputError(f"is {self.gamma:g}; below {_SMALLEST_GAMMA:g} take kernel 'best'", field="gamma")
        if int(self.zeta) != self.zeta or self.zeta < 1:
            raise InputError(f"is {self.zeta}; it must be a whole number from 1 on", field="zeta")

    def matrix(self, a: Sequence[FloatArray], b: Sequence[FloatArray] | None = None) -> FloatArray:
        """Return the kernel (A, B) between structures, or (A, A) among them.

        Parameters
        ----------
        a, b
            Rows of the environments (N, D) of each structure; they need not be of length 1.

        Raises
        ------
        InputError
            If rows differ in length or are not finite, or γ is so small that the match does not converge.
        """
        sets = _Sets(a, b)
        (result,) = self._between(sets.a, sets.b, 1)
        if self.normalized:
            root_a = np.sqrt(self._diagonal(sets.a))
            root_b = root_a if sets.b is None else np.sqrt(self._diagonal(sets.b))
            with np.errstate(divide="ignore", invalid="ignore"):
                result = np.nan_to_num(result / np.multiply.outer(root_a, root_b))
            if sets.b is None:
                np.fill_diagonal(result, 1.0)
        return result

    def distances(self, a: Sequence[FloatArray], b: Sequence[FloatArray] | None = None) -> FloatArray:
        """Return the distances (A, B), or (A, A) of structures among one another; see `matrix`.

        A kernel has a relative accuracy of some 1e-10, a distance near zero therefore an error of some 1e-5.
        """
        if not self.normalized:
            raise InputError("distances need a normalized kernel", field="normalized")
        return kernel_distances(self.matrix(a, b))

    def _diagonal(self, blocks: _Blocks) -> FloatArray:
        """Return K(A, A) of every structure."""
        return np.array([self._between(part, part, 1)[0][0, 0] for part in blocks.single()])

    def _between(self, a: _Blocks, b: _Blocks | None, count: int) -> tuple[FloatArray, ...]:
        return _for_blocks(a, b, self._fill, count, self.zeta)

    def _fill(self, similarities: FloatArray, a: _Blocks, b: _Blocks, out: tuple[FloatArray, ...]) -> None:
        if self.kind == "average":
            sums = np.add.reduceat(np.add.reduceat(similarities, a.starts[:-1], axis=0), b.starts[:-1], axis=1)
            out[0][:] = sums / np.multiply.outer(a.sizes, b.sizes)
        elif self.kind == "best":
            for i, rows in enumerate(a.slices()):
                for j, columns in enumerate(b.slices()):
                    out[0][i, j] = best_match(similarities[rows, columns])
        else:
            work = scratch(int(a.sizes.max()), int(b.sizes.max()))
            failed = match_blocks(
                similarities, a.starts, b.starts, self.gamma, _TOLERANCE, _MOST_ITERATIONS, out[0], work
            )
            if failed:
                raise InputError(
                    f"is {self.gamma:g}, for which {failed} pairs do not converge within {_MOST_ITERATIONS} "
                    "iterations; take a larger one, or kernel 'best'", field="gamma",
                )  # fmt: skip


def kernel_distances(kernel: FloatArray) -> FloatArray:
    """Return √(2 - 2K); a kernel that rounding has carried above 1 is 1."""
    return np.sqrt(np.maximum(2.0 - 2.0 * kernel, 0.0))


def best_match(similarities: FloatArray) -> float:
    """Return the largest Σ P_ij C_ij of all P (n, m) with row sums 1/n and column sums 1/m."""
    n, m = similarities.shape
    if n == m:
        rows, columns = linear_sum_assignment(similarities, maximize=True)
        return float(similarities[rows, columns].mean())
    if min(n, m) == 1:
        return float(similarities.mean())
    entries = np.arange(n * m)
    # the last sum follows from the others
    sums = coo_array(
        (np.ones(2 * n * m), (np.concatenate([entries // m, n + entries % m]), np.concatenate([entries, entries])))
    ).tocsr()[:-1]
    wanted = np.concatenate([np.full(n, 1.0 / n), np.full(m - 1, 1.0 / m)])
    solved: Any = linprog(-similarities.ravel(), A_eq=sums, b_eq=wanted, method="highs")  # type: ignore[call-overload]
    return float(-solved.fun)


def largest_atomic_distance(
    a: Sequence[FloatArray], b: Sequence[FloatArray] | None = None, *, directed: bool = False
) -> FloatArray:
    """Return how far the atom is that is farthest from everything in the other structure (A, B).

    The distance of two environments is ``√(2 - 2 C_ij)``, that of an atom from a structure the distance to its nearest
    environment there. The largest over the atoms of both structures is Hausdorff's distance, a metric of sets of
    environments.

    Parameters
    ----------
    a, b
        As for `StructureKernel.matrix`.
    directed
        Over the atoms of A alone.

    Raises
    ------
    InputError
        If rows differ in length or are not finite.
    """
    sets = _Sets(a, b)

    def fill(similarities: FloatArray, a: _Blocks, b: _Blocks, out: tuple[FloatArray, ...]) -> None:
        farthest_nearest(similarities, a.starts, b.starts, out[0], out[1])

    forward, backward = _for_blocks(sets.a, sets.b, fill, 2)
    if sets.b is None:  # above the diagonal both are there
        below = np.tril_indices(len(forward), -1)
        forward[below], backward[below] = backward.T[below], forward.T[below]
    distances = kernel_distances(forward if directed else np.minimum(forward, backward))
    if sets.b is None:
        np.fill_diagonal(distances, 0.0)
    return distances


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Environments of several structures one below the other: ``rows`` in double, ``rest`` in single precision."""

    rows: FloatArray
    rest: Any
    starts: IntArray  # first row of each structure, and the end of the last

    @property
    def sizes(self) -> IntArray:
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def slices(self) -> list[slice]:
        return [slice(*ends) for ends in zip(self.starts[:-1], self.starts[1:], strict=True)]

    def part(self, first: int, end: int) -> _Blocks:
        rows = slice(self.starts[first], self.starts[end])
        return _Blocks(self.rows[rows], self.rest[rows], self.starts[first : end + 1] - self.starts[first])

    def single(self) -> Iterator[_Blocks]:
        return (self.part(k, k + 1) for k in range(len(self)))

    def groups(self) -> list[tuple[int, int]]:
        """Return ranges of structures of no more than so many rows, but at least one structure."""
        ranges, first = [], 0
        for k in range(1, len(self) + 1):
            if k == len(self) or self.starts[k + 1] - self.starts[first] > _BLOCK_ROWS:
                ranges.append((first, k))
                first = k
        return ranges


class _Sets:
    """The environments of one or two sets of structures, in their principal components where that saves time."""

    def __init__(self, a: Sequence[FloatArray], b: Sequence[FloatArray] | None) -> None:
        lists = [list(a), *([] if b is None else [list(b)])]
        rows = [_checked(part) for part in lists]
        if len(rows) == 2 and rows[0].shape[1] != rows[1].shape[1]:
            raise InputError(
                f"have {rows[0].shape[1]} and {rows[1].shape[1]} numbers an environment; describe both sets by the "
                "same descriptor", field="rows",
            )  # fmt: skip
        rows = _unit_also_where_empty(rows)
        split = _components(rows)
        starts = [np.concatenate([[0], np.cumsum([len(r) for r in part])]).astype(np.int64) for part in lists]
        blocks = [_Blocks(*parts, start) for parts, start in zip(split, starts, strict=True)]
        self.a, self.b = blocks[0], blocks[1] if len(blocks) == 2 else None


def _checked(structures: list[FloatArray]) -> FloatArray:
    """Return the environments of all structures one below the other."""
    arrays = [np.asarray(rows, dtype=np.float64) for rows in structures]
    if not arrays:
        raise InputError("holds no structure; give at least one", field="rows")
    for index, rows in enumerate(arrays):
        if rows.ndim != 2 or not rows.size or rows.shape[1] != arrays[0].shape[1]:
            raise InputError(
                f"are an array {rows.shape}; expected (atoms, {arrays[0].shape[-1]})", frame=index, field="rows"
            )
        if not np.isfinite(rows).all():
            raise InputError("hold a number that is not finite", frame=index, field="rows")
    return np.concatenate(arrays)


def _unit_also_where_empty(rows: list[FloatArray]) -> list[FloatArray]:
    """Return rows of length 1; environments without anything are alike, in a column of their own."""
    empty = [~part.any(axis=1) for part in rows]
    units = [unit_rows(part) for part in rows]
    if any(mask.any() for mask in empty):
        units = [np.column_stack([part, mask]) for part, mask in zip(units, empty, strict=True)]
    return units


def _components(rows: list[FloatArray]) -> list[tuple[FloatArray, Any]]:
    """Split rows into their parts along a few leading directions and a rest, which is short, in single precision."""
    width, total = rows[0].shape[1], sum(map(len, rows))
    if width < _FEWEST_COLUMNS or total < _FEWEST_ROWS:
        return [(np.ascontiguousarray(part), np.empty((len(part), 0), dtype=np.float32)) for part in rows]
    # a sample that no order of the atoms or frames makes one-sided: multiples of the golden ratio
    shares = np.modf(np.arange(1, min(_SAMPLE, total) + 1) * 0.6180339887498949)[0]
    sample = np.concatenate([part[np.unique((shares * len(part)).astype(np.int64))] for part in rows])
    directions = np.random.default_rng(0).normal(size=(width, _LEADING))
    for _ in range(4):  # subspace iteration: they need not be exact
        directions = np.linalg.qr(sample.T @ (sample @ directions))[0]
    turned = [part @ directions for part in rows]
    rests = [part - along @ directions.T for part, along in zip(rows, turned, strict=True)]
    squares = np.concatenate([np.einsum("ij,ij->i", rest, rest) for rest in rests])
    if squares.mean() > _SHORT or squares.max() > 5.0 * _SHORT:
        return [(np.ascontiguousarray(part), np.empty((len(part), 0), dtype=np.float32)) for part in rows]
    return [(along, rest.astype(np.float32)) for along, rest in zip(turned, rests, strict=True)]


def _for_blocks(a: _Blocks, b: _Blocks | None, fill: _Fill, count: int, zeta: int = 1) -> tuple[FloatArray, ...]:
    """Return ``count`` arrays (A, B), or symmetric ones (A, A), that ``fill`` fills block by block, on all cores."""
    other = a if b is None else b
    results = tuple(np.empty((len(a), len(other))) for _ in range(count))
    groups, other_groups = a.groups(), other.groups()
    most = max(int(other.starts[end] - other.starts[first]) for first, end in other_groups)

    def work(rows: tuple[int, int]) -> None:
        mine = a.part(*rows)
        space = np.empty(len(mine.rows) * most)
        rest = np.empty(space.size if mine.rest.shape[1] else 0, dtype=np.float32)
        for columns in other_groups:
            if b is None and columns[1] <= rows[0]:
                continue  # below the diagonal
            theirs = other.part(*columns)
            shape = (len(mine.rows), len(theirs.rows))
            similarities = np.matmul(mine.rows, theirs.rows.T, out=space[: shape[0] * shape[1]].reshape(shape))
            if len(rest):
                single = np.matmul(mine.rest, theirs.rest.T, out=rest[: similarities.size].reshape(shape))
                add_single(similarities, single)
            if zeta != 1:
                similarities **= zeta
            parts = tuple(np.empty((len(mine), len(theirs))) for _ in results)
            fill(similarities, mine, theirs, parts)
            for result, part in zip(results, parts, strict=True):
                result[slice(*rows), slice(*columns)] = part

    threads = min(thread_count(), len(groups))
    if threads == 1:
        for rows in groups:
            work(rows)
    else:
        with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, groups):
                pass
    if b is None:
        for result in results:
            below = np.tril_indices(len(a), -1)
            result[below] = result.T[below]
    return results
