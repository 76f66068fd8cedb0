"""The ridge regressions of tensors: which ridge, judged by frames that neither it nor the errors have seen.

Labels of one frame often err together - computed shieldings of a crystal, for instance, by a shift common to its atoms
- and some frames err far more than others. Two remedies:

* An error common to the n atoms of a frame, its variance ``ratio`` times that of an atom's own error: rows and values
  lose the part 1 - (1 + ratio n)^-1/2 of their mean over the frame, after which errors are independent (Fuller and
  Battese, J. Am. Stat. Assoc. 68, 626 (1973)).
* Frames count less the worse they are predicted by fits without them: the weights (ν + 1)/(ν + z²/s²), ν = 2, of
  Student's t (Lange, Little and Taylor, J. Am. Stat. Assoc. 84, 881 (1989)), z being a frame's held-back RMS error and
  s the median of all in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from scipy.stats import chi2

from forcewright.linalg.many_targets import FoldEquations
from forcewright.structure import FloatArray, IntArray

RIDGES = tuple((10.0 ** np.arange(-12.0, 1.0)).tolist())
_FREEDOM = 2.0  # ν of Student's t
_START = 6  # of the walk over ridges


class Normal:
    """The normal equations of some folds, columns scaled so that damped ones are damped alike."""

    def __init__(self, held: FoldEquations, damping: FloatArray, without: Sequence[int]) -> None:
        kept = [fold for fold in range(len(held.counts)) if fold not in without]
        gram = held.gram[kept].sum(axis=0)
        self.rows = int(held.counts[kept].sum())
        diagonal = np.where(damping > 0, damping, np.diagonal(gram) / max(self.rows, 1))
        self.scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        self.damped = np.where(damping > 0, float(self.rows), 0.0)
        # constants of elements are not to be told apart where all structures have the same composition
        self.floor = self.rows * np.where(damping > 0, 1e-13, 1e-9)
        self.gram = gram * np.outer(self.scale, self.scale)
        self.right = held.right[kept].sum(axis=0)[:, 0] * self.scale

    def factor(self, ridge: float) -> Any:
        """Return the Cholesky factor at a ridge relative to the number of rows."""
        matrix = self.gram.copy()
        matrix[np.diag_indices(len(matrix))] += ridge * self.damped + self.floor
        return scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)

    def solve(self, ridge: float) -> FloatArray:
        """Return the coefficients (p,) at a ridge."""
        return np.asarray(self.scale * scipy.linalg.cho_solve(self.factor(ridge), self.right, check_finite=False))

    def solutions(self) -> FloatArray:
        """Return the coefficients (p, L) at all ridges; those that rounding makes unsolvable are not finite."""
        result = np.full((len(self.right), len(RIDGES)), np.nan)
        for k, ridge in enumerate(RIDGES):
            with suppress(np.linalg.LinAlgError):
                result[:, k] = self.solve(ridge)
        return result


class Chosen(NamedTuple):
    """What was chosen for each fold and for the whole.

    Attributes
    ----------
    scores
        For each fold, how its choice did in the other folds; candidates are compared by it.
    ridges
        Relative ridge of each fold, and of the whole last.
    solutions
        Coefficients (p,) of the fit without each fold.
    whole
        How the ridge of the whole did in all folds, relative to the labels.
    equations
        What the whole is fitted with.
    """

    scores: list[float]
    ridges: list[float]
    solutions: list[FloatArray]
    whole: float
    equations: FoldEquations


def _errors(x: FloatArray, held: FoldEquations, fold: int) -> FloatArray:
    """Return the sum of squared errors (L,) of solutions (p, L) in one fold; infinite for what is no solution."""
    squares = np.einsum("pl,pl->l", x, held.gram[fold] @ x - 2 * held.right[fold]) + held.squares[fold, 0]
    return np.where(np.isfinite(squares), np.maximum(squares, 0.0), np.inf)


def choose(held: FoldEquations, damping: FloatArray) -> Chosen:
    """Choose ridges by squared errors.

    Fold f is judged by fits without it and one neighboring fold in turn, which that neighbor judges: what chooses the
    ridge of a fold has not seen the fold. Two folds are judged by themselves.
    """
    number = len(held.counts)
    inner, outer, solutions = np.zeros((number, len(RIDGES))), np.zeros((number, len(RIDGES))), []
    pairs = {tuple(sorted((f, (f + 1) % number))) for f in range(number)} if number > 2 else set()
    for first, second in sorted(pairs):
        x = Normal(held, damping, (first, second)).solutions()
        inner[first] += _errors(x, held, second)
        inner[second] += _errors(x, held, first)
    for fold in range(number):
        x = Normal(held, damping, (fold,)).solutions()
        outer[fold] = _errors(x, held, fold)
        solutions.append(x)
    judged = inner if number > 2 else outer
    best = [int(k) for k in judged.argmin(axis=1)]
    total = outer.sum(axis=0)
    k = int(np.argmin(total))
    return Chosen(
        [float(judged[f, at]) for f, at in enumerate(best)], [RIDGES[at] for at in (*best, k)],
        [x[:, at].copy() for x, at in zip(solutions, best, strict=True)],
        float(total[k]) / max(float(held.squares.sum()), 1e-300), held,
    )  # fmt: skip


def whitened(rows: FloatArray, values: FloatArray, ratio: float) -> tuple[FloatArray, FloatArray]:
    """Return rows (n, m, p) and values (n, m) of a frame's atoms without the part of their mean that errs together."""
    lost = 1.0 - (1.0 + ratio * len(rows)) ** -0.5
    return rows - lost * rows.mean(axis=0), values - lost * values.mean(axis=0)


