"""Many structures, several at a time: worker processes, a cache, and a failure that never loses the others.

A worker writes what it has computed to the cache at once, so that whatever is killed goes on where it was. A structure
that kills its process is tried once more alone; if it does so again, that is its failure.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from forcewright.errors import InputError
from forcewright.execution.cluster import TaskDiedError
from forcewright.execution.pools import close_pool, open_pool, workers_of
from forcewright.execution.settings import ExecutorSettings
from forcewright.potential import Failure, Reference
from forcewright.reference.cache import LabelCache
from forcewright.reference.checks import Scope, failure_of
from forcewright.structure import Dataset, Frame, Labels, Structure

_CHUNK_SECONDS = 0.5  # work sent to a worker at once, so that sending costs little
_LARGEST_CHUNK = 64

_Item: TypeAlias = tuple[int, Structure]
_Result: TypeAlias = tuple[int, Labels | Failure, float]


@dataclass(frozen=True)
class Progress:
    """How far labelling is; given to ``on_done`` after each structure.

    Attributes
    ----------
    index
        Place of the structure that was done last.
    result
        Its labels or failure.
    done, total
        Structures done, and all of them.
    seconds_left
        Estimated from the rate so far; None while there is none.
    """

    index: int
    result: Labels | Failure
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True)
class Labelling:
    """What became of each structure.

    Attributes
    ----------
    results
        Labels or failure of each structure, in order.
    cached
        How many of them were known already.
    seconds
        Wall time.
    """

    results: tuple[Labels | Failure, ...]
    cached: int
    seconds: float

    @property
    def failures(self) -> dict[int, Failure]:
        """The failures, by place."""
        return {i: r for i, r in enumerate(self.results) if isinstance(r, Failure) and not r.pending}

    @property
    def pending(self) -> dict[int, Failure]:
        """Structures whose labels another program has yet to compute, by place."""
        return {i: r for i, r in enumerate(self.results) if isinstance(r, Failure) and r.pending}

    def dataset(self, structures: Dataset | Sequence[Structure], name: str = "") -> Dataset:
        """Return the labelled structures; group, info and origin of a dataset's frames stay with them."""
        labelled = [
            Frame(frame.structure, _with(frame.labels, result), frame.origin)
            for frame, result in zip(_frames(structures), self.results, strict=True)
            if isinstance(result, Labels)
        ]
        return Dataset(tuple(labelled), name)


def label_all(
    reference: Reference, structures: Dataset | Sequence[Structure], *, cache: str | Path | None = None,
    workers: int = 1, retry_failures: bool = False, on_done: Callable[[Progress], None] | None = None,
    executor: ExecutorSettings = "local",
) -> Labelling:  # fmt: skip
    """Label structures, several at a time.

    Parameters
    ----------
    reference
        Anything with `Reference`'s contract that can be pickled.
    structures
        A dataset, whose labels are not looked at, or structures.
    cache
        Folder in which labels are kept; several references may share it.
    workers
        Processes, each with one thread; 0 to compute in this process.
    retry_failures
        Try again what failed before in a way that is expected to repeat itself.
    on_done
        Called after every structure.
    executor
        "local", or the cluster whose workers compute, which see the cache.

    Raises
    ------
    InputError
        If the cache cannot be used, or ``workers`` is negative.
    MissingExtraError
        If the reference needs a package that is not installed.
    """
    if workers < 0:
        raise InputError(f"is {workers}; give 0 or more processes", field="workers")
    start = time.perf_counter()
    frames = _frames(structures)
    ordered = [frame.structure for frame in frames]
    scope = getattr(reference, "scope", Scope())
    refused = {index: failure for index, frame in enumerate(frames) if (failure := scope.refusal(frame)) is not None}
    kept = LabelCache.of(reference, cache) if cache is not None else None
    indices_of: dict[str, list[int]] = {}
    for index, structure in enumerate(ordered):
        if index not in refused:
            indices_of.setdefault(structure.content_hash, []).append(index)
    tally = _Tally(ordered, indices_of, on_done)
    for index, failure in refused.items():
        tally.put(index, failure)
    missing: list[_Item] = []
    for first, *_ in indices_of.values():
        known = kept.get(ordered[first]) if kept is not None else None
        if known is None or (retry_failures and isinstance(known, Failure)):
            missing.append((first, ordered[first]))
        else:
            tally.add(first, known)
    cached = tally.done - len(refused)
    tally.begin()
    for index, result, _ in _computed(reference, kept, missing, workers, executor):
        tally.add(index, result)
    return Labelling(tally.ordered(), cached, time.perf_counter() - start)


