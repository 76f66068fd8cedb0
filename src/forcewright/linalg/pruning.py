"""Backward elimination of groups of columns from normal equations: the optimal brain surgeon of linear models.

=========  ========  =====================================================================================
symbol     shape     meaning
=========  ========  =====================================================================================
M, h       (p, p)    normal equations, weights and ridge in them: J(x) = s - 2 hᵀx + xᵀM x
P, x       (n, n)    M⁻¹ and the solution P h of the n remaining columns
S, K       sets      columns that leave and that stay
q_g        ()        saliency of group g
=========  ========  =====================================================================================

Leaving the columns of a group out *and fitting the others again* raises the least value of J by exactly

    q_g = x_gᵀ [P_gg]⁻¹ x_g

(Hassibi and Stork, NIPS 5, 164 (1993), eq. 5, for one weight; here for blocks). Groups leave in the order of
q_g/cost_g^γ, a few at a time, and what stays follows from the same blocks without another factorization,

    P'_KK = P_KK - P_KS P_SS⁻¹ P_SK,    x'_K = x_K - P_KS P_SS⁻¹ x_S,

until P is computed anew, because rounding errors add up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from forcewright.errors import InputError
from forcewright.linalg.gram import FloatArray, NotPositiveDefinite

IntArray = NDArray[np.int64]

_RENEW = 0.8  # P is computed anew when no more than this share of its columns is left


@dataclass(frozen=True)
class PruningStep:
    """Groups that left together, least salient first, and the columns, cost and hᵀx = s - J that stayed."""

    removed: tuple[int, ...]
    columns: int
    cost: float
    explained: float


@dataclass(frozen=True, eq=False)
class Pruned:
    """What pruning has left: ascending indices of the columns, and the steps that led there."""

    columns: IntArray
    history: tuple[PruningStep, ...]


def prune_groups(
    matrix: FloatArray, right: FloatArray, groups: IntArray, costs: FloatArray, target: float, *,
    protected: Iterable[int] = (), gamma: float = 1.0, rate: float = 0.02,
) -> Pruned:  # fmt: skip
    """Remove groups of columns that matter least for what they cost, until the others cost no more than ``target``.

    Parameters
    ----------
    matrix, right
        Normal equations M (p, p) and h (p,).
    groups
        Group of each column (p,), 0 … G - 1; columns of the group -1 cost nothing and stay.
    costs
        Cost of each group (G,), in any unit; a group that costs nothing stays, unless γ is 0.
    target
        Largest cost of all groups together.
    protected
        Columns that stay, and their groups with them.
    gamma
        Exponent γ of the cost in the order of removal: 0 looks at the fit alone, 1 at the fit per cost.
    rate
        Share of the cost that leaves before saliencies are computed again: small is close to one group at a time.

    Raises
    ------
    InputError
        If shapes are inconsistent, or the protected groups alone cost more than the target.
    NotPositiveDefinite
        If M cannot be factored.
    """
    live = _Columns(matrix, right, groups, costs)
    stays = _groups_that_stay(groups, costs, protected, gamma)
    if (least := float(costs[stays].sum())) > target:
        raise InputError(f"is {target:g}, but the groups that must stay cost {least:g} already", field="target")
    history: list[PruningStep] = []
    while (total := live.cost) > target:
        saliency = live.saliencies() / np.where(costs > 0, costs, 1.0) ** gamma
        saliency[stays] = np.inf
        order = np.argsort(saliency, kind="stable")
        order = order[np.isfinite(saliency[order])]
        freed = np.cumsum(costs[order])
        enough = int(np.searchsorted(freed, (total - target) * (1 - 1e-12)) + 1)
        leaving = order[: min(enough, max(1, int(np.searchsorted(freed, rate * total, side="right"))))]
        live.remove(leaving)
        history.append(PruningStep(tuple(leaving.tolist()), len(live.columns), live.cost, live.explained))
    return Pruned(live.columns, tuple(history))


def _groups_that_stay(groups: IntArray, costs: FloatArray, protected: Iterable[int], gamma: float) -> NDArray[np.bool_]:
    stays = np.zeros(len(costs), dtype=bool)
    kept = groups[np.fromiter(protected, dtype=np.int64)]
    stays[kept[kept >= 0]] = True
    return stays | (costs <= 0) if gamma else stays


class _Columns:
    """The remaining columns, with P and x."""

    def __init__(self, matrix: FloatArray, right: FloatArray, groups: IntArray, costs: FloatArray) -> None:
        p = len(right)
        if matrix.shape != (p, p) or groups.shape != (p,) or (p and (groups.max() >= len(costs) or groups.min() < -1)):
            raise InputError(
                f"normal equations {matrix.shape}, right side {right.shape}, groups {groups.shape} with numbers up to "
                f"{groups.max(initial=-1)} and {len(costs)} costs are inconsistent"
            )
        self._matrix, self._right, self._groups, self._costs = matrix, right, groups, costs
        self.columns: IntArray = np.arange(p)
        self._inverse, self._x = self._solved()
        self._fresh = p

    @property
    def explained(self) -> float:
        """The part hᵀx of s that the fit explains."""
        return float(self._right[self.columns] @ self._x)

    @property
    def cost(self) -> float:
        """Cost of all remaining groups."""
        present = np.unique(self._groups[self.columns])
        return float(self._costs[present[present >= 0]].sum())

    def saliencies(self) -> FloatArray:
        """Return q of every group (G,), infinite for those that have left."""
        result = np.full(len(self._costs), np.inf)
        order = np.argsort(self._groups[self.columns], kind="stable")
        names, first, sizes = np.unique(self._groups[self.columns][order], return_index=True, return_counts=True)
        for size in np.unique(sizes[names >= 0]):  # blocks of one size are solved together
            these = (sizes == size) & (names >= 0)
            members = order[first[these][:, None] + np.arange(size)]
            blocks = self._inverse[members[:, :, None], members[:, None, :]]
            x = self._x[members]
            solved = np.linalg.solve(blocks, x[..., None])[..., 0]
            result[names[these]] = np.einsum("gi,gi->g", x, solved)
        return result

    def remove(self, leaving: IntArray) -> None:
        """Take the columns of these groups out and fit the others again."""
        gone = np.isin(self._groups[self.columns], leaving)
        stay, go = np.flatnonzero(~gone), np.flatnonzero(gone)
        self.columns = self.columns[stay]
        if len(stay) <= _RENEW * self._fresh:
            self._inverse, self._x = self._solved()
            self._fresh = len(stay)
            return
        factor = np.linalg.cholesky(self._inverse[np.ix_(go, go)])
        half = scipy.linalg.solve_triangular(factor, self._inverse[np.ix_(go, stay)], lower=True, check_finite=False)
        self._x = self._x[stay] - half.T @ scipy.linalg.solve_triangular(factor, self._x[go], lower=True)
        self._inverse = self._inverse[np.ix_(stay, stay)] - half.T @ half

    def _solved(self) -> tuple[FloatArray, FloatArray]:
        """Return P and x of the remaining columns, from M and h."""
        kept = self._matrix[np.ix_(self.columns, self.columns)]
        factor, info = scipy.linalg.lapack.dpotrf(kept, lower=1)
        if info != 0:
            raise NotPositiveDefinite(f"leading minor {info} of the normal equations is not positive definite")
        lower = np.tril(scipy.linalg.lapack.dpotri(factor, lower=1)[0])
        x = np.asarray(scipy.linalg.lapack.dpotrs(factor, self._right[self.columns], lower=1)[0])
        return lower + np.tril(lower, -1).T, x
