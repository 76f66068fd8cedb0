"""How much each parameter matters to the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from forcewright.optimize.space import Categorical, FloatArray, Space

if TYPE_CHECKING:
    import optuna

    from forcewright.optimize.journal import TrialRecord

FOREST_TRIALS = 12
"""With fewer trials a random forest is meaningless, and the share of explained variance is taken."""


def importances(
    study: optuna.Study, records: list[TrialRecord], space: Space, *, seed: int, log_loss: bool
) -> dict[str, float]:
    """Return the importance of each parameter, summing to 1, the largest first; all 0 if it cannot be determined.

    fANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014) in Optuna's implementation, or below `FOREST_TRIALS` trials the
    squared rank correlation (numbers) or correlation ratio (choices) of each parameter with the loss. ``records`` are
    those of ``study``, failed ones included; ``seed`` is that of the forest, and with ``log_loss`` it learns the
    logarithm of the loss if every loss is positive.
    """
    complete = [record for record in records if record.loss is not None]
    losses = np.array([record.loss for record in complete], dtype=np.float64)
    if len(complete) < 3 or np.ptp(losses) == 0.0:
        return dict.fromkeys(space.names, 0.0)
    if len(space) == 1:
        return {space.names[0]: 1.0}
    log = log_loss and bool((losses > 0).all())
    if len(complete) >= FOREST_TRIALS:
        shares = _forest(study, space, seed, log)
    else:
        u = np.array([space.unit(record.params) for record in complete])
        shares = {name: _explained(space, name, u[:, k], losses) for k, name in enumerate(space.names)}
    total = sum(shares.values())
    normalized = {name: float(shares[name] / total) if total > 0 else 0.0 for name in space.names}
    return dict(sorted(normalized.items(), key=lambda item: -item[1]))


def _forest(study: optuna.Study, space: Space, seed: int, log: bool) -> dict[str, float]:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    def target(trial: optuna.trial.FrozenTrial) -> float:
        loss = float(trial.values[0])
        return float(np.log(loss)) if log else loss

    try:
        return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed), target=target)
    except RuntimeError:  # no tree of the forest found any variance
        return dict.fromkeys(space.names, 0.0)


def _explained(space: Space, name: str, u: FloatArray, losses: FloatArray) -> float:
    """Return the share (0 to 1) of the variance of the ranks of the losses that one coordinate (n,) explains alone."""
    from scipy.stats import rankdata

    ranks = rankdata(losses)
    if np.ptp(u) == 0.0 or np.ptp(ranks) == 0.0:
        return 0.0
    if not isinstance(space.ranges[name], Categorical):
        return float(np.corrcoef(rankdata(u), ranks)[0, 1] ** 2)
    between = sum((u == choice).sum() * (ranks[u == choice].mean() - ranks.mean()) ** 2 for choice in np.unique(u))
    return float(between / (len(ranks) * ranks.var()))