@dataclass(frozen=True, eq=False)
class KeptRows:
    """The rows of a regression in memory, whitened: frames are told apart, and may count differently.

    Parameters
    ----------
    rows, values
        Of all atoms, or structures: (n, m, p) and (n, m).
    frames, folds
        Of each (n,).
    ratio
        What they were whitened with.
    """

    rows: FloatArray
    values: FloatArray
    frames: IntArray
    folds: IntArray
    ratio: float
    _solved: dict[tuple[frozenset[int], int], dict[int, FloatArray]] = field(default_factory=dict, repr=False)

    @cached_property
    def plain(self) -> FoldEquations:
        """The equations in which all frames count alike."""
        return self.equations(np.ones(len(self.rows)))

    def equations(self, weights: FloatArray) -> FoldEquations:
        """Return the normal equations with weights (n,) of squared errors."""
        count, size, columns = self.rows.shape
        result = FoldEquations(columns, 1, int(self.folds.max()) + 1)
        for fold in np.unique(self.folds):
            here = np.flatnonzero(self.folds == fold)
            roots = np.repeat(np.sqrt(weights[here]), size)
            result.add(self.rows[here].reshape(-1, columns), self.values[here].ravel(), int(fold), roots)
        return result

    def lengths(self, x: FloatArray, fold: int) -> FloatArray:
        """Return the RMS error over the components of each atom or structure of a fold, errors in common included."""
        here = self.folds == fold
        wrong = self.rows[here] @ x - self.values[here]
        if self.ratio > 0:
            _, inverse, counts = np.unique(self.frames[here], return_inverse=True, return_counts=True)
            means = np.zeros((len(counts), wrong.shape[1]))
            np.add.at(means, inverse, wrong / counts[inverse][:, None])
            wrong += (((1.0 + self.ratio * counts) ** 0.5 - 1.0)[:, None] * means)[inverse]
        return np.asarray(np.sqrt(np.mean(wrong**2, axis=1)))

    def held_back(
        self, equations: FoldEquations, damping: FloatArray, fold: int | None, judges: Sequence[int], k: int
    ) -> FloatArray:
        """Return the lengths (n,) in the folds of ``judges``, by fits without them and ``fold`` in turn; 0 in others.

        Those by ``plain`` are kept, as the fit without two folds is asked for by either.
        """
        result = np.zeros(len(self.rows))
        for judge in judges:
            without = frozenset({judge} if fold is None else {judge, fold})
            lengths = self._solved.get((without, k)) if equations is self.plain else None
            if lengths is None:
                x = np.full(self.rows.shape[2], np.nan)
                with suppress(np.linalg.LinAlgError):
                    x = Normal(equations, damping, sorted(without)).solve(RIDGES[k])
                lengths = {f: self.lengths(x, f) for f in without}
                if equations is self.plain:
                    self._solved[without, k] = lengths
            result[self.folds == judge] = lengths[judge]
        return result

    def weights(self, lengths: FloatArray, fold: int | None) -> FloatArray:
        """Return how much each counts (n,): less in frames with large held-back errors."""
        frames, inverse, counts = np.unique(self.frames, return_inverse=True, return_counts=True)
        square = np.bincount(inverse, lengths**2, minlength=len(frames)) / counts
        size = self.values.shape[1]
        known = np.ones(len(frames), dtype=bool)
        if fold is not None:
            known[inverse[self.folds == fold]] = False
        scale = max(float(np.median(square[known])) * size / float(chi2.median(size)), 1e-300)
        each = (_FREEDOM + 1) / (_FREEDOM + square / scale)
        return np.asarray((each / np.median(each[known]))[inverse])


def choose_robustly(kept: KeptRows, damping: FloatArray) -> Chosen:
    """Choose ridges by absolute errors, and fit with frames that count less the worse they are predicted.

    For each fold the weights come from fits without it and each of the other folds in turn, and its ridge from the
    weighted fits without it and each of two neighboring folds. The whole takes the middle one of the folds' ridges.
    """
    number = len(kept.plain.counts)
    scores: list[float] = []
    chosen: list[int] = []
    solutions: list[FloatArray] = []
    start = _START
    for fold in range(number):
        others = [f for f in range(number) if f != fold]
        start, lengths = _walk(kept, kept.plain, damping, fold, others, start)
        weighted = kept.equations(kept.weights(lengths, fold))
        judges = sorted({(fold + 1) % number, (fold - 1) % number})
        k, lengths = _walk(kept, weighted, damping, fold, judges, chosen[-1] if chosen else start)
        scores.append(float(lengths.sum()))
        chosen.append(k)
        solutions.append(Normal(weighted, damping, (fold,)).solve(RIDGES[k]))
    lengths = kept.held_back(kept.plain, damping, None, range(number), start)
    weighted = kept.equations(kept.weights(lengths, None))
    typical = float(np.sqrt(np.mean(kept.values**2, axis=1)).sum())
    ridges = [RIDGES[k] for k in (*chosen, sorted(chosen)[number // 2])]
    return Chosen(scores, ridges, solutions, sum(scores) / max(2 * typical, 1e-300), weighted)


def _walk(
    kept: KeptRows, equations: FoldEquations, damping: FloatArray, fold: int, judges: Sequence[int], start: int
) -> tuple[int, FloatArray]:
    """Return the ridge of the smallest sum of lengths downhill of a start, and the lengths there."""

    def at(k: int) -> tuple[float, FloatArray]:
        lengths = kept.held_back(equations, damping, fold, judges, k)
        total = float(lengths.sum())
        return (total if np.isfinite(total) else np.inf), lengths

    best, (score, lengths) = start, at(start)
    for step in (-1, 1):
        moved = False
        while 0 <= best + step < len(RIDGES):
            other, there = at(best + step)
            if not other < score:
                break
            best, score, lengths, moved = best + step, other, there, True
        if moved:
            break
    return best, lengths