class _Tally:
    """Results as they come in, and how long the rest will take."""

    def __init__(
        self, structures: Sequence[Structure], indices_of: dict[str, list[int]],
        on_done: Callable[[Progress], None] | None,
    ) -> None:  # fmt: skip
        self._structures, self._indices_of, self._on_done = structures, indices_of, on_done
        self._results: dict[int, Labels | Failure] = {}
        self._started: float | None = None
        self._at_start = 0

    @property
    def done(self) -> int:
        return len(self._results)

    def begin(self) -> None:
        """Start the clock: what follows is computed."""
        self._started, self._at_start = time.perf_counter(), self.done

    def add(self, first: int, result: Labels | Failure) -> None:
        """Take the result of a structure for all places at which it stands."""
        for index in self._indices_of[self._structures[first].content_hash]:
            self.put(index, result)

    def put(self, index: int, result: Labels | Failure) -> None:
        """Take the result of one place alone."""
        self._results[index] = result
        if self._on_done is not None:
            self._on_done(Progress(index, result, self.done, len(self._structures), self._seconds_left()))

    def _seconds_left(self) -> float | None:
        fresh = self.done - self._at_start if self._started is not None else 0
        if self._started is None or not fresh:
            return None
        return (time.perf_counter() - self._started) / fresh * (len(self._structures) - self.done)

    def ordered(self) -> tuple[Labels | Failure, ...]:
        return tuple(self._results[index] for index in range(len(self._structures)))


def _frames(structures: Dataset | Sequence[Structure]) -> Sequence[Frame]:
    if isinstance(structures, Dataset):
        return structures.frames
    return [Frame(structure, Labels(), f"#{index}") for index, structure in enumerate(structures)]


def _with(before: Labels, labels: Labels) -> Labels:
    return Labels(labels.energy, labels.forces, labels.stress, before.group, {**before.info, **labels.info})


def _computed(
    reference: Reference, cache: LabelCache | None, items: Sequence[_Item], workers: int, executor: ExecutorSettings
) -> Iterator[_Result]:
    if workers == 0:
        for item in items:
            yield from _label(reference, cache, [item])
        return
    left = deque(items)
    while left:

        def pool(count: int) -> Executor:
            return open_pool(executor, count, _start, (reference, cache))

        suspects = yield from _with_pool(pool, left, min(workers_of(executor, workers), len(left)))
        yield from _singly(pool, cache, suspects)


def _with_pool(
    new_pool: Callable[[int], Executor], left: deque[_Item], workers: int
) -> Generator[_Result, None, list[_Item]]:
    """Yield results until nothing is left or a worker dies; return what was being computed when it did."""
    pool = new_pool(workers)
    running: dict[Future[list[_Result]], list[_Item]] = {}
    suspects: list[_Item] = []
    spent, count = 0.0, 0
    try:
        while left or running:
            size = 1 if not count else int(min(max(_CHUNK_SECONDS * count / max(spent, 1e-9), 1), _LARGEST_CHUNK))
            while left and len(running) < 2 * workers:
                share = max(1, min(size, len(left) // (2 * workers)))
                chunk = [left[i] for i in range(share)]
                running[pool.submit(_label_here, chunk)] = chunk
                for _ in chunk:  # only now: a broken pool takes nothing
                    left.popleft()
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                try:
                    results = future.result()
                except TaskDiedError:  # of a cluster, whose other workers go on
                    suspects += running.pop(future)
                    continue
                del running[future]
                spent, count = spent + sum(seconds for *_, seconds in results), count + len(results)
                yield from results
    except BrokenExecutor:
        return suspects + [item for chunk in running.values() for item in chunk]
    finally:
        close_pool(pool, kill=True)
    return suspects


def _singly(new_pool: Callable[[int], Executor], cache: LabelCache | None, items: Sequence[_Item]) -> Iterator[_Result]:
    """Yield results of structures one of which has killed its process."""
    left = deque(items)
    while left:
        pool = new_pool(1)
        try:
            while left:
                index, structure = left[0]
                known = cache.get(structure) if cache is not None else None
                yield from [(index, known, 0.0)] if known is not None else pool.submit(_label_here, [left[0]]).result()
                left.popleft()
        except (BrokenExecutor, TaskDiedError):
            died = Failure("the process that computed it died; the program crashed or there was not enough memory")
            yield left.popleft()[0], died, 0.0
        finally:
            close_pool(pool, kill=True)


_held: tuple[Reference, LabelCache | None] | None = None  # of a worker process


def _start(reference: Reference, cache: LabelCache | None) -> None:
    global _held
    _held = (reference, cache)


def _label_here(items: Sequence[_Item]) -> list[_Result]:
    assert _held is not None
    return _label(*_held, items)


def _label(reference: Reference, cache: LabelCache | None, items: Sequence[_Item]) -> list[_Result]:
    results = []
    for index, structure in items:
        start = time.perf_counter()
        result = _labelled(reference, structure)
        if cache is not None:
            cache.put(structure, result)
        results.append((index, result, time.perf_counter() - start))
    return results


def _labelled(reference: Reference, structure: Structure) -> Labels | Failure:
    try:
        return reference.label([structure])[0]
    except Exception as error:  # a reference of somebody else's may raise what it likes
        return failure_of(error, repeatable=False)
